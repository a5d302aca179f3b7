"""Scores of a fine-tuned network on its validation galaxies, for `validation.json`."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from zoobot3d_tf.evaluation.labels import class_scores, number_scores
from zoobot3d_tf.evaluation.votes import fraction_scores
from zoobot3d_tf.models.config import ModelConfig
from zoobot3d_tf.schemas import vote_fractions


@dataclass(frozen=True)
class Validation:
    """Predictions for the validation galaxies that have votes or a label.

    Attributes:
        predicted: outputs of the network, shape (galaxies, outputs); see `ModelConfig`.
        known: labels, shape (galaxies, 1), or numbers of votes, shape (galaxies, answers).
    """

    predicted: np.ndarray
    known: np.ndarray


def validation_scores(model: ModelConfig, validation: Validation) -> dict[str, Any]:
    """Score the predictions for the validation galaxies.

    Args:
        model: configuration of the fine-tuned network.
        validation: predictions, and the labels or votes.

    Returns:
        Number of `galaxies`, and the scores of `evaluation.votes.fraction_scores`, `evaluation.labels.class_scores` or
        `evaluation.labels.number_scores`. Empty for masks, whose scores are the metrics of training.
    """
    n_galaxies = {"galaxies": len(validation.known)}
    if model.vote_schema is not None:
        # The expected fraction of an answer is its concentration divided by the sum of the question.
        fractions = vote_fractions(validation.predicted, model.vote_schema)
        return n_galaxies | fraction_scores(fractions, validation.known, model.vote_schema)
    if model.label is None:
        return {}
    scores = number_scores if model.label.kind == "regression" else class_scores
    return n_galaxies | scores(model.label, validation.predicted, validation.known[:, 0])
