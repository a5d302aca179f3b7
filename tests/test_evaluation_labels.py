"""Scores of labels, with numbers known by hand."""

import numpy as np
import pytest

from zoobot3d_tf.evaluation.labels import class_scores, confusion, likeliest_classes, number_scores
from zoobot3d_tf.labels import Label

BINARY = Label("merger", "binary")
CLASSES = Label("type", "multiclass", classes=("E", "S", "Irr"))

# Three of type E, two of S and none of Irr; one of S is taken for E, one of E for Irr.
PREDICTED = np.array([[0.8, 0.1, 0.1], [0.5, 0.3, 0.2], [0.2, 0.3, 0.5], [0.1, 0.7, 0.2], [0.6, 0.4, 0.0]])
KNOWN = np.array([0, 0, 0, 1, 1])


def test_likeliest_classes():
    np.testing.assert_array_equal(likeliest_classes(PREDICTED), [0, 0, 2, 1, 0])
    np.testing.assert_array_equal(likeliest_classes(np.array([[0.49], [0.5], [0.9]])), [0, 1, 1])


def test_confusion_has_true_classes_in_rows():
    np.testing.assert_array_equal(confusion(CLASSES, PREDICTED, KNOWN), [[2, 0, 1], [1, 1, 0], [0, 0, 0]])


def test_scores_of_classes():
    scores = class_scores(CLASSES, PREDICTED, KNOWN)
    assert scores["accuracy"] == 3 / 5
    assert scores["accuracy_of_commonest_class"] == 3 / 5
    assert scores["balanced_accuracy"] == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert scores["completeness"] == {"E": 2 / 3, "S": 1 / 2, "Irr": None}
    assert scores["purity"] == {"E": 2 / 3, "S": 1.0, "Irr": 0.0}
    assert scores["confusion"]["E"] == {"E": 2, "S": 0, "Irr": 1}
    assert "auc" not in scores


def test_area_under_the_roc_curve():
    predicted, known = np.array([[0.1], [0.4], [0.35], [0.8]]), np.array([0, 0, 1, 1])
    scores = class_scores(BINARY, predicted, known)
    # There are four pairs of galaxies of different classes. Only 0.4 > 0.35 is in the wrong order.
    assert scores["auc"] == 0.75
    assert scores["accuracy"] == 3 / 4
    assert scores["completeness"] == {"0": 1.0, "1": 0.5}
    assert scores["purity"] == {"0": 2 / 3, "1": 1.0}


def test_one_class_alone_has_no_area_under_the_roc_curve():
    scores = class_scores(BINARY, np.array([[0.1], [0.9]]), np.array([0, 0]))
    assert "auc" not in scores
    assert scores["balanced_accuracy"] == 0.5


def test_scores_of_numbers():
    label = Label("mass", "regression", mean=10.0, scale=1.0)
    scores = number_scores(label, np.array([[9.0], [11.0], [12.0]]), np.array([10, 10, 13]))
    assert scores == {
        "mae": 1.0,
        "mae_of_always_the_mean": 1.0,
        "bias": pytest.approx(-1 / 3),
        "rms": 1.0,
    }
