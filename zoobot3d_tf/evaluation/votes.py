"""Scores of vote fractions, beside what is cheap (always predicting the mean) and what is possible (vote noise)."""

from dataclasses import dataclass

import numpy as np
from scipy.special import betaln, gammaln, xlog1py, xlogy

from zoobot3d_tf.predictions.results import INTERVAL_LEVEL
from zoobot3d_tf.schemas import Schema, fraction_errors, vote_fractions

# Fractions that the fitted distribution may consist of, and steps of the fit: more of either change the floor by < 1 %.
_N_FRACTIONS = 50
_EM_STEPS = 200


@dataclass(frozen=True)
class VoteScores:
    """Scores over the answers of one question, or of all; every answer of a galaxy that was asked counts alike.

    Attributes:
        n_galaxies: that were asked.
        mae: mean absolute difference of predicted and observed fractions.
        mean_mae: the same when always predicting each answer's mean observed fraction, taken from the very galaxies
            that it is scored on, which favours it a little.
        noise_floor: the same when predicting the true fractions; see `noise_floor`.
        coverage: how often observed votes lie in the central 90 % of what was predicted; see `predictive_coverage`.
    """

    n_galaxies: int
    mae: float
    mean_mae: float
    noise_floor: float
    coverage: float

    @property
    def gain(self) -> float:
        """Share of the error of always predicting the mean that the predictions take away."""
        return 1 - self.mae / self.mean_mae if self.mean_mae > 0 else float("nan")

    @property
    def times_floor(self) -> float:
        """The error as a multiple of the noise floor."""
        return self.mae / self.noise_floor if self.noise_floor > 0 else float("nan")


def score_votes(
    predicted: np.ndarray, concentrations: np.ndarray, votes: np.ndarray, schema: Schema
) -> dict[str, VoteScores]:
    """Score predicted votes.

    Args:
        predicted: expected fractions, shape (galaxies, answers), answers in `schema.label_cols` order.
        concentrations: of the Dirichlet distributions behind them, shape (galaxies, answers, samples).
        votes: counts, shape (galaxies, answers).
        schema: the decision tree.

    Returns:
        Scores of each question that any galaxy was asked, by its text; last, under 'all', of all answers together.
    """
    error, error_of_mean, asked = _errors(predicted, votes, schema)
    by_answer = {
        "mae": error,
        "mean_mae": error_of_mean,
        "noise_floor": noise_floor(votes, schema),
        "coverage": predictive_coverage(concentrations, votes, schema),
    }
    parts = {question.text: part for question, part in zip(schema.questions, schema.slices, strict=True)}
    parts["all"] = slice(None)
    return {
        name: VoteScores(
            n_galaxies=int(asked[:, part].any(axis=1).sum()),
            **{score: float(values[:, part].mean(where=asked[:, part])) for score, values in by_answer.items()},
        )
        for name, part in parts.items()
        if asked[:, part].any()
    }


def fraction_scores(predicted: np.ndarray, votes: np.ndarray, schema: Schema) -> dict[str, float]:
    """Mean error of vote fractions over all answers of questions that were asked, beside that of a constant answer.

    Args:
        predicted: expected fractions, shape (galaxies, answers).
        votes: counts, same shape.
        schema: the decision tree.

    Returns:
        `fraction_mae`; `fraction_mae_of_always_the_mean`, that of always giving each answer's mean observed fraction.
    """
    error, error_of_mean, asked = _errors(predicted, votes, schema)
    return {
        "fraction_mae": float(error.mean(where=asked)),
        "fraction_mae_of_always_the_mean": float(error_of_mean.mean(where=asked)),
    }


def noise_floor(votes: np.ndarray, schema: Schema) -> np.ndarray:
    """Error that the true fractions themselves would be expected to show, because few volunteers vote.

    With N volunteers the votes of an answer are binomial about its true fraction p, so that even p misses the observed
    fraction by `binomial_deviation(N, p)`. The true fractions are not known, nor are they taken from the predictions,
    which would flatter blurred ones. How they are distributed over galaxies is fitted to the votes of each answer by
    maximum likelihood, without assuming a shape (Kiefer & Wolfowitz 1956, Annals of Mathematical Statistics 27, 887);
    the deviation is averaged over the p that this distribution and the galaxy's own votes leave possible. With five
    volunteers or more it is right to 5 %; single votes alone cannot tell noise from differences between galaxies.

    Args:
        votes: counts, shape (galaxies, answers).
        schema: the decision tree.

    Returns:
        Expected absolute errors, same shape; NaN where a question was not asked.
    """
    n_asked = schema.repeat_by_question(schema.sum_by_question(votes))
    floor = np.full(votes.shape, np.nan)
    for answer in range(votes.shape[1]):
        asked = n_asked[:, answer] > 0
        if asked.any():
            floor[asked, answer] = _expected_deviation(votes[asked, answer], n_asked[asked, answer])
    return floor


def binomial_deviation(n: np.ndarray, p: np.ndarray) -> np.ndarray:
    """Expected |k/n - p| of k successes in n trials of probability p: about sqrt(2 p (1 - p) / (pi n)) for large n.

    De Moivre's closed form (Diaconis & Zabell 1991, Statistical Science 6, 284).
    """
    above = np.minimum(np.floor(n * p) + 1, n)
    log_choose = gammaln(n + 1) - gammaln(above + 1) - gammaln(n - above + 1)
    return 2 * above / n * np.exp(log_choose + xlogy(above, p) + xlog1py(n - above + 1, -p))


def predictive_coverage(
    concentrations: np.ndarray, votes: np.ndarray, schema: Schema, level: float = INTERVAL_LEVEL
) -> np.ndarray:
    """How much of each observed vote count lies in the central interval of its predicted distribution.

    Predicted is a mixture of beta-binomial distributions, one a sample of concentrations: vote noise is part of
    it. Counts are whole numbers: one that straddles the edge of the interval counts in part, by the share of its
    probability on the inner side. The mean over galaxies is then `level` for perfect predictions, however few the
    volunteers (the non-randomised probability integral transform; Czado, Gneiting & Held 2009, Biometrics 65, 1254).

    Args:
        concentrations: shape (galaxies, answers, samples), > 0.
        votes: counts, shape (galaxies, answers).
        schema: the decision tree.
        level: probability of the interval.

    Returns:
        Values in 0..1, shape (galaxies, answers); NaN where a question was not asked.
    """
    n_asked = schema.repeat_by_question(schema.sum_by_question(votes))
    tail = (1 - level) / 2
    coverage = np.full(votes.shape, np.nan)
    for question, part in zip(schema.questions, schema.slices, strict=True):
        total = concentrations[:, part].sum(axis=1)
        for answer in question.answers:
            asked = n_asked[:, answer.index] > 0
            alpha = concentrations[asked, answer.index]
            beta = total[asked] - alpha
            pmf, cdf = _beta_binomial(votes[asked, answer.index], n_asked[asked, answer.index], alpha, beta)
            inside = np.clip(cdf, tail, 1 - tail) - np.clip(cdf - pmf, tail, 1 - tail)
            coverage[asked, answer.index] = np.divide(inside, pmf, out=np.zeros_like(pmf), where=pmf > 0)
    return coverage


def _errors(predicted: np.ndarray, votes: np.ndarray, schema: Schema) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Errors of fractions, those of always predicting the mean, and where they count: (galaxies, answers) each."""
    error, asked = fraction_errors(predicted, votes, schema, np)
    observed = vote_fractions(votes, schema)
    means = observed.sum(axis=0, where=asked) / np.maximum(asked.sum(axis=0), 1)
    error_of_mean, _ = fraction_errors(means, votes, schema, np)
    return error, error_of_mean, asked


def _expected_deviation(k: np.ndarray, n: np.ndarray) -> np.ndarray:
    """Noise of one answer's votes, k of n, (galaxies,), given the distribution of fractions p that fits them best."""
    pairs, place, n_galaxies = np.unique(np.stack([k, n]), axis=1, return_inverse=True, return_counts=True)
    k, n = pairs[..., None]
    # Denser towards 0 and 1, as the widths of binomial distributions ask.
    p = np.sin(np.pi / 2 * (np.arange(_N_FRACTIONS) + 0.5) / _N_FRACTIONS) ** 2
    log_likelihood = xlogy(k, p) + xlog1py(n - k, -p)
    likelihood = np.exp(log_likelihood - log_likelihood.max(axis=1, keepdims=True))
    weights = np.full(_N_FRACTIONS, 1 / _N_FRACTIONS)
    for _ in range(_EM_STEPS):
        posterior = weights * likelihood
        posterior /= posterior.sum(axis=1, keepdims=True)
        weights = n_galaxies @ posterior / n_galaxies.sum()
    return (posterior * binomial_deviation(n, p)).sum(axis=1)[place.ravel()]


def _beta_binomial(k: np.ndarray, n: np.ndarray, alpha: np.ndarray, beta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Probability of k, and of at most k, votes of n under mixtures of beta-binomials: (m,), (m,) and (m, samples)."""
    k, n = k[:, None], n[:, None]
    log_pmf = betaln(alpha, beta + n) - betaln(alpha, beta)
    cdf = np.exp(log_pmf)
    for j in range(1, int(k.max(initial=0)) + 1):
        reached = j <= k
        left = np.maximum(n - j, 0)
        ratio = (left + 1) / j * (alpha + j - 1) / (beta + left)
        log_pmf += np.log(np.where(reached, ratio, 1))
        cdf += np.where(reached, np.exp(log_pmf), 0)
    return np.exp(log_pmf).mean(axis=1), cdf.mean(axis=1)
