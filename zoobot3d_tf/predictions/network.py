"""The trained network as one fast function from images to concentrations, masks and labels."""

import hashlib
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from zoobot3d_tf.inference.engine import compile_function, step_size
from zoobot3d_tf.models.heads import POOLED_HEADS, mask_fraction
from zoobot3d_tf.runs.run_folder import TrainedRun


class Network:
    """A trained model for predictions. Several threads may call it at once.

    The encoder runs once per galaxy, and so does the decoder if masks are requested. The heads of votes and label run
    once per dropout sample. Dropout multiplies each feature by a factor, which is drawn here from the id of the galaxy,
    so that predictions depend neither on the batch nor on the other galaxies. With one sample there is no dropout.

    Attributes:
        step: number of galaxies per call.
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
        """Load the weights and compile the network.

        Args:
            run: run folder.
            masks: names of the masks to predict. Without masks, the decoder does not run.
            n_samples: number of dropout samples.
            batch_size: largest number of galaxies per call. A CPU takes fewer.
            seed: random seed of the dropout.
            engine: engine that runs the network, "tf" or "openvino".
            precision: precision of the engine, "f32", or "bf16" with OpenVINO.

        Raises:
            ValueError: the weights do not exist or do not fit the configuration of the run.
        """
        self.step = step_size(engine, batch_size)
        self._rate, self._seed = run.model.dropout, seed
        self._outputs = (*masks, *(name for name in POOLED_HEADS if name in run.model.tasks))
        traced, self._dropout_shape = _trace(run.load_model(), self._outputs, self.step, n_samples)
        self._function = compile_function(traced, engine, precision)

    def __call__(self, images: np.ndarray, id_strs: Sequence[str]) -> dict[str, np.ndarray]:
        """Predict one step of galaxies.

        Args:
            images: images, uint8 (step, H, W, 3), 0 to 255.
            id_strs: ids of the galaxies. If there are fewer than `step`, the last images are padding.

        Returns:
            `votes`: concentrations, float32 (step, answers, samples), if the model predicts votes; `label`: float32
            (step, columns of `Label.outputs`, samples), if it predicts a label; and for each mask the fractions of
            volunteers, float32 (step, H, W).
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
    """Draw the factors by which dropout multiplies the features of one galaxy: 0, or 1 / (1 - rate) if it is kept.

    Args:
        id_str: id of the galaxy. The same id and seed always give the same factors.
        shape: number of samples and of features. More samples do not change the first ones.
        rate: share of the features that are dropped.
        seed: random seed.

    Returns:
        Factors, float32 (samples, features).
    """
    key = int.from_bytes(hashlib.sha256(id_str.encode()).digest()[:8], "big")
    kept = np.random.default_rng([seed, key]).random(shape, np.float32) >= rate
    return kept.astype(np.float32) / np.float32(1 - rate)


def _trace(model: keras.Model, outputs: Sequence[str], step: int, n_samples: int) -> tuple[Any, tuple[int, int] | None]:
    """Trace the function (images, dropout factors) -> outputs.

    Returns:
        The concrete function, and the shape of the dropout factors, (samples, features). If only masks are predicted
        there are no factors, and the shape is None.
    """
    layers = {name: model.output[name] for name in outputs if name not in POOLED_HEADS}
    is_pooled = len(layers) < len(outputs)
    if is_pooled:
        layers["features"] = model.get_layer("features").output
    trunk = keras.Model(model.input, layers)

    def samples_of(head: keras.Model, features: tf.Tensor, factors: tf.Tensor) -> tf.Tensor:
        samples = tf.reshape(features[:, None] * factors, (-1, features.shape[-1]))
        return tf.transpose(tf.reshape(head(samples, training=False), (step, n_samples, -1)), (0, 2, 1))

    def predict(images: tf.Tensor, *factors: tf.Tensor) -> list[tf.Tensor]:
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
