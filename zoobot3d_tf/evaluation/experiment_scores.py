"""Scores of a trained run on shards, one row per galaxy, for the experiment `joint-vs-single`.

Each score is a ratio of two sums over galaxies. The table has both terms of each galaxy, so that a score of any
selection of galaxies needs no more than sums.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from zoobot3d_tf.images.masks import MASK_TITLES, overlap
from zoobot3d_tf.runs.run_folder import read_run
from zoobot3d_tf.schemas import Schema, fraction_errors
from zoobot3d_tf.shards.manifest import read_manifest


@dataclass(frozen=True)
class Score:
    """A score.

    Attributes:
        title: its name in words.
        high_is_good: whether a higher value is better.
    """

    title: str
    high_is_good: bool


SCORES = {
    "vote_error": Score("votes: mean error of fractions", False),
    "vote_nll": Score("votes: negative log-likelihood per galaxy, nats", False),
    **{f"{mask}_iou": Score(f"{title}: IoU", True) for mask, title in MASK_TITLES.items()},
    **{
        f"{mask}_error": Score(f"{title}: mean error of the fraction per pixel", False)
        for mask, title in MASK_TITLES.items()
    },
}
"""Scores by name. In a table of galaxies, the columns `<name>` and `<name>_of` are its numerator and denominator."""


def score_galaxies(run_folder: Path, folders: Mapping[str, Path], batch_size: int) -> pd.DataFrame:
    """Score a trained run on the evaluation galaxies of shards.

    Args:
        run_folder: run folder.
        folders: shard folder for each kind of label that the run has learned: "votes", "masks".
        batch_size: number of galaxies per step.

    Returns:
        One row per galaxy, with `id_str` and both terms of each of `SCORES` that is known for some galaxy; NaN where it
        is not known for this one. Masks are compared on the pixels of the network.

    Raises:
        ValueError: the run or the shards are damaged, do not fit each other, or the run predicts NaN.
    """
    from zoobot3d_tf.data.dataset import Survey, evaluation_batches
    from zoobot3d_tf.models.heads import mask_fraction
    from zoobot3d_tf.shards.read import read_votes

    run = read_run(run_folder)
    model, schema = run.load_model(), run.model.schema
    table = pd.DataFrame({"id_str": []}, dtype=object)
    for kind, folder in folders.items():
        tasks = [task for task in run.model.tasks if (task == "votes") == (kind == "votes")]
        manifest = read_manifest(folder)
        paths = manifest.paths("eval")
        survey = Survey(tuple(map(str, paths)), np.eye(manifest.n_answers))
        rows = []
        for images, targets, weights in evaluation_batches(
            [survey], run.framing, batch_size, tasks
        ).as_numpy_iterator():
            outputs = {name: output.numpy() for name, output in model(images, training=False).items()}
            known = {task: weights[task] > 0 for task in tasks}
            batch = pd.DataFrame(index=range(len(images)))
            for task in tasks:
                if not np.isfinite(outputs[task]).all():
                    raise ValueError(f"{run_folder}: the network predicts NaN or infinite {task}; train it again")
                if task == "votes" and schema is not None:
                    scored = vote_terms(targets[task], outputs[task], schema)
                else:
                    scored = mask_terms(task, targets[task][..., 0], mask_fraction(outputs[task])[..., 0])
                for name, values in scored.items():
                    batch[name] = np.where(known[task], values, np.nan)
            rows.append(batch)
        ids, _ = read_votes(paths)
        scored_rows = pd.concat(rows, ignore_index=True).assign(id_str=ids)
        table = table.merge(scored_rows.dropna(how="all", subset=scored_rows.columns.drop("id_str")), "outer", "id_str")
    return table


def vote_terms(votes: np.ndarray, concentrations: np.ndarray, schema: Schema) -> dict[str, np.ndarray]:
    """Compute the terms of the scores of votes.

    Args:
        votes: numbers of votes, shape (galaxies, answers).
        concentrations: predicted concentrations, same shape.
        schema: decision tree.

    Returns:
        `vote_error`, the sum of the errors of the fractions over the answers of questions that were asked, with their
        number; `vote_nll`, the negative log-likelihood of all votes of the galaxy in nats, with 1. Shape (galaxies,).
    """
    from zoobot3d_tf.training.losses import nll_by_question

    expected = concentrations / (concentrations @ schema.same_question)
    error, asked = fraction_errors(expected, votes, schema, np)
    nll = nll_by_question(votes, concentrations, schema.slices).numpy().sum(axis=1)
    terms = {"vote_error": error.sum(axis=1), "vote_error_of": asked.sum(axis=1)}
    return terms | {"vote_nll": nll, "vote_nll_of": np.ones(len(nll))}


def mask_terms(task: str, true: np.ndarray, predicted: np.ndarray) -> dict[str, np.ndarray]:
    """Compute the terms of the scores of a mask.

    Args:
        task: name of the mask.
        true: fractions of the volunteers who enclosed each pixel, shape (galaxies, H, W).
        predicted: predicted fractions, same shape.

    Returns:
        `<task>_iou`, the pixels in the intersection, with those in the union; `<task>_error`, the mean absolute
        difference over pixels, with 1. Shape (galaxies,).
    """
    intersection, union = overlap(predicted, true, np)
    error = np.abs(predicted - true).mean(axis=(1, 2))
    terms = {f"{task}_iou": intersection, f"{task}_iou_of": union}
    return terms | {f"{task}_error": error, f"{task}_error_of": np.ones(len(error))}


def terms_of(tables: Sequence[pd.DataFrame], score: str) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Collect the terms of a score from the tables of several seeds.

    Args:
        tables: tables of `score_galaxies`, one per seed, of the same galaxies.
        score: name of the score.

    Returns:
        Numerators and denominators, shape (seeds, galaxies) each, and the ids of the galaxies: those for which the
        score is known, sorted by id. There are none if the score was not computed.
    """
    known = []
    for table in tables:
        if score not in table:
            return np.empty((len(tables), 0)), np.empty((len(tables), 0)), []
        known.append(table.set_index("id_str")[[score, f"{score}_of"]].dropna().sort_index())
    ids = list(known[0].index)
    top, bottom = (np.array([one.loc[ids, column] for one in known]) for column in (score, f"{score}_of"))
    return top, bottom, ids
