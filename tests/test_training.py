"""Training runs: the files that they write, continuation after a kill, devices and loggers."""

import json
import logging
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import h5py
import keras
import numpy as np
import pandas as pd
import pytest
from tiny_network import tiny_encoder

from zoobot3d_tf.models import build
from zoobot3d_tf.models.heads import FIRST_LOGIT
from zoobot3d_tf.runs.run_folder import read_run
from zoobot3d_tf.runs.seen import read_seen
from zoobot3d_tf.schemas import get_schema
from zoobot3d_tf.shards.manifest import read_manifest
from zoobot3d_tf.shards.options import ShardOptions
from zoobot3d_tf.shards.read import iterate_records
from zoobot3d_tf.shards.write import create_shards
from zoobot3d_tf.training.assemble import compiled_model
from zoobot3d_tf.training.panels import N_GALAXIES
from zoobot3d_tf.training.progress import EpochLines
from zoobot3d_tf.training.trainer import train
from zoobot3d_tf.training.training_config import config_from_folders

# The task whose training step is traced fastest.
MASK = ["spiral_mask"]
# The first lines of a script that trains with the tiny encoder.
TINY = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from tiny_network import tiny_encoder
from zoobot3d_tf.models import build
build.build_encoder = tiny_encoder
"""


@pytest.fixture(scope="module", autouse=True)
def _quick_to_build():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "build_encoder", tiny_encoder)
        yield


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
        "galaxies.parquet",
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


def test_the_run_folder_names_the_galaxies_that_the_run_has_seen(shards, finished):
    seen, manifest = read_seen(finished[0]), read_manifest(shards)
    for part, split in (("training", "train"), ("validation", "eval")):
        stored = list(iterate_records(manifest.paths(split)))
        rows = seen[seen["part"] == part]
        assert rows["id_str"].tolist() == [galaxy["id_str"] for galaxy in stored]
        if part == "training":
            votes = rows[list(manifest.schema.label_cols)].to_numpy()
            np.testing.assert_array_equal(votes, [galaxy["votes"] for galaxy in stored])


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


def test_the_model_has_the_best_weights(finished):
    folder, model = finished
    history = pd.read_csv(folder / "history.csv")
    state = json.loads((folder / "checkpoints" / "state.json").read_text())
    assert [epoch["val_loss"] for epoch in state["history"]] == pytest.approx(list(history["val_loss"]))
    best = read_run(folder).load_model()
    best.load_weights(folder / "checkpoints" / "best.weights.h5")
    for received, expected in zip(model.get_weights(), best.get_weights(), strict=True):
        np.testing.assert_array_equal(received, expected)


def test_another_loop_takes_the_place_of_fit(shards, tmp_path):
    losses = [3.0, 1.0, 2.0]

    def loop(model, config, checkpoints):
        checkpoints.set_model(model)
        for epoch, loss in enumerate(losses):
            kernel, bias = model.get_layer("vote_head").get_weights()
            model.get_layer("vote_head").set_weights([kernel, np.full_like(bias, epoch)])
            checkpoints.on_epoch_end(epoch, {"val_loss": loss})

    model = train(run_config(shards, tmp_path / "run", tasks=["votes"], epochs=3), loop)
    assert (model.get_layer("vote_head").get_weights()[1] == 1).all()  # the second epoch
    assert (read_run(tmp_path / "run").load_model().get_layer("vote_head").get_weights()[1] == 1).all()


def test_surveys_with_several_trees_train_one_model(shards, tmp_path):
    content = json.loads((shards / "shards.json").read_text())
    folders = {"decals": content["schema"], "dr8": get_schema("decals_dr8_ortho").to_dict()}
    for name, schema in folders.items():
        shutil.copytree(shards, tmp_path / name)
        (tmp_path / name / "shards.json").write_text(json.dumps(content | {"schema": schema}))
    dirs = {f"{split}_dir": [tmp_path / name / f"{split}_shards" for name in folders] for split in ("train", "eval")}
    config = config_from_folders(
        **dirs,
        experiment_dir=tmp_path / "run",
        crop_size=75,
        resize_size=32,
        batch_size=8,
        epochs=1,
        galaxies_per_epoch=[12, 9],
        masked_times=2,
        photometry=True,
    )
    model = config.run_estimator()
    assert model.output["votes"].shape[-1] == len(config.model.schema.answers)
    history = pd.read_csv(tmp_path / "run" / "history.csv")
    assert np.isfinite(history.to_numpy()).all()
    assert {"val_votes_bar_loss", "val_votes_bar-strength_loss"} <= set(history)
    assert set(config.model.label_cols) < set(read_seen(tmp_path / "run"))


def test_tensorboard_gets_pictures_of_masks(finished):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(finished[0] / "tensorboard" / "masks"))
    events.Reload()
    assert events.Tags()["tensors"] == ["galaxy, true and predicted masks"]
    assert len(events.Tensors("galaxy, true and predicted masks")) == 2


def test_a_finished_run_is_only_loaded(shards, finished):
    folder, model = finished
    before = (folder / "history.csv").read_text()
    again = run_config(shards, folder).run_estimator()
    assert (folder / "history.csv").read_text() == before
    np.testing.assert_array_equal(again.get_weights()[-1], model.get_weights()[-1])


def test_a_finished_run_without_checkpoints_is_only_loaded(shards, finished, tmp_path, caplog):
    folder, model = finished
    shutil.copytree(folder, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    before = (tmp_path / "run" / "model.weights.h5").read_bytes()
    with caplog.at_level("INFO"):
        again = run_config(shards, tmp_path / "run").run_estimator()
    assert "finished, and its checkpoints were deleted" in caplog.text
    assert (tmp_path / "run" / "model.weights.h5").read_bytes() == before
    np.testing.assert_array_equal(again.get_weights()[-1], model.get_weights()[-1])
    with pytest.raises(FileNotFoundError, match=r"epoch-2\.weights\.h5.*needs it to continue"):
        run_config(shards, tmp_path / "run", epochs=3).run_estimator()


def test_a_run_that_was_killed_goes_on_after_its_last_epoch(shards, tmp_path):
    script = f"""
{TINY}
from zoobot3d_tf.cli import main
main({
        [
            "train",
            "--experiment-dir",
            str(tmp_path / "run"),
            "--epochs",
            "999",
            "--patience",
            "999",
            "--train-dir",
            str(shards / "train_shards"),
            "--eval-dir",
            str(shards / "eval_shards"),
            "--tasks",
            *MASK,
            "--crop-size",
            "75",
            "--resize-size",
            "32",
            "--batch-size",
            "8",
        ]
    })
"""
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    state = tmp_path / "run" / "checkpoints" / "state.json"
    deadline = time.monotonic() + 200
    while not state.is_file() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = len(json.loads(state.read_text())["history"])
    assert 1 <= done < 999
    run_config(shards, tmp_path / "run", epochs=done + 1, patience=999, tasks=MASK).run_estimator()
    history = pd.read_csv(tmp_path / "run" / "history.csv")
    assert list(history["epoch"]) == list(range(1, done + 2))


def test_an_interrupted_run_ends_with_the_weights_of_an_undisturbed_run(shards, finished, tmp_path, monkeypatch):
    def interrupt_in_the_second_epoch(stop, batch, logs=None):
        if stop.epoch == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("zoobot3d_tf.training.checkpoints.StopOnNaN.on_train_batch_end", interrupt_in_the_second_epoch)
        with pytest.raises(KeyboardInterrupt):
            run_config(shards, tmp_path / "run").run_estimator()
    assert not (tmp_path / "run" / "model.keras").exists()
    run_config(shards, tmp_path / "run").run_estimator()
    names = ["model.weights.h5", "checkpoints/best.weights.h5", "checkpoints/epoch-2.weights.h5"]
    for name in names:
        received, expected = arrays_in(tmp_path / "run" / name), arrays_in(finished[0] / name)
        assert received.keys() == expected.keys()
        for path, array in expected.items():
            np.testing.assert_array_equal(received[path], array, err_msg=f"{name} {path}")
    assert any("optimizer" in path for path in expected)


def test_a_damaged_shard_is_named(shards, tmp_path):
    shutil.copytree(shards, tmp_path / "shards")
    damaged = sorted((tmp_path / "shards" / "train_shards").iterdir())[1]
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    with pytest.raises(ValueError, match=rf"{damaged}: its SHA-256 differs"):
        run_config(tmp_path / "shards", tmp_path / "run", tasks=MASK).run_estimator()


def arrays_in(path: Path) -> dict[str, np.ndarray]:
    """All arrays in an HDF5 file, by path."""
    arrays = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, item: arrays.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
    return arrays


@pytest.fixture(scope="module")
def mixed(survey, tmp_path_factory):
    """Configuration and model of a run of masks with 15 or 30 volunteers, beta-binomial and in mixed precision."""
    folder = tmp_path_factory.mktemp("mixed")
    catalog = pd.read_csv(survey)
    catalog["n_volunteers"] = np.where(catalog.index % 2, 15, 30)
    catalog.to_csv(folder / "catalog.csv", index=False)
    options = ShardOptions(img_size=100, eval_size=0.3, image_root=survey.parent)
    shards = create_shards(folder / "catalog.csv", folder / "shards", get_schema("decals"), options).parent
    settings = {"epochs": 1, "batch_size": 4, "tasks": MASK, "mask_loss": "beta-binomial", "mixed_precision": True}
    config = run_config(shards, folder / "run", **settings)
    return config, config.run_estimator()


def test_masks_of_different_numbers_of_volunteers_train_a_beta_binomial_model(mixed):
    config, model = mixed
    outputs = model.predict(np.zeros((1, 32, 32, 3)), verbose=0)
    assert {name: output.shape for name, output in outputs.items()} == {"spiral_mask": (1, 32, 32, 2)}
    assert np.isfinite(pd.read_csv(config.log_dir / "history.csv").to_numpy()).all()
    assert not np.allclose(model.get_weights()[-1], FIRST_LOGIT.value)  # the bias of the head has been trained


def test_more_epochs_continue_a_finished_run(mixed, tmp_path):
    config, model = mixed
    shutil.copytree(config.log_dir, tmp_path / "run")
    continued = replace(config, log_dir=tmp_path / "run", epochs=2).run_estimator()
    history = pd.read_csv(tmp_path / "run" / "history.csv")
    assert list(history["epoch"]) == [1, 2]
    assert history["loss"][0] == pd.read_csv(config.log_dir / "history.csv")["loss"][0]
    is_better = history["val_loss"][1] < history["val_loss"][0]
    assert (continued.get_weights()[-1] != model.get_weights()[-1]).any() == is_better


def test_mixed_precision_trains_in_bfloat16_and_saves_float32(mixed):
    config, model = mixed
    assert json.loads((config.log_dir / "config.json").read_text())["training"]["mixed_precision"] is True
    assert {weight.dtype for weight in model.weights} == {"float32"}
    assert {layer.compute_dtype for layer in model._flatten_layers()} == {"float32"}
    saved = keras.saving.load_model(config.log_dir / "model.keras")
    assert {layer.compute_dtype for layer in saved._flatten_layers()} == {"float32"}
    trained = compiled_model(config)
    assert trained.get_layer("encoder").get_layer("block1a_conv").compute_dtype == "bfloat16"
    assert keras.config.dtype_policy().name == "float32"


def test_the_line_of_an_epoch_tells_the_remaining_time(caplog):
    caplog.set_level(logging.INFO)
    lines = EpochLines()
    lines.set_params({"epochs": 3, "steps": 1})
    lines.set_model(SimpleNamespace(stop_training=False))
    lines.on_train_begin()
    for epoch in (1, 2):
        lines.on_epoch_begin(epoch)
        lines.on_epoch_end(epoch, {"loss": 2.0})
    _, first, last = caplog.messages
    assert re.fullmatch(r"epoch 2/3: loss 2\.000 \| .+ s per epoch \| at most .+ s remaining", first)
    assert last.startswith("epoch 3/3: ")
    assert last.endswith("per epoch")


@pytest.fixture
def offline(monkeypatch):
    """Weights & Biases without a network."""
    wandb = pytest.importorskip("wandb", reason="the extra [wandb] is not installed")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    return wandb


def test_runs_are_logged_to_weights_and_biases(shards, tmp_path, offline):
    run_config(shards, tmp_path / "run", epochs=2, tasks=MASK, wandb=True).run_estimator()
    assert offline.run is None  # it is finished
    (log,) = (tmp_path / "run" / "wandb").glob("offline-run-*/run-*.wandb")
    assert b"epoch/val_loss" in log.read_bytes()
    panels = list((tmp_path / "run" / "wandb").glob("offline-run-*/files/media/images/*masks*.png"))
    assert len(panels) == 2 * N_GALAXIES


def test_the_run_of_weights_and_biases_is_finished_if_training_fails(shards, tmp_path, offline):
    def fail(model, config, checkpoints):
        assert offline.run.name == "run"
        raise FloatingPointError("the loss became nan")

    with pytest.raises(FloatingPointError):
        train(run_config(shards, tmp_path / "run", tasks=MASK, wandb=True), fail)
    assert offline.run is None
