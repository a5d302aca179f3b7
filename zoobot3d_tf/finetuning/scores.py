"""How good a fine-tuned network is on the validation galaxies, beside what costs nothing: always saying the same."""

from dataclasses import dataclass

import numpy as np

from zoobot3d_tf.evaluation.labels import _class_scores, _number_scores
from zoobot3d_tf.models.config import ModelConfig
from zoobot3d_tf.schemas import Schema, vote_fractions


@dataclass(frozen=True)
class Validation:
    """Validation galaxies that have what was learned.

    Attributes:
        predicted: outputs of the network, (galaxies, outputs).
        known: labels, (galaxies, 1), or votes, (galaxies, answers).
    """

    predicted: np.ndarray
    known: np.ndarray

    @property
    def classes(self) -> np.ndarray:
        """The true class of each galaxy, as an index."""
        return self.known[:, 0].astype(int)

    @property
    def likeliest(self) -> np.ndarray:
        """The likeliest class of each galaxy, as an index."""
        return (
            self.predicted.argmax(axis=1) if self.predicted.shape[1] > 1 else (self.predicted[:, 0] >= 0.5).astype(int)
        )


def validation_scores(model: ModelConfig, validation: Validation) -> dict:
    """Scores by name, as `validation.json` holds them."""
    if model.vote_schema is not None:
        return _vote_scores(model.vote_schema, validation)
    if model.label is None:
        return {}
    scores = _number_scores if model.label.kind == "regression" else _class_scores
    return {"galaxies": len(validation.known)} | scores(model.label, validation)


def _vote_scores(schema: Schema, validation: Validation) -> dict:
    observed = vote_fractions(validation.known, schema)
    # The share of a question's concentrations is the fraction to be expected.
    error = np.abs(vote_fractions(validation.predicted, schema) - observed)
    asked = ~np.isnan(observed)
    # A question may be asked of none of them.
    mean = observed.sum(axis=0, where=asked) / np.maximum(asked.sum(axis=0), 1)
    return {
        "galaxies": len(observed),
        "fraction_mae": float(error.mean(where=asked)),
        "fraction_mae_of_always_the_mean": float(np.abs(mean - observed).mean(where=asked)),
    }
