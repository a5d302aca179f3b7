"""The training loop: steps as those of Keras, kills at any moment, and several devices and processes."""

import gc
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import h5py
import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from tiny_network import tiny_encoder

from zoobot3d_tf.data.framing import Framing
from zoobot3d_tf.models import build
from zoobot3d_tf.models.config import ModelConfig
from zoobot3d_tf.schemas import get_schema
from zoobot3d_tf.training.assemble import compiled_model
from zoobot3d_tf.training.checkpoints import Checkpoints
from zoobot3d_tf.training.loop import fit_batches, make_step
from zoobot3d_tf.training.losses import MASK_LOSSES, votes_loss
from zoobot3d_tf.training.metrics import zero_sums
from zoobot3d_tf.training.run_config import RunConfig

TRAIN = """
import logging, os, sys
sys.path.insert(0, sys.argv[1])
if os.environ.get("DEVICES"):
    import tensorflow as tf
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    tf.distribute.MirroredStrategy = lambda mirrored=tf.distribute.MirroredStrategy: mirrored(["CPU:0", "CPU:1"])
from tiny_network import tiny_encoder
from zoobot3d_tf.models import build
build.build_encoder = tiny_encoder
from zoobot3d_tf.cli import main
sys.exit(main(["train", *sys.argv[2:]]))
"""
"""A script that trains with the tiny encoder, on two devices if the variable DEVICES is set."""


@pytest.fixture(autouse=True)
def _quick_to_build(monkeypatch):
    monkeypatch.setattr(build, "build_encoder", tiny_encoder)


def start(shards: Path, run: Path, *more: object, **environment: str) -> subprocess.Popen:
    """Start a training of votes and masks in a process of its own. The last batch of each epoch has fewer galaxies."""
    arguments = ["--experiment-dir", run, "--train-dir", shards / "train_shards", "--eval-dir", shards / "eval_shards"]
    arguments += ["--crop-size", 75, "--resize-size", 32, "--batch-size", 5, "--epochs", 3, "--dropout", 0.5, *more]
    command = [sys.executable, "-c", TRAIN, str(Path(__file__).parent), *map(str, arguments)]
    log = run.with_suffix(".log").open("a")
    return subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | environment)


def finish(process: subprocess.Popen, run: Path) -> None:
    assert process.wait(600) == 0, run.with_suffix(".log").read_text()[-3000:]


def arrays_in(path: Path) -> dict[str, np.ndarray]:
    """Arrays of an HDF5 file, by path in the file."""
    arrays: dict[str, np.ndarray] = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, item: arrays.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
    return arrays


def weights_of(run: Path) -> dict[str, np.ndarray]:
    """Weights and state of the optimiser after the last epoch, by path in the file."""
    (path,) = (run / "checkpoints").glob("epoch-*.weights.h5")
    return arrays_in(path)


@pytest.fixture(scope="module")
def undisturbed(shards, tmp_path_factory):
    """Run folder of a training that nobody interrupted."""
    run = tmp_path_factory.mktemp("undisturbed") / "run"
    finish(start(shards, run), run)
    return run


def assert_same_run(run: Path, expected: Path) -> None:
    received, wanted = weights_of(run), weights_of(expected)
    assert received.keys() == wanted.keys()
    for path, array in wanted.items():
        np.testing.assert_array_equal(received[path], array, err_msg=path)
    pd.testing.assert_frame_equal(pd.read_csv(run / "history.csv"), pd.read_csv(expected / "history.csv"))


@pytest.fixture
def small_run(tmp_path):
    """Configuration of a run of one epoch, and three batches of nine galaxies, of which the last one has one."""
    config = RunConfig(
        ModelConfig(get_schema("decals"), image_size=32, dropout=0.0),
        Framing(32, 32, 32),
        tmp_path,
        ("unused",),
        ("unused",),
        epochs=1,
        batch_size=4,
        learning_rate=0.001,
        weight_decay=0.1,
    )
    rng = np.random.default_rng(0)
    masks = {name: rng.uniform(size=(9, 32, 32, 1)).astype(np.float32) for name in config.model.masks}
    targets = {"votes": rng.integers(0, 9, (9, 34)).astype(np.float32), **masks}
    weights = {name: rng.integers(0, 2, 9).astype(np.float32) for name in targets}
    images = rng.uniform(0, 255, (9, 32, 32, 3)).astype(np.float32)
    return config, tf.data.Dataset.from_tensor_slices((images, targets, weights)).batch(4)


def flat(weights: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([array.ravel() for array in weights])


def test_steps_loss_and_metrics_are_those_of_keras(small_run, tmp_path):
    """The same batches through `keras.Model.fit`, with the losses of this package and AdamW of Keras."""
    config, batches = small_run
    schema = config.model.vote_schema
    masks = config.model.masks

    model = compiled_model(config)
    theirs = build.build_model(config.model)
    theirs.set_weights(model.get_weights())
    before = flat(model.get_weights())
    losses = {name: MASK_LOSSES[config.mask_loss] for name in masks} | {"votes": votes_loss(schema)}
    theirs.compile(
        keras.optimizers.AdamW(0.001, weight_decay=0.1), losses, {name: config.loss_weights[name] for name in losses}
    )
    expected = theirs.fit(batches, shuffle=False, verbose=0).history
    checkpoints = Checkpoints(tmp_path / "checkpoints", patience=1)
    fit_batches(model, config, checkpoints, lambda share: (batches, batches), (3, 3))
    (history,) = checkpoints.history
    # The losses of tasks differ: Keras gives the last batch, of one galaxy, the weight of the others.
    assert history["loss"] == pytest.approx(expected["loss"][0], rel=1e-4)
    # Adam moves single weights whose gradient is near zero in the direction of the rounding.
    learned = flat(theirs.get_weights()) - before
    assert np.linalg.norm(flat(model.get_weights()) - before - learned) < 0.05 * np.linalg.norm(learned)
    assert history["val_loss"] == pytest.approx(theirs.evaluate(batches, verbose=0, return_dict=True)["loss"], rel=1e-3)


def test_batches_of_all_sizes_share_one_graph(small_run):
    """Graphs of two sizes round otherwise, and a run that goes on with the last batch would differ from one without."""
    config, batches = small_run
    model = compiled_model(config)
    step, sums = make_step(model, config, batches.element_spec, is_training=True), zero_sums(model, config.model)
    for batch in batches:
        sums, _ = step(batch, sums, tf.zeros([]))
    assert step.experimental_get_tracing_count() == 1
    assert float(sums["loss"][1]) == 9


def graphs_in_memory() -> set[int]:
    gc.collect()
    return {id(thing) for thing in gc.get_objects() if type(thing).__name__ == "FuncGraph"}


def test_a_training_leaves_no_graph_in_memory(small_run, tmp_path):
    config, batches = small_run
    before = graphs_in_memory()
    checkpoints = Checkpoints(tmp_path / "checkpoints", patience=1)
    fit_batches(compiled_model(config), config, checkpoints, lambda share: (batches, batches), (3, 3))
    assert not graphs_in_memory() - before


class _Steps(keras.callbacks.Callback):
    """Callback that notes the steps and their losses."""

    def on_train_begin(self, logs=None):
        self.seen: list[tuple[int, float]] = []

    def on_train_batch_end(self, batch, logs=None):
        self.seen.append((batch, logs["loss"]))


def test_a_checkpoint_within_an_epoch_counts_no_step_twice(small_run, tmp_path):
    config, batches = small_run
    checkpoints, steps = Checkpoints(tmp_path / "checkpoints", patience=1, minutes=0), _Steps()
    fit_batches(compiled_model(config), config, checkpoints, lambda share: (batches, batches), (3, 3), [steps])
    assert [step for step, _ in steps.seen] == [0, 1, 2]
    assert steps.seen[-1][1] == checkpoints.history[0]["loss"]  # the checkpoint has waited for the step


@pytest.mark.slow
def test_two_runs_of_one_seed_agree_to_the_bit(shards, undisturbed, tmp_path):
    finish(start(shards, tmp_path / "run"), tmp_path / "run")
    assert_same_run(tmp_path / "run", undisturbed)


def test_sigterm_saves_within_the_epoch_and_the_run_goes_on(shards, undisturbed, tmp_path):
    run = tmp_path / "run"
    process = start(shards, run, "--checkpoint-minutes", 0)
    state = run / "checkpoints" / "state.json"
    while process.poll() is None and not state.is_file():
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 128 + signal.SIGTERM
    assert "Repeat the command to continue" in run.with_suffix(".log").read_text()
    saved = json.loads(state.read_text())
    assert saved["steps_done"] or saved["history"]
    assert not (run / "model.keras").exists()
    finish(start(shards, run), run)
    assert_same_run(run, undisturbed)


@pytest.mark.slow
def test_a_run_that_is_killed_at_random_moments_ends_with_the_weights_of_an_undisturbed_run(shards, tmp_path):
    run, undisturbed, rng = tmp_path / "run", tmp_path / "undisturbed", random.Random(0)
    more = ["--epochs", 12, "--patience", 12]  # enough for ten kills on a fast machine
    finish(start(shards, undisturbed, *more), undisturbed)
    state = run / "checkpoints" / "state.json"
    steps_before_kills = []
    while len(steps_before_kills) < 10:
        # A checkpoint after each step: most of the time is spent in writing them.
        process = start(shards, run, "--checkpoint-minutes", 0, *more)
        earlier = state.read_text() if state.is_file() else ""
        while process.poll() is None and (not state.is_file() or state.read_text() == earlier):
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 1))
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, "the run ended before ten kills; give it more epochs"
        saved = json.loads(state.read_text())
        steps_before_kills.append((len(saved["history"]), saved["steps_done"]))
    assert steps_before_kills == sorted(steps_before_kills)
    assert any(steps for _, steps in steps_before_kills)
    finish(start(shards, run, "--checkpoint-minutes", 0, *more), run)
    assert_same_run(run, undisturbed)


# With a small learning rate, rounding cannot grow from step to step. The moments of the optimiser show the gradients.
SLOWLY = ("--dropout", 0, "--learning-rate", 1e-6)


def close_to(run: Path, expected: Path) -> None:
    """Compare two runs that sum in another order: weights, moments of the gradients, statistics, losses and metrics."""
    received, wanted = weights_of(run), weights_of(expected)
    for path, array in wanted.items():
        difference = np.linalg.norm(received[path].astype(float) - array)
        assert difference <= 1e-3 * np.linalg.norm(array) + 1e-6, path
    pd.testing.assert_frame_equal(pd.read_csv(run / "history.csv"), pd.read_csv(expected / "history.csv"), rtol=1e-4)


@pytest.fixture(scope="module")
def without_dropout(shards, tmp_path_factory):
    """Run folder of a training without dropout, which each device would draw on its own."""
    run = tmp_path_factory.mktemp("alone") / "run"
    finish(start(shards, run, *SLOWLY), run)
    return run


@pytest.mark.slow
def test_two_devices_learn_what_one_learns(shards, without_dropout, tmp_path):
    run = tmp_path / "run"
    finish(start(shards, run, *SLOWLY, "--distributed", DEVICES="2"), run)
    close_to(run, without_dropout)


@pytest.mark.slow
def test_two_processes_learn_what_one_learns(shards, without_dropout, tmp_path):
    run = tmp_path / "run"
    workers = start_workers(shards, run, *SLOWLY)
    for worker in workers:
        finish(worker, run)
    close_to(run, without_dropout)


@pytest.mark.slow
def test_a_process_that_dies_ends_the_others_and_the_run_goes_on(shards, undisturbed, tmp_path):
    run = tmp_path / "run"
    chief, other = start_workers(shards, run, "--checkpoint-minutes", 0, "--epochs", 999, "--patience", 999)
    state = run / "checkpoints" / "state.json"
    while chief.poll() is None and not state.is_file():
        time.sleep(0.05)
    other.send_signal(signal.SIGKILL)
    assert chief.wait(300) != 0
    done = json.loads(state.read_text())
    workers = start_workers(shards, run, "--epochs", len(done["history"]) + 1, "--patience", 999)
    for worker in workers:
        finish(worker, run)
    assert len(pd.read_csv(run / "history.csv")) == len(done["history"]) + 1


def start_workers(shards: Path, run: Path, *more: object) -> list[subprocess.Popen]:
    """Start two processes that train one run together."""
    with socket.socket() as one, socket.socket() as other:
        one.bind(("localhost", 0))
        other.bind(("localhost", 0))
        addresses = [f"localhost:{taken.getsockname()[1]}" for taken in (one, other)]
    cluster = {"worker": addresses}
    return [
        start(
            shards,
            run,
            "--distributed",
            *more,
            TF_CONFIG=json.dumps({"cluster": cluster, "task": {"type": "worker", "index": index}}),
        )
        for index in (0, 1)
    ]
