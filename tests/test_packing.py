"""Packed runs: weights in half precision, which predict the same."""

import shutil
from dataclasses import replace

import h5py
import numpy as np
import pandas as pd
import pytest
from prediction_runs import DECALS

from zoobot3d_tf.cli import main
from zoobot3d_tf.files import sha256_of
from zoobot3d_tf.images.read import read_image
from zoobot3d_tf.inference.source_images import frame_images
from zoobot3d_tf.runs.calibration import Calibration, read_calibration, write_calibration
from zoobot3d_tf.runs.packing import _pack, pack_run
from zoobot3d_tf.runs.run_folder import CONFIG_NAME, WEIGHTS_NAME, config_for_others, read_run
from zoobot3d_tf.runs.seen import read_seen, write_seen
from zoobot3d_tf.shards.options import ShardOptions
from zoobot3d_tf.shards.write import create_shards
from zoobot3d_tf.simulation.survey import simulate_survey
from zoobot3d_tf.training.training_config import config_from_folders


@pytest.fixture(scope="module")
def packed(small_model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("packed") / "run"
    assert main(["pack", str(small_model.run.folder), "--out", str(folder)]) == 0
    return folder


@pytest.mark.slow
def test_packed_run_predicts_the_fractions_of_the_run_within_a_hundredth(tmp_path):
    """Needs a trained network: with random weights, rounding errors grow from layer to layer."""
    survey = simulate_survey(tmp_path / "survey", n=240, seed=0)
    create_shards(survey, tmp_path / "shards", DECALS, ShardOptions(img_size=96, eval_size=0.2))
    folders = (tmp_path / "shards" / name for name in ("train_shards", "eval_shards"))
    learning = {"resize_size": 64, "batch_size": 16, "epochs": 8, "encoder": "EfficientNetV2B0", "color": True}
    config = config_from_folders(*folders, tmp_path / "run", mask_loss="cross-entropy", **learning)
    model = config.run_estimator()
    files = sorted((survey.parent / "images").iterdir())[:48]
    images = frame_images([read_image(str(file)) for file in files], config.framing, len(files)).astype(np.float32)
    expected = fractions(model, images)
    received = fractions(read_run(pack_run(tmp_path / "run", tmp_path / "packed")).load_model(), images)
    assert np.ptp(expected["votes"], axis=0).max() > 0.1  # the votes depend on the image
    for name in ("votes", "spiral_mask", "bar_mask"):
        np.testing.assert_allclose(received[name], expected[name], atol=0.01)


def fractions(model, images):
    """Expected vote fractions, and masks."""
    outputs = {name: np.array(output) for name, output in model(images, training=False).items()}
    votes = outputs["votes"]
    parts = [votes[:, part] / votes[:, part].sum(axis=1, keepdims=True) for part in DECALS.slices]
    return outputs | {"votes": np.concatenate(parts, axis=1)}


def test_packed_kernels_are_those_of_half_precision_and_half_the_size(small_model, packed):
    run = read_run(packed)
    for received, exact in zip(run.load_model().get_weights(), small_model.get_weights(), strict=True):
        assert received.dtype == exact.dtype
        rounded = exact.astype(np.float16).astype(exact.dtype) if exact.ndim > 1 else exact
        np.testing.assert_array_equal(received, rounded)
    assert sorted(path.name for path in packed.iterdir()) == [CONFIG_NAME, WEIGHTS_NAME]
    assert (packed / CONFIG_NAME).read_text() == config_for_others(small_model.run)
    assert run.weights_loc.stat().st_size < 0.55 * small_model.run.weights_loc.stat().st_size


def test_the_calibration_belongs_to_the_packed_weights(small_model, tmp_path):
    run = shutil.copytree(small_model.run.folder, tmp_path / "run")
    factors = {question.text: 0.5 for question in DECALS.questions}
    fitted = Calibration(factors, {}, sha256_of(run / WEIGHTS_NAME), 100, 5, "eval_shards", "0.1")
    write_calibration(run, fitted)
    packed_run = read_run(pack_run(run, tmp_path / "packed"))
    assert read_calibration(packed_run) == replace(fitted, weights_sha256=sha256_of(packed_run.weights_loc))


def test_weights_beyond_half_precision_remain_unchanged(tmp_path):
    values = np.array([[1e6, 0.1]], np.float32)
    with h5py.File(tmp_path / "weights.h5", "w") as weights, h5py.File(tmp_path / "packed.h5", "w") as file:
        weights["layer/vars/0"], weights["layer/vars/1"] = values, np.int32(7)
        weights["layer/vars"].attrs["name"] = "layer"
        _pack(weights, file)
        assert (file["layer/vars/0"].dtype, file["layer/vars/1"].dtype) == (np.float32, np.int32)
        np.testing.assert_array_equal(file["layer/vars/0"], values)
        assert file["layer/vars/1"][()] == 7
        assert file["layer/vars"].attrs["name"] == "layer"


def test_a_run_is_not_overwritten_and_a_damaged_run_is_not_packed(small_model, packed, tmp_path, capsys):
    before = small_model.run.weights_loc.read_bytes()
    assert main(["pack", str(packed), "--out", str(small_model.run.folder)]) == 2
    assert f"{small_model.run.folder}: already holds a run" in capsys.readouterr().err
    assert small_model.run.weights_loc.read_bytes() == before
    damaged = shutil.copytree(packed, tmp_path / "damaged")
    with (damaged / WEIGHTS_NAME).open("r+b") as file:
        file.truncate(100_000)
    assert main(["pack", str(damaged), "--out", str(tmp_path / "out")]) == 2
    assert "damaged/model.weights.h5: the file is damaged" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_packed_run_still_knows_what_it_has_seen(small_model, tmp_path):
    run = shutil.copytree(small_model.run.folder, tmp_path / "run")
    write_seen(run, pd.DataFrame({"id_str": ["a", "b"]}), validation=["c"])
    seen = read_seen(pack_run(run, tmp_path / "packed"))
    assert seen["id_str"].tolist() == ["a", "b", "c"]
