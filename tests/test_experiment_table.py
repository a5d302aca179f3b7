"""Tables of the experiment: intervals over galaxies and seeds, and paired tests."""

import numpy as np
import pandas as pd
import pytest

from zoobot3d_tf.evaluation.experiment_plots import draw_learning_curves
from zoobot3d_tf.evaluation.experiment_table import (
    comparison_table,
    interval,
    markdown,
    p_value,
    resample,
    resample_all,
    score_table,
)


def table_of(values, score="vote_nll"):
    ids = [f"galaxy{number:04}" for number in range(len(values))]
    return pd.DataFrame({"id_str": ids, score: values, f"{score}_of": np.ones(len(values))})


def test_a_score_is_the_mean_over_seeds_of_ratios_of_sums():
    value, draws = resample(np.array([[1.0, 2], [0, 0]]), np.array([[2.0, 4], [1, 1]]), 50)
    assert value == pytest.approx((3 / 6 + 0) / 2)
    assert set(draws) == {0, 0.25, 0.5}  # both galaxies have the ratio 1/2, and the seeds 1/2 and 0


def test_the_interval_of_a_mean_is_that_of_its_standard_error():
    values = np.random.default_rng(0).normal(size=(1, 2000))
    _, draws = resample(values, np.ones_like(values), 4000)
    low, high = interval(draws)
    assert (high - low) / 2 == pytest.approx(1.645 * values.std() / np.sqrt(2000), rel=0.06)
    assert np.isnan(interval(np.full(3, np.nan))).all()


def test_an_interval_has_the_scatter_of_seeds():
    """For seeds at -1 and 1, a draw is -1, 0 or 1 with the probabilities 1/4, 1/2, 1/4."""
    _, draws = resample(np.array([[-1.0] * 5, [1.0] * 5]), np.ones((2, 5)), 4000)
    assert [(draws == value).mean() for value in (-1, 0, 1)] == pytest.approx([0.25, 0.5, 0.25], abs=0.03)


def test_p_is_twice_the_share_on_the_rarer_side():
    assert p_value(np.array([1.0] * 97 + [-1.0] * 2)) == pytest.approx(2 * 3 / 100)
    assert p_value(np.ones(999)) == pytest.approx(2 / 1000)
    assert p_value(np.zeros(9)) == 1


def test_pairs_find_a_difference_that_the_scatter_of_galaxies_hides():
    rng = np.random.default_rng(1)
    hard = rng.normal(10, 5, 300)  # galaxies differ far more than the variants
    variants = {
        ("joint", 25): [table_of(hard - 0.2 + rng.normal(0, 0.5, 300)) for _ in range(3)],
        ("masks-only", 25): [table_of(hard + rng.normal(0, 0.5, 300)) for _ in range(3)],
        ("votes-only", None): [table_of(hard + rng.normal(0, 0.5, 300)) for _ in range(3)],
    }
    resampled = resample_all(variants)
    scores = score_table(resampled).set_index("variant")
    assert scores.loc["joint", "high"] > scores.loc["masks-only", "low"]  # the intervals of the scores overlap
    pairs = [("joint", "masks-only"), ("votes-only", "masks-only"), ("joint", "votes-only")]
    row, same, constant = comparison_table(resampled, pairs).to_dict("records")
    assert row["better"] == "joint"
    assert row["p"] < 0.05
    assert row["low"] < row["difference"] == pytest.approx(-0.2, abs=0.1)
    assert (same["better"], same["size"]) == ("", 25)
    assert (constant["better"], constant["size"]) == ("joint", 25)


def test_variants_scored_on_other_galaxies_are_refused():
    resampled = resample_all({("joint", 25): [table_of([1.0, 2, 3])], ("masks-only", 25): [table_of([1.0, 2])]})
    with pytest.raises(ValueError, match="joint and masks-only were not scored on the same galaxies"):
        comparison_table(resampled, [("joint", "masks-only")])


def test_tables_and_curves_show_sizes_and_constants(tmp_path):
    resampled = resample_all(
        {
            ("votes-only", None): [table_of([0.5, 0.5])],
            ("joint", 25): [table_of([0.25, 0.25])],
            ("joint", 1600): [table_of([0.125, 0.125])],
        }
    )
    scores = score_table(resampled)
    text = markdown(scores, comparison_table(resampled, [("joint", "votes-only")]))
    constant, few = "0.500 (0.500 to 0.500)", "0.250 (0.250 to 0.250)"
    assert f"| 25 | {constant} | {few} |" in text
    assert f"| 1,600 | {constant} | 0.125 (0.125 to 0.125) |" in text
    assert "| 25 | joint − votes-only | -0.250 | -0.250 to -0.250 | 0.002 | joint |" in text
    paths = [tmp_path / "curves.png", tmp_path / "curves.pdf"]
    draw_learning_curves(scores, paths)
    assert [path.read_bytes()[:4] for path in paths] == [b"\x89PNG", b"%PDF"]
