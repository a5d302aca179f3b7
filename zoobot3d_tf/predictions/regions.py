"""DS9 regions of predicted masks: their outlines, and the axes of the bars."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pandas as pd

from zoobot3d_tf.extras import require
from zoobot3d_tf.files import whole_file
from zoobot3d_tf.images.masks import MASKS, is_enclosed
from zoobot3d_tf.images.overlay import BAR_COLOUR, SPIRAL_COLOUR
from zoobot3d_tf.images.wcs import read_wcs, sky_of_pixel, wcs_at
from zoobot3d_tf.predictions.mask_files import read_mask_file
from zoobot3d_tf.predictions.measurements import bar_ends

if TYPE_CHECKING:
    from astropy.wcs import WCS

_COLOURS = {"spiral_mask": SPIRAL_COLOUR, "bar_mask": BAR_COLOUR}
_FINER = 4  # outlines are drawn on a grid with pixels of this fraction
_TOLERANCE = 1.0  # of outlines with fewer vertices, in pixels of the finer grid


def outlines(fraction: np.ndarray) -> list[np.ndarray]:
    """Draw the outlines of the pixels that belong to an arm or a bar, those of holes included.

    Args:
        fraction: fractions of volunteers, float (H, W).

    Returns:
        Closed polygons, positions (x, y) in pixels, float (vertices, 2), accurate to half a pixel.
    """
    height, width = fraction.shape
    finer = cv2.resize(fraction, (_FINER * width, _FINER * height), interpolation=cv2.INTER_LINEAR)
    enclosed = is_enclosed(finer).astype(np.uint8)
    found, _ = cv2.findContours(enclosed, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    polygons = [cv2.approxPolyDP(contour, _TOLERANCE, closed=True)[:, 0] for contour in found]
    return [(polygon + 0.5) / _FINER - 0.5 for polygon in polygons if len(polygon) > 2]


def write_regions(path: Path, tables: Iterable[pd.DataFrame]) -> None:
    """Write the outlines of all masks in a table of predictions, and the axes of the bars, as DS9 regions.

    The regions are in sky coordinates (ICRS) where the image has a WCS or the table its position and pixel scale, else
    in image coordinates, which count from 1 at the bottom left. The tag of a region is the id of the galaxy.

    Args:
        path: file to write, .reg.
        tables: pieces of the table of predictions, with absolute paths.

    Raises:
        ImageError: a mask cannot be read, or a WCS is damaged.
        ImportError: the package regions is not installed.
        OSError: the file cannot be written.
    """
    require("regions", "regions of DS9")
    from regions import Regions

    with whole_file(path) as partial, partial.open("w", encoding="utf-8") as file:
        for table in tables:
            for row in table.to_dict("records"):
                if of_galaxy := list(_regions_of(row)):
                    file.write(Regions(of_galaxy).serialize(format="ds9"))


def _regions_of(row: Mapping[Any, Any]) -> Iterator[Any]:
    """Regions of one galaxy."""
    for name in MASKS:
        if not row.get(f"{name}_loc"):
            continue
        fraction = read_mask_file(row[f"{name}_loc"])
        height, width = fraction.shape
        wcs = _wcs_of(row, (height, width))
        look = {"color": "#{:02x}{:02x}{:02x}".format(*_COLOURS[name])}
        meta = {"tag": [row["id_str"], name]}
        for polygon in outlines(fraction):
            yield _region("Polygon", polygon, wcs, height, meta, look)
        if name == "bar_mask" and (ends := bar_ends(fraction)) is not None:
            yield _region("Line", ends, wcs, height, meta, look)


def _region(shape: str, points: np.ndarray, wcs: "WCS | None", height: int, meta: dict, look: dict) -> Any:
    """Polygon or line of the package regions through positions (x, y) of an array."""
    import regions
    from astropy.coordinates import SkyCoord

    x, y = points.T
    if wcs is None:
        kind, vertices = "Pixel", regions.PixCoord(x, height - 1 - y)
    else:
        kind, vertices = "Sky", SkyCoord(*sky_of_pixel(wcs, x, y, height), unit="deg")
    places = (vertices,) if shape == "Polygon" else (vertices[0], vertices[1])
    return getattr(regions, f"{shape}{kind}Region")(
        *places, meta=regions.RegionMeta(meta), visual=regions.RegionVisual(look)
    )


def _wcs_of(row: Mapping[Any, Any], shape: tuple[int, int]) -> "WCS | None":
    if (wcs := read_wcs(row["file_loc"])) is not None:
        return wcs
    place = row["ra"], row["dec"], row["pixscale"]
    return wcs_at(*place, shape) if np.isfinite(place).all() else None
