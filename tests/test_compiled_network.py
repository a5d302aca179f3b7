"""The converted network of a run: kept, made again if anything has changed, and loaded without TensorFlow."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np
import pandas as pd
import pytest
from prediction_runs import draw_galaxies, make_run

from zoobot3d_tf.inference import compiled_network
from zoobot3d_tf.inference.compiled_network import COMPILED_NAME, compile_network
from zoobot3d_tf.runs.run_folder import SHIPPED_FOLDER, WEIGHTS_NAME, read_run

openvino = pytest.importorskip("openvino", reason="the extra [fast] is not installed")

FUNCTION = {"outputs": ("sums", "twice"), "step": 2}
IMAGES = np.arange(2 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 4, 4, 3)
FACTORS = np.array([[0.5, 2], [0, 1]], np.float32)


class Conversions:
    """A stand-in for TensorFlow: the network (images, factors) -> (factors times sums of images, twice the images)."""

    n = 0

    def __call__(self):
        self.n += 1
        from openvino import opset13 as ops

        images = ops.parameter([2, 4, 4, 3], np.uint8, name="images")
        factors = ops.parameter([2, 2], np.float32, name="factors")
        pixels = ops.convert(images, np.float32)
        twice = ops.multiply(pixels, ops.constant(np.float32(2)))
        sums = ops.reduce_sum(pixels, ops.constant([1, 2, 3]), keep_dims=False)
        scaled = ops.multiply(factors, ops.unsqueeze(sums, ops.constant(1)))
        return openvino.Model([ops.result(scaled), ops.result(twice)], [images, factors])


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setattr(compiled_network, "to_openvino", lambda traced: traced)
    monkeypatch.setattr(compiled_network, "user_cache_path", lambda name: tmp_path / "cache" / name)
    return read_run(make_run(tmp_path / "run"))


@pytest.fixture
def conversions():
    return Conversions()


def outputs_of(run, conversions, function=FUNCTION):
    compiled = compile_network(run, function, conversions, "openvino", "f32")
    assert compiled.input_shapes == ((2, 4, 4, 3), (2, 2))
    assert compiled.output_shapes == ((2, 2), (2, 4, 4, 3))
    scaled, twice = compiled.run(IMAGES, FACTORS)
    np.testing.assert_allclose(scaled, FACTORS * IMAGES.sum(axis=(1, 2, 3))[:, None], rtol=1e-6)
    np.testing.assert_array_equal(twice, 2 * IMAGES.astype(np.float32))
    return scaled


def kept_in(folder):
    return sorted((folder / COMPILED_NAME).rglob("*.zip"))


def test_a_network_is_converted_once(run, conversions, caplog):
    caplog.set_level("INFO")
    first = outputs_of(run, conversions)
    assert "once per run" in caplog.text
    assert len(kept_in(run.folder)) == 1
    caplog.clear()
    np.testing.assert_array_equal(outputs_of(run, conversions), first)
    assert conversions.n == 1
    loading, loaded, first_batch = [record.getMessage() for record in caplog.records]
    assert "loading the model run" in loading
    assert "took" in loaded
    assert f"first batch, of {len(IMAGES)} galaxies, took" in first_batch


def test_another_function_of_the_run_is_another_network(run, conversions):
    outputs_of(run, conversions)
    outputs_of(run, conversions, {**FUNCTION, "n_samples": 3})
    outputs_of(run, conversions)
    assert conversions.n == 2
    assert len(kept_in(run.folder)) == 2


def change_weights(run, monkeypatch):
    (run.folder / WEIGHTS_NAME).write_bytes(b"weights after more training")


def change_config(run, monkeypatch):
    config = json.loads((run.folder / "config.json").read_text())
    config["model"]["mask_head"] = "beta-binomial"
    (run.folder / "config.json").write_text(json.dumps(config))


def change_openvino(run, monkeypatch):
    known = compiled_network.version
    monkeypatch.setattr(compiled_network, "version", lambda name: known(name) + "9" * (name == "openvino"))


@pytest.mark.parametrize("change", [change_weights, change_config, change_openvino])
def test_a_stale_network_is_converted_again_in_its_place(run, conversions, caplog, monkeypatch, change):
    caplog.set_level("INFO")
    outputs_of(run, conversions)
    (kept,) = kept_in(run.folder)
    change(run, monkeypatch)
    outputs_of(run, conversions)
    assert conversions.n == 2
    assert f"{kept}: was made from other weights, or with other versions" in caplog.text
    assert kept_in(run.folder) == [kept]
    outputs_of(run, conversions)
    assert conversions.n == 2


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 1
    path.write_bytes(content)


def cut_off(path):
    path.write_bytes(path.read_bytes()[:-100])


def write_junk(path):
    path.write_bytes(b"\0" * 1000)


def compress(path):
    with ZipFile(path) as file:
        content = {name: file.read(name) for name in file.namelist()}
    with ZipFile(path, "w", ZIP_DEFLATED) as file:
        for name, stored in content.items():
            file.writestr(name, stored)


@pytest.mark.parametrize("damage", [flip_a_bit, cut_off, write_junk, compress])
def test_a_damaged_network_is_converted_again(run, conversions, caplog, damage):
    outputs_of(run, conversions)
    (kept,) = kept_in(run.folder)
    damage(kept)
    outputs_of(run, conversions)
    assert conversions.n == 2
    assert f"{kept}: cannot be used" in caplog.text
    outputs_of(run, conversions)
    assert conversions.n == 2


def test_networks_of_folders_that_cannot_be_written_are_kept_in_the_cache_of_the_user(run, conversions, tmp_path):
    (run.folder / COMPILED_NAME).write_text("a file")  # root may write to every folder
    outputs_of(run, conversions)
    assert len(kept_in(tmp_path / "cache" / "zoobot3d_tf")) == 1
    outputs_of(run, conversions)
    assert conversions.n == 1


def test_nothing_is_written_beside_the_shipped_weights(run, conversions, tmp_path):
    before = sorted(SHIPPED_FOLDER.iterdir())
    outputs_of(replace(run, folder=SHIPPED_FOLDER), conversions)
    assert sorted(SHIPPED_FOLDER.iterdir()) == before
    assert len(kept_in(tmp_path / "cache" / "zoobot3d_tf")) == 1


def test_a_network_that_cannot_be_kept_is_used_all_the_same(run, conversions, tmp_path, caplog):
    (run.folder / COMPILED_NAME).write_text("a file")
    (tmp_path / "cache").write_text("a file")
    for n in (1, 2):
        outputs_of(run, conversions)
        assert conversions.n == n
    assert caplog.text.count("cannot be kept") == 2
    assert str(tmp_path / "cache") in caplog.text


SCRIPT = """
import sys
from zoobot3d_tf.cli import main
assert main(sys.argv[1:]) == 0
print(*{"tensorflow", "keras", "tf_keras", "tensorflow_probability"} & set(sys.modules))
"""


def test_later_predictions_are_the_same_and_do_not_import_tensorflow(small_model, tmp_path):
    from zoobot3d_tf.predictions.predict_on_images import predict

    folder = small_model.run.folder
    images = draw_galaxies(tmp_path / "images", 5)
    predict(images, folder, tmp_path / "first.csv", n_samples=3, engine="openvino")

    names = [path.stem for path in sorted(images.iterdir())]
    files = [str(path) for path in sorted(images.iterdir())]
    pd.DataFrame({"id_str": names, "file_loc": files}).to_csv(tmp_path / "catalog.csv", index=False)
    for source in ([str(images)], ["--catalog", str(tmp_path / "catalog.csv")]):
        table = tmp_path / f"later{len(source)}.csv"
        options = ["--checkpoint-dir", str(folder), "--save-loc", str(table), "--n-samples", "3"]
        command = [sys.executable, "-c", SCRIPT, "predict", *source, *options, "--engine", "openvino"]
        result = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[1])
        assert result.returncode == 0, result.stderr
        assert result.stdout.splitlines() == [str(table), ""]
        assert "loading the model" in result.stderr
        assert table.read_text() == (tmp_path / "first.csv").read_text()
