"""Encoders of timm, in standard Keras layers, so that weights of Zoobot and timm fit tensor by tensor: EfficientNet.

Layers have the names of timm's tensors: `blocks.1.0.conv_dw` is the depthwise convolution of the first block of the
second stage. ConvNeXt is in `convnext.py`.
"""

import math
from dataclasses import dataclass, replace
from functools import partial

import keras

from zoobot3d_tf.models.config import CONVNEXT_ENCODERS, TIMM_ENCODERS
from zoobot3d_tf.models.convnext import build_convnext
from zoobot3d_tf.models.encoder import MOMENTUM

_REDUCTION = 4  # factor by which squeeze-and-excite reduces the input channels of a block


@dataclass(frozen=True)
class _Stage:
    """Sequence of blocks of one kind, the first of which has the stride.

    Kinds are "separable" (depthwise, then pointwise), "inverted" (expand, depthwise, project), "fused" (expand by a
    full convolution, project) and "plain" (one convolution). The first two have squeeze-and-excite, except in Lite.
    """

    kind: str
    repeats: int
    kernel: int
    stride: int
    expansion: int
    channels: int


@dataclass(frozen=True)
class _Architecture:
    stem: int
    stages: tuple[_Stage, ...]
    top: int
    symmetric: bool
    epsilon: float
    excites: bool
    activation: str


# Tan & Le 2019, table 1.
_VERSION_1 = (
    _Stage("separable", 1, 3, 1, 1, 16),
    _Stage("inverted", 2, 3, 2, 6, 24),
    _Stage("inverted", 2, 5, 2, 6, 40),
    _Stage("inverted", 3, 3, 2, 6, 80),
    _Stage("inverted", 3, 5, 1, 6, 112),
    _Stage("inverted", 4, 5, 2, 6, 192),
    _Stage("inverted", 1, 3, 1, 6, 320),
)
# Tan & Le 2021, as in their code; b0 to b3 are scaled from these stages.
_VERSION_2 = (
    _Stage("plain", 1, 3, 1, 1, 16),
    _Stage("fused", 2, 3, 2, 4, 32),
    _Stage("fused", 2, 3, 2, 4, 48),
    _Stage("inverted", 3, 3, 2, 4, 96),
    _Stage("inverted", 5, 3, 1, 6, 112),
    _Stage("inverted", 8, 3, 2, 6, 192),
)
# Width and depth relative to b0. Lite has the same factors: lite1 those of b1.
_SCALES = {
    "b0": (1.0, 1.0),
    "b1": (1.0, 1.1),
    "b2": (1.1, 1.2),
    "b3": (1.2, 1.4),
    "b4": (1.4, 1.8),
    "b5": (1.6, 2.2),
    "b6": (1.8, 2.6),
    "b7": (2.0, 3.1),
}
# Larger networks of version 2: repeats and channels of each stage. The stem has the channels of the first stage.
_LARGE = {
    "s": ((2, 24), (4, 48), (4, 64), (6, 128), (9, 160), (15, 256)),
    "m": ((3, 24), (5, 48), (5, 80), (7, 160), (14, 176), (18, 304), (5, 512)),
    "l": ((4, 32), (7, 64), (7, 96), (10, 192), (19, 224), (25, 384), (7, 640)),
    "xl": ((4, 32), (8, 64), (8, 96), (16, 192), (24, 256), (32, 512), (8, 640)),
}


def build_timm_encoder(name: str, channels: int, image_size: int | None = None) -> keras.Model:
    """Build an encoder of timm, with random weights, as one layer named `encoder`.

    EfficientNet-Lite has no squeeze-and-excite, and ReLU6 for SiLU. Its stem and top are not scaled in width, nor its
    first and last stage in depth.

    Args:
        name: name of the encoder, one of `TIMM_ENCODERS`. Names that begin with `tf_` have the padding "same" of
            TensorFlow and batch normalisation with epsilon 1e-3; the others have symmetric padding and epsilon 1e-5.
        channels: number of bands, 1 (greyscale) or 3.
        image_size: height and width of the images, in pixels; None for images of any size.

    Returns:
        Model from images (B, H, W, channels), in the range that the weights expect, to a dict: `P1`..`P5`, where Pn is
        2**n times smaller (rounded up) and the output of the last block of that size; and `top`, the 1x1 convolution
        after P5 with its normalisation and activation, which the vote head pools. ConvNeXt has no P1, and its `top` is
        pooled already, see `build_convnext`.

    Raises:
        ValueError: the name is unknown.

    Tan & Le 2019 (arXiv 1905.11946), Tan & Le 2021 (arXiv 2104.00298). Lite: Liu 2020,
    https://blog.tensorflow.org/2020/03/higher-accuracy-on-vision-models-with-efficientnet-lite.html
    """
    if name not in TIMM_ENCODERS:
        raise ValueError(f"encoder must be one of {', '.join(TIMM_ENCODERS)}; received {name!r}")
    if name in CONVNEXT_ENCODERS:
        return build_convnext(name, channels, image_size)
    architecture = _architecture(name)
    image = keras.Input((image_size, image_size, channels))
    x = _convolution(image, architecture.stem, 3, 2, "conv_stem", architecture)
    x = _activation(_normalisation(x, "bn1", architecture), "bn1", architecture)
    levels, level = {}, 1
    for i, stage in enumerate(architecture.stages):
        level += stage.stride - 1
        for j in range(stage.repeats):
            x = _block(x, stage, stage.stride if j == 0 else 1, f"blocks.{i}.{j}", architecture)
        levels[f"P{level}"] = x
    x = _normalisation(_convolution(x, architecture.top, 1, 1, "conv_head", architecture), "bn2", architecture)
    return keras.Model(image, {**levels, "top": _activation(x, "bn2", architecture)}, name="encoder")


def _architecture(name: str) -> _Architecture:
    symmetric = not name.startswith("tf_")
    family, _, size = name.removeprefix("tf_").rpartition("_")
    is_lite = size.startswith("lite")
    with_stages = partial(
        _Architecture,
        symmetric=symmetric,
        epsilon=1e-5 if symmetric else 1e-3,
        excites=not is_lite,
        activation="relu6" if is_lite else "silu",
    )
    if size in _LARGE:
        # Networks larger than s have a seventh stage, like the sixth but without a stride.
        kinds = (*_VERSION_2, replace(_VERSION_2[-1], stride=1))
        stages = tuple(
            replace(kind, repeats=repeats, channels=channels)
            for kind, (repeats, channels) in zip(kinds, _LARGE[size], strict=False)
        )
        return with_stages(stages[0].channels, stages, 1280)
    width, depth = _SCALES[size.replace("lite", "b")]
    is_first = family == "efficientnet"

    def scaled(channels: int) -> int:
        return _rounded(channels * width, at_least=0.9 if is_first else 0)

    stages = tuple(
        replace(stage, repeats=math.ceil(stage.repeats * depth), channels=scaled(stage.channels))
        for stage in (_VERSION_1 if is_first else _VERSION_2)
    )
    if is_lite:  # its first and last stage have one block at any depth
        first, *between, last = stages
        return with_stages(32, (replace(first, repeats=1), *between, replace(last, repeats=1)), 1280)
    return with_stages(scaled(32), stages, scaled(1280))


def _rounded(channels: float, at_least: float) -> int:
    """Nearest multiple of 8, or the next one if the nearest is below the fraction `at_least` of the channels."""
    nearest = max(8, int(channels + 4) // 8 * 8)
    return nearest + 8 if nearest < at_least * channels else nearest


def _block(
    x: keras.KerasTensor, stage: _Stage, stride: int, name: str, architecture: _Architecture
) -> keras.KerasTensor:
    entering = x.shape[-1]
    expanded, inputs = entering * stage.expansion, x

    def convolve(x: keras.KerasTensor, channels: int, kernel: int, stride: int, operation: str) -> keras.KerasTensor:
        return _convolution(x, channels, kernel, stride, f"{name}.{operation}", architecture)

    def normalise(x: keras.KerasTensor, operation: str, active: bool = True) -> keras.KerasTensor:
        x = _normalisation(x, f"{name}.{operation}", architecture)
        return _activation(x, f"{name}.{operation}", architecture) if active else x

    def excite(x: keras.KerasTensor) -> keras.KerasTensor:
        return _squeeze_and_excite(x, entering // _REDUCTION, f"{name}.se") if architecture.excites else x

    if stage.kind == "plain":
        x = normalise(convolve(x, stage.channels, stage.kernel, stride, "conv"), "bn1")
    elif stage.kind == "fused":
        x = normalise(convolve(x, expanded, stage.kernel, stride, "conv_exp"), "bn1")
        x = normalise(convolve(x, stage.channels, 1, 1, "conv_pwl"), "bn2", active=False)
    elif stage.kind == "separable":
        x = normalise(_depthwise(x, stage.kernel, stride, f"{name}.conv_dw", architecture), "bn1")
        x = excite(x)
        x = normalise(convolve(x, stage.channels, 1, 1, "conv_pw"), "bn2", active=False)
    else:
        x = normalise(convolve(x, expanded, 1, 1, "conv_pw"), "bn1")
        x = normalise(_depthwise(x, stage.kernel, stride, f"{name}.conv_dw", architecture), "bn2")
        x = excite(x)
        x = normalise(convolve(x, stage.channels, 1, 1, "conv_pwl"), "bn3", active=False)
    if stride == 1 and entering == stage.channels:
        x = keras.layers.Add(name=f"{name}.add")([x, inputs])
    return x


def _squeeze_and_excite(x: keras.KerasTensor, reduced: int, name: str) -> keras.KerasTensor:
    """Scale the channels by weights from their means (Hu et al. 2018, arXiv 1709.01507)."""
    scale = keras.layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}.squeeze")(x)
    for channels, activation, operation in ((reduced, "silu", "conv_reduce"), (x.shape[-1], "sigmoid", "conv_expand")):
        scale = keras.layers.Conv2D(
            channels, 1, activation=activation, kernel_initializer=_initializer(), name=f"{name}.{operation}"
        )(scale)
    return keras.layers.Multiply(name=f"{name}.excite")([x, scale])


def _initializer() -> keras.initializers.Initializer:
    """Make an initialiser for one layer. Shared initialisers would give equal weights to layers of equal shape."""
    return keras.initializers.VarianceScaling(2.0, mode="fan_out", distribution="truncated_normal")


def _convolution(
    x: keras.KerasTensor, channels: int, kernel: int, stride: int, name: str, architecture: _Architecture
) -> keras.KerasTensor:
    x, padding = _padded(x, kernel, stride, name, architecture)
    return keras.layers.Conv2D(
        channels, kernel, stride, padding, use_bias=False, kernel_initializer=_initializer(), name=name
    )(x)


def _depthwise(
    x: keras.KerasTensor, kernel: int, stride: int, name: str, architecture: _Architecture
) -> keras.KerasTensor:
    x, padding = _padded(x, kernel, stride, name, architecture)
    return keras.layers.DepthwiseConv2D(
        kernel, stride, padding, use_bias=False, depthwise_initializer=_initializer(), name=name
    )(x)


def _padded(
    x: keras.KerasTensor, kernel: int, stride: int, name: str, architecture: _Architecture
) -> tuple[keras.KerasTensor, str]:
    """Pad the input of a convolution where "same" would not be symmetric.

    Returns:
        The input, and the argument `padding` of the convolution.
    """
    # With a stride, "same" may add one row more at the end than at the beginning.
    if stride == 1 or not architecture.symmetric:
        return x, "same"
    return keras.layers.ZeroPadding2D(kernel // 2, name=f"{name}.pad")(x), "valid"


def _normalisation(x: keras.KerasTensor, name: str, architecture: _Architecture) -> keras.KerasTensor:
    return keras.layers.BatchNormalization(momentum=MOMENTUM, epsilon=architecture.epsilon, name=name)(x)


def _activation(x: keras.KerasTensor, name: str, architecture: _Architecture) -> keras.KerasTensor:
    return keras.layers.Activation(architecture.activation, name=f"{name}.act")(x)
