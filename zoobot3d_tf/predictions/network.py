"""The trained network as predictions run it: one fast function from pixels to concentrations, masks and labels."""

import hashlib
from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf

# No public function makes a graph whose weights are constants, which saves a CPU about a tenth of the work.
from zoobot3d_tf.inference.engine import compile_function, step_size
from zoobot3d_tf.models.heads import POOLED_HEADS, mask_fraction
from zoobot3d_tf.runs.run_folder import TrainedRun


class Network:
    """A trained model: images in, concentrations, mask fractions and labels out. Threads may share it.

    The encoder (and the decoder, where masks are wanted) runs once a galaxy, the heads of votes and of the label once a
    sample. These begin with their dropout, a factor for each feature, which is drawn here from the galaxy's id:
    predictions depend neither on the batch nor on the other galaxies. With one sample there is no dropout.

    Attributes:
        step: galaxies a call.
    """

    def __init__(
        self,
        run: TrainedRun,
        masks: Sequence[str],
        n_samples: int,
        batch_size: int,
        seed: int,
        engine: str,
        precision: str,
    ) -> None:
        """Loads the weights.

        Args:
            run: the run folder.
            masks: which masks to predict; without any, the decoder does not run.
            n_samples: samples of the dropout.
            batch_size: galaxies a call at most; a CPU takes fewer.
            seed: of the dropout.
            engine: "tf" or "openvino".
            precision: "f32", or "bf16" with OpenVINO.
        """
        self.step = step_size(engine, batch_size)
        self._rate, self._seed = run.model.dropout, seed
        self._outputs = (*masks, *(name for name in POOLED_HEADS if name in run.model.tasks))
        traced, self._dropout_shape = _trace(run.load_model(), self._outputs, self.step, n_samples)
        self._function = compile_function(traced, engine, precision)

    def __call__(self, images: np.ndarray, id_strs: Sequence[str]) -> dict[str, np.ndarray]:
        """Predicts one step of galaxies.

        Args:
            images: uint8 (step, H, W, 3), 0..255.
            id_strs: their ids; where there are fewer, the last images are padding.

        Returns:
            `votes`: concentrations, float32 (step, answers, samples), if the model has votes; `label`, likewise, (step,
            columns of `Label.outputs`, samples); and for each mask the share of volunteers, float32 (step, H, W).
        """
        inputs = [images]
        if self._dropout_shape is not None:
            factors = np.ones((self.step, *self._dropout_shape), np.float32)
            if self._dropout_shape[0] > 1:
                for i, id_str in enumerate(id_strs):
                    factors[i] = dropout_factors(id_str, self._dropout_shape, self._rate, self._seed)
            inputs.append(factors)
        return dict(zip(self._outputs, self._function(*inputs), strict=True))


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


def _trace(
    model: keras.Model, outputs: Sequence[str], step: int, n_samples: int
) -> tuple[Callable, tuple[int, int] | None]:
    """The graph (images, dropout factors) -> outputs, and the factors' (samples, features); only masks, no factors."""
    layers = {name: model.output[name] for name in outputs if name not in POOLED_HEADS}
    is_pooled = len(layers) < len(outputs)
    if is_pooled:
        layers["features"] = model.get_layer("features").output
    trunk = keras.Model(model.input, layers)

    def samples_of(head, features, factors):
        samples = tf.reshape(features[:, None] * factors, (-1, features.shape[-1]))
        return tf.transpose(tf.reshape(head(samples, training=False), (step, n_samples, -1)), (0, 2, 1))

    def predict(images, *factors):
        results = trunk(tf.cast(images, tf.float32), training=False)
        return [
            samples_of(model.get_layer(POOLED_HEADS[name]), results["features"], *factors)
            if name in POOLED_HEADS
            else mask_fraction(results[name])[..., 0]
            for name in outputs
        ]

    inputs = [tf.TensorSpec((step, *model.input.shape[1:]), tf.uint8)]
    dropout_shape = None
    if is_pooled:
        dropout_shape = (n_samples, layers["features"].shape[-1])
        inputs.append(tf.TensorSpec((step, *dropout_shape), tf.float32))
    return tf.function(predict, autograph=False).get_concrete_function(*inputs), dropout_shape
