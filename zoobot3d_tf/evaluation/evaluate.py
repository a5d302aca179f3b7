"""Evaluation of trained runs on galaxies with labels: prediction, leaving out what they have seen, and scores.

TensorFlow is imported only when there is something to predict or to unpack.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from zoobot3d_tf.catalogs.training_catalog import read_training_catalog
from zoobot3d_tf.evaluation.pairs import Pairs, read_pairs
from zoobot3d_tf.evaluation.scores import Scores, score_pairs
from zoobot3d_tf.files import PathLike, path_of, sha256_of, write_atomically
from zoobot3d_tf.inference.inputs import fingerprint, galaxies_in_catalog
from zoobot3d_tf.inference.metadata import read_metadata
from zoobot3d_tf.predictions.options import PredictionOptions
from zoobot3d_tf.predictions.predict_galaxies import predict_galaxies
from zoobot3d_tf.runs.calibration import read_calibration
from zoobot3d_tf.runs.run_folder import SEEN_NAME, read_run
from zoobot3d_tf.runs.seen import read_seen
from zoobot3d_tf.schemas import Schema
from zoobot3d_tf.shards.manifest import read_manifest, shards_in
from zoobot3d_tf.tables.formats import write_table

log = logging.getLogger(__name__)

_REASONS = {
    "training": "on which {run} was trained",
    "start": "on which the network that {run} began with was trained",
}


@dataclass(frozen=True)
class LabelledGalaxies:
    """Galaxies to evaluate on.

    Attributes:
        catalog: labelled catalogue.
        schema: decision tree of its votes; None for the tree of the predictions.
        image_root: folder that relative paths in the catalogue start from; by default the folder of the catalogue.
        missing_questions_unasked: accept questions without any column in the catalogue, as asked of nobody.
    """

    catalog: Path
    schema: Schema | None = None
    image_root: Path | None = None
    missing_questions_unasked: bool = False


@dataclass(frozen=True)
class Evaluation:
    """Predictions joined with labels, and their scores.

    Attributes:
        pairs: predictions and labels of the scored galaxies.
        scores: their scores.
        notes: sentences that a reader of the scores must know.
    """

    pairs: Pairs
    scores: Scores
    notes: tuple[str, ...]


def galaxies_in_eval_shards(shards: PathLike, folder: Path) -> LabelledGalaxies:
    """Unpack shards to a labelled catalogue, unless that was done before.

    Args:
        shards: shard folder, whose validation galaxies are used; or one of the folders of shards in it.
        folder: folder for the catalogue.

    Raises:
        OSError: there are no shards, or the folder cannot be written.
        ValueError: the shards are damaged.
    """
    shards = path_of(shards).absolute()
    manifest = read_manifest(shards)
    paths = manifest.paths("eval") if shards == manifest.folder else shards_in(shards)
    if not paths:
        raise ValueError(f"{shards}: has no validation galaxies; give one of the folders of shards in it")
    source_loc, source = folder / "source.json", json.dumps(manifest.content_hash(paths))
    if not source_loc.is_file() or source_loc.read_text() != source:
        from zoobot3d_tf.shards.unpack import unpack

        unpack(paths, folder)
        write_atomically(source_loc, source)
    return LabelledGalaxies(folder / "catalog.csv", manifest.schema)


def predict_labelled(
    runs: Sequence[PathLike], galaxies: LabelledGalaxies, folder: Path, options: PredictionOptions
) -> Path:
    """Predict the galaxies with one run or several, unless that was done before.

    Args:
        runs: run folders, as `read_run` takes them.
        galaxies: galaxies to predict.
        folder: folder for `predictions.parquet` and `masks/`.
        options: options of the predictions, without places for masks.

    Returns:
        Path of the table.

    Raises:
        ValueError, OSError: as `predict_galaxies`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    table_loc = folder / "predictions.parquet"
    trained = [read_run(run) for run in runs]
    listed = galaxies_in_catalog(galaxies.catalog, galaxies.image_root)
    calibrations = [None if options.no_calibration else read_calibration(run) for run in trained]
    wanted = {
        "fingerprint": fingerprint(listed),
        "runs": [
            {"weights_sha256": sha256_of(run.weights_loc), "n_samples": options.n_samples, "calibration": calibration}
            for run, calibration in zip(trained, calibrations, strict=True)
        ],
    }
    if table_loc.is_file() and _is_described(read_metadata(table_loc), wanted):
        log.info("%s: the galaxies are predicted already.", table_loc)
        return table_loc
    masks_dir = folder / "masks" if trained[0].model.masks else None
    chosen = runs[0] if len(runs) == 1 else list(runs)
    settings = replace(options, masks_dir=masks_dir, samples=True, overwrite=True)
    return predict_galaxies(listed, chosen, table_loc, settings)


def evaluate(
    predictions: PathLike,
    galaxies: LabelledGalaxies,
    include_training: bool = False,
    second_group: PathLike | None = None,
) -> Evaluation:
    """Score predictions against votes, masks or a label.

    Galaxies that the runs were trained on are left out, and counted. The runs are those that the metadata of the
    predictions name, if their folders still exist.

    Args:
        predictions: table of predictions.
        galaxies: galaxies with labels. Those that are not in the table are left out.
        include_training: keep the galaxies that the runs were trained on.
        second_group: catalogue of the masks of a second group of volunteers, with the same `id_str`.

    Raises:
        FileNotFoundError: a table does not exist.
        ValueError: a table cannot be read or has a wrong value; the tables have no galaxy in common; no galaxy remains,
            or no label is known of what was predicted.
    """
    pairs, training_votes, notes = _join(predictions, galaxies, include_training)
    second = None if second_group is None else read_training_catalog(second_group, None, labels=("masks",))
    return Evaluation(pairs, score_pairs(pairs, training_votes, second), tuple(notes))


def evaluate_alike(
    tables: Mapping[str, PathLike], galaxies: LabelledGalaxies, include_training: bool = False
) -> dict[str, Evaluation]:
    """Evaluate several tables of predictions on the galaxies that all of them have, and on which no run was trained.

    Args:
        tables: table of predictions by name of the run.
        galaxies: galaxies with labels.
        include_training: keep the galaxies that one of the runs was trained on.

    Returns:
        Evaluations by name, all of the same galaxies in the same order.

    Raises:
        ValueError: as `evaluate`; or no galaxy is left that all runs can be compared on.
    """
    alone = {name: _join(table, galaxies, include_training) for name, table in tables.items()}
    shared = set.intersection(*(set(pairs.catalog["id_str"]) for pairs, _, _ in alone.values()))
    evaluations = {}
    for name, (pairs, training_votes, notes) in alone.items():
        is_elsewhere = ~pairs.catalog["id_str"].isin(shared).to_numpy()
        pairs = pairs.without(is_elsewhere, "not predicted by another run, or trained on by it")
        evaluations[name] = Evaluation(pairs, score_pairs(pairs, training_votes), tuple(notes))
    return evaluations


def write_scores(evaluation: Evaluation, folder: Path) -> None:
    """Write every number: `scores.csv`, one row per score; `scores.json`, with the curves; and `galaxies.csv`."""
    scores = evaluation.scores
    write_table(scores.lines(), folder / "scores.csv")
    stored = scores.to_dict() | {"notes": list(evaluation.notes)}
    write_atomically(folder / "scores.json", json.dumps(stored, indent=1, allow_nan=False) + "\n")
    write_table(of_each_galaxy(evaluation), folder / "galaxies.csv")


def of_each_galaxy(evaluation: Evaluation) -> pd.DataFrame:
    """List the scores of each galaxy.

    Returns:
        Table with `id_str`; `fraction_error` and `votes_nll`, over all questions that were asked; `<mask>_iou` and
        `<mask>_error`; the predicted and the true `label`. NaN where a galaxy has no score.
    """
    pairs, scores = evaluation.pairs, evaluation.scores
    table = pd.DataFrame({"id_str": pairs.catalog["id_str"]})
    if scores.votes is not None:
        sums = {name: values[:, -1] for name, values in scores.votes.errors.sums.items()}
        was_asked = sums["answers"] > 0
        table["fraction_error"] = np.where(was_asked, sums["error"] / np.maximum(sums["answers"], 1), np.nan)
        table["votes_nll"] = np.where(was_asked, sums["nll"], np.nan)
    for mask, results in scores.masks.items():
        union = results.table.union[:, 0]
        iou = np.where(union > 0, results.table.intersection[:, 0] / np.maximum(union, 1), np.nan)
        found = pd.DataFrame({f"{mask}_iou": iou, f"{mask}_error": results.table.error}, index=results.table.ids)
        table = table.join(found, on="id_str")
    if scores.label is not None and pairs.label is not None:
        table[list(pairs.label.outputs)] = pairs.predicted_label
        table[f"true {pairs.label.column}"] = pairs.known_label
    return table


def _join(
    predictions: PathLike, galaxies: LabelledGalaxies, include_training: bool
) -> tuple[Pairs, np.ndarray | None, list[str]]:
    """Predictions joined with labels, without galaxies of the training; votes of the training galaxies; and notes."""
    pairs = read_pairs(
        predictions, galaxies.catalog, galaxies.schema, galaxies.image_root, galaxies.missing_questions_unasked
    )
    metadata = read_metadata(path_of(predictions))
    notes = [f"Predicted with {note}."] if (note := metadata.get("note")) else []
    training_votes = None
    for folder in _run_folders(metadata):
        seen = read_seen(folder)
        if seen is None:
            notes.append(
                f"The run {folder.name} does not say which galaxies it was trained on (it has no {SEEN_NAME}); if some "
                "of them are among the scored galaxies, its scores are too good."
            )
            continue
        pairs, remarks = without_seen(pairs, seen, folder.name, include_training)
        notes += remarks
        if training_votes is None:
            training_votes = _training_votes(seen, pairs.schema)
    return pairs, training_votes, notes


def _run_folders(metadata: dict[str, Any]) -> list[Path]:
    """Folders of the runs that made a table, of those that still exist."""
    folders = [Path(run["run_folder"]) for run in metadata.get("runs", [])]
    return [folder for folder in folders if folder.is_dir()]


def without_seen(pairs: Pairs, seen: pd.DataFrame, run: str, include_training: bool = False) -> tuple[Pairs, list[str]]:
    """Leave out the galaxies that a run, or the run that it began with, was trained on.

    Args:
        pairs: predictions and labels.
        seen: galaxies that the run has seen, as `read_seen` returns them.
        run: name of the run, for the reasons.
        include_training: keep them, and say how many they are.

    Returns:
        The other galaxies; and sentences about those that the run has seen in another way.

    Raises:
        ValueError: no galaxy would remain.
    """
    remarks = []
    for part, reason in _REASONS.items():
        is_seen = pairs.catalog["id_str"].isin(seen.loc[seen["part"] == part, "id_str"]).to_numpy()
        words = reason.format(run=run)
        if not is_seen.any():
            continue
        if include_training:
            remarks.append(f"{is_seen.sum():,} of the {len(is_seen):,} scored galaxies are galaxies {words}.")
        else:
            pairs = pairs.without(is_seen, words)
    chose = pairs.catalog["id_str"].isin(seen.loc[seen["part"] == "validation", "id_str"])
    if chose.any():
        remarks.append(
            f"{chose.sum():,} of the {len(chose):,} scored galaxies chose the best epoch of {run}, so that its scores "
            "may be slightly too good."
        )
    return pairs, remarks


def _training_votes(seen: pd.DataFrame, schema: Schema | None) -> np.ndarray | None:
    if schema is None or not set(schema.label_cols) <= set(seen):
        return None
    votes = seen.loc[seen["part"] == "training", list(schema.label_cols)].to_numpy(float)
    return votes if votes.any() else None


def _is_described(metadata: dict[str, Any], wanted: dict[str, Any]) -> bool:
    """Whether predictions were made from the same images with the same runs."""
    stored = json.loads(json.dumps(wanted, default=asdict))
    runs = [{name: run.get(name) for name in stored["runs"][0]} for run in metadata.get("runs", [])]
    return metadata.get("fingerprint") == stored["fingerprint"] and runs == stored["runs"]
