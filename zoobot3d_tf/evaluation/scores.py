"""All scores of predictions that are joined with labels: of votes, masks and a label, and their calibration."""

import logging
from collections.abc import Iterator
from dataclasses import asdict, astuple, dataclass
from typing import Any

import numpy as np
import pandas as pd

from zoobot3d_tf.evaluation.bootstrap import Score
from zoobot3d_tf.evaluation.calibration import (
    Curve,
    coverage_curve,
    deviation_curve,
    randomised_pit,
    reliability_curve,
)
from zoobot3d_tf.evaluation.ceilings import group_ceilings, volunteer_ceilings, volunteer_scores
from zoobot3d_tf.evaluation.labels import LabelScores, score_label
from zoobot3d_tf.evaluation.masks import THRESHOLD_NAMES, MaskSums, MaskTable, mask_scores, smoothed_brightness
from zoobot3d_tf.evaluation.pairs import Pairs, PredictedVotes
from zoobot3d_tf.evaluation.uncertainty import compare_with_votes
from zoobot3d_tf.evaluation.votes import ALL, VoteErrors, VoteScores, vote_errors
from zoobot3d_tf.images.read import ImageError
from zoobot3d_tf.predictions.results import INTERVAL_LEVEL
from zoobot3d_tf.progress import Progress
from zoobot3d_tf.schemas import Schema, vote_fractions

log = logging.getLogger(__name__)

ONE_VOLUNTEER = "one volunteer"
SECOND_GROUP = "a second group"
PIT_BINS = 20
"""Number of bins of the histogram of the probability integral transform."""


@dataclass(frozen=True)
class VoteResults:
    """Scores and calibration of predicted votes.

    Attributes:
        errors: errors of each galaxy.
        numbers: scores by the text of the question, and of all questions under `votes.ALL`.
        estimates: the same scores with their intervals.
        coverage: coverage of intervals of all levels, by question and under `ALL`.
        deviation: how often fractions deviate by less than predicted, likewise; see `calibration.deviation_curve`.
        reliability: mean observed against predicted fractions, over all answers.
        pit: numbers of values of the probability integral transform in `PIT_BINS` bins, over all answers, by question
            and under `ALL`.
        uncertainty: stated beside observed uncertainty by question; see `uncertainty.compare_with_votes`.
    """

    errors: VoteErrors
    numbers: dict[str, VoteScores]
    estimates: dict[str, dict[str, Score]]
    coverage: dict[str, Curve]
    deviation: dict[str, Curve]
    reliability: Curve
    pit: dict[str, np.ndarray]
    uncertainty: dict[str, dict[str, Score]]


@dataclass(frozen=True)
class MaskResults:
    """Scores of one predicted mask.

    Attributes:
        table: sums over the pixels of each galaxy.
        scores: scores by name; see `masks.mask_values`.
        ceilings: scores of volunteers by `ONE_VOLUNTEER` and `SECOND_GROUP`, where they are known, by the same names.
        n_compared: number of galaxies behind each of the ceilings.
    """

    table: MaskTable
    scores: dict[str, Score]
    ceilings: dict[str, dict[str, Score]]
    n_compared: dict[str, int]


@dataclass(frozen=True)
class Scores:
    """Scores of predictions.

    Attributes:
        n_galaxies: number of galaxies with both a prediction and labels.
        left_out: numbers of galaxies left out, by the reason in words.
        votes: of votes; None if they were not predicted or are not known.
        masks: by name of the mask, for masks that were predicted and are known.
        label: of the label; None if there is none.
    """

    n_galaxies: int
    left_out: dict[str, int]
    votes: VoteResults | None
    masks: dict[str, MaskResults]
    label: LabelScores | None

    def lines(self) -> pd.DataFrame:
        """List all scores: `of` ("votes", a mask or "label"), `part`, `score`, `n_galaxies`, `value`, `low`, `high`.

        The part is a question, a class, or "all". Scores of volunteers have their name before the score.
        """
        columns = ["of", "part", "score", "n_galaxies", "value", "low", "high"]
        return pd.DataFrame(list(self._lines()), columns=columns)

    def _lines(self) -> Iterator[tuple[Any, ...]]:
        if self.votes is not None:
            for question, scores in self.votes.estimates.items():
                n_galaxies = self.votes.numbers[question].n_galaxies
                stated = self.votes.uncertainty.get(question, {})
                parts = {f"uncertainty_{name}": score for name, score in stated.items()}
                for name, score in (scores | parts).items():
                    yield "votes", question, name, n_galaxies, *astuple(score)
        for mask, results in self.masks.items():
            for name, score in results.scores.items():
                yield mask, "all", name, len(results.table), *astuple(score)
            for whose, ceiling in results.ceilings.items():
                for name, score in ceiling.items():
                    yield mask, "all", f"{whose}: {name}", results.n_compared[whose], *astuple(score)
        if self.label is not None:
            for line in self.label.lines:
                yield "label", line.of_class or "all", line.name, line.n_galaxies, *astuple(line.score)

    def to_dict(self) -> dict[str, Any]:
        """Convert to a dictionary for JSON, with the curves, the confusion matrices, and all scores; NaN is None."""
        stored: dict[str, Any] = {"n_galaxies": self.n_galaxies, "left_out": self.left_out}
        if (votes := self.votes) is not None:
            curves = {"coverage": votes.coverage, "deviation": votes.deviation, "reliability": {ALL: votes.reliability}}
            questions = votes.errors.schema.questions
            stored["votes"] = {
                "pit": {name: counts.tolist() for name, counts in votes.pit.items()},
                "confusion": {q.text: votes.errors.confusion(q).tolist() for q in questions},
            } | {
                name: {part: {key: _plain(value) for key, value in asdict(curve).items()} for part, curve in by.items()}
                for name, by in curves.items()
            }
        stored["scores"] = [
            {key: _plain(value) for key, value in row.items()} for row in self.lines().to_dict("records")
        ]
        return stored


def score_pairs(
    pairs: Pairs, training_votes: np.ndarray | None = None, second_group: pd.DataFrame | None = None
) -> Scores:
    """Score predictions that are joined with their labels.

    Images and masks are read one galaxy after the other. Masks are compared on the whole image: arms outside the
    central part that the network sees count as missed.

    Args:
        pairs: predictions and labels of the same galaxies.
        training_votes: votes of the training galaxies, for the baseline of the mean, shape (galaxies, answers); None if
            they are not known.
        second_group: training catalogue of a second group of volunteers who drew the same galaxies, for the ceiling.

    Raises:
        ValueError: no label is known of what was predicted, or no galaxy with masks can be read.
    """
    votes = None
    if pairs.predicted_votes is not None and pairs.schema is not None and pairs.votes.any():
        votes = _score_votes(pairs.predicted_votes, pairs.votes, pairs.schema, training_votes)
    label = None
    if pairs.label is not None and np.isfinite(pairs.known_label).any():
        label = score_label(pairs.label, pairs.predicted_label, pairs.known_label)
    tables, n_unreadable = _mask_tables(pairs)
    if votes is None and label is None and not tables:
        raise ValueError(
            f"none of the {len(pairs.catalog)} galaxies that are in both tables has labels of the kind that was "
            "predicted; the catalogue must have votes or masks for some of them"
        )
    unreadable = {"with an image or mask that cannot be read": n_unreadable} if n_unreadable else {}
    masks = _mask_results(tables, pairs, second_group) if tables else {}
    return Scores(len(pairs.catalog), pairs.left_out | unreadable, votes, masks, label)


def _score_votes(
    predicted: PredictedVotes, votes: np.ndarray, schema: Schema, training_votes: np.ndarray | None
) -> VoteResults:
    errors = vote_errors(predicted.fraction, predicted.concentrations, votes, schema, training_votes)
    numbers = errors.scores()
    transformed = randomised_pit(errors.places)
    where = {name: _answers_of(schema, name) for name in numbers}
    return VoteResults(
        errors=errors,
        numbers=numbers,
        estimates=errors.estimates(),
        coverage={name: coverage_curve(errors.places, used) for name, used in where.items()},
        deviation={
            name: deviation_curve(predicted.concentrations, votes, schema, used) for name, used in where.items()
        },
        reliability=reliability_curve(predicted.fraction, vote_fractions(votes, schema)),
        pit={
            name: np.histogram(transformed[:, used][np.isfinite(transformed[:, used])], PIT_BINS, (0, 1))[0]
            for name, used in where.items()
        },
        uncertainty=compare_with_votes(predicted.concentrations, votes, schema),
    )


def _answers_of(schema: Schema, name: str) -> np.ndarray:
    """Which answers belong to a question, or to `votes.ALL`, bool (answers,)."""
    used = np.zeros(len(schema.label_cols), bool)
    for question, part in zip(schema.questions, schema.slices, strict=True):
        used[part] = name in (question.text, ALL)
    return used


def _mask_tables(pairs: Pairs) -> tuple[dict[str, MaskTable], int]:
    """Sums over pixels by name of the mask, and the number of galaxies that cannot be read."""
    sums = {name: MaskSums() for name in pairs.predicted_masks}
    chosen = pairs.comparable_masks().nonzero()[0]
    failures = []
    for index in Progress(chosen, desc="scoring masks", unit="galaxy"):
        try:
            pictures = pairs.read_pictures(index)
        except ImageError as error:
            log.warning("galaxy left out of the scores of masks: %s", error)
            failures.append(error)
            continue
        brightness = smoothed_brightness(pictures.image)
        for name in pictures.predicted.keys() & pictures.true.keys():
            id_str = pairs.catalog["id_str"].iloc[index]
            sums[name].add(pictures.predicted[name], pictures.true[name], brightness, id_str)
    if failures and len(failures) == len(chosen):
        raise ValueError(
            f"none of the {len(chosen)} galaxies with masks can be read; the first error is: {failures[0]}"
        )
    return {name: total.table() for name, total in sums.items() if total.n_galaxies}, len(failures)


def _mask_results(
    tables: dict[str, MaskTable], pairs: Pairs, second_group: pd.DataFrame | None
) -> dict[str, MaskResults]:
    volunteers = volunteer_ceilings(pairs.catalog).tables
    second = {} if second_group is None else group_ceilings(pairs.catalog, second_group, pairs.stretch).tables
    results = {}
    for name, table in tables.items():
        ceilings, n_compared = {}, {}
        if name in volunteers:
            ceilings[ONE_VOLUNTEER] = volunteer_scores(volunteers[name])
            n_compared[ONE_VOLUNTEER] = len(volunteers[name].ids)
        if name in second:
            ceilings[SECOND_GROUP] = mask_scores(second[name])
            n_compared[SECOND_GROUP] = len(second[name])
        results[name] = MaskResults(table, mask_scores(table), ceilings, n_compared)
    return results


def summary(scores: Scores) -> str:
    """Format the scores as a few lines of text."""
    lines = [f"{scores.n_galaxies} galaxies"]
    lines += [f"left out: {number} {reason}" for reason, number in scores.left_out.items()]
    lowest = THRESHOLD_NAMES[0]
    for name, mask in scores.masks.items():
        found = mask.scores
        others = [f"brightness baseline {found[f'brightness_iou_{lowest}'].value:.3f}"]
        others += [f"{whose} {ceiling[f'iou_{lowest}'].value:.3f}" for whose, ceiling in mask.ceilings.items()]
        lines.append(
            f"{name}: IoU {found[f'iou_{lowest}'].text()} ({', '.join(others)}), mean error "
            f"{found['mae'].value:.4f} (blank mask {found['blank_mae'].value:.4f}), {len(mask.table)} galaxies"
        )
    if scores.votes is not None:
        votes, numbers = scores.votes.estimates[ALL], scores.votes.numbers[ALL]
        lines.append(
            f"votes: mean error of fractions {votes['mae'].text('.4f')}, {numbers.gain:.0%} below always predicting "
            f"the mean ({numbers.mean_mae:.4f}), {numbers.times_floor:.2f} times the noise floor "
            f"({numbers.noise_floor:.4f}); {INTERVAL_LEVEL:.0%} intervals hold {numbers.coverage:.0%}, "
            f"{numbers.n_galaxies} galaxies"
        )
    if scores.label is not None:
        for line in scores.label.lines:
            if not line.of_class:
                baseline = f" ({line.baseline_name} {line.baseline:.3f})" if line.baseline_name else ""
                lines.append(f"{line.name}: {line.score.text()}{baseline}, {line.n_galaxies} galaxies")
    return "\n".join(lines)


def _plain(value: Any) -> Any:
    """Value for JSON, which has no NaN."""
    if isinstance(value, np.ndarray):
        return [_plain(item) for item in value.tolist()]
    return None if isinstance(value, float) and not np.isfinite(value) else value
