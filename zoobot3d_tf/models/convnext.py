"""ConvNeXt of timm, in standard Keras layers, so that weights of Zoobot and timm fit tensor by tensor.

Layers have the names of timm's tensors: `stages.1.blocks.0.conv_dw` is the depthwise convolution of the first block of
the second stage.
"""

import keras

_EPSILON = 1e-6  # of all layer normalisations
_EXPANSION = 4
_LAYER_SCALE = 1e-6  # initial value: blocks begin close to the identity
# Blocks in each stage, and channels of the first stage, which double from stage to stage.
_SIZES = {
    "atto": ((2, 2, 6, 2), 40),
    "femto": ((2, 2, 6, 2), 48),
    "pico": ((2, 2, 6, 2), 64),
    "nano": ((2, 2, 8, 2), 80),
    "tiny": ((3, 3, 9, 3), 96),
    "small": ((3, 3, 27, 3), 96),
    "base": ((3, 3, 27, 3), 128),
    "large": ((3, 3, 27, 3), 192),
    "xlarge": ((3, 3, 27, 3), 256),
}
# Sizes that timm added to those of the paper. Their tensors of pointwise layers are those of 1x1 convolutions.
_CONVOLVED = ("atto", "femto", "pico", "nano")


def build_convnext(name: str, channels: int, image_size: int | None = None) -> keras.Model:
    """Build a ConvNeXt of timm, with random weights, as one layer named `encoder`.

    Args:
        name: name of the encoder, one of `models.config.CONVNEXT_ENCODERS`.
        channels: number of bands, 1 (greyscale) or 3.
        image_size: height and width of the images, in pixels; None for images of any size.

    Returns:
        Model from images (B, H, W, channels), in the range that the weights expect, to a dict: `P2`..`P5`, where Pn is
        2**n times smaller (rounded down at each step) and the output of a stage; and `top` (B, 1, 1, channels of P5),
        the normalised mean of P5, which is what timm gives to a classifier.

    Liu et al. 2022 (arXiv 2201.03545).
    """
    size = name.removeprefix("convnext_")
    depths, width = _SIZES[size]
    image = keras.Input((image_size, image_size, channels))
    x = _normalisation(_convolution(image, width, 4, "stem.0"), "stem.1")
    levels = {}
    for i, depth in enumerate(depths):
        if i > 0:
            x = _normalisation(x, f"stages.{i}.downsample.0")
            x = _convolution(x, width * 2**i, 2, f"stages.{i}.downsample.1")
        for j in range(depth):
            x = _block(x, f"stages.{i}.blocks.{j}", size in _CONVOLVED)
        levels[f"P{i + 2}"] = x
    top = keras.layers.GlobalAveragePooling2D(keepdims=True, dtype="float32", name="head.pool")(x)
    return keras.Model(image, {**levels, "top": _normalisation(top, "head.norm", "float32")}, name="encoder")


def _block(x: keras.KerasTensor, name: str, convolved: bool) -> keras.KerasTensor:
    width, inputs = x.shape[-1], x
    x = keras.layers.DepthwiseConv2D(7, padding="same", depthwise_initializer=_initializer(), name=f"{name}.conv_dw")(x)
    x = _normalisation(x, f"{name}.norm")
    x = _pointwise(x, width * _EXPANSION, f"{name}.mlp.fc1", convolved)
    x = keras.layers.Activation("gelu", name=f"{name}.mlp.act")(x)
    x = _pointwise(x, width, f"{name}.mlp.fc2", convolved)
    # One factor for each channel. No standard layer of Keras is only that.
    scale = keras.initializers.Constant(_LAYER_SCALE)
    x = keras.layers.DepthwiseConv2D(1, use_bias=False, depthwise_initializer=scale, name=f"{name}.gamma")(x)
    return keras.layers.Add(name=f"{name}.add")([x, inputs])


def _initializer() -> keras.initializers.Initializer:
    """Make an initialiser for one layer. Shared initialisers would give equal weights to layers of equal shape."""
    return keras.initializers.TruncatedNormal(stddev=0.02)


def _convolution(x: keras.KerasTensor, channels: int, stride: int, name: str) -> keras.KerasTensor:
    """Convolution of patches that do not overlap. Rows and columns that fill no patch are dropped, as in timm."""
    return keras.layers.Conv2D(channels, stride, stride, kernel_initializer=_initializer(), name=name)(x)


def _pointwise(x: keras.KerasTensor, channels: int, name: str, convolved: bool) -> keras.KerasTensor:
    if convolved:
        return _convolution(x, channels, 1, name)
    return keras.layers.Dense(channels, kernel_initializer=_initializer(), name=name)(x)


def _normalisation(x: keras.KerasTensor, name: str, dtype: str | None = None) -> keras.KerasTensor:
    return keras.layers.LayerNormalization(epsilon=_EPSILON, dtype=dtype, name=name)(x)
