"""How good a fine-tuned network is on the validation galaxies, beside what costs nothing: always saying the same."""

from dataclasses import dataclass

import numpy as np

from zoobot3d_tf.labels import Label
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


def confusion(validation: Validation, n_classes: int) -> np.ndarray:
    """How many galaxies of each true class (rows) are taken for each class (columns)."""
    pairs = validation.classes * n_classes + validation.likeliest
    return np.bincount(pairs, minlength=n_classes**2).reshape(n_classes, n_classes)


def validation_scores(model: ModelConfig, validation: Validation) -> dict:
    """Scores by name, as `validation.json` holds them."""
    if model.vote_schema is not None:
        return _vote_scores(model.vote_schema, validation)
    if model.label is None:
        return {}
    scores = _number_scores if model.label.kind == "regression" else _class_scores
    return {"galaxies": len(validation.known)} | scores(model.label, validation)


def _class_scores(label: Label, validation: Validation) -> dict:
    names = label.class_names
    matrix = confusion(validation, len(names))
    of_class, right = matrix.sum(axis=1), np.diag(matrix)
    taken_for = matrix.sum(axis=0)
    present = of_class > 0
    completeness = {name: _share(n, of) for name, n, of in zip(names, right, of_class, strict=True)}
    scores = {
        "accuracy": _share(right.sum(), matrix.sum()),
        "accuracy_of_commonest_class": _share(of_class.max(), matrix.sum()),
        "balanced_accuracy": float(np.mean(right[present] / of_class[present])),
        "completeness": completeness,
        "purity": {name: _share(n, of) for name, n, of in zip(names, right, taken_for, strict=True)},
        "confusion": {
            name: dict(zip(names, row.tolist(), strict=True)) for name, row in zip(names, matrix, strict=True)
        },
    }
    if label.kind == "binary" and present.all():
        from scipy.stats import rankdata

        # The share of pairs, one of each class, that are in the right order (Mann & Whitney 1947).
        ranks = rankdata(validation.predicted[:, 0])[validation.classes == 1].sum()
        n_no, n_yes = of_class
        scores["auc"] = float((ranks - n_yes * (n_yes + 1) / 2) / (n_no * n_yes))
    return scores


def _number_scores(label: Label, validation: Validation) -> dict:
    known = validation.known[:, 0].astype(float)
    error = validation.predicted[:, 0] - known
    return {
        "mae": float(np.abs(error).mean()),
        "mae_of_always_the_mean": float(np.abs(known - label.mean).mean()),
        "bias": float(error.mean()),
        "rms": float(np.sqrt(np.square(error).mean())),
    }


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


def _share(part: int, whole: int) -> float | None:
    return float(part / whole) if whole else None
