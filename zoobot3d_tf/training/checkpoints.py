"""Checkpoints of a run: best weights, state and history, in files that survive a kill at any moment."""

import json
import logging
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import keras
import pandas as pd

from zoobot3d_tf.files import write_atomically
from zoobot3d_tf.models.weights_file import load_weights, save_weights
from zoobot3d_tf.runs.run_folder import HISTORY_NAME

logger = logging.getLogger(__name__)


class Checkpoints(keras.callbacks.Callback):
    """Callback that saves each epoch, keeps the best weights, stops early, and restores an interrupted run.

    Keras has a callback for each of these purposes. After a kill they do not remember for how many epochs the loss has
    not improved, and the kill can leave an incomplete file.

    The folder holds `best.weights.h5`, `epoch-N.weights.h5` (with the state of the optimiser) and `state.json`, which
    gives N and is written last. `history.csv` is beside the folder.

    Args:
        folder: folder of the checkpoints. The history of a run that was interrupted is read from it.
        patience: number of epochs without a lower validation loss after which training stops.
    """

    def __init__(self, folder: Path, patience: int) -> None:
        super().__init__()
        self.folder = folder
        self.patience = patience
        self.history: list[dict[str, float]] = []
        if self._state_path.is_file():
            self.history = json.loads(self._state_path.read_text(encoding="utf-8"))["history"]
        elif self._history_path.is_file():  # somebody has deleted the checkpoints
            rows = pd.read_csv(self._history_path).to_dict("records")
            self.history = [{str(name): float(value) for name, value in row.items()} for row in rows]

    @property
    def best_path(self) -> Path:
        """Path of the weights of the epoch with the lowest validation loss, the first of them if several are equal."""
        return self.folder / "best.weights.h5"

    @property
    def epochs_done(self) -> int:
        """Number of finished epochs, including the epochs before an interruption."""
        return len(self.history)

    @property
    def exhausted(self) -> bool:
        """Whether the validation loss has not improved for `patience` epochs."""
        best = best_epoch(self.history)
        return self.epochs_done - (best["epoch"] if best else 0) >= self.patience

    def finished(self, epochs: int) -> bool:
        """Whether training ends here, if `epochs` is the largest number of epochs."""
        return self.epochs_done >= epochs or self.exhausted

    def restore(self, model: keras.Model) -> None:
        """Load the weights and the optimiser state of the last epoch, if there is one, into a compiled model."""
        if self.history:
            _load(model, self._epoch_path(self.epochs_done))

    def restore_best(self, model: keras.Model) -> None:
        """Load the weights of the best epoch into a model.

        Raises:
            FloatingPointError: the validation loss of no epoch is a finite number.
            FileNotFoundError: the file of the weights is missing.
            ValueError: the file of the weights is damaged.
        """
        if best_epoch(self.history) is None:
            raise FloatingPointError(
                f"the validation loss was NaN or infinite in all {self.epochs_done} epochs, so none is the best: check "
                f"the validation galaxies, or choose a lower learning_rate; the losses are in {self._history_path}"
            )
        _load(model, self.best_path)

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Save the epoch."""
        # The order of the lines leaves a usable folder after a kill between any two of them.
        self.folder.mkdir(parents=True, exist_ok=True)
        self.history.append({"epoch": epoch + 1, **{name: float(value) for name, value in (logs or {}).items()}})
        self._warn_if_nan(self.history[-1])
        if best_epoch(self.history) is self.history[-1]:
            self._save(self.best_path)
        self._save(self._epoch_path(self.epochs_done))
        write_atomically(self._state_path, json.dumps({"history": self.history}, indent=1))
        self._epoch_path(self.epochs_done - 1).unlink(missing_ok=True)
        write_atomically(self._history_path, pd.DataFrame(self.history).to_csv(index=False))
        self.model.stop_training = self.exhausted

    def _warn_if_nan(self, epoch: Mapping[str, float]) -> None:
        """Say which validation loss is NaN or infinite. Such an epoch cannot be the best."""
        if not math.isfinite(epoch.get("val_loss", 0.0)):
            names = [name for name, value in epoch.items() if re.fullmatch("val_.+_loss", name)]
            tasks = [name[len("val_") : -len("_loss")] for name in names if not math.isfinite(epoch[name])]
            of = f" of {', '.join(tasks)}" if tasks else ""
            logger.warning("Epoch %d: the validation loss%s is %s.", epoch["epoch"], of, epoch["val_loss"])

    @property
    def _history_path(self) -> Path:
        return self.folder.parent / HISTORY_NAME

    @property
    def _state_path(self) -> Path:
        return self.folder / "state.json"

    def _epoch_path(self, number: int) -> Path:
        return self.folder / f"epoch-{number}.weights.h5"

    def _save(self, path: Path) -> None:
        save_weights(self.model, path)


def best_epoch(history: Sequence[Mapping[str, float]]) -> Mapping[str, float] | None:
    """Find the epoch with the lowest validation loss.

    Args:
        history: losses of each epoch, with `epoch` and `val_loss`.

    Returns:
        The losses of the epoch, the first of them if several are equal; None if no loss is a finite number, or if there
        is no validation.
    """
    finite = [epoch for epoch in history if math.isfinite(epoch.get("val_loss", math.nan))]
    return min(finite, key=lambda epoch: epoch["val_loss"], default=None)


def _load(model: keras.Model, path: Path) -> None:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file, but the run needs it to continue; train in another run folder")
    load_weights(model, path)


class StopOnNaN(keras.callbacks.Callback):
    """Callback that stops a run with an error, before the epoch is saved, if the loss becomes NaN or infinite."""

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Keep the number of the epoch for the message."""
        self.epoch = epoch + 1

    def on_train_batch_end(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        """Raise a FloatingPointError if the running loss is NaN or infinite."""
        loss = float((logs or {}).get("loss", 0.0))
        if not abs(loss) < float("inf"):
            raise FloatingPointError(
                f"the loss became {loss} in epoch {self.epoch}, batch {batch + 1}: choose a lower learning_rate or no "
                "mixed_precision, and another run folder; finished epochs are kept in checkpoints/"
            )
