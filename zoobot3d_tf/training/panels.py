"""TensorBoard panels of validation galaxies with their true and predicted masks."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from zoobot3d_tf.images.masks import MASKS
from zoobot3d_tf.models.heads import mask_fraction

N_GALAXIES = 4
SEARCHED = 200  # validation galaxies among which galaxies with known masks are searched


class MaskPanels(keras.callbacks.Callback):
    """Callback that writes one panel per galaxy after each epoch: the image, and true and predicted masks beside it.

    Args:
        folder: folder of TensorBoard.
        validation: batches to validate on, of which the first galaxies with all masks are shown.
    """

    def __init__(self, folder: Path, validation: tf.data.Dataset) -> None:
        super().__init__()
        self.writer = tf.summary.create_file_writer(str(folder / "masks"))
        self.images, self.targets = _galaxies_with_masks(validation)

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Predict the masks and write the panels."""
        predicted = self.model(self.images, training=False)
        columns = [self.images / 255.0]
        for name in MASKS:
            if name in self.targets:
                columns += [
                    _grey(self.targets[name][..., :1]),
                    _grey(mask_fraction(tf.cast(predicted[name], tf.float32))),
                ]
        with self.writer.as_default():
            tf.summary.image("galaxy, true and predicted masks", np.concatenate(columns, axis=2), epoch, N_GALAXIES)


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
