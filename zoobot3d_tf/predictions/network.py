"""The trained network as predictions run it: one fast function from pixels to concentrations and masks."""

import hashlib
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

# The only road to a graph whose batch normalisations are folded into the convolutions: a quarter faster on a CPU.
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from zoobot3d_tf.models.heads import mask_fraction
from zoobot3d_tf.training.training_config import TrainedRun

# More would not fit a CPU's cache: with 64 galaxies at 224 px each takes twice as long as with 4.
CPU_STEP = 4


class Network:
    """A trained model: images in, concentrations and mask fractions out. Threads may share it.

    The encoder (and the decoder, where masks are wanted) runs once a galaxy, the vote head once a sample. Dropout is
    an elementwise factor before that head, so it is drawn here, from the id of each galaxy: its predictions depend on
    neither its batch nor the other galaxies. With one sample there is no dropout.

    Attributes:
        step: galaxies a call.
    """

    def __init__(self, run: TrainedRun, masks: Sequence[str], n_samples: int, batch_size: int, seed: int) -> None:
        """Loads the weights.

        Args:
            run: the run folder.
            masks: which masks to predict; without any, the decoder does not run.
            n_samples: samples of the dropout.
            batch_size: galaxies a call at most; a CPU takes fewer.
            seed: of the dropout.
        """
        self.step = batch_size if tf.config.list_physical_devices("GPU") else min(batch_size, CPU_STEP)
        self._rate, self._seed, self._masks = run.model.dropout, seed, tuple(masks)
        self._freeze(run.load_model(), n_samples)

    def __call__(self, images: np.ndarray, id_strs: Sequence[str]) -> dict[str, np.ndarray]:
        """Predicts for one step of galaxies.

        Args:
            images: uint8 (step, H, W, 3).
            id_strs: their ids; may be fewer than the images, the rest are padding.

        Returns:
            `votes`: concentrations, float32 (step, answers, samples), if the model has votes; for each mask wanted,
            the fraction of volunteers, float32 (step, H, W).
        """
        dropout = np.ones((self.step, *self._dropout_shape), np.float32)
        if self._dropout_shape[0] > 1:
            for i, id_str in enumerate(id_strs):
                dropout[i] = dropout_factors(id_str, self._dropout_shape, self._rate, self._seed)
        outputs = self._function(tf.constant(images), tf.constant(dropout))
        return {name: output.numpy() for name, output in zip(self._names, outputs, strict=True)}

    def _freeze(self, model: keras.Model, n_samples: int) -> None:
        has_votes = "votes" in model.output
        head = model.get_layer("vote_head") if has_votes else None
        n_features = head.input.shape[-1] if has_votes else 0
        wanted = {name: model.output[name] for name in self._masks}
        if has_votes:
            wanted["features"] = model.get_layer("features").output
        trunk = keras.Model(model.input, wanted)
        self._dropout_shape = (n_samples, n_features)
        self._names = (*self._masks, *(["votes"] if has_votes else []))

        def predict(images, dropout):
            outputs = trunk(tf.cast(images, tf.float32), training=False)
            results = [mask_fraction(outputs[name])[..., 0] for name in self._masks]
            if has_votes:
                samples = tf.reshape(outputs["features"][:, None] * dropout, (-1, n_features))
                concentrations = tf.reshape(head(samples, training=False), (self.step, n_samples, -1))
                results.append(tf.transpose(concentrations, (0, 2, 1)))
            return results

        images = tf.TensorSpec((self.step, *model.input.shape[1:]), tf.uint8)
        dropout = tf.TensorSpec((self.step, *self._dropout_shape), tf.float32)
        traced = tf.function(predict).get_concrete_function(images, dropout)
        self._function = convert_variables_to_constants_v2(traced)


def dropout_factors(id_str: str, shape: tuple[int, int], rate: float, seed: int) -> np.ndarray:
    """What dropout multiplies the pooled features of one galaxy by: 0, or 1 / (1 - rate) where they are kept.

    Args:
        id_str: the galaxy; the same one always draws the same.
        shape: (samples, features); more samples leave the first ones as they are.
        rate: share of features dropped.
        seed: another one draws anew.

    Returns:
        float32 (samples, features).
    """
    key = int.from_bytes(hashlib.sha256(id_str.encode()).digest()[:8], "big")
    kept = np.random.default_rng([seed, key]).random(shape, np.float32) >= rate
    return kept.astype(np.float32) / np.float32(1 - rate)
