"""Calibration: what was observed where so much was predicted."""

import numpy as np

N_BINS = 10


def reliability(predicted: np.ndarray, observed: np.ndarray) -> tuple[np.ndarray, ...]:
    """What was observed where so much was predicted, in bins of equal width.

    Args:
        predicted: probabilities or fractions, (n,).
        observed: what came of them, 0..1, (n,).

    Returns:
        Of each bin that is not empty: mean predicted, mean observed, and how many there are.
    """
    bins = np.minimum((predicted * N_BINS).astype(int), N_BINS - 1)
    numbers, sums, hits = (np.bincount(bins, values, N_BINS) for values in (None, predicted, observed))
    filled = numbers > 0
    return sums[filled] / numbers[filled], hits[filled] / numbers[filled], numbers[filled]
