"""Heads of the model: votes, masks and a label."""

from typing import Any

import keras
import numpy as np

from zoobot3d_tf.labels import Label
from zoobot3d_tf.models.config import POOLED_HEADS, ModelConfig

# Concentrations lie between 1 (any vote fraction is as probable) and 101 (nearly certain), as in Zoobot.
LOWEST_CONCENTRATION = 1.0
CONCENTRATION_RANGE = 100.0
# Heads begin uncertain: with concentrations of about 6, and masks that few volunteers would draw. With sigmoid(0) the
# model would begin with concentrations of 51, and need its first epochs to unlearn this certainty.
FIRST_LOGIT = keras.initializers.Constant(-3.0)
# Activation of the dense layer of a label, and name of that layer.
_LABEL_ACTIVATIONS = {"binary": "sigmoid", "multiclass": "softmax", "regression": "linear"}


def build_vote_head(features: int, config: ModelConfig) -> keras.Model:
    """Build the vote head, dropout and one dense layer, as one layer named `vote_head`.

    A call of this layer with `training=True` draws one sample of the dropout, without another pass of the encoder.

    Args:
        features: number of pooled features.
        config: configuration of the model, with the schema and the dropout rate.

    Returns:
        Model from pooled features (B, features) to concentrations (B, answers), 1 + 100 sigmoid(x).
    """
    pooled = keras.Input((features,), name="features")
    x = keras.layers.Dropout(config.dropout, name="dropout")(pooled)
    x = keras.layers.Dense(
        len(config.label_cols),
        activation="sigmoid",
        bias_initializer=FIRST_LOGIT,
        dtype="float32",
        name="sigmoid",
    )(x)
    return keras.Model(pooled, _concentration_layer("concentrations")(x), name=POOLED_HEADS["votes"])


def build_label_head(features: int, label: Label, dropout: float) -> keras.Model:
    """Build the head of a label, dropout and one dense layer, as one layer named `label_head`.

    Args:
        features: number of pooled features.
        label: label to predict.
        dropout: rate of the dropout.

    Returns:
        Model from pooled features (B, features) to the probability of "1" (B, 1) for a binary label, the probabilities
        of the classes (B, classes) for a multiclass label, or the number in its own units (B, 1) for regression.
    """
    pooled = keras.Input((features,), name="features")
    x = keras.layers.Dropout(dropout, name="dropout")(pooled)
    activation = _LABEL_ACTIVATIONS[label.kind]
    x = keras.layers.Dense(len(label.outputs), activation=activation, dtype="float32", name=activation)(x)
    if label.kind == "regression":
        x = keras.layers.Rescaling(label.scale, offset=label.mean, dtype="float32", name="value")(x)
    return keras.Model(pooled, x, name=POOLED_HEADS["label"])


def restore_class_shares(model: keras.Model, label: Label) -> None:
    """Undo the class weighting, so that probabilities match the class frequencies of the training set.

    With class weights, a network learns probabilities for equally frequent classes. They are corrected by adding the
    logarithm of the number of galaxies of each class to its logit (Elkan 2001, The Foundations of Cost-Sensitive
    Learning, theorem 2).

    Args:
        model: model made by `build_model`, with a label that has classes. It is changed in place.
        label: label with the `counts` that the model was trained with.
    """
    dense = model.get_layer(POOLED_HEADS["label"]).get_layer(_LABEL_ACTIVATIONS[label.kind])
    kernel, bias = dense.get_weights()
    logarithms = np.log(label.counts)
    shift = logarithms[1:] - logarithms[:1] if label.kind == "binary" else logarithms - logarithms.mean()
    dense.set_weights([kernel, bias + shift])


def mask_head(pixels: keras.KerasTensor, name: str, kind: str) -> keras.KerasTensor:
    """Apply the head of a mask.

    Args:
        pixels: features of the decoder (B, H, W, C).
        name: name of the mask.
        kind: kind of the head, one of `MASK_HEADS`.

    Returns:
        For the kind "fraction", the fraction of volunteers who enclose each pixel (B, H, W, 1), 0..1. For
        "beta-binomial", the concentrations of enclosing and of not enclosing it (B, H, W, 2), 1..101.
    """
    channels, layer_name = (1, name) if kind == "fraction" else (2, f"{name}_sigmoid")
    x = keras.layers.Conv2D(
        channels,
        3,
        padding="same",
        activation="sigmoid",
        bias_initializer=FIRST_LOGIT,
        dtype="float32",
        name=layer_name,
    )(pixels)
    return x if kind == "fraction" else _concentration_layer(name)(x)


def mask_fraction(output: Any) -> Any:
    """Expected fraction of volunteers who enclose each pixel.

    Args:
        output: output of a mask head of either kind (..., 1 or 2), an array or a tensor.

    Returns:
        Fraction (..., 1), of the type of `output`.
    """
    if output.shape[-1] == 1:
        return output
    return output[..., :1] / (output[..., :1] + output[..., 1:])


def _concentration_layer(name: str) -> keras.layers.Layer:
    return keras.layers.Rescaling(CONCENTRATION_RANGE, offset=LOWEST_CONCENTRATION, dtype="float32", name=name)
