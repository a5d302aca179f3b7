"""Scores of a fine-tuned network on its validation galaxies, as `validation.json` holds them."""

from dataclasses import dataclass

import numpy as np

from zoobot3d_tf.evaluation.labels import class_scores, number_scores
from zoobot3d_tf.evaluation.votes import fraction_scores
from zoobot3d_tf.models.config import ModelConfig
from zoobot3d_tf.schemas import vote_fractions


@dataclass(frozen=True)
class Validation:
    """Validation galaxies that have what was learned.

    Attributes:
        predicted: outputs of the network, shape (galaxies, outputs).
        known: labels, shape (galaxies, 1), or votes, shape (galaxies, answers).
    """

    predicted: np.ndarray
    known: np.ndarray


def validation_scores(model: ModelConfig, validation: Validation) -> dict:
    """Scores by name; none for masks, whose metrics training has computed already."""
    n_galaxies = {"galaxies": len(validation.known)}
    if model.vote_schema is not None:
        # The share of a question's concentrations is the expected fraction.
        fractions = vote_fractions(validation.predicted, model.vote_schema)
        return n_galaxies | fraction_scores(fractions, validation.known, model.vote_schema)
    if model.label is None:
        return {}
    scores = number_scores if model.label.kind == "regression" else class_scores
    return n_galaxies | scores(model.label, validation.predicted, validation.known[:, 0])
