"""Scores of labels, with numbers known by hand."""

import json

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from zoobot3d_tf.evaluation.labels import (
    Ranking,
    calibration_error,
    class_measures,
    confusion,
    label_curve,
    likeliest_classes,
    outlier_share,
    scatter,
    score_label,
    stated_probability,
)
from zoobot3d_tf.labels import Label

BINARY = Label("merger", "binary")
CLASSES = Label("type", "multiclass", classes=("E", "S", "Irr"))

# Three of type E, two of S and none of Irr; one of S is taken for E, one of E for Irr.
PREDICTED = np.array([[0.8, 0.1, 0.1], [0.5, 0.3, 0.2], [0.2, 0.3, 0.5], [0.1, 0.7, 0.2], [0.6, 0.4, 0.0]])
KNOWN = np.array([0, 0, 0, 1, 1])


def value(scores, name, of_class=""):
    return scores.line(name, of_class).score.value


def test_likeliest_classes():
    np.testing.assert_array_equal(likeliest_classes(PREDICTED), [0, 0, 2, 1, 0])
    np.testing.assert_array_equal(likeliest_classes(np.array([[0.49], [0.5], [0.9]])), [0, 1, 1])


def test_confusion_has_true_classes_in_rows():
    np.testing.assert_array_equal(confusion(CLASSES, PREDICTED, KNOWN), [[2, 0, 1], [1, 1, 0], [0, 0, 0]])


def test_scores_of_classes():
    scores = score_label(CLASSES, PREDICTED, KNOWN)
    assert scores.n_galaxies == 5
    assert value(scores, "accuracy") == 3 / 5
    assert scores.line("accuracy").baseline == 3 / 5
    assert scores.line("accuracy").baseline_name == "always 'E'"
    assert value(scores, "balanced_accuracy") == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert scores.line("balanced_accuracy").baseline == 1 / 2
    # Half of the squared differences from the truth, such as .2² + .1² + .1² for the first galaxy.
    assert value(scores, "brier") == pytest.approx((0.06 + 0.38 + 0.98 + 0.14 + 0.72) / 2 / 5)
    # The same for the constant answer .6, .4, 0.
    assert scores.line("brier").baseline == pytest.approx((3 * 0.16 + 2 * 0.36) / 5)
    assert [value(scores, "completeness", name) for name in ("E", "S")] == [2 / 3, 1 / 2]
    assert [value(scores, "purity", name) for name in CLASSES.classes] == [2 / 3, 1, 0]
    assert scores.line("purity", "E").baseline == 3 / 5
    assert scores.line("purity", "Irr").n_galaxies == 1
    # E against the rest: of six pairs .6 > .5 and .6 > .2 are in the wrong order; S against the rest: none.
    assert value(scores, "auc") == pytest.approx((4 / 6 + 6 / 6) / 2)
    # Lists of the highest E: [.8], [.8 .6 .5], [.8 .6 .5 .2].
    assert value(scores, "average_precision", "E") == pytest.approx((1 + 2 / 3 + 3 / 4) / 3)
    assert scores.notes == ("No scored galaxy has type 'Irr': completeness and AUC are without it.",)
    with pytest.raises(KeyError, match="purity Sc"):
        scores.line("purity", "Sc")


def test_baselines_are_those_of_the_training_galaxies():
    label = Label("merger", "binary", counts=(1, 3))
    scores = score_label(label, np.array([[0.9], [0.1], [0.2], [0.3]]), np.array([1, 0, 0, 0]))
    assert (value(scores, "accuracy"), scores.line("accuracy").baseline) == (1, 1 / 4)
    assert scores.line("accuracy").baseline_name == "always '1'"
    assert scores.line("brier").baseline == pytest.approx((0.25**2 + 3 * 0.75**2) / 4)
    assert "training" in scores.line("brier").baseline_name


def test_binary_scores():
    # There are four pairs of galaxies of different classes. Only 0.4 > 0.35 is in the wrong order.
    scores = score_label(BINARY, np.array([[0.1], [0.4], [0.35], [0.8]]), np.array([0, 0, 1, 1]))
    assert value(scores, "auc") == 0.75
    assert value(scores, "accuracy") == 3 / 4
    assert [value(scores, "completeness", name) for name in "01"] == [1, 1 / 2]
    assert [value(scores, "purity", name) for name in "01"] == [2 / 3, 1]
    assert value(scores, "average_precision", "1") == pytest.approx((1 + 2 / 3) / 2)
    assert value(scores, "average_precision", "0") == pytest.approx((1 + 2 / 3) / 2)
    assert value(scores, "brier") == pytest.approx((0.01 + 0.16 + 0.4225 + 0.04) / 4)
    assert value(scores, "calibration_error") == pytest.approx((0.1 + 0.4 + 0.65 + 0.2) / 4)


def test_ranking():
    ranking = Ranking.of(np.array([0.5, 0.5, 0.1]), np.array([True, False, False]))
    assert ranking.auc() == 0.75  # equal values count one half
    assert ranking.average_precision() == 0.5
    assert np.isnan(Ranking.of(np.array([0.5, 0.5]), np.array([True, True])).auc())
    assert np.isnan(Ranking.of(np.array([0.5, 0.5]), np.array([False, False])).average_precision())


def test_ranking_of_drawn_galaxies_agrees_with_scikit_learn():
    rng = np.random.default_rng(0)
    values = np.round(rng.random(200), 1)
    is_positive = rng.random(200) < values
    ranking, rows = Ranking.of(values, is_positive), rng.integers(200, size=200)
    assert ranking.auc(rows) == pytest.approx(roc_auc_score(is_positive[rows], values[rows]))
    assert ranking.average_precision(rows) == pytest.approx(average_precision_score(is_positive[rows], values[rows]))


def test_a_difference_of_two_runs_on_the_same_galaxies_is_taken_by_measure():
    known = np.array([0, 1, 1])
    first, second = (
        class_measures(BINARY, p, known)[0] for p in (np.array([[0.1], [0.9], [0.2]]), np.full((3, 1), 0.7))
    )
    rows = np.array([0, 0, 2])
    assert first.of_rows(rows) - second.of_rows(rows) == pytest.approx(2 / 3 - 1 / 3)


def test_intervals_of_shares_have_a_width_where_all_galaxies_are_right():
    scores = score_label(BINARY, np.array([[0.1], [0.2], [0.9], [0.8]]), np.array([0, 0, 1, 1]))
    accuracy = scores.line("accuracy").score
    assert accuracy.high == pytest.approx(1)
    assert accuracy.low == pytest.approx(1 / (1 + 1.6449**2 / 4), abs=1e-4)  # Wilson's interval of 4 in 4
    assert scores.line("auc").score.value == 1


def test_one_class_alone_has_no_area_under_the_roc_curve():
    scores = score_label(BINARY, np.array([[0.1], [0.9]]), np.array([0, 0]))
    assert np.isnan(value(scores, "auc"))
    assert value(scores, "balanced_accuracy") == 0.5
    assert "All 2 scored galaxies have merger '0'" in scores.notes[0]
    assert scores.line("auc").text() == "auc: not known from 2 galaxies"
    assert json.dumps(scores.to_dict(BINARY), allow_nan=False)


def test_a_class_that_is_never_predicted_has_no_purity():
    scores = score_label(BINARY, np.array([[0.1], [0.2]]), np.array([0, 1]))
    assert np.isnan(value(scores, "purity", "1"))
    assert scores.notes == ("merger '1' is never predicted: it has no purity.",)


@pytest.mark.parametrize("label", [BINARY, Label("mass", "regression", mean=1.0)])
def test_galaxies_without_a_label_or_a_finite_prediction_are_left_out(label):
    predicted, known = np.array([[0.25], [np.nan], [0.75], [0.5]]), np.array([0, 1, 1, np.nan])
    scores = score_label(label, predicted, known)
    assert scores.n_galaxies == 2
    assert scores.notes[0] == "1 of 3 galaxies are left out: their predictions are not finite numbers."
    assert scores.lines == score_label(label, predicted[[0, 2]], known[[0, 2]]).lines


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("label", [BINARY, CLASSES, Label("mass", "regression")])
def test_no_galaxy_has_no_scores_and_says_so(label):
    scores = score_label(label, np.empty((0, len(label.outputs))), np.empty(0))
    assert (scores.n_galaxies, scores.lines) == (0, ())
    assert f"No galaxy has both {label.column} and a prediction" in scores.notes[0]
    assert scores.to_dict(label)["galaxies"] == 0


def test_scores_of_numbers():
    label = Label("mass", "regression", mean=10.0, scale=1.0)
    scores = score_label(label, np.array([[9.0], [11.0], [12.0]]), np.array([10, 10, 13]))
    expected = {"mae": 1, "rms": 1, "bias": -1 / 3, "scatter": 0, "outliers": 1 / 3}
    assert {line.name: line.score.value for line in scores.lines} == pytest.approx(expected)
    baselines = {"mae": 1, "rms": 3**0.5, "bias": -1, "scatter": 0, "outliers": 1 / 3}
    assert {line.name: line.baseline for line in scores.lines} == pytest.approx(baselines)
    assert scores.confusion is scores.reliability is None


def test_scatter_and_outliers():
    errors = np.array([-1.0, 0, 1, 2, 100])
    assert scatter(errors) == 1.4826  # median 1, absolute deviations 2, 1, 0, 1, 99
    assert outlier_share(errors) == 1 / 5
    assert scatter(np.random.default_rng(0).normal(3, 0.2, 10_000)) == pytest.approx(0.2, rel=0.03)


def test_the_calibration_of_more_classes_is_that_of_the_likeliest_class():
    probability, came_true = stated_probability(PREDICTED, KNOWN)
    np.testing.assert_array_equal(probability, [0.8, 0.5, 0.5, 0.7, 0.6])
    np.testing.assert_array_equal(came_true, [True, True, False, True, False])
    curve = label_curve(probability, came_true)
    np.testing.assert_allclose(curve.predicted, [0.5, 0.6, 0.7, 0.8])
    np.testing.assert_allclose(curve.observed, [0.5, 0, 1, 1])
    np.testing.assert_array_equal(curve.numbers, [2, 1, 1, 1])
    assert (curve.low < curve.observed + 1e-9).all()
    assert (curve.high - curve.low > 0.5).all()  # one or two galaxies say little


def test_right_probabilities_have_no_calibration_error_beyond_chance():
    rng = np.random.default_rng(0)
    within = []
    for _ in range(20):
        probability = rng.beta(1, 2, 100)
        error, if_right = calibration_error(probability, rng.random(100) < probability)
        within.append(error.value < if_right.high and error.low == 0)
    assert if_right.value == pytest.approx(0.09, abs=0.02)
    assert sum(within) >= 17


def test_overconfident_probabilities_are_found():
    rng = np.random.default_rng(0)
    truth = rng.beta(1, 2, 1000)
    logit = 3 * np.log(truth / (1 - truth))
    error, if_right = calibration_error(1 / (1 + np.exp(-logit)), rng.random(1000) < truth)
    assert if_right.high < error.low < error.value < error.high
    assert error.value == pytest.approx(0.15, abs=0.03)
