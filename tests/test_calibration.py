"""Calibration, with numbers known by hand, and of predictions that the votes are drawn from."""

import numpy as np
import pytest

from zoobot3d_tf.evaluation.bootstrap import Score
from zoobot3d_tf.evaluation.calibration import (
    LEVELS,
    VotePlaces,
    coverage,
    coverage_curve,
    coverage_in_words,
    coverage_score,
    deviation_curve,
    fit_scales,
    place_votes,
    randomised_pit,
    reliability,
    reliability_curve,
    scaled,
)
from zoobot3d_tf.schemas import Schema

SCHEMA = Schema({"shape": ["_smooth", "_disc", "_star"], "bar": ["_yes", "_no"]}, {"shape": None, "bar": "shape_disc"})
ONE_QUESTION = Schema({"bar": ["_yes", "_no"]}, {"bar": None}, "bars")


def drawn(n_galaxies=1500, n_samples=3, seed=7):
    """Concentrations in several samples, and votes drawn from one of the samples of each galaxy."""
    rng = np.random.default_rng(seed)
    concentrations = rng.uniform(0.5, 8, (n_galaxies, 5, 1)) * rng.uniform(0.8, 1.25, (n_galaxies, 5, n_samples))
    n_votes = rng.integers(5, 40, n_galaxies)
    sample = rng.integers(n_samples, size=n_galaxies)
    votes = np.zeros((n_galaxies, 5), int)
    for galaxy, (n, chosen) in enumerate(zip(n_votes, sample, strict=True)):
        alpha = concentrations[galaxy, :, chosen]
        votes[galaxy, :3] = rng.multinomial(n, rng.dirichlet(alpha[:3]))
        votes[galaxy, 3:] = rng.multinomial(votes[galaxy, 1], rng.dirichlet(alpha[3:]))
    return concentrations, votes


# Votes


def test_places_and_coverage_by_hand():
    # Two volunteers and concentrations (1, 1): 0, 1 and 2 votes have probability 1/3 each.
    places = place_votes(np.ones((1, 5, 1)), np.array([[0, 0, 0, 1, 1]]), SCHEMA)
    np.testing.assert_allclose(places.below, [[np.nan] * 3 + [1 / 3] * 2])
    np.testing.assert_allclose(places.equal, [[np.nan] * 3 + [1 / 3] * 2])
    # The interval of level 1/2 is 1/4 to 3/4 in probability, that of 1/5 is 0.4 to 0.6.
    np.testing.assert_allclose(coverage(places, 0.5)[0, 3:], 1)
    np.testing.assert_allclose(coverage(places, 0.2)[0, 3:], 0.6)


def test_coverage_curve_of_chosen_answers():
    places = VotePlaces(np.array([[0.0, 0.45], [0.9, np.nan]]), np.array([[0.1, 0.1], [0.1, np.nan]]))
    curve = coverage_curve(places, levels=np.array([0.5, 0.9]))
    # At 50 % only 0.45..0.55 is inside; at 90 % also halves of 0..0.1 and 0.9..1.
    np.testing.assert_allclose(curve.observed, [1 / 3, 2 / 3])
    np.testing.assert_array_equal(curve.predicted, [0.5, 0.9])
    np.testing.assert_array_equal(curve.numbers, [3, 3])
    assert curve.error == pytest.approx((1 / 6 + 0.9 - 2 / 3) / 2)
    first = coverage_curve(places, where=np.array([True, False]), levels=np.array([0.9]))
    assert (first.observed[0], first.numbers[0]) == (pytest.approx(0.5), 2)


def test_votes_drawn_from_the_predictions_are_calibrated():
    concentrations, votes = drawn()
    places = place_votes(concentrations, votes, SCHEMA)
    curve = coverage_curve(places)
    np.testing.assert_allclose(curve.observed, LEVELS, atol=0.03)
    assert ((curve.low < LEVELS) & (LEVELS < curve.high)).mean() > 0.5
    assert coverage_score(places).value == pytest.approx(0.9, abs=0.03)
    assert coverage_in_words(coverage_score(places)).endswith("as they should")
    deviations = deviation_curve(concentrations, votes, SCHEMA)
    np.testing.assert_allclose(deviations.observed, deviations.predicted, atol=0.03)
    assert deviations.error < 0.015


def test_overconfident_predictions_are_found_and_mended_on_other_galaxies():
    concentrations, votes = drawn()
    too_sure = 10 * concentrations
    places = place_votes(too_sure, votes, SCHEMA)
    assert coverage_score(places).value < 0.8
    assert "too narrow" in coverage_in_words(coverage_score(places))
    assert deviation_curve(too_sure, votes, SCHEMA).error > 0.05
    scales = fit_scales(too_sure[:800], votes[:800], SCHEMA)
    np.testing.assert_allclose(scales, 0.1, rtol=0.2)
    mended = place_votes(scaled(too_sure[800:], scales, SCHEMA), votes[800:], SCHEMA)
    for part in SCHEMA.slices:
        where = np.isin(np.arange(5), np.arange(5)[part])
        assert coverage_score(mended, where).value == pytest.approx(0.9, abs=0.03)


def test_factors_of_right_predictions_are_one():
    np.testing.assert_allclose(fit_scales(*drawn(), SCHEMA), 1, rtol=0.15)


def test_factor_by_hand():
    # Two votes, which agree in 3 of 4 galaxies: (a + 1) / (2 a + 1) = 3/4 for concentrations (a, a), so that a = 1/2.
    votes = np.array([[2, 0], [0, 2], [2, 0], [1, 1]] * 20)
    assert fit_scales(np.full((80, 2, 1), 5.0), votes, ONE_QUESTION)[0] == pytest.approx(0.1, rel=0.005)


def test_factors_need_galaxies_with_two_votes():
    votes = np.array([[1, 0], [0, 1]] * 50 + [[2, 0]] * 49)
    assert fit_scales(np.full((149, 2, 1), 5.0), votes, ONE_QUESTION).tolist() == [1]
    assert fit_scales(np.ones((0, 5, 2)), np.zeros((0, 5)), SCHEMA).tolist() == [1, 1]


def test_scaled_concentrations_keep_their_question():
    assert scaled(np.ones((1, 5, 1)), np.array([2.0, 3.0]), SCHEMA)[0, :, 0].tolist() == [2, 2, 2, 3, 3]


@pytest.mark.parametrize(
    ("score", "verdict"),
    [
        (Score(0.62, 0.6, 0.64), "90% intervals hold 62% (60% to 64%) of the votes: they are too narrow"),
        (Score(0.97, 0.96, 0.98), "they are too wide"),
        (Score(0.88, 0.87, 0.89), "as they should"),
        (Score(0.8, 0.6, 0.95), "as they should"),
        (coverage_score(VotePlaces(*np.full((2, 1, 1), np.nan))), "cannot be checked"),
    ],
)
def test_coverage_in_words(score, verdict):
    assert verdict in coverage_in_words(score)


def test_randomised_pit_is_uniform_for_votes_drawn_from_the_predictions():
    concentrations, votes = drawn(n_galaxies=4000)
    values = randomised_pit(place_votes(concentrations, votes, SCHEMA))
    heights, _ = np.histogram(values[:, 0], bins=10, range=(0, 1), density=True)
    np.testing.assert_allclose(heights, 1, atol=0.2)
    too_sure = randomised_pit(place_votes(10 * concentrations, votes, SCHEMA))
    heights, _ = np.histogram(too_sure[:, 0], bins=10, range=(0, 1), density=True)
    assert min(heights[0], heights[-1]) > 1.5 > 0.9 > heights[4:6].max()


def test_randomised_pit_lies_between_the_probabilities():
    places = VotePlaces(np.array([[0.2, np.nan]]), np.array([[0.5, np.nan]]))
    values = [randomised_pit(places, seed)[0] for seed in range(20)]
    assert all(0.2 <= value <= 0.7 for value, _ in values)
    assert np.ptp([value for value, _ in values]) > 0.2
    assert np.isnan([missing for _, missing in values]).all()
    np.testing.assert_array_equal(randomised_pit(places, 3), randomised_pit(places, 3))


def test_deviations_by_hand():
    # Two volunteers, concentrations (1, 1): expected fraction 1/2; 1 of 2 votes, probability 1/3, deviates by 0.
    votes = np.array([[1, 1], [2, 0], [0, 0]])
    curve = deviation_curve(np.ones((3, 2, 1)), votes, ONE_QUESTION, deviations=np.array([0, 0.2, 0.5]))
    np.testing.assert_allclose(curve.predicted, [1 / 3, 1 / 3, 1])
    np.testing.assert_allclose(curve.observed, [1 / 2, 1 / 2, 1])
    np.testing.assert_allclose(curve.errors, [1 / 6, 1 / 6, 0])
    assert (curve.error_at(0.2), curve.error_at(0.5)) == pytest.approx((1 / 6, 0))
    np.testing.assert_array_equal(curve.numbers, [4, 4, 4])
    first = deviation_curve(np.ones((3, 2, 1)), votes, ONE_QUESTION, where=np.array([[True], [False], [True]]))
    assert (first.observed[0], first.numbers[0]) == (1, 2)


# Reliability


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


def test_curve_with_intervals_has_the_points_of_the_plain_one():
    rng = np.random.default_rng(0)
    predicted = rng.random((500, 3))
    observed = (rng.random((500, 3)) < predicted).astype(float)
    observed[:100, 2] = np.nan
    known = np.isfinite(observed)
    curve = reliability_curve(predicted, observed)
    plain = reliability(predicted[known], observed[known])
    np.testing.assert_allclose([curve.predicted, curve.observed, curve.numbers], plain)
    assert ((curve.low < curve.predicted) & (curve.predicted < curve.high)).sum() >= 7
    assert curve.error == pytest.approx((curve.errors * curve.numbers).sum() / known.sum())


def test_galaxies_are_drawn_with_all_their_values():
    # Ten times the same value of a galaxy say no more than one.
    observed = np.random.default_rng(0).integers(0, 2, 200).astype(float)
    once = reliability_curve(np.full(200, 0.5), observed)
    ten_times = reliability_curve(np.full((200, 10), 0.5), np.repeat(observed[:, None], 10, axis=1))
    assert (ten_times.low[0], ten_times.high[0]) == pytest.approx((once.low[0], once.high[0]))
    assert once.high[0] - once.low[0] == pytest.approx(2 * 1.645 * np.sqrt(0.25 / 200), rel=0.1)
