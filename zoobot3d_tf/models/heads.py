"""The outputs: concentrations of votes, and masks."""

import keras

from zoobot3d_tf.models.config import ModelConfig

# Concentrations lie between 1 (the volunteers may say anything) and 101 (nearly sure), as in Zoobot.
LOWEST_CONCENTRATION = 1.0
CONCENTRATION_RANGE = 100.0
# Heads begin unsure: concentrations of about 6, and masks that few volunteers would draw. From sigmoid(0), the first
# epochs would go into unlearning a certainty that nothing supports.
FIRST_LOGIT = keras.initializers.Constant(-3.0)


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
        len(config.schema.label_cols),
        activation="sigmoid",
        bias_initializer=FIRST_LOGIT,
        dtype="float32",
        name="sigmoid",
    )(x)
    return keras.Model(pooled, _concentration_layer("concentrations")(x), name="vote_head")


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
