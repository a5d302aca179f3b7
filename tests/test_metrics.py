"""Metrics with values known by hand. Galaxies without votes or masks are not included."""

import numpy as np
import pytest
import tensorflow as tf

from zoobot3d_tf.evaluation.masks import mask_iou
from zoobot3d_tf.evaluation.votes import ALL, score_votes
from zoobot3d_tf.schemas import Schema, vote_fractions
from zoobot3d_tf.training.metrics import MaskError, MaskIoU, QuestionLoss, VoteFractionError

SCHEMA = Schema({"shape": ["_round", "_flat"], "bar": ["_yes", "_no"]}, {"shape": None, "bar": "shape_flat"})


def test_iou_sums_over_galaxies_and_includes_the_threshold_itself():
    true = np.zeros((2, 4, 4, 1), np.float32)
    predicted = np.zeros((2, 4, 4, 1), np.float32)
    true[0, 0, :3], predicted[0, 0, 1:4] = 3 / 15, 0.9  # 2 shared of 4
    true[1, 2, :2] = 1.0  # 0 shared of 2
    metric = MaskIoU()
    metric.update_state(true, predicted)
    assert float(metric.result()) == pytest.approx(2 / 6)
    metric.reset_state()
    metric.update_state(true, predicted, sample_weight=tf.constant([1.0, 0.0]))
    assert float(metric.result()) == pytest.approx(2 / 4)


def test_mask_error_of_beta_binomial_output_uses_the_expected_fraction():
    metric = MaskError()
    metric.update_state(np.full((1, 2, 2, 1), 0.5, np.float32), np.full((1, 2, 2, 2), [3.0, 1.0], np.float32))
    assert float(metric.result()) == pytest.approx(0.25)


def test_vote_fraction_error_counts_only_questions_that_were_asked():
    votes = tf.constant([[5.0, 5.0, 0.0, 0.0], [10.0, 0.0, 4.0, 0.0]])
    concentrations = tf.constant([[1.0, 3.0, 9.0, 1.0], [1.0, 1.0, 1.0, 1.0]])
    metric = VoteFractionError(SCHEMA)
    metric.update_state(votes, concentrations)
    # |.5-.25| twice; |1-.5| twice; |1-.5| twice: over six answers.
    assert float(metric.result()) == pytest.approx((0.5 + 1.0 + 1.0) / 6)
    metric.reset_state()
    metric.update_state(votes, concentrations, sample_weight=tf.constant([1.0, 0.0]))
    assert float(metric.result()) == pytest.approx(0.25)


def test_question_loss_is_a_mean_over_galaxies_that_were_asked():
    votes = tf.constant([[3.0, 2.0, 0.0, 0.0], [3.0, 2.0, 1.0, 0.0]])
    metric = QuestionLoss(slice(2, 4), name="bar_loss")
    metric.update_state(votes, tf.ones((2, 4)))
    assert float(metric.result()) == pytest.approx(np.log(2), rel=1e-5)


def test_metrics_of_training_are_those_of_the_scores():
    rng = np.random.default_rng(0)
    votes = rng.integers(0, 4, (20, 4)).astype(np.float32)
    votes[:5, 2:] = 0
    concentrations = rng.uniform(1, 20, (20, 4)).astype(np.float32)
    error = VoteFractionError(SCHEMA)
    error.update_state(votes, concentrations)
    scores = score_votes(vote_fractions(concentrations, SCHEMA), concentrations[..., None], votes, SCHEMA)
    assert float(error.result()) == pytest.approx(scores[ALL].mae, rel=1e-5)
    true, predicted = rng.uniform(0, 0.4, (2, 20, 8, 8, 1)).astype(np.float32)
    iou = MaskIoU()
    iou.update_state(true, predicted)
    assert float(iou.result()) == pytest.approx(mask_iou(predicted[..., 0], true[..., 0]), rel=1e-5)


def test_masks_that_carry_their_number_of_volunteers_score_alike():
    true = np.random.default_rng(1).uniform(0, 1, (3, 4, 4, 1)).astype(np.float32)
    with_volunteers = np.concatenate([true, np.full_like(true, 15)], axis=-1)
    for metric in (MaskIoU(), MaskError()):
        metric.update_state(true, true[::-1])
        expected = float(metric.result())
        metric.reset_state()
        metric.update_state(with_volunteers, true[::-1])
        assert float(metric.result()) == expected


def test_nothing_counted_is_zero_not_nan():
    metric = MaskIoU()
    metric.update_state(np.zeros((1, 4, 4, 1), np.float32), np.zeros((1, 4, 4, 1), np.float32))
    assert float(metric.result()) == 0
