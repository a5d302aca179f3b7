"""What an encoder begins with: which weights are meant, what they ask of the model, and how a run records them."""

import json
import subprocess
import sys

import numpy as np
import pytest
from prediction_runs import make_run
from safetensors.numpy import save_file
from test_weights import keras_file, timm_tensors, write_config, write_encoder

from zoobot3d_tf.cli import main
from zoobot3d_tf.files import sha256_of
from zoobot3d_tf.runs import run_folder
from zoobot3d_tf.runs.encoder_weights import find_encoder_weights
from zoobot3d_tf.runs.run_folder import WEIGHTS_NAME, read_run
from zoobot3d_tf.training import trainer
from zoobot3d_tf.training.checkpoints import Checkpoints
from zoobot3d_tf.training.training_config import config_from_folders

FREE = {"encoder": None, "color": None}
TENSORS = timm_tensors()
TENSORS["conv_stem.weight"] = TENSORS["conv_stem.weight"] + 1  # as nothing else begins
STEM = TENSORS["conv_stem.weight"].transpose(2, 3, 1, 0)


@pytest.fixture
def timm_folder(tmp_path):
    return write_encoder(tmp_path / "zoobot-encoder-b0", TENSORS)


def command(shards, folder, *options: str) -> list[str]:
    shard_folders = ["--train-dir", str(shards / "train_shards"), "--eval-dir", str(shards / "eval_shards")]
    sizes = ["--crop-size", "75", "--resize-size", "32", "--batch-size", "8", "--epochs", "1"]
    return ["train", "--experiment-dir", str(folder), *shard_folders, *sizes, *options]


def run_config(shards, folder, **settings):
    sizes = {"crop_size": 75, "resize_size": 32, "batch_size": 8, "epochs": 1}
    return config_from_folders(shards / "train_shards", shards / "eval_shards", folder, **(sizes | settings))


@pytest.fixture
def begun(monkeypatch):
    """The models as they are when the first epoch begins; none is trained."""
    models = []

    def fit(model, config, checkpoints):
        models.append(model)
        checkpoints.folder.mkdir(exist_ok=True)
        model.save_weights(checkpoints.best_path)

    monkeypatch.setattr(trainer, "fit", fit)
    return models


def test_a_command_begins_with_timms_weights_and_says_so(shards, timm_folder, tmp_path, begun):
    assert main(command(shards, tmp_path / "run", "--encoder-weights", str(timm_folder), "--color")) == 0
    run = read_run(tmp_path / "run")
    assert (run.model.encoder, run.model.color) == ("efficientnet_b0", True)
    assert run.model.pixel_std == (1.0, 1.0, 1.0)  # Zoobot's, by its name
    stem = begun[0].get_layer("encoder").get_layer("conv_stem").get_weights()[0]
    np.testing.assert_array_equal(stem, STEM)
    recorded = json.loads((tmp_path / "run" / "config.json").read_text())["training"]["encoder_weights"]
    assert recorded == {"source": str(timm_folder), "sha256": sha256_of(timm_folder / "model.safetensors")}


def test_a_run_that_goes_on_keeps_what_it_has_learned(shards, timm_folder, tmp_path, begun, monkeypatch):
    monkeypatch.setattr(Checkpoints, "epochs_done", property(lambda checkpoints: 1))
    main(command(shards, tmp_path / "run", "--encoder-weights", str(timm_folder), "--color", "--epochs", "2"))
    stem = begun[0].get_layer("encoder").get_layer("conv_stem").get_weights()[0]
    assert not np.array_equal(stem, STEM)


def test_the_same_weights_elsewhere_continue_a_run_and_others_do_not(shards, timm_folder, tmp_path, begun):
    start = {"folder": tmp_path / "run", "color": True}
    run_config(shards, encoder_weights=str(timm_folder), **start).run_estimator()
    moved = timm_folder.rename(tmp_path / "zoobot-encoder-moved")
    run_config(shards, encoder_weights=str(moved), **start).run_estimator()
    save_file(TENSORS | {"bn1.bias": np.ones(32, np.float32)}, moved / "model.safetensors")
    with pytest.raises(ValueError, match=r"other settings \(training.encoder_weights.sha256 was \w+, now \w+\)"):
        run_config(shards, encoder_weights=str(moved), **start).run_estimator()


def test_runs_from_before_there_were_such_weights_go_on(shards, tmp_path, begun):
    run_config(shards, tmp_path / "run").run_estimator()
    path = tmp_path / "run" / "config.json"
    config = json.loads(path.read_text())
    assert config["training"].pop("encoder_weights") is None
    path.write_text(json.dumps(config))
    run_config(shards, tmp_path / "run").run_estimator()
    assert len(begun) == 2


@pytest.mark.parametrize("name", ["run folder", "shipped"])
def test_another_runs_encoder(shards, small_model, tmp_path, begun, monkeypatch, name):
    monkeypatch.setattr(run_folder, "SHIPPED_FOLDER", small_model.run.folder)
    source = "shipped" if name == "shipped" else str(small_model.run.folder)
    run_config(shards, tmp_path / "run", encoder_weights=source).run_estimator()
    for received, expected in zip(
        begun[0].get_layer("encoder").get_weights(), small_model.get_layer("encoder").get_weights(), strict=True
    ):
        np.testing.assert_array_equal(received, expected)
    recorded = json.loads((tmp_path / "run" / "config.json").read_text())["training"]["encoder_weights"]
    assert recorded == {"source": source, "sha256": sha256_of(small_model.run.weights_loc)}


def test_hub_gives_encoders_of_timm_and_runs_by_what_their_configuration_is(hub, timm_folder, tmp_path):
    run = make_run(tmp_path / "run")
    for name, folder in (("owner/zoobot-encoder-b0", timm_folder), ("owner/run", run)):
        hub.repositories[name] = {path.name: path.read_bytes() for path in folder.iterdir()}
    timm, other = (find_encoder_weights(f"hf://owner/{name}", FREE) for name in ("zoobot-encoder-b0", "run"))
    assert timm.settings["encoder"] == "efficientnet_b0"
    assert other.settings == {"encoder": "EfficientNetB0", "color": False, "pixel_mean": None, "pixel_std": None}
    assert other.to_dict() == {"source": "hf://owner/run", "sha256": sha256_of(run / WEIGHTS_NAME)}


def test_imagenet_is_kerass_own(shards, tmp_path, begun, monkeypatch):
    path = keras_file(tmp_path, "EfficientNetB0")
    for get_file in ("keras.src.utils.file_utils.get_file", "keras.utils.get_file"):
        monkeypatch.setattr(get_file, lambda *args, **kwargs: str(path))
    config = run_config(shards, tmp_path / "run", encoder_weights="imagenet", color=True)
    assert config.model.encoder == "EfficientNetB0"
    assert config.encoder_weights.to_dict() == {"source": "imagenet", "sha256": sha256_of(path)}


@pytest.mark.parametrize(
    ("source", "asked", "error", "words"),
    [
        ("zoobot-encoder-b0", {"encoder": "EfficientNetB0"}, ValueError,
         r"zoobot-encoder-b0: these weights need encoder efficientnet_b0; received EfficientNetB0, leave out encoder$"),
        ("run", {"color": True}, ValueError, r"run: these weights need color False; received True, leave out color$"),
        ("imagenet", {"encoder": "tf_efficientnet_b0"}, ValueError,
         r"^imagenet: Keras has no weights for timm's tf_efficientnet_b0; name a folder or hf://owner/name that has$"),
        ("none", {}, FileNotFoundError, r"none: holds no config\.json; name a folder of timm's or Zoobot's"),
        ("damaged", {}, ValueError, r"damaged/config\.json cannot be used: Expecting value"),
        ("foreign", {}, ValueError, r"foreign/config\.json cannot be used: it does not say 'format_version'"),
        ("resnet", {}, ValueError, r"its architecture is 'resnet50'; known are"),
        ("hf://owner", {}, ValueError, r"names no repository of the hub; write hf://owner/name"),
    ],
)  # fmt: skip
def test_weights_that_cannot_be_meant_are_refused(timm_folder, tmp_path, source, asked, error, words):
    make_run(tmp_path / "run")
    write_encoder(tmp_path / "resnet", {}, architecture="resnet50")
    for name, content in (("damaged", "not json"), ("foreign", "{}")):
        write_config(tmp_path / name)
        (tmp_path / name / "config.json").write_text(content)
    source = source if source == "imagenet" or source.startswith("hf:") else str(tmp_path / source)
    with pytest.raises(error, match=words):
        find_encoder_weights(source, FREE | asked)


def test_a_contradiction_is_said_before_tensorflow_is_imported(shards, timm_folder, tmp_path):
    options = ["--encoder-weights", str(timm_folder), "--encoder", "EfficientNetB1"]
    arguments = [sys.executable, "-X", "importtime", "-m", "zoobot3d_tf", *command(shards, tmp_path / "run", *options)]
    result = subprocess.run(arguments, capture_output=True, text=True)
    assert result.returncode == 2
    assert "these weights need encoder efficientnet_b0; received EfficientNetB1" in result.stderr.splitlines()[-1]
    assert not any(line.split("|")[-1].strip() in ("tensorflow", "keras") for line in result.stderr.splitlines())
    assert not (tmp_path / "run").exists()
