"""Cropping, resizing and augmentation of stored images and masks, by one affine map for both.

Pixel centres are whole numbers (docs/conventions.md), so that the centre of an image of n pixels is (n - 1) / 2. An
affine map is a matrix of shape (2, 3) from (x, y, 1) of the output to (x, y) of the input, in pixels.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np

# Rotations and reflections have no limits, because the sky has no preferred direction.
ZOOM = 1.1
"""Largest factor by which the crop is larger or smaller in training."""
ASPECT = 1.1
"""Largest aspect ratio of the crop in training."""
SHIFT = 0.02
"""Largest shift of the crop in training in each direction, as a fraction of the side of the image."""

CENTRAL_SHARE = 0.75
"""Side of the central crop as a fraction of the side of the image, where nothing else is chosen."""

ANTIALIASING_FROM = 1.5
"""Number of pixels of the input per pixel of the output from which `warp` averages over areas."""

# `tf.data` prepares batches in parallel already. More threads per batch would slow them down.
cv2.setNumThreads(0)


@dataclass(frozen=True)
class Framing:
    """Sizes of the images in pixels, before and after cropping and resizing.

    Attributes:
        initial_size: height and width of the stored images.
        crop_size: height and width of the central crop.
        final_size: height and width to which the crop is resized: the input of the network.

    Raises:
        ValueError: the crop is larger than the image, or a size is not positive.
    """

    initial_size: int
    crop_size: int
    final_size: int

    def __post_init__(self) -> None:
        if min(self.initial_size, self.crop_size, self.final_size) < 1:
            raise ValueError(
                "initial_size, crop_size and final_size must be at least 1 pixel; "
                f"received {self.initial_size}, {self.crop_size} and {self.final_size}"
            )
        if self.crop_size > self.initial_size:
            raise ValueError(
                f"crop_size {self.crop_size} must not exceed the size of the stored images, {self.initial_size} pixels"
            )


def central_affine(framing: Framing) -> np.ndarray:
    """Make the affine map of the central crop, for validation and prediction, shape (2, 3)."""
    scale = framing.crop_size / framing.final_size
    return _about_centres(framing, scale * np.eye(2))


def random_affine(framing: Framing, rng: np.random.Generator) -> np.ndarray:
    """Make a random affine map for training, shape (2, 3): rotation, reflection, zoom, aspect ratio and shift.

    Args:
        framing: sizes of the images.
        rng: random number generator.
    """
    turn, side, zoom, aspect, *shift = rng.uniform(-1, 1, size=6)
    cos, sin, reflection = math.cos(math.pi * turn), math.sin(math.pi * turn), math.copysign(1, side)
    width = framing.crop_size / framing.final_size * ZOOM**zoom * ASPECT ** (aspect / 2)
    height = reflection * width / ASPECT**aspect
    linear = np.array([[cos * width, -sin * height], [sin * width, cos * height]])
    return _about_centres(framing, linear, SHIFT * framing.initial_size * np.array(shift))


def warp(image: np.ndarray, affine: np.ndarray, size: int) -> np.ndarray:
    """Resample an image by an affine map, with bilinear interpolation, and with averages over areas where it shrinks.

    Args:
        image: uint8 or float32, shape (H, W) or (H, W, channels).
        affine: affine map from the output to the image, shape (2, 3), from `central_affine` or `random_affine`.
        size: height and width of the output, in pixels.

    Returns:
        Image of the same type, shape (size, size) or (size, size, channels). Pixels outside the input are 0. Positions
        are exact to 1/64 pixel.
    """
    return _resample(image, affine, size, size)


def warp_to_image(output: np.ndarray, framing: Framing, shape: tuple[int, int]) -> np.ndarray:
    """Resample a mask that the network predicts to the pixel grid of the original image.

    Undoes `central_affine` and the resizing of the central square (`images.read.resize_image`) in one resampling.

    Args:
        output: mask on the pixel grid of the input of the network, float32 (final_size, final_size).
        framing: sizes with which the input was made.
        shape: height and width of the original image, in pixels.

    Returns:
        Mask of shape `shape`, float32. Pixels outside the crop are 0; at the edge of the crop, the mask fades over one
        pixel of `output`. Positions are exact to 1/64 of a pixel of `output`.
    """
    height, width = shape
    scale = framing.initial_size / min(shape)
    # Resizing keeps the outer edges of the central square, which are half a pixel outside the pixel centres.
    shift = [(0.5 - (side - min(shape)) / 2) * scale - 0.5 for side in (width, height)]
    crop = central_affine(framing)
    to_stored = np.column_stack([scale * np.eye(2), shift])
    affine = np.linalg.solve(crop[:, :2], to_stored - np.column_stack([np.zeros((2, 2)), crop[:, 2]]))
    return _resample(output, affine, width, height)


def _resample(image: np.ndarray, affine: np.ndarray, width: int, height: int) -> np.ndarray:
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    shrinkage = abs(affine[0, 0] * affine[1, 1] - affine[0, 1] * affine[1, 0]) ** 0.5
    if shrinkage < ANTIALIASING_FROM:
        if image.shape[2:] != (3,):
            return cv2.warpAffine(image, affine, (width, height), flags=flags)
        # OpenCV has a fast path for four channels, which takes half of the time of three.
        four = cv2.warpAffine(cv2.cvtColor(image, cv2.COLOR_RGB2RGBA), affine, (width, height), flags=flags)
        return cv2.cvtColor(four, cv2.COLOR_RGBA2RGB)
    # Bilinear interpolation sees two pixels in each direction only. Each pixel becomes the mean of n x n points, which
    # are at most 1.25 pixels of the input apart.
    n = math.ceil(shrinkage - 0.25)
    linear = affine[:, :2] / n
    fine = np.column_stack([linear, affine[:, 2] + linear.sum(axis=1) * (1 - n) / 2])
    points = cv2.warpAffine(image, fine, (n * width, n * height), flags=flags)
    return cv2.resize(points, (width, height), interpolation=cv2.INTER_AREA)


def _about_centres(framing: Framing, linear: np.ndarray, shift: np.ndarray | float = 0.0) -> np.ndarray:
    output_centre = np.full(2, (framing.final_size - 1) / 2)
    input_centre = np.full(2, (framing.initial_size - 1) / 2) + shift
    return np.column_stack([linear, input_centre - linear @ output_centre])
