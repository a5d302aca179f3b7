"""The record of a galaxy in a shard. The writer and the reader both follow from the fields of `Record`."""

import io
import math
import struct
from collections.abc import Collection
from contextlib import suppress
from dataclasses import MISSING, Field, dataclass, fields
from typing import Any

import cv2
import numpy as np
import tensorflow as tf
from isal import isal_zlib
from PIL import Image

_JPEG_START, _JPEG_END = b"\xff\xd8", b"\xff\xd9"
_PNG_END = b"IEND\xaeB`\x82"
_PNG_FORM = bytes([8, 0, 0, 0, 0])
"""Form of a PNG with one byte per pixel, in its header: 8 bits, grey, and not interlaced."""


@dataclass(frozen=True)
class Record:
    """A galaxy as it is stored.

    The type of a field decides its form on disk. Text and bytes are stored as bytes, whole numbers and truth values as
    int64, and the array as float32. A float is stored as the eight bytes of a float64: the floats of a TFRecord are
    float32, which would round a right ascension to 0.1 arcsec.

    Attributes:
        id_str: name of the galaxy, unique.
        image: image, JPEG.
        spiral_mask: number of volunteers who enclosed each pixel, PNG on the pixel grid of the image; empty bytes if
            nobody was asked to draw spiral arms.
        bar_mask: the same for the bar.
        votes: number of votes for each answer, in the order of the schema; 0 if the question was not asked.
        has_votes: whether the galaxy has a vote on any question.
        has_spiral_mask: whether volunteers were asked to draw spiral arms, even if nobody drew any.
        has_bar_mask: the same for the bar.
        n_volunteers: number of volunteers who were asked to draw.
        ra: right ascension of the centre of the image, in degrees, ICRS; NaN if unknown.
        dec: declination of the centre, in degrees; NaN if unknown.
        pixscale: pixel scale of the stored image, in arcsec per pixel; NaN if unknown.
        label: label as `labels.read_labels` returns it; NaN if missing, and in shards before format version 3.
        has_label: whether the galaxy has a label.
    """

    id_str: str
    image: bytes
    spiral_mask: bytes
    bar_mask: bytes
    votes: np.ndarray
    has_votes: bool
    has_spiral_mask: bool
    has_bar_mask: bool
    n_volunteers: int
    ra: float
    dec: float
    pixscale: float
    label: float = math.nan
    has_label: bool = False


def serialise(record: Record) -> bytes:
    """Convert a record to the bytes of a `tf.train.Example`. Equal records give equal bytes."""
    features = {field.name: _to_feature(field.type, getattr(record, field.name)) for field in fields(Record)}
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString(deterministic=True)


def with_votes(serialised: bytes, votes: np.ndarray) -> bytes:
    """Give votes to a record. All other bytes, such as those of the image, stay as they are.

    Args:
        serialised: serialised record.
        votes: number of votes for each answer, shape (answers,), not all 0.

    Returns:
        The serialised record with the votes, as `serialise` would write it.
    """
    example = tf.train.Example.FromString(serialised)
    example.features.feature["votes"].CopyFrom(_to_feature(np.ndarray, votes))
    example.features.feature["has_votes"].CopyFrom(_to_feature(bool, True))
    return example.SerializeToString(deterministic=True)


def parse(serialised: tf.Tensor, n_answers: int, names: Collection[str] | None = None) -> dict[str, tf.Tensor]:
    """Read a batch of records. Images and masks stay encoded.

    Args:
        serialised: serialised records, strings of shape (B,).
        n_answers: number of answers of the decision tree.
        names: names of the fields to read; all if None.

    Returns:
        One tensor per field of `Record`, of shape (B,): string for text and bytes, bool for truth values, int64 for
        whole numbers, and float64 for floats. `votes` is float32 (B, n_answers).
    """
    wanted = [field for field in fields(Record) if names is None or field.name in names]
    parsed = tf.io.parse_example(serialised, {field.name: _stored_form(field, n_answers) for field in wanted})
    for field in wanted:
        if field.type is bool:
            parsed[field.name] = tf.cast(parsed[field.name], tf.bool)
        elif field.type is float:
            parsed[field.name] = tf.io.decode_raw(parsed[field.name], tf.float64)[:, 0]
    return parsed


def encode_image(image: np.ndarray) -> bytes:
    """Encode an image as JPEG, which has a third of the size of a PNG and is decoded three times faster.

    Colour keeps its full resolution. Quality 95 changes the pixels of DECaLS images by 2.6 of 255 (rms); the noise of
    their sky is 11.

    Args:
        image: uint8 (H, W, 3).
    """
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=95, subsampling=0)
    return buffer.getvalue()


def encode_mask(counts: np.ndarray) -> bytes:
    """Encode a mask of counts, uint8 (H, W), as PNG, without loss."""
    # Masks are flat areas: without a filter they are smaller, and are decoded faster.
    options = [cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_NONE, cv2.IMWRITE_PNG_COMPRESSION, 6]
    return cv2.imencode(".png", counts, options)[1].tobytes()


def decode(encoded: bytes) -> np.ndarray:
    """Decode an image to uint8 (H, W, 3), or a mask to uint8 (H, W).

    Raises:
        ValueError: the bytes are not a whole JPEG, or not a whole PNG of one byte per pixel.
    """
    is_jpeg = encoded.startswith(_JPEG_START)
    image = None if is_jpeg else _decode_unfiltered(encoded)
    if image is not None:
        return image
    # OpenCV fills the missing part of an image that is cut off, without a word.
    if encoded.endswith(_JPEG_END if is_jpeg else _PNG_END):
        # By default, OpenCV decodes colour in the order blue, green, red.
        flags = cv2.IMREAD_COLOR_RGB if is_jpeg else cv2.IMREAD_UNCHANGED
        with suppress(cv2.error):
            image = cv2.imdecode(np.frombuffer(encoded, np.uint8), flags)
    if image is None or image.dtype != np.uint8 or image.ndim != (3 if is_jpeg else 2):
        raise ValueError(
            "the stored image cannot be decoded: the shards are damaged; copy them again, or make them again"
        )
    return image


def _decode_unfiltered(png: bytes) -> np.ndarray | None:
    """Decode a mask that `encode_mask` has written; None if the bytes have another form.

    Such a mask is one block of compressed rows, each after a byte for its filter, which is 0. isal decompresses it four
    times faster than OpenCV, and checks the sum of the pixels.
    """
    try:
        width, height = struct.unpack_from(">II", png, 16)
        (n_bytes,) = struct.unpack_from(">I", png, 33)
        if (png[24:29], png[37:41], png[45 + n_bytes :]) != (_PNG_FORM, b"IDAT", b"\0\0\0\0" + _PNG_END):
            return None
        rows = isal_zlib.decompressobj()
        content = rows.decompress(png[41 : 41 + n_bytes], height * (width + 1) + 1)
        pixels = np.frombuffer(content, np.uint8).reshape(height, width + 1)
    except (struct.error, isal_zlib.IsalError, ValueError):  # type: ignore[misc]  # its stubs are wrong
        return None
    return None if pixels[:, 0].any() or not rows.eof else np.ascontiguousarray(pixels[:, 1:])


def _stored_form(field: Field, n_answers: int) -> tf.io.FixedLenFeature:
    if field.type is np.ndarray:
        return tf.io.FixedLenFeature((n_answers,), tf.float32)
    default = None if field.default is MISSING else _to_plain(field.type, field.default)
    return tf.io.FixedLenFeature((), tf.int64 if field.type in (bool, int) else tf.string, default)


def _to_plain(kind: Any, value: Any) -> bytes | int:
    """Convert text, bytes, a number or a truth value to the form on disk."""
    if kind in (bool, int):
        return int(value)
    if kind is float:
        return np.array(value, "<f8").tobytes()
    return value.encode() if kind is str else value


def _to_feature(kind: Any, value: Any) -> tf.train.Feature:
    if kind is np.ndarray:
        return tf.train.Feature(float_list=tf.train.FloatList(value=value))
    plain = _to_plain(kind, value)
    if isinstance(plain, int):
        return tf.train.Feature(int64_list=tf.train.Int64List(value=[plain]))
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[plain]))
