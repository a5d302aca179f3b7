"""Comparison of several runs on the same galaxies, paired by galaxy."""

from collections.abc import Iterator, Mapping
from dataclasses import astuple, dataclass

import numpy as np
import pandas as pd

from zoobot3d_tf.evaluation.bootstrap import Score, bootstrap_score
from zoobot3d_tf.evaluation.evaluate import Evaluation
from zoobot3d_tf.evaluation.labels import Measure, measures_of
from zoobot3d_tf.evaluation.masks import THRESHOLD_NAMES, mask_differences, mask_scores, on_same_galaxies
from zoobot3d_tf.evaluation.votes import ALL, vote_differences

VOTE_SCORES = ("mae", "nll", "accuracy", "coverage")
MASK_SCORES = ("mae", *(f"{what}_{name}" for what in ("iou", "average_precision") for name in THRESHOLD_NAMES))
_LOW_IS_GOOD = ("mae", "nll", "rms", "brier", "scatter", "outliers")
_NEITHER = ("coverage", "bias")  # right at one value, not better the higher


@dataclass(frozen=True)
class Row:
    """One score of several runs on the same galaxies.

    Attributes:
        of: "votes", the name of a mask, or "label".
        part: question, or "all".
        score: name of the score.
        n_galaxies: number of galaxies.
        scores: score by name of the run.
        differences: score minus that of the first run, by name of the run, without the first. The galaxies of each
            random test set are the same for both runs (paired bootstrap).
    """

    of: str
    part: str
    score: str
    n_galaxies: int
    scores: dict[str, Score]
    differences: dict[str, Score]

    def is_better(self, run: str) -> bool | None:
        """Whether a run is better than the first by more than the choice of galaxies explains; None if undecided."""
        found = self.differences[run]
        if self.score in _NEITHER or not (found.low > 0 or found.high < 0):
            return None
        return (found.value < 0) == (self.score in _LOW_IS_GOOD)

    def weight(self, run: str) -> float:
        """Size of the difference, in halves of its interval."""
        found = self.differences[run]
        half = (found.high - found.low) / 2
        return abs(found.value) / half if half > 0 else 0.0


@dataclass(frozen=True)
class Comparison:
    """Scores of several runs on the same galaxies.

    Attributes:
        rows: all scores.
        notes: sentences that a reader must know.
    """

    rows: tuple[Row, ...]
    notes: tuple[str, ...]

    def deciding(self, run: str) -> Row | None:
        """Find the question or the mask in which a run differs most clearly from the first one; None if in none."""
        return next(filter(_decides, self.decided(run)), None)

    def decided(self, run: str) -> list[Row]:
        """List the scores in which a run is better or worse than the first one, the clearest first."""
        found = [row for row in self.rows if row.is_better(run) is not None]
        return sorted(found, key=lambda row: row.weight(run), reverse=True)

    def table(self) -> pd.DataFrame:
        """List all scores, one row per score and run, with the difference from the first run."""
        columns = ["of", "part", "score", "n_galaxies", "run", "value", "low", "high"]
        columns += ["difference", "difference_low", "difference_high"]
        nothing = (np.nan,) * 3
        return pd.DataFrame(
            [
                (row.of, row.part, row.score, row.n_galaxies, run, *astuple(score))
                + (astuple(row.differences[run]) if run in row.differences else nothing)
                for row in self.rows
                for run, score in row.scores.items()
            ],
            columns=columns,
        )


def compare(evaluations: Mapping[str, Evaluation]) -> Comparison:
    """Compare runs that were evaluated on the same galaxies.

    Args:
        evaluations: evaluations by name of the run, at least two, of the same galaxies in the same order. Differences
            are from the first one.

    Raises:
        ValueError: there are fewer than two runs, their galaxies differ, or they have nothing in common to compare.
    """
    if len(evaluations) < 2:
        raise ValueError(f"a comparison needs at least two runs; received {', '.join(evaluations) or 'none'}")
    first, *others = evaluations.values()
    ids = first.pairs.catalog["id_str"]
    for name, evaluation in evaluations.items():
        if not ids.equals(evaluation.pairs.catalog["id_str"]):
            raise ValueError(f"the runs must be evaluated on the same galaxies; {name} has others than the first run")
    notes = []
    rows: list[Row] = []
    if all(evaluation.scores.votes for evaluation in evaluations.values()):
        trees = {evaluation.pairs.schema for evaluation in evaluations.values()}
        if len(trees) == 1:
            rows += _vote_rows(evaluations)
        else:
            named = ", ".join(f"{name} {evaluation.pairs.schema!r}" for name, evaluation in evaluations.items())
            notes.append(f"Votes are not compared, since the runs have different decision trees: {named}.")
    for mask in first.scores.masks:
        if all(mask in other.scores.masks for other in others):
            rows += _mask_rows(evaluations, mask)
    labels = [evaluation.pairs.label for evaluation in evaluations.values()]
    if labels[0] is not None and all(labels[0].same_as(label) for label in labels):
        rows += _label_rows(evaluations)
    if not rows:
        raise ValueError(" ".join(["the runs have no votes, masks or label in common that are known.", *notes]))
    return Comparison(tuple(rows), tuple(notes))


def _vote_rows(evaluations: Mapping[str, Evaluation]) -> Iterator[Row]:
    results = {name: e.scores.votes for name, e in evaluations.items() if e.scores.votes}
    (_, first), *others = results.items()
    differences = {name: vote_differences(other.errors, first.errors) for name, other in others}
    for question, number in first.numbers.items():
        for score in VOTE_SCORES:
            scores = {name: one.estimates[question][score] for name, one in results.items()}
            from_first = {name: found[question][score] for name, found in differences.items()}
            n_galaxies = number.n_clear if score == "accuracy" else number.n_galaxies
            yield Row("votes", question, score, n_galaxies, scores, from_first)


def _mask_rows(evaluations: Mapping[str, Evaluation], mask: str) -> Iterator[Row]:
    shared = on_same_galaxies([evaluation.scores.masks[mask].table for evaluation in evaluations.values()])
    if not len(shared[0]):
        return
    tables = dict(zip(evaluations, shared, strict=True))
    scores = {name: mask_scores(table) for name, table in tables.items()}
    (_, first), *others = tables.items()
    differences = {name: mask_differences(table, first) for name, table in others}
    for score in MASK_SCORES:
        by_run = {name: found[score] for name, found in scores.items()}
        yield Row(mask, ALL, score, len(first), by_run, {name: d[score] for name, d in differences.items()})


def _label_rows(evaluations: Mapping[str, Evaluation]) -> Iterator[Row]:
    pairs = {name: evaluation.pairs for name, evaluation in evaluations.items()}
    is_known = [np.isfinite(p.known_label) & np.isfinite(p.predicted_label).all(axis=1) for p in pairs.values()]
    used = np.all(is_known, axis=0)
    n_galaxies = int(used.sum())
    measures = {
        name: measures_of(p.label, p.predicted_label[used], p.known_label[used]) for name, p in pairs.items() if p.label
    }
    for first, *others in zip(*measures.values(), strict=True):
        if not first.of_class:
            by_run = dict(zip(measures, (first, *others), strict=True))
            scores = {name: bootstrap_score(one.of_rows, n_galaxies) for name, one in by_run.items()}
            differences = {name: _difference(by_run[name], first, n_galaxies) for name in list(by_run)[1:]}
            yield Row("label", ALL, first.name, first.n_galaxies, scores, differences)


def _difference(one: Measure, first: Measure, n_galaxies: int) -> Score:
    return bootstrap_score(lambda rows: one.of_rows(rows) - first.of_rows(rows), n_galaxies)


def _decides(row: Row) -> bool:
    """Whether a row is the main score of one question, of one mask, or of the label."""
    if row.of == "votes":
        return row.part != ALL and row.score == "mae"
    return row.score in (f"iou_{THRESHOLD_NAMES[0]}", "accuracy", "mae") and (row.of == "label" or row.score != "mae")
