"""Scores with numbers known by hand, and the join of the two tables."""

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from PIL import Image
from scipy import stats
from scored_survey import SCHEMA, SIZE, rewrite, survey

from zoobot3d_tf.common_tree import joined_tree
from zoobot3d_tf.evaluation.calibration import predictive_coverage
from zoobot3d_tf.evaluation.masks import MaskSums, brightness_baseline, mask_iou, smoothed_brightness
from zoobot3d_tf.evaluation.pairs import read_pairs
from zoobot3d_tf.evaluation.scores import score_pairs, summary
from zoobot3d_tf.evaluation.votes import (
    binomial_deviation,
    noise_floor,
    score_votes,
)
from zoobot3d_tf.inference.metadata import write_metadata
from zoobot3d_tf.predictions.prediction_tables import load_predictions, write_table
from zoobot3d_tf.predictions.results import plain_name
from zoobot3d_tf.schemas import Schema, vote_fractions

ONE_QUESTION = Schema({"bar": ["_yes", "_no"]}, {"bar": None}, "bars")


def yes_no(k, n):
    """Votes of `ONE_QUESTION`."""
    return np.stack([k, n - k], axis=1)


# Masks


def test_iou_is_summed_over_galaxies():
    predicted = np.array([[[1.0, 0.4], [0.0, 0.0]], [[0.2, 0.2], [0.2, 0.1]]])
    true = np.array([[[1.0, 0.0], [0.0, 0.0]], [[0.2, 0.0], [0.0, 1.0]]])
    # Intersection and union are 1 and 2 pixels for one galaxy, 1 and 4 for the other.
    assert mask_iou(predicted, true) == 2 / 6
    assert mask_iou(predicted, true, threshold=0.9) == 1 / 2


def test_iou_of_nothing_drawn_and_nothing_predicted_is_undefined():
    blank = np.zeros((1, 4, 4))
    assert np.isnan(mask_iou(blank, blank))


def test_sums_give_the_scores_of_all_galaxies():
    rng = np.random.default_rng(0)
    predicted, true = rng.random((2, 5, 20, 20)) ** 4
    brightness = rng.integers(0, 256, (5, 20, 20), dtype=np.uint8)
    sums = MaskSums()
    for galaxy in zip(predicted, true, brightness, strict=True):
        sums.add(*galaxy)
    scores = sums.scores()
    assert scores.n_galaxies == 5
    assert scores.iou == mask_iou(predicted, true)
    assert scores.mae == pytest.approx(np.abs(predicted - true).mean())
    assert scores.blank_mae == pytest.approx(true.mean())
    by_hand = [mask_iou((brightness >= threshold).astype(float), true) for threshold in range(256)]
    assert scores.brightness_iou == pytest.approx(max(by_hand))
    assert scores.brightness_threshold == np.argmax(by_hand)


def test_baseline_takes_the_best_threshold():
    inside, outside = np.zeros((2, 256), int)
    inside[[200, 100, 50]] = 6, 3, 1
    outside[[100, 50]] = 2, 90
    # From 200: 6 of 10 + 0. From 100: 9 of 10 + 2. From 50: 10 of 10 + 92.
    threshold, iou = brightness_baseline(inside, outside)
    assert 50 < threshold <= 100
    assert iou == 9 / 12
    assert brightness_baseline(np.zeros(256), outside)[1] == 0


def test_brightness_is_the_smoothed_mean_of_the_bands():
    image = np.empty((20, 20, 3), np.uint8)
    image[:] = 30, 60, 120
    assert (smoothed_brightness(image) == 70).all()
    image[10, 10] = 255
    assert 70 < smoothed_brightness(image)[10, 10] < 100


# Votes


def test_fractions_of_questions_that_were_asked():
    fractions = vote_fractions(np.array([[3, 1, 1, 0], [5, 0, 0, 0]]), SCHEMA)
    np.testing.assert_array_equal(fractions, [[0.75, 0.25, 1, 0], [1, 0, np.nan, np.nan]])


def test_errors_by_question_and_in_all():
    votes = np.array([[3, 1, 1, 0], [5, 0, 0, 0]])
    predicted = np.array([[0.65, 0.35, 0.8, 0.2], [0.9, 0.1, 0.5, 0.5]])
    concentrations = (10 * predicted)[..., None]
    scores = score_votes(predicted, concentrations, votes, SCHEMA)
    assert list(scores) == ["shape", "bar", "all"]
    assert [score.n_galaxies for score in scores.values()] == [2, 1, 2]
    # The errors are 0.1 four times and 0.2 twice. The mean fractions are 0.875 and 0.125 for 'shape'; for 'bar' they
    # are the votes of the only galaxy that was asked.
    assert [score.mae for score in scores.values()] == pytest.approx([0.1, 0.2, 0.8 / 6])
    assert [score.mean_mae for score in scores.values()] == pytest.approx([0.125, 0, 0.5 / 6])
    assert scores["shape"].gain == pytest.approx(0.2)
    assert np.isnan(scores["bar"].gain)
    assert scores["shape"].times_floor == pytest.approx(0.1 / scores["shape"].noise_floor)


def test_questions_that_nobody_was_asked_have_no_score():
    votes = np.array([[3, 0, 0, 0]])
    assert list(score_votes(np.full((1, 4), 0.5), np.ones((1, 4, 1)), votes, SCHEMA)) == ["shape", "all"]


def test_deviation_of_votes_from_their_probability():
    np.testing.assert_allclose(binomial_deviation(np.array([1, 2, 1]), np.array([0.5, 0.5, 0.2])), [0.5, 0.25, 0.32])
    np.testing.assert_array_equal(binomial_deviation(np.array([7, 7]), np.array([0.0, 1.0])), 0)
    for n, p in ((10, 0.3), (40, 0.5), (15, 0.99)):
        k = np.arange(n + 1)
        by_hand = (stats.binom.pmf(k, n, p) * np.abs(k / n - p)).sum()
        assert binomial_deviation(np.array(n), np.array(p)) == pytest.approx(by_hand)


@pytest.mark.parametrize("shape", ["one kind of galaxy", "broad", "two kinds of galaxies"])
def test_noise_floor_is_the_error_of_the_true_fractions(shape):
    rng = np.random.default_rng(1)
    n_galaxies = 20000
    barred = rng.random(n_galaxies) < 0.3
    p = {
        "one kind of galaxy": np.full(n_galaxies, 0.3),
        "broad": rng.beta(0.5, 1.5, n_galaxies),
        "two kinds of galaxies": np.where(barred, rng.beta(20, 3, n_galaxies), rng.beta(1, 20, n_galaxies)),
    }[shape]
    n = rng.integers(2, 41, n_galaxies)
    k = rng.binomial(n, p)
    floor = noise_floor(yes_no(k, n), ONE_QUESTION)
    assert floor.mean() == pytest.approx(np.abs(k / n - p).mean(), rel=0.03)


def test_noise_floor_is_zero_without_noise_and_missing_without_votes():
    floor = noise_floor(np.array([[40, 0, 0, 0], [40, 0, 0, 0]]), SCHEMA)
    assert (floor[:, :2] < 0.005).all()
    assert np.isnan(floor[:, 2:]).all()


def test_coverage_by_hand():
    # One volunteer and concentrations (1, 1): each answer has probability 1/2, and 0.45 of it lies in the interval.
    votes = np.array([[1, 0, 0, 0]])
    coverage = predictive_coverage(np.ones((1, 4, 1)), votes, SCHEMA)
    np.testing.assert_allclose(coverage, [[0.9, 0.9, np.nan, np.nan]])


def test_coverage_of_a_mixture_agrees_with_scipy():
    concentrations = np.array([[2.0, 30.0, 1.5], [5.0, 10.0, 90.0]])
    n = 23
    k = np.arange(n + 1)
    pmf = np.mean([stats.betabinom.pmf(k, n, *pair) for pair in concentrations.T], axis=0)
    cdf = np.mean([stats.betabinom.cdf(k, n, *pair) for pair in concentrations.T], axis=0)
    by_hand = (np.clip(cdf, 0.05, 0.95) - np.clip(cdf - pmf, 0.05, 0.95)) / pmf
    coverage = predictive_coverage(np.tile(concentrations, (n + 1, 1, 1)), yes_no(k, n), ONE_QUESTION)
    np.testing.assert_allclose(coverage[:, 0], by_hand, atol=1e-9)
    assert (pmf * coverage[:, 0]).sum() == pytest.approx(0.9)


@pytest.mark.parametrize(("sharpened", "expected"), [(1, (0.89, 0.91)), (10, (0.5, 0.8)), (0.2, (0.95, 1))])
def test_coverage_is_right_for_calibrated_predictions_with_any_number_of_volunteers(sharpened, expected):
    rng = np.random.default_rng(2)
    concentrations = rng.uniform(1, 10, (20000, 2))
    n = rng.integers(1, 30, 20000)
    votes = yes_no(rng.binomial(n, rng.beta(*concentrations.T)), n)
    coverage = predictive_coverage(sharpened * concentrations[..., None], votes, ONE_QUESTION)
    assert expected[0] < coverage.mean() < expected[1]


def test_coverage_of_impossible_votes_is_zero():
    votes = yes_no(np.array([0]), np.array([5000]))
    assert (predictive_coverage(np.array([[[1e6], [1e-3]]]), votes, ONE_QUESTION) == 0).all()


# The two tables


def evaluate(predictions, catalog, schema=SCHEMA):
    return score_pairs(read_pairs(predictions, catalog, schema))


def test_evaluate(tmp_path):
    scores = evaluate(*survey(tmp_path))
    assert scores.n_galaxies == 5
    assert scores.left_out == {"in the catalogue but not predicted": 1}
    assert set(scores.votes.numbers) == {"shape", "bar", "all"}
    assert scores.votes.numbers["all"].n_galaxies == 4
    for name in ("spiral_mask", "bar_mask"):
        found = scores.masks[name]
        assert len(found.table) == 4
        assert found.scores["iou_3of15"].value == 50 / 150
        assert found.scores["mae"].value == pytest.approx(100 / SIZE**2)
        assert found.scores["brightness_iou_3of15"].value > 0.8
    assert "bar_mask: IoU 0.333 (0.333 to 0.333) (brightness baseline" in summary(scores)
    assert f"{scores.votes.numbers['all'].mae:.4f}" in summary(scores)
    assert f"90% intervals hold {scores.votes.numbers['all'].coverage:.0%}" in summary(scores)
    assert "left out: 1 in the catalogue but not predicted" in summary(scores)


def test_every_score_is_a_line_of_the_table(tmp_path):
    scores = evaluate(*survey(tmp_path))
    lines = scores.lines().set_index(["of", "part", "score"])["value"]
    assert lines["spiral_mask", "all", "iou_3of15"] == 50 / 150
    assert lines["votes", "bar", "mae"] == scores.votes.numbers["bar"].mae
    stored = json.loads(json.dumps(scores.to_dict(), allow_nan=False))  # NaN is no JSON
    assert len(stored["scores"]) == len(lines)
    assert sum(stored["votes"]["pit"]["all"]) == 4 * 4


def test_galaxies_can_be_left_out_for_a_reason(tmp_path):
    pairs = read_pairs(*survey(tmp_path), SCHEMA)
    kept = pairs.without(np.array([True, False, False, True, False]), "too bright")
    assert kept.catalog["id_str"].tolist() == ["02", "03", "05"]
    assert len(kept.predicted_masks["bar_mask"]) == len(kept.predicted_votes.fraction) == 3
    assert kept.left_out == {"in the catalogue but not predicted": 1, "too bright": 2}
    with pytest.raises(ValueError, match="all 5 galaxies would be left out: too bright"):
        pairs.without(np.ones(5, bool), "too bright")


def test_rows_are_matched_by_id_not_by_order(tmp_path):
    predictions, catalog = survey(tmp_path)
    expected = evaluate(predictions, catalog).lines()
    rewrite(predictions, lambda table: table.iloc[::-1])
    pd.testing.assert_frame_equal(evaluate(predictions, catalog).lines(), expected)


def test_only_what_was_predicted_is_scored(tmp_path):
    predictions, catalog = survey(tmp_path)
    table = pd.read_csv(predictions, dtype={"id_str": str})
    table[["id_str", "bar_mask_loc"]].to_csv(predictions, index=False)
    scores = evaluate(predictions, catalog)
    assert (scores.votes, list(scores.masks)) == (None, ["bar_mask"])
    table.drop(columns=["spiral_mask_loc", "bar_mask_loc"]).to_parquet(tmp_path / "votes.parquet")
    scores = evaluate(tmp_path / "votes.parquet", catalog)
    assert (len(scores.votes.numbers), scores.masks) == (3, {})


def test_predictions_in_hdf5_score_the_same(tmp_path):
    predictions, catalog = survey(tmp_path)
    in_hdf5 = predictions.with_suffix(".hdf5")
    write_table(in_hdf5, [pa.Table.from_pandas(load_predictions(predictions).table)])
    pd.testing.assert_frame_equal(evaluate(in_hdf5, catalog).lines(), evaluate(predictions, catalog).lines())


def test_plain_names_score_the_same(tmp_path):
    schema = Schema({"is-bar": ["_yes", "_no-bar"]}, {"is-bar": None}, "plain")
    row = {"is-bar_asked_p": 1.0}
    for answer, fraction in zip(schema.label_cols, (0.75, 0.25), strict=True):
        row |= {f"{answer}_{what}": fraction for what in ("fraction", "low", "high")}
        row |= {f"{answer}_concentration_{k}": 10 * fraction + k for k in range(2)}
    predictions = pd.DataFrame([{"id_str": id_str} | row for id_str in "ab"])
    catalog = pd.DataFrame(
        {"id_str": ["a", "b"], "file_loc": "none.png", "is-bar_yes": [3, 4], "is-bar_no-bar": [1, 0]}
    )
    catalog.to_csv(tmp_path / "catalog.csv", index=False)
    found = []
    for name, table in {"tree": predictions, "plain": predictions.rename(columns=plain_name)}.items():
        table.to_csv(tmp_path / f"{name}.csv", index=False)
        write_metadata(tmp_path / f"{name}.csv", {"schema": schema.to_dict()})
        found.append(evaluate(tmp_path / f"{name}.csv", tmp_path / "catalog.csv", None))
    pd.testing.assert_frame_equal(found[0].lines(), found[1].lines())


def test_a_compact_table_is_sufficient_where_no_votes_are_known(tmp_path):
    predictions, catalog = survey(tmp_path)
    rewrite(predictions, lambda t: t.filter(regex="^(?!.*concentration)"))
    rewrite(catalog, lambda t: t.assign(**dict.fromkeys(SCHEMA.label_cols)))
    scores = evaluate(predictions, catalog)
    assert scores.votes is None
    assert set(scores.masks) == {"spiral_mask", "bar_mask"}


def test_marks_replace_missing_masks(tmp_path):
    predictions, catalog = survey(tmp_path)
    square = [[10, 10], [19.5, 10], [19.5, 19.5], [10, 19.5]]
    (tmp_path / "marks.json").write_text(json.dumps({"bar_mask": [[square]] * 15}))
    rewrite(catalog, lambda table: table.assign(bar_mask_loc=None, marks_loc="marks.json"))
    pairs = read_pairs(predictions, catalog, SCHEMA)
    assert pairs.read_pictures(1).true.keys() == {"spiral_mask", "bar_mask"}
    found = evaluate(predictions, catalog).masks["bar_mask"]
    assert found.scores["iou_3of15"].value == pytest.approx(50 / 150, abs=0.05)
    # All volunteers drew the same.
    assert found.ceilings["one volunteer"]["iou_3of15"].value == 1


def test_if_an_image_cannot_be_read_only_that_galaxy_is_left_out(tmp_path):
    tables = survey(tmp_path)
    (tmp_path / "03.png").write_bytes(b"not an image")
    scores = evaluate(*tables)
    assert scores.left_out["with an image or mask that cannot be read"] == 1
    assert len(scores.masks["bar_mask"].table) == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop(columns="id_str"), r"table\.csv.* id_str"),
        (lambda t: t.iloc[:0], r"table\.csv.* no rows"),
        (lambda t: t.assign(id_str="04"), r"table\.csv.* id_str .*'04' in row 3 .* unique"),
        (lambda t: t.assign(id_str="x" + t["id_str"]), r"table\.csv .*catalog\.csv .* id_str .*'x01' .*'00'"),
        (lambda t: t.drop(columns="bar_no_low"), r"table\.csv.* bar_no_low\b.* 1 "),
        (lambda t: t.drop(columns="bar_no_concentration_1"), r"table\.csv.* bar_no_concentration_1\b"),
        (lambda t: t.filter(regex="^(?!.*concentration)"), r"table\.csv.* concentrations .*--samples"),
        (lambda t: t.assign(bar_no_fraction=1.5), r"table\.csv.* bar_no_fraction of 01 .*1\.5; .* from 0 to 1"),
        (lambda t: t.assign(bar_no_concentration_1=-2), r"table\.csv.* bar_no_concentration_1 is -2.*\(01\)"),
        (lambda t: t.assign(bar_asked_p=None), r"table\.csv.* bar_asked_p of 01 .*nan; .* from 0 to 1"),
        (lambda t: t[["id_str"]], r"table\.csv.* predictions"),
        (lambda t: t[["id_str"]].assign(bar_mask_loc=""), r"table\.csv.* shape_smooth_fraction .*bar_mask_loc"),
        (lambda t: t.assign(bar_mask_loc="absent.png", spiral_mask_loc=None), r"none of the 4 galaxies .*absent\.png"),
        (lambda t: t.loc[t["id_str"] == "01", ["id_str", "bar_mask_loc"]], r"none of the 1 galaxies .* labels"),
    ],
)
def test_wrong_tables_are_refused(tmp_path, change, message):
    predictions, catalog = survey(tmp_path)
    rewrite(predictions, change)
    with pytest.raises(ValueError, match=message):
        evaluate(predictions, catalog)


def test_votes_are_converted_to_the_tree_of_several_surveys(tmp_path):
    counted = Schema({"bar": ["_strong", "_weak", "_no"]}, {"bar": None}, "bars")
    tree = joined_tree([counted])
    assert tree.label_cols == ["bar_yes", "bar_no", "bar-strength_strong", "bar-strength_weak"]
    row = {"id_str": "a", "bar_asked_p": 1.0, "bar-strength_asked_p": 0.5}
    for answer in tree.label_cols:
        row |= {f"{answer}_{what}": 0.5 for what in ("fraction", "low", "high")} | {f"{answer}_concentration_0": 5.0}
    table = tmp_path / "table.csv"
    pd.DataFrame([row]).to_csv(table, index=False)
    write_metadata(table, {"schema": tree.to_dict()})
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(tmp_path / "a.png")
    catalog = pd.DataFrame([{"id_str": "a", "file_loc": "a.png", "bar_strong": 4, "bar_weak": 3, "bar_no": 8}])
    catalog.to_csv(tmp_path / "catalog.csv", index=False)
    pairs = read_pairs(table, tmp_path / "catalog.csv", counted)
    assert pairs.schema == tree
    assert pairs.votes.tolist() == [[7, 8, 4, 3]]
    with pytest.raises(ValueError, match="lacks the columns bar_yes"):
        read_pairs(table, tmp_path / "catalog.csv", None)
