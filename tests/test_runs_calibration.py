"""The calibration of a run: applied to numbers known by hand, kept in its folder, and refused if it does not fit."""

import json
from dataclasses import replace

import numpy as np
import pytest
from prediction_runs import DECALS, make_run

from zoobot3d_tf.files import sha256_of
from zoobot3d_tf.runs.calibration import Calibration, MaskMap, read_calibration, write_calibration
from zoobot3d_tf.runs.run_folder import CALIBRATION_NAME, WEIGHTS_NAME, read_run
from zoobot3d_tf.schemas import Schema

TREE = Schema({"shape": ["_smooth", "_disk", "_star"], "bar": ["_yes", "_no"]}, {"shape": None, "bar": "shape_disk"})
FACTORS = {question.text: 0.5 for question in DECALS.questions}
MAP = MaskMap((0.0, 0.5, 1.0), (0.0, 0.2, 0.8))


def calibration(**changed) -> Calibration:
    known = {"weights_sha256": "0" * 64, "n_galaxies": 100, "n_samples": 5, "source": "eval_shards", "version": "0.1"}
    return Calibration(**{"factors": FACTORS, "masks": {"bar_mask": MAP}, **known, **changed})


@pytest.fixture
def run(tmp_path):
    return read_run(make_run(tmp_path / "run"))


@pytest.fixture
def calibrated(run):
    write_calibration(run.folder, calibration(weights_sha256=sha256_of(run.weights_loc)))
    return run


def test_concentrations_of_each_question_have_its_factor_and_fractions_remain():
    concentrations = np.float32([[[2, 4], [6, 8], [2, 2], [10, 1], [30, 3]]])
    scaled = calibration(factors={"shape": 0.5, "bar": 2.0}).scale(concentrations, TREE)
    np.testing.assert_array_equal(scaled, np.float32([[[1, 2], [3, 4], [1, 1], [20, 2], [60, 6]]]))
    assert scaled.dtype == np.float32


def test_masks_follow_the_straight_lines_between_the_knots():
    mapped = calibration().map_mask("bar_mask", np.float32([[0, 0.25], [0.75, 1]]))
    np.testing.assert_allclose(mapped, [[0, 0.1], [0.5, 0.8]], rtol=1e-6)
    assert mapped.dtype == np.float32
    np.testing.assert_array_equal(calibration().map_mask("spiral_mask", mapped), mapped)


def test_a_calibration_is_read_as_it_was_written(calibrated):
    read = read_calibration(calibrated)
    assert read == calibration(weights_sha256=sha256_of(calibrated.weights_loc))
    assert hash(read) == hash(replace(read))
    assert json.loads((calibrated.folder / CALIBRATION_NAME).read_text())["factors"]["bar"] == 0.5


def test_a_run_without_the_file_has_no_calibration(run):
    assert read_calibration(run) is None


def test_a_calibration_of_other_weights_is_refused(calibrated):
    (calibrated.folder / WEIGHTS_NAME).write_bytes(b"weights of a longer training")
    with pytest.raises(ValueError, match=r"calibration\.json: .*fitted to other weights.*repeat `zoobot3d calibrate`"):
        read_calibration(calibrated)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"factors": []}, "factors must be a JSON object"),
        ({"factors": FACTORS | {"bar": 0}}, "'bar' must be a number from 0.001"),
        ({"factors": FACTORS | {"bar": float("nan")}}, "'bar' must be a number"),
        ({"factors": FACTORS | {"bar": 10**400}}, "'bar' must be a number"),
        ({"factors": FACTORS | {"bar": True}}, "'bar' must be a number"),
        ({"factors": FACTORS | {"ring": 1.0}}, r"one factor for each of the 10 questions.*: ring"),
        ({"factors": {}}, "one factor for each"),
        ({"masks": {"bar_mask": {"x": [0, 1]}}}, "lists x and y"),
        ({"masks": {"bar_mask": 3}}, "lists x and y"),
        ({"masks": {"bar_mask": {"x": [0, 1], "y": [0]}}}, "same number of knots.*received 2 and 1"),
        ({"masks": {"bar_mask": {"x": [], "y": []}}}, "received 0 and 0"),
        ({"masks": {"bar_mask": {"x": [0, 0], "y": [0, 1]}}}, "x of a map must increase"),
        ({"masks": {"bar_mask": {"x": [0, 1], "y": [1, 0]}}}, "y of a map must not decrease"),
        ({"masks": {"bar_mask": {"x": [0, 1], "y": [0, 1.5]}}}, "y of a map must be numbers from 0 to 1"),
        ({"masks": {"bar_mask": {"x": [0, "1"], "y": [0, 1]}}}, "x of a map must be numbers"),
        ({"masks": {"ring_mask": {"x": [0, 1], "y": [0, 1]}}}, "a map of ring_mask, which the run does not predict"),
        ({"n_galaxies": 0}, "n_galaxies must be a whole number of at least 1; received 0"),
        ({"n_samples": "5"}, "n_samples must be a whole number"),
        ({"source": None}, "source must be text"),
        ({"more": 1}, "must have the entries"),
    ],
)
def test_a_damaged_file_is_refused_with_its_fault(calibrated, changed, words):
    path = calibrated.folder / CALIBRATION_NAME
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))
    with pytest.raises(ValueError, match=rf"calibration\.json: .*{words}"):
        read_calibration(calibrated)


@pytest.mark.parametrize("content", [b"", b"[1]", b"\xff", b'{"factors": {}}'])
def test_a_file_of_another_form_is_refused(calibrated, content):
    (calibrated.folder / CALIBRATION_NAME).write_bytes(content)
    with pytest.raises(ValueError, match=r"calibration\.json: "):
        read_calibration(calibrated)
