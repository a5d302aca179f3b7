"""One stored galaxy, declared once: `Record` says what is stored, and writer and reader both derive from it."""

import io
import math
from collections.abc import Collection
from dataclasses import MISSING, Field, dataclass, fields
from typing import Any

import cv2
import numpy as np
import tensorflow as tf
from PIL import Image

_JPEG_SIGNATURE = b"\xff\xd8"


@dataclass(frozen=True)
class Record:
    """A galaxy as it is stored.

    Types decide the form on disk: text, bytes, whole numbers and truth values as they are, the array as float32,
    and floats as the eight bytes of a float64, since TFRecords know only float32, in which a right ascension is
    known to 0.1 arcsec.

    Attributes:
        id_str: unique name.
        image: JPEG.
        spiral_mask: PNG of counts of volunteers on the image's grid; empty bytes if nobody was asked.
        bar_mask: likewise.
        votes: votes for each answer, in schema order; 0 where unasked.
        has_votes: some question was asked.
        has_spiral_mask: volunteers were asked to draw, even if nobody drew.
        has_bar_mask: likewise.
        n_volunteers: how many were asked to draw.
        ra: of the image's centre, degrees, ICRS; NaN if unknown, as are the two below.
        dec: likewise.
        pixscale: of the stored image, arcsec per pixel.
        label: as `labels.read_labels` gives it, NaN if missing; shards before format version 3 have none.
        has_label: it is not missing.
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
    """Turn a record into the bytes of a `tf.train.Example`; equal records give equal bytes."""
    features = {field.name: _to_feature(field.type, getattr(record, field.name)) for field in fields(Record)}
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString(deterministic=True)


def parse(serialised: tf.Tensor, n_answers: int, names: Collection[str] | None = None) -> dict[str, tf.Tensor]:
    """Read a batch of records, leaving images and masks encoded.

    Args:
        serialised: string (B,).
        n_answers: length of the votes.
        names: fields to read, all by default.

    Returns:
        A tensor for each field of `Record`, with B as its first axis: text and bytes as string, truth values as bool,
        whole numbers as int64, floats as float64, and `votes` as float32 (B, n_answers).
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
    """Encode uint8 (H, W, 3) as JPEG: a third of a PNG's size, and three times as quick to decode.

    With colour kept at full resolution, quality 95 changes pixels of DECaLS images by 2.6 of 255 (rms); the noise of
    their sky is 11.
    """
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=95, subsampling=0)
    return buffer.getvalue()


def encode_mask(counts: np.ndarray) -> bytes:
    """Encode counts, uint8 (H, W), as PNG, without loss."""
    buffer = io.BytesIO()
    Image.fromarray(counts).save(buffer, "PNG")
    return buffer.getvalue()


def decode(encoded: bytes) -> np.ndarray:
    """Decode an image to uint8 (H, W, 3), or a mask to uint8 (H, W).

    Raises:
        ValueError: these bytes are no image.
    """
    # Left unchanged, JPEG would come as BGR and have to be turned round.
    how = cv2.IMREAD_COLOR_RGB if encoded.startswith(_JPEG_SIGNATURE) else cv2.IMREAD_UNCHANGED
    image = cv2.imdecode(np.frombuffer(encoded, np.uint8), how)
    if image is None:
        raise ValueError("a stored image cannot be decoded: the shards are damaged; make them again")
    return image


def _stored_form(field: Field, n_answers: int) -> tf.io.FixedLenFeature:
    if field.type is np.ndarray:
        return tf.io.FixedLenFeature((n_answers,), tf.float32)
    default = None if field.default is MISSING else _to_plain(field.type, field.default)
    return tf.io.FixedLenFeature((), tf.int64 if field.type in (bool, int) else tf.string, default)


def _to_plain(kind: Any, value: Any) -> bytes | int:
    """What stands for text, bytes or one number on disk."""
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
