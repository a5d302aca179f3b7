"""Scores of masks with numbers known by hand, and maps that mend fractions."""

import numpy as np
import pytest
from scipy.spatial import cKDTree
from sklearn.metrics import average_precision_score

from zoobot3d_tf.evaluation.masks import (
    MAX_KNOTS,
    MIN_GALAXIES,
    THRESHOLD_NAMES,
    THRESHOLDS,
    MaskSums,
    average_precision,
    boundary_distance,
    calibration_error,
    fit_mask_map,
    level_sums,
    mask_differences,
    mask_iou,
    mask_reliability,
    mask_scores,
    mask_values,
    on_same_galaxies,
)

SHAPE = (20, 40)
BRIGHTNESS = np.zeros(SHAPE, np.uint8)


def square(x, y, size=10, fraction=1.0):
    """Mask that is zero outside of a square."""
    mask = np.zeros(SHAPE, np.float32)
    mask[y : y + size, x : x + size] = fraction
    return mask


def table_of(*pairs, brightness=BRIGHTNESS):
    sums = MaskSums()
    for number, (predicted, true) in enumerate(pairs):
        sums.add(predicted, true, brightness, str(number))
    return sums.table()


def random_pairs(n, seed=0):
    """Predicted and observed fractions that resemble each other, in levels of files of masks."""
    rng = np.random.default_rng(seed)
    true = rng.integers(0, 16, (n, *SHAPE)) / 15 * (rng.random((n, *SHAPE)) < 0.3)
    predicted = np.rint(255 * np.clip(0.6 * true + 0.3 * rng.random((n, *SHAPE)), 0, 1)) / 255
    return list(zip(predicted, true, strict=True))


# The scores


def test_masks_are_scored_at_each_share_of_the_volunteers():
    true = square(0, 0, fraction=6 / 15)  # enclosed at 3/15 and 5/15, not at 8/15
    values = mask_values(table_of((square(5, 0), true)))
    assert values["mae"] == pytest.approx((50 * 0.6 + 50 * 1 + 50 * 0.4) / 800)
    assert values["blank_mae"] == pytest.approx(100 * 0.4 / 800)
    assert [values[f"iou_{name}"] for name in THRESHOLD_NAMES] == [50 / 150, 50 / 150, 0]
    assert [values[f"enclosed_{name}"] for name in THRESHOLD_NAMES] == [100 / 800, 100 / 800, 0]
    # Of 100 pixels that are ranked first, 50 are inside; the others are among all 800.
    assert values["average_precision_3of15"] == pytest.approx(0.5 * 50 / 100 + 0.5 * 100 / 800)
    assert np.isnan(values["average_precision_8of15"])
    assert np.isnan(values["distance_8of15"])


def test_missed_and_invented_masks():
    blank, drawn = np.zeros(SHAPE), square(0, 0)
    values = mask_values(table_of((blank, drawn), (drawn, drawn), (blank, blank), (drawn, blank), (blank, blank)))
    assert values["missed_3of15"] == 1 / 2
    assert values["invented_3of15"] == pytest.approx(1 / 3)
    assert values["distance_3of15"] == 0  # the one galaxy where neither mask is empty


def test_distance_is_a_mean_over_galaxies_also_as_a_share_of_the_image():
    column, other = (np.eye(1, 40, x) * np.ones((20, 1)) for x in (10, 14))
    values = mask_values(table_of((column, other), (column, column)))
    assert values["distance_3of15"] == 2
    assert values["distance_share_3of15"] == 2 / 40


def test_iou_is_that_of_the_sums_of_all_galaxies():
    pairs = random_pairs(6)
    values = mask_values(table_of(*pairs))
    for name, threshold in zip(THRESHOLD_NAMES, THRESHOLDS, strict=True):
        assert values[f"iou_{name}"] == mask_iou(*zip(*pairs, strict=True), threshold)


def test_brightness_is_ranked_as_a_prediction_would_be():
    brightness = (255 * square(0, 0)).astype(np.uint8)
    values = mask_values(table_of((square(5, 0), square(0, 0)), brightness=brightness))
    assert values["brightness_iou_3of15"] == 1
    assert values["brightness_average_precision_3of15"] == 1


def test_average_precision_is_that_of_scikit_learn():
    (predicted, true), *_ = pairs = random_pairs(1)
    expected = average_precision_score(true.ravel() >= 0.2, predicted.ravel())
    assert mask_values(table_of(*pairs))["average_precision_3of15"] == pytest.approx(expected)


def test_average_precision_by_hand():
    # From the highest level: 1 of 1, then 1 of 2 further ones, then 0 of 1.
    assert average_precision(np.array([0, 1, 1]), np.array([1, 1, 0])) == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)


@pytest.mark.parametrize(
    "predicted",
    [np.zeros((5, 5)), np.full(SHAPE, np.nan), np.full(SHAPE, 1.5), np.full(SHAPE, -0.1)],
)
def test_predictions_that_are_not_fractions_of_the_image_are_refused(predicted):
    with pytest.raises(ValueError, match=r"predicted .*from 0 to 1 .*\(20, 40\).* received"):
        MaskSums().add(predicted, square(0, 0), BRIGHTNESS)


# The distance of outlines


def test_distance_of_a_square_and_the_pixel_in_its_centre():
    # The outline of the square of 3 x 3 pixels is all but its centre: 4 pixels at 1, and 4 at the root of 2.
    distance = boundary_distance(square(10, 5, 3) > 0, square(11, 6, 1) > 0)
    assert distance == pytest.approx((4 + 4 * np.sqrt(2) + 1) / 9, rel=1e-6)


def test_distance_is_symmetric_and_zero_for_equal_masks():
    first, second = square(2, 3) > 0, square(8, 0, 15) > 0
    assert boundary_distance(first, second) == boundary_distance(second, first) > 0
    assert boundary_distance(first, first) == 0
    assert boundary_distance(square(0, 0, 1) > 0, square(3, 4, 1) > 0) == 5


def test_distance_to_an_empty_mask_is_not_defined():
    assert np.isnan(boundary_distance(square(2, 3) > 0, np.zeros(SHAPE, bool)))


def test_distances_are_those_to_the_nearest_pixel():
    first, second = (np.random.default_rng(seed).random(SHAPE) < 0.05 for seed in (0, 1))  # hardly any has a neighbour
    first[:, 1:] &= ~first[:, :-1]
    points = [np.argwhere(mask) for mask in (first, second)]
    nearest = [cKDTree(points[1 - i]).query(points[i])[0] for i in (0, 1)]
    assert boundary_distance(first, second) == pytest.approx(np.concatenate(nearest).mean(), rel=1e-6)


# Galaxies drawn again, and models compared


def test_weights_are_numbers_of_times_that_a_galaxy_counts():
    pairs = random_pairs(4)
    table = table_of(*pairs)
    repeated = mask_values(table_of(*(pairs[i] for i in (0, 0, 3))))
    weighted = mask_values(table, np.array([[1, 1, 1, 1], [2, 0, 0, 1]]))
    for name, value in repeated.items():
        np.testing.assert_allclose(weighted[name][1], value, err_msg=name)
        np.testing.assert_allclose(weighted[name][0], mask_values(table)[name], err_msg=name)
    np.testing.assert_equal(mask_values(table.take(np.array([0, 0, 3]))), repeated)


def test_intervals_hold_the_scores():
    scores = mask_scores(table_of(*random_pairs(30)))
    for name in ("mae", "calibration_error", "iou_5of15", "average_precision_8of15", "distance_3of15"):
        assert scores[name].low < scores[name].value < scores[name].high, name


def test_a_difference_that_all_galaxies_share_is_certain():
    pairs = random_pairs(30)
    first = table_of(*pairs)
    second = table_of(*((np.clip(predicted + 0.02, 0, 1), true) for predicted, true in pairs))
    difference = mask_differences(first, second)["mae"]
    assert difference.low <= difference.value <= difference.high < 0
    alone = mask_scores(first)["mae"]
    assert difference.high - difference.low < (alone.high - alone.low) / 3
    assert mask_differences(first, first)["iou_3of15"].high == 0


def test_models_are_compared_on_galaxies_that_both_have():
    table = table_of(*random_pairs(4))
    first, second = table.take(np.array([3, 1, 0])), table.take(np.array([0, 2, 3]))
    with pytest.raises(ValueError, match="same galaxies in the same order; they have 3 and 3"):
        mask_differences(first, second)
    shared = on_same_galaxies([first, second])
    assert [list(one.ids) for one in shared] == [["3", "0"], ["3", "0"]]
    assert (mask_differences(*shared)["mae"].low, mask_differences(*shared)["mae"].high) == (0, 0)


# Calibration


def test_reliability_by_hand():
    predicted = np.array([[0.0, 0.02, 0.2, 0.25, 0.95]])
    true = np.array([[0.0, 0.4, 0.5, 0.0, 1.0]])
    mean_predicted, mean_observed, numbers = mask_reliability(*level_sums(predicted, true))
    assert numbers.tolist() == [2, 0, 0, 2, 0, 0, 0, 0, 0, 0, 1]
    np.testing.assert_allclose(mean_predicted[[0, 3, 10]], [0.01, 0.225, 0.95], atol=1 / 255)
    np.testing.assert_allclose(mean_observed[[0, 3, 10]], [0.2, 0.25, 1])
    assert np.isnan(mean_observed[1])


def test_calibration_error_leaves_out_the_sky():
    predicted = np.array([[0.0] * 100 + [0.4, 0.4, 0.4, 0.8]])
    true = np.array([[0.0] * 100 + [0.0, 0.3, 0.3, 1.0]])
    # Three pixels with 0.4 against 0.2 observed, and one with 0.8 against 1.
    assert calibration_error(*level_sums(predicted, true)) == pytest.approx(0.2)
    assert np.isnan(calibration_error(*level_sums(predicted[:, :100], true[:, :100])))


def volunteers_of(n_galaxies, seed):
    """True fractions, most of them near 0, and those of 15 volunteers, (galaxies, H, W) each."""
    rng = np.random.default_rng(seed)
    fraction = rng.random((n_galaxies, 64, 64)) ** 3
    return fraction, rng.binomial(15, fraction) / 15


def sums_of(predicted, observed):
    return map(np.array, zip(*map(level_sums, predicted, observed), strict=True))


def test_squared_fractions_are_mended():
    fraction, observed = volunteers_of(40, seed=0)
    knots = fit_mask_map(*sums_of(fraction**2, observed))
    fraction, observed = volunteers_of(40, seed=1)
    mended = np.interp(fraction**2, *knots)
    assert np.abs(fraction**2 - fraction).mean() > 0.1
    assert np.abs(mended - fraction).mean() < 0.01
    assert calibration_error(*map(sum, sums_of(mended, observed))) < 0.01


def test_right_fractions_are_kept():
    x, y = fit_mask_map(*sums_of(*volunteers_of(40, seed=0)))
    np.testing.assert_allclose(y, x, atol=0.01)


def test_maps_are_monotone_and_whole():
    predicted, observed = volunteers_of(15, seed=0)
    noise = np.random.default_rng(1).random(observed.shape)
    for truth in (observed, noise, 1 - observed):
        x, y = fit_mask_map(*sums_of(predicted, truth))
        assert len(x) == len(y) <= MAX_KNOTS
        assert (x[0], x[-1]) == (0, 1)
        assert (np.diff(x) > 0).all()
        assert (np.diff(y) >= 0).all()
        assert 0 <= y[0] <= y[-1] <= 1


def test_too_few_galaxies_leave_fractions_unchanged():
    predicted, observed = volunteers_of(MIN_GALAXIES - 1, seed=0)
    x, y = fit_mask_map(*sums_of(predicted**2, observed))
    np.testing.assert_array_equal(x, y)


def test_fractions_above_those_of_enough_galaxies_go_straight_to_one():
    predicted, observed = volunteers_of(20, seed=0)
    predicted, observed = predicted / 2, observed / 4
    predicted[0, 0, 0] = observed[0, 0, 0] = 0.9  # one galaxy
    knots = fit_mask_map(*sums_of(predicted, observed))
    assert np.interp([0.25, 0.75, 1], *knots) == pytest.approx([0.125, 0.625, 1], abs=0.02)
