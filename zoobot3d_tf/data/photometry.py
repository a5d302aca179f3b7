"""Random changes of brightness, colour, sharpness and noise: as if another survey had observed the galaxy.

The ranges cover the differences between the images of Galaxy Zoo DECaLS and of Galaxy Zoo 2 (SDSS).
"""

import cv2
import numpy as np

GAMMA = 1.4
"""Largest exponent of the stretch of an image; the smallest is its inverse."""
GAIN = 1.4
"""Largest factor of the brightness; the smallest is its inverse."""
SKY = 12.0
"""Largest change of the level of the sky, in levels of 0..255."""
COLOUR = 1.15
"""Largest factor of the brightness of one band; the smallest is its inverse."""
SHARE_BLURRED = 0.3
"""Share of the images that are blurred."""
BLUR = 1.2
"""Largest standard deviation of the blur, in pixels of the network's input."""
NOISE = 10.0
"""Largest standard deviation of the noise that is added, in levels of 0..255."""


def random_photometry(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Change the photometry of an image at random. Positions of pixels do not change, so that masks still fit.

    In this order: the bands get different brightness and are mixed with their mean, down to grey; the image is blurred;
    its stretch, brightness and sky level change; noise is added.

    Args:
        image: uint8 (H, W, 3).
        rng: random number generator.

    Returns:
        Image, uint8 (H, W, 3).
    """
    pixels: np.ndarray = image.astype(np.float32)
    pixels *= COLOUR ** rng.uniform(-1, 1, size=3)
    grey = pixels.mean(axis=2, keepdims=True)
    pixels += rng.uniform() * (grey - pixels)
    if rng.uniform() < SHARE_BLURRED:
        pixels = cv2.GaussianBlur(pixels, (0, 0), rng.uniform(0.3, BLUR))
    exponent, gain, sky = GAMMA ** rng.uniform(-1, 1), GAIN ** rng.uniform(-1, 1), rng.uniform(-SKY, SKY)
    # A uint8 has 256 values: the change of the stretch is looked up.
    levels = 255 * gain * (np.arange(256, dtype=np.float32) / 255) ** exponent + sky
    pixels = levels[np.clip(np.rint(pixels), 0, 255).astype(np.uint8)]
    sigma = NOISE * rng.uniform() ** 2  # strong noise is rare
    pixels += sigma * rng.standard_normal(pixels.shape[:2], np.float32)[..., None]
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
