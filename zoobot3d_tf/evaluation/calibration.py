"""Calibration: predicted probabilities compared with observed frequencies."""

import numpy as np

N_BINS = 10
"""Number of bins of a reliability curve, all of the same width."""


def reliability(predicted: np.ndarray, observed: np.ndarray) -> tuple[np.ndarray, ...]:
    """Compute the reliability curve of predictions, in bins of the predicted value.

    Args:
        predicted: predicted probabilities or fractions, 0..1, shape (n,).
        observed: observed outcomes or fractions, 0..1, shape (n,).

    Returns:
        Three arrays with one value per bin that is not empty: mean predicted value, mean observed value, number of
        values.
    """
    bins = np.minimum((predicted * N_BINS).astype(int), N_BINS - 1)
    numbers, sums, hits = (np.bincount(bins, values, N_BINS) for values in (None, predicted, observed))
    filled = numbers > 0
    return sums[filled] / numbers[filled], hits[filled] / numbers[filled], numbers[filled]
