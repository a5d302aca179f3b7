"""The U-Net decoder: the encoder's feature maps in, features at full resolution out."""

import keras

from zoobot3d_tf.models.encoder import MOMENTUM

# Narrower than the usual 256..16: as good on masks as smooth as volunteers' outlines, and a third faster to train.
WIDTHS = {"P4": 128, "P3": 64, "P2": 32, "P1": 16}


def build_decoder(encoder: keras.Model) -> keras.Model:
    """Decoder as one layer named `decoder`.

    Args:
        encoder: as made by `build_encoder`; only the shapes of its outputs are used.

    Returns:
        Model from the dict `P1`..`P5` to features (B, H, W, 16). The last doubling, from P1 to the size of the image,
        is bilinear: outlines drawn by hand hold no detail of one pixel, and convolutions at full size cost most.

    Ronneberger et al. 2015 (arXiv 1505.04597).
    """
    levels = {name: keras.Input(encoder.output[name].shape[1:], name=name) for name in ("P1", "P2", "P3", "P4", "P5")}
    x = levels["P5"]
    for name, width in WIDTHS.items():
        x = keras.layers.UpSampling2D(2, name=f"{name}_up")(x)
        x = keras.layers.Concatenate(name=f"{name}_concat")([x, levels[name]])
        x = keras.layers.Conv2D(width, 3, padding="same", use_bias=False, name=f"{name}_conv")(x)
        x = keras.layers.BatchNormalization(momentum=MOMENTUM, name=f"{name}_bn")(x)
        x = keras.layers.Activation("relu", name=f"{name}_activation")(x)
    x = keras.layers.UpSampling2D(2, interpolation="bilinear", name="P0_up")(x)
    return keras.Model(levels, x, name="decoder")
