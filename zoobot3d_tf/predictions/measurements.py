"""Measurements on the masks of a galaxy: areas, length and direction of the bar, coverage of the arms.

A pixel belongs to an arm or a bar if at least 3 of 15 volunteers enclosed it (Masters et al. 2021, arXiv 2108.02065).
All measurements are projected on the plane of the sky. Deprojection needs the inclination of the galaxy.
"""

from collections.abc import Mapping

import cv2
import numpy as np
from astropy.coordinates import position_angle
from astropy.wcs import WCS

from zoobot3d_tf.images.masks import is_enclosed
from zoobot3d_tf.images.wcs import sky_of_pixel

COLUMNS = {
    "pixscale": "arcsec per pixel of the image",
    "spiral_area_px": "number of pixels in the arms",
    "spiral_area_arcsec2": "area of the arms, square arcsec",
    "spiral_coverage": "share of the convex hull of the arms that lies in the arms, 0 to 1",
    "bar_area_px": "number of pixels in the bar, the largest connected piece of its mask",
    "bar_area_arcsec2": "area of the bar, square arcsec",
    "bar_length_px": "full length of the bar along its principal axis, pixels",
    "bar_length_arcsec": "full length of the bar, arcsec",
    "bar_angle": "direction of the principal axis, degrees counter-clockwise from the positive x axis, 0 to 180",
    "bar_pa": "position angle of the principal axis on the sky, degrees from north through east, 0 to 180",
}
"""Columns of the measurements in order, and what they mean."""
UNITS = {
    "pixscale": "arcsec / pix",
    "spiral_area_px": "pix2",
    "spiral_area_arcsec2": "arcsec2",
    "bar_area_px": "pix2",
    "bar_area_arcsec2": "arcsec2",
    "bar_length_px": "pix",
    "bar_length_arcsec": "arcsec",
    "bar_angle": "deg",
    "bar_pa": "deg",
}
"""Units of the measurements that have one, as `astropy.units` writes them."""


def measure(masks: Mapping[str, np.ndarray], wcs: WCS | None, pixscale: float) -> dict[str, float]:
    """Measure the arms and the bar of a galaxy.

    - The *bar* is the largest connected piece of its mask; other pieces do not count.
    - *bar_length* is the distance between the ends of the bar, as volunteers drew it (Hoyle et al. 2011,
      arXiv 1104.5394) and as the bounding box of a mask gives it (Krishnarao et al. 2020). It is the extent of the
      centres of the pixels along the principal axis, plus half a pixel, the mean extent beyond the outermost centres.
      The length of rectangles and ellipses at any angle is correct to one pixel.
    - *bar_angle* is the direction of the principal axis of the second moments, which a ragged outline hardly changes.
    - *spiral_coverage* is the number of pixels in the arms, divided by the number of pixels in their convex hull, the
      disc that they wind through. It depends neither on the pixel scale nor on the inclination.

    Args:
        masks: `spiral_mask`, `bar_mask` or both: fractions of volunteers on the pixel grid of the image, float (H, W).
        wcs: WCS of the image, see `images.wcs`; None if unknown.
        pixscale: arcsec per pixel of the image; NaN if unknown.

    Returns:
        All of `COLUMNS`, in order. If there are no arms or no bar, the area is 0 and their other measurements are NaN.
        Measurements on a mask that was not predicted are NaN, as are those that need an unknown pixel scale or WCS.
    """
    values = dict.fromkeys(COLUMNS, np.nan) | {"pixscale": float(pixscale)}
    if "spiral_mask" in masks:
        values |= _measure_arms(is_enclosed(masks["spiral_mask"]), pixscale)
    if "bar_mask" in masks:
        values |= _measure_bar(is_enclosed(masks["bar_mask"]), wcs, pixscale)
    return values


def _measure_arms(arms: np.ndarray, pixscale: float) -> dict[str, float]:
    area = int(np.count_nonzero(arms))
    values = {"spiral_area_px": float(area), "spiral_area_arcsec2": area * pixscale**2}
    if area:
        values["spiral_coverage"] = area / _pixels_in_hull(arms)
    return values


def _pixels_in_hull(pixels: np.ndarray) -> float:
    """Number of pixels whose centres lie in the convex hull of the centres of the given pixels, its border included."""
    rows = np.flatnonzero(pixels.any(axis=1))
    first, last = pixels[rows].argmax(axis=1), pixels.shape[1] - 1 - pixels[rows, ::-1].argmax(axis=1)
    ends = np.column_stack([np.append(first, last), np.append(rows, rows)])  # only these can be corners
    corners = cv2.convexHull(ends.astype(np.int32))[:, 0]
    sides = np.abs(corners - np.roll(corners, 1, axis=0))
    # Pick's theorem: the number of grid points in a polygon whose corners are grid points, its border included.
    return cv2.contourArea(corners) + float(np.gcd(*sides.T).sum()) / 2 + 1


def _measure_bar(enclosed: np.ndarray, wcs: WCS | None, pixscale: float) -> dict[str, float]:
    x, y = _largest_piece(enclosed)
    values = {"bar_area_px": float(len(x)), "bar_area_arcsec2": len(x) * pixscale**2}
    if not len(x):
        return values
    x0, y0, axis, first, last = _principal_axis(x, y)
    length = last - first
    angle = float(np.degrees(axis)) % 180
    values |= {"bar_length_px": length, "bar_length_arcsec": length * pixscale, "bar_angle": angle}
    if wcs is not None:
        ends = np.array([-0.5, 0.5])
        sky = sky_of_pixel(wcs, x0 + ends * np.cos(axis), y0 - ends * np.sin(axis), len(enclosed))
        values["bar_pa"] = _position_angle(*sky)
    return values


def bar_ends(fraction: np.ndarray) -> np.ndarray | None:
    """Ends of the bar on its principal axis, `bar_length` apart.

    Args:
        fraction: mask of the bar, fractions of volunteers, float (H, W).

    Returns:
        Positions (x, y) in pixels, shape (2, 2); None if there is no bar.
    """
    x, y = _largest_piece(is_enclosed(fraction))
    if not len(x):
        return None
    x0, y0, axis, *ends = _principal_axis(x, y)
    return np.array([x0, y0]) + np.array(ends)[:, None] * np.array([np.cos(axis), -np.sin(axis)])


def _principal_axis(x: np.ndarray, y: np.ndarray) -> tuple[float, float, float, float, float]:
    """Mean position of pixels, angle of their principal axis in radians, and the ends along it in pixels from there."""
    x0, y0 = float(x.mean()), float(y.mean())
    right, up = x - x0, y0 - y
    axis = float(np.arctan2(2 * (right * up).mean(), (right**2).mean() - (up**2).mean())) / 2
    along = right * np.cos(axis) + up * np.sin(axis)
    return x0, y0, axis, float(along.min()) - 0.25, float(along.max()) + 0.25


def _largest_piece(enclosed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Columns and rows of the pixels of the largest connected piece. Pixels that share a corner are connected."""
    left, top, width, height = cv2.boundingRect(enclosed.view(np.uint8))
    window = enclosed[top : top + height, left : left + width].view(np.uint8)
    if not window.size:
        return np.empty(0), np.empty(0)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(window, connectivity=8)
    y, x = np.nonzero(labels == 1 + stats[1:, cv2.CC_STAT_AREA].argmax())
    return x + left, y + top


def _position_angle(ra: np.ndarray, dec: np.ndarray) -> float:
    """Position angle of the line between two positions, all in degrees, 0 to 180."""
    ra, dec = np.radians(ra), np.radians(dec)
    return float(np.degrees(position_angle(ra[0], dec[0], ra[1], dec[1]).rad) % 180)
