"""The trained network as predictions run it: one fast function from pixels to concentrations and masks."""

import hashlib
import threading
from collections.abc import Callable, Sequence
from contextlib import nullcontext

import keras
import numpy as np
import tensorflow as tf

# No public function makes a graph whose weights are constants, which saves a CPU about a tenth of the work.
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from zoobot3d_tf.models.heads import mask_fraction
from zoobot3d_tf.training.run_folder import TrainedRun

# More would not fit a CPU's cache: with 64 galaxies at 224 px each takes twice as long as with 4.
CPU_STEP = 4


class Network:
    """A trained model: images in, concentrations and mask fractions out. Threads may share it.

    The encoder (and the decoder, where masks are wanted) runs once a galaxy, the vote head once a sample. That head
    begins with its dropout, a factor for each feature, which is drawn here from the galaxy's id: predictions depend
    neither on the batch nor on the other galaxies. With one sample there is no dropout.

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
        on_gpu = bool(tf.config.list_physical_devices("GPU"))
        self.step = batch_size if on_gpu else min(batch_size, CPU_STEP)
        # One call at a time on a GPU, whose memory need not hold one a thread.
        self._turn = threading.Lock() if on_gpu else nullcontext()
        self._rate, self._seed = run.model.dropout, seed
        self._outputs = (*masks, *(["votes"] if "votes" in run.model.tasks else []))
        self._function, self._dropout_shape = _freeze(run.load_model(), self._outputs, self.step, n_samples)

    def __call__(self, images: np.ndarray, id_strs: Sequence[str]) -> dict[str, np.ndarray]:
        """Predicts one step of galaxies.

        Args:
            images: uint8 (step, H, W, 3), 0..255.
            id_strs: their ids; where there are fewer, the last images are padding.

        Returns:
            `votes`: concentrations, float32 (step, answers, samples), if the model has votes; and for each mask the
            share of volunteers, float32 (step, H, W).
        """
        factors = np.ones((self.step, *self._dropout_shape), np.float32)
        if self._dropout_shape[0] > 1:
            for i, id_str in enumerate(id_strs):
                factors[i] = dropout_factors(id_str, self._dropout_shape, self._rate, self._seed)
        with self._turn:
            outputs = self._function(tf.constant(images), tf.constant(factors))
        return {name: output.numpy() for name, output in zip(self._outputs, outputs, strict=True)}


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


def _freeze(model: keras.Model, outputs: Sequence[str], step: int, n_samples: int) -> tuple[Callable, tuple[int, int]]:
    """The function (images, dropout factors) -> outputs, weights constant; and the factors' (samples, features)."""
    layers = {name: model.output[name] for name in outputs}
    n_features = 0
    if "votes" in outputs:
        layers["votes"] = model.get_layer("features").output
        n_features = layers["votes"].shape[-1]
    trunk = keras.Model(model.input, layers)

    def votes(features, factors):
        samples = tf.reshape(features[:, None] * factors, (-1, n_features))
        concentrations = model.get_layer("vote_head")(samples, training=False)
        return tf.transpose(tf.reshape(concentrations, (step, n_samples, -1)), (0, 2, 1))

    def predict(images, factors):
        results = trunk(tf.cast(images, tf.float32), training=False)
        return [
            votes(results[name], factors) if name == "votes" else mask_fraction(results[name])[..., 0]
            for name in outputs
        ]

    images = tf.TensorSpec((step, *model.input.shape[1:]), tf.uint8)
    factors = tf.TensorSpec((step, n_samples, n_features), tf.float32)
    traced = tf.function(predict).get_concrete_function(images, factors)
    return convert_variables_to_constants_v2(traced), (n_samples, n_features)
