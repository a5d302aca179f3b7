"""What can be measured on the masks of a galaxy: areas, the bar's length and direction, how much the arms cover.

A pixel belongs to the arms or the bar from 3 of 15 volunteers on (Masters et al. 2021, arXiv 2108.02065). Measures are
as seen, in the plane of the sky; deprojecting them takes the galaxy's inclination.
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
    "spiral_area_px": "pixels in the arms",
    "spiral_area_arcsec2": "the same in arcsec²",
    "spiral_coverage": "share of the arms' convex hull that lies in arms, 0 to 1",
    "bar_area_px": "pixels in the bar, its largest connected piece",
    "bar_area_arcsec2": "the same in arcsec²",
    "bar_length_px": "full length of the bar along its principal axis, pixels",
    "bar_length_arcsec": "the same in arcsec",
    "bar_angle": "direction of that axis, degrees counter-clockwise as seen from the positive x axis, 0 to 180",
    "bar_pa": "position angle of that axis on the sky, degrees from north through east, 0 to 180",
}
"""The measurements in order, and what they mean."""


def measure(masks: Mapping[str, np.ndarray], wcs: WCS | None, pixscale: float) -> dict[str, float]:
    """Measures a galaxy's arms and bar.

    - The *bar* is the largest connected piece of its mask; specks elsewhere do not count.
    - *bar_length* is the distance between its ends, as volunteers drew it (Hoyle et al. 2011, arXiv 1104.5394) and as
      the bounding box of a mask gives it (Krishnarao et al. 2020): the extent of the pixels' centres along the
      principal axis, and half a pixel for what lies beyond the outermost ones on average. Rectangles and ellipses give
      their length at any angle to a pixel.
    - *bar_angle* is that of the principal axis of second moments, which a ragged outline hardly turns.
    - *spiral_coverage* compares the arms with the disc that they wind through, their convex hull: pixels in arms over
      pixels in the hull. Turning a disc out of the plane of the sky maps hull to hull, so that it does not depend on
      inclination, nor on the pixel scale.

    Args:
        masks: `spiral_mask` and `bar_mask`, or one of them: shares of volunteers on the image's grid, float (H, W).
        wcs: of the image, as in `images.wcs`; None if unknown.
        pixscale: of the image, arcsec per pixel; NaN if unknown.

    Returns:
        All of `COLUMNS`, in order. Without arms or bar an area is 0 and everything else about them NaN; NaN is also
        what was not predicted, and what needs an unknown scale or place on the sky.
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
    """How many pixels have their centre in the convex hull of the centres of the chosen ones, which it includes."""
    rows = np.flatnonzero(pixels.any(axis=1))
    first, last = pixels[rows].argmax(axis=1), pixels.shape[1] - 1 - pixels[rows, ::-1].argmax(axis=1)
    ends = np.column_stack([np.append(first, last), np.append(rows, rows)])  # no other pixel can be a corner
    corners = cv2.convexHull(ends.astype(np.int32))[:, 0]
    sides = np.abs(corners - np.roll(corners, 1, axis=0))
    # Pick's theorem: whole-numbered points in a polygon with whole-numbered corners, those on its boundary included.
    return cv2.contourArea(corners) + float(np.gcd(*sides.T).sum()) / 2 + 1


def _measure_bar(enclosed: np.ndarray, wcs: WCS | None, pixscale: float) -> dict[str, float]:
    x, y = _largest_piece(enclosed)
    values = {"bar_area_px": float(len(x)), "bar_area_arcsec2": len(x) * pixscale**2}
    if not len(x):
        return values
    x0, y0 = x.mean(), y.mean()
    right, up = x - x0, y0 - y
    axis = float(np.arctan2(2 * (right * up).mean(), (right**2).mean() - (up**2).mean())) / 2
    length = float(np.ptp(right * np.cos(axis) + up * np.sin(axis))) + 0.5
    angle = float(np.degrees(axis)) % 180
    values |= {"bar_length_px": length, "bar_length_arcsec": length * pixscale, "bar_angle": angle}
    if wcs is not None:
        ends = np.array([-0.5, 0.5])
        sky = sky_of_pixel(wcs, x0 + ends * np.cos(axis), y0 - ends * np.sin(axis), len(enclosed))
        values["bar_pa"] = _position_angle(*sky)
    return values


def _largest_piece(enclosed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Columns and rows of the pixels of the largest connected piece; those that touch at a corner are connected."""
    left, top, width, height = cv2.boundingRect(enclosed.view(np.uint8))
    window = enclosed[top : top + height, left : left + width].view(np.uint8)
    if not window.size:
        return np.empty(0), np.empty(0)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(window, connectivity=8)
    y, x = np.nonzero(labels == 1 + stats[1:, cv2.CC_STAT_AREA].argmax())
    return x + left, y + top


def _position_angle(ra: np.ndarray, dec: np.ndarray) -> float:
    """Of the line between two positions in degrees: from north through east, 0..180."""
    ra, dec = np.radians(ra), np.radians(dec)
    return float(np.degrees(position_angle(ra[0], dec[0], ra[1], dec[1]).rad) % 180)
