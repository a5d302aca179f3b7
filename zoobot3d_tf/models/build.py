"""Assembly of the model from encoder, decoder and heads."""

import keras
import numpy as np

from zoobot3d_tf.models.config import POOLED_HEADS, TIMM_ENCODERS, ModelConfig
from zoobot3d_tf.models.decoder import build_decoder
from zoobot3d_tf.models.encoder import build_encoder
from zoobot3d_tf.models.heads import build_label_head, build_vote_head, mask_head
from zoobot3d_tf.models.timm_encoder import build_timm_encoder


def build_model(config: ModelConfig) -> keras.Model:
    """Build a joint model of votes, masks and a label.

    All layers are standard Keras layers, so that a saved model opens without this package.

    Args:
        config: configuration of the model.

    Returns:
        Functional model from `image` (B, H, W, 3), 0..255 as read from the file, to a dict with one entry per task:
        `votes`, concentrations (B, answers); `spiral_mask` and `bar_mask`, fractions (B, H, W, 1) or, for a
        beta-binomial head, two concentrations (B, H, W, 2); `label`, probabilities or a number (B, columns of
        `Label.outputs`). Its parts are the layers `encoder`, `decoder`, `features` (pooled), `vote_head` and
        `label_head`.
    """
    image = keras.Input((config.image_size, config.image_size, 3), name="image")
    pixels = image if config.color else _greyscale(image)
    if config.encoder in TIMM_ENCODERS:
        encoder = build_timm_encoder(config.encoder, pixels.shape[-1], config.image_size)
        pixels = _normalised(pixels, config)
    else:
        encoder = build_encoder(config.encoder, config.image_size, pixels.shape[-1])
    levels = encoder(pixels)
    outputs = {}
    if not POOLED_HEADS.keys().isdisjoint(config.tasks):
        features = keras.layers.GlobalAveragePooling2D(dtype="float32", name="features")(levels["top"])
        if "votes" in config.tasks:
            outputs["votes"] = build_vote_head(features.shape[-1], config)(features)
        if config.label is not None:
            outputs["label"] = build_label_head(features.shape[-1], config.label, config.dropout)(features)
    if config.masks:
        decoder = build_decoder(encoder, config.decoder_widths)
        decoded = decoder({name: levels[name] for name in config.feature_maps})
        outputs |= {name: mask_head(decoded, name, config.mask_head) for name in config.masks}
    return keras.Model(image, outputs, name="zoobot3d")


def _greyscale(image: keras.KerasTensor) -> keras.KerasTensor:
    """Average the three bands, with a frozen convolution, which is a standard layer."""
    mean = keras.initializers.Constant(1 / 3)
    return keras.layers.Conv2D(1, 1, use_bias=False, kernel_initializer=mean, trainable=False, name="greyscale")(image)


def _normalised(pixels: keras.KerasTensor, config: ModelConfig) -> keras.KerasTensor:
    """Scale pixels to the range that the weights of the encoder expect."""
    mean, std = np.array(config.pixel_mean), np.array(config.pixel_std)
    if not config.color:  # as in timm
        mean, std = mean.mean(keepdims=True), std.mean(keepdims=True)
    scale, offset = 1 / (255 * std), -mean / std
    return keras.layers.Rescaling(scale.tolist(), offset.tolist(), name="normalised")(pixels)
