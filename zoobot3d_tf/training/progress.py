"""Progress on the terminal: a bar during each epoch, and one line after it."""

import time
from collections.abc import Mapping

import keras
from tqdm import tqdm

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

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Start the bar."""
        self.started = time.monotonic()
        label = f"epoch {epoch + 1}/{self.params['epochs']}"
        self.bar = tqdm(total=self.params["steps"], desc=label, unit="batch", leave=False, disable=None)

    def on_train_batch_end(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        """Move the bar."""
        self.bar.update()
        self.bar.set_postfix(loss=f"{(logs or {}).get('loss', float('nan')):.3f}")

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Close the bar, and print losses, metrics and duration of the epoch."""
        self.bar.close()
        logs = logs or {}
        figures = " | ".join(f"{label} {logs[name]:.3f}" for name, label in SHOWN.items() if name in logs)
        tqdm.write(f"epoch {epoch + 1}/{self.params['epochs']}: {figures} | {time.monotonic() - self.started:.0f} s")
