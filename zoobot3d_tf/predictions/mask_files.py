"""Predicted masks as files: on the grid of the galaxy's own image, and drawn over it."""

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np

from zoobot3d_tf.data.framing import Framing, warp_to_image
from zoobot3d_tf.images.overlay import draw_masks


def to_image(fraction: np.ndarray, framing: Framing, shape: tuple[int, int]) -> np.ndarray:
    """A mask as stored for the image that it was predicted from.

    Args:
        fraction: share of volunteers, float32 (final_size, final_size), 0..1.
        framing: how the image was cropped and resized for the network.
        shape: height and width of the image.

    Returns:
        round(255 * fraction), uint8 of that shape: 255 means every volunteer. 0 outside the crop.
    """
    return np.rint(255 * warp_to_image(fraction, framing, shape)).astype(np.uint8)


def write_masks(folder: Path, id_str: str, masks: Mapping[str, np.ndarray]) -> list[str]:
    """Writes `<id_str>_<name>.png`, 8-bit greyscale, for each mask.

    Args:
        folder: where to; an id with '/' goes to a sub-folder.
        id_str: the galaxy.
        masks: uint8 (H, W) each, as `to_image` makes them.

    Returns:
        Their paths, in order.
    """
    paths = [folder / f"{id_str}_{name}.png" for name in masks]
    for path, mask in zip(paths, masks.values(), strict=True):
        _write_png(path, mask)
    return [str(path) for path in paths]


def write_overlay(folder: Path, id_str: str, image: np.ndarray, masks: Mapping[str, np.ndarray]) -> None:
    """Writes `<id_str>_overlay.png`: the image with its masks drawn over it.

    Args:
        folder: where to, as for `write_masks`.
        id_str: the galaxy.
        image: uint8 (H, W, 3).
        masks: uint8 (H, W) each, as `to_image` makes them.
    """
    fractions = {name: mask / np.float32(255) for name, mask in masks.items()}
    drawn = draw_masks(image, fractions.get("spiral_mask"), fractions.get("bar_mask"))
    _write_png(folder / f"{id_str}_overlay.png", cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR))


def _write_png(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not atomic: until the galaxy's row is on the disk too, a run that goes on writes its masks again.
    path.write_bytes(cv2.imencode(".png", pixels)[1].tobytes())
