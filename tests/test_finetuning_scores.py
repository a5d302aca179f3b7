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
    scores, words = validation_scores(model, validation)
    assert scores["galaxies"] == 6
    assert scores["confusion"] == {"0": {"0": 2, "1": 1}, "1": {"0": 1, "1": 2}}
    assert scores["auc"]["value"] == pytest.approx(8 / 9)  # of nine pairs, only (0.3, 0.6) is in the wrong order
    assert scores["accuracy"]["value"] == pytest.approx(2 / 3)
    assert scores["accuracy"]["low"] < 2 / 3 < scores["accuracy"]["high"]
    assert scores["accuracy"]["baseline"] == 0.5
    assert {name: score["galaxies"] for name, score in scores["purity"].items()} == {"0": 3, "1": 3}
    assert words[0].startswith("accuracy: 0.667 (")
    assert words[0].endswith("), 6 galaxies; always '0': 0.5")


def test_scores_of_numbers_are_those_counted_by_hand():
    validation = Validation(np.array([[1.0], [4.0]]), np.array([[2.0], [4.0]]))
    model = ModelConfig(None, tasks=("label",), label=Label("age", "regression", mean=3.0))
    scores, words = validation_scores(model, validation)
    assert scores["galaxies"] == 2
    assert scores["mae"] == {
        "value": 0.5,
        "low": 0.0,
        "high": 1.0,
        "galaxies": 2,
        "baseline": 1.0,
        "baseline_name": "always the training mean",
    }
    assert scores["bias"]["value"] == -0.5
    assert scores["rms"]["value"] == pytest.approx(0.5**0.5)
    assert words[0] == "mae: 0.5 (0 to 1), 2 galaxies; always the training mean: 1"


@pytest.mark.filterwarnings("error")
def test_scores_of_votes_leave_out_what_nobody_was_asked():
    schema = get_schema("decals")
    known, predicted = np.zeros((2, len(schema.label_cols))), np.ones((2, len(schema.label_cols)))
    known[:, :3] = [[4, 0, 0], [0, 4, 0]]  # only the first question
    predicted[0, :3] = [2, 1, 1]
    scores, words = validation_scores(ModelConfig(schema, tasks=("votes",)), Validation(predicted, known))
    error = scores["fraction_mae"]
    assert error["value"] == pytest.approx((1 / 2 + 1 / 4 + 1 / 4 + 1 / 3 + 2 / 3 + 1 / 3) / 6)
    assert error["baseline"] == pytest.approx((4 * 0.5) / 6)
    assert (error["low"], error["high"]) == pytest.approx((1 / 3, 4 / 9))
    assert scores["galaxies"] == error["galaxies"] == 2
    assert len(words) == 4


def test_scores_of_masks_sum_pixels_over_galaxies():
    overlaps = {"spiral_mask": np.array([[1, 4], [0, 0], [5, 6]]), "bar_mask": np.zeros((0, 2), int)}
    none = np.empty((0, 0))
    model = ModelConfig(None, tasks=("spiral_mask", "bar_mask"))
    scores, words = validation_scores(model, Validation(none, none, overlaps))
    assert scores["galaxies"] == 3
    assert scores["spiral_mask_iou"]["value"] == 0.6
    assert words[1] == "bar mask iou: not known from 0 galaxies"
