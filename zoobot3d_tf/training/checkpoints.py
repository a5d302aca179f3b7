"""Checkpoints of a run: best weights, state and history, in files that survive a kill at any moment.

Keras has callbacks to save weights, to stop early and to go on after an interruption. After a kill they do not remember
for how many epochs the loss has not improved, and the kill can leave an incomplete file.
"""

import json
import logging
import math
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd

from zoobot3d_tf.files import write_atomically
from zoobot3d_tf.models.weights_file import load_weights, save_weights
from zoobot3d_tf.runs.run_folder import HISTORY_NAME

logger = logging.getLogger(__name__)


class Checkpoints(keras.callbacks.Callback):
    """Callback that saves each epoch, keeps the best weights, stops early, and restores an interrupted run.

    The folder holds `best.weights.h5`; the weights and the state of the optimiser after the last epoch,
    `epoch-N.weights.h5`, or within an epoch, `epoch-N-step-S.weights.h5`; and `state.json`, which says which of them
    counts, and is written last. `history.csv` is beside the folder.

    Args:
        folder: folder of the checkpoints. The history of a run that was interrupted is read from it.
        patience: number of epochs without a lower validation loss after which training stops.
        minutes: time between two checkpoints within an epoch.
        writes: whether this process writes files. Of several processes that train together, one does.

    Attributes:
        history: losses and metrics of the finished epochs.
        steps_done: number of steps of the next epoch that are done.
        sums: sums of the metrics over these steps, as lists, by name; see `training.metrics`.
    """

    def __init__(self, folder: Path, patience: int, minutes: float = math.inf, writes: bool = True) -> None:
        super().__init__()
        self.folder = folder
        self.patience = patience
        self.seconds = 60 * minutes
        self.writes = writes
        self.history: list[dict[str, float]] = []
        self.steps_done = 0
        self.sums: dict[str, Any] = {}
        self._saved_at = time.monotonic()
        if self._state_path.is_file():
            state = json.loads(self._state_path.read_text(encoding="utf-8"))
            self.history, self.steps_done = state["history"], state.get("steps_done", 0)
            self.sums = state.get("sums", {})
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

    @property
    def has_begun(self) -> bool:
        """Whether there are weights to go on from."""
        return bool(self.history or self.steps_done)

    def restore(self, model: keras.Model) -> None:
        """Load the weights and the optimiser state of the last checkpoint, if there is one, into a compiled model."""
        if self.has_begun:
            _load(model, self._current_path)

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
        self.history.append({"epoch": epoch + 1, **{name: float(value) for name, value in (logs or {}).items()}})
        self._warn_if_nan(self.history[-1])
        self.steps_done, self.sums = 0, {}
        if self.writes and best_epoch(self.history) is self.history[-1]:
            self._save(self.best_path)
        self._save_state()
        if self.writes:
            write_atomically(self._history_path, pd.DataFrame(self.history).to_csv(index=False))
        self.model.stop_training = self.exhausted

    def due(self) -> bool:
        """Whether a checkpoint within an epoch should be saved now."""
        return time.monotonic() - self._saved_at >= self.seconds

    def save_within_epoch(self, steps_done: int, sums: Mapping[str, Any]) -> None:
        """Save a checkpoint within an epoch.

        Args:
            steps_done: number of steps of the epoch that are done.
            sums: sums of the metrics over these steps.
        """
        self.steps_done = steps_done
        self.sums = {name: np.asarray(value).tolist() for name, value in sums.items()}
        self._save_state()

    def _save_state(self) -> None:
        """Save weights and state, and delete the weights of earlier checkpoints."""
        if self.writes:
            self._save(self._current_path)
            state = {"history": self.history, "steps_done": self.steps_done, "sums": self.sums}
            write_atomically(self._state_path, json.dumps(state, indent=1))
            # The partial file of a process that was killed too: its name may never be written again.
            for path in set(self.folder.glob("*epoch-*.weights.h5")) - {self._current_path}:
                path.unlink()
        self._saved_at = time.monotonic()

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

    @property
    def _current_path(self) -> Path:
        within = f"-step-{self.steps_done}" if self.steps_done else ""
        return self.folder / f"epoch-{self.epochs_done}{within}.weights.h5"

    def _save(self, path: Path) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
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
        self._check(logs, f", batch {batch + 1}")

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Raise a FloatingPointError if the loss of the epoch is NaN or infinite."""
        self._check(logs)

    def _check(self, logs: Mapping[str, float] | None, place: str = "") -> None:
        loss = float((logs or {}).get("loss", 0.0))
        if not math.isfinite(loss):
            raise FloatingPointError(
                f"the loss became {loss} in epoch {self.epoch}{place}: choose a lower learning_rate or no "
                "mixed_precision, and another run folder; finished epochs are kept in checkpoints/"
            )
