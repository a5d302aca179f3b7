"""Scores of a fine-tuned network on its validation galaxies, for `validation.json` and for the log."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from zoobot3d_tf.evaluation.bootstrap import ScoreLine, lines_to_dict, ratio_score
from zoobot3d_tf.evaluation.labels import score_label
from zoobot3d_tf.evaluation.votes import ALL, vote_errors
from zoobot3d_tf.models.config import ModelConfig
from zoobot3d_tf.schemas import Schema, vote_fractions


@dataclass(frozen=True)
class Validation:
    """Predictions for the validation galaxies that have votes, a label or masks.

    Attributes:
        predicted: outputs of the network for votes or a label, shape (galaxies, outputs); see `ModelConfig`. Empty for
            masks.
        known: labels, shape (galaxies, 1), or numbers of votes, shape (galaxies, answers). Empty for masks.
        overlaps: pixels in the intersection and in the union of predicted and true mask, shape (galaxies, 2), by name
            of the mask; see `images.masks.overlap`. Empty for votes and labels.
    """

    predicted: np.ndarray
    known: np.ndarray
    overlaps: Mapping[str, np.ndarray] = field(default_factory=dict)


def validation_scores(model: ModelConfig, validation: Validation) -> tuple[dict[str, Any], list[str]]:
    """Score the predictions for the validation galaxies.

    Args:
        model: configuration of the fine-tuned network.
        validation: predictions, and the labels, votes or overlaps.

    Returns:
        Content for `validation.json`: the number of `galaxies`, and each score with its interval, number of galaxies
        and baseline. And the same in words, one sentence per score.
    """
    if model.label is not None:
        scores = score_label(model.label, validation.predicted, validation.known[:, 0])
        return scores.to_dict(model.label), [*(line.text() for line in scores.lines), *scores.notes]
    if model.vote_schema is not None:
        n_galaxies, lines = len(validation.known), _vote_lines(model.vote_schema, validation)
    else:
        n_galaxies = max(map(len, validation.overlaps.values()), default=0)
        lines = [ScoreLine(f"{m}_iou", ratio_score(*of.T), len(of)) for m, of in validation.overlaps.items()]
    return {"galaxies": n_galaxies, **lines_to_dict(lines)}, [line.text() for line in lines]


def _vote_lines(schema: Schema, validation: Validation) -> list[ScoreLine]:
    """Scores over all questions; see `VoteScores`."""
    # The expected fraction of an answer is its concentration divided by the sum of the question.
    fractions = vote_fractions(validation.predicted, schema)
    errors = vote_errors(fractions, validation.predicted[..., None], validation.known, schema)
    if ALL not in errors.scores():
        return []
    scores, estimates = errors.scores()[ALL], errors.estimates()[ALL]
    mean = "always the mean of the scored galaxies"
    return [
        ScoreLine("fraction_mae", estimates["mae"], scores.n_galaxies, scores.mean_mae, mean),
        ScoreLine("nll", estimates["nll"], scores.n_galaxies, scores.mean_nll, mean),
        ScoreLine("accuracy", estimates["accuracy"], scores.n_clear, scores.mean_accuracy, "the commonest answers"),
        ScoreLine("coverage", estimates["coverage"], scores.n_galaxies),
    ]
