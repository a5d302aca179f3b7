"""Growth of shards: galaxies without labels receive votes, and become new training shards beside the old ones.

No file is changed, and no image is encoded again: the stored record is copied, with its votes. The unlabelled shard
keeps its record.
"""

import os
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import tensorflow as tf

from zoobot3d_tf.files import PathLike, one_owner, path_of, sha256_of, whole_file, write_atomically
from zoobot3d_tf.schemas import Schema
from zoobot3d_tf.shards.manifest import COUNTS, MANIFEST_NAME, Manifest, ShardFile, check_shards, read_manifest
from zoobot3d_tf.shards.options import ShardOptions
from zoobot3d_tf.shards.read import naming_shard, read_records, read_votes
from zoobot3d_tf.shards.record import parse, with_votes
from zoobot3d_tf.tables.columns import check_ids, read_counts, require_columns, shorten

_RECORDS_AT_ONCE = 64


def grow_shards(shard_dir: PathLike, name: str, votes: pd.DataFrame) -> list[Path]:
    """Add training shards with galaxies that were unlabelled until now.

    The new files are listed in `shards.json` when they are complete. If this is interrupted, call it again.

    Args:
        shard_dir: shard folder.
        name: name of this growth, such as "iteration-3", part of the names of the files: letters, digits, _ and -.
            Another call with the same name and votes changes nothing.
        votes: one row per galaxy, in the order to store: `id_str`, and the number of votes for each answer of the
            decision tree of the shards, above 0 for at least one answer.

    Returns:
        Paths of the new shards, in order.

    Raises:
        ValueError: the name is unfit; there are no votes; a galaxy is not in the unlabelled shards, or already has
            labels; the shards are damaged or have no decision tree; or a growth of this name has other galaxies or
            votes.
        BlockingIOError: another process writes the folder.
        OSError: a file cannot be read or written.
    """
    if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
        raise ValueError(f"name must have letters, digits, _ and - alone, as part of names of files; received {name!r}")
    shard_dir = path_of(shard_dir).absolute()
    with one_owner(shard_dir):
        manifest = read_manifest(shard_dir)
        ids, counts = _check_votes(manifest, votes)
        earlier = [
            path for path in manifest.paths("train") if re.fullmatch(rf"train-{name}-\d+-of-\d+\.tfrecord", path.name)
        ]
        if earlier:
            known, known_votes = read_votes(earlier)
            if known != ids or not np.array_equal(known_votes, counts):
                raise ValueError(f"{shard_dir}: {name} was added before, with other galaxies or votes")
            return earlier
        added = _write_grown(manifest, name, _labelled_records(manifest, ids, counts), len(ids))
        splits = manifest.splits | {"train": (*manifest.splits["train"], *added)}
        write_atomically(shard_dir / MANIFEST_NAME, replace(manifest, splits=splits).to_json())
        return [shard_dir / file.name for file in added]


def copy_shards(source: PathLike, folder: PathLike) -> Manifest:
    """Copy a shard folder, so that it can grow without changing the original.

    The files are hard links where the file system allows it, and then take no space: a shard is never changed in place.

    Args:
        source: shard folder.
        folder: folder to fill, or to complete after an interruption.

    Returns:
        Manifest of the copy.

    Raises:
        ValueError: the shards differ from their manifest.
        OSError: a file cannot be read or written.
    """
    manifest, folder = read_manifest(path_of(source)), path_of(folder).absolute()
    check_shards([path.absolute() for path in manifest.listed()])
    for path, file in manifest.listed().items():
        copy = folder / file.name
        if copy.is_file() and copy.stat().st_size == file.bytes:
            continue
        copy.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(copy) as partial:
            partial.unlink(missing_ok=True)
            try:
                os.link(path, partial)
            except OSError:
                shutil.copyfile(path, partial)
    copied = replace(manifest, folder=folder)
    write_atomically(folder / MANIFEST_NAME, copied.to_json())
    return copied


def _check_votes(manifest: Manifest, votes: pd.DataFrame) -> tuple[list[str], np.ndarray]:
    """Ids, and votes, float32 (galaxies, answers), that the shards can grow by."""
    where = "new votes"
    schema: Schema | None = manifest.schema
    if schema is None:
        raise ValueError(f"{manifest.folder}: these shards have no decision tree, and cannot receive votes")
    require_columns(where, votes.columns, ["id_str", *schema.label_cols])
    check_ids(where, votes)
    ids = votes["id_str"].tolist()
    counts = np.stack([read_counts(where, votes, column).fillna(0) for column in schema.label_cols], axis=1)
    without = votes["id_str"][counts.sum(axis=1) == 0].tolist()
    if not ids or without:
        raise ValueError(f"each galaxy must have votes; received none for {shorten(without) or 'any galaxy'}")
    if len(set(ids)) < len(ids):
        raise ValueError(f"{where}: a galaxy is there twice; list each galaxy once")
    return ids, counts.astype(np.float32)


def _labelled_records(manifest: Manifest, ids: Sequence[str], counts: np.ndarray) -> dict[str, bytes]:
    """Records of unlabelled galaxies with their new votes, in the order of the ids."""
    found, wanted = {}, dict(zip(ids, counts, strict=True))
    for id_str, serialised in _records_of(manifest.paths("unlabelled")):
        if id_str in wanted:
            found[id_str] = with_votes(serialised, wanted[id_str])
    if unknown := [id_str for id_str in ids if id_str not in found]:
        raise ValueError(
            f"{manifest.folder}: {len(unknown)} galaxies are not in its unlabelled shards: {shorten(unknown)}"
        )
    labelled = [*manifest.paths("train"), *manifest.paths("eval")]
    if known := set(read_votes(labelled)[0]) & set(ids):
        raise ValueError(f"{manifest.folder}: {len(known)} galaxies have labels already: {shorten(sorted(known))}")
    return {id_str: found[id_str] for id_str in ids}


def _records_of(paths: Sequence[Path]) -> Iterator[tuple[str, bytes]]:
    """Ids and serialised records."""
    for path in paths:
        check_shards([path])
        with naming_shard(path):
            for batch in read_records([path]).batch(_RECORDS_AT_ONCE):
                names = parse(batch, 0, ("id_str",))["id_str"].numpy()
                yield from zip((name.decode() for name in names), batch.numpy(), strict=True)


def _write_grown(manifest: Manifest, name: str, records: dict[str, bytes], n_galaxies: int) -> list[ShardFile]:
    size = manifest.made_by.get("shard_size", ShardOptions.shard_size)
    n_files = -(-n_galaxies // size)
    stored = list(records.values())
    added = []
    for number in range(n_files):
        file_name = f"train_shards/train-{name}-{number:05d}-of-{n_files:05d}.tfrecord"
        part = stored[number * size : (number + 1) * size]
        with whole_file(manifest.folder / file_name) as partial:
            try:
                with tf.io.TFRecordWriter(str(partial)) as writer:
                    for serialised in part:
                        writer.write(serialised)
            except tf.errors.OpError as error:
                raise OSError(f"{manifest.folder / file_name}: cannot be written: {error.message}") from error
            counts = dict.fromkeys(COUNTS, 0) | {"galaxies": len(part), "with_votes": len(part)}
            added.append(ShardFile(name=file_name, **counts, bytes=partial.stat().st_size, sha256=sha256_of(partial)))
    return added
