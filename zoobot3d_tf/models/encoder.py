"""The EfficientNet encoder: an image in, one feature map for each halving of its size out."""

import keras

# Of the moving statistics in batch normalisation, as in PyTorch. Keras takes 0.99, with which a run of a few hundred
# steps would be judged by statistics of weights long gone.
MOMENTUM = 0.9


def build_encoder(name: str, image_size: int, channels: int) -> keras.Model:
    """EfficientNet as one layer named `encoder`, randomly initialised.

    Args:
        name: a class of `keras.applications`, such as `EfficientNetB0` or `EfficientNetV2B0`.
        image_size: height and width, pixels.
        channels: 1 (greyscale) or 3.

    Returns:
        Model from images (B, H, W, channels) in 0..255 to a dict: `P1`..`P5`, where Pn is 2**n times smaller and is
        read after the last block at that size, and `top`, the 1x1 convolution after P5 that the vote head pools.

    Tan & Le 2019 (arXiv 1905.11946), Tan & Le 2021 (arXiv 2104.00298).
    """
    image = keras.Input((image_size, image_size, channels))
    application = getattr(keras.applications, name)
    if name.startswith("EfficientNetV2"):  # its own preprocessing takes three channels only
        pixels = keras.layers.Rescaling(1 / 127.5, offset=-1.0)(image)
        backbone = application(include_top=False, weights=None, input_tensor=pixels, include_preprocessing=False)
    else:
        backbone = application(include_top=False, weights=None, input_tensor=image)
    for layer in backbone.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = MOMENTUM
    levels = {f"P{n}": _last_block_output(backbone, image_size // 2**n) for n in range(1, 6)}
    return keras.Model(image, {**levels, "top": backbone.output}, name="encoder")


def _last_block_output(backbone: keras.Model, size: int):
    """Output of the last block whose output has this size: blocks end in a residual `add`, or else in `project_bn`."""
    ends: dict[str, keras.layers.Layer] = {}
    for layer in backbone.layers:
        block, _, operation = layer.name.partition("_")
        # The first stage of V2 has blocks of a single convolution with its activation, named like expansions.
        if block.startswith("block") and operation in ("add", "project_bn", "project_activation"):
            ends[block] = layer
    return next(layer.output for layer in reversed(ends.values()) if layer.output.shape[1] == size)
