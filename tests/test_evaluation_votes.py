"""Scores of votes beside their baselines, with numbers known by hand."""

import numpy as np
import pytest
from scipy import stats

from zoobot3d_tf.evaluation.bootstrap import bootstrap_interval
from zoobot3d_tf.evaluation.votes import (
    asked_by_many,
    clear_answers,
    mean_concentrations,
    mean_fractions,
    score_votes,
    vote_errors,
)
from zoobot3d_tf.schemas import Schema

SCHEMA = Schema({"shape": ["_smooth", "_disc"], "bar": ["_yes", "_no"]}, {"shape": None, "bar": "shape_disc"}, "small")
ONE_QUESTION = Schema({"bar": ["_yes", "_no"]}, {"bar": None}, "bars")

# The first galaxy is a disc with a bar, the second is smooth, the third is not clear.
VOTES = np.array([[2, 18, 9, 1], [19, 1, 0, 1], [3, 2, 0, 0]])
PREDICTED = np.array([[0.2, 0.8, 0.7, 0.3], [0.6, 0.4, 0.5, 0.5], [0.6, 0.4, 0.5, 0.5]])


def errors(training_votes=None):
    return vote_errors(PREDICTED, (10 * PREDICTED)[..., None], VOTES, SCHEMA, training_votes)


def test_asked_by_many_counts_the_votes_on_the_first_question():
    # 20, 20 and 5 volunteers, of whom 10, 1 and 0 were asked about bars.
    np.testing.assert_array_equal(asked_by_many(VOTES, SCHEMA), [[True, True], [True, False], [True, False]])
    np.testing.assert_array_equal(asked_by_many(VOTES, SCHEMA, 0.05)[:, 1], [True, True, False])


def test_trees_of_several_surveys_have_several_first_questions():
    tree = Schema({"a": ["_1", "_2"], "b": ["_1", "_2"], "c": ["_1", "_2"]}, {"a": None, "b": None, "c": "b_1"})
    # 10 volunteers of the first survey, and 4 of the second, of whom two were asked the third question.
    np.testing.assert_array_equal(asked_by_many(np.array([[5, 5, 2, 2, 2, 0]]), tree), [[True, True, True]])
    np.testing.assert_array_equal(asked_by_many(np.array([[5, 5, 0, 0, 2, 0]]), tree), [[True, False, False]])


def test_clear_answers():
    # 18 of 20, 19 of 20, 8 of 10; too few agree, too few voted.
    answers, share = clear_answers(np.array([[2, 18], [19, 1], [8, 2], [5, 15], [9, 0]]))
    np.testing.assert_array_equal(answers, [1, 0, 0, -1, -1])
    np.testing.assert_allclose(share, [0.9, 0.95, 0.8, 0, 0])


def test_errors_of_all_galaxies_and_where_half_were_asked():
    scores = errors().scores()
    # Errors: shape 0.1, 0.35 and 0; bar 0.2 and 0.5, but only the first bar was asked of half of the volunteers.
    assert scores["shape"].mae == pytest.approx(0.45 / 3)
    assert (scores["bar"].n_galaxies, scores["bar"].n_asked_by_half) == (2, 1)
    assert (scores["bar"].mae, scores["bar"].mae_by_half) == pytest.approx((0.35, 0.2))
    assert scores["all"].mae == pytest.approx((0.45 + 0.7) / 5)
    assert scores["all"].mae_by_half == pytest.approx((0.45 + 0.2) / 4)
    # Uniform fractions err by 0.4, 0.45, 0.1; 0.4, 0.5.
    assert scores["shape"].uniform_mae == pytest.approx(0.95 / 3)
    assert (scores["bar"].uniform_mae, scores["bar"].uniform_mae_by_half) == pytest.approx((0.45, 0.4))
    # The mean fraction of yes is 0.45.
    assert (scores["bar"].mean_mae, scores["bar"].mean_mae_by_half) == pytest.approx((0.45, 0.45))
    assert not scores["bar"].is_training_mean


def test_the_mean_is_that_of_the_training_galaxies():
    training = np.array([[0, 10, 8, 2], [0, 10, 10, 0]])
    np.testing.assert_allclose(mean_fractions(training, SCHEMA), [0, 1, 0.9, 0.1])
    scores = errors(training).scores()
    assert scores["bar"].mean_mae == pytest.approx(0.9 / 2)
    assert scores["shape"].mean_mae == pytest.approx((0.1 + 0.95 + 0.6) / 3)
    assert scores["shape"].gain == pytest.approx(1 - 0.45 / 1.65)
    assert scores["shape"].is_training_mean
    # Discs and bars are the commonest clear answers.
    assert (scores["shape"].mean_accuracy, scores["bar"].mean_accuracy) == (0.5, 1)


def test_the_mean_of_a_question_that_nobody_was_asked_is_uniform():
    np.testing.assert_allclose(mean_fractions(np.array([[4, 0, 0, 0]]), SCHEMA), [1, 0, 0.5, 0.5])


def test_accuracy_and_confusion():
    found = errors()
    scores = found.scores()
    assert (scores["shape"].n_clear, scores["bar"].n_clear, scores["all"].n_clear) == (2, 1, 3)
    assert (scores["shape"].accuracy, scores["all"].accuracy) == (1, 1)
    assert scores["shape"].uniform_accuracy == 0.5
    assert scores["all"].volunteer_accuracy == pytest.approx((0.9 + 0.95 + 0.9) / 3)
    np.testing.assert_array_equal(found.confusion(SCHEMA.questions[0]), [[1, 0], [0, 1]])
    swapped = vote_errors(PREDICTED[:, [1, 0, 2, 3]], np.ones((3, 4, 1)), VOTES, SCHEMA)
    np.testing.assert_array_equal(swapped.confusion(SCHEMA.questions[0]), [[0, 1], [1, 0]])
    np.testing.assert_array_equal(swapped.confusion(SCHEMA.questions[0], np.array([0, 0, 2])), [[0, 0], [2, 0]])
    assert swapped.scores()["shape"].accuracy == 0


def test_likelihood_is_per_galaxy_asked_and_summed_over_questions():
    scores = errors().scores()
    by_galaxy = [
        -stats.betabinom.logpmf(k, n, 10 * p, 10 * (1 - p))
        for k, n, p in ((2, 20, 0.2), (19, 20, 0.6), (3, 5, 0.6), (9, 10, 0.7), (0, 1, 0.5))
    ]
    assert scores["shape"].nll == pytest.approx(np.mean(by_galaxy[:3]))
    assert scores["bar"].nll == pytest.approx(np.mean(by_galaxy[3:]))
    assert scores["all"].nll == pytest.approx(np.sum(by_galaxy) / 3)
    # Equally likely numbers of votes: one of 21, 21, 6; 11, 2.
    assert scores["all"].uniform_nll == pytest.approx(np.log([21, 21, 6, 11, 2]).sum() / 3)
    assert scores["bar"].nll_gain == pytest.approx(scores["bar"].mean_nll - scores["bar"].nll)


def test_the_baseline_of_the_likelihood_is_the_distribution_of_the_galaxies():
    rng = np.random.default_rng(0)
    k = rng.binomial(20, rng.beta(1.5, 4.5, 20_000))
    votes = np.stack([k, 20 - k], axis=1)
    np.testing.assert_allclose(mean_concentrations(votes, ONE_QUESTION), [1.5, 4.5], rtol=0.05)
    # An answer that nobody gave is possible: two galaxies count as if one more had uniform fractions.
    never = mean_concentrations(np.array([[0, 3], [0, 3]]), ONE_QUESTION)
    assert never[0] / never.sum() == pytest.approx(1 / 6)


def test_right_predictions_have_a_better_likelihood_than_the_baselines():
    rng = np.random.default_rng(1)
    concentrations = rng.uniform(1, 20, (2000, 2))
    k = rng.binomial(15, rng.beta(*concentrations.T))
    predicted = concentrations / concentrations.sum(axis=1, keepdims=True)
    votes = np.stack([k, 15 - k], axis=1)
    score = score_votes(predicted, concentrations[..., None], votes, ONE_QUESTION)["bar"]
    assert score.nll < score.mean_nll < score.uniform_nll
    too_sure = score_votes(predicted, 10 * concentrations[..., None], votes, ONE_QUESTION)["bar"]
    assert too_sure.mae == score.mae
    assert too_sure.nll > score.nll


def test_scores_of_some_galaxies_are_those_of_a_smaller_set():
    training = np.array([[5, 5, 2, 2]])
    rows = np.array([0, 0, 1])
    of_rows = vote_errors(PREDICTED[rows], (10 * PREDICTED[rows])[..., None], VOTES[rows], SCHEMA, training).scores()
    by_rows = errors(training).scores(rows)
    assert list(by_rows) == ["shape", "bar", "all"]
    for name, score in by_rows.items():
        assert (score.n_galaxies, score.n_clear) == (of_rows[name].n_galaxies, of_rows[name].n_clear)
        for what in ("mae", "nll", "mean_nll", "coverage", "accuracy", "mae_by_half"):
            assert getattr(score, what) == pytest.approx(getattr(of_rows[name], what))
    assert list(errors().scores(np.array([2]))) == ["shape", "all"]
    assert np.isnan(errors().scores(np.array([2]))["shape"].accuracy)


def test_estimates_have_the_intervals_of_the_bootstrap():
    found = errors()
    estimates = found.estimates()
    assert list(estimates) == ["shape", "bar", "all"]
    for question, score in (("shape", "mae"), ("bar", "gain"), ("all", "nll"), ("all", "accuracy")):

        def value(rows, question=question, score=score):
            scores = found.scores(rows)
            return getattr(scores[question], score) if question in scores else float("nan")

        interval = bootstrap_interval(value, 3)
        assert (estimates[question][score].low, estimates[question][score].high) == pytest.approx(interval)
        assert estimates[question][score].value == value(slice(None))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"predicted": np.full((3, 4), np.nan)}, r"predicted of galaxy 0 is nan for 'shape_smooth'; .* 0 to 1"),
        ({"concentrations": np.zeros((3, 4, 1))}, r"concentrations of galaxy 0 is 0 for 'shape_smooth'; .* above 0"),
        ({"votes": VOTES[:2]}, r"same galaxies|of the same galaxies .*\(2, 4\)"),
        ({"votes": -VOTES}, r"votes must be >= 0"),
    ],
)
def test_impossible_predictions_are_refused(change, message):
    given = {"predicted": PREDICTED, "concentrations": PREDICTED[..., None], "votes": VOTES} | change
    with pytest.raises(ValueError, match=message):
        vote_errors(**given, schema=SCHEMA)
