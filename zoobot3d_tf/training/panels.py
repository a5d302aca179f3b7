"""Panels of validation galaxies with their true and predicted masks, for TensorBoard and Weights & Biases."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from zoobot3d_tf.images.masks import MASKS
from zoobot3d_tf.models.heads import mask_fraction

N_GALAXIES = 4
SEARCHED = 200  # validation galaxies among which galaxies with known masks are searched
TITLE = "galaxy, true and predicted masks"

Show = Callable[[np.ndarray, int], None]
"""Function that shows panels, shape (galaxies, height, width, 3) in 0..1, of an epoch, counted from 0."""


class MaskPanels(keras.callbacks.Callback):
    """Callback that makes one panel per galaxy after each epoch: the image, and true and predicted masks beside it.

    Args:
        validation: batches to validate on, of which the first galaxies with all masks are shown.
        shows: functions that show the panels.
    """

    def __init__(self, validation: tf.data.Dataset, shows: Sequence[Show]) -> None:
        super().__init__()
        self.shows = shows
        self.images, self.targets = _galaxies_with_masks(validation)

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Predict the masks and show the panels."""
        predicted = self.model(self.images, training=False)
        columns = [self.images / 255.0]
        for name in MASKS:
            if name in self.targets:
                columns += [
                    _grey(self.targets[name][..., :1]),
                    _grey(mask_fraction(tf.cast(predicted[name], tf.float32))),
                ]
        panels = np.concatenate(columns, axis=2)
        for show in self.shows:
            show(panels, epoch)


def to_tensorboard(folder: Path) -> Show:
    """Make the function that writes panels to a folder of TensorBoard."""
    writer = tf.summary.create_file_writer(str(folder / "masks"))

    def show(panels: np.ndarray, epoch: int) -> None:
        with writer.as_default():
            tf.summary.image(TITLE, panels, epoch, N_GALAXIES)

    return show


def to_wandb(panels: np.ndarray, epoch: int) -> None:
    """Show panels in the run of Weights & Biases that is open, with the losses of the same epoch, which follow."""
    import wandb

    wandb.log({TITLE: [wandb.Image((255 * panel).astype(np.uint8)) for panel in panels]}, commit=False)


def _galaxies_with_masks(validation: tf.data.Dataset) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Images and targets of `N_GALAXIES` validation galaxies, of galaxies with all masks if there are enough."""
    galaxies = validation.unbatch().take(SEARCHED)

    def all_known(image: Any, targets: Any, weights: Any) -> Any:
        return tf.reduce_min([weights[name] for name in MASKS if name in weights]) > 0

    chosen = galaxies.filter(all_known).concatenate(galaxies).batch(N_GALAXIES)
    images, targets, _ = next(chosen.as_numpy_iterator())
    return images, targets


def _grey(fraction: Any) -> np.ndarray:
    return np.repeat(np.asarray(fraction), 3, axis=-1)
