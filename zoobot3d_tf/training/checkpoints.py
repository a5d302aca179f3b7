"""Checkpoints of a run: best weights, state and history, in files that survive a kill at any moment."""

import json
from collections.abc import Mapping
from pathlib import Path

import keras
import pandas as pd

from zoobot3d_tf.files import whole_file, write_atomically
from zoobot3d_tf.runs.run_folder import HISTORY_NAME


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
        losses = [epoch["val_loss"] for epoch in self.history]
        return bool(losses) and len(losses) - 1 - losses.index(min(losses)) >= self.patience

    def finished(self, epochs: int) -> bool:
        """Whether training ends here, if `epochs` is the largest number of epochs."""
        return self.epochs_done >= epochs or self.exhausted

    def restore(self, model: keras.Model) -> None:
        """Load the weights and the optimiser state of the last epoch, if there is one, into a compiled model."""
        if self.history:
            model.load_weights(self._epoch_path(self.epochs_done))

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Save the epoch."""
        # The order of the lines leaves a usable folder after a kill between any two of them.
        self.folder.mkdir(parents=True, exist_ok=True)
        best_before = min((past["val_loss"] for past in self.history), default=float("inf"))
        self.history.append({"epoch": epoch + 1, **{name: float(value) for name, value in (logs or {}).items()}})
        if self.history[-1]["val_loss"] < best_before:
            self._save(self.best_path)
        self._save(self._epoch_path(self.epochs_done))
        write_atomically(self._state_path, json.dumps({"history": self.history}, indent=1))
        self._epoch_path(self.epochs_done - 1).unlink(missing_ok=True)
        write_atomically(self.folder.parent / HISTORY_NAME, pd.DataFrame(self.history).to_csv(index=False))
        self.model.stop_training = self.exhausted

    @property
    def _state_path(self) -> Path:
        return self.folder / "state.json"

    def _epoch_path(self, number: int) -> Path:
        return self.folder / f"epoch-{number}.weights.h5"

    def _save(self, path: Path) -> None:
        with whole_file(path) as partial:
            self.model.save_weights(partial)


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
