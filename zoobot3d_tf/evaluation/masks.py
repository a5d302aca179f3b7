"""Scores of masks, with the scores of a brightness threshold for comparison."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from scipy.ndimage import gaussian_filter

from zoobot3d_tf.images.masks import MASK_THRESHOLD, is_enclosed, overlap

SMOOTHING = 2.0
"""Standard deviation of the Gaussian that smooths images for the brightness baseline, in pixels: its best value."""

_LEVELS = 256  # levels of brightness


@dataclass(frozen=True)
class MaskScores:
    """Scores of one mask.

    Attributes:
        n_galaxies: number of galaxies with a predicted and a true mask.
        iou: intersection over union of the enclosed pixels; see `mask_iou`.
        mae: mean absolute difference of the predicted and the true share of volunteers, over all pixels.
        blank_mae: mean absolute difference for a blank mask.
        brightness_iou: intersection over union of the brightness baseline; see `brightness_baseline`.
        brightness_threshold: lowest brightness of the pixels in the mask of this baseline, 0..255.
    """

    n_galaxies: int
    iou: float
    mae: float
    blank_mae: float
    brightness_iou: float
    brightness_threshold: int


@dataclass
class MaskSums:
    """Sums over galaxies from which the scores of one mask follow; the memory does not grow with the galaxies."""

    n_galaxies: int = 0
    intersection: int = 0
    union: int = 0
    error: float = 0.0
    blank_error: float = 0.0
    inside: np.ndarray = field(default_factory=lambda: np.zeros(_LEVELS, np.int64))
    outside: np.ndarray = field(default_factory=lambda: np.zeros(_LEVELS, np.int64))

    def add(self, predicted: np.ndarray, true: np.ndarray, brightness: np.ndarray) -> None:
        """Add one galaxy.

        Args:
            predicted: expected share of volunteers who enclose each pixel, 0..1, shape (H, W).
            true: observed share of volunteers, same shape.
            brightness: brightness of the smoothed image, uint8, same shape; see `smoothed_brightness`.
        """
        intersection, union = overlap(predicted, true, np)
        self.n_galaxies += 1
        self.intersection += int(intersection)
        self.union += int(union)
        self.error += float(np.abs(predicted - true).mean())
        self.blank_error += float(true.mean())
        levels = np.bincount(brightness.ravel(), minlength=_LEVELS)
        inside = np.bincount(brightness[is_enclosed(true)], minlength=_LEVELS)
        self.inside += inside
        self.outside += levels - inside

    def scores(self) -> MaskScores:
        """Compute the scores of the galaxies added so far, at least one."""
        threshold, iou = brightness_baseline(self.inside, self.outside)
        return MaskScores(
            n_galaxies=self.n_galaxies,
            iou=_ratio(self.intersection, self.union),
            mae=self.error / self.n_galaxies,
            blank_mae=self.blank_error / self.n_galaxies,
            brightness_iou=iou,
            brightness_threshold=threshold,
        )


def mask_iou(predicted: Iterable[np.ndarray], true: Iterable[np.ndarray], threshold: float = MASK_THRESHOLD) -> float:
    """Compute the intersection over union of masks, summed over all galaxies.

    The pixels are summed over galaxies before the division. A mean over galaxies would not be defined: a galaxy without
    arms, correctly predicted, has an empty union.

    Args:
        predicted: expected share of volunteers who enclose each pixel, 0..1, one array (H, W) per galaxy.
        true: observed share of volunteers, in the same order and of the same shapes.
        threshold: share of volunteers from which a pixel belongs to the mask.

    Returns:
        Intersection over union, 0..1; NaN if both masks are blank for all galaxies.
    """
    overlaps = [overlap(*galaxy, np, threshold) for galaxy in zip(predicted, true, strict=True)]
    intersection, union = np.sum(overlaps, axis=0)
    return _ratio(int(intersection), int(union))


def smoothed_brightness(image: np.ndarray) -> np.ndarray:
    """Average the bands of an image and smooth it, so that noise does not decide.

    Args:
        image: RGB image, uint8 (H, W, 3).

    Returns:
        Brightness, uint8 (H, W).
    """
    return gaussian_filter(image.mean(axis=2, dtype=np.float32), SMOOTHING).astype(np.uint8)


def brightness_baseline(inside: np.ndarray, outside: np.ndarray) -> tuple[int, float]:
    """Find the brightness threshold whose mask, of all pixels at least as bright, agrees best with the true masks.

    All galaxies share one threshold. It is chosen on the galaxies that it is scored on, which favours this baseline.

    Args:
        inside: number of pixels inside the true masks per level of brightness, shape (256,).
        outside: number of pixels outside the true masks, same shape.

    Returns:
        The threshold, 0..255, and the intersection over union that it reaches.
    """
    intersection = np.cumsum(inside[::-1])[::-1]
    union = inside.sum() + np.cumsum(outside[::-1])[::-1]
    iou = intersection / np.maximum(union, 1)
    best = int(iou.argmax())
    return best, float(iou[best])


def _ratio(intersection: int, union: int) -> float:
    return intersection / union if union else float("nan")
