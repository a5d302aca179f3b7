"""The whole model, joined in one visible place."""

import keras

from zoobot3d_tf.models.config import ModelConfig
from zoobot3d_tf.models.decoder import build_decoder
from zoobot3d_tf.models.encoder import build_encoder
from zoobot3d_tf.models.heads import build_vote_head, mask_head


def build_model(config: ModelConfig) -> keras.Model:
    """Joint model of votes and masks, of standard Keras layers only: its file opens in plain Keras.

    Returns:
        Functional model from `image` (B, H, W, 3), 0..255 as read from the file, to a dict with one entry a task:
        `votes`, concentrations (B, answers); `spiral_mask` and `bar_mask`, (B, H, W, 1) for fractions or (B, H, W, 2)
        for a beta-binomial head. Layers to hold it by: `encoder`, `decoder`, `features` (pooled), `vote_head`.
    """
    image = keras.Input((config.image_size, config.image_size, 3), name="image")
    encoder = build_encoder(config.encoder, config.image_size, channels=3 if config.color else 1)
    levels = encoder(image if config.color else _greyscale(image))
    outputs = {}
    if "votes" in config.tasks:
        features = keras.layers.GlobalAveragePooling2D(dtype="float32", name="features")(levels["top"])
        head = build_vote_head(features.shape[-1], config)
        outputs["votes"] = head(features)
    if config.masks:
        pixels = build_decoder(encoder)({name: levels[name] for name in ("P1", "P2", "P3", "P4", "P5")})
        outputs |= {name: mask_head(pixels, name, config.mask_head) for name in config.masks}
    return keras.Model(image, outputs, name="zoobot3d")


def _greyscale(image):
    """Mean of the three bands as a frozen convolution, so that the saved model needs no code of ours."""
    mean = keras.initializers.Constant(1 / 3)
    return keras.layers.Conv2D(1, 1, use_bias=False, kernel_initializer=mean, trainable=False, name="greyscale")(image)
