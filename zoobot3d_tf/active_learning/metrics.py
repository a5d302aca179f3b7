"""Metrics of an iteration: scores on the evaluation galaxies, uncertainty before and after, numbers of galaxies."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from zoobot3d_tf.active_learning.acquisition import acquire
from zoobot3d_tf.active_learning.database import Database
from zoobot3d_tf.active_learning.instructions import Instructions
from zoobot3d_tf.evaluation.votes import ALL, vote_errors
from zoobot3d_tf.files import read_json_object
from zoobot3d_tf.predictions.prediction_tables import iterate_predictions, load_predictions
from zoobot3d_tf.predictions.results import expected_fractions
from zoobot3d_tf.shards.manifest import read_manifest

METRICS_NAME = "metrics.json"
"""Name of the file of the metrics in the folder of an iteration."""
SCORES = ("mae", "mean_mae", "nll", "mean_nll", "accuracy", "coverage")
"""Scores of the evaluation galaxies in the metrics; see `evaluation.votes.VoteScores`."""


def read_metrics(folder: Path) -> dict[str, Any]:
    """Read the metrics of a finished iteration.

    Raises:
        FileNotFoundError: the folder has no metrics.
        ValueError: the file is damaged.
    """
    return read_json_object(folder / METRICS_NAME, "metrics of an iteration")


def information_of(table: Path) -> pd.Series:
    """Compute how unsure the model is: the mutual information of the next vote and the model; see `acquire`.

    Args:
        table: table of predictions with several samples.

    Returns:
        Information in nats, float64, by `id_str`.

    Raises:
        ValueError: the table is damaged, or has no predicted votes.
        OSError: the table does not exist.
    """
    parts = []
    for piece in iterate_predictions(table):
        if piece.concentrations is None or piece.schema is None:
            raise ValueError(f"{table}: holds no predicted votes; train with the task votes")
        values = acquire("mutual-information", piece.concentrations, piece.schema)
        parts.append(pd.Series(values, index=piece.table["id_str"].to_numpy()))
    return pd.concat(parts)


def measure(database: Database, instructions: Instructions, folder: Path, number: int) -> dict[str, Any]:
    """Compute the metrics of an iteration.

    Args:
        database: database of the experiment, with the choice of the iteration.
        instructions: instructions of the experiment.
        folder: folder of the iteration, with its predictions.
        number: number of the iteration.

    Returns:
        Content of `metrics.json`: numbers of galaxies; `scores`, those of `SCORES` on the evaluation galaxies, with
        their intervals; and `information`, the mean of `information_of` over several groups of galaxies. None where
        there is no galaxy.

    Raises:
        ValueError: a table of predictions is damaged, or has no predicted votes.
        OSError: a file is missing.
    """
    table, galaxies, answered = folder / "known.parquet", database.galaxies(), database.answered_in(number)
    information = information_of(table)
    is_eval = ~information.index.isin(answered["id_str"])
    asked = galaxies[galaxies["asked"] == number]
    candidates = folder / "candidates.parquet"
    of_candidates = information_of(candidates) if candidates.is_file() else pd.Series(dtype=float)
    return {
        "number": number,
        "n_labelled": int((galaxies["is_labelled"] & (galaxies["split"] != "eval")).sum()),
        "n_answered": len(answered),
        "n_asked": len(asked),
        "n_waiting": len(database.waiting()),
        "n_candidates": len(of_candidates),
        "scores": _scores(table, instructions),
        "information": {
            "evaluation": _mean(information[is_eval]),
            "candidates": _mean(of_candidates),
            "asked": _mean(asked["information"]),
            "answered_before": _mean(answered["information"]),
            "answered_after": _mean(information[~is_eval]),
        },
    }


def _mean(values: pd.Series) -> float | None:
    return float(values.mean()) if values.notna().any() else None


def _scores(table: Path, instructions: Instructions) -> dict[str, dict[str, float | None]]:
    """`SCORES` of the evaluation galaxies with their intervals, over all questions."""
    from zoobot3d_tf.shards.read import read_votes

    manifest = read_manifest(instructions.shard_dir)
    ids, votes = read_votes(manifest.paths("eval"))
    predictions, schema = load_predictions(table), instructions.schema
    places = {id_str: place for place, id_str in enumerate(predictions.table["id_str"])}
    kept = [(votes[row], places[id_str]) for row, id_str in enumerate(ids) if id_str in places]
    known, rows = np.array([one for one, _ in kept]), [place for _, place in kept]
    concentrations = np.asarray(predictions.concentrations, np.float64)[rows]
    _, training_votes = read_votes(manifest.paths("train"))
    fractions = expected_fractions(concentrations, schema)
    estimates = vote_errors(fractions, concentrations, known, schema, training_votes).estimates()[ALL]
    return {
        name: {end: value if np.isfinite(value) else None for end, value in asdict(estimates[name]).items()}
        for name in SCORES
    }
