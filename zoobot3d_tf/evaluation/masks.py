"""Scores of masks, beside what brightness alone would find."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from scipy.ndimage import gaussian_filter

from zoobot3d_tf.images.masks import MASK_THRESHOLD, is_enclosed, overlap

SMOOTHING = 2.0
"""Standard deviation of the Gaussian that the brightness baseline smooths images with, pixels: what serves it best."""

_LEVELS = 256  # of brightness


@dataclass(frozen=True)
class MaskScores:
    """Scores of one mask.

    Attributes:
        n_galaxies: with a predicted and a true mask.
        iou: intersection over union of the enclosed pixels, see `mask_iou`.
        mae: mean absolute difference of predicted and true share of volunteers, over all pixels.
        blank_mae: the same when always predicting that nobody drew.
        brightness_iou: see `brightness_baseline`.
        brightness_threshold: the brightness, 0..255, above which that baseline takes every pixel.
    """

    n_galaxies: int
    iou: float
    mae: float
    blank_mae: float
    brightness_iou: float
    brightness_threshold: int


@dataclass
class MaskSums:
    """What scores of a mask need to know of the galaxies seen so far; it does not grow with their number."""

    n_galaxies: int = 0
    intersection: int = 0
    union: int = 0
    error: float = 0.0
    blank_error: float = 0.0
    inside: np.ndarray = field(default_factory=lambda: np.zeros(_LEVELS, np.int64))
    outside: np.ndarray = field(default_factory=lambda: np.zeros(_LEVELS, np.int64))

    def add(self, predicted: np.ndarray, true: np.ndarray, brightness: np.ndarray) -> None:
        """Count one galaxy in.

        Args:
            predicted: share of volunteers expected to enclose each pixel, (H, W), 0..1.
            true: share who did, on the same grid.
            brightness: of the smoothed image, see `smoothed_brightness`.
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
        """The scores; at least one galaxy must have been added."""
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
    """Intersection over union of the pixels at or above the threshold, summed over all galaxies.

    Summed, not averaged galaxy by galaxy: a galaxy without arms, rightly predicted, has no union to divide by.

    Args:
        predicted: share of volunteers expected to enclose each pixel, (H, W) a galaxy, 0..1.
        true: share who did, on the same grids.
        threshold: share from which a pixel counts as enclosed.

    Returns:
        0..1; NaN where neither side encloses any pixel.
    """
    overlaps = [overlap(*galaxy, np, threshold) for galaxy in zip(predicted, true, strict=True)]
    intersection, union = np.sum(overlaps, axis=0)
    return _ratio(int(intersection), int(union))


def smoothed_brightness(image: np.ndarray) -> np.ndarray:
    """Mean of the three bands, smoothed so that noise does not decide: uint8 (H, W) from uint8 (H, W, 3)."""
    return gaussian_filter(image.mean(axis=2, dtype=np.float32), SMOOTHING).astype(np.uint8)


def brightness_baseline(inside: np.ndarray, outside: np.ndarray) -> tuple[int, float]:
    """The best that one threshold on the smoothed image can do: every pixel as bright or brighter is in the mask.

    The threshold is one for all galaxies, and chosen on the very galaxies it is scored on, which favours this baseline.

    Args:
        inside: how many pixels inside the true masks have each brightness, (256,).
        outside: the same for pixels outside.

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
