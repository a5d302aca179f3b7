"""Metrics with values known by hand. Galaxies without votes or masks are not included."""

import numpy as np
import pytest
import tensorflow as tf
from sklearn.metrics import roc_auc_score

from zoobot3d_tf.evaluation.masks import mask_iou
from zoobot3d_tf.evaluation.votes import ALL, score_votes
from zoobot3d_tf.labels import Label
from zoobot3d_tf.models.config import ModelConfig
from zoobot3d_tf.schemas import Schema, vote_fractions
from zoobot3d_tf.training.losses import nll_by_question
from zoobot3d_tf.training.metrics import label_sums, mask_sums, results, sums_of_batch, vote_sums

SCHEMA = Schema({"shape": ["_round", "_flat"], "bar": ["_yes", "_no"]}, {"shape": None, "bar": "shape_flat"})


def ratio(sums, name: str) -> float:
    """A metric of sums."""
    return results({name: sums[name]})[name]


def votes_of(votes, concentrations, weight=None):
    """Sums of the metrics of votes."""
    losses = nll_by_question(votes, concentrations, SCHEMA.slices)
    return vote_sums(SCHEMA, losses, votes, concentrations, tf.ones(len(votes)) if weight is None else weight)


def test_iou_sums_over_galaxies_and_includes_the_threshold_itself():
    true = np.zeros((2, 4, 4, 1), np.float32)
    predicted = np.zeros((2, 4, 4, 1), np.float32)
    true[0, 0, :3], predicted[0, 0, 1:4] = 3 / 15, 0.9  # 2 shared of 4
    true[1, 2, :2] = 1.0  # 0 shared of 2
    assert ratio(mask_sums(true, predicted, tf.ones(2)), "iou") == pytest.approx(2 / 6)
    assert ratio(mask_sums(true, predicted, tf.constant([1.0, 0.0])), "iou") == pytest.approx(2 / 4)


def test_mask_error_of_beta_binomial_output_uses_the_expected_fraction():
    true, predicted = np.full((1, 2, 2, 1), 0.5, np.float32), np.full((1, 2, 2, 2), [3.0, 1.0], np.float32)
    assert ratio(mask_sums(true, predicted, tf.ones(1)), "mae") == pytest.approx(0.25)


def test_vote_fraction_error_counts_only_questions_that_were_asked():
    votes = tf.constant([[5.0, 5.0, 0.0, 0.0], [10.0, 0.0, 4.0, 0.0]])
    concentrations = tf.constant([[1.0, 3.0, 9.0, 1.0], [1.0, 1.0, 1.0, 1.0]])
    # |.5-.25| twice; |1-.5| twice; |1-.5| twice: over six answers.
    assert ratio(votes_of(votes, concentrations), "fraction_mae") == pytest.approx((0.5 + 1.0 + 1.0) / 6)
    first_alone = votes_of(votes, concentrations, tf.constant([1.0, 0.0]))
    assert ratio(first_alone, "fraction_mae") == pytest.approx(0.25)


def test_question_loss_is_a_mean_over_galaxies_that_were_asked():
    votes = tf.constant([[3.0, 2.0, 0.0, 0.0], [3.0, 2.0, 1.0, 0.0]])
    assert ratio(votes_of(votes, tf.ones((2, 4))), "bar_loss") == pytest.approx(np.log(2), rel=1e-5)


def test_metrics_of_training_are_those_of_the_scores():
    rng = np.random.default_rng(0)
    votes = rng.integers(0, 4, (20, 4)).astype(np.float32)
    votes[:5, 2:] = 0
    concentrations = rng.uniform(1, 20, (20, 4)).astype(np.float32)
    scores = score_votes(vote_fractions(concentrations, SCHEMA), concentrations[..., None], votes, SCHEMA)
    assert ratio(votes_of(votes, concentrations), "fraction_mae") == pytest.approx(scores[ALL].mae, rel=1e-5)
    true, predicted = rng.uniform(0, 0.4, (2, 20, 8, 8, 1)).astype(np.float32)
    iou = ratio(mask_sums(true, predicted, tf.ones(20)), "iou")
    assert iou == pytest.approx(mask_iou(predicted[..., 0], true[..., 0]), rel=1e-5)


def test_masks_that_carry_their_number_of_volunteers_score_alike():
    true = np.random.default_rng(1).uniform(0, 1, (3, 4, 4, 1)).astype(np.float32)
    with_volunteers = np.concatenate([true, np.full_like(true, 15)], axis=-1)
    expected, received = (results(mask_sums(mask, true[::-1], tf.ones(3))) for mask in (true, with_volunteers))
    assert received == expected


def test_nothing_counted_is_zero_not_nan():
    empty = np.zeros((1, 4, 4, 1), np.float32)
    assert ratio(mask_sums(empty, empty, tf.ones(1)), "iou") == 0


def test_scores_of_a_binary_label_leave_out_galaxies_without_it():
    rng = np.random.default_rng(2)
    values = rng.integers(0, 2, (400, 1)).astype(np.float32)
    predicted = np.clip(values * 0.3 + rng.uniform(0, 0.7, (400, 1)), 0, 1).astype(np.float32)
    weight = np.where(rng.random(400) < 0.7, 2.5, 0).astype(np.float32)
    scores = results(label_sums(Label("ring", "binary"), values, predicted, tf.constant(weight)))
    known = weight > 0
    assert scores["auc"] == pytest.approx(roc_auc_score(values[known, 0], predicted[known, 0]), abs=2e-3)
    assert scores["accuracy"] == pytest.approx(((predicted >= 0.5) == values)[known].mean())


def test_sums_of_parts_add_to_those_of_the_whole():
    rng = np.random.default_rng(3)
    model = ModelConfig(SCHEMA, 32, tasks=("votes", "spiral_mask"))
    outputs = {"votes": rng.uniform(1, 20, (6, 4)), "spiral_mask": rng.uniform(0, 1, (6, 8, 8, 1))}
    targets = {"votes": rng.integers(0, 5, (6, 4)), "spiral_mask": rng.uniform(0, 1, (6, 8, 8, 1))}
    weights = {"votes": np.array([1, 1, 0, 1, 0, 1]), "spiral_mask": np.array([0, 0, 0, 0, 1, 1])}

    def of(rows):
        cut = [{name: tf.constant(array[rows], tf.float32) for name, array in part.items()} for part in data]
        return sums_of_batch(model, "l1", {"votes": 1.0, "spiral_mask": 300.0}, *cut)

    data = outputs, targets, weights
    whole, first, second = of(slice(None)), of(slice(0, 4)), of(slice(4, 6))
    for name, value in whole.items():
        np.testing.assert_allclose(first[name] + second[name], value, rtol=1e-6, err_msg=name)
    scores = results(whole)
    assert scores["loss"] == pytest.approx(scores["votes_loss"] + 300 * scores["spiral_mask_loss"])
