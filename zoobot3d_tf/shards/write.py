"""Making of shards from catalogues.

The same input gives the same bytes, whatever the number of workers and interruptions. Only the tasks (see `task`)
import TensorFlow, so that errors in a catalogue are found without the seconds that this import takes.
"""

import json
import logging
from collections.abc import Container
from concurrent.futures import Executor
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd

from zoobot3d_tf.catalogs.selection import hash_share
from zoobot3d_tf.catalogs.training_catalog import check_training_catalog, read_training_catalog
from zoobot3d_tf.failures import check_failures, may_fail
from zoobot3d_tf.files import FAILED_NAME, LOCK_NAME, PathLike, one_owner, path_of, sha256_of, write_atomically
from zoobot3d_tf.labels import Label, read_labels, summarise
from zoobot3d_tf.progress import Progress
from zoobot3d_tf.schemas import Schema
from zoobot3d_tf.shards.manifest import (
    COUNTS,
    FORMAT_VERSION,
    MANIFEST_NAME,
    PROGRESS_NAME,
    SPLITS,
    Manifest,
    read_manifest,
)
from zoobot3d_tf.shards.options import DEFAULT_EVAL_SIZE, ShardOptions
from zoobot3d_tf.shards.split import (
    SPLIT_COLUMN,
    few_galaxies,
    read_ids,
    read_split_column,
    split_by_class,
    split_by_column,
    split_by_hash,
    split_by_ids,
)
from zoobot3d_tf.shards.task import Outcome, ShardTask, run_tasks
from zoobot3d_tf.tables.columns import shorten
from zoobot3d_tf.tables.formats import read_table, write_failures
from zoobot3d_tf.version import __version__

PLAN_NAME = "plan.json"

log = logging.getLogger(__name__)


def create_shards(
    labelled_catalog: PathLike,
    shard_dir: PathLike,
    schema: Schema | None,
    options: ShardOptions,
    unlabelled_catalog: PathLike | None = None,
    executor: Executor | None = None,
) -> Path:
    """Store the galaxies of a catalogue as TFRecords.

    Writes `train_shards/`, `eval_shards/`, `unlabelled_shards/`, the manifest `shards.json`, and `failed.csv`, which
    lists the galaxies that were skipped, with the reasons.

    Args:
        labelled_catalog: path of a table with at least one of votes, masks and a label; see `read_training_catalog`. A
            column `split` says which galaxies are for training (train), evaluation (val) or neither (test).
        shard_dir: folder to make. If it is not empty, `options` must have `overwrite` or `resume`.
        schema: decision tree of the votes; None if no votes are to be read.
        options: options of making shards.
        unlabelled_catalog: path of a table of other galaxies without labels, with the columns `id_str` and `file_loc`.
        executor: executor that runs the tasks, one per shard. It must have access to the same files. By default a pool
            of `options.workers` processes.

    Returns:
        Path of `shards.json`.

    Raises:
        FileExistsError: the folder is not empty, and `options` has neither `overwrite` nor `resume`, or there is no
            run to resume.
        BlockingIOError: another process writes the folder.
        ValueError: a catalogue has an error, a split is empty, `options` divides the galaxies beside a column `split`,
            too many galaxies were skipped, or the run to resume had another catalogue or other options.
        OSError: a file cannot be read or written, or a worker died. Finished shards are kept for `resume`.
    """
    shard_dir = path_of(shard_dir).absolute()
    with one_owner(shard_dir):
        return _create_shards(labelled_catalog, shard_dir, schema, options, unlabelled_catalog, executor)


def _create_shards(
    labelled_catalog: PathLike,
    shard_dir: Path,
    schema: Schema | None,
    options: ShardOptions,
    unlabelled_catalog: PathLike | None,
    executor: Executor | None,
) -> Path:
    """Do the work of `create_shards` in a folder that this process owns."""
    if not (options.overwrite or options.resume) and _has_files(shard_dir):
        raise FileExistsError(
            f"{shard_dir}: the folder is not empty; resume=True continues an interrupted run, overwrite=True replaces "
            "its shards"
        )
    table = read_table(labelled_catalog)
    split = _read_split_column(labelled_catalog, table, options)
    if split is None and options.eval_ids is None and options.eval_size is None:
        options = replace(options, eval_size=DEFAULT_EVAL_SIZE)
    splits, label = _read_splits(labelled_catalog, table, unlabelled_catalog, schema, split, options)
    if split is not None:
        log.info(
            "The column split of the catalogue is used: train (%d galaxies) for training, val (%d) for evaluation, "
            "test (%d) for neither",
            *((split == name).sum() for name in ("train", "val", "test")),
        )
    if label is not None:
        for name in ("train", "eval"):
            log.info("%s: label %s", name, summarise(label, splits[name]["label"].to_numpy()))
    made_by = _made_by(labelled_catalog, unlabelled_catalog, options)
    tasks = _plan_tasks(splits, shard_dir, schema, options)

    plan = {"format_version": FORMAT_VERSION, "schema": schema and schema.to_dict(), **made_by}
    if _claim_folder(shard_dir, plan, options):
        log.info("%s: the shards are already finished", shard_dir)
        return shard_dir / MANIFEST_NAME
    n_galaxies = sum(len(task.rows) for task in tasks)
    allowed = may_fail(n_galaxies, options.max_failed)
    outcomes = _write_shards(tasks, shard_dir, allowed, options.workers, executor)
    failed = [failure for task in tasks if task.name in outcomes for failure in outcomes[task.name].failed]
    write_failures(shard_dir / FAILED_NAME, failed)
    check_failures(
        [reason for *_, reason in failed],
        n_galaxies,
        options.max_failed,
        shard_dir / FAILED_NAME,
        "Raise max_failed and continue with resume=True, which keeps the finished shards; or correct the files and "
        "start again with overwrite=True",
    )

    manifest = Manifest(
        folder=shard_dir,
        schema=schema,
        image_size=options.img_size,
        splits={split: tuple(outcomes[t.name].file for t in tasks if t.split == split) for split in SPLITS},
        made_by={"version": __version__, **made_by},
        label=label and label.of_training(_labels_stored(splits["train"], [id_str for id_str, *_ in failed])),
    )
    for name in splits:
        if manifest.count(name) == 0:
            raise ValueError(f"{shard_dir}: no galaxy of the split {name} could be read; see {shard_dir / FAILED_NAME}")
    write_atomically(shard_dir / MANIFEST_NAME, manifest.to_json())
    _remove_progress(shard_dir)
    for name in splits:
        counts = ", ".join(f"{manifest.count(name, what)} {what.replace('_', ' ')}" for what in COUNTS)
        log.info("%s: %s", name, counts)
    if failed:
        log.warning("%d galaxies were skipped, see %s", len(failed), shard_dir / FAILED_NAME)
    return shard_dir / MANIFEST_NAME


def _read_split_column(catalog: PathLike, table: pd.DataFrame, options: ShardOptions) -> pd.Series | None:
    """Read train, val or test for each galaxy; None if the catalogue has no column `split`."""
    if SPLIT_COLUMN not in table or options.label_col == SPLIT_COLUMN:
        return None
    for name in ("eval_size", "eval_ids", "split_seed"):
        if getattr(options, name) is not None:
            raise ValueError(
                f"{catalog}: its column {SPLIT_COLUMN} says which galaxies to evaluate on, and contradicts {name}; "
                f"omit {name}, or rename the column"
            )
    return read_split_column(catalog, table)


def _read_splits(
    labelled_catalog: PathLike,
    table: pd.DataFrame,
    unlabelled_catalog: PathLike | None,
    schema: Schema | None,
    split: pd.Series | None,
    options: ShardOptions,
) -> tuple[dict[str, pd.DataFrame], Label | None]:
    """Check the catalogues, and divide their galaxies.

    Args:
        labelled_catalog: path of the labelled catalogue.
        table: the labelled catalogue as `read_table` returns it.
        unlabelled_catalog: path of the unlabelled catalogue, if any.
        schema: decision tree of the votes, if any.
        split: train, val or test for each row of the labelled catalogue; None to divide by `options`.
        options: options of making shards.

    Returns:
        Rows of each split, in the order in which they are stored, and the label. There is no split `unlabelled` without
        an unlabelled catalogue.
    """
    unasked, label_col = options.missing_questions_unasked, options.label_col
    labelled = check_training_catalog(labelled_catalog, table, schema, options.image_root, unasked, label_col=label_col)
    label = None
    values: float | np.ndarray = np.nan
    if label_col is not None:
        label, values = read_labels(labelled_catalog, labelled, label_col, options.label_kind, options.label_values)
    labelled["label"] = values
    may_use = labelled if split is None else labelled[split != "test"]
    used = _in_order(may_use, options.seed, options.max_labelled)
    asked = ""
    if split is not None:
        splits = split_by_column(labelled_catalog, used, split)
    elif options.eval_ids is not None:
        splits = split_by_ids(used, read_ids(options.eval_ids, labelled_catalog, labelled["id_str"]))
    elif options.split_seed is not None:
        splits = split_by_class(used, cast(float, options.eval_size), options.split_seed, label)
    else:
        size = cast(float, options.eval_size)
        splits = split_by_hash(used, size)
        number = size if size >= 1 else size * len(used)
        asked = (
            f". Of {len(used)} galaxies, {number:.0f} were to be evaluated on, and the hash of the ids gives "
            f"{len(splits['eval'])}; split_seed gives exact numbers, in total and of each class"
        )
    if few := few_galaxies(splits, label):
        log.warning("Few galaxies: %s%s", shorten(few), asked)
    label = label and label.of_training(splits["train"]["label"].to_numpy())
    if unlabelled_catalog is not None:
        unlabelled = read_training_catalog(unlabelled_catalog, schema, options.image_root, labels=())
        in_both = unlabelled["id_str"][unlabelled["id_str"].isin(labelled["id_str"])]
        if len(in_both):
            raise ValueError(
                f"{unlabelled_catalog}: a galaxy must be in one catalogue only; {len(in_both)} of these galaxies are "
                f"also in {labelled_catalog}, the first is {in_both.iloc[0]}"
            )
        splits["unlabelled"] = _in_order(unlabelled.assign(label=np.nan), options.seed, options.max_unlabelled)
    return splits, label


def _labels_stored(rows: pd.DataFrame, failed: list[str]) -> np.ndarray:
    """Labels of the rows, without the galaxies that were skipped."""
    return rows["label"][~rows["id_str"].isin(failed)].to_numpy()


def _in_order(catalog: pd.DataFrame, seed: int, limit: int | None) -> pd.DataFrame:
    """Put rows into an order that depends only on ids and seed, and keep the first `limit` of them."""
    keys = np.array([hash_share(f"{seed}:{id_str}") for id_str in catalog["id_str"]])
    return catalog.iloc[np.argsort(keys)[:limit]]


def _made_by(labelled: PathLike, unlabelled: PathLike | None, options: ShardOptions) -> dict:
    """Catalogues and options that the bytes of the shards depend on. Schema and images are not included."""

    def identity(catalog: PathLike) -> dict[str, str]:
        return {"name": path_of(catalog).name, "sha256": sha256_of(path_of(catalog))}

    return {
        "labelled_catalog": identity(labelled),
        "unlabelled_catalog": None if unlabelled is None else identity(unlabelled),
        "img_size": options.img_size,
        "stretch": options.stretch,
        "eval_size": options.eval_size,
        "eval_ids": None if options.eval_ids is None else identity(options.eval_ids),
        "split_seed": options.split_seed,
        "shard_size": options.shard_size,
        "seed": options.seed,
        "max_labelled": options.max_labelled,
        "max_unlabelled": options.max_unlabelled,
        "missing_questions_unasked": options.missing_questions_unasked,
        "label_col": options.label_col,
        "label_kind": options.label_kind,
    }


def _plan_tasks(
    splits: dict[str, pd.DataFrame], folder: Path, schema: Schema | None, options: ShardOptions
) -> list[ShardTask]:
    tasks = []
    label_cols = [] if schema is None else list(schema.label_cols)
    for split, rows in splits.items():
        chunks = [rows.iloc[start : start + options.shard_size] for start in range(0, len(rows), options.shard_size)]
        for number, chunk in enumerate(chunks):
            name = f"{split}_shards/{split}-{number:05d}-of-{len(chunks):05d}.tfrecord"
            tasks.append(ShardTask(folder, split, name, chunk, label_cols, options.img_size, options.stretch))
    return tasks


def _claim_folder(folder: Path, plan: dict, options: ShardOptions) -> bool:
    """Prepare the folder for a run of this plan; return whether a run of this plan is already finished in it."""
    plan = json.loads(json.dumps(plan))
    plan_path, manifest_path = folder / PROGRESS_NAME / PLAN_NAME, folder / MANIFEST_NAME
    if options.resume and plan_path.exists():
        _check_same_plan(folder, plan, json.loads(plan_path.read_text(encoding="utf-8")))
        return False
    if options.resume and manifest_path.exists():
        manifest = read_manifest(folder)
        schema = manifest.schema and manifest.schema.to_dict()
        written = {"format_version": manifest.format_version, "schema": schema, **manifest.made_by}
        _check_same_plan(folder, plan, json.loads(json.dumps(written)))
        _remove_progress(folder)
        return True
    if options.resume and _has_files(folder) and not plan_path.parent.exists():
        raise FileExistsError(f"{folder}: the folder is not empty, but has no run that resume=True can continue")
    # The new plan is written last. If a run is interrupted before, there is no plan, and `resume` starts afresh.
    plan_path.parent.mkdir(parents=True, exist_ok=True)
    _clear_progress(folder)
    manifest_path.unlink(missing_ok=True)
    (folder / FAILED_NAME).unlink(missing_ok=True)
    write_atomically(plan_path, json.dumps(plan, indent=1))
    return False


def _has_files(folder: Path) -> bool:
    """Whether a folder has anything but the lock of this process, or of one that was killed."""
    return any(path.name != LOCK_NAME for path in folder.iterdir())


def _check_same_plan(folder: Path, plan: dict, earlier: dict) -> None:
    differing = [name for name in plan if plan[name] != earlier.get(name)]
    if differing:
        raise ValueError(
            f"{folder}: the shards in this folder were begun with other values of {', '.join(differing)}; "
            "use the same values, choose another folder, or start again with overwrite=True"
        )


def _clear_progress(folder: Path) -> None:
    """Remove the plan and the notes of finished shards. The plan is removed first: without it, notes have no effect."""
    (folder / PROGRESS_NAME / PLAN_NAME).unlink(missing_ok=True)
    for note in (folder / PROGRESS_NAME).glob("*.json"):
        note.unlink()


def _remove_progress(folder: Path) -> None:
    _clear_progress(folder)
    with suppress(OSError):  # the folder does not exist, or has other files
        (folder / PROGRESS_NAME).rmdir()


def _write_shards(
    tasks: list[ShardTask], folder: Path, allowed: int, workers: int, executor: Executor | None
) -> dict[str, Outcome]:
    """Write the unfinished shards, until more than `allowed` galaxies were skipped; return the outcomes by name."""
    outcomes = {task.name: outcome for task in tasks if (outcome := task.earlier_outcome()) is not None}
    _sweep(folder, keep=outcomes)
    todo = [task for task in tasks if task.name not in outcomes]
    n_galaxies = sum(len(task.rows) for task in tasks)
    n_failed = sum(len(outcome.failed) for outcome in outcomes.values())
    for split in {task.split for task in tasks}:
        (folder / f"{split}_shards").mkdir(exist_ok=True)
    with (
        Progress(total=n_galaxies, initial=n_galaxies - sum(len(task.rows) for task in todo), unit="galaxy") as bar,
        closing(run_tasks(todo, workers, executor)) as running,
    ):
        for outcome in running:
            outcomes[outcome.file.name] = outcome
            bar.update(outcome.file.galaxies + len(outcome.failed))
            n_failed += len(outcome.failed)
            if n_failed > allowed:
                break
    return outcomes


def _sweep(folder: Path, keep: Container[str]) -> None:
    """Remove shards of other runs and unfinished files. Other files in the folder are kept."""
    for split in SPLITS:
        for path in folder.glob(f"{split}_shards/{split}-*-of-?????.tfrecord"):
            if str(path.relative_to(folder)) not in keep:
                path.unlink()
    for place in (".", PROGRESS_NAME, *(f"{split}_shards" for split in SPLITS)):
        for path in folder.glob(f"{place}/.partial-*"):
            path.unlink(missing_ok=True)  # a worker of the earlier run may still be running, and rename it
