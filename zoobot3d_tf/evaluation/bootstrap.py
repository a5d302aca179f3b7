"""Confidence intervals of scores: how much a score depends on which galaxies happen to be in the test set."""

from collections.abc import Callable

import numpy as np

from zoobot3d_tf.predictions.results import INTERVAL_LEVEL

N_RESAMPLES = 1000
"""Number of random test sets from which an interval is computed."""


def bootstrap_interval(
    score: Callable[[np.ndarray], float],
    n_galaxies: int,
    level: float = INTERVAL_LEVEL,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> tuple[float, float]:
    """Compute the central interval of a score over galaxies that are drawn with replacement from the test galaxies.

    This is the percentile interval of Efron & Tibshirani (1986, Statistical Science 1, 54). It holds the chance of the
    choice of galaxies alone, not that of the training.

    Args:
        score: function that computes the score of the galaxies with the given indices, int, shape (n_galaxies,), which
            may repeat. It may return NaN if these galaxies have no score, such as an AUC without one of the classes.
        n_galaxies: number of test galaxies.
        level: probability of the interval, 0..1.
        n_resamples: number of draws.
        seed: seed of the draws. The same seed draws the same galaxies for all scores of one test set.

    Returns:
        Lower and upper end of the interval; NaN if no draw has a score.
    """
    rng = np.random.default_rng(seed)
    scores = np.array([score(rng.integers(n_galaxies, size=n_galaxies)) for _ in range(n_resamples)], float)
    scores = scores[np.isfinite(scores)]
    if not len(scores):
        return float("nan"), float("nan")
    low, high = np.quantile(scores, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
