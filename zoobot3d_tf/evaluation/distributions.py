"""Predicted distributions of votes: mixtures of Dirichlet-multinomials, one per sample of the concentrations.

The samples have equal weights. They are dropout samples of one network, or come from several networks.
"""

from collections.abc import Iterator

import numpy as np
from scipy.special import betaln, gammaln, logsumexp

from zoobot3d_tf.schemas import Schema


def votes_nll(concentrations: np.ndarray, votes: np.ndarray, schema: Schema) -> np.ndarray:
    """Compute the negative log-likelihood of the votes on each question; see `question_nll`.

    Args:
        concentrations: concentrations, > 0, shape (galaxies, answers, samples).
        votes: numbers of votes, shape (galaxies, answers).
        schema: decision tree.

    Returns:
        Negative log-likelihoods in nats, shape (galaxies, questions); NaN where a question was not asked.
    """
    nll = np.full((len(votes), len(schema.questions)), np.nan)
    for question, part in enumerate(schema.slices):
        asked = votes[:, part].sum(axis=1) > 0
        nll[asked, question] = question_nll(concentrations[asked, part], votes[asked, part])
    return nll


def question_nll(concentrations: np.ndarray, votes: np.ndarray) -> np.ndarray:
    """Compute the negative log-likelihood of the votes on one question, with the multinomial coefficient.

    With n votes k_i, concentrations a_i of one sample and their sum A, the probability is (Walmsley et al. 2022, arXiv
    2102.08414, equation 2)

        n! / prod k_i!  *  Gamma(A) / Gamma(A + n)  *  prod Gamma(a_i + k_i) / Gamma(a_i),

    and that of the mixture is its mean over the samples.

    Args:
        concentrations: concentrations, > 0, shape (galaxies, answers, samples).
        votes: numbers of votes, shape (galaxies, answers).

    Returns:
        Negative log-likelihoods in nats, shape (galaxies,).
    """
    n_votes, total = votes.sum(axis=1), concentrations.sum(axis=1)
    by_answer = gammaln(concentrations + votes[..., None]) - gammaln(concentrations)
    by_sample = by_answer.sum(axis=1) + gammaln(total) - gammaln(total + n_votes[:, None])
    coefficient = gammaln(n_votes + 1) - gammaln(votes + 1).sum(axis=1)
    return np.log(total.shape[1]) - logsumexp(by_sample, axis=1) - coefficient


def answer_probabilities(n: np.ndarray, alpha: np.ndarray, beta: np.ndarray) -> Iterator[np.ndarray]:
    """Compute the probability that an answer gets k of n votes, for k = 0, 1, ... up to the largest n.

    The votes on one answer of a Dirichlet-multinomial follow a beta-binomial distribution, whose parameters are the
    concentration of the answer and the sum of the others.

    Args:
        n: numbers of votes on the question, shape (galaxies,).
        alpha: concentrations of the answer, > 0, shape (galaxies, samples).
        beta: sums of the concentrations of the other answers, same shape.

    Yields:
        Probabilities under the mixture of the samples, shape (galaxies,); 0 where k > n.
    """
    n = n[:, None]
    log_pmf = betaln(alpha, beta + n) - betaln(alpha, beta)
    yield np.exp(log_pmf).mean(axis=1)
    for k in range(1, int(n.max(initial=0)) + 1):
        possible = k <= n
        others = np.maximum(n - k, 0)
        ratio = (others + 1) / k * (alpha + k - 1) / (beta + others)
        log_pmf += np.log(np.where(possible, ratio, 1))
        yield np.where(possible[:, 0], np.exp(log_pmf).mean(axis=1), 0)
