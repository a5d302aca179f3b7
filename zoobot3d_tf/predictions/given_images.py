"""Images that are given in Python: arrays, images of Pillow, paths, or a table of paths."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pandas as pd
from PIL import Image

from zoobot3d_tf.files import PathLike
from zoobot3d_tf.images.image_file import ImageError, check_sides
from zoobot3d_tf.images.read import from_pillow, is_blank
from zoobot3d_tf.inference.inputs import galaxies_at, galaxies_in_folder, galaxies_in_memory, galaxies_in_table
from zoobot3d_tf.inference.run_job import named_images
from zoobot3d_tf.tables.columns import require_columns
from zoobot3d_tf.tables.formats import from_memory

if TYPE_CHECKING:
    from astropy.table import Table

    Images: TypeAlias = (
        np.ndarray
        | Image.Image
        | PathLike
        | Sequence[np.ndarray]
        | Sequence[Image.Image]
        | Sequence[PathLike]
        | Table
        | pd.DataFrame
    )

_HIGHEST = 255


@dataclass(frozen=True)
class GivenImages:
    """Galaxies, and where their images are.

    Attributes:
        galaxies: galaxies, as the functions of `inference.inputs` list them.
        arrays: images, uint8 (H, W, 3), if they are in memory; None if they are in files.
    """

    galaxies: pd.DataFrame
    arrays: Sequence[np.ndarray] | None = None

    def part(self, rows: slice, stretch: str) -> Iterator[tuple[Any, np.ndarray | ImageError]]:
        """Read the images of some of the galaxies.

        Args:
            rows: rows of `galaxies`.
            stretch: colour stretch of FITS cutouts; see `images.rgb.to_rgb`.

        Yields:
            Each galaxy as a named tuple, with its image, or the error that says why there is none.
        """
        galaxies = self.galaxies.iloc[rows]
        if self.arrays is None:
            yield from named_images(galaxies, stretch)
            return
        for galaxy, image in zip(galaxies.itertuples(), self.arrays[rows], strict=True):
            blank = ImageError(f"image {galaxy.id_str}: it is empty: every pixel has the same value")
            yield galaxy, blank if is_blank(image) else image


def take_images(images: "Images", ids: Sequence[str] | None) -> GivenImages:
    """Take images in any of the forms that `LoadedRun.predict` accepts, and check them.

    Args:
        images: images; see `LoadedRun.predict`.
        ids: ids of the galaxies; None for the numbers of images in memory, and for the names of files.

    Raises:
        TypeError: the images are of another type.
        ValueError: an array has another shape or range, an image cannot be used, there are no images, or an id is
            repeated.
        OSError: a file or folder does not exist, or cannot be listed.
    """
    if ids is not None and (isinstance(ids, str) or not all(isinstance(id_str, str) for id_str in ids)):
        raise TypeError(f"ids must be a list of text; received {ids!r:.80}")
    if isinstance(images, str | os.PathLike):
        return GivenImages(_renamed(galaxies_in_folder(images), ids))
    if isinstance(images, pd.DataFrame) or hasattr(images, "colnames"):
        return GivenImages(_renamed(_in_table(images), ids))
    if isinstance(images, np.ndarray):
        images = images if images.ndim == 4 else [images]
    elif isinstance(images, Image.Image):
        images = [images]
    elif not isinstance(images, Sequence):
        raise TypeError(
            "images must be arrays, images of Pillow, paths, or a table with the column file_loc; "
            f"received {type(images).__name__}"
        )
    if not len(images):
        raise ValueError("images must hold at least one image; received none")
    paths = [image for image in images if isinstance(image, str | os.PathLike)]
    if len(paths) == len(images):
        return GivenImages(_renamed(galaxies_at(paths, "images"), ids))
    names = [str(number) for number in range(len(images))] if ids is None else list(ids)
    _check_number(names, len(images))
    galaxies = galaxies_in_memory(names)
    return GivenImages(galaxies, [_to_pixels(image, name) for image, name in zip(images, names, strict=True)])


def _in_table(table: "pd.DataFrame | Table") -> pd.DataFrame:
    name = "images"
    rows = from_memory(name, table)
    require_columns(name, rows.columns, ["file_loc"])
    if "id_str" not in rows:
        rows = rows.assign(id_str=galaxies_at(rows["file_loc"].tolist(), name)["id_str"])
    return galaxies_in_table(rows, name, "")


def _renamed(galaxies: pd.DataFrame, ids: Sequence[str] | None) -> pd.DataFrame:
    if ids is None:
        return galaxies
    _check_number(ids, len(galaxies))
    return galaxies.assign(id_str=galaxies_in_memory(ids)["id_str"])


def _check_number(ids: Sequence[str], n_images: int) -> None:
    if len(ids) != n_images:
        raise ValueError(f"ids must name each of the {n_images} images; received {len(ids)}")


def _to_pixels(image: Any, name: str) -> np.ndarray:
    """Convert an image to uint8 (H, W, 3)."""
    name = f"image {name}"
    if isinstance(image, Image.Image):
        return from_pillow(image, name)
    pixels = np.asarray(image)
    if pixels.ndim != 3 or pixels.shape[2] != 3:
        raise ValueError(f"{name}: an array must have the shape (H, W, 3) or (N, H, W, 3); received {pixels.shape}")
    check_sides(name, *pixels.shape[:2])
    if pixels.dtype == np.uint8:
        return pixels
    if pixels.dtype.kind not in "fiu":
        raise ValueError(f"{name}: the values of an array must be numbers from 0 to 255; their type is {pixels.dtype}")
    low, high = pixels.min(), pixels.max()
    if not (low >= 0 and high <= _HIGHEST):  # also if one is NaN
        raise ValueError(f"{name}: the values of an array must be from 0 to 255; they are from {low:g} to {high:g}")
    if pixels.dtype.kind == "f" and 0 < high <= 1:
        raise ValueError(
            f"{name}: the values of an array must be from 0 to 255; they are from {low:g} to {high:g}, as if divided "
            "by 255; multiply by 255"
        )
    return np.rint(pixels).astype(np.uint8)
