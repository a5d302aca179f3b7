"""Reliability curves, with numbers known by hand."""

import numpy as np
import pytest

from zoobot3d_tf.evaluation.calibration import reliability


def test_each_filled_bin_has_its_means_and_its_number():
    predicted = np.array([0.02, 0.08, 0.5, 0.55, 0.59])
    observed = np.array([0, 1, 1, 0, 1])
    mean_predicted, mean_observed, numbers = reliability(predicted, observed)
    np.testing.assert_allclose(mean_predicted, [0.05, 1.64 / 3])
    np.testing.assert_allclose(mean_observed, [1 / 2, 2 / 3])
    np.testing.assert_array_equal(numbers, [2, 3])


def test_certainty_belongs_to_the_last_bin():
    mean_predicted, mean_observed, numbers = reliability(np.array([0.95, 1.0]), np.array([0.0, 1.0]))
    assert (mean_predicted[0], mean_observed[0], numbers[0]) == (pytest.approx(0.975), 0.5, 2)
    assert len(numbers) == 1


def test_calibrated_probabilities_lie_on_the_diagonal():
    rng = np.random.default_rng(0)
    predicted = rng.random(100_000)
    mean_predicted, mean_observed, numbers = reliability(predicted, rng.random(100_000) < predicted)
    assert len(numbers) == 10
    assert numbers.sum() == 100_000
    np.testing.assert_allclose(mean_observed, mean_predicted, atol=0.02)
