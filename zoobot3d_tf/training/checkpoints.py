"""What a run must not lose: the best weights, where it stands, and its history, safe against a kill at any moment."""

import json
from pathlib import Path

import keras
import pandas as pd

from zoobot3d_tf.files import whole_file, write_atomically
from zoobot3d_tf.runs.run_folder import HISTORY_NAME


class Checkpoints(keras.callbacks.Callback):
    """Saves each epoch, keeps the best, stops early, and continues where a killed run stood.

    Keras has a callback for each of these, but none remembers, after a kill, how long the loss had not improved, and
    their files can be cut in half by one.

    The folder holds `best.weights.h5`, `epoch-N.weights.h5` (with the optimiser's state) and `state.json`, which names
    the latter and is written last; `history.csv` stands beside the folder.
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
        """Weights of the epoch with the lowest validation loss."""
        return self.folder / "best.weights.h5"

    @property
    def epochs_done(self) -> int:
        """Epochs behind this run, those before a kill included."""
        return len(self.history)

    @property
    def exhausted(self) -> bool:
        """Whether the validation loss has not improved for `patience` epochs."""
        losses = [epoch["val_loss"] for epoch in self.history]
        return bool(losses) and len(losses) - 1 - losses.index(min(losses)) >= self.patience

    def finished(self, epochs: int) -> bool:
        """Whether nothing is left to do of so many epochs."""
        return self.epochs_done >= epochs or self.exhausted

    def restore(self, model: keras.Model) -> None:
        """Loads the last epoch's weights and optimiser state into a compiled model, where there are any."""
        if self.history:
            model.load_weights(self._epoch_path(self.epochs_done))

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Saves, in an order that leaves a usable folder after a kill between any two lines."""
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
    """Ends a run whose loss is no number, before it is saved."""

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Remembers the epoch for the message."""
        self.epoch = epoch + 1

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Raises FloatingPointError when the running loss is NaN or infinite."""
        loss = float((logs or {}).get("loss", 0.0))
        if not abs(loss) < float("inf"):
            raise FloatingPointError(
                f"the loss became {loss} in epoch {self.epoch}, batch {batch + 1}: lower the learning rate or turn off "
                "mixed precision, then run the same command in another folder; finished epochs are kept in checkpoints/"
            )
