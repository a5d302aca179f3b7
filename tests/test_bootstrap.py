"""Intervals whose ends are known."""

import numpy as np
import pytest

from zoobot3d_tf.evaluation.bootstrap import (
    Score,
    ScoreLine,
    bootstrap_interval,
    bootstrap_score,
    central_interval,
    interval_of_draws,
    lines_to_dict,
    ratio,
    ratio_score,
    ratio_scores,
    resample_counts,
    resampled_sums,
    share_interval,
)


def test_interval_of_a_mean_is_that_of_the_normal_distribution():
    values = np.arange(400) % 2  # mean 0.5, standard error of the mean 0.025
    low, high = bootstrap_interval(lambda rows: values[rows].mean(), 400, n_resamples=4000)
    assert (low, high) == pytest.approx((0.5 - 1.645 * 0.025, 0.5 + 1.645 * 0.025), abs=0.004)


def test_equal_galaxies_have_an_interval_of_no_width():
    assert bootstrap_interval(lambda rows: np.full(5, 0.3)[rows].mean(), 5, n_resamples=10) == pytest.approx((0.3, 0.3))


def test_draws_without_a_score_are_left_out():
    scores = iter([0.0, float("nan"), 1.0, float("nan")])
    assert bootstrap_interval(lambda rows: next(scores), 2, level=0.5, n_resamples=4) == (0.25, 0.75)
    assert np.isnan(bootstrap_interval(lambda rows: float("nan"), 2, n_resamples=3)).all()


def test_same_seed_draws_the_same_galaxies():
    drawn = []
    for seed in (1, 1, 2):
        bootstrap_interval(lambda rows: float(drawn.append(rows.tolist()) or 0), 50, n_resamples=1, seed=seed)
    assert drawn[0] == drawn[1] != drawn[2]


def test_score_of_all_galaxies_with_its_interval():
    values = np.arange(9.0)
    score = bootstrap_score(lambda rows: values[rows].max(), 9)
    assert score == Score(8.0, *bootstrap_interval(lambda rows: values[rows].max(), 9))
    assert score.low < score.high == 8


def test_no_galaxy_has_no_score():
    none = bootstrap_score(lambda rows: 1.0, 0)
    assert np.isnan([none.value, none.low, none.high]).all()
    assert np.isnan(ratio_score(np.array([])).value)


def test_ratio_of_sums_and_mean():
    inside, union = np.array([1, 0, 5]), np.array([4, 0, 6])
    score = ratio_score(inside, union)
    assert score.value == 0.6
    assert score.low == 0.25  # the first galaxy alone, or with those of empty union, is drawn in more than 5 % of draws
    assert score.high == pytest.approx(5 / 6)
    assert ratio_score(np.array([True, False, True, True])).value == 0.75
    assert np.isnan(ratio_score(np.zeros(3), np.zeros(3)).value)


def test_interval_of_a_share():
    low, high = share_interval(np.array([0, 4, 2]), np.array([4, 4, 4]))
    z2 = 1.6448536**2
    np.testing.assert_allclose(low, [0, 4 / (4 + z2), 0.5 - np.sqrt(z2 + z2**2 / 4) / (4 + z2)], atol=1e-6)
    np.testing.assert_allclose(high, 1 - low[[1, 0, 2]], atol=1e-6)


def test_lines_of_a_table_in_words_and_as_json():
    purity = ScoreLine("purity", Score(0.75, 0.5, 1), 8, 0.5, "the share of the class", "S0")
    assert purity.text() == "purity of 'S0': 0.75 (0.5 to 1), 8 galaxies; the share of the class: 0.5"
    unknown = ScoreLine("balanced_accuracy", Score(np.nan, np.nan, np.nan), 1)
    assert unknown.text() == "balanced accuracy: not known from 1 galaxy"
    assert lines_to_dict([purity, unknown]) == {
        "purity": {
            "S0": {
                "value": 0.75,
                "low": 0.5,
                "high": 1,
                "galaxies": 8,
                "baseline": 0.5,
                "baseline_name": "the share of the class",
            }
        },
        "balanced_accuracy": {"value": None, "low": None, "high": None, "galaxies": 1},
    }


def test_score_in_words():
    assert Score(0.8123, 0.79, 0.8341).text() == "0.812 (0.790 to 0.834)"
    assert Score(0.8123, 0.79, 0.8341).text(".0%") == "81% (79% to 83%)"


def test_many_scores_at_once_have_the_same_intervals():
    rng = np.random.default_rng(0)
    parts, wholes = rng.random((2, 30, 2))
    scores = ratio_scores(parts, wholes)
    for column, ends in enumerate(zip(*scores, strict=True)):
        score = ratio_score(parts[:, column], wholes[:, column])
        assert ends == pytest.approx((score.value, score.low, score.high))


def test_sums_of_drawn_galaxies():
    sums = resampled_sums(np.array([[1.0, 100.0], [1.0, 200.0]]), n_resamples=120)
    assert sums.shape == (120, 2)
    assert set(sums[:, 0]) == {2}
    assert set(sums[:, 1]) == {200, 300, 400}


def test_draws_of_nothing_have_no_interval():
    draws = resampled_sums(np.zeros((0, 2)))
    assert np.isnan(interval_of_draws(ratio(draws, draws))).all()
    low, high = interval_of_draws(np.array([[0.0, np.nan], [np.nan, np.nan], [1.0, np.nan]]), level=0.5)
    assert (low[0], high[0]) == (0.25, 0.75)
    assert np.isnan([low[1], high[1]]).all()


def test_counts_are_those_of_the_galaxies_that_intervals_draw():
    values = np.random.default_rng(0).random(12)
    counts = resample_counts(12)
    assert (counts.sum(axis=1) == 12).all()
    by_rows = bootstrap_interval(lambda rows: values[rows].mean(), 12)
    assert central_interval(counts @ values / 12) == pytest.approx(by_rows)
    assert resample_counts(0).shape == (0, 0)
