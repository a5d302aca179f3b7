"""Progress of training: a bar during each epoch, and after it one line that tells the remaining time."""

import time
from collections.abc import Mapping

import keras

from zoobot3d_tf.progress import Progress, duration, write_line

# Keras omits the name of the task if there is only one task.
SHOWN = {
    "loss": "loss",
    "val_loss": "validation",
    "val_votes_fraction_mae": "fraction error",
    "val_fraction_mae": "fraction error",
    "val_spiral_mask_iou": "spiral IoU",
    "val_bar_mask_iou": "bar IoU",
    "val_iou": "IoU",
    "val_label_accuracy": "accuracy",
    "val_accuracy": "accuracy",
    "val_label_auc": "AUC",
    "val_auc": "AUC",
    "val_label_mae": "label error",
    "spread": "spread",
    "rank": "rank",
}


class EpochLines(keras.callbacks.Callback):
    """Callback that replaces the progress bar of Keras, which would show dozens of metrics.

    The line after an epoch shows the most important metrics; `history.csv` holds all.
    """

    def on_train_begin(self, logs: Mapping[str, float] | None = None) -> None:
        """Start the clock, with no epoch finished since."""
        self.started = time.monotonic()
        self.n_timed = 0
        self.is_first_batch = True
        write_line("The first batch takes up to a few minutes, since TensorFlow compiles the model.")

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Start the bar."""
        self.bar = Progress(total=self.params["steps"], desc=self._name(epoch), unit="batch", leave=False)

    def on_train_batch_end(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        """Move the bar, and say how long the first batch took."""
        if self.is_first_batch:
            self.is_first_batch = False
            write_line(f"The first batch took {duration(time.monotonic() - self.started)}.")
        self.bar.update()
        self.bar.set_postfix(loss=f"{(logs or {}).get('loss', float('nan')):.3f}", refresh=False)

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Close the bar, and print losses and metrics of the epoch, its duration, and the time of those to come."""
        self.bar.close()
        logs = logs or {}
        figures = [f"{label} {logs[name]:.3f}" for name, label in SHOWN.items() if name in logs]
        self.n_timed += 1
        per_epoch = (time.monotonic() - self.started) / self.n_timed
        n_left = 0 if self.model.stop_training else self.params["epochs"] - epoch - 1
        times = [f"{duration(per_epoch)} per epoch"]
        if n_left:
            times.append(f"at most {duration(n_left * per_epoch)} remaining")
        write_line(f"{self._name(epoch)}: {' | '.join(figures + times)}")

    def _name(self, epoch: int) -> str:
        return f"epoch {epoch + 1}/{self.params['epochs']}"
