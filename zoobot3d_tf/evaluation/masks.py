"""Scores of masks, with the scores of a brightness threshold for comparison, and their calibration.

All scores follow from sums over the pixels of each galaxy (`MaskTable`), so that galaxies can be drawn again, or two
models be compared on the same galaxies, without reading a file again.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter

from zoobot3d_tf.evaluation.bootstrap import Score, central_interval, resample_counts
from zoobot3d_tf.evaluation.calibration import N_BINS
from zoobot3d_tf.images.masks import MASK_THRESHOLD, is_enclosed, overlap

THRESHOLDS = (MASK_THRESHOLD, 5 / 15, 8 / 15)
"""Smallest fractions of volunteers from which a pixel belongs to a mask. Masks are scored at each of them."""
THRESHOLD_NAMES = tuple(f"{15 * threshold:.0f}of15" for threshold in THRESHOLDS)
"""The thresholds in the names of scores, such as `iou_3of15`."""
SKY = 1 / 30
"""Predicted fraction below which a pixel counts as sky in the calibration: half a volunteer of 15."""
SMOOTHING = 2.0
"""Standard deviation of the Gaussian that smooths images for the brightness baseline, in pixels: its best value."""
MAX_KNOTS = 33
"""Largest number of knots of a map of mask fractions."""
MIN_GALAXIES = 10
"""Smallest number of galaxies from which a part of a map is fitted. Pixels of one galaxy are not independent."""

_TOP = 255  # files of predicted masks hold round(255 * fraction)
_LEVELS = _TOP + 1  # levels of brightness and of predicted fractions
_FRACTIONS = np.arange(_LEVELS) / _TOP
_SKY_BIN = 0
_BIN_OF_LEVEL = np.where(_FRACTIONS < SKY, _SKY_BIN, 1 + np.minimum(np.arange(_LEVELS) * N_BINS // _TOP, N_BINS - 1))


@dataclass(frozen=True)
class MaskScores:
    """Scores of one mask.

    Attributes:
        n_galaxies: number of galaxies with a predicted and a true mask.
        iou: intersection over union of the enclosed pixels; see `mask_iou`.
        mae: mean absolute difference of the predicted and the true share of volunteers, over all pixels.
        blank_mae: mean absolute difference for a blank mask.
        brightness_iou: intersection over union of the brightness baseline; see `brightness_baseline`.
        brightness_threshold: lowest brightness of the pixels in the mask of this baseline, 0..255.
    """

    n_galaxies: int
    iou: float
    mae: float
    blank_mae: float
    brightness_iou: float
    brightness_threshold: int


@dataclass(frozen=True)
class MaskTable:
    """Sums over the pixels of each galaxy, for one mask and one model. One galaxy takes about 10 kB.

    Predicted fractions are rounded to 256 levels, *level* / 255, which are those of files of predicted masks.

    Attributes:
        ids: `id_str` of each galaxy, shape (galaxies,).
        error: mean absolute difference of predicted and observed fraction, shape (galaxies,).
        blank_error: the same for a blank mask.
        side: longer side of the image, in pixels, shape (galaxies,).
        intersection: number of pixels that both masks enclose at each of `THRESHOLDS`, shape (galaxies, thresholds).
        union: number of pixels that at least one mask encloses, same shape.
        distance: distance of the outlines in pixels, NaN if a mask is empty, same shape; see `boundary_distance`.
        pixels: number of pixels by level of the predicted fraction, shape (galaxies, 256).
        observed: sum of the observed fractions of these pixels, same shape.
        inside: number of these pixels that volunteers enclosed at each threshold, shape (galaxies, thresholds, 256).
        bright_pixels: number of pixels by brightness, shape (galaxies, 256).
        bright_inside: number of these pixels that volunteers enclosed, shape (galaxies, thresholds, 256).
    """

    ids: np.ndarray
    error: np.ndarray
    blank_error: np.ndarray
    side: np.ndarray
    intersection: np.ndarray
    union: np.ndarray
    distance: np.ndarray
    pixels: np.ndarray
    observed: np.ndarray
    inside: np.ndarray
    bright_pixels: np.ndarray
    bright_inside: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: np.ndarray) -> "MaskTable":
        """Choose rows by their indices, or by truth values."""
        return MaskTable(*(getattr(self, column.name)[rows] for column in fields(self)))


@dataclass
class MaskSums:
    """Collects a `MaskTable`, galaxy by galaxy."""

    rows: list[MaskTable] = field(default_factory=list)

    @property
    def n_galaxies(self) -> int:
        """Number of galaxies added so far."""
        return len(self.rows)

    def add(self, predicted: np.ndarray, true: np.ndarray, brightness: np.ndarray, id_str: str = "") -> None:
        """Add one galaxy.

        Args:
            predicted: expected share of volunteers who enclose each pixel, 0..1, shape (H, W).
            true: observed share of volunteers, same shape.
            brightness: brightness of the smoothed image, uint8, same shape; see `smoothed_brightness`.
            id_str: id of the galaxy. It is needed to compare models.

        Raises:
            ValueError: the shapes differ, or a predicted or observed share is not a number from 0 to 1.
        """
        for name, fraction in {"predicted": predicted, "true": true}.items():
            if fraction.shape != brightness.shape or not (fraction.min() >= 0 and fraction.max() <= 1):
                raise ValueError(
                    f"{name} must be fractions from 0 to 1 of the shape of the image, {brightness.shape}; received the "
                    f"shape {fraction.shape} and values from {fraction.min():g} to {fraction.max():g}"
                )
        counts = [overlap(predicted, true, np, threshold) for threshold in THRESHOLDS]
        masks = [[is_enclosed(fraction, threshold) for fraction in (predicted, true)] for threshold in THRESHOLDS]
        pixels, observed = level_sums(predicted, true)
        row = {
            "ids": id_str,
            "error": np.abs(predicted - true).mean(dtype=np.float64),
            "blank_error": true.mean(dtype=np.float64),
            "side": max(true.shape),
            "intersection": [intersection for intersection, _ in counts],
            "union": [union for _, union in counts],
            "distance": [boundary_distance(*pair) for pair in masks],
            "pixels": pixels,
            "observed": observed.astype(np.float32),
            "inside": [_histogram(_levels(predicted)[inside]) for _, inside in masks],
            "bright_pixels": _histogram(brightness),
            "bright_inside": [_histogram(brightness[inside]) for _, inside in masks],
        }
        self.rows.append(MaskTable(**{name: np.array([value]) for name, value in row.items()}))

    def table(self) -> MaskTable:
        """Join the galaxies added so far, at least one."""
        return MaskTable(*(np.concatenate([getattr(row, f.name) for row in self.rows]) for f in fields(MaskTable)))

    def scores(self) -> MaskScores:
        """Compute the scores of the galaxies added so far, at least one, at `MASK_THRESHOLD`."""
        table = self.table()
        values = mask_values(table)
        inside = table.bright_inside[:, 0].sum(axis=0)
        threshold, _ = brightness_baseline(inside, table.bright_pixels.sum(axis=0) - inside)
        return MaskScores(
            n_galaxies=len(table),
            iou=float(values[f"iou_{THRESHOLD_NAMES[0]}"]),
            mae=float(values["mae"]),
            blank_mae=float(values["blank_mae"]),
            brightness_iou=float(values[f"brightness_iou_{THRESHOLD_NAMES[0]}"]),
            brightness_threshold=int(threshold),
        )


def mask_values(table: MaskTable, weights: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """Compute all scores of a mask, for one or many choices of galaxies at once.

    Args:
        table: sums over the pixels of each galaxy.
        weights: how often each galaxy counts, shape (..., galaxies), as `bootstrap.resample_counts` returns it; once if
            None.

    Returns:
        Arrays of shape (...) by the name of the score; NaN where a score is not defined:

        - `mae`: mean absolute difference of predicted and observed fractions over the pixels, averaged over galaxies;
        - `blank_mae`: the same for a blank mask;
        - `calibration_error`: see `calibration_error`;

        and for each of `THRESHOLD_NAMES`, such as `iou_3of15`:

        - `iou`: intersection over union, of pixels summed over galaxies; see `mask_iou`;
        - `average_precision`: of pixels ranked by the predicted fraction; see `average_precision`;
        - `enclosed`: share of the pixels that volunteers enclosed, the average precision of a random ranking;
        - `distance`: mean distance of the outlines, in pixels, of galaxies where neither mask is empty; see
          `boundary_distance`;
        - `distance_share`: the same, as a share of the longer side of the image;
        - `missed`: share of the galaxies with a mask of volunteers for which nothing is predicted;
        - `invented`: share of the galaxies without a mask of volunteers for which something is predicted;
        - `brightness_iou`: intersection over union of the baseline; see `brightness_baseline`;
        - `brightness_average_precision`: average precision of pixels ranked by brightness.
    """
    weights = np.ones(len(table)) if weights is None else np.asarray(weights, float)
    n_galaxies = weights.sum(axis=-1)
    pixels, bright_pixels = weights @ table.pixels, weights @ table.bright_pixels
    values = {
        "mae": _ratio(weights @ table.error, n_galaxies),
        "blank_mae": _ratio(weights @ table.blank_error, n_galaxies),
        "calibration_error": calibration_error(pixels, weights @ table.observed),
    }
    for index, name in enumerate(THRESHOLD_NAMES):
        inside, bright_inside = weights @ table.inside[:, index], weights @ table.bright_inside[:, index]
        intersection, union = table.intersection[:, index], table.union[:, index]
        n_drawn = table.inside[:, index].sum(axis=-1)
        is_drawn = n_drawn > 0
        nothing_predicted = union - n_drawn + intersection == 0
        distance = np.nan_to_num(table.distance[:, index])
        n_distances = weights @ np.isfinite(table.distance[:, index])
        values |= {
            f"iou_{name}": _ratio(weights @ intersection, weights @ union),
            f"average_precision_{name}": average_precision(inside, pixels - inside),
            f"enclosed_{name}": _ratio(inside.sum(axis=-1), pixels.sum(axis=-1)),
            f"distance_{name}": _ratio(weights @ distance, n_distances),
            f"distance_share_{name}": _ratio(weights @ (distance / table.side), n_distances),
            f"missed_{name}": _ratio(weights @ (is_drawn & nothing_predicted), weights @ is_drawn),
            f"invented_{name}": _ratio(weights @ (~is_drawn & ~nothing_predicted), weights @ ~is_drawn),
            f"brightness_iou_{name}": brightness_baseline(bright_inside, bright_pixels - bright_inside)[1],
            f"brightness_average_precision_{name}": average_precision(bright_inside, bright_pixels - bright_inside),
        }
    return values


def mask_scores(table: MaskTable) -> dict[str, Score]:
    """Compute all scores of a mask with their intervals over galaxies; see `mask_values` for their names."""
    drawn = mask_values(table, resample_counts(len(table)))
    return {name: Score(float(value), *central_interval(drawn[name])) for name, value in mask_values(table).items()}


def mask_differences(first: MaskTable, second: MaskTable) -> dict[str, Score]:
    """Compare two models on the same galaxies: the scores of the first minus those of the second.

    Each random test set has the same galaxies for both models, so that what is hard for both cancels (paired
    bootstrap). If an interval does not include 0, the models differ by more than the choice of the galaxies explains.

    Args:
        first: sums of one model.
        second: sums of the other, for the same galaxies in the same order; see `on_same_galaxies`.

    Raises:
        ValueError: the galaxies or their order differ.
    """
    if not np.array_equal(first.ids, second.ids):
        raise ValueError(
            f"first and second must have the same galaxies in the same order; they have {len(first)} and {len(second)}"
        )
    weights = resample_counts(len(first))
    values, drawn = ([mask_values(table, drawn) for table in (first, second)] for drawn in (None, weights))
    return {
        name: Score(float(value - values[1][name]), *central_interval(drawn[0][name] - drawn[1][name]))
        for name, value in values[0].items()
    }


def on_same_galaxies(tables: Sequence[MaskTable]) -> list[MaskTable]:
    """Restrict tables to the galaxies that all of them have, in the order of the first one.

    Args:
        tables: sums of several models, at least one. The ids of each are unique.
    """
    places = [{id_str: row for row, id_str in enumerate(table.ids)} for table in tables]
    shared = [id_str for id_str in tables[0].ids if all(id_str in place for place in places)]
    return [
        table.take(np.array([place[id_str] for id_str in shared], int))
        for table, place in zip(tables, places, strict=True)
    ]


def mask_iou(predicted: Iterable[np.ndarray], true: Iterable[np.ndarray], threshold: float = MASK_THRESHOLD) -> float:
    """Compute the intersection over union of masks, summed over all galaxies.

    The pixels are summed over galaxies before the division. A mean over galaxies would not be defined: a galaxy without
    arms, correctly predicted, has an empty union.

    Args:
        predicted: expected share of volunteers who enclose each pixel, 0..1, one array (H, W) per galaxy.
        true: observed share of volunteers, in the same order and of the same shapes.
        threshold: share of volunteers from which a pixel belongs to the mask.

    Returns:
        Intersection over union, 0..1; NaN if both masks are blank for all galaxies.
    """
    overlaps = [overlap(*galaxy, np, threshold) for galaxy in zip(predicted, true, strict=True)]
    intersection, union = np.sum(overlaps, axis=0)
    return float(_ratio(intersection, union))


def average_precision(inside: np.ndarray, outside: np.ndarray) -> np.ndarray:
    """Compute the average precision of pixels that are ranked by their level.

    This is the sum over levels, from the highest to the lowest, of the increase of the recall times the precision of
    all pixels at or above the level (Su, Yuan & Zhu 2015, ICTIR 349, without interpolation, as in scikit-learn). It is
    1 if all pixels inside have higher levels than all pixels outside. A random ranking has the share of the pixels that
    are inside.

    Args:
        inside: number of pixels inside the true masks by level, shape (..., levels).
        outside: number of pixels outside, same shape.

    Returns:
        Average precision, 0..1, shape (...); NaN without pixels inside.
    """
    inside, outside = inside[..., ::-1], outside[..., ::-1]
    hits = np.cumsum(inside, axis=-1)
    precision = hits / np.maximum(hits + np.cumsum(outside, axis=-1), 1)
    return _ratio((inside * precision).sum(axis=-1), hits[..., -1])


def boundary_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Compute the mean distance of the outlines of two masks, in pixels.

    For each pixel of one outline, the distance to the nearest pixel of the other outline is taken, and the mean is over
    the pixels of both outlines: the average symmetric surface distance (Heimann et al. 2009, IEEE Transactions on
    Medical Imaging 28, 1251). It uses means where the Hausdorff distance uses maxima, since one stray pixel must not
    decide (Dubuisson & Jain 1994, ICPR, 566). An outline consists of the pixels inside of which one of the four
    neighbours is outside, or beyond the edge of the image.

    Args:
        first: whether each pixel is inside, bool (H, W).
        second: the same for the other mask.

    Returns:
        Distance; NaN if one of the masks is empty, since there is nothing to measure to.
    """
    if not (first.any() and second.any()):
        return float("nan")
    # Distances do not depend on the empty frame around both masks.
    x, y, width, height = cv2.boundingRect((first | second).view(np.uint8))
    outlines = [_outline(mask[y : y + height, x : x + width]) for mask in (first, second)]
    away = [
        cv2.distanceTransform((~outline).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE) for outline in outlines
    ]
    return float(np.concatenate([away[1][outlines[0]], away[0][outlines[1]]]).mean(dtype=np.float64))


def smoothed_brightness(image: np.ndarray) -> np.ndarray:
    """Average the bands of an image and smooth it, so that noise does not decide.

    Args:
        image: RGB image, uint8 (H, W, 3).

    Returns:
        Brightness, uint8 (H, W).
    """
    return gaussian_filter(image.mean(axis=2, dtype=np.float32), SMOOTHING).astype(np.uint8)


def brightness_baseline(inside: np.ndarray, outside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find the brightness threshold whose mask, of all pixels at least as bright, agrees best with the true masks.

    All galaxies share one threshold. It is chosen on the galaxies that it is scored on, which favours this baseline.

    Args:
        inside: number of pixels inside the true masks per level of brightness, shape (..., 256).
        outside: number of pixels outside the true masks, same shape.

    Returns:
        The threshold, 0..255, and the intersection over union that it reaches, shape (...) each.
    """
    intersection = np.cumsum(inside[..., ::-1], axis=-1)[..., ::-1]
    union = inside.sum(axis=-1, keepdims=True) + np.cumsum(outside[..., ::-1], axis=-1)[..., ::-1]
    iou = intersection / np.maximum(union, 1)
    return iou.argmax(axis=-1), iou.max(axis=-1)


def level_sums(predicted: np.ndarray, true: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sum the pixels of one galaxy by the level of their predicted fraction, for calibration.

    Args:
        predicted: expected share of volunteers who enclose each pixel, 0..1, shape (H, W).
        true: observed share of volunteers, same shape.

    Returns:
        Number of pixels, uint32, and sum of their observed fractions, float64, at each level *level* / 255 of the
        predicted fraction, shape (256,) each.
    """
    levels = _levels(predicted)
    return _histogram(levels), np.bincount(levels.ravel(), true.ravel(), _LEVELS)


def mask_reliability(pixels: np.ndarray, observed: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compute the reliability curve of predicted fractions, in bins of the predicted fraction.

    The first bin is the sky: pixels with a predicted fraction below `SKY`. The others have the width 1 / `N_BINS`.

    Args:
        pixels: number of pixels by level of the predicted fraction, shape (..., 256); see `level_sums`.
        observed: sum of their observed fractions, same shape.

    Returns:
        Mean predicted fraction, mean observed fraction (NaN in empty bins), and number of pixels, shape
        (..., 1 + N_BINS) each.
    """
    in_bin = np.eye(1 + N_BINS)[_BIN_OF_LEVEL]
    numbers = pixels @ in_bin
    return _ratio((pixels * _FRACTIONS) @ in_bin, numbers), _ratio(observed @ in_bin, numbers), numbers


def calibration_error(pixels: np.ndarray, observed: np.ndarray) -> np.ndarray:
    """Compute the expected calibration error of predicted fractions, without the sky.

    This is the mean absolute difference of mean predicted and mean observed fraction over the bins of
    `mask_reliability`, weighted by their number of pixels (Naeini, Cooper & Hauskrecht 2015, AAAI, 2901). The sky is
    left out: nearly all pixels are sky, where any prediction is right. A pixel is sky by its *predicted* fraction,
    since a choice by what was observed would bias the curve. Structure that the model takes for sky is found in the
    first bin of `mask_reliability`.

    Args:
        pixels: number of pixels by level of the predicted fraction, shape (..., 256); see `level_sums`.
        observed: sum of their observed fractions, same shape.

    Returns:
        Error, 0..1, shape (...); NaN if all pixels are sky.
    """
    mean_predicted, mean_observed, numbers = (
        np.delete(values, _SKY_BIN, axis=-1) for values in mask_reliability(pixels, observed)
    )
    gaps = np.nan_to_num(np.abs(mean_predicted - mean_observed))
    return _ratio((numbers * gaps).sum(axis=-1), numbers.sum(axis=-1))


def fit_mask_map(pixels: np.ndarray, observed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fit a monotone map that turns predicted fractions into observed ones, by isotonic regression.

    The levels of the predicted fraction are put into groups, which are narrow near 0, where most pixels are. The map is
    the non-decreasing sequence that is nearest to the mean observed fractions of the groups, weighted by their pixels
    (Barlow et al. 1972; for calibration, Zadrozny & Elkan 2002, KDD, 694), and is linear between them. Groups with
    pixels of fewer than `MIN_GALAXIES` galaxies are left out. Above the last group used, the map goes straight to
    (1, 1); above the highest group, it keeps the ratio of this group. If no group can be used, it is the identity.

    Args:
        pixels: number of pixels of each galaxy by level of the predicted fraction, shape (galaxies, 256); see
            `level_sums`.
        observed: sum of their observed fractions, same shape.

    Returns:
        Predicted fractions, increasing from 0 to 1, and the fractions that replace them, non-decreasing within 0..1:
        the knots of the map, at most `MAX_KNOTS`, for `np.interp(fraction, *knots)`.
    """
    from sklearn.isotonic import IsotonicRegression

    # Level 0 is a group by itself, and the last knot is at 1.
    n_groups = MAX_KNOTS - 2
    group = np.ceil(n_groups * np.sqrt(_FRACTIONS)).astype(int)
    in_group = np.eye(1 + n_groups)[group]
    by_group = pixels @ in_group
    is_used = (by_group > 0).sum(axis=0) >= MIN_GALAXIES
    if not is_used.any():
        return np.array([0.0, 1.0]), np.array([0.0, 1.0])
    numbers = by_group.sum(axis=0)[is_used]
    x = ((pixels * _FRACTIONS) @ in_group).sum(axis=0)[is_used] / numbers
    means = np.clip((observed @ in_group).sum(axis=0)[is_used] / numbers, 0, 1)
    y = IsotonicRegression().fit_transform(x, means, sample_weight=numbers)
    if x[0] > 0:
        x, y = np.append(0.0, x), np.append(0.0, y)
    if x[-1] < 1:
        x, y = np.append(x, 1.0), np.append(y, min(y[-1] / x[-1], 1.0) if is_used[-1] else 1.0)
    return x, y


def _levels(fraction: np.ndarray) -> np.ndarray:
    return np.rint(_TOP * fraction).astype(np.uint8)


def _histogram(levels: np.ndarray) -> np.ndarray:
    return np.bincount(levels.ravel(), minlength=_LEVELS).astype(np.uint32)


def _outline(inside: np.ndarray) -> np.ndarray:
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    core = cv2.erode(inside.astype(np.uint8), cross, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    return inside & (core == 0)


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Divide sums; NaN where there is nothing to divide by."""
    part, whole = np.asarray(part, float), np.asarray(whole, float)
    return np.divide(part, whole, out=np.full(np.broadcast(part, whole).shape, np.nan), where=whole > 0)
