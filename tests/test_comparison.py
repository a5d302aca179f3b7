"""The comparison of runs on the same galaxies."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from scored_survey import SCHEMA, rewrite, survey

from zoobot3d_tf.evaluation.bootstrap import Score
from zoobot3d_tf.evaluation.comparison import Row, compare
from zoobot3d_tf.evaluation.evaluate import LabelledGalaxies, evaluate_alike
from zoobot3d_tf.inference.metadata import write_metadata
from zoobot3d_tf.pages.comparison_page import write_comparison
from zoobot3d_tf.schemas import Schema


@pytest.fixture
def tables(tmp_path):
    """Predictions of two runs: the second encloses the true square, and predicts the observed fractions of bars."""
    first, catalog = survey(tmp_path, n=8)
    second = first.with_name("second.csv")
    second.write_bytes(first.read_bytes())
    rewrite(second, lambda t: t.assign(spiral_mask_loc=str(first.parent / "better.png")))
    better = np.zeros((32, 32), np.uint8)
    better[10:20, 10:20] = 255
    Image.fromarray(better).save(first.parent / "better.png")
    for table in (first, second):
        write_metadata(table, {"schema": SCHEMA.to_dict(), "stretch": "galaxy-zoo"})
    return {"first": first, "second": second}, LabelledGalaxies(catalog)


def find(comparison, of, part, score):
    return next(row for row in comparison.rows if (row.of, row.part, row.score) == (of, part, score))


def test_differences_are_paired_by_galaxy(tables):
    comparison = compare(evaluate_alike(*tables))
    arms = find(comparison, "spiral_mask", "all", "iou_3of15")
    assert arms.scores["first"].value == 50 / 150
    assert arms.scores["second"].value == 1
    # All galaxies have the same masks, so that the difference does not depend on the choice of galaxies.
    difference = arms.differences["second"]
    assert (difference.low, difference.value, difference.high) == pytest.approx((2 / 3, 2 / 3, 2 / 3))
    assert arms.is_better("second")
    bar = find(comparison, "bar_mask", "all", "iou_3of15")
    assert bar.differences["second"].value == 0
    assert bar.is_better("second") is None
    errors = find(comparison, "votes", "shape", "mae")
    assert errors.differences["second"].value == 0  # the same predictions


def test_the_score_that_decides_is_named_and_drawn(tables, tmp_path):
    evaluations = evaluate_alike(*tables)
    comparison = compare(evaluations)
    masks = tmp_path / "arcs"
    masks.mkdir()
    folder = tmp_path / "comparison"
    page = write_comparison(comparison, evaluations, folder, n_galaxies=3, other_masks={"SpArcFiRe": masks})
    text = page.read_text()
    assert "spiral arms: IoU at 3 of 15" in text
    assert text.count("not available") == 3  # SpArcFiRe has no masks of the three galaxies
    assert (folder / "figures" / "differences.pdf").is_file()
    assert "7 galaxies, the same for all runs" in text
    table = comparison.table()
    assert set(table["run"]) == {"first", "second"}
    assert table.loc[table["run"] == "first", "difference"].isna().all()


def test_the_sentence_names_what_the_table_calls_better_or_worse(tables, tmp_path):
    evaluations = evaluate_alike(*tables)
    comparison = compare(evaluations)
    other = [row for row in comparison.rows if row.score.endswith("8of15") and row.of == "spiral_mask"]
    text = write_comparison(replace(comparison, rows=tuple(other)), evaluations, tmp_path / "c", 0, {}).read_text()
    assert "do not differ by more" in text
    assert "differ in other scores: spiral arms: IoU at 8 of 15, where second is better, 1.000 instead of" in text
    same = [row for row in comparison.rows if row.of == "bar_mask"]
    text = write_comparison(replace(comparison, rows=tuple(same)), evaluations, tmp_path / "d", 0, {}).read_text()
    assert "in any score." in text


@pytest.mark.parametrize(
    ("score", "ends", "better"),
    [
        ("mae", (0.1, 0.05, 0.2), False),
        ("mae", (-0.1, -0.2, -0.05), True),
        ("iou_3of15", (0.1, 0.05, 0.2), True),
        ("iou_3of15", (0.1, -0.01, 0.2), None),
        ("coverage", (0.1, 0.05, 0.2), None),  # higher is not better
    ],
)
def test_better_is_lower_for_errors_and_higher_for_overlaps(score, ends, better):
    row = Row("votes", "shape", score, 6, {}, {"second": Score(*ends)})
    assert row.is_better("second") is better


def test_only_galaxies_that_all_runs_have_are_compared(tables):
    rewrite(tables[0]["second"], lambda t: t[t["id_str"] != "05"])
    evaluations = evaluate_alike(*tables)
    assert [one.scores.n_galaxies for one in evaluations.values()] == [6, 6]
    assert evaluations["first"].scores.left_out["not predicted by another run, or trained on by it"] == 1
    compare(evaluations)


def test_votes_of_different_trees_are_not_compared_but_masks_are(tables):
    other = Schema({"shape": ["_smooth", "_disc"], "bar": ["_yes", "_no"]}, {"shape": None, "bar": None}, "flat")
    write_metadata(tables[0]["second"], {"schema": other.to_dict(), "stretch": "galaxy-zoo"})
    comparison = compare(evaluate_alike(*tables))
    assert "different decision trees" in comparison.notes[0]
    assert {row.of for row in comparison.rows} == {"spiral_mask", "bar_mask"}


def test_one_run_is_no_comparison(tables):
    places, galaxies = tables
    evaluations = evaluate_alike({"first": places["first"]}, galaxies)
    with pytest.raises(ValueError, match="at least two runs; received first"):
        compare(evaluations)
