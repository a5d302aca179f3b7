"""The parts of the uncertainty, by hand and for simulated volunteers whose truth is known."""

import numpy as np
import pytest

from zoobot3d_tf.evaluation.uncertainty import compare_with_votes, disagreement, entropy_parts, variance_parts
from zoobot3d_tf.predictions.results import vote_values
from zoobot3d_tf.schemas import Schema

SCHEMA = Schema({"bar": ["_yes", "_no"]}, {"bar": None}, "bars")


def simulate(rng, n_galaxies=40_000, n_samples=20, total=9.0, training_spread=0.1, n_votes=5):
    """Predictions of networks that differ by a known spread, and votes on galaxies of a network like them.

    The expected fractions of the galaxies lie between 0.3 and 0.7, and the true fractions scatter around those of the
    true network as a Beta distribution of known total.
    """
    centre = rng.uniform(0.3, 0.7, n_galaxies)
    fractions = np.clip(
        centre[:, None] + training_spread * rng.standard_normal((n_galaxies, n_samples + 1)), 0.02, 0.98
    )
    truth = fractions[:, -1]
    p = rng.beta(total * truth, total * (1 - truth))
    k = rng.binomial(n_votes, p)
    predicted = total * np.stack([fractions[:, :-1], 1 - fractions[:, :-1]], axis=1)
    return predicted, np.stack([k, n_votes - k], axis=1), p


def test_variance_by_hand():
    # Two samples: means 0.4 and 0.6, totals 5 and 5. m (1 - m) = 0.24; 0.24 * 5 / 6 / 4; (0.2)^2 / 2; 0.24 / 6.
    concentrations = np.array([[[2.0, 3.0], [3.0, 2.0]]])
    parts = variance_parts(concentrations, SCHEMA, n_votes=4)
    np.testing.assert_allclose(parts.volunteers, [[0.05, 0.05]])
    np.testing.assert_allclose(parts.training, [[0.02, 0.02]])
    np.testing.assert_allclose(parts.neither, [[0.04, 0.04]])
    np.testing.assert_allclose(parts.total, [[0.11, 0.11]])


def test_entropy_by_hand():
    # A uniform fraction: the entropy of the next answer is ln 2, that of the volunteers on average 1/2.
    parts = entropy_parts(np.ones((1, 2, 3)), SCHEMA)
    np.testing.assert_allclose(parts.volunteers, [[0.5]])
    np.testing.assert_allclose(parts.training, [[0]], atol=1e-12)
    np.testing.assert_allclose(parts.neither, [[np.log(2) - 0.5]])
    # Two networks that are sure of opposite answers: everything is a matter of training.
    sure = entropy_parts(np.array([[[1e9, 1e-3], [1e-3, 1e9]]]), SCHEMA)
    assert (sure.volunteers[0, 0], sure.training[0, 0], sure.neither[0, 0]) == pytest.approx(
        (0, np.log(2), 0), abs=1e-6
    )


def test_parts_of_the_entropy_add_to_the_entropy_of_predictions():
    concentrations = np.random.default_rng(0).uniform(1, 20, (30, 2, 5))
    total = entropy_parts(concentrations, SCHEMA).total[:, 0]
    np.testing.assert_allclose(total, vote_values(concentrations, SCHEMA, 10)["bar_entropy"], rtol=1e-6)


def test_one_sample_does_not_know_the_part_of_training():
    for parts in (variance_parts(np.ones((1, 2, 1)), SCHEMA, 1), entropy_parts(np.ones((1, 2, 1)), SCHEMA)):
        assert np.isnan(parts.training).all()
        np.testing.assert_allclose(parts.total, parts.volunteers + parts.neither)


def test_disagreement_is_corrected_for_few_votes():
    # Two votes that differ: f (1 - f) = 1/4 times 2 / 1.
    np.testing.assert_allclose(disagreement(np.array([[1, 1], [2, 0], [1, 0]]), SCHEMA)[:, 0], [0.5, 0, np.nan])
    k = np.random.default_rng(1).binomial(3, 0.3, 100_000)
    assert disagreement(np.stack([k, 3 - k], axis=1), SCHEMA)[:, 0].mean() == pytest.approx(0.3 * 0.7, rel=0.01)


def test_each_part_is_recovered_from_simulated_volunteers():
    rng = np.random.default_rng(2)
    concentrations, _, p = simulate(rng)
    parts = variance_parts(concentrations, SCHEMA, n_votes=5)
    assert parts.volunteers[:, 0].mean() == pytest.approx((p * (1 - p)).mean() / 5, rel=0.02)
    assert parts.training[:, 0].mean() == pytest.approx(0.1**2, rel=0.02)
    expected = concentrations[:, 0].mean(axis=1) / 9
    # The mean of 20 samples is itself uncertain by a twentieth of the part of training.
    assert (parts.training * 21 / 20 + parts.neither)[:, 0].mean() == pytest.approx(
        ((p - expected) ** 2).mean(), rel=0.02
    )


def test_votes_confirm_right_predictions_and_refute_wrong_ones():
    concentrations, votes, _ = simulate(np.random.default_rng(3))
    right = compare_with_votes(concentrations, votes, SCHEMA)["bar"]
    assert right["observed_volunteers"].value == pytest.approx(right["volunteers"].value, rel=0.02)
    assert right["observed_total"].value == pytest.approx(right["total"].value, rel=0.02)
    rest = right["training"].value + right["neither"].value
    assert right["observed_rest"].value == pytest.approx(rest, rel=0.04)
    assert right["observed_rest"].low < rest < right["observed_rest"].high
    too_sure = compare_with_votes(10 * concentrations, votes, SCHEMA)["bar"]
    assert too_sure["training"].value + too_sure["neither"].value < too_sure["observed_rest"].low


def test_galaxies_with_one_vote_are_left_out():
    votes = np.array([[1, 0], [3, 1]])
    concentrations = np.ones((2, 2, 2))
    compared = compare_with_votes(concentrations, votes, SCHEMA)
    assert compared == compare_with_votes(concentrations[1:], votes[1:], SCHEMA)
    assert compared["bar"]["observed_total"].value == pytest.approx(0.25**2)
    assert compare_with_votes(concentrations[:1], votes[:1], SCHEMA) == {}
