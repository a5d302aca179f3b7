"""Scores of labels that are neither votes nor masks, with the scores of a constant answer for comparison."""

from typing import Any

import numpy as np

from zoobot3d_tf.labels import Label


def likeliest_classes(predicted: np.ndarray) -> np.ndarray:
    """Find the most probable class of each galaxy.

    Args:
        predicted: probability of the class "1", shape (galaxies, 1), or of each class, shape (galaxies, classes).

    Returns:
        Index of the class, int, shape (galaxies,).
    """
    return predicted.argmax(axis=1) if predicted.shape[1] > 1 else (predicted[:, 0] >= 0.5).astype(int)


def confusion(label: Label, predicted: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Count the galaxies of each true class by their predicted class.

    Args:
        label: label with classes, binary or multiclass.
        predicted: probabilities; see `likeliest_classes`.
        known: index of the true class of each galaxy, shape (galaxies,).

    Returns:
        Numbers of galaxies, int, shape (classes, classes): true classes in rows, predicted classes in columns.
    """
    from sklearn.metrics import confusion_matrix

    return confusion_matrix(known.astype(int), likeliest_classes(predicted), labels=range(len(label.class_names)))


def class_scores(label: Label, predicted: np.ndarray, known: np.ndarray) -> dict[str, Any]:
    """Score a label with classes.

    Args:
        label: label with classes, binary or multiclass.
        predicted: probabilities; see `likeliest_classes`.
        known: index of the true class of each galaxy, shape (galaxies,).

    Returns:
        `accuracy`; `accuracy_of_commonest_class`, the accuracy of always answering the most common class;
        `balanced_accuracy`, the mean completeness of the classes; `completeness` and `purity` per class, None where
        there is no galaxy to divide by; `confusion`, the numbers of galaxies by true and predicted class; and `auc`,
        the area under the ROC curve, for a binary label of which both classes are present.
    """
    from sklearn.metrics import roc_auc_score

    names = label.class_names
    matrix = confusion(label, predicted, known)
    n_true, n_predicted, n_right = matrix.sum(axis=1), matrix.sum(axis=0), np.diag(matrix)
    present = n_true > 0
    scores: dict[str, Any] = {
        "accuracy": _share(n_right.sum(), matrix.sum()),
        "accuracy_of_commonest_class": _share(n_true.max(), matrix.sum()),
        "balanced_accuracy": float(np.mean(n_right[present] / n_true[present])),
        "completeness": {name: _share(n, of) for name, n, of in zip(names, n_right, n_true, strict=True)},
        "purity": {name: _share(n, of) for name, n, of in zip(names, n_right, n_predicted, strict=True)},
        "confusion": {
            name: dict(zip(names, row.tolist(), strict=True)) for name, row in zip(names, matrix, strict=True)
        },
    }
    if label.kind == "binary" and present.all():
        scores["auc"] = float(roc_auc_score(known, predicted[:, 0]))
    return scores


def number_scores(label: Label, predicted: np.ndarray, known: np.ndarray) -> dict[str, float]:
    """Score a label that is a number.

    Args:
        label: label of kind "regression", with the mean of the training galaxies.
        predicted: predicted values in the units of the label, shape (galaxies, 1).
        known: true values in the same units, shape (galaxies,).

    Returns:
        In the units of the label: `mae`, the mean absolute error; `mae_of_always_the_mean`, the mean absolute error of
        always predicting the training mean; `bias`, the mean error; `rms`, the root mean square error.
    """
    known = known.astype(float)
    error = predicted[:, 0] - known
    return {
        "mae": float(np.abs(error).mean()),
        "mae_of_always_the_mean": float(np.abs(known - label.mean).mean()),
        "bias": float(error.mean()),
        "rms": float(np.sqrt(np.square(error).mean())),
    }


def _share(part: int, whole: int) -> float | None:
    return float(part / whole) if whole else None
