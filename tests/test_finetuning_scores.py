"""Scores of a fine-tuned network on its validation galaxies, counted by hand."""

import numpy as np
import pytest

from zoobot3d_tf.finetuning.scores import Validation, validation_scores
from zoobot3d_tf.labels import Label
from zoobot3d_tf.models import ModelConfig
from zoobot3d_tf.schemas import get_schema


def test_scores_of_classes_are_those_counted_by_hand():
    predicted = np.array([[0.9], [0.8], [0.3], [0.6], [0.1], [0.2]])
    validation = Validation(predicted, np.array([[1.0], [1], [1], [0], [0], [0]]))
    model = ModelConfig(None, tasks=("label",), label=Label("ring", "binary"))
    scores = validation_scores(model, validation)
    assert scores["confusion"] == {"0": {"0": 2, "1": 1}, "1": {"0": 1, "1": 2}}
    assert scores["auc"] == pytest.approx(8 / 9)  # of nine pairs, only (0.3, 0.6) is in the wrong order
    assert scores["accuracy"] == pytest.approx(2 / 3)
    assert scores["accuracy_of_commonest_class"] == 0.5
    assert scores["purity"] == {"0": pytest.approx(2 / 3), "1": pytest.approx(2 / 3)}


def test_scores_of_numbers_are_those_counted_by_hand():
    validation = Validation(np.array([[1.0], [4.0]]), np.array([[2.0], [4.0]]))
    model = ModelConfig(None, tasks=("label",), label=Label("age", "regression", mean=3.0))
    scores = validation_scores(model, validation)
    assert scores == {
        "galaxies": 2,
        "mae": 0.5,
        "mae_of_always_the_mean": 1.0,
        "bias": -0.5,
        "rms": pytest.approx(0.5**0.5),
    }


@pytest.mark.filterwarnings("error")
def test_scores_of_votes_leave_out_what_nobody_was_asked():
    schema = get_schema("decals")
    known, predicted = np.zeros((2, len(schema.label_cols))), np.ones((2, len(schema.label_cols)))
    known[:, :3] = [[4, 0, 0], [0, 4, 0]]  # only the first question
    predicted[0, :3] = [2, 1, 1]
    scores = validation_scores(ModelConfig(schema, tasks=("votes",)), Validation(predicted, known))
    assert scores == {
        "galaxies": 2,
        "fraction_mae": pytest.approx((1 / 2 + 1 / 4 + 1 / 4 + 1 / 3 + 2 / 3 + 1 / 3) / 6),
        "fraction_mae_of_always_the_mean": pytest.approx((4 * 0.5) / 6),
    }
