"""Checkpoints: which epoch is kept, when training stops, and what is kept after a kill."""

import keras
import numpy as np
import pandas as pd
import pytest

from zoobot3d_tf.training.checkpoints import Checkpoints, StopOnNaN


@pytest.fixture
def model():
    """A model of one weight and one bias."""
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(loss="mse")
    return model


def checkpoints_of(model, folder, patience: int) -> Checkpoints:
    checkpoints = Checkpoints(folder, patience)
    checkpoints.set_model(model)
    return checkpoints


def run_epochs(checkpoints: Checkpoints, losses: list[float]) -> None:
    """Epochs with these validation losses; the weights of each are its number, from 1."""
    for loss in losses:
        epoch = checkpoints.epochs_done
        checkpoints.model.set_weights([np.full((1, 1), epoch + 1.0), np.full(1, epoch + 1.0)])
        checkpoints.on_epoch_end(epoch, {"val_loss": loss})


def weights_in(path, model) -> float:
    model.load_weights(path)
    return float(model.get_weights()[1][0])


@pytest.mark.parametrize(
    ("losses", "best"),
    [
        ([3.0, 1.0, 2.0], 2),
        ([3.0, 2.0, 1.0], 3),
        ([1.0, 2.0, 3.0], 1),
        ([2.0, 1.0, 1.0], 2),
        ([np.nan, 1.0, 0.5], 3),
        ([np.nan, 0.5, np.nan, 1.0], 2),
        ([np.inf, 2.0, -np.inf], 2),
    ],
)
def test_the_best_weights_are_those_of_the_lowest_validation_loss(model, tmp_path, losses, best):
    checkpoints = checkpoints_of(model, tmp_path / "checkpoints", patience=9)
    run_epochs(checkpoints, losses)
    assert weights_in(checkpoints.best_path, model) == best
    np.testing.assert_array_equal(pd.read_csv(tmp_path / "history.csv")["val_loss"], losses)


def test_a_worse_epoch_after_a_kill_does_not_replace_the_best(model, tmp_path):
    run_epochs(checkpoints_of(model, tmp_path / "checkpoints", patience=9), [3.0, 1.0])
    after = checkpoints_of(model, tmp_path / "checkpoints", patience=9)
    model.set_weights([np.zeros((1, 1)), np.zeros(1)])
    after.restore(model)
    assert float(model.get_weights()[1][0]) == 2.0
    run_epochs(after, [2.0])
    assert weights_in(after.best_path, model) == 2
    after.restore(model)
    assert float(model.get_weights()[1][0]) == 3.0


def test_early_stopping_remembers_epochs_before_a_kill(model, tmp_path):
    first = checkpoints_of(model, tmp_path / "checkpoints", patience=2)
    run_epochs(first, [3.0, 1.0, 2.0])
    assert not first.exhausted
    second = checkpoints_of(model, tmp_path / "checkpoints", patience=2)
    assert second.epochs_done == 3
    run_epochs(second, [1.5])
    assert second.exhausted
    assert second.finished(99)
    assert model.stop_training
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == [
        "best.weights.h5",
        "epoch-4.weights.h5",
        "state.json",
    ]


def test_the_unfinished_checkpoint_of_a_killed_process_is_removed(model, tmp_path):
    run_epochs(checkpoints_of(model, tmp_path / "checkpoints", patience=9), [3.0])
    left = tmp_path / "checkpoints" / ".partial-epoch-1-step-7.weights.h5"
    left.write_bytes(b"the first half")
    checkpoints_of(model, tmp_path / "checkpoints", patience=9).save_within_epoch(9, {})
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == [
        "best.weights.h5",
        "epoch-1-step-9.weights.h5",
        "state.json",
    ]


def test_a_validation_loss_of_nan_is_never_the_best_and_says_where_it_arose(model, tmp_path, caplog):
    checkpoints = checkpoints_of(model, tmp_path / "checkpoints", patience=3)
    run_epochs(checkpoints, [np.nan])
    checkpoints.on_epoch_end(1, {"val_loss": np.nan, "val_votes_loss": np.nan, "val_bar_mask_loss": 1.0})
    assert "Epoch 2: the validation loss of votes is nan." in caplog.text
    assert not checkpoints.exhausted
    with pytest.raises(FloatingPointError, match=r"NaN or infinite in all 2 epochs.*history\.csv"):
        checkpoints.restore_best(model)
    run_epochs(checkpoints_of(model, tmp_path / "checkpoints", patience=3), [np.nan])
    assert checkpoints_of(model, tmp_path / "checkpoints", patience=3).exhausted


@pytest.mark.parametrize("name", ["epoch-2", "best"])
def test_weights_that_are_missing_are_named(model, tmp_path, name):
    checkpoints = checkpoints_of(model, tmp_path / "checkpoints", patience=3)
    run_epochs(checkpoints, [2.0, 1.0])
    (tmp_path / "checkpoints" / f"{name}.weights.h5").unlink()
    restore = checkpoints.restore if name == "epoch-2" else checkpoints.restore_best
    with pytest.raises(FileNotFoundError, match=rf"checkpoints/{name}\.weights\.h5: no such file"):
        restore(model)


def test_nan_names_epoch_and_batch():
    stop = StopOnNaN()
    stop.on_epoch_begin(2)
    stop.on_train_batch_end(0, {"loss": 1.0})
    with pytest.raises(FloatingPointError, match=r"nan in epoch 3, batch 17.*learning_rate"):
        stop.on_train_batch_end(16, {"loss": float("nan")})
