"""Functions of a trained model as TensorFlow graphs, which the engines of `inference` run."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from zoobot3d_tf.models.config import POOLED_HEADS
from zoobot3d_tf.models.heads import mask_fraction


def trace_predictions(model: keras.Model, outputs: Sequence[str], step: int, n_samples: int) -> Any:
    """Trace the function from images and dropout factors to predictions.

    The encoder and the decoder run once per galaxy, the heads of votes and label once per sample.

    Args:
        model: model made by `build_model`.
        outputs: outputs to compute, in this order. Without masks, the decoder does not run.
        step: number of galaxies per call.
        n_samples: number of dropout samples.

    Returns:
        Concrete function of images, uint8 (step, H, W, 3), and, unless only masks are computed, of the factors by which
        dropout multiplies the pooled features, float32 (step, n_samples, features). It returns a list: for votes and
        label float32 (step, columns, n_samples), for a mask the fraction of volunteers, float32 (step, H, W).
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

    inputs = [_pixels(model, step)]
    if is_pooled:
        inputs.append(tf.TensorSpec((step, n_samples, layers["features"].shape[-1]), tf.float32))
    return tf.function(predict, autograph=False).get_concrete_function(*inputs)


def trace_features(model: keras.Model, level: str, step: int) -> Any:
    """Trace the function from images to features, the mean of a layer of the encoder over its pixels.

    Args:
        model: model made by `build_model`.
        level: layer of the encoder, "top" or "P1" to "P5".
        step: number of galaxies per call.

    Returns:
        Concrete function of images, uint8 (step, H, W, 3). It returns a list of one array, float32 (step, features).
    """

    def features(images: tf.Tensor) -> list[tf.Tensor]:
        outputs = tf.cast(images, tf.float32)
        # The layers before the encoder, such as the mean of the bands, follow each other.
        for layer in model.layers[1:]:
            outputs = layer(outputs, training=False)
            if layer.name == "encoder":
                break
        return [tf.reduce_mean(tf.cast(outputs[level], tf.float32), axis=(1, 2))]

    return tf.function(features, autograph=False).get_concrete_function(_pixels(model, step))


def _pixels(model: keras.Model, step: int) -> tf.TensorSpec:
    return tf.TensorSpec((step, *model.input.shape[1:]), tf.uint8)
