"""A tiny encoder in place of EfficientNet, whose first training step takes most of a minute."""

from typing import Any

import keras


def tiny_encoder(name: str, image_size: int, channels: int) -> keras.Model:
    """Five blocks of one convolution, named as in EfficientNet; replaces `models.build.build_encoder`."""
    image = keras.Input((image_size, image_size, channels))
    x, levels = keras.layers.Rescaling(1 / 255)(image), {}
    for n in range(1, 6):
        x = levels[f"P{n}"] = _block(x, 16, 2, f"block{n}a")
    return keras.Model(image, {**levels, "top": _block(x, 32, 1, "top")}, name="encoder")


def _block(x: Any, channels: int, stride: int, name: str) -> Any:
    x = keras.layers.Conv2D(channels, 3, stride, "same", use_bias=False, name=f"{name}_conv")(x)
    x = keras.layers.BatchNormalization(momentum=0.9, name=f"{name}_bn")(x)
    return keras.layers.Activation("relu", name=f"{name}_activation")(x)
