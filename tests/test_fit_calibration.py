"""Fits of the calibration: right for galaxies whose truth is known, and written to the run folder."""

import json

import numpy as np
import pandas as pd
import pytest
from prediction_runs import DECALS, RedNetwork, make_run

from zoobot3d_tf.cli import main
from zoobot3d_tf.evaluation.fit_calibration import calibrate_run, fit_masks, fit_votes
from zoobot3d_tf.files import sha256_of
from zoobot3d_tf.inference.inputs import galaxies_in_shards
from zoobot3d_tf.predictions.prediction_tables import load_predictions
from zoobot3d_tf.runs.calibration import read_calibration
from zoobot3d_tf.runs.run_folder import CALIBRATION_NAME, WEIGHTS_NAME, read_run
from zoobot3d_tf.runs.seen import write_seen
from zoobot3d_tf.schemas import Schema

TREE = Schema({"shape": ["_smooth", "_disk", "_star"], "bar": ["_yes", "_no"]}, {"shape": None, "bar": "shape_disk"})


@pytest.fixture
def run(tmp_path, monkeypatch):
    from zoobot3d_tf.predictions import predict_part

    monkeypatch.setattr(predict_part, "Network", RedNetwork)
    return make_run(tmp_path / "run", sizes=(100, 75, 64))


def named(path):
    """Source that the calibration names: the last two parts of a path."""
    return "/".join(path.parts[-2:])


def draw_votes(concentrations: np.ndarray, n_votes: int, rng: np.random.Generator) -> np.ndarray:
    """Votes of a Dirichlet-multinomial distribution, of concentrations of shape (galaxies, answers)."""
    return np.array([rng.multinomial(n_votes, rng.dirichlet(alpha)) for alpha in concentrations])


def test_overconfident_predictions_get_the_factor_that_makes_them_right():
    rng = np.random.default_rng(0)
    true = rng.uniform(1, 20, (1500, 5))
    votes = np.concatenate([draw_votes(true[:, part], 20, rng) for part in TREE.slices], axis=1)
    votes[1000:, 3:] = 0  # not asked
    predicted = true * np.array([4, 4, 4, 0.25, 0.25])
    factors, scores = fit_votes(predicted[..., None], votes, TREE)
    assert factors == pytest.approx({"shape": 1 / 4, "bar": 4}, rel=0.3)
    assert list(scores["question"]) == ["shape", "bar"]
    assert list(scores["galaxies"]) == [1500, 1000]
    assert scores["before"][0] < 0.86
    assert scores["before"][1] > 0.93
    assert list(scores["after"]) == pytest.approx([0.9, 0.9], abs=0.02)


def test_a_question_that_nobody_was_asked_keeps_its_concentrations():
    votes = np.zeros((60, 5), int)
    votes[:, :3] = 5
    factors, scores = fit_votes(np.full((60, 5, 2), 3.0), votes, TREE)
    assert factors["bar"] == 1
    assert list(scores["question"]) == ["shape"]


def test_masks_that_are_twice_too_high_are_halved():
    fractions = np.linspace(0, 1, 256)
    pixels = np.full((20, 256), 100.0)
    maps, scores = fit_masks({"bar_mask": (pixels, pixels * fractions / 2)})
    np.testing.assert_allclose(maps["bar_mask"](fractions), fractions / 2, atol=0.01)
    row = scores.iloc[0]
    assert (row["mask"], row["galaxies"]) == ("bar_mask", 20)
    assert row["before"] == pytest.approx(0.25, abs=0.02)
    assert row["after"] < 0.01


def test_a_run_is_calibrated_with_its_validation_shards(run, shards, capsys):
    folder = shards / "eval_shards"
    n_galaxies = len(galaxies_in_shards(folder))
    assert main(["calibrate", str(run), str(shards), "--n-samples", "2", "--engine", "tf"]) == 0
    printed = capsys.readouterr().out
    assert f"{n_galaxies} galaxies, 2 dropout samples each" in printed
    assert "smooth-or-featured" in printed
    assert printed.splitlines()[-1] == str(run / CALIBRATION_NAME)
    calibration = read_calibration(read_run(run))
    assert (calibration.n_galaxies, calibration.n_samples, calibration.source) == (n_galaxies, 2, named(shards))
    assert calibration.weights_sha256 == sha256_of(run / WEIGHTS_NAME)
    assert set(calibration.factors) == {question.text for question in DECALS.questions}
    assert not list(run.glob(".partial*"))


def test_a_catalogue_gives_the_map_of_masks_that_predictions_then_have(run, survey, tmp_path, monkeypatch):
    fitted = calibrate_run(run, catalog=survey, n_samples=2, engine="tf")
    x, y = fitted.calibration.masks["spiral_mask"].x, fitted.calibration.masks["spiral_mask"].y
    assert 0 < y[-2] < x[-2]  # the red band is brighter than the masks of volunteers
    assert list(fitted.masks["mask"]) == ["spiral_mask", "bar_mask"]
    known = json.loads((run / CALIBRATION_NAME).read_text())
    assert known["source"] == named(survey)
    arguments = ["--catalog", survey, "--save-loc", tmp_path / "t.csv", "--n-samples", "2", "--engine", "tf"]
    assert main(["predict", "--checkpoint-dir", *map(str, [run, *arguments])]) == 0
    assert load_predictions(tmp_path / "t.csv").metadata["runs"][0]["calibration"] == known


def test_only_the_tasks_that_are_named_are_calibrated(run, shards):
    folder = [shards / "eval_shards"]
    assert calibrate_run(run, folder, tasks=["votes"], n_samples=1, engine="tf").calibration.masks == {}
    only_bars = calibrate_run(run, folder, tasks=["bar_mask"], n_samples=1, engine="tf").calibration
    assert (only_bars.factors, list(only_bars.masks)) == ({}, ["bar_mask"])
    with pytest.raises(ValueError, match="tasks must be of votes, spiral_mask, bar_mask; received 'bar'"):
        calibrate_run(run, folder, tasks=["bar"])


def test_galaxies_that_the_run_learned_from_are_left_out_and_counted_aloud(run, shards, caplog):
    ids = list(galaxies_in_shards(shards / "eval_shards")["id_str"])
    votes = dict.fromkeys(DECALS.label_cols, 1)
    write_seen(run, pd.DataFrame({"id_str": [*ids[:3], "another"], **votes}), validation=ids[3:])
    fitted = calibrate_run(run, [shards / "eval_shards"], n_samples=1, engine="tf")
    assert fitted.calibration.n_galaxies == len(ids) - 3
    assert f"3 of {len(ids)} galaxies are left out" in caplog.text
    write_seen(run, pd.DataFrame({"id_str": ids, **votes}), validation=[])
    with pytest.raises(ValueError, match=f"all {len(ids)} galaxies would be left out"):
        calibrate_run(run, [shards / "eval_shards"], n_samples=1, engine="tf")


def test_of_a_run_that_does_not_say_what_it_learned_from_the_user_is_warned(run, shards, caplog):
    calibrate_run(run, [shards / "eval_shards"], n_samples=1, engine="tf")
    assert "has no galaxies.parquet" in caplog.text


def test_several_folders_of_shards_are_joined(run, shards):
    fitted = calibrate_run(run, [shards / "train_shards", shards / "eval_shards"], n_samples=1, engine="tf")
    assert fitted.calibration.n_galaxies == 28  # two have neither votes nor masks
    assert fitted.calibration.source == f"{named(shards / 'train_shards')}, {named(shards / 'eval_shards')}"


def test_what_cannot_be_calibrated_is_refused(run, shards, survey, tmp_path, capsys):
    def refused(words, *arguments):
        assert main(["calibrate", *map(str, arguments)]) == 2
        assert words in capsys.readouterr().err

    refused("`zoobot3d pack shipped --out FOLDER`", "shipped", shards)
    refused("`zoobot3d pack hf://a/b --out FOLDER`", "hf://a/b", shards)
    refused("either shards or --catalog must be given; received neither", run)
    refused("received both", run, shards / "eval_shards", "--catalog", survey)
    refused("--schema and --missing-questions-unasked apply to --catalog", run, shards, "--schema", "decals")
    catalog = pd.read_csv(survey)
    columns = [*DECALS.label_cols, "spiral_mask_loc", "bar_mask_loc", "marks_loc"]
    catalog[[column for column in columns if column in catalog]] = None
    catalog.to_csv(tmp_path / "unknown.csv", index=False)
    refused("no galaxy has a vote or a mask", run, "--catalog", tmp_path / "unknown.csv")
    spirals = pd.read_csv(survey)
    spirals[["bar_mask_loc", "marks_loc"]] = None
    spirals.to_csv(survey.parent / "spirals.csv", index=False)
    bars = make_run(tmp_path / "bars", tasks=("bar_mask",), sizes=(100, 75, 64))
    refused(f"no galaxy has votes or masks of the kinds that {bars}", bars, "--catalog", survey.parent / "spirals.csv")
    assert not (run / CALIBRATION_NAME).exists()
