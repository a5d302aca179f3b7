"""Scores of labels that are neither votes nor masks, beside those of a constant answer."""

import numpy as np

from zoobot3d_tf.labels import Label


def likeliest_classes(predicted: np.ndarray) -> np.ndarray:
    """The likeliest class of each galaxy, as an index.

    Args:
        predicted: probability of "1", shape (galaxies, 1), or of each class, shape (galaxies, classes).

    Returns:
        int, shape (galaxies,).
    """
    return predicted.argmax(axis=1) if predicted.shape[1] > 1 else (predicted[:, 0] >= 0.5).astype(int)


def confusion(label: Label, predicted: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Number of galaxies of each true class (rows) that are predicted to be of each class (columns).

    Args:
        label: with classes.
        predicted: see `likeliest_classes`.
        known: index of each galaxy's true class, shape (galaxies,).
    """
    from sklearn.metrics import confusion_matrix

    return confusion_matrix(known.astype(int), likeliest_classes(predicted), labels=range(len(label.class_names)))


def class_scores(label: Label, predicted: np.ndarray, known: np.ndarray) -> dict:
    """Scores of a label with classes; for the arguments see `confusion`.

    Returns:
        `accuracy`; `accuracy_of_commonest_class`, of always giving that answer; `balanced_accuracy`, the mean
        completeness of the classes; `completeness` and `purity` per class (None where they divide by zero);
        `confusion`, the numbers of galaxies by true and predicted class; and for a binary label `auc`, the area under
        the ROC curve.
    """
    from sklearn.metrics import roc_auc_score

    names = label.class_names
    matrix = confusion(label, predicted, known)
    n_true, n_predicted, n_right = matrix.sum(axis=1), matrix.sum(axis=0), np.diag(matrix)
    present = n_true > 0
    scores = {
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


def number_scores(label: Label, predicted: np.ndarray, known: np.ndarray) -> dict:
    """Scores of a label that is a number, in its own units.

    Args:
        label: gives the mean of the training galaxies.
        predicted: shape (galaxies, 1).
        known: shape (galaxies,).

    Returns:
        `mae`, the mean absolute error; `mae_of_always_the_mean`, that of always giving the training mean; `bias`, the
        mean error; `rms`, the root mean square error.
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
