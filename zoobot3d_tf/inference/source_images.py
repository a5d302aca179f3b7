"""Read the images of galaxies from files and shards, and frame them for the network.

An image that cannot be used is returned as the error that says why.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby

import cv2
import numpy as np
import pandas as pd

from zoobot3d_tf.data.framing import Framing, central_affine, warp
from zoobot3d_tf.images.image_file import ImageError, open_image_file
from zoobot3d_tf.images.read import is_blank, read_image, resize_image


def read_images(galaxies: pd.DataFrame, stretch: str) -> Iterator[np.ndarray | ImageError]:
    """Read images, one after the other.

    Args:
        galaxies: galaxies, as the functions of `inputs` list them. Rows that follow each other in a shard are read in
            one go.
        stretch: colour stretch of FITS cutouts; see `images.rgb.to_rgb`.

    Yields:
        For each row, in order: the image, uint8 (H, W, 3), row 0 at the top, read-only; or the error that says why
        there is no image, which names the file.

    Raises:
        OSError, MemoryError: the machine cannot read a file; other images would fail too.
    """
    rows = enumerate(zip(galaxies["file_loc"], galaxies["record"], strict=True))
    # Consecutive records of a shard have the same difference between record and row.
    for (file_loc, _), run in groupby(rows, key=lambda row: (row[1][0], row[1][1] - row[0])):
        records = [record for _, (_, record) in run]
        if records[0] < 0:
            yield _read_file(file_loc, stretch)
        else:
            yield from _read_records(file_loc, range(records[0], records[-1] + 1))


def frame_images(images: Sequence[np.ndarray | ImageError], framing: Framing, step: int) -> np.ndarray:
    """Crop and resize images to the input of the network, as validation images in training.

    Args:
        images: at most `step` images, as `read_images` yields them.
        framing: framing of the run.
        step: number of galaxies per call of the network.

    Returns:
        uint8 (step, final_size, final_size, 3), black where there is no image. The shape is always the same, so that
        the results of a galaxy do not depend on the number of images.
    """
    inputs = np.zeros((step, framing.final_size, framing.final_size, 3), np.uint8)
    for i, image in enumerate(images):
        if not isinstance(image, ImageError):
            stored = resize_image(image, framing.initial_size)
            inputs[i] = warp(stored, central_affine(framing), framing.final_size)
    return inputs


def _read_file(file_loc: str, stretch: str) -> np.ndarray | ImageError:
    try:
        return read_image(file_loc, stretch)
    except ImageError as error:
        return error


def _read_records(file_loc: str, records: range) -> Iterator[np.ndarray | ImageError]:
    import tensorflow as tf

    from zoobot3d_tf.shards.read import read_records
    from zoobot3d_tf.shards.record import parse

    try:
        with open_image_file(file_loc):
            pass
    except ImageError as error:
        yield from (error for _ in records)
        return
    # Other errors of TensorFlow are those of the machine.
    damage = (
        StopIteration,
        tf.errors.DataLossError,
        tf.errors.InvalidArgumentError,
        tf.errors.NotFoundError,
        tf.errors.OutOfRangeError,
    )
    stored = iter(read_records([file_loc]).skip(records.start))
    for record in records:
        try:
            encoded = parse(next(stored)[None], 0, ("image",))["image"].numpy()[0]
        except damage:
            # Skipped records are not checked, so that the records after a damaged one can still be read.
            stored = iter(read_records([file_loc]).skip(record + 1))
            yield ImageError(
                f"{file_loc}: record {record} is damaged or missing; copy the shard again, or make it again"
            )
        except tf.errors.OpError as error:
            raise OSError(f"{file_loc}: cannot be read: {error.message}") from error
        else:
            yield _decode(file_loc, record, encoded)


def _decode(file_loc: str, record: int, encoded: bytes) -> np.ndarray | ImageError:
    from zoobot3d_tf.shards.record import decode

    try:
        image = decode(encoded)
    except (ValueError, cv2.error) as error:
        return ImageError(f"{file_loc}: record {record}: {error}")
    if image.ndim != 3 or image.shape[2] != 3:
        return ImageError(f"{file_loc}: record {record}: an image must have three colours; its shape is {image.shape}")
    if is_blank(image):
        return ImageError(f"{file_loc}: record {record}: the image is empty: every pixel has the same value")
    return image
