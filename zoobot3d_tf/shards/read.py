"""Reading of records from shards."""

from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path

import tensorflow as tf

from zoobot3d_tf.images.masks import MASKS
from zoobot3d_tf.shards.manifest import check_shards
from zoobot3d_tf.shards.record import Record, decode, parse


def read_records(paths: Sequence[str | Path]) -> tf.data.Dataset:
    """Read serialised records, in the order of the files and of the records in each file.

    Args:
        paths: paths of TFRecord files.

    Returns:
        Dataset of scalar strings. `record.parse` reads a batch of them.
    """
    return tf.data.TFRecordDataset([str(path) for path in paths])


def iterate_records(paths: Sequence[str | Path]) -> Iterator[dict]:
    """Decode records one by one, to look at them. Training reads batches instead; see `data.dataset`.

    Args:
        paths: paths of TFRecord files of one shard folder.

    Yields:
        One dict per galaxy, with the fields of `Record`. `image` is uint8 (H, W, 3). Masks are counts of volunteers,
        uint8 (H, W), or None if nobody was asked. `votes` is float32 (answers,), and `id_str` is text.

    Raises:
        FileNotFoundError: a file or the manifest does not exist.
        ValueError: there are no paths, or the shards differ from their manifest; see `check_shards`.
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
