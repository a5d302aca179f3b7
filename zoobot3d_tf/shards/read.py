"""Shards in, records out."""

from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path

import tensorflow as tf

from zoobot3d_tf.images.masks import MASKS
from zoobot3d_tf.shards.manifest import check_shards
from zoobot3d_tf.shards.record import Record, decode, parse


def read_records(paths: Sequence[str | Path]) -> tf.data.Dataset:
    """Serialised records, string (), in the order of the files and within them; `record.parse` reads a batch."""
    return tf.data.TFRecordDataset([str(path) for path in paths])


def iterate_records(paths: Sequence[str | Path]) -> Iterator[dict]:
    """Decode records one by one, for looking at them: training reads batches.

    Args:
        paths: TFRecord files of one shard folder.

    Yields:
        A dict with the fields of `Record`: `image` uint8 (H, W, 3); masks uint8 (H, W) of counts, None where nobody was
        asked; `votes` float32 (answers,); `id_str` text.
    """
    manifest = check_shards(paths)
    for batch in read_records(paths).batch(64):
        columns = {name: column.numpy() for name, column in parse(batch, manifest.n_answers).items()}
        for i in range(len(columns["id_str"])):
            galaxy = {field.name: columns[field.name][i] for field in fields(Record)}
            galaxy["id_str"] = galaxy["id_str"].decode()
            galaxy["image"] = decode(galaxy["image"])
            for mask in MASKS:
                galaxy[mask] = decode(galaxy[mask]) if galaxy[f"has_{mask}"] else None
            yield galaxy
