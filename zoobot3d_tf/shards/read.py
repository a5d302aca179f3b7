"""Reading of records from shards."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import tensorflow as tf

from zoobot3d_tf.files import path_of
from zoobot3d_tf.images.masks import MASKS, MAX_VOLUNTEERS
from zoobot3d_tf.shards.manifest import MANIFEST_NAME, Manifest, check_shards
from zoobot3d_tf.shards.record import decode, parse

_RECORDS_AT_ONCE = 64


def read_records(paths: Sequence[str | Path]) -> tf.data.Dataset:
    """Read serialised records, in the order of the files and of the records in each file.

    Args:
        paths: paths of TFRecord files.

    Returns:
        Dataset of scalar strings. `record.parse` reads a batch of them.
    """
    return tf.data.TFRecordDataset([str(path_of(path)) for path in paths])


@contextmanager
def naming_shard(path: str | Path) -> Iterator[None]:
    """Convert the errors of TensorFlow about a damaged record, which do not name the file, to a ValueError.

    Args:
        path: path of the TFRecord file that the block reads.

    Raises:
        ValueError: the file holds a damaged record.
    """
    try:
        yield
    except tf.errors.OpError as error:
        raise ValueError(f"{path}: holds a damaged record; copy the shard again, or make it again") from error


def read_votes(paths: Sequence[str | Path]) -> tuple[list[str], np.ndarray]:
    """Read the names and the votes of galaxies, and nothing else of their records.

    Args:
        paths: paths of TFRecord files of one shard folder.

    Returns:
        `id_str` of each galaxy, in the order of the files and of the records in each; and the numbers of votes, float32
        (galaxies, answers), in the order of the decision tree of the shards.

    Raises:
        FileNotFoundError: a file or the manifest does not exist.
        ValueError: there are no paths, the shards differ from their manifest (see `check_shards`), or a record is
            damaged. The error names the file.
    """
    n_answers = check_shards(paths).n_answers
    ids: list[str] = []
    votes = [np.zeros((0, n_answers), np.float32)]
    for path in paths:
        with naming_shard(path):
            for batch in read_records([path]).batch(_RECORDS_AT_ONCE):
                parsed = parse(batch, n_answers, ("id_str", "votes"))
                ids += [id_str.decode() for id_str in parsed["id_str"].numpy()]
                votes.append(parsed["votes"].numpy())
    return ids, np.concatenate(votes)


def iterate_records(paths: Sequence[str | Path]) -> Iterator[dict]:
    """Decode records one by one, to look at them. Training reads batches instead; see `data.dataset`.

    Args:
        paths: paths of TFRecord files of one shard folder.

    Yields:
        One dict per galaxy, with the fields of `Record`. `image` is uint8 (H, W, 3). Masks are counts of volunteers,
        uint8 (H, W), or None if nobody was asked. `votes` is float32 (answers,), and `id_str` is text.

    Raises:
        FileNotFoundError: a file or the manifest does not exist.
        ValueError: there are no paths, the shards differ from their manifest (see `check_shards`), or a record is
            damaged. The error names the file and the record.
    """
    manifest = check_shards(paths)
    for path, file in zip(paths, manifest.files_at(paths), strict=True):
        records = iter(read_records([path]))
        n_galaxies = file.galaxies
        for number in range(n_galaxies):
            try:
                galaxy = _read_galaxy(next(records), manifest)
            except ValueError as error:
                raise ValueError(f"{path}: record {number} is damaged: {error}") from error
            except (tf.errors.OpError, StopIteration) as error:
                raise ValueError(
                    f"{path}: record {number} is damaged or missing; copy the shard again, or make it again"
                ) from error
            yield galaxy
        try:
            has_more = next(records, None) is not None
        except tf.errors.OpError:  # bytes that are no record
            has_more = True
        if has_more:
            raise ValueError(f"{path}: holds more than the {n_galaxies} galaxies that {MANIFEST_NAME} lists")


def _read_galaxy(serialised: tf.Tensor, manifest: Manifest) -> dict:
    """Decode a record, and check that it holds what the manifest says and what training needs."""
    galaxy = {name: column.numpy()[0] for name, column in parse(serialised[None], manifest.n_answers).items()}
    galaxy["id_str"] = galaxy["id_str"].decode()
    galaxy["image"] = decode(galaxy["image"])
    for mask in MASKS:
        galaxy[mask] = decode(galaxy[mask]) if galaxy[f"has_{mask}"] else None
    if (problem := _find_problem(galaxy, manifest)) is not None:
        raise ValueError(f"{problem}; make the shards again")
    return galaxy


def _find_problem(galaxy: dict, manifest: Manifest) -> str | None:
    """Compare a galaxy with what the manifest says and training needs; return what is wrong."""
    side = manifest.image_size
    masks = [galaxy[mask] for mask in MASKS if galaxy[mask] is not None]
    if galaxy["image"].shape != (side, side, 3) or any(mask.shape != (side, side) for mask in masks):
        return f"an image or a mask does not have {side} x {side} pixels"
    n_volunteers = galaxy["n_volunteers"]
    if not 1 <= n_volunteers <= MAX_VOLUNTEERS:
        return f"n_volunteers is {n_volunteers}, not from 1 to {MAX_VOLUNTEERS}"
    if any(mask.max() > n_volunteers for mask in masks):
        return f"a pixel of a mask has more than the {n_volunteers} volunteers"
    if not ((galaxy["votes"] >= 0) & np.isfinite(galaxy["votes"])).all():
        return "a number of votes is negative or not finite"
    if galaxy["has_label"] and (manifest.label is None or not manifest.label.is_value(galaxy["label"])):
        return f"the label {galaxy['label']} is not one that {MANIFEST_NAME} describes"
    return None
