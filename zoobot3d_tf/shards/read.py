"""Shards in, records out, after a check that they are what their manifest says."""

from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path

import tensorflow as tf

from zoobot3d_tf.images.read import MASKS
from zoobot3d_tf.schemas import Schema
from zoobot3d_tf.shards.manifest import MANIFEST_NAME, Manifest, read_manifest, sha256_of
from zoobot3d_tf.shards.record import Record, decode, parse


def check_shards(
    paths: Sequence[str | Path],
    schema: Schema | None = None,
    image_size: int | None = None,
    verify_hash: bool = False,
) -> Manifest:
    """Check shards against the `shards.json` one folder up, and against what the caller takes them for.

    Args:
        paths: TFRecord files of one shard folder.
        schema: the decision tree they should be of; not compared if None.
        image_size: height and width they should have, in pixels; not compared if None.
        verify_hash: read the files through and compare their SHA-256; otherwise only sizes are compared.

    Returns:
        The manifest of the shard folder.

    Raises:
        FileNotFoundError: a file is missing, or the manifest.
        ValueError: no paths are given, they belong to several shard folders, or something disagrees.
    """
    files = [Path(path).absolute() for path in paths]
    if not files:
        raise ValueError("no shards given; name the .tfrecord files in train_shards/ or eval_shards/")
    homes = sorted({path.parent.parent for path in files})
    if len(homes) > 1:
        raise ValueError(f"shards must come from one shard folder; received some from {homes[0]} and from {homes[1]}")
    manifest = read_manifest(files[0].parent)
    if schema is not None and schema != manifest.schema:
        raise ValueError(
            f"{homes[0]}: these shards hold votes of the schema {_summary(manifest.schema)}; received the schema "
            f"{_summary(schema)}, whose questions, answers or order differ"
        )
    if image_size is not None and image_size != manifest.image_size:
        raise ValueError(
            f"{homes[0]}: these shards hold images of {manifest.image_size} x {manifest.image_size} pixels; "
            f"received --shard-img-size {image_size}"
        )
    listed = {manifest.folder / shard.name: shard for shards in manifest.splits.values() for shard in shards}
    for path in files:
        if path not in listed:
            raise ValueError(f"{path}: not listed in {manifest.folder / MANIFEST_NAME}")
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such file, though {MANIFEST_NAME} lists it")
        if (size := path.stat().st_size) != (wanted := listed[path].bytes):
            raise ValueError(f"{path}: has {size} bytes, {wanted} in {MANIFEST_NAME}; copy or make it again")
        if verify_hash and sha256_of(path) != listed[path].sha256:
            raise ValueError(f"{path}: its SHA-256 is not the one in {MANIFEST_NAME}; copy or make it again")
    return manifest


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
        columns = {name: column.numpy() for name, column in parse(batch, len(manifest.schema.label_cols)).items()}
        for i in range(len(columns["id_str"])):
            galaxy = {field.name: columns[field.name][i] for field in fields(Record)}
            galaxy["id_str"] = galaxy["id_str"].decode()
            galaxy["image"] = decode(galaxy["image"])
            for mask in MASKS:
                galaxy[mask] = decode(galaxy[mask]) if galaxy[f"has_{mask}"] else None
            yield galaxy


def _summary(schema: Schema) -> str:
    return f"{schema.name or 'without a name'} ({len(schema.label_cols)} answers)"
