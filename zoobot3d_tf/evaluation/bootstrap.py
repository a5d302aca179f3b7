"""Confidence intervals of scores: how much a score depends on which galaxies happen to be in the test set."""

import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from scipy.special import ndtri

from zoobot3d_tf.predictions.results import INTERVAL_LEVEL

N_RESAMPLES = 1000
"""Number of random test sets from which an interval is computed."""

_DRAWS_AT_ONCE = 50  # limits the memory, and is enough for a fast product of matrices


@dataclass(frozen=True)
class Score:
    """A score of some galaxies, with its interval of probability `INTERVAL_LEVEL`.

    Attributes:
        value: score of the test galaxies; NaN if they have none.
        low: lower end of the interval; see `bootstrap_interval`.
        high: upper end of the interval.
    """

    value: float
    low: float
    high: float

    def text(self, form: str = ".3f") -> str:
        """Format the score, with its interval in brackets, such as "0.812 (0.790 to 0.834)".

        Args:
            form: format of the numbers, such as ".0%".
        """
        return f"{self.value:{form}} ({self.low:{form}} to {self.high:{form}})"


@dataclass(frozen=True)
class ScoreLine:
    """One line of a table of scores.

    Attributes:
        name: what is measured.
        score: the score with its interval.
        n_galaxies: number of galaxies that decide it.
        baseline: score of the baseline on the same galaxies; NaN if there is none.
        baseline_name: what the baseline does, such as "always the training mean".
        of_class: class that the score is about; '' for all.
    """

    name: str
    score: Score
    n_galaxies: int
    baseline: float = math.nan
    baseline_name: str = ""
    of_class: str = ""

    def text(self) -> str:
        """Format as in "accuracy: 0.75 (0.5 to 1), 8 galaxies; always '0': 0.5"."""
        name = self.name.replace("_", " ") + (f" of {self.of_class!r}" if self.of_class else "")
        n_galaxies = f"{self.n_galaxies} galax{'y' if self.n_galaxies == 1 else 'ies'}"
        if math.isnan(self.score.value):
            return f"{name}: not known from {n_galaxies}"
        has_baseline = self.baseline_name and not math.isnan(self.baseline)
        baseline = f"; {self.baseline_name}: {self.baseline:.3g}" if has_baseline else ""
        return f"{name}: {self.score.text('.3g')}, {n_galaxies}{baseline}"

    def to_dict(self) -> dict[str, Any]:
        """Convert to a dictionary for JSON, in which NaN is None."""
        numbers = {"value": self.score.value, "low": self.score.low, "high": self.score.high}
        stored: dict[str, Any] = {name: _or_none(value) for name, value in numbers.items()}
        stored["galaxies"] = self.n_galaxies
        if self.baseline_name:
            stored |= {"baseline": _or_none(self.baseline), "baseline_name": self.baseline_name}
        return stored


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
        n_galaxies: number of test galaxies; without any, there is no score.
        level: probability of the interval, 0..1.
        n_resamples: number of draws.
        seed: seed of the draws. The same seed draws the same galaxies for all scores of one test set.

    Returns:
        Lower and upper end of the interval; NaN if no draw has a score.
    """
    return central_interval([score(rows) for rows in _draws(n_galaxies, n_resamples, seed)], level)


def resample_counts(n_galaxies: int, n_resamples: int = N_RESAMPLES, seed: int = 0) -> np.ndarray:
    """Count how often each galaxy is drawn, for scores of sums over galaxies: their sums are then matrix products.

    Args:
        n_galaxies: number of test galaxies.
        n_resamples: number of draws.
        seed: seed of the draws, which are those of `bootstrap_interval`.

    Returns:
        Numbers, float64, shape (n_resamples, n_galaxies); shape (0, 0) without galaxies.
    """
    counts = [np.bincount(rows, minlength=n_galaxies) for rows in _draws(n_galaxies, n_resamples, seed)]
    return np.array(counts, float).reshape(len(counts), n_galaxies)


def central_interval(scores: Sequence[float] | np.ndarray, level: float = INTERVAL_LEVEL) -> tuple[float, float]:
    """Compute the central interval of the scores of random test sets, of which those that are NaN are left out.

    Returns:
        Lower and upper end of the interval; NaN if there is no score.
    """
    scores = np.asarray(scores, float)
    scores = scores[np.isfinite(scores)]
    if not len(scores):
        return float("nan"), float("nan")
    low, high = np.quantile(scores, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def bootstrap_score(score: Callable[[np.ndarray], float], n_galaxies: int) -> Score:
    """Compute a score and its interval.

    Args:
        score: function that computes the score of the galaxies with the given indices; see `bootstrap_interval`.
        n_galaxies: number of test galaxies.

    Returns:
        The score of all test galaxies, each once; NaN without galaxies.
    """
    value = float(score(np.arange(n_galaxies))) if n_galaxies else float("nan")
    return Score(value, *bootstrap_interval(score, n_galaxies))


def ratio_score(parts: np.ndarray, wholes: np.ndarray | None = None) -> Score:
    """Compute the ratio of two sums over galaxies, such as an overlap of masks or a weighted mean, and its interval.

    Args:
        parts: contribution of each galaxy to the numerator, shape (galaxies,).
        wholes: contribution of each galaxy to the denominator, same shape. By default 1, so that the score is the mean.

    Returns:
        The ratio; NaN if the denominator is 0.
    """
    parts = np.asarray(parts, float)
    wholes = np.ones(len(parts)) if wholes is None else np.asarray(wholes, float)

    return bootstrap_score(lambda rows: float(ratio(parts[rows].sum(), wholes[rows].sum())), len(parts))


def resampled_sums(values: np.ndarray, n_resamples: int = N_RESAMPLES, seed: int = 0) -> np.ndarray:
    """Sum values over the galaxies of each random test set, for many scores at once that follow from sums.

    The galaxies are those that `bootstrap_interval` draws with the same seed.

    Args:
        values: contributions of each galaxy, finite, shape (galaxies, ...).
        n_resamples: number of draws.
        seed: seed of the draws.

    Returns:
        Sums, shape (n_resamples, ...).
    """
    n_galaxies = len(values)
    flat = values.reshape(n_galaxies, math.prod(values.shape[1:]))
    sums = np.zeros((n_resamples, flat.shape[1]))
    draws = _draws(n_galaxies, n_resamples, seed)
    for start in range(0, n_resamples if n_galaxies else 0, _DRAWS_AT_ONCE):
        part = sums[start : start + _DRAWS_AT_ONCE]
        times = [np.bincount(rows, minlength=n_galaxies) for rows in islice(draws, len(part))]
        part[:] = np.stack(times).astype(float) @ flat
    return sums.reshape(n_resamples, *values.shape[1:])


def interval_of_draws(scores: np.ndarray, level: float = INTERVAL_LEVEL) -> tuple[np.ndarray, np.ndarray]:
    """Compute the central interval of scores of random test sets.

    Args:
        scores: scores, shape (draws, ...); NaN for draws without a score.
        level: probability of the interval, 0..1.

    Returns:
        Lower and upper ends, each of shape (...); NaN if no draw has a score.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "All-NaN slice", RuntimeWarning)
        low, high = np.nanquantile(scores, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return low, high


def ratio(parts: np.ndarray, wholes: np.ndarray) -> np.ndarray:
    """Divide sums; NaN where the denominator is 0. Both have the same shape."""
    return np.divide(parts, wholes, out=np.full(np.shape(wholes), np.nan), where=np.asarray(wholes) != 0)


def ratio_scores(parts: np.ndarray, wholes: np.ndarray, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compute many scores of `ratio_score` at once.

    Args:
        parts: contributions of each galaxy to the numerators, finite, shape (galaxies, ...).
        wholes: contributions of each galaxy to the denominators, same shape.
        seed: seed of the draws.

    Returns:
        Values, and lower and upper ends of their intervals, each of shape (...); NaN where a denominator is 0.
    """
    draws = resampled_sums(np.stack([parts, wholes], axis=1).astype(float), seed=seed)
    low, high = interval_of_draws(ratio(draws[:, 0], draws[:, 1]))
    return ratio(parts.sum(axis=0), wholes.sum(axis=0)), low, high


def _draws(n_galaxies: int, n_resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Indices of the galaxies of each random test set; no test set without galaxies."""
    rng = np.random.default_rng(seed)
    for _ in range(n_resamples if n_galaxies else 0):
        yield rng.integers(n_galaxies, size=n_galaxies)


def lines_to_dict(lines: Iterable[ScoreLine]) -> dict[str, Any]:
    """Convert scores to a dictionary for JSON: by name and, where they are about a class, then by class."""
    stored: dict[str, Any] = {}
    for line in lines:
        if line.of_class:
            stored.setdefault(line.name, {})[line.of_class] = line.to_dict()
        else:
            stored[line.name] = line.to_dict()
    return stored


def share_interval(hits: Any, n: Any, level: float = INTERVAL_LEVEL) -> tuple[Any, Any]:
    """Compute the interval of shares that are measured on independent galaxies.

    This is the score interval of Wilson (1927, Journal of the American Statistical Association 22, 209). Unlike a
    bootstrap, it has a width if none or all of a few galaxies are hits.

    Args:
        hits: numbers of hits, 0..n, numbers or arrays of any shape.
        n: numbers of galaxies, >= 1, same shape.
        level: probability of the interval, 0..1.

    Returns:
        Lower and upper ends, 0..1, same shape.
    """
    z2 = ndtri((1 + level) / 2) ** 2
    centre = (hits + z2 / 2) / (n + z2)
    half = np.sqrt(z2 * (hits * (n - hits) / n + z2 / 4)) / (n + z2)
    return centre - half, centre + half


def _or_none(value: float) -> float | None:
    return value if math.isfinite(value) else None
