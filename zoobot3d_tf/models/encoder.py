"""EfficientNet encoder of Keras, from an image to one feature map per halving of its size."""

import keras

MOMENTUM = 0.9
"""Momentum of the moving statistics of batch normalisation, as in PyTorch.

With the 0.99 of Keras, a run of a few hundred steps would be validated with statistics of its first weights.
"""


def build_encoder(name: str, image_size: int, channels: int) -> keras.Model:
    """Build an EfficientNet of Keras, with random weights, as one layer named `encoder`.

    Args:
        name: name of the class in `keras.applications`, such as `EfficientNetB0` or `EfficientNetV2B0`.
        image_size: height and width of the images, in pixels.
        channels: number of bands, 1 (greyscale) or 3.

    Returns:
        Model from images (B, H, W, channels) in 0..255 to a dict: `P1`..`P5`, where Pn is 2**n times smaller and the
        output of the last block of that size; and `top`, the 1x1 convolution after P5, which the vote head pools.

    Tan & Le 2019 (arXiv 1905.11946), Tan & Le 2021 (arXiv 2104.00298).
    """
    image = keras.Input((image_size, image_size, channels))
    application = getattr(keras.applications, name)
    if name.startswith("EfficientNetV2"):  # its own preprocessing needs three channels
        pixels = keras.layers.Rescaling(1 / 127.5, offset=-1.0)(image)
        backbone = application(include_top=False, weights=None, input_tensor=pixels, include_preprocessing=False)
    else:
        backbone = application(include_top=False, weights=None, input_tensor=image)
    for layer in backbone.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = MOMENTUM
    levels = {f"P{n}": _last_block_output(backbone, image_size // 2**n) for n in range(1, 6)}
    return keras.Model(image, {**levels, "top": backbone.output}, name="encoder")


def _last_block_output(backbone: keras.Model, size: int) -> keras.KerasTensor:
    """Find the output of the last block of this size. Blocks end in a residual `add`, or else in `project_bn`."""
    ends: dict[str, keras.layers.Layer] = {}
    for layer in backbone.layers:
        block, _, operation = layer.name.partition("_")
        # Blocks in the first stage of version 2 are a single convolution, and end in its activation.
        if block.startswith("block") and operation in ("add", "project_bn", "project_activation"):
            ends[block] = layer
    return next(layer.output for layer in reversed(ends.values()) if layer.output.shape[1] == size)
