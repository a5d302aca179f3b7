"""Exported models: each format, read by its own program, gives the outputs of the model."""

import json
import sys
from dataclasses import replace

import numpy as np
import pytest
from prediction_runs import DECALS, FINAL, make_run

from zoobot3d_tf.files import sha256_of, workspace
from zoobot3d_tf.runs.export import FORMATS, export_model
from zoobot3d_tf.runs.run_folder import WEIGHTS_NAME, TrainedRun, read_run

OUTPUTS = {"votes", "spiral_mask", "bar_mask"}
LARGEST = 2e-4  # largest difference of concentrations, relative, and of masks


def run_keras(path, images):
    """Open the file as where this package is not installed."""
    import keras

    assert not keras.saving.get_custom_objects()  # nothing of this package is registered
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in sys.modules if name.split(".")[0] == "zoobot3d_tf"]:
            patch.setitem(sys.modules, name, None)  # an import raises an error
        return keras.saving.load_model(path, safe_mode=True)(images, training=False)


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
    """Heads and decoder of the package, with an encoder of few layers, which is converted in a second."""
    import keras

    from zoobot3d_tf.models.decoder import build_decoder
    from zoobot3d_tf.models.heads import build_vote_head, mask_head

    keras.utils.set_random_seed(0)
    image = keras.Input((config.image_size, config.image_size, 3), name="image")
    x = keras.layers.Rescaling(1 / 255)(image)
    x = keras.layers.Normalization(mean=[0.4, 0.5, 0.6], variance=[0.1, 0.2, 0.3])(x)  # as EfficientNetB0 has
    levels, activations = {}, ("silu", "relu6")  # of EfficientNet, and of its version Lite
    for n in range(1, 6):
        x = keras.layers.DepthwiseConv2D(
            3, strides=2, padding="same", depth_multiplier=2, activation=activations[n % 2]
        )(x)
        levels[f"P{n}"] = x = keras.layers.BatchNormalization()(x)
    encoder = keras.Model(image, levels)
    features = keras.layers.GlobalAveragePooling2D()(levels["P5"])
    pixels = build_decoder(encoder, config.decoder_widths)(levels)
    outputs = {"votes": build_vote_head(features.shape[-1], config)(features)} if "votes" in config.tasks else {}
    outputs |= {name: mask_head(pixels, name, config.mask_head) for name in config.masks}
    network = keras.Model(image, outputs)
    for weight in network.trainable_weights:
        if weight.name == "kernel":
            weight.assign(2 * weight)  # otherwise outputs would hardly depend on the image
    return network


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory):
    run = read_run(make_run(tmp_path_factory.mktemp("tiny") / "run"))
    network = small_network(run.model)
    network.run = run
    return network


@pytest.fixture(params=["tiny_model", pytest.param("small_model", marks=pytest.mark.slow)])
def model(request, monkeypatch):
    """A network and its run folder `run`. The small EfficientNet takes a minute."""
    network = request.getfixturevalue(request.param)
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
def test_every_format_gives_the_outputs_of_the_model(model, images, tmp_path, format, run_it, also_made, needs):
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
    for output, described in description["outputs"].items():
        assert [3, *described["shape"][1:]] == list(np.shape(outputs[output]))
    assert description["weights_sha256"] == sha256_of(model.run.folder / WEIGHTS_NAME)


@pytest.fixture
def keras_file(monkeypatch, tmp_path):
    """Export a run with these settings as a `.keras` file, and return its description."""

    def export(**settings):
        run = read_run(make_run(tmp_path / "run", **settings))
        network = small_network(run.model)
        monkeypatch.setattr(TrainedRun, "load_model", lambda run: network)
        export_model(run.folder, tmp_path / "model.keras", "keras")
        return json.loads((tmp_path / "model.keras.json").read_text())

    return export


def test_description_tells_how_to_frame_an_image_and_to_read_the_outputs(keras_file):
    said = keras_file(sizes=(64, 48, 32))
    assert "square of an image to 64 pixels, take its central 48 pixels, and resize these to 32" in said["framing"].pop(
        "how"
    )
    assert said["framing"] == {"initial_size": 64, "crop_size": 48, "final_size": 32}
    assert said["stretch"] == "galaxy-zoo"
    assert said["input"]["range"] == [0, 255]
    assert said["input"]["shape"] == ["galaxies", 32, 32, 3]
    assert said["outputs"]["votes"]["answers"] == list(DECALS.label_cols)
    assert said["outputs"]["bar_mask"] == {
        "shape": ["galaxies", 32, 32, 1],
        "dtype": "float32",
        "meaning": "fraction of volunteers who enclose the pixel, 0 to 1",
    }
    assert said["schema"] == DECALS.to_dict()


def test_description_of_masks_of_concentrations_without_votes(monkeypatch, tmp_path):
    run = read_run(make_run(tmp_path / "run", tasks=("bar_mask",)))
    run = replace(run, model=replace(run.model, mask_head="beta-binomial"))
    monkeypatch.setattr("zoobot3d_tf.runs.export.read_run", lambda folder: run)
    monkeypatch.setattr(TrainedRun, "load_model", lambda run: small_network(run.model))
    export_model(run.folder, tmp_path / "model.keras", "keras")
    said = json.loads((tmp_path / "model.keras.json").read_text())
    assert list(said["outputs"]) == ["bar_mask"]
    assert said["outputs"]["bar_mask"]["shape"] == ["galaxies", FINAL, FINAL, 2]
    assert "concentrations" in said["outputs"]["bar_mask"]["meaning"]
    assert said["schema"] is None


def test_existing_file_is_replaced(keras_file, tmp_path):
    (tmp_path / "model.keras").write_bytes(b"old")
    left = tmp_path / ".partial-model.keras"  # of a run that was killed
    left.mkdir()
    (left / "model.keras").write_bytes(b"half")
    keras_file()
    assert (tmp_path / "model.keras").stat().st_size > 1000
    assert not list(tmp_path.glob(".partial*"))


@pytest.mark.parametrize("error", ["RuntimeError", "ResourceExhaustedError"])
def test_errors_of_writers_without_a_file_name_it(monkeypatch, tmp_path, error):
    import tensorflow as tf

    def fail(*arguments):
        raise (
            RuntimeError("iostream error")
            if error == "RuntimeError"
            else tf.errors.ResourceExhaustedError(None, None, "No space left\non device")
        )

    monkeypatch.setattr(TrainedRun, "load_model", lambda run: None)
    monkeypatch.setattr("zoobot3d_tf.runs.export._write", fail)
    with pytest.raises(OSError, match=r"model\.keras: cannot be written, .*: (iostream error|No space left on device)"):
        export_model(make_run(tmp_path / "run"), tmp_path / "model.keras", "keras")


def test_two_runs_do_not_write_one_model(keras_file, tmp_path):
    with workspace(tmp_path / "model.keras"), pytest.raises(BlockingIOError, match=r"model\.keras: process \d+ on"):
        keras_file()


@pytest.mark.parametrize(
    ("name", "format", "error", "words"),
    [
        ("model.pb", "pb", ValueError, "format .* keras, saved_model, onnx, openvino, litert; received 'pb'"),
        ("model.onnx", "litert", ValueError, r"model\.onnx: .*\.tflite"),
        ("file/model.keras", "keras", NotADirectoryError, "file: is a file"),
        (".", "saved_model", FileExistsError, "already exists"),
        ("file", "saved_model", FileExistsError, "file: already exists"),
        ("model.keras", "keras", FileNotFoundError, r"no_run .*config\.json"),
    ],
)  # fmt: skip
def test_arguments_are_checked_before_the_model_is_loaded(tmp_path, name, format, error, words):
    (tmp_path / "file").touch()
    with pytest.raises(error, match=words):
        export_model(tmp_path / "no_run", tmp_path / name, format)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_missing_converter_is_named_with_the_command_to_install_it(monkeypatch, tmp_path):
    monkeypatch.setattr("zoobot3d_tf.extras.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"onnx needs tf2onnx.*pip install 'zoobot3d_tf\[export\]'"):
        export_model(tmp_path, tmp_path / "model.onnx", "onnx")


def test_interrupted_export_leaves_nothing_and_keeps_the_existing_file(monkeypatch, tmp_path):
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
