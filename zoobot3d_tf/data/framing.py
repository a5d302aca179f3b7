"""From a stored image to what the network sees: one affine map, the same for the image and its masks.

Pixel centres lie at whole numbers (docs/conventions.md), so that the centre of an image of n pixels is (n - 1) / 2.
A matrix here is 2x3 and maps (x, y, 1) of the output to (x, y) of the input.
"""

from dataclasses import dataclass

import cv2
import numpy as np

# Random changes of the crop in training: its side by up to 10 %, its aspect ratio by up to 10 %, its centre by up to
# 2 % of the image. Rotations and reflections leave nothing to choose: the sky has no preferred direction.
ZOOM = 1.1
ASPECT = 1.1
SHIFT = 0.02

cv2.setNumThreads(0)  # tf.data runs many batches side by side; threads within each would fight over the cores


@dataclass(frozen=True)
class Framing:
    """Sizes in pixels: stored images of `initial_size` are cropped to `crop_size`, then resized to `final_size`.

    Raises:
        ValueError: the crop is larger than the image, or a size is not positive.
    """

    initial_size: int
    crop_size: int
    final_size: int

    def __post_init__(self) -> None:
        if min(self.initial_size, self.crop_size, self.final_size) < 1:
            raise ValueError(f"sizes must be at least 1 pixel; received {self}")
        if self.crop_size > self.initial_size:
            raise ValueError(f"crop size {self.crop_size} must not exceed the image size {self.initial_size}")


def central_affine(framing: Framing) -> np.ndarray:
    """Matrix (2, 3) of the plain central crop, used for validation and prediction."""
    scale = framing.crop_size / framing.final_size
    return _about_centres(framing, scale * np.eye(2))


def random_affine(framing: Framing, rng: np.random.Generator) -> np.ndarray:
    """Matrix (2, 3) of a random rotation, reflection, zoom, change of aspect and shift, composed into one."""
    angle = rng.uniform(0, 2 * np.pi)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    reflection = np.diag([1.0, rng.choice([-1.0, 1.0])])
    zoom = ZOOM ** rng.uniform(-1, 1)
    stretch = ASPECT ** rng.uniform(-0.5, 0.5)
    scale = framing.crop_size / framing.final_size * zoom * np.diag([stretch, 1 / stretch])
    shift = rng.uniform(-SHIFT, SHIFT, size=2) * framing.initial_size
    return _about_centres(framing, rotation @ reflection @ scale, shift)


def warp(image: np.ndarray, affine: np.ndarray, size: int) -> np.ndarray:
    """Resamples an image once, bilinearly; outside the image is 0.

    Args:
        image: (H, W) or (H, W, channels), uint8 or float32.
        affine: (2, 3), as made above.
        size: height and width of the output.

    Returns:
        (size, size) or (size, size, channels), of the input's type. Positions are exact to 1/64 pixel.
    """
    return cv2.warpAffine(image, affine, (size, size), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)


def warp_to_image(output: np.ndarray, framing: Framing, shape: tuple[int, int]) -> np.ndarray:
    """Lays what the network says about its input over the image that the input was made from.

    Undoes `central_affine` and the resizing of the central square (`images.read.resize_image`) in one resampling.

    Args:
        output: (final_size, final_size), float32.
        framing: as the input was made.
        shape: height and width of the image.

    Returns:
        (height, width), pixel for pixel over the image; 0 outside the crop, whose edge fades over a pixel of the
        output. Positions are exact to 1/64 of such a pixel.
    """
    height, width = shape
    scale = framing.initial_size / min(shape)
    # The outer edges of the central square keep their place, hence the halves.
    shift = [(0.5 - (side - min(shape)) / 2) * scale - 0.5 for side in (width, height)]
    crop = central_affine(framing)
    to_stored = np.column_stack([scale * np.eye(2), shift])
    affine = np.linalg.solve(crop[:, :2], to_stored - np.column_stack([np.zeros((2, 2)), crop[:, 2]]))
    return cv2.warpAffine(output, affine, (width, height), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)


def _about_centres(framing: Framing, linear: np.ndarray, shift: np.ndarray | float = 0.0) -> np.ndarray:
    output_centre = np.full(2, (framing.final_size - 1) / 2)
    input_centre = np.full(2, (framing.initial_size - 1) / 2) + shift
    return np.column_stack([linear, input_centre - linear @ output_centre])
