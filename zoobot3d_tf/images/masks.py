"""Masks from the outlines volunteers drew: how many of them enclosed each pixel (Galaxy Zoo: 3D, Masters et al. 2021).

A path is a list of [x, y] vertices in pixels: x to the right, y down, whole numbers on pixel centres.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from astropy.wcs import WCS

Component = Sequence[Sequence[float]]
Marks = Sequence[Sequence[Component]]
"""[volunteer][component][vertex] -> [x, y]; a volunteer who drew nothing is an empty list."""

MASKS = ("spiral_mask", "bar_mask")
MASK_TITLES = {"spiral_mask": "spiral arms", "bar_mask": "bar"}
"""What each mask is called on pages."""
N_VOLUNTEERS = 15
"""How many Galaxy Zoo: 3D asked about each galaxy."""
MASK_THRESHOLD = 3 / 15
"""Share of volunteers from which a pixel counts as part of a mask, as in Masters et al. 2021 (arXiv 2108.02065)."""

MAX_VOLUNTEERS = np.iinfo(np.uint8).max


def counts_from_marks(
    marks: Marks,
    shape: tuple[int, int] = (525, 525),
    drop_self_crossing: bool = False,
    volunteers: Sequence[int] | None = None,
) -> np.ndarray:
    """Count the volunteers who enclosed each pixel; overlapping paths of one volunteer count once.

    Pixels are enclosed by the even-odd rule, tested at their centre. Points exactly on an edge go the way they do in
    `matplotlib.path`, with which the published Galaxy Zoo: 3D masks were made.

    Args:
        marks: [volunteer][component][vertex] -> [x, y], in pixels of the mask. Paths may leave the frame.
        shape: height and width of the mask.
        drop_self_crossing: leave out components whose open path crosses or touches itself, as the published masks do.
        volunteers: count only these, by their place in `marks`; who is named twice counts twice, as in a bootstrap.

    Returns:
        Counts, uint8 (H, W), row 0 at the top.

    Raises:
        ValueError: there are more than 255 volunteers, one is chosen who is not there, or a component is not a list of
            finite [x, y].
    """
    chosen = range(len(marks)) if volunteers is None else volunteers
    if len(chosen) > MAX_VOLUNTEERS:
        raise ValueError(f"a mask holds at most {MAX_VOLUNTEERS} volunteers; received marks of {len(chosen)}")
    absent = [volunteer for volunteer in chosen if not 0 <= volunteer < len(marks)]
    if absent:
        raise ValueError(f"there are marks of {len(marks)} volunteers, counted from 0; received the choice {absent[0]}")
    counts = np.zeros(shape, dtype=np.uint8)
    for volunteer in chosen:
        paths = _checked_paths(marks[volunteer], volunteer)
        if drop_self_crossing:
            paths = [path for path in paths if not crosses_itself(path)]
        regions = [region for path in paths if (region := _enclosed(path, shape)) is not None]
        if len(regions) == 1:
            window, inside = regions[0]
            counts[window] += inside
        elif regions:
            union = np.zeros(shape, dtype=np.uint8)
            for window, inside in regions:
                union[window] |= inside
            counts += union
    return counts


def is_enclosed(fraction: Any, threshold: float = MASK_THRESHOLD) -> Any:
    """Whether each pixel belongs to the mask: bool, of the shape of the fractions (an array or a tensor)."""
    # Slightly lower, so that the rounding of k/15 cannot decide.
    return fraction >= threshold - 1e-3


def overlap(predicted: Any, true: Any, xp: Any, threshold: float = MASK_THRESHOLD) -> tuple[Any, Any]:
    """Pixels that belong to both masks, and to either: intersection and union of the IoU, in training and in scores.

    Args:
        predicted: share of volunteers expected to enclose each pixel, shape (..., H, W).
        true: share of volunteers who did, same shape.
        xp: module that computes: `numpy` for arrays, `keras.ops` for tensors.
        threshold: share from which a pixel belongs to the mask.

    Returns:
        Numbers of pixels, shape (...) each.
    """
    inside_predicted, inside_true = is_enclosed(predicted, threshold), is_enclosed(true, threshold)
    both, either = xp.logical_and(inside_predicted, inside_true), xp.logical_or(inside_predicted, inside_true)
    return xp.count_nonzero(both, axis=(-2, -1)), xp.count_nonzero(either, axis=(-2, -1))


def check_marks(marks: Marks) -> None:
    """Raise a ValueError unless marks have the form that `counts_from_marks` takes.

    Raises:
        ValueError: a volunteer's marks are no list, or a component is not a list of finite [x, y].
    """
    for volunteer, components in enumerate(marks):
        _checked_paths(components, volunteer)


def crosses_itself(path: np.ndarray) -> bool:
    """Tell whether an open path crosses, touches or retraces itself (the contrary of OGC "simple").

    The edge from the last vertex back to the first is not part of the path. A path that ends where it began is a ring,
    and may touch itself there. Vertices repeated in succession count once.

    Args:
        path: vertices, shape (n, 2).
    """
    path = np.asarray(path, dtype=float).reshape(-1, 2)
    moved = np.ones(len(path), dtype=bool)
    moved[1:] = (path[1:] != path[:-1]).any(axis=1)
    path = path[moved]
    if len(path) < 3:
        return False
    start, step = path[:-1], np.diff(path, axis=0)
    is_ring = bool((path[0] == path[-1]).all())
    following = np.roll(step, -1, axis=0) if is_ring else step[1:]
    leading = step if is_ring else step[:-1]
    if ((_cross(leading, following) == 0) & ((leading * following).sum(axis=1) < 0)).any():
        return True
    i, j = _pairs_with_overlapping_boxes(path)
    apart = j > i + 1
    if is_ring:
        apart &= ~((i == 0) & (j == len(step) - 1))
    i, j = i[apart], j[apart]
    side_of_j = _cross(step[i], start[j] - start[i]), _cross(step[i], path[j + 1] - start[i])
    side_of_i = _cross(step[j], start[i] - start[j]), _cross(step[j], path[i + 1] - start[j])
    # On one line, boxes that overlap are segments that overlap, so touching needs no case of its own.
    straddles = (np.sign(side_of_j[0]) * np.sign(side_of_j[1]) <= 0) & (
        np.sign(side_of_i[0]) * np.sign(side_of_i[1]) <= 0
    )
    return bool(straddles.any())


def align_counts(counts: np.ndarray, pixscale_in: float, pixscale_out: float, size_out: int) -> np.ndarray:
    """Resample a mask of counts to another pixel scale and size about the same centre, with antialiasing.

    Args:
        counts: volunteers per pixel, uint8 (H, W).
        pixscale_in: scale of `counts`, arcsec per pixel.
        pixscale_out: scale wanted, arcsec per pixel.
        size_out: height and width wanted, in pixels. Beyond the frame of `counts` nobody drew: zero.

    Returns:
        uint8 (size_out, size_out).

    Raises:
        ValueError: a scale or the size is not positive, or `counts` is not two-dimensional.
    """
    counts = _checked_counts(counts)
    if not (pixscale_in > 0 and pixscale_out > 0 and size_out > 0):
        raise ValueError(
            "pixel scales and size must be positive; "
            f"received pixscale_in {pixscale_in}, pixscale_out {pixscale_out}, size_out {size_out}"
        )
    return _to_counts(_resample(counts, pixscale_out / pixscale_in, size_out), counts)


def align_counts_wcs(counts: np.ndarray, wcs_in: "WCS", wcs_out: "WCS", shape_out: tuple[int, int]) -> np.ndarray:
    """Resample a mask of counts to any other grid on the sky, with antialiasing.

    Both grids are those of the arrays in memory: pixel (0, 0) is the first of row 0. The WCS of a FITS image whose rows
    were turned over for its PNG must be turned over too, see `wcs.flip_rows`.

    Args:
        counts: volunteers per pixel, uint8 (H, W).
        wcs_in: the sky under `counts`.
        wcs_out: the sky under the mask wanted.
        shape_out: its height and width, in pixels. Beyond the frame of `counts` nobody drew: zero.

    Returns:
        uint8 of that shape.

    Raises:
        ValueError: a WCS has no celestial axes, `counts` is not two-dimensional, or a side is not positive.
    """
    from astropy.wcs.utils import pixel_to_pixel, proj_plane_pixel_area

    counts = _checked_counts(counts)
    if not (wcs_in.has_celestial and wcs_out.has_celestial):
        raise ValueError("both grids need a WCS with right ascension and declination, or other celestial axes")
    if min(shape_out) < 1:
        raise ValueError(f"the sides of a mask must be positive; received {shape_out}")
    wcs_in, wcs_out = wcs_in.celestial, wcs_out.celestial
    # Where pixels become larger, the mask is first brought to their scale about its own centre, and then moved.
    step = max(1.0, float(np.sqrt(proj_plane_pixel_area(wcs_out) / proj_plane_pixel_area(wcs_in))))
    scaled = _resample(counts, step, int(np.ceil(max(counts.shape) / step)))
    x, y = pixel_to_pixel(wcs_out, wcs_in, *np.meshgrid(np.arange(shape_out[1]), np.arange(shape_out[0])))
    x = (x - (counts.shape[1] - 1) / 2) / step + (scaled.shape[1] - 1) / 2
    y = (y - (counts.shape[0] - 1) / 2) / step + (scaled.shape[0] - 1) / 2
    # What lies on the far side of the sky has no place on a tangent plane: NaN.
    x, y = (np.nan_to_num(place, nan=-1e6).astype(np.float32) for place in (x, y))
    return _to_counts(cv2.remap(scaled, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_CONSTANT), counts)


def _checked_counts(counts: np.ndarray) -> np.ndarray:
    counts = np.asarray(counts)
    if counts.ndim != 2:
        raise ValueError(f"counts must be of shape (H, W); received shape {counts.shape}")
    return counts


def _resample(counts: np.ndarray, step: float, size: int) -> np.ndarray:
    """Bring counts to pixels `step` times larger, float32 (size, size) about the same centre."""
    # Only the pixels that the mask can reach are resampled: a mask far smaller than the cutout would otherwise have to
    # be padded to the cutout's size at its own, finer scale. The bicubic kernel reaches two pixels.
    margin = (size - min(size, int(np.ceil(max(counts.shape) / step)) + 4)) // 2
    size -= 2 * margin
    half = size * step / 2
    pad = int(np.ceil(max(0.0, half - min(counts.shape) / 2)))
    padded = Image.fromarray(np.pad(counts, pad).astype(np.float32))
    x, y = padded.width / 2, padded.height / 2
    resized = padded.resize((size, size), Image.Resampling.BICUBIC, box=(x - half, y - half, x + half, y + half))
    return np.pad(np.asarray(resized), margin)


def _to_counts(resampled: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Whole counts; bicubic kernels overshoot, but none may be below zero or above the largest there was."""
    return np.clip(np.rint(resampled), 0, counts.max(initial=0)).astype(np.uint8)


def _checked_paths(components: Sequence[Component], volunteer: int) -> list[np.ndarray]:
    """Paths of a volunteer, each as float (n, 2)."""
    if not isinstance(components, Sequence) or isinstance(components, str):
        raise ValueError(f"volunteer {volunteer} must have a list of components; received {str(components)[:80]}")
    return [_checked_path(path, volunteer, k) for k, path in enumerate(components)]


def _checked_path(path: Component, volunteer: int, component: int) -> np.ndarray:
    """Vertices as float (n, 2)."""
    try:
        vertices = np.array(path, dtype=float) if len(path) else np.empty((0, 2))
    except (TypeError, ValueError):
        vertices = np.empty(0)
    if vertices.ndim != 2 or vertices.shape[1] != 2 or not np.isfinite(vertices).all():
        raise ValueError(
            f"component {component} of volunteer {volunteer} must be a list of finite [x, y]; received {str(path)[:80]}"
        )
    return vertices


def _enclosed(path: np.ndarray, shape: tuple[int, int]) -> tuple[tuple[slice, slice], np.ndarray] | None:
    """Pixels inside a closed path by the even-odd rule: a window of the frame and 0 or 1 for each of its pixels.

    In its row, a pixel at tx is inside if an odd number of edges lies to its right. Whether an edge does is decided by
    the expression of `matplotlib.path`, whose roundings decide ties; it is monotonic in tx, so that each edge
    has one threshold: the number of columns, from the left, that lie before it.
    """
    height, width = shape
    if len(path) < 2:
        return None
    columns = slice(max(0, int(np.floor(path[:, 0].min()))), width)
    x0, y0 = path.T
    x1, y1 = np.roll(path, -1, axis=0).T
    first = np.clip(np.floor(np.minimum(y0, y1)) + 1, 0, height).astype(int)
    last = np.clip(np.floor(np.maximum(y0, y1)), -1, height - 1).astype(int)
    spans = np.maximum(last - first + 1, 0)
    n_crossings = int(spans.sum())
    if n_crossings == 0 or columns.start >= width:
        return None
    edge = np.repeat(np.arange(len(path)), spans)
    row = np.arange(n_crossings) - np.repeat(np.cumsum(spans) - spans, spans) + first[edge]
    x1, y1, dx, dy = x1[edge], y1[edge], (x0 - x1)[edge], (y0 - y1)[edge]
    side = (y1 - row) * dx
    upwards = y1 >= row

    def lies_before_edge(column: np.ndarray) -> np.ndarray:
        return (side >= (x1 - column) * dy) == upwards

    threshold = np.clip(np.floor(x1 - side / dy) + 1, 0, width)
    # The estimate is off by one where the crossing falls on a pixel centre, up to rounding.
    threshold += lies_before_edge(threshold)
    threshold -= ~lies_before_edge(threshold - 1)
    threshold = np.clip(threshold, columns.start, width).astype(int) - columns.start
    top, bottom = int(row.min()), int(row.max()) + 1
    right = int(threshold.max())
    if right == 0:
        return None
    toggles = np.bincount((row - top) * (right + 1) + threshold, minlength=(bottom - top) * (right + 1))
    # A closed path crosses each row an even number of times: edges on the left are as odd as edges on the right.
    inside = np.cumsum(toggles.reshape(-1, right + 1)[:, :right], axis=1, dtype=np.uint8) & 1
    return (slice(top, bottom), slice(columns.start, columns.start + right)), inside


def _pairs_with_overlapping_boxes(path: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs i < j of a path's segments whose bounding boxes overlap or touch."""
    low, high = np.minimum(path[:-1], path[1:]), np.maximum(path[:-1], path[1:])
    overlap = np.triu(np.ones((len(low), len(low)), dtype=bool), k=1)
    for axis in (0, 1):
        overlap &= low[:, None, axis] <= high[None, :, axis]
        overlap &= low[None, :, axis] <= high[:, None, axis]
    i, j = np.nonzero(overlap)
    return i, j


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]
