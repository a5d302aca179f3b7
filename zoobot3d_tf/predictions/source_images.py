"""The images of galaxies to be predicted, from files and from shards; one that cannot be used comes as its reason."""

import os
from collections.abc import Iterator
from itertools import groupby

import numpy as np
import pandas as pd

from zoobot3d_tf.images.read import ImageError, is_blank, read_image


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
