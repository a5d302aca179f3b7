"""Masks: the number of volunteers who marked each pixel, with closed outlines (Galaxy Zoo: 3D, Masters et al. 2021) or
with lines that have a width (Galaxy Builder, Lingard et al. 2020).

Vertices are [x, y] in pixels, with x to the right and y down. Pixel centres are whole numbers.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from astropy.wcs import WCS

Component = Sequence[Sequence[float]] | Mapping[str, Any]
"""A closed outline, which is a list of vertices [x, y]; or a line, a mapping of its vertices `line` and its `width`, in
pixels."""
Marks = Sequence[Sequence[Component]]
"""Marks of volunteers, [volunteer] -> list of components. A volunteer who drew nothing has an empty list."""

MASKS = ("spiral_mask", "bar_mask")
MASK_TITLES = {"spiral_mask": "spiral arms", "bar_mask": "bar"}
"""Title of each mask on pages."""
N_VOLUNTEERS = 15
"""Number of volunteers per galaxy in Galaxy Zoo: 3D."""
MASK_THRESHOLD = 3 / 15
"""Smallest fraction of volunteers for a pixel to belong to a mask, as in Masters et al. 2021 (arXiv 2108.02065)."""
THRESHOLD_IN_WORDS = f"{MASK_THRESHOLD * N_VOLUNTEERS:.0f} of {N_VOLUNTEERS} volunteers"
"""The same as text: '3 of 15 volunteers'."""

MAX_VOLUNTEERS = np.iinfo(np.uint8).max
"""Largest number of volunteers per galaxy. Counts are stored in one byte."""

# Limits of time and memory, ten times what volunteers draw: a path of Galaxy Zoo: 3D has up to 600 vertices, a galaxy
# 5,000. The longest line of Galaxy Builder has 2,769 vertices, and a galaxy has up to 5,300.
_MAX_VERTICES = 50_000  # of a galaxy; a component counts as one vertex at least
_MAX_PATH_VERTICES = 5_000
_MAX_CROSSINGS = 2**21  # of rows by the edges of an outline, or by the thick segments of a line
_PAIRS_AT_ONCE = 2**20
_MAX_PIXELS = 1e9  # of coordinates and widths; beyond, the rounding of a float reaches the size of a pixel
_DISTANCE_TOLERANCE = 1e-9  # pixels


def counts_from_marks(
    marks: Marks,
    shape: tuple[int, int] = (525, 525),
    drop_self_crossing: bool = False,
    volunteers: Sequence[int] | None = None,
) -> np.ndarray:
    """Count the volunteers who marked each pixel. Overlapping components of one volunteer count once.

    An outline marks the pixels whose centres are inside the closed path by the even-odd rule. Centres exactly on an
    edge are decided as in `matplotlib.path`, which made the published masks of Galaxy Zoo: 3D. A line marks the pixels
    whose centres are at most half its width from it, so that its caps are round. A line of one vertex is a disc. An
    outline or a line without vertices marks nothing.

    Args:
        marks: marks of the volunteers, see `Marks`, in pixels of the mask. Outlines and lines may leave the frame and
            cross themselves.
        shape: height and width of the mask, in pixels.
        drop_self_crossing: whether to leave out outlines whose open path crosses or touches itself, as in the
            published masks. Lines are always drawn.
        volunteers: indices in `marks` of the volunteers to count; all if None. A volunteer who is listed twice counts
            twice, as a bootstrap needs.

    Returns:
        Counts, uint8 (H, W). Row 0 is the top row.

    Raises:
        ValueError: there are more than 255 volunteers or far too many vertices, a volunteer in `volunteers` has no
            marks, or a component is neither a list of finite [x, y] nor a line of finite [x, y] with a positive width.
    """
    _check_number_of_vertices(marks)
    chosen = range(len(marks)) if volunteers is None else volunteers
    if len(chosen) > MAX_VOLUNTEERS:
        raise ValueError(f"marks must have at most {MAX_VOLUNTEERS} volunteers; received {len(chosen)}")
    absent = [volunteer for volunteer in chosen if not 0 <= volunteer < len(marks)]
    if absent:
        raise ValueError(
            f"volunteers must be indices in marks: there are marks of {len(marks)} volunteers, counted from 0; "
            f"received the choice {absent[0]}"
        )
    counts = np.zeros(shape, dtype=np.uint8)
    marked = np.empty(shape, dtype=np.uint8)
    for volunteer in chosen:
        marked[:] = 0
        for component in _checked_components(marks[volunteer], volunteer):
            if component.width is not None:
                region = _near_line(component.vertices, component.width, shape)
            elif drop_self_crossing and crosses_itself(component.vertices):
                continue
            else:
                region = _enclosed(component.vertices, shape)
            if region is not None:
                window, inside = region
                marked[window] |= inside
        counts += marked
    return counts


def is_enclosed(fraction: Any, threshold: float = MASK_THRESHOLD) -> Any:
    """Determine which pixels belong to a mask.

    Args:
        fraction: fraction of volunteers who enclosed each pixel, array or tensor of any shape.
        threshold: smallest fraction for a pixel to belong to the mask.

    Returns:
        Booleans, of the same type and shape as `fraction`.
    """
    # The tolerance absorbs the rounding of k/15 and of k/255.
    return fraction >= threshold - 1e-3


def overlap(predicted: Any, true: Any, xp: Any, threshold: float = MASK_THRESHOLD) -> tuple[Any, Any]:
    """Count the pixels in the intersection and in the union of two masks.

    The metrics of training and the scores of evaluation both compute the IoU from these counts.

    Args:
        predicted: predicted fraction of volunteers who enclose each pixel, shape (..., H, W).
        true: true fraction of volunteers who enclosed each pixel, same shape.
        xp: module with the array functions: `numpy` for arrays, `keras.ops` for tensors.
        threshold: smallest fraction for a pixel to belong to a mask.

    Returns:
        Number of pixels in the intersection, and number of pixels in the union, shape (...) each.
    """
    inside_predicted, inside_true = is_enclosed(predicted, threshold), is_enclosed(true, threshold)
    both, either = xp.logical_and(inside_predicted, inside_true), xp.logical_or(inside_predicted, inside_true)
    return xp.count_nonzero(both, axis=(-2, -1)), xp.count_nonzero(either, axis=(-2, -1))


def check_marks(marks: Marks) -> None:
    """Check that `counts_from_marks` can read marks.

    Raises:
        ValueError: the marks of a volunteer are not a list, a component is neither an outline nor a line, or there
            are far too many vertices.
    """
    _check_number_of_vertices(marks)
    for volunteer, components in enumerate(marks):
        _checked_components(components, volunteer)


def crosses_itself(path: np.ndarray) -> bool:
    """Determine whether an open path crosses, touches or retraces itself (is not "simple" in the OGC standard).

    The edge from the last vertex back to the first is not part of the path. A path whose last vertex is its first
    vertex is a ring, which may touch itself at this vertex. Successive equal vertices count once.

    Args:
        path: vertices of the path, shape (n, 2).
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
    for i, j in _pairs_with_overlapping_boxes(path):
        apart = j > i + 1
        if is_ring:
            apart &= ~((i == 0) & (j == len(step) - 1))
        i, j = i[apart], j[apart]
        side_of_j = _cross(step[i], start[j] - start[i]), _cross(step[i], path[j + 1] - start[i])
        side_of_i = _cross(step[j], start[i] - start[j]), _cross(step[j], path[i + 1] - start[j])
        # For collinear segments, overlapping boxes mean overlapping segments, so that touching needs no special case.
        straddles = (np.sign(side_of_j[0]) * np.sign(side_of_j[1]) <= 0) & (
            np.sign(side_of_i[0]) * np.sign(side_of_i[1]) <= 0
        )
        if straddles.any():
            return True
    return False


def align_counts(counts: np.ndarray, pixscale_in: float, pixscale_out: float, size_out: int) -> np.ndarray:
    """Resample a mask of counts to another pixel scale and size about the same centre, with antialiasing.

    Args:
        counts: number of volunteers per pixel, uint8 (H, W).
        pixscale_in: pixel scale of `counts`, in arcsec per pixel.
        pixscale_out: pixel scale of the result, in arcsec per pixel.
        size_out: height and width of the result, in pixels. Pixels outside the frame of `counts` are 0.

    Returns:
        Resampled counts, uint8 (size_out, size_out).

    Raises:
        ValueError: a scale or the size is not positive, or `counts` is not two-dimensional.
    """
    counts = _checked_counts(counts)
    if not (pixscale_in > 0 and pixscale_out > 0 and size_out > 0):
        raise ValueError(
            "pixscale_in, pixscale_out and size_out must be positive; "
            f"received {pixscale_in}, {pixscale_out} and {size_out}"
        )
    return _to_counts(_resample(counts, pixscale_out / pixscale_in, size_out), counts)


def align_counts_wcs(counts: np.ndarray, wcs_in: "WCS", wcs_out: "WCS", shape_out: tuple[int, int]) -> np.ndarray:
    """Resample a mask of counts to any other pixel grid on the sky, with antialiasing.

    Each WCS must describe the array in memory, whose pixel (0, 0) is the first pixel of row 0. If the rows of a FITS
    image were reversed for its PNG, reverse its WCS too, with `wcs.flip_rows`.

    Args:
        counts: number of volunteers per pixel, uint8 (H, W).
        wcs_in: WCS of `counts`.
        wcs_out: WCS of the result.
        shape_out: height and width of the result, in pixels. Pixels outside the frame of `counts` are 0.

    Returns:
        Resampled counts, uint8, of shape `shape_out`.

    Raises:
        ValueError: a WCS has no celestial axes, `counts` is not two-dimensional, or a side is not positive.
    """
    from astropy.wcs.utils import pixel_to_pixel, proj_plane_pixel_area

    counts = _checked_counts(counts)
    if not (wcs_in.has_celestial and wcs_out.has_celestial):
        raise ValueError("wcs_in and wcs_out must have celestial axes, such as right ascension and declination")
    if min(shape_out) < 1:
        raise ValueError(f"shape_out must be positive; received {shape_out}")
    wcs_in, wcs_out = wcs_in.celestial, wcs_out.celestial
    # `cv2.remap` does not antialias. If the pixels become larger, the mask is therefore first resampled to their scale.
    step = max(1.0, float(np.sqrt(proj_plane_pixel_area(wcs_out) / proj_plane_pixel_area(wcs_in))))
    scaled = _resample(counts, step, int(np.ceil(max(counts.shape) / step)))
    x, y = pixel_to_pixel(wcs_out, wcs_in, *np.meshgrid(np.arange(shape_out[1]), np.arange(shape_out[0])))
    x = (x - (counts.shape[1] - 1) / 2) / step + (scaled.shape[1] - 1) / 2
    y = (y - (counts.shape[0] - 1) / 2) / step + (scaled.shape[0] - 1) / 2
    # Positions on the far side of the sky are not on the tangent plane: NaN.
    x, y = (np.nan_to_num(position, nan=-1e6).astype(np.float32) for position in (x, y))
    return _to_counts(cv2.remap(scaled, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_CONSTANT), counts)


def _checked_counts(counts: np.ndarray) -> np.ndarray:
    counts = np.asarray(counts)
    if counts.ndim != 2:
        raise ValueError(f"counts must have the shape (H, W); received {counts.shape}")
    return counts


def _resample(counts: np.ndarray, step: float, size: int) -> np.ndarray:
    """Resample counts about their centre to pixels `step` times larger, float32 (size, size)."""
    # Only the pixels that the mask can reach are resampled. Otherwise, a mask far smaller than the cutout would have to
    # be padded to the size of the cutout at its own, finer scale. The bicubic kernel reaches two pixels.
    margin = (size - min(size, int(np.ceil(max(counts.shape) / step)) + 4)) // 2
    size -= 2 * margin
    half = size * step / 2
    pad = int(np.ceil(max(0.0, half - min(counts.shape) / 2)))
    padded = Image.fromarray(np.pad(counts, pad).astype(np.float32))
    x, y = padded.width / 2, padded.height / 2
    resized = padded.resize((size, size), Image.Resampling.BICUBIC, box=(x - half, y - half, x + half, y + half))
    return np.pad(np.asarray(resized), margin)


def _to_counts(resampled: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Round to whole counts, and clip the overshoot of the bicubic kernel to the range of the original counts."""
    return np.clip(np.rint(resampled), 0, counts.max(initial=0)).astype(np.uint8)


def _check_number_of_vertices(marks: Marks) -> None:
    n_vertices = 0
    for volunteer, components in enumerate(marks):
        for k, component in enumerate(components if isinstance(components, list | tuple) else ()):
            path = component.get("line") if isinstance(component, Mapping) else component
            length = len(path) if isinstance(path, list | tuple | np.ndarray) else 0
            if length > _MAX_PATH_VERTICES:
                raise ValueError(
                    f"component {k} of volunteer {volunteer} must have at most {_MAX_PATH_VERTICES} vertices; "
                    f"it has {length}"
                )
            n_vertices += max(1, length)
    if n_vertices > _MAX_VERTICES:
        raise ValueError(f"marks must have at most {_MAX_VERTICES} vertices; received {n_vertices}")


@dataclass(frozen=True)
class _Component:
    """A checked component of a volunteer.

    Attributes:
        vertices: float (n, 2).
        width: width of a line, in pixels; None for a closed outline.
    """

    vertices: np.ndarray
    width: float | None = None


def _checked_components(components: Sequence[Component], volunteer: int) -> list[_Component]:
    if not isinstance(components, Sequence) or isinstance(components, str):
        raise ValueError(f"volunteer {volunteer} must have a list of components; received {str(components)[:80]}")
    return [
        _checked_component(component, f"component {k} of volunteer {volunteer}")
        for k, component in enumerate(components)
    ]


def _checked_component(component: Component, name: str) -> _Component:
    if not isinstance(component, Mapping):
        return _Component(_checked_vertices(component, name))
    for key in ("line", "width"):
        if key not in component:
            raise ValueError(
                f'{name} must be a line with the keys "line" and "width"; there is no "{key}" in {str(component)[:80]}'
            )
    width = component["width"]
    if isinstance(width, bool) or not isinstance(width, int | float) or not 0 < width <= _MAX_PIXELS:
        raise ValueError(
            f"{name} must be a line with a width above 0 and at most {_MAX_PIXELS:.0f} pixels; "
            f"received {str(width)[:80]}"
        )
    return _Component(_checked_vertices(component["line"], f"the line of {name}"), float(width))


def _checked_vertices(path: Any, name: str) -> np.ndarray:
    try:
        vertices = np.array(path, dtype=float) if len(path) else np.empty((0, 2))
    except (TypeError, ValueError):
        vertices = np.empty(0)
    if vertices.ndim != 2 or vertices.shape[1] != 2 or not np.isfinite(vertices).all():
        raise ValueError(f"{name} must be a list of finite [x, y]; received {str(path)[:80]}")
    if np.abs(vertices).max(initial=0) > _MAX_PIXELS:
        raise ValueError(f"{name} must have x and y from -{_MAX_PIXELS:.0f} to {_MAX_PIXELS:.0f} pixels")
    return vertices


_Region = tuple[tuple[slice, slice], np.ndarray]
"""A window of the frame, and 0 or 1 for each pixel of the window."""


def _near_line(path: np.ndarray, width: float, shape: tuple[int, int]) -> _Region | None:
    """Find the pixels whose centres are at most half a width from a line.

    The pixels near a segment are those in discs whose centre moves along it. In each row they are one interval. Its
    ends are found from the disc that reaches farthest to the left, and from that which reaches farthest to the right.

    Returns:
        A window of the frame, and 0 or 1 for each pixel of the window; None if no pixel is near.
    """
    height, n_columns = shape
    if not len(path):
        return None
    # The small addition includes centres at exactly this distance, whatever the rounding.
    radius = width / 2 + _DISTANCE_TOLERANCE
    start, end = (path[:-1], path[1:]) if len(path) > 1 else (path, path)
    downwards = (start[:, 1] <= end[:, 1])[:, None]
    (x0, y0), (x1, y1) = np.where(downwards, start, end).T, np.where(downwards, end, start).T
    first = np.clip(np.ceil(y0 - radius), 0, height).astype(int)
    last = np.clip(np.floor(y1 + radius), -1, height - 1).astype(int)
    # A segment to the left or to the right of the frame marks nothing.
    seen = (np.maximum(x0, x1) + radius >= 0) & (np.minimum(x0, x1) - radius <= n_columns - 1)
    spans = np.where(seen, np.maximum(last - first + 1, 0), 0)
    n_crossings = _checked_crossings(spans)
    if n_crossings == 0:
        return None
    segment = np.repeat(np.arange(len(x0)), spans)
    row = np.arange(n_crossings) - np.repeat(np.cumsum(spans) - spans, spans) + first[segment]
    dx, dy = x1 - x0, y1 - y0
    # Height above the row of the disc that reaches farthest to the right.
    farthest = radius * dx / np.maximum(np.hypot(dx, dy), _DISTANCE_TOLERANCE)
    x0, y0, dx, dy, farthest = (values[segment] for values in (x0, y0, dx, dy, farthest))

    def reach(offset: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Centre, and half the chord in its row, of the disc at this height above the row, or nearest to it."""
        along = np.clip((row - y0 + offset) / np.maximum(dy, _DISTANCE_TOLERANCE), 0, 1)
        chord = np.sqrt(np.maximum(radius**2 - (row - y0 - along * dy) ** 2, 0))
        return x0 + along * dx, chord

    centre, chord = reach(-farthest)
    left = np.clip(np.ceil(centre - chord), 0, n_columns).astype(int)
    centre, chord = reach(farthest)
    right = np.clip(np.floor(centre + chord) + 1, left, n_columns).astype(int)
    top, bottom, leftmost, rightmost = int(row.min()), int(row.max()) + 1, int(left.min()), int(right.max())
    if leftmost >= rightmost:
        return None
    size = (bottom - top, rightmost - leftmost + 1)
    base = (row - top) * size[1] - leftmost
    changes = np.bincount(base + left, minlength=size[0] * size[1]) - np.bincount(
        base + right, minlength=size[0] * size[1]
    )
    covered = np.cumsum(changes.reshape(size)[:, :-1], axis=1) > 0
    return (slice(top, bottom), slice(leftmost, rightmost)), covered.view(np.uint8)


def _enclosed(path: np.ndarray, shape: tuple[int, int]) -> _Region | None:
    """Find the pixels inside a closed path by the even-odd rule.

    A pixel is inside if an odd number of edges lies to its right in its row. Whether an edge lies to the right is
    decided by the expression in `matplotlib.path`, whose rounding decides ties. The expression is monotonic in the
    column, so that each edge has one threshold per row: the number of columns to its left.

    Returns:
        A window of the frame, and 0 or 1 for each pixel of the window; None if no pixel is inside.
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
    n_crossings = _checked_crossings(spans)
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
    # The estimate may be wrong by one if the edge crosses the row at a pixel centre.
    threshold += lies_before_edge(threshold)
    threshold -= ~lies_before_edge(threshold - 1)
    threshold = np.clip(threshold, columns.start, width).astype(int) - columns.start
    top, bottom = int(row.min()), int(row.max()) + 1
    right = int(threshold.max())
    if right == 0:
        return None
    toggles = np.bincount((row - top) * (right + 1) + threshold, minlength=(bottom - top) * (right + 1))
    # A closed path crosses each row an even number of times, so that counting edges on the left gives the same parity.
    inside = np.cumsum(toggles.reshape(-1, right + 1)[:, :right], axis=1, dtype=np.uint8) & 1
    return (slice(top, bottom), slice(columns.start, columns.start + right)), inside


def _checked_crossings(spans: np.ndarray) -> int:
    n_crossings = int(spans.sum())
    if n_crossings > _MAX_CROSSINGS:
        raise ValueError(f"a component must cross rows at most {_MAX_CROSSINGS} times; it crosses {n_crossings}")
    return n_crossings


def _pairs_with_overlapping_boxes(path: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Indices i < j of the segments of a path whose bounding boxes overlap or touch, in pieces with ascending i."""
    low, high = np.minimum(path[:-1], path[1:]), np.maximum(path[:-1], path[1:])
    step = max(1, _PAIRS_AT_ONCE // len(low))
    for first in range(0, len(low), step):
        # Segments before the first of this piece have been compared with it already.
        rows, columns = slice(first, first + step), slice(first, None)
        overlap = np.triu(np.ones((len(low[rows]), len(low[columns])), dtype=bool), k=1)
        for axis in (0, 1):
            overlap &= low[rows, None, axis] <= high[None, columns, axis]
            overlap &= low[None, columns, axis] <= high[rows, None, axis]
        i, j = np.nonzero(overlap)
        yield i + first, j + first


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]
