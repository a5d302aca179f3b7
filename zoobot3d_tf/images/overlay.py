"""Masks drawn over the image of their galaxy, for the eye."""

import numpy as np
from scipy.ndimage import gaussian_filter

from zoobot3d_tf.images.masks import is_enclosed

# Okabe & Ito's sky blue and orange, a little brighter: told apart by every eye, and seen on a dark sky.
SPIRAL_COLOUR = (86, 190, 255)
BAR_COLOUR = (255, 160, 20)

# Share of the colour in a pixel that every volunteer enclosed.
_FILL = 0.45


def draw_masks(image: np.ndarray, spiral_fraction: np.ndarray | None, bar_fraction: np.ndarray | None) -> np.ndarray:
    """Draw a spiral and a bar mask over an image: a fill as dense as volunteers agree, and the outline at 3 of 15.

    Args:
        image: uint8 (H, W, 3).
        spiral_fraction: share of volunteers who enclosed each pixel, (H, W), 0..1; None draws nothing.
        bar_fraction: the same for the bar, drawn on top.

    Returns:
        uint8 (H, W, 3); the image itself is left as it is.

    Raises:
        ValueError: the image is not uint8 (H, W, 3), or a mask is not of its height and width.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"the image must be uint8 (H, W, 3); received {image.dtype} {image.shape}")
    pixels = image.astype(np.float32)
    for fraction, colour in ((spiral_fraction, SPIRAL_COLOUR), (bar_fraction, BAR_COLOUR)):
        if fraction is None:
            continue
        if fraction.shape != image.shape[:2]:
            raise ValueError(f"a mask must be of the image's shape {image.shape[:2]}; received {fraction.shape}")
        opacity = np.maximum(_FILL * fraction, _outline(fraction))[..., None]
        pixels += opacity * (np.array(colour, np.float32) - pixels)
    return np.rint(pixels).astype(np.uint8)


def _outline(fraction: np.ndarray) -> np.ndarray:
    """Opacity of a smooth line, some three pixels wide, along the edge of the enclosed pixels."""
    inside = gaussian_filter(is_enclosed(fraction).astype(np.float32), sigma=0.8)
    return 4 * inside * (1 - inside)
