"""Scores of labels that are neither votes nor masks, beside always giving the same answer."""

import numpy as np

from zoobot3d_tf.labels import Label


def confusion(validation: Validation, n_classes: int) -> np.ndarray:
    """How many galaxies of each true class (rows) are taken for each class (columns)."""
    pairs = validation.classes * n_classes + validation.likeliest
    return np.bincount(pairs, minlength=n_classes**2).reshape(n_classes, n_classes)


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


def _share(part: int, whole: int) -> float | None:
    return float(part / whole) if whole else None
