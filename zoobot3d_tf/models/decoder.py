"""U-Net decoder, from the feature maps of the encoder to features at full resolution."""

import keras

from zoobot3d_tf.models.encoder import MOMENTUM

# The usual 256..16 channels give no better masks, since outlines of volunteers are smooth, and train a third slower.
WIDTHS = {"P4": 128, "P3": 64, "P2": 32, "P1": 16}


def build_decoder(encoder: keras.Model) -> keras.Model:
    """Build the decoder as one layer named `decoder`.

    The last upsampling, from P1 to the size of the image, is bilinear: outlines drawn by hand have no detail of one
    pixel, and convolutions at full size would take most of the time.

    Args:
        encoder: encoder made by `build_encoder` or `build_timm_encoder`; only the shapes of its outputs are used.

    Returns:
        Model from the dict `P1`..`P5` to features (B, H, W, 16).

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
