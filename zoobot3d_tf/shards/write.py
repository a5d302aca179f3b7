"""A catalogue in, shards out: the same bytes from the same input, however many workers and interruptions it took.

Nothing here imports TensorFlow, only the tasks do (see `task`), so that errors in a catalogue come at once.
"""

import json
import logging
from collections.abc import Container
from concurrent.futures import Executor
from contextlib import closing, suppress
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from zoobot3d_tf import __version__
from zoobot3d_tf.catalogs.selection import hash_share
from zoobot3d_tf.catalogs.training_catalog import read_training_catalog
from zoobot3d_tf.files import FAILED_NAME, PathLike, sha256_of, write_atomically
from zoobot3d_tf.labels import Label, read_labels
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
from zoobot3d_tf.shards.options import ShardOptions
from zoobot3d_tf.shards.task import Outcome, ShardTask, run_tasks

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
    lists the galaxies left out, each with the reason.

    Args:
        labelled_catalog: table with votes, masks or a label, or several of them; see `read_training_catalog`.
        shard_dir: folder to make. If there is something in it, `options` must say what to do.
        schema: the decision tree; None reads no votes.
        options: how to make them.
        unlabelled_catalog: table of further galaxies, without labels; needs `id_str` and `file_loc` only.
        executor: runs the tasks, a shard each; it must see the same files. By default `options.workers` processes.

    Returns:
        Path of `shards.json`.

    Raises:
        FileExistsError: there is something in the folder, and `options` do not say what to do with it.
        ValueError: a catalogue is faulty, a split is empty, too many galaxies failed, or `resume` does not fit.
        OSError: a file cannot be read or written, or a worker died; what is finished is kept for `resume`.
    """
    shard_dir = Path(shard_dir).absolute()
    if not (options.overwrite or options.resume) and shard_dir.exists() and any(shard_dir.iterdir()):
        raise FileExistsError(
            f"{shard_dir}: not empty; resume=True continues an interrupted run, overwrite=True replaces its shards"
        )
    splits, label = _read_splits(labelled_catalog, unlabelled_catalog, schema, options)
    made_by = _made_by(labelled_catalog, unlabelled_catalog, options)
    tasks = _plan_tasks(splits, shard_dir, schema, options)

    plan = {"format_version": FORMAT_VERSION, "schema": schema and schema.to_dict(), **made_by}
    if _claim_folder(shard_dir, plan, options):
        log.info("%s: finished already, nothing to do", shard_dir)
        return shard_dir / MANIFEST_NAME
    n_galaxies = sum(len(task.rows) for task in tasks)
    allowed = options.max_failed * n_galaxies
    outcomes = _write_shards(tasks, shard_dir, allowed, options.workers, executor)
    failed = [failure for task in tasks if task.name in outcomes for failure in outcomes[task.name].failed]
    failed_table = pd.DataFrame(failed, columns=["id_str", "file_loc", "reason"])
    write_atomically(shard_dir / FAILED_NAME, failed_table.to_csv(index=False, lineterminator="\n"))
    if len(failed) > allowed:
        raise ValueError(_too_many_failed(failed, n_galaxies, shard_dir, options.max_failed))

    manifest = Manifest(
        folder=shard_dir,
        schema=schema,
        image_size=options.img_size,
        splits={split: tuple(outcomes[t.name].file for t in tasks if t.split == split) for split in SPLITS},
        made_by={"version": __version__, **made_by},
        label=label and label.of_training(_labels_left(splits["train"], failed_table["id_str"])),
    )
    for split in splits:
        if manifest.count(split) == 0:
            raise ValueError(f"{shard_dir}: none of the {split} galaxies can be used; see {FAILED_NAME} in it")
    write_atomically(shard_dir / MANIFEST_NAME, manifest.to_json())
    _remove_progress(shard_dir)
    for split in splits:
        counts = ", ".join(f"{manifest.count(split, what)} {what.replace('_', ' ')}" for what in COUNTS)
        log.info("%s: %s", split, counts)
    if failed:
        log.warning("%d galaxies left out, see %s", len(failed), shard_dir / FAILED_NAME)
    return shard_dir / MANIFEST_NAME


def split_by_hash(labelled: pd.DataFrame, eval_size: float) -> dict[str, pd.DataFrame]:
    """Divide labelled galaxies into `train` and `eval` by a hash of their ids, whatever the seed.

    A number of galaxies becomes a share, rounded to two digits: when the catalogue grows a little the share stays, and
    with it the side of every galaxy.

    Args:
        labelled: a row a galaxy, with `id_str`.
        eval_size: how many to hold back, about, or their share if below 1.

    Returns:
        The rows of `train` and of `eval`, in the order given.

    Raises:
        ValueError: one of them would be empty.
    """
    share = eval_size if eval_size < 1 else float(f"{eval_size / len(labelled):.2g}")
    is_eval = np.array([hash_share(id_str) < share for id_str in labelled["id_str"]], dtype=bool)
    splits = {"train": labelled[~is_eval], "eval": labelled[is_eval]}
    for split, change in (("train", "lower"), ("eval", "raise")):
        if splits[split].empty:
            raise ValueError(
                f"eval_size {eval_size:g} of {len(labelled)} labelled galaxies leaves none in {split}; {change} it"
            )
    return splits


def _read_splits(
    labelled_catalog: PathLike, unlabelled_catalog: PathLike | None, schema: Schema | None, options: ShardOptions
) -> tuple[dict[str, pd.DataFrame], Label | None]:
    """Rows of `train`, `eval` and, if there is such a catalogue, `unlabelled`, in their final order; and the label."""
    labelled = read_training_catalog(
        labelled_catalog, schema, options.image_root, options.missing_questions_unasked, label_col=options.label_col
    )
    label = None
    values: float | np.ndarray = np.nan
    if options.label_col is not None:
        label, values = read_labels(labelled_catalog, labelled, options.label_col, options.label_kind)
    labelled["label"] = values
    splits = split_by_hash(_in_order(labelled, options.seed, options.max_labelled), options.eval_size)
    label = label and label.of_training(splits["train"]["label"].to_numpy())
    if unlabelled_catalog is not None:
        unlabelled = read_training_catalog(unlabelled_catalog, schema, options.image_root, labels=())
        in_both = unlabelled["id_str"][unlabelled["id_str"].isin(labelled["id_str"])]
        if len(in_both):
            raise ValueError(
                f"{unlabelled_catalog}: {len(in_both)} galaxies, {in_both.iloc[0]} first, stand in "
                f"{labelled_catalog} as well; a galaxy is labelled or unlabelled"
            )
        splits["unlabelled"] = _in_order(unlabelled.assign(label=np.nan), options.seed, options.max_unlabelled)
    return splits, label


def _labels_left(rows: pd.DataFrame, failed: pd.Series) -> np.ndarray:
    """The labels of these rows whose galaxies are not among the failed."""
    return rows["label"][~rows["id_str"].isin(failed)].to_numpy()


def _in_order(catalog: pd.DataFrame, seed: int, limit: int | None) -> pd.DataFrame:
    """Rows in an order that depends on ids and seed alone, cut off after `limit`."""
    keys = np.array([hash_share(f"{seed}:{id_str}") for id_str in catalog["id_str"]])
    return catalog.iloc[np.argsort(keys)[:limit]]


def _made_by(labelled: PathLike, unlabelled: PathLike | None, options: ShardOptions) -> dict:
    """All that the bytes of the shards depend on, beside the schema and the images themselves."""

    def identity(catalog: PathLike) -> dict[str, str]:
        return {"name": Path(catalog).name, "sha256": sha256_of(Path(catalog))}

    return {
        "labelled_catalog": identity(labelled),
        "unlabelled_catalog": None if unlabelled is None else identity(unlabelled),
        "img_size": options.img_size,
        "stretch": options.stretch,
        "eval_size": options.eval_size,
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
    """Make the folder ready for a run of this plan; tell whether such a run has finished in it already."""
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
    if options.resume and folder.exists() and any(folder.iterdir()) and not plan_path.parent.exists():
        raise FileExistsError(f"{folder}: not empty, but holds no run that resume=True could continue")
    # The new plan comes last: interrupted before it, the folder holds no plan, and `resume` starts afresh.
    plan_path.parent.mkdir(parents=True, exist_ok=True)
    _clear_progress(folder)
    manifest_path.unlink(missing_ok=True)
    (folder / FAILED_NAME).unlink(missing_ok=True)
    write_atomically(plan_path, json.dumps(plan, indent=1))
    return False


def _check_same_plan(folder: Path, plan: dict, earlier: dict) -> None:
    differing = [name for name in plan if plan[name] != earlier.get(name)]
    if differing:
        raise ValueError(
            f"{folder}: holds shards that were begun with other {', '.join(differing)}; "
            "repeat the first command, choose another folder, or start again with overwrite=True"
        )


def _clear_progress(folder: Path) -> None:
    """Forget how far a run came; the plan goes first, for without it the notes count for nothing."""
    (folder / PROGRESS_NAME / PLAN_NAME).unlink(missing_ok=True)
    for note in (folder / PROGRESS_NAME).glob("*.json"):
        note.unlink()


def _remove_progress(folder: Path) -> None:
    _clear_progress(folder)
    with suppress(OSError):  # absent, or somebody keeps other things in it
        (folder / PROGRESS_NAME).rmdir()


def _write_shards(
    tasks: list[ShardTask], folder: Path, allowed: float, workers: int, executor: Executor | None
) -> dict[str, Outcome]:
    """Write the shards not yet finished, until all are or more galaxies failed than are allowed; outcomes by name."""
    outcomes = {task.name: outcome for task in tasks if (outcome := task.earlier_outcome()) is not None}
    _sweep(folder, keep=outcomes)
    todo = [task for task in tasks if task.name not in outcomes]
    n_galaxies = sum(len(task.rows) for task in tasks)
    n_failed = sum(len(outcome.failed) for outcome in outcomes.values())
    for split in {task.split for task in tasks}:
        (folder / f"{split}_shards").mkdir(exist_ok=True)
    with (
        tqdm(
            total=n_galaxies, initial=n_galaxies - sum(len(task.rows) for task in todo), unit="galaxy", disable=None
        ) as bar,
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
    """Remove shards that are not of this run, and unfinished files; whatever else is in the folder is not ours."""
    for split in SPLITS:
        for path in folder.glob(f"{split}_shards/{split}-?????-of-?????.tfrecord"):
            if str(path.relative_to(folder)) not in keep:
                path.unlink()
    for place in (".", PROGRESS_NAME, *(f"{split}_shards" for split in SPLITS)):
        for path in folder.glob(f"{place}/.partial-*"):
            path.unlink(missing_ok=True)  # a worker of the earlier run, not quite dead, may have renamed it just now


def _too_many_failed(failed: list[tuple[str, str, str]], total: int, folder: Path, max_failed: float) -> str:
    reasons = " ".join(f"({number}) {reason}." for number, (_, _, reason) in enumerate(failed[:3], start=1))
    return (
        f"{len(failed)} of {total} galaxies cannot be used, more than max_failed {max_failed:g} allows: {reasons} "
        f"All of them are listed in {folder / FAILED_NAME}. Raise max_failed and continue with resume=True, which "
        "keeps the finished shards, or correct the files and start again with overwrite=True"
    )
