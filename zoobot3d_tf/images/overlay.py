"""Masks drawn over the image of a galaxy."""

import numpy as np
from scipy.ndimage import gaussian_filter

from zoobot3d_tf.images.masks import is_enclosed

# Sky blue and orange of Okabe & Ito, whose colours all readers can distinguish; brighter, to stand out on a dark sky.
SPIRAL_COLOUR = (86, 190, 255)
BAR_COLOUR = (255, 160, 20)

# Opacity of the colour in a pixel that every volunteer enclosed.
_FILL = 0.45


def draw_masks(image: np.ndarray, spiral_fraction: np.ndarray | None, bar_fraction: np.ndarray | None) -> np.ndarray:
    """Draw the masks of the spiral arms and of the bar over an image.

    The opacity of the fill is proportional to the fraction of volunteers. A line follows the edge of the pixels that
    belong to the mask (at least 3 of 15 volunteers).

    Args:
        image: image of the galaxy, uint8 (H, W, 3). It is not changed.
        spiral_fraction: fraction of volunteers who enclosed each pixel in a spiral arm, 0..1, shape (H, W); None to
            draw no arms.
        bar_fraction: fraction of volunteers who enclosed each pixel in the bar, same shape; None to draw no bar. The
            bar is drawn over the arms.

    Returns:
        New image, uint8 (H, W, 3).

    Raises:
        ValueError: the image is not uint8 (H, W, 3), or a mask has another height or width.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"image must be uint8 of shape (H, W, 3); received {image.dtype} of shape {image.shape}")
    pixels = image.astype(np.float32)
    for fraction, colour in ((spiral_fraction, SPIRAL_COLOUR), (bar_fraction, BAR_COLOUR)):
        if fraction is None:
            continue
        if fraction.shape != image.shape[:2]:
            raise ValueError(f"masks must have the shape of the image, {image.shape[:2]}; received {fraction.shape}")
        opacity = np.maximum(_FILL * fraction, _outline(fraction))[..., None]
        pixels += opacity * (np.array(colour, np.float32) - pixels)
    return np.rint(pixels).astype(np.uint8)


def _outline(fraction: np.ndarray) -> np.ndarray:
    """Opacity of a smooth line, about three pixels wide, along the edge of the pixels that belong to the mask."""
    inside = gaussian_filter(is_enclosed(fraction).astype(np.float32), sigma=0.8)
    return 4 * inside * (1 - inside)
