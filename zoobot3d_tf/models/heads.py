"""The outputs: concentrations of votes, masks, and a label."""

import keras
import numpy as np

from zoobot3d_tf.labels import Label
from zoobot3d_tf.models.config import ModelConfig

# Concentrations lie between 1 (the volunteers may say anything) and 101 (nearly sure), as in Zoobot.
LOWEST_CONCENTRATION = 1.0
CONCENTRATION_RANGE = 100.0
# Heads begin unsure: concentrations of about 6, and masks that few volunteers would draw. From sigmoid(0), the first
# epochs would go into unlearning a certainty that nothing supports.
FIRST_LOGIT = keras.initializers.Constant(-3.0)
# The layer of each head on the pooled features.
POOLED_HEADS = {"votes": "vote_head", "label": "label_head"}
# The activation of the label's dense layer, which is its name too.
_LABEL_ACTIVATIONS = {"binary": "sigmoid", "multiclass": "softmax", "regression": "linear"}


def build_vote_head(features: int, config: ModelConfig) -> keras.Model:
    """Vote head as one layer named `vote_head`: dropout, then one dense layer.

    Calling it alone with `training=True` draws one sample of the dropout without another pass of the encoder.

    Args:
        features: number of pooled features.
        config: gives the schema and the dropout rate.

    Returns:
        Model from pooled features (B, features) to concentrations (B, answers), `1 + 100 sigmoid(.)`.
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
    """Label head as one layer named `label_head`: dropout, then one dense layer, as the vote head.

    Args:
        features: number of pooled features.
        label: what it predicts.
        dropout: rate.

    Returns:
        Model from pooled features (B, features) to, by the kind of the label: the probability of "1" (B, 1), that of
        each class (B, classes), or the number in its own units (B, 1).
    """
    pooled = keras.Input((features,), name="features")
    x = keras.layers.Dropout(dropout, name="dropout")(pooled)
    activation = _LABEL_ACTIVATIONS[label.kind]
    x = keras.layers.Dense(len(label.outputs), activation=activation, dtype="float32", name=activation)(x)
    if label.kind == "regression":
        x = keras.layers.Rescaling(label.scale, offset=label.mean, dtype="float32", name="value")(x)
    return keras.Model(pooled, x, name=POOLED_HEADS["label"])


def restore_class_shares(model: keras.Model, label: Label) -> None:
    """Gives the label's probabilities the class shares of the training galaxies, which class weights took from them.

    A network that learned with all classes weighing alike gives probabilities for equally many of each. Multiplying
    each by how many there are, which for its logit is to add the logarithm, makes them true of the catalogue
    (Elkan 2001, The Foundations of Cost-Sensitive Learning, theorem 2).

    Args:
        model: as `build_model` makes it, with a label that has classes.
        label: with the `counts` that it was trained with.
    """
    dense = model.get_layer(POOLED_HEADS["label"]).get_layer(_LABEL_ACTIVATIONS[label.kind])
    kernel, bias = dense.get_weights()
    logarithms = np.log(label.counts)
    shift = logarithms[1:] - logarithms[:1] if label.kind == "binary" else logarithms - logarithms.mean()
    dense.set_weights([kernel, bias + shift])


def mask_head(pixels, name: str, kind: str):
    """Mask from decoder features (B, H, W, C).

    Returns:
        For kind "fraction": share of volunteers who enclose each pixel, (B, H, W, 1), 0..1.
        For "beta-binomial": concentrations of enclosing and of not enclosing, (B, H, W, 2), 1..101.
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


def mask_fraction(output):
    """Expected share of volunteers per pixel, (..., 1), from the output of either kind of mask head."""
    if output.shape[-1] == 1:
        return output
    return output[..., :1] / (output[..., :1] + output[..., 1:])


def _concentration_layer(name: str) -> keras.layers.Layer:
    return keras.layers.Rescaling(CONCENTRATION_RANGE, offset=LOWEST_CONCENTRATION, dtype="float32", name=name)
