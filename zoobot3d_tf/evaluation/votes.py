"""Scores of vote fractions, with two errors for comparison: always predicting the mean, and the noise of the votes."""

from dataclasses import dataclass

import numpy as np
from scipy.special import betaln, gammaln, xlog1py, xlogy

from zoobot3d_tf.predictions.results import INTERVAL_LEVEL
from zoobot3d_tf.schemas import Schema, fraction_errors, vote_fractions

# Number of fractions in the fitted distribution, and of steps of its fit. Larger numbers change the floor by < 1 %.
_N_FRACTIONS = 50
_EM_STEPS = 200


@dataclass(frozen=True)
class VoteScores:
    """Scores over the answers of one question, or of all questions. Each answer of each galaxy asked has equal weight.

    Attributes:
        n_galaxies: number of galaxies for which the question was asked.
        mae: mean absolute difference of predicted and observed fractions.
        mean_mae: mean absolute difference if the mean observed fraction of each answer is predicted for all galaxies.
            The mean is taken over the scored galaxies, which favours this baseline a little.
        noise_floor: expected mean absolute difference of the true fractions; see `noise_floor`.
        coverage: share of the observed votes in the central predicted interval of probability `INTERVAL_LEVEL`; see
            `predictive_coverage`.
    """

    n_galaxies: int
    mae: float
    mean_mae: float
    noise_floor: float
    coverage: float

    @property
    def gain(self) -> float:
        """Relative decrease of the error compared with always predicting the mean."""
        return 1 - self.mae / self.mean_mae if self.mean_mae > 0 else float("nan")

    @property
    def times_floor(self) -> float:
        """Error divided by the noise floor."""
        return self.mae / self.noise_floor if self.noise_floor > 0 else float("nan")


def score_votes(
    predicted: np.ndarray, concentrations: np.ndarray, votes: np.ndarray, schema: Schema
) -> dict[str, VoteScores]:
    """Score predicted votes.

    Args:
        predicted: expected fractions, shape (galaxies, answers), in the order of `schema.label_cols`.
        concentrations: concentrations of the predicted Dirichlet distributions, shape (galaxies, answers, samples).
        votes: numbers of votes, shape (galaxies, answers).
        schema: decision tree.

    Returns:
        Scores by the text of the question, for questions asked for at least one galaxy; last, under 'all', the scores
        over all answers.
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
    """Compute the mean error of vote fractions over all answers, and the mean error of a constant answer.

    Args:
        predicted: expected fractions, shape (galaxies, answers).
        votes: numbers of votes, same shape.
        schema: decision tree.

    Returns:
        `fraction_mae`, the mean absolute error over all questions that were asked; `fraction_mae_of_always_the_mean`,
        the mean absolute error of always predicting the mean observed fraction of each answer.
    """
    error, error_of_mean, asked = _errors(predicted, votes, schema)
    return {
        "fraction_mae": float(error.mean(where=asked)),
        "fraction_mae_of_always_the_mean": float(error_of_mean.mean(where=asked)),
    }


def noise_floor(votes: np.ndarray, schema: Schema) -> np.ndarray:
    """Estimate the error that the true fractions are expected to have, because few volunteers vote.

    With N volunteers the votes of an answer are binomially distributed around its true fraction p, and the expected
    difference of p and the observed fraction is `binomial_deviation(N, p)`. The true fractions are not known. Estimated
    from the predictions, the floor would be too low for predictions that are too similar to each other. Therefore the
    distribution of p over galaxies is fitted to the votes of each answer by maximum likelihood, without assuming a
    shape (Kiefer & Wolfowitz 1956, Annals of Mathematical Statistics 27, 887). The deviation is averaged over the
    posterior of p, given this distribution and the votes of the galaxy. The floor is right to 5 % for five volunteers
    or more. Single votes cannot tell noise from differences between galaxies.

    Args:
        votes: numbers of votes, shape (galaxies, answers).
        schema: decision tree.

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
    """Compute the mean absolute deviation of a binomial share.

    This is the closed form of de Moivre (Diaconis & Zabell 1991, Statistical Science 6, 284). For large n it is about
    sqrt(2 p (1 - p) / (pi n)).

    Args:
        n: number of trials, >= 1.
        p: probability of success, 0..1; broadcasts with n.

    Returns:
        Expected |k/n - p|, where k is the number of successes.
    """
    above = np.minimum(np.floor(n * p) + 1, n)
    log_choose = gammaln(n + 1) - gammaln(above + 1) - gammaln(n - above + 1)
    return 2 * above / n * np.exp(log_choose + xlogy(above, p) + xlog1py(n - above + 1, -p))


def predictive_coverage(
    concentrations: np.ndarray, votes: np.ndarray, schema: Schema, level: float = INTERVAL_LEVEL
) -> np.ndarray:
    """Compute how much of each observed number of votes lies in the central interval of its predicted distribution.

    The predicted distribution is a mixture of beta-binomial distributions, one per sample of the concentrations, so it
    includes the noise of the votes. Votes are whole numbers. A number at the edge of the interval counts in part: by
    the share of its probability inside the interval. For perfect predictions the mean over galaxies is then `level`,
    for any number of volunteers. This is the non-randomised probability integral transform (Czado, Gneiting & Held
    2009, Biometrics 65, 1254).

    Args:
        concentrations: concentrations, > 0, shape (galaxies, answers, samples).
        votes: numbers of votes, shape (galaxies, answers).
        schema: decision tree.
        level: probability of the interval, 0..1.

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
    """Errors of the predictions and of the mean fractions, and whether asked: (galaxies, answers) each."""
    error, asked = fraction_errors(predicted, votes, schema, np)
    observed = vote_fractions(votes, schema)
    means = observed.sum(axis=0, where=asked) / np.maximum(asked.sum(axis=0), 1)
    error_of_mean, _ = fraction_errors(means, votes, schema, np)
    return error, error_of_mean, asked


def _expected_deviation(k: np.ndarray, n: np.ndarray) -> np.ndarray:
    """Expected noise of the votes k of n for one answer, (galaxies,), under the best fitting distribution of p."""
    pairs, place, n_galaxies = np.unique(np.stack([k, n]), axis=1, return_inverse=True, return_counts=True)
    k, n = pairs[..., None]
    # Denser towards 0 and 1, where binomial distributions are narrower.
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
    """Probabilities of k, and of at most k, votes of n: (m,) each; alpha and beta of the mixture are (m, samples)."""
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
