"""Writing of one shard by a worker: the task, and its outcome.

A shard gets its name when it is complete and on disk, and its outcome is noted after that. If a run is interrupted at
any moment, the notes therefore list the shards that the next run can keep.
"""

import json
import math
from collections.abc import Generator, Iterator
from concurrent.futures import BrokenExecutor, Executor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from zoobot3d_tf.files import sha256_of, whole_file, write_atomically
from zoobot3d_tf.images.masks import MASKS
from zoobot3d_tf.images.read import (
    ImageError,
    read_image,
    read_known_masks,
    resize_counts,
    resize_image,
)
from zoobot3d_tf.machine import map_in_processes
from zoobot3d_tf.shards.manifest import COUNTS, PROGRESS_NAME, ShardFile
from zoobot3d_tf.tables.columns import id_fault

if TYPE_CHECKING:
    from zoobot3d_tf.shards.record import Record


@dataclass(frozen=True)
class Outcome:
    """A finished shard, and the galaxies that were skipped: (id_str, file_loc, reason)."""

    file: ShardFile
    failed: list[tuple[str, str, str]]


@dataclass(frozen=True)
class ShardTask:
    """A shard to write.

    Attributes:
        folder: shard folder, absolute path.
        split: `train`, `eval` or `unlabelled`.
        name: path of the file relative to the shard folder.
        rows: rows of the galaxies, as `read_training_catalog` returns them, with `label` as `read_labels` returns it.
        label_cols: names of the columns of votes.
        img_size: height and width of the stored images and masks, in pixels.
        stretch: colour stretch of FITS cutouts, see `to_rgb`.
    """

    folder: Path
    split: str
    name: str
    rows: pd.DataFrame
    label_cols: list[str]
    img_size: int
    stretch: str

    @property
    def path(self) -> Path:
        """Path of the file."""
        return self.folder / self.name

    @property
    def note(self) -> Path:
        """Path of the note of the outcome."""
        return self.folder / PROGRESS_NAME / f"{self.path.stem}.json"

    def earlier_outcome(self) -> Outcome | None:
        """Outcome of an earlier run that finished this shard; None if there is none, or the file has another size."""
        if not self.note.exists() or not self.path.exists():
            return None
        noted = json.loads(self.note.read_text(encoding="utf-8"))
        outcome = Outcome(ShardFile(**noted["file"]), [tuple(failure) for failure in noted["failed"]])
        return outcome if self.path.stat().st_size == outcome.file.bytes else None


def run_tasks(tasks: list[ShardTask], workers: int, executor: Executor | None) -> Generator[Outcome, None, None]:
    """Write shards.

    Args:
        tasks: shards to write.
        workers: number of processes. With 1, this process writes the shards.
        executor: executor that runs the tasks. By default `workers` processes.

    Yields:
        Outcome of each shard, as soon as it is ready.

    Raises:
        OSError: a file cannot be written.
        ChildProcessError: a worker process died.
    """
    try:
        if executor is None:
            yield from map_in_processes(write_shard, tasks, workers, chunk_size=1)
            return
        futures = [executor.submit(write_shard, task) for task in tasks]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            for future in futures:
                future.cancel()
    except (ChildProcessError, BrokenExecutor) as error:
        raise ChildProcessError(f"{error}. Finished shards are kept: continue with resume=True") from None


def write_shard(task: ShardTask) -> Outcome:
    """Write a shard with all galaxies that can be read, and note the outcome.

    Args:
        task: shard to write.

    Raises:
        OSError: the file cannot be written.
    """
    import tensorflow as tf

    # A worker of an interrupted run may still write the same shard.
    with whole_file(task.path, shared=True) as partial:
        try:
            with tf.io.TFRecordWriter(str(partial)) as writer:
                counts, failed = _write_galaxies(task, writer)
        except tf.errors.OpError as error:
            raise OSError(f"{task.path}: cannot be written: {error.message}") from error
        shard = ShardFile(name=task.name, **counts, bytes=partial.stat().st_size, sha256=sha256_of(partial))
    outcome = Outcome(shard, failed)
    write_atomically(task.note, json.dumps(asdict(outcome)))
    return outcome


def _write_galaxies(task: ShardTask, writer: Any) -> tuple[dict[str, int], list[tuple[str, str, str]]]:
    """Write the galaxies that can be read; return the numbers of `COUNTS`, and the galaxies that were skipped."""
    from zoobot3d_tf.shards.record import serialise

    counts = dict.fromkeys(COUNTS, 0)
    failed = []
    votes = task.rows[task.label_cols].to_numpy(np.float32)
    rows: Iterator[Any] = task.rows.drop(columns=task.label_cols).itertuples()
    for row, galaxy_votes in zip(rows, votes, strict=True):
        try:
            record = _read_galaxy(row, galaxy_votes, task.img_size, task.stretch)
        except ImageError as error:
            failed.append((row.id_str, row.file_loc, str(error)))
            continue
        writer.write(serialise(record))
        for what in COUNTS:
            counts[what] += what == "galaxies" or getattr(record, what.replace("with_", "has_"))
    return counts, failed


def _read_galaxy(row: Any, votes: np.ndarray, size: int, stretch: str) -> "Record":
    from zoobot3d_tf.shards.record import Record, encode_image, encode_mask

    if fault := id_fault(row.id_str):
        raise ImageError(f"{row.file_loc}: the id {row.id_str!r} {fault}")
    image = read_image(row.file_loc, stretch)
    shape, n_volunteers = image.shape[:2], int(row.n_volunteers)
    counts = read_known_masks({name: getattr(row, f"{name}_loc") for name in MASKS}, row.marks_loc, shape, n_volunteers)
    masks = {name: encode_mask(resize_counts(counts[name], size)) if name in counts else b"" for name in MASKS}
    return Record(
        id_str=row.id_str,
        image=encode_image(resize_image(image, size)),
        **masks,
        votes=votes,
        has_votes=bool(row.has_votes),
        has_spiral_mask="spiral_mask" in counts,
        has_bar_mask="bar_mask" in counts,
        n_volunteers=n_volunteers,
        ra=row.ra,
        dec=row.dec,
        pixscale=row.pixscale * min(shape) / size,
        label=row.label,
        has_label=not math.isnan(row.label),
    )
