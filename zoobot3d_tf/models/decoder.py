"""U-Net decoder, from the feature maps of the encoder to features at full resolution."""

from collections.abc import Sequence

import keras

from zoobot3d_tf.models.encoder import MOMENTUM


def build_decoder(encoder: keras.Model, widths: Sequence[int]) -> keras.Model:
    """Build the decoder as one layer named `decoder`.

    The last upsampling, from P1 to the size of the image, is bilinear: outlines drawn by hand have no detail of one
    pixel, and convolutions at full size would take most of the time. If the encoder has no P1, as ConvNeXt, the last
    convolution has the upsampled features only.

    Args:
        encoder: encoder made by `build_encoder` or `build_timm_encoder`; only the shapes of its outputs are used.
        widths: number of channels at the levels P4, P3, P2 and P1.

    Returns:
        Model from the dict of the encoder's feature maps to features (B, H, W, last width).

    Ronneberger et al. 2015 (arXiv 1505.04597).
    """
    levels = {name: keras.Input(level.shape[1:], name=name) for name, level in encoder.output.items() if name != "top"}
    x = levels["P5"]
    for name, width in zip(("P4", "P3", "P2", "P1"), widths, strict=True):
        x = keras.layers.UpSampling2D(2, name=f"{name}_up")(x)
        if name in levels:
            x = keras.layers.Concatenate(name=f"{name}_concat")([x, levels[name]])
        x = keras.layers.Conv2D(width, 3, padding="same", use_bias=False, name=f"{name}_conv")(x)
        x = keras.layers.BatchNormalization(momentum=MOMENTUM, name=f"{name}_bn")(x)
        x = keras.layers.Activation("relu", name=f"{name}_activation")(x)
    x = keras.layers.UpSampling2D(2, interpolation="bilinear", name="P0_up")(x)
    return keras.Model(levels, x, name="decoder")
