"""Images of a pretraining, read and resized once, in one file on the disk.

The operating system keeps in memory as much of the file as fits, so that neither few nor millions of images need other
settings.
"""

import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pandas as pd

from zoobot3d_tf.failures import check_failures, may_fail
from zoobot3d_tf.files import whole_file
from zoobot3d_tf.images.read import ImageError, read_image, resize_image
from zoobot3d_tf.machine import available_cores
from zoobot3d_tf.progress import Progress
from zoobot3d_tf.tables.formats import write_failures

_IMAGES_AT_ONCE = 256  # in memory

log = logging.getLogger(__name__)


def store_images(
    path: Path, galaxies: pd.DataFrame, size: int, stretch: str, failed_loc: Path, max_failed: float
) -> np.ndarray:
    """Read and resize images, unless the file of them exists.

    Args:
        path: file to write, with `size` x `size` x 3 bytes per image.
        galaxies: image files, as `galaxies_in_folder` lists them.
        size: height and width of the stored images, in pixels.
        stretch: colour stretch of FITS cutouts, see `images.rgb.to_rgb`.
        failed_loc: table to write, of the images that cannot be used.
        max_failed: largest fraction of the images that may fail; see `failures.may_fail`.

    Returns:
        uint8 (images, size, size, 3), read from the file when it is used.

    Raises:
        ValueError: too many images failed, or all.
        OSError, MemoryError: the machine cannot read or write a file.
    """
    if not path.is_file():
        with whole_file(path) as unfinished, unfinished.open("wb") as file:
            failures = _write(file, galaxies, size, stretch, may_fail(len(galaxies), max_failed))
            failed_loc.unlink(missing_ok=True)
            if failures:
                write_failures(failed_loc, failures)
                reasons = [reason for *_, reason in failures]
                check_failures(reasons, len(galaxies), max_failed, failed_loc, "Correct them, or set max_failed.")
                log.warning("%d of %d images left out, see %s", len(failures), len(galaxies), failed_loc)
            if len(failures) == len(galaxies):
                raise ValueError(f"{failed_loc}: all {len(galaxies)} images failed; the first: {failures[0][2]}")
    return np.memmap(path, np.uint8, "r").reshape(-1, size, size, 3)


def _write(file: BinaryIO, galaxies: pd.DataFrame, size: int, stretch: str, allowed: int) -> list[tuple[str, str, str]]:
    """Write images until more than `allowed` have failed; return id, path and reason of the failures."""

    def read(file_loc: str) -> np.ndarray | ImageError:
        try:
            return resize_image(read_image(file_loc, stretch), size)
        except ImageError as error:
            return error

    failures: list[tuple[str, str, str]] = []
    bar = Progress(total=len(galaxies), desc="reading", unit="image")
    with bar, ThreadPoolExecutor(available_cores()) as pool:
        for start in range(0, len(galaxies), _IMAGES_AT_ONCE):
            rows = galaxies.iloc[start : start + _IMAGES_AT_ONCE]
            images = pool.map(read, rows["file_loc"])
            for id_str, file_loc, image in zip(rows["id_str"], rows["file_loc"], images, strict=True):
                if isinstance(image, ImageError):
                    failures.append((id_str, file_loc, str(image)))
                else:
                    file.write(image.tobytes())
            bar.update(len(rows))
            if len(failures) > allowed:
                break
    return failures
