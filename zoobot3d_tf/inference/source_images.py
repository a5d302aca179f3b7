"""The images of galaxies, from files and from shards, as the network sees them.

An image that cannot be used comes as the reason why.
"""

import os
from collections.abc import Iterator, Sequence
from itertools import groupby

import numpy as np
import pandas as pd

from zoobot3d_tf.data.framing import Framing, central_affine, warp
from zoobot3d_tf.images.read import ImageError, is_blank, read_image, resize_image


def read_images(galaxies: pd.DataFrame, stretch: str) -> Iterator[np.ndarray | ImageError]:
    """Reads images one after the other.

    Args:
        galaxies: as the functions of `inputs` list them; rows that follow each other in a shard are read in one go.
        stretch: of the fluxes of FITS cutouts; see `to_rgb`.

    Yields:
        For each row, in order: uint8 (H, W, 3), row 0 at the top, not to be written to; or the reason why there is no
        image, which names the file.
    """
    rows = enumerate(zip(galaxies["file_loc"], galaxies["record"], strict=True))
    # Rows of one shard that count up record by record have their difference in common.
    for (file_loc, _), run in groupby(rows, key=lambda row: (row[1][0], row[1][1] - row[0])):
        records = [record for _, (_, record) in run]
        if records[0] < 0:
            yield _read_file(file_loc, stretch)
        else:
            yield from _read_records(file_loc, range(records[0], records[-1] + 1))


def frame_images(images: Sequence[np.ndarray | ImageError], framing: Framing, step: int) -> np.ndarray:
    """The network's input, framed as in validation.

    Args:
        images: as `read_images` yields them, `step` at most.
        framing: of the run folder.
        step: galaxies that the network takes at once.

    Returns:
        uint8 (step, final_size, final_size, 3), black where there is no image, so that the others come out as ever to
        the last bit.
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

    if not os.path.isfile(file_loc):
        yield from (ImageError(f"{file_loc}: no such file") for _ in records)
        return
    stored = iter(read_records([file_loc]).skip(records.start))
    for record in records:
        try:
            encoded = parse(next(stored)[None], 0, ("image",))["image"].numpy()[0]
        except (tf.errors.OpError, StopIteration):
            # What is skipped is not checked, so that the records behind a damaged one are still within reach.
            stored = iter(read_records([file_loc]).skip(record + 1))
            yield ImageError(f"{file_loc}: record {record} is damaged or missing; copy or make the shard again")
        else:
            yield _decode(file_loc, record, encoded)


def _decode(file_loc: str, record: int, encoded: bytes) -> np.ndarray | ImageError:
    from zoobot3d_tf.shards.record import decode

    try:
        image = decode(encoded)
    except ValueError as error:
        return ImageError(f"{file_loc}: record {record}: {error}")
    return (
        ImageError(f"{file_loc}: record {record} holds nothing: every pixel is the same") if is_blank(image) else image
    )
