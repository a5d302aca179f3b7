"""Weights out: every format, reloaded by its own program, says what the model says."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace

import h5py
import numpy as np
import pytest
from prediction_runs import DECALS, FINAL, make_run

from zoobot3d_tf.cli import main
from zoobot3d_tf.files import sha256_of
from zoobot3d_tf.images.read import read_image
from zoobot3d_tf.inference.source_images import frame_images
from zoobot3d_tf.runs.export import FORMATS, export_model
from zoobot3d_tf.runs.packing import _pack, pack_run
from zoobot3d_tf.runs.run_folder import CONFIG_NAME, WEIGHTS_NAME, TrainedRun, read_run
from zoobot3d_tf.shards.options import ShardOptions
from zoobot3d_tf.shards.write import create_shards
from zoobot3d_tf.simulation.survey import simulate_survey
from zoobot3d_tf.training.training_config import config_from_folders

OUTPUTS = {"votes", "spiral_mask", "bar_mask"}
LARGEST = 2e-4  # difference of concentrations, as a share, and of masks


def run_keras(path, images):
    """In a process where this package cannot be imported."""
    arrays = path.with_name("arrays.npz")
    np.savez(arrays, images=images)
    code = (
        "import sys; sys.modules['zoobot3d_tf'] = None\n"
        "import keras, numpy\n"
        f"model = keras.saving.load_model({str(path)!r}, safe_mode=True)\n"
        f"outputs = model.predict(numpy.load({str(arrays)!r})['images'], verbose=0)\n"
        f"numpy.savez({str(arrays)!r}, **outputs)\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=path.parent, check=True, capture_output=True)
    return dict(np.load(arrays))


def run_saved_model(path, images):
    import tensorflow as tf

    loaded = tf.saved_model.load(str(path))
    served = loaded.serve(images)
    signed = loaded.signatures["serving_default"](image=images)
    for name in OUTPUTS:
        np.testing.assert_array_equal(served[name], signed[name])
    return served


def run_onnx(path, images):
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"image": images}), strict=True))


def run_openvino(path, images):
    import openvino

    compiled = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    results = compiled({"image": images})
    return {output.any_name: results[output] for output in compiled.outputs}


def run_litert(path, images):
    from ai_edge_litert.interpreter import Interpreter

    return Interpreter(str(path)).get_signature_runner()(image=images)


def small_network(config):
    """The heads and the decoder as they are, over an encoder of few layers: converted in a second."""
    import keras

    from zoobot3d_tf.models.decoder import build_decoder
    from zoobot3d_tf.models.heads import build_vote_head, mask_head

    keras.utils.set_random_seed(0)
    image = keras.Input((config.image_size, config.image_size, 3), name="image")
    x = keras.layers.Rescaling(1 / 255)(image)
    x = keras.layers.Normalization(mean=[0.4, 0.5, 0.6], variance=[0.1, 0.2, 0.3])(x)  # as EfficientNetB0 has
    levels = {}
    for n in range(1, 6):
        x = keras.layers.DepthwiseConv2D(3, strides=2, padding="same", depth_multiplier=2, activation="silu")(x)
        levels[f"P{n}"] = x = keras.layers.BatchNormalization()(x)
    encoder = keras.Model(image, levels)
    features = keras.layers.GlobalAveragePooling2D()(levels["P5"])
    pixels = build_decoder(encoder)(levels)
    outputs = {"votes": build_vote_head(features.shape[-1], config)(features)} if "votes" in config.tasks else {}
    outputs |= {name: mask_head(pixels, name, config.mask_head) for name in config.masks}
    network = keras.Model(image, outputs)
    for weight in network.trainable_weights:
        if weight.name == "kernel":
            weight.assign(2 * weight)  # or the images would hardly differ behind them
    return network


@pytest.fixture(params=["small", pytest.param("whole", marks=pytest.mark.slow)])
def model(request, monkeypatch, tmp_path):
    """A network and its run folder `run`; the whole one takes a minute."""
    if request.param == "whole":
        network = request.getfixturevalue("small_model")
    else:
        run = read_run(make_run(tmp_path / "run"))
        network = small_network(run.model)
        network.run = run
    monkeypatch.setattr(TrainedRun, "load_model", lambda run: network)
    return network


@pytest.fixture
def images():
    return np.random.default_rng(0).uniform(0, 255, (3, FINAL, FINAL, 3)).astype(np.float32)


@pytest.mark.parametrize(
    ("format", "run_it", "also_made", "needs"),
    [
        ("keras", run_keras, set(), ()),
        ("saved_model", run_saved_model, set(), ()),
        ("onnx", run_onnx, set(), ("tf2onnx", "onnxruntime")),
        ("openvino", run_openvino, {"galaxies.bin"}, ("openvino",)),
        ("litert", run_litert, set(), ("ai_edge_litert",)),
    ],
)
def test_every_format_says_what_the_model_says(model, images, tmp_path, format, run_it, also_made, needs):
    for package in needs:
        pytest.importorskip(package, reason=f"{package} is not installed")
    (tmp_path / "out").mkdir()
    name = f"galaxies{FORMATS[format]}"
    path = export_model(model.run.folder, tmp_path / "out" / name, format)
    assert {made.name for made in path.parent.iterdir()} == {name, f"{name}.json"} | also_made

    outputs = run_it(path, images)
    expected = model(images, training=False)
    assert set(outputs) == OUTPUTS
    np.testing.assert_allclose(outputs["votes"], expected["votes"], rtol=LARGEST)
    assert np.ptp(np.asarray(expected["votes"]), axis=0).max() > 0.1
    for mask in ("spiral_mask", "bar_mask"):
        np.testing.assert_allclose(outputs[mask], expected[mask], atol=LARGEST)
        assert np.std(np.asarray(expected[mask])) > 0.001

    description = json.loads(path.with_name(f"{name}.json").read_text())
    assert description["input"]["name"] == "image"
    for output, said in description["outputs"].items():
        assert [3, *said["shape"][1:]] == list(np.shape(outputs[output]))
    assert description["weights_sha256"] == sha256_of(model.run.folder / WEIGHTS_NAME)


@pytest.fixture
def keras_file(monkeypatch, tmp_path):
    """Exports a run of certain settings as a `.keras` file, whose description is returned."""

    def export(**settings):
        run = read_run(make_run(tmp_path / "run", **settings))
        network = small_network(run.model)
        monkeypatch.setattr(TrainedRun, "load_model", lambda run: network)
        export_model(run.folder, tmp_path / "model.keras", "keras")
        return json.loads((tmp_path / "model.keras.json").read_text())

    return export


def test_description_says_how_to_frame_an_image_and_to_read_the_outputs(keras_file):
    said = keras_file(sizes=(64, 48, 32))
    assert "square of an image to 64 pixels, take its central 48, and resize these to 32" in said["framing"].pop("how")
    assert said["framing"] == {"initial_size": 64, "crop_size": 48, "final_size": 32}
    assert said["stretch"] == "galaxy-zoo"
    assert said["input"]["range"] == [0, 255]
    assert said["input"]["shape"] == ["galaxies", 32, 32, 3]
    assert said["outputs"]["votes"]["answers"] == list(DECALS.label_cols)
    assert said["outputs"]["bar_mask"] == {
        "shape": ["galaxies", 32, 32, 1],
        "dtype": "float32",
        "meaning": "share of the volunteers who enclose the pixel, 0 to 1",
    }
    assert said["schema"] == DECALS.to_dict()


def test_masks_of_concentrations_are_said_to_be_so_and_without_votes_there_is_no_tree(monkeypatch, tmp_path):
    run = read_run(make_run(tmp_path / "run", tasks=("bar_mask",)))
    run = replace(run, model=replace(run.model, mask_head="beta-binomial"))
    monkeypatch.setattr("zoobot3d_tf.runs.export.read_run", lambda folder: run)
    monkeypatch.setattr(TrainedRun, "load_model", lambda run: small_network(run.model))
    export_model(run.folder, tmp_path / "model.keras", "keras")
    said = json.loads((tmp_path / "model.keras.json").read_text())
    assert list(said["outputs"]) == ["bar_mask"]
    assert said["outputs"]["bar_mask"]["shape"] == ["galaxies", FINAL, FINAL, 2]
    assert "the first over the sum" in said["outputs"]["bar_mask"]["meaning"]
    assert said["schema"] is None


def test_file_that_stands_there_is_replaced(keras_file, tmp_path):
    (tmp_path / "model.keras").write_bytes(b"old")
    keras_file()
    assert (tmp_path / "model.keras").stat().st_size > 1000
    assert not list(tmp_path.glob(".partial*"))


@pytest.mark.parametrize(
    ("name", "format", "error", "words"),
    [
        ("model.pb", "pb", ValueError, "one of keras, saved_model, onnx, openvino, litert; received 'pb'"),
        ("model.onnx", "litert", ValueError, r"model\.onnx: the name of the model must end in \.tflite"),
        ("none/model.keras", "keras", NotADirectoryError, "none: no such folder; make it for the model first"),
        (".", "saved_model", FileExistsError, "already exists; remove it, or choose another name"),
        ("file", "saved_model", FileExistsError, "file: already exists"),
        ("model.keras", "keras", FileNotFoundError, "is not a run folder: it has no config.json"),
    ],
)  # fmt: skip
def test_what_cannot_be_written_is_refused_before_anything_is_loaded(tmp_path, name, format, error, words):
    (tmp_path / "file").touch()
    with pytest.raises(error, match=words):
        export_model(tmp_path / "no_run", tmp_path / name, format)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_missing_converter_is_named_with_the_way_to_install_it(monkeypatch, tmp_path):
    monkeypatch.setattr("zoobot3d_tf.runs.export.find_spec", lambda name: None)
    with pytest.raises(
        ImportError, match=r"tf2onnx is not installed: pip install 'zoobot3d_tf\[export\]' to write onnx"
    ):
        export_model(tmp_path, tmp_path / "model.onnx", "onnx")


def test_interrupted_export_leaves_nothing_and_keeps_what_stood_there(monkeypatch, tmp_path):
    def fail(model, path, format):
        path.write_bytes(b"half")
        raise OSError("No space left on device")

    (tmp_path / "model.keras").write_bytes(b"old")
    monkeypatch.setattr(TrainedRun, "load_model", lambda run: None)
    monkeypatch.setattr("zoobot3d_tf.runs.export._write", fail)
    run = make_run(tmp_path / "run")
    with pytest.raises(OSError, match="No space left"):
        export_model(run, tmp_path / "model.keras", "keras")
    assert (tmp_path / "model.keras").read_bytes() == b"old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.keras", "run"]


# Runs packed small


@pytest.fixture(scope="module")
def packed(small_model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("packed") / "run"
    assert main(["pack", str(small_model.run.folder), "--out", str(folder)]) == 0
    return folder


@pytest.mark.slow
def test_packed_run_predicts_the_fractions_of_the_run_within_a_hundredth(tmp_path):
    """Of a trained network: in one of random weights rounding errors grow from layer to layer."""
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
    assert np.ptp(expected["votes"], axis=0).max() > 0.1  # else the images would not matter
    for name in OUTPUTS:
        np.testing.assert_allclose(received[name], expected[name], atol=0.01)


def fractions(model, images):
    """Expected fractions of votes, and masks."""
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
    assert (packed / CONFIG_NAME).read_bytes() == (small_model.run.folder / CONFIG_NAME).read_bytes()
    assert run.weights_loc.stat().st_size < 0.55 * small_model.run.weights_loc.stat().st_size


def test_weights_beyond_half_precision_stay_as_they_are(tmp_path):
    values = np.array([[1e6, 0.1]], np.float32)
    with h5py.File(tmp_path / "weights.h5", "w") as weights, h5py.File(tmp_path / "packed.h5", "w") as file:
        weights["layer/vars/0"], weights["layer/vars/1"] = values, np.int32(7)
        weights["layer/vars"].attrs["name"] = "layer"
        _pack(weights, file)
        assert (file["layer/vars/0"].dtype, file["layer/vars/1"].dtype) == (np.float32, np.int32)
        np.testing.assert_array_equal(file["layer/vars/0"], values)
        assert file["layer/vars/1"][()] == 7
        assert file["layer/vars"].attrs["name"] == "layer"


def test_nothing_is_packed_over_a_run_or_from_a_damaged_one(small_model, packed, tmp_path, capsys):
    before = small_model.run.weights_loc.read_bytes()
    assert main(["pack", str(packed), "--out", str(small_model.run.folder)]) == 2
    assert "holds a run already; choose another folder" in capsys.readouterr().err
    assert small_model.run.weights_loc.read_bytes() == before
    damaged = shutil.copytree(packed, tmp_path / "damaged")
    with (damaged / WEIGHTS_NAME).open("r+b") as file:
        file.truncate(100_000)
    assert main(["pack", str(damaged), "--out", str(tmp_path / "out")]) == 2
    assert "model.weights.h5: does not fit the model of" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
