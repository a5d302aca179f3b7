"""Training runs: what they leave behind, how they go on after a kill, and what they refuse."""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest

from zoobot3d_tf.runs.run_folder import read_run, write_config
from zoobot3d_tf.schemas import get_schema
from zoobot3d_tf.shards.manifest import read_manifest
from zoobot3d_tf.training import trainer
from zoobot3d_tf.training.checkpoints import Checkpoints, StopOnNaN
from zoobot3d_tf.training.training_config import config_from_folders, get_run_config

ROOT = Path(__file__).resolve().parents[1]


def run_config(shards, folder, **settings):
    sizes = {"crop_size": 75, "resize_size": 32, "batch_size": 8, "epochs": 2}
    return config_from_folders(shards / "train_shards", shards / "eval_shards", folder, **(sizes | settings))


@pytest.fixture(scope="module")
def finished(shards, tmp_path_factory):
    """A finished run of two epochs, and the model that it returned."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    return folder, run_config(shards, folder).run_estimator()


def test_run_folder_holds_what_later_stages_need(finished):
    folder, model = finished
    assert {path.name for path in folder.iterdir()} == {
        "config.json",
        "model.keras",
        "model.weights.h5",
        "checkpoints",
        "history.csv",
        "tensorboard",
    }
    run = read_run(folder)
    assert run.model.schema == get_schema("decals")
    assert (run.framing.initial_size, run.framing.crop_size, run.framing.final_size) == (100, 75, 32)
    assert run.stretch == "galaxy-zoo"
    images = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3))
    for other in (run.load_model(), keras.saving.load_model(folder / "model.keras")):
        for name, expected in model.predict(images, verbose=0).items():
            np.testing.assert_allclose(other.predict(images, verbose=0)[name], expected, rtol=1e-5)


def test_history_has_every_metric_of_every_epoch(finished):
    history = pd.read_csv(finished[0] / "history.csv")
    assert list(history["epoch"]) == [1, 2]
    wanted = {
        "loss",
        "val_loss",
        "val_votes_fraction_mae",
        "val_votes_bar_loss",
        "val_spiral_mask_iou",
        "val_bar_mask_mae",
    }
    assert wanted <= set(history.columns)
    assert np.isfinite(history.to_numpy()).all()


def test_best_weights_are_those_of_the_lowest_validation_loss(finished):
    folder, model = finished
    history = pd.read_csv(folder / "history.csv")
    state = json.loads((folder / "checkpoints" / "state.json").read_text())
    assert [epoch["val_loss"] for epoch in state["history"]] == pytest.approx(list(history["val_loss"]))
    best = read_run(folder).load_model()
    best.load_weights(folder / "checkpoints" / "best.weights.h5")
    np.testing.assert_array_equal(best.get_weights()[-1], model.get_weights()[-1])


def test_tensorboard_gets_pictures_of_masks(finished):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(finished[0] / "tensorboard" / "masks"))
    events.Reload()
    assert events.Tags()["tensors"] == ["galaxy, true and predicted masks"]
    assert len(events.Tensors("galaxy, true and predicted masks")) == 2


def test_finished_run_is_only_loaded_and_more_epochs_continue_it(shards, finished):
    folder, model = finished
    before = (folder / "history.csv").read_text()
    again = run_config(shards, folder).run_estimator()
    assert (folder / "history.csv").read_text() == before
    np.testing.assert_array_equal(again.get_weights()[-1], model.get_weights()[-1])
    run_config(shards, folder, epochs=3).run_estimator()
    assert list(pd.read_csv(folder / "history.csv")["epoch"]) == [1, 2, 3]


def test_the_stretch_of_the_shards_stands_in_the_run_folder(shards, tmp_path, monkeypatch):
    monkeypatch.setattr(trainer, "train", lambda config: None)
    lupton = with_stretch(shards, tmp_path / "lupton", "lupton")
    run_config(lupton, tmp_path / "run").run_estimator()
    assert read_run(tmp_path / "run").stretch == "lupton"
    with pytest.raises(ValueError, match=r"stretch was lupton, now galaxy-zoo"):
        run_config(shards, tmp_path / "run").run_estimator()
    config = tmp_path / "run" / "config.json"
    config.write_text(config.read_text().replace("lupton", "log"))
    with pytest.raises(ValueError, match=r"config.json cannot be used: stretch must be one of .*; received 'log'"):
        read_run(tmp_path / "run")


def test_runs_that_do_not_name_their_stretch_had_that_of_galaxy_zoo(shards, tmp_path, monkeypatch):
    monkeypatch.setattr(trainer, "train", lambda config: None)
    config = run_config(with_stretch(shards, tmp_path / "old", None), tmp_path / "run")
    write_config(config.log_dir, config.to_dict())
    assert "stretch" not in json.loads((tmp_path / "run" / "config.json").read_text())
    assert read_run(tmp_path / "run").stretch == "galaxy-zoo"
    config.run_estimator()
    assert json.loads((tmp_path / "run" / "config.json").read_text())["stretch"] == "galaxy-zoo"


def test_shards_of_two_stretches_are_not_mixed(shards, tmp_path):
    lupton = with_stretch(shards, tmp_path / "lupton", "lupton")
    config = config_from_folders(
        shards / "train_shards", lupton / "eval_shards", tmp_path / "run", resize_size=32, batch_size=8, epochs=1
    )
    with pytest.raises(
        ValueError, match=r"shards holds images of the stretch galaxy-zoo, .*/lupton of lupton; make both"
    ):
        config.run_estimator()
    assert not (tmp_path / "run").exists()


def with_stretch(shards: Path, folder: Path, stretch: str | None) -> Path:
    """A copy of shards that says it was made with another stretch, or with none."""
    shutil.copytree(shards, folder)
    content = json.loads((folder / "shards.json").read_text())
    del content["made_by"]["stretch"]
    content["made_by"] |= {"stretch": stretch} if stretch else {}
    (folder / "shards.json").write_text(json.dumps(content))
    return folder


def test_other_settings_in_the_same_folder_are_refused(shards, finished):
    with pytest.raises(
        ValueError, match=r"already holds a run with other settings \(training.learning_rate was 0.001, now 0.1"
    ):
        run_config(shards, finished[0], learning_rate=0.1).run_estimator()


def test_shards_of_another_size_are_refused_before_tensorflow_is_imported(shards, tmp_path):
    command = [sys.executable, "-X", "importtime", "train_model.py", "--experiment-dir", tmp_path / "run"]
    command += ["--train-dir", shards / "train_shards", "--eval-dir", shards / "eval_shards", "--shard-img-size", "300"]
    result = subprocess.run(list(map(str, command)), capture_output=True, text=True, cwd=ROOT)
    assert result.returncode == 2
    assert "hold images of 100 x 100 pixels; received the size 300" in result.stderr.splitlines()[-1]
    assert not any(line.split("|")[-1].strip() == "tensorflow" for line in result.stderr.splitlines())
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_run_killed_in_its_second_epoch_goes_on_there(shards, tmp_path):
    command = [sys.executable, "train_model.py", "--experiment-dir", tmp_path / "run", "--epochs", "40"]
    command += ["--train-dir", shards / "train_shards", "--eval-dir", shards / "eval_shards"]
    command += ["--crop-size", "75", "--resize-size", "32", "--batch-size", "8", "--patience", "40"]
    process = subprocess.Popen(list(map(str, command)), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    state = tmp_path / "run" / "checkpoints" / "state.json"
    deadline = time.monotonic() + 200
    while not state.is_file() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = len(json.loads(state.read_text())["history"])
    assert done >= 1
    run_config(shards, tmp_path / "run", epochs=done + 1, patience=40).run_estimator()
    history = pd.read_csv(tmp_path / "run" / "history.csv")
    assert list(history["epoch"]) == list(range(1, done + 2))
    assert history["loss"].iloc[-1] < history["loss"].iloc[0] * 1.2


@pytest.fixture(scope="module")
def special(shards, tmp_path_factory):
    """Folder and model of a run without votes, in mixed precision, logged to Weights & Biases without a network."""
    pytest.importorskip("wandb", reason="the extra [wandb] is not installed")
    folder = tmp_path_factory.mktemp("runs") / "special"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_MODE", "offline")
        patch.setenv("WANDB_SILENT", "true")
        settings = {"epochs": 1, "mask_loss": "beta-binomial", "tasks": ["spiral_mask"]}
        model = run_config(shards, folder, mixed_precision=True, wandb=True, **settings).run_estimator()
    return folder, model


def test_beta_binomial_votes_free_run_trains(special):
    outputs = special[1].predict(np.zeros((1, 32, 32, 3)), verbose=0)
    assert {name: output.shape for name, output in outputs.items()} == {"spiral_mask": (1, 32, 32, 2)}


def test_mixed_precision_is_saved_in_float32(special):
    folder, model = special
    assert json.loads((folder / "config.json").read_text())["training"]["mixed_precision"] is True
    assert model.dtype_policy.name == "float32"
    assert {weight.dtype for weight in model.weights} == {"float32"}
    assert np.isfinite(pd.read_csv(folder / "history.csv")["val_loss"]).all()


def test_runs_are_logged_to_weights_and_biases(special):
    assert list((special[0] / "wandb").glob("offline-run-*/run-*.wandb"))


def test_the_best_weights_are_replaced_only_by_better_ones(tmp_path):
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(loss="mse")
    checkpoints = Checkpoints(tmp_path / "checkpoints", patience=9)
    checkpoints.set_model(model)
    for epoch, loss in enumerate([3.0, 1.0, 2.0, 1.0]):
        model.set_weights([np.full((1, 1), epoch), np.full(1, epoch)])
        checkpoints.on_epoch_end(epoch, {"val_loss": loss})
    model.load_weights(checkpoints.best_path)
    assert float(model.get_weights()[1][0]) == 1.0  # the second epoch, the first of the lowest loss


@pytest.mark.slow
def test_all_local_devices_train_one_model(shards, tmp_path):
    script = f"""
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
tf.distribute.MirroredStrategy = lambda mirrored=tf.distribute.MirroredStrategy: mirrored(["CPU:0", "CPU:1"])
from pathlib import Path
from zoobot3d_tf.training.training_config import config_from_folders
shards, folder = Path({str(shards)!r}), Path({str(tmp_path / "run")!r})
config_from_folders(shards / "train_shards", shards / "eval_shards", folder, crop_size=75, resize_size=32, batch_size=8,
                    epochs=1, tasks=["votes"], distributed=True).run_estimator()
"""
    result = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-3000:]
    model = keras.saving.load_model(tmp_path / "run" / "model.keras")
    assert np.isfinite(model.predict(np.zeros((1, 32, 32, 3)), verbose=0)["votes"]).all()


def test_early_stopping_remembers_epochs_before_a_kill(tmp_path):
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(loss="mse")
    first = Checkpoints(tmp_path / "checkpoints", patience=2)
    first.set_model(model)
    for epoch, loss in enumerate([3.0, 1.0, 2.0]):
        first.on_epoch_end(epoch, {"val_loss": loss})
    assert not first.exhausted
    second = Checkpoints(tmp_path / "checkpoints", patience=2)
    second.set_model(model)
    assert second.epochs_done == 3
    second.on_epoch_end(3, {"val_loss": 1.5})
    assert second.exhausted
    assert model.stop_training
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == [
        "best.weights.h5",
        "epoch-4.weights.h5",
        "state.json",
    ]


def test_nan_stops_with_a_clear_word():
    stop = StopOnNaN()
    stop.on_epoch_begin(2)
    stop.on_train_batch_end(0, {"loss": 1.0})
    with pytest.raises(FloatingPointError, match=r"loss became nan in epoch 3, batch 17: lower the learning rate"):
        stop.on_train_batch_end(16, {"loss": float("nan")})


def test_tasks_are_those_with_labels_unless_named(shards, tmp_path):
    assert run_config(shards, tmp_path).model.tasks == ("votes", "spiral_mask", "bar_mask")
    assert run_config(shards, tmp_path, tasks=["votes"]).model.tasks == ("votes",)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"epochs": 0}, "epochs must be at least 1"),
        ({"learning_rate": -1.0}, "learning_rate must be positive"),
        ({"mask_loss": "dice"}, "mask loss must be one of l1, mse"),
        ({"loss_weights": {"ring": 1.0}}, r"unknown tasks \['ring'\]"),
        ({"eval_records": []}, "eval_records is empty"),
        ({"crop_size": 120}, "crop size 120 must not exceed the image size 100"),
        ({"final_size": 100}, "multiple of 32"),
    ],
)
def test_impossible_runs_are_refused(shards, tmp_path, settings, words):
    records = read_manifest(shards).paths("train")
    sizes = {"initial_size": 100, "crop_size": 75, "final_size": 32, "epochs": 1, "batch_size": 4}
    files = {"train_records": records, "eval_records": records, "log_dir": tmp_path, "schema": get_schema("decals")}
    with pytest.raises(ValueError, match=words):
        get_run_config(**(sizes | files | settings))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "cannot be used"),
        ('{"format_version": 9}', "format version 9; this version reads 1"),
        ("{}", "cannot be used"),
    ],
)
def test_damaged_config_is_refused(tmp_path, content, words):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(ValueError, match=words):
        read_run(tmp_path)


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"is not a run folder: it has no config.json; `zoobot3d train` makes one"
    ):
        read_run(tmp_path)
