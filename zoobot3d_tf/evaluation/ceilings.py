"""How well volunteers agree with each other, with which the scores of masks are to be compared.

Two agreements can be measured: one volunteer against the others who drew the same galaxy, and one group of volunteers
against another group, where galaxies were drawn twice. The first is what one careful look reaches; a prediction, which
averages over volunteers, can be better. The second is what a repetition of the whole survey reaches. It is the ceiling
in practice, though not a strict one: the second group has noise of its own, which a prediction need not have.

Neither can be computed from the numbers of volunteers per pixel alone. Drawing new numbers from a binomial distribution
in each pixel would treat pixels as independent, but a volunteer who shifts or misses an arm does so in hundreds of
pixels at once. Such groups would agree far better than real ones.
"""

import logging
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from zoobot3d_tf.catalogs.training_catalog import has_mask
from zoobot3d_tf.evaluation.bootstrap import Score, ratio_score
from zoobot3d_tf.evaluation.masks import THRESHOLD_NAMES, THRESHOLDS, MaskSums, MaskTable, smoothed_brightness
from zoobot3d_tf.evaluation.pairs import true_masks
from zoobot3d_tf.images.masks import Marks, counts_from_marks, is_enclosed
from zoobot3d_tf.images.read import ImageError, read_image, read_own_marks
from zoobot3d_tf.images.stretch import DEFAULT_STRETCH
from zoobot3d_tf.progress import Progress

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class VolunteerTable:
    """Agreement of single volunteers with the others, for one mask, summed over the volunteers of each galaxy.

    Attributes:
        ids: `id_str` of each galaxy, shape (galaxies,).
        n_volunteers: number of volunteers who were compared with the others, shape (galaxies,).
        error: sum over these volunteers of the mean absolute difference of their mask, 0 or 1, and the fraction of the
            others, shape (galaxies,).
        intersection: number of pixels that the volunteer encloses, and the others at each of `THRESHOLDS`, summed over
            the volunteers, shape (galaxies, thresholds).
        union: number of pixels that the volunteer encloses, or the others, same shape.
    """

    ids: np.ndarray
    n_volunteers: np.ndarray
    error: np.ndarray
    intersection: np.ndarray
    union: np.ndarray


@dataclass(frozen=True)
class VolunteerCeilings:
    """Ceilings by one volunteer against the others.

    Attributes:
        tables: sums by name of the mask; absent if no galaxy has marks of it.
        n_only_counts: number of galaxies with masks left out since what each volunteer drew is not known, or since
            there was only one volunteer.
        n_unreadable: number of galaxies left out since a file cannot be read.
    """

    tables: dict[str, VolunteerTable]
    n_only_counts: int
    n_unreadable: int


@dataclass(frozen=True)
class GroupCeilings:
    """Ceilings by one group of volunteers against another.

    Attributes:
        tables: sums by name of the mask, in which the second group takes the place of a model, and the first is the
            truth; absent if no galaxy has this mask in both groups.
        n_unreadable: number of galaxies left out since a file cannot be read.
    """

    tables: dict[str, MaskTable]
    n_unreadable: int


def volunteer_sums(
    marks: Marks, shape: tuple[int, int], drew_only: bool = False
) -> tuple[int, float, np.ndarray, np.ndarray]:
    """Compare each volunteer of a galaxy with the others (leave one out).

    The mask of a volunteer is 1 in the pixels that they marked. With V volunteers, the fraction of the others is
    (count - own) / (V - 1). This is how a model that predicts the marks of one volunteer would be scored.

    Args:
        marks: marks of at least two volunteers, in pixels of the image; see `images.masks.Marks`.
        shape: height and width of the image, in pixels.
        drew_only: whether to leave out volunteers who drew nothing. They still belong to the others.

    Returns:
        Number of volunteers compared, sum of their mean absolute errors, and numbers of pixels in the intersections and
        in the unions, int64 (thresholds,) each; see `VolunteerTable`.

    Raises:
        ValueError: there are fewer than two volunteers, or the marks cannot be drawn.
    """
    n_others = len(marks) - 1
    if n_others < 1:
        raise ValueError(f"marks must be of at least two volunteers; received {len(marks)}")
    total = counts_from_marks(marks, shape)
    compared = [volunteer for volunteer in range(len(marks)) if marks[volunteer] or not drew_only]
    # All sums follow from two histograms: pixels by the number of volunteers, in the image and in the own mask.
    n_all = np.bincount(total.ravel(), minlength=n_others + 2)
    n_own = np.zeros((len(compared), n_others + 2), np.int64)
    for place, volunteer in enumerate(compared):
        own = counts_from_marks([marks[volunteer]], shape) > 0
        n_own[place] = np.bincount(total[own], minlength=n_others + 2)
    n_marked = n_own.sum(axis=1)

    counts = np.arange(n_others + 2)
    of_others_in_own = n_own @ (counts - 1)
    of_others = n_all @ counts - n_marked
    error = (n_marked + (of_others - 2 * of_others_in_own) / n_others) / total.size
    intersections, unions = [], []
    for threshold in THRESHOLDS:
        least = int(is_enclosed(counts[:-1] / n_others, threshold).argmax())
        intersection = n_own[:, least + 1 :].sum(axis=1)
        # In a pixel of the own mask, one of the volunteers counted is not among the others.
        n_enclosed = n_all[least:].sum() - n_own[:, least]
        intersections.append(intersection.sum())
        unions.append((n_marked + n_enclosed - intersection).sum())
    return len(compared), float(error.sum()), np.array(intersections), np.array(unions)


def volunteer_ceilings(catalog: pd.DataFrame, drew_only: bool = False) -> VolunteerCeilings:
    """Compare volunteers with the others who drew the same galaxy, for all galaxies whose marks are known.

    A volunteer is a place in the list of `marks_loc`: the files have no names of volunteers. Whether the same person
    drew other galaxies, or the other mask, is not known and not needed.

    Args:
        catalog: training catalogue as `read_training_catalog` returns it. Galaxies with mask files only, or with one
            volunteer, are left out and counted.
        drew_only: whether to leave out volunteers who drew nothing. By default they count, since "there is no bar" is
            an answer. Where volunteers could stop before they were asked to draw, as in Galaxy Builder, an empty list
            may also mean that the volunteer was not there.

    Returns:
        Sums by name of the mask; see `volunteer_scores`.
    """
    drawn = catalog[has_mask(catalog)]
    known = drawn[(drawn["marks_loc"] != "") & (drawn["n_volunteers"] > 1)]
    rows = defaultdict(list)

    def add(row: pd.Series) -> None:
        shape = read_image(row["file_loc"]).shape[:2]
        for mask, marks in read_own_marks(row["marks_loc"], int(row["n_volunteers"])).items():
            try:
                rows[mask].append((row["id_str"], *volunteer_sums(marks, shape, drew_only)))
            except ValueError as error:
                raise ImageError(f"{row['marks_loc']}: {mask}: {error}") from None

    n_unreadable = _for_each(known, add)
    tables = {
        mask: VolunteerTable(*(np.array(column) for column in zip(*rows[mask], strict=True))) for mask in sorted(rows)
    }
    return VolunteerCeilings(tables, len(drawn) - len(known), n_unreadable)


def volunteer_scores(table: VolunteerTable) -> dict[str, Score]:
    """Score one volunteer against the others, with intervals over galaxies.

    Args:
        table: sums over the volunteers of each galaxy.

    Returns:
        `mae` and, for each of `THRESHOLD_NAMES`, the intersection over union, such as `iou_3of15`. They are to be
        compared with the scores of the same names in `masks.mask_values`.
    """
    return {"mae": ratio_score(table.error, table.n_volunteers)} | {
        f"iou_{name}": ratio_score(table.intersection[:, index], table.union[:, index])
        for index, name in enumerate(THRESHOLD_NAMES)
    }


def group_ceilings(first: pd.DataFrame, second: pd.DataFrame, stretch: str = DEFAULT_STRETCH) -> GroupCeilings:
    """Compare two groups of volunteers on the galaxies that both have drawn.

    Args:
        first: training catalogue of the first group as `read_training_catalog` returns it. Its masks are the truth.
        second: the same of the second group, with the same `id_str`. Its masks take the place of predictions.
        stretch: stretch that turns the fluxes of FITS cutouts into colours, for the brightness baseline.

    Returns:
        Sums by name of the mask, in the order of the first catalogue, from which all scores of `masks.mask_scores`
        follow.
    """
    others = second.set_index("id_str")
    drawn_twice = first[has_mask(first) & first["id_str"].isin(others.index[has_mask(others)])]
    sums: dict[str, MaskSums] = defaultdict(MaskSums)

    def add(row: pd.Series) -> None:
        image = read_image(row["file_loc"], stretch)
        brightness = smoothed_brightness(image)
        true, predicted = (true_masks(one, image.shape[:2]) for one in (row, others.loc[row["id_str"]]))
        for mask in true.keys() & predicted.keys():
            sums[mask].add(predicted[mask], true[mask], brightness, row["id_str"])

    n_unreadable = _for_each(drawn_twice, add)
    return GroupCeilings({mask: sums[mask].table() for mask in sorted(sums)}, n_unreadable)


def _for_each(catalog: pd.DataFrame, add: Callable[[pd.Series], None]) -> int:
    """Read galaxies; return the number of those that cannot be read."""
    errors = []
    for _, row in Progress(catalog.iterrows(), total=len(catalog), desc="comparing volunteers", unit="galaxy"):
        try:
            add(row)
        except ImageError as error:
            errors.append(error)
    if errors:
        log.warning("galaxies left out of the agreement of volunteers: %d; the first: %s", len(errors), errors[0])
    return len(errors)
