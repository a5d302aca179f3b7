"""Agreement of volunteers: by hand, and against volunteers who are simulated again and again."""

import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scored_survey import survey

from zoobot3d_tf.catalogs.training_catalog import read_training_catalog
from zoobot3d_tf.evaluation.ceilings import (
    VolunteerTable,
    group_ceilings,
    volunteer_ceilings,
    volunteer_scores,
    volunteer_sums,
)
from zoobot3d_tf.evaluation.masks import mask_values
from zoobot3d_tf.images.masks import counts_from_marks, overlap
from zoobot3d_tf.simulation.looks import DEFAULT_SURVEY, draw_look
from zoobot3d_tf.simulation.population import sample_scene
from zoobot3d_tf.simulation.volunteers import draw_marks

ROW = (1, 10)
"""Shape of an image of one row."""


def stretch_of(first, last):
    """Outline of the pixels from the first to the last in a row."""
    return [[first - 0.5, -0.5], [last + 0.5, -0.5], [last + 0.5, 0.5], [first - 0.5, 0.5]]


MARKS = [[stretch_of(0, 3)], [stretch_of(2, 5)], []]


def test_each_volunteer_is_compared_with_the_others():
    # Pixels by number: the first volunteer has 0..3, the second 2..5, the third none. At 3/15 and 5/15 one of the two
    # others suffices, at 8/15 both are needed.
    n_volunteers, error, intersection, union = volunteer_sums(MARKS, ROW)
    assert n_volunteers == 3
    assert error == pytest.approx(3 * 4 / 10)
    assert intersection.tolist() == [4, 4, 0]
    assert union.tolist() == [18, 18, 4 + 4 + 2]


def test_volunteers_who_drew_nothing_can_be_left_out():
    n_volunteers, error, intersection, union = volunteer_sums(MARKS, ROW, drew_only=True)
    assert (n_volunteers, error) == (2, pytest.approx(2 * 4 / 10))
    assert (intersection.tolist(), union.tolist()) == ([4, 4, 0], [12, 12, 8])
    assert volunteer_sums([[], []], ROW, drew_only=True)[0] == 0


def test_equal_volunteers_agree_entirely():
    n_volunteers, error, intersection, union = volunteer_sums([[stretch_of(2, 5)]] * 4, ROW)
    assert (n_volunteers, error) == (4, 0)
    assert intersection.tolist() == union.tolist() == [16] * 3


def test_one_volunteer_has_no_others():
    with pytest.raises(ValueError, match="at least two volunteers; received 1"):
        volunteer_sums([[stretch_of(2, 5)]], ROW)


def test_scores_are_ratios_of_sums():
    table = VolunteerTable(
        np.array(["a", "b"]),
        np.array([2, 3]),
        np.array([0.1, 0.4]),
        np.array([[1, 2, 3]] * 2),
        np.array([[4, 4, 4]] * 2),
    )
    scores = volunteer_scores(table)
    assert scores["mae"].value == pytest.approx(0.5 / 5)
    assert [scores[f"iou_{name}"].value for name in ("3of15", "5of15", "8of15")] == [1 / 4, 2 / 4, 3 / 4]


def test_leaving_one_out_gives_what_new_volunteers_would():
    scenes = [sample_scene(rng, draw_look(DEFAULT_SURVEY, rng)) for rng in map(np.random.default_rng, range(40))]
    scenes = [scene for scene in scenes if scene.galaxy.arms][:8]
    left_out, new = np.zeros((8, 2)), np.zeros((8, 12, 2))
    for i, scene in enumerate(scenes):
        marks = draw_marks(scene, np.random.default_rng([i, 0]))["spiral_mask"]
        _, _, intersection, union = volunteer_sums(marks, (424, 424))
        left_out[i] = intersection[0], union[0]
        for repeat in range(12):
            rng = np.random.default_rng([i, 1, repeat])
            own, others = (counts_from_marks(draw_marks(scene, rng, n)["spiral_mask"], (424, 424)) / n for n in (1, 14))
            new[i, repeat] = overlap(own, others, np)
    sums = new.sum(axis=0)
    repeated = sums[:, 0] / sums[:, 1]
    ceiling = np.divide(*left_out.sum(axis=0))
    assert 0.2 < ceiling < 0.9
    # One volunteer per galaxy scatters more than the mean of fifteen.
    assert abs(ceiling - repeated.mean()) < 3 * repeated.std(ddof=1) / np.sqrt(12)


def galaxies(folder, marks):
    """Catalogue of three galaxies: with marks, with counts only, with votes only."""
    folder.mkdir()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (32, 32, 3), dtype=np.uint8)).save(folder / "image.png")
    Image.fromarray(np.full((32, 32), 2, np.uint8)).save(folder / "counts.png")
    (folder / "marks.json").write_text(json.dumps(marks))
    rows = [{"marks_loc": "marks.json"}, {"spiral_mask_loc": "counts.png"}, {}]
    table = pd.DataFrame([{"id_str": str(i), "file_loc": "image.png", "n_volunteers": 3} | rows[i] for i in range(3)])
    table.to_csv(folder / "catalog.csv", index=False)
    return read_training_catalog(folder / "catalog.csv", None, labels=("masks",))


def test_galaxies_whose_marks_are_not_known_are_counted(tmp_path):
    ceilings = volunteer_ceilings(galaxies(tmp_path / "a", {"spiral_mask": MARKS, "bar_mask": [[], [], []]}))
    assert (ceilings.n_only_counts, ceilings.n_unreadable) == (1, 0)
    assert list(ceilings.tables) == ["bar_mask", "spiral_mask"]
    assert ceilings.tables["spiral_mask"].union.tolist() == [[18, 18, 10]]
    assert ceilings.tables["bar_mask"].union.tolist() == [[0, 0, 0]]
    assert list(ceilings.tables["bar_mask"].ids) == ["0"]
    assert np.isnan(volunteer_scores(ceilings.tables["bar_mask"])["iou_3of15"].value)


@pytest.mark.parametrize("marks", [{"spiral_mask": MARKS[:2]}, {"spiral_mask": [[], [], [[["x", 1]]]]}, []])
def test_damaged_marks_cost_one_galaxy(tmp_path, marks, caplog):
    ceilings = volunteer_ceilings(galaxies(tmp_path / "a", marks))
    assert (ceilings.tables, ceilings.n_unreadable) == ({}, 1)
    assert "marks.json" in caplog.text


def test_a_second_group_takes_the_place_of_a_model(tmp_path):
    (first_folder := tmp_path / "first").mkdir()
    first = read_training_catalog(survey(first_folder)[1], None, labels=("masks",))
    shifted = np.zeros((32, 32), np.uint8)
    shifted[12:22, 10:20] = 15
    Image.fromarray(shifted).save(tmp_path / "second.png")
    second = first.assign(spiral_mask_loc=str(tmp_path / "second.png"), bar_mask_loc="")[2:4]
    ceilings = group_ceilings(first, second)
    assert ceilings.n_unreadable == 0
    assert list(ceilings.tables) == ["spiral_mask"]
    assert list(ceilings.tables["spiral_mask"].ids) == ["02", "03"]
    values = mask_values(ceilings.tables["spiral_mask"])
    assert values["iou_3of15"] == pytest.approx(80 / 120)
    assert values["mae"] == pytest.approx(40 / 32**2)
    assert group_ceilings(first, second[:0]).tables == {}
