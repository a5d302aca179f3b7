"""Acquisition functions: which galaxies volunteers should be asked about next. Galaxies with higher scores come first.

    scores = acquire("mutual-information", predictions.concentrations, predictions.schema)
    first = choose(scores, 500, features)

The functions of votes take the concentrations of Dirichlet distributions, one distribution per dropout sample.
Entropies and information are in nats. `ACQUISITIONS` holds the functions by name.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import combinations_with_replacement
from math import comb

import numpy as np
from scipy.special import betaincc, digamma, entr, gammaln, xlog1py, xlogy

from zoobot3d_tf.active_learning.options import ACTIVE_P, FEATURED_BOUND, POOL, RANDOM_SHARE, AcquisitionOptions
from zoobot3d_tf.machine import available_cores
from zoobot3d_tf.predictions.results import expected_fractions
from zoobot3d_tf.schemas import Question, Schema

MAX_OUTCOMES = 2**14
"""Largest number of outcomes of the votes on one question that are summed. Each needs a few operations per sample."""

MARKED_FRACTION = 1 / 15
"""A pixel counts if at least this fraction of volunteers is expected to mark it: one of the 15 of Galaxy Zoo: 3D."""

# 8 MB per array and thread.
_VALUES_AT_ONCE = 2**20


@dataclass(frozen=True)
class Entropies:
    """Entropies of the votes of volunteers, in nats, as samples of a model predict them.

    Attributes:
        predictive: entropy of the mean of the distributions of all samples.
        expected: mean of the entropies of these distributions.
    """

    predictive: np.ndarray
    expected: np.ndarray

    @property
    def mutual_information(self) -> np.ndarray:
        """Mutual information of the votes and the model: what the votes would tell about which sample is right.

        Houlsby et al. 2011, arXiv:1112.5745 (BALD); Gal et al. 2017, arXiv:1703.02910 (dropout samples).
        """
        # Rounding may leave a negative number where all samples agree.
        return np.maximum(self.predictive - self.expected, 0.0)


# Scores of galaxies


def acquire(
    name: str, concentrations: np.ndarray, schema: Schema, options: AcquisitionOptions | None = None
) -> np.ndarray:
    """Compute the score of each galaxy. The galaxies with the highest scores should be asked about first.

    Memory does not grow with the number of galaxies, apart from the scores. All cores are used.

    Args:
        name: one of `ACQUISITIONS`. The scores of all but "random" and "fraction-above" are sums over the questions of
            the tree; each question counts times the expected probability that a volunteer is asked it.
        concentrations: concentrations of the Dirichlet distributions, shape (galaxies, answers, samples), positive.
        schema: decision tree.
        options: options of the acquisition function.

    Returns:
        Scores, float64 (galaxies,).

    Raises:
        ValueError: the name is unknown; the concentrations have another shape or are not positive and finite; there is
            one sample, but the function compares samples; or an option is impossible.
    """
    options = options or AcquisitionOptions()
    concentrations = np.asarray(concentrations)
    _check(name, concentrations.shape, schema, options)
    function = ACQUISITIONS[name]
    if name == "random":
        return function(concentrations, schema, options)
    n_galaxies, n_answers, n_samples = concentrations.shape
    rows = max(1, _VALUES_AT_ONCE // (n_answers * n_samples * options.n_votes))

    def score(first: int) -> np.ndarray:
        piece = np.asarray(concentrations[first : first + rows], np.float64)
        if not ((piece > 0) & np.isfinite(piece)).all():
            raise ValueError("concentrations must be above 0 and finite")
        return function(piece, schema, options)

    with ThreadPoolExecutor(available_cores()) as pool:
        return np.concatenate([np.empty(0), *pool.map(score, range(0, n_galaxies, rows))])


def vote_entropies(concentrations: np.ndarray, schema: Schema, n_votes: int = 1, question: str = "") -> Entropies:
    """Compute the entropies of the votes on each question, which follow a mixture of Dirichlet-multinomials.

    Args:
        concentrations: concentrations, shape (galaxies, answers, samples), positive.
        schema: decision tree.
        n_votes: number of volunteers who answer each question.
        question: only this question; all questions if empty.

    Returns:
        Entropies, each of shape (galaxies, questions).

    Raises:
        ValueError: the tree has no such question, or the votes on a question have more than `MAX_OUTCOMES` outcomes.
    """
    for one in _counted(schema, question):
        _check_outcomes(one, n_votes)
    found = [
        _entropies(log_p for _, log_p in vote_log_p(concentrations[:, part], n_votes))
        for part in _slices(schema, question)
    ]
    return Entropies(*(np.stack([getattr(one, what) for one in found], axis=-1) for what in ("predictive", "expected")))


def vote_log_p(concentrations: np.ndarray, n_votes: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Compute the probability of each outcome of the votes on one question, of a Dirichlet-multinomial distribution.

    Args:
        concentrations: concentrations of one question, shape (galaxies, answers, samples), positive.
        n_votes: number of volunteers who answer.

    Yields:
        The votes of one outcome, int (answers,), which add to `n_votes`; and the natural logarithm of its probability,
        shape (samples, galaxies).
    """
    # With the galaxies on the last axis, all operations run over long rows.
    alpha = np.ascontiguousarray(np.moveaxis(concentrations, 0, -1), np.float64)

    def log_rising(alpha: np.ndarray) -> np.ndarray:
        """Logarithm of Gamma(alpha + k) / Gamma(alpha) / k! for k = 0..n_votes, on the first axis."""
        factors = [np.log((alpha + k) / (k + 1)) for k in range(n_votes)]
        return np.cumsum([np.zeros_like(alpha), *factors], axis=0)

    terms, log_total = log_rising(alpha), log_rising(alpha.sum(axis=0))[-1]
    for given in combinations_with_replacement(range(len(alpha)), n_votes):
        votes = np.bincount(given, minlength=len(alpha))
        yield votes, sum(terms[votes[answer], answer] for answer in np.flatnonzero(votes)) - log_total


def binomial_entropies(probabilities: np.ndarray, n_votes: int | np.ndarray) -> Entropies:
    """Compute the entropies of the number of volunteers who say yes, which follows a mixture of binomials.

    This is the case of the first Bayesian network of Galaxy Zoo (Walmsley et al. 2020, arXiv:1905.07424).

    Args:
        probabilities: probability that a volunteer says yes, shape (galaxies, samples), 0 to 1.
        n_votes: number of volunteers, for all galaxies or for each, shape (galaxies,).

    Returns:
        Entropies, each of shape (galaxies,).

    Raises:
        ValueError: a probability is outside 0 to 1, or a number is negative.
    """
    probabilities = np.asarray(probabilities, np.float64).T
    n = np.broadcast_to(np.asarray(n_votes, np.float64), probabilities.shape[1:])
    if not ((probabilities >= 0) & (probabilities <= 1)).all():
        raise ValueError("probabilities must be from 0 to 1")
    if not (n >= 0).all():
        raise ValueError(f"n_votes must be at least 0; received {n.min():g}")

    def log_p(k: int) -> np.ndarray:
        others = np.maximum(n - k, 0)
        log_ways = gammaln(n + 1) - gammaln(k + 1) - gammaln(others + 1)
        log_p = log_ways + xlogy(k, probabilities) + xlog1py(others, -probabilities)
        return np.where(k <= n, log_p, -np.inf)

    return _entropies(log_p(k) for k in range(int(n.max(initial=0)) + 1))


def many_votes_information(
    concentrations: np.ndarray, schema: Schema, question: str = ""
) -> tuple[np.ndarray, np.ndarray]:
    """Bound the mutual information of the model and the votes of very many volunteers.

    Very many votes tell the fractions themselves. The entropy of a mixture of Dirichlet distributions has no closed
    form, but pairwise distances of its components bound it (Kolchinsky & Tracey 2017, doi:10.3390/e19070361):
    Chernoff distances with alpha = 1/2 from below, Kullback-Leibler distances from above. The information is at most
    the logarithm of the number of samples.

    Args:
        concentrations: concentrations, shape (galaxies, answers, samples), positive.
        schema: decision tree.
        question: only this question; all questions if empty.

    Returns:
        Lower and upper bound, each of shape (galaxies, questions).

    Raises:
        ValueError: the tree has no such question.
    """
    bounds = [_information_bounds(concentrations[:, part]) for part in _slices(schema, question)]
    low, high = (np.stack(values, axis=-1) for values in zip(*bounds, strict=True))
    return low, high


def fraction_information(concentrations: np.ndarray, schema: Schema, question: str = "") -> np.ndarray:
    """Compute what the next vote would tell about the vote fractions of its galaxy, whatever the model learns from it.

    This is the mutual information of the vote and the fractions, which follow the mixture of Dirichlet distributions.
    It is above 0 with a single sample, too.

    Args:
        concentrations: concentrations, shape (galaxies, answers, samples), positive.
        schema: decision tree.
        question: only this question; all questions if empty.

    Returns:
        Information, shape (galaxies, questions).

    Raises:
        ValueError: the tree has no such question.
    """
    found = []
    for part in _slices(schema, question):
        alpha = np.moveaxis(np.asarray(concentrations[:, part], np.float64), 0, -1)
        total = alpha.sum(axis=0)
        fraction = alpha / total
        expected = (fraction * (digamma(total + 1) - digamma(alpha + 1))).sum(axis=0).mean(axis=0)
        found.append(np.maximum(entr(fraction.mean(axis=1)).sum(axis=0) - expected, 0.0))
    return np.stack(found, axis=-1)


def fraction_above(
    concentrations: np.ndarray, schema: Schema, answer: str, bound: float = FEATURED_BOUND
) -> np.ndarray:
    """Compute the probability that the fraction of volunteers who give an answer exceeds a bound.

    The fraction of one answer follows a Beta distribution; the samples give a mixture. Galaxy Zoo shows galaxies to
    volunteers by this number; see `choose_above`.

    Args:
        concentrations: concentrations, shape (galaxies, answers, samples), positive.
        schema: decision tree.
        answer: column of the answer, such as "smooth-or-featured_featured-or-disk".
        bound: vote fraction, 0 to 1.

    Returns:
        Probability, shape (galaxies,).

    Raises:
        ValueError: the tree has no such answer.
    """
    index = schema.get_answer(answer).index
    part = next(part for part in schema.slices if part.start <= index < part.stop)
    alpha = np.asarray(concentrations[:, index], np.float64)
    total = np.asarray(concentrations[:, part], np.float64).sum(axis=1)
    return betaincc(alpha, total - alpha, bound).mean(axis=1)


def sum_down_tree(values: np.ndarray, concentrations: np.ndarray, schema: Schema, question: str = "") -> np.ndarray:
    """Sum values of questions, each times the expected probability that a volunteer is asked the question.

    For the entropy this is the chain rule, if answers to different questions are independent given the fractions. For
    the mutual information it counts twice what two questions tell about the same sample, and is then too large.

    Args:
        values: value of each question that counts, shape (galaxies, questions).
        concentrations: concentrations, shape (galaxies, answers, samples), positive.
        schema: decision tree.
        question: the only question that counts; all questions if empty.

    Returns:
        Sums, shape (galaxies,).

    Raises:
        ValueError: the tree has no such question.
    """
    asked = schema.prob_asked(expected_fractions(concentrations, schema))
    return (values * asked[:, [schema.questions.index(one) for one in _counted(schema, question)]]).sum(axis=1)


def _information(piece: np.ndarray, schema: Schema, options: AcquisitionOptions) -> np.ndarray:
    return vote_entropies(piece, schema, options.n_votes, options.question).mutual_information


def _predictive(piece: np.ndarray, schema: Schema, options: AcquisitionOptions) -> np.ndarray:
    return vote_entropies(piece, schema, options.n_votes, options.question).predictive


def _expected(piece: np.ndarray, schema: Schema, options: AcquisitionOptions) -> np.ndarray:
    return vote_entropies(piece, schema, options.n_votes, options.question).expected


def _many_votes(piece: np.ndarray, schema: Schema, options: AcquisitionOptions) -> np.ndarray:
    return many_votes_information(piece, schema, options.question)[0]


def _fractions(piece: np.ndarray, schema: Schema, options: AcquisitionOptions) -> np.ndarray:
    return fraction_information(piece, schema, options.question)


def _above(piece: np.ndarray, schema: Schema, options: AcquisitionOptions) -> np.ndarray:
    return fraction_above(piece, schema, options.answer, options.bound)


def _random(piece: np.ndarray, schema: Schema, options: AcquisitionOptions) -> np.ndarray:
    return np.random.default_rng(options.seed).random(len(piece))


_Function = Callable[[np.ndarray, Schema, AcquisitionOptions], np.ndarray]


def _down_tree(of_questions: _Function) -> _Function:
    def score(piece: np.ndarray, schema: Schema, options: AcquisitionOptions) -> np.ndarray:
        return sum_down_tree(of_questions(piece, schema, options), piece, schema, options.question)

    return score


ACQUISITIONS: dict[str, _Function] = {
    "mutual-information": _down_tree(_information),
    "many-votes-information": _down_tree(_many_votes),
    "fraction-information": _down_tree(_fractions),
    "entropy": _down_tree(_predictive),
    "expected-entropy": _down_tree(_expected),
    "fraction-above": _above,
    "random": _random,
}
"""Acquisition functions by name, from the concentrations of some galaxies, the tree and the options to their scores."""

_OF_SAMPLES = ("mutual-information", "many-votes-information")
_OF_VOTES = ("mutual-information", "entropy", "expected-entropy")


# Batches of galaxies


def choose(scores: np.ndarray, n: int, features: np.ndarray | None = None) -> np.ndarray:
    """Choose the galaxies to ask about: those with the highest scores; with features, different ones among them.

    Galaxies that are alike have similar scores, so that the highest scores alone may be many copies of one galaxy. With
    features, the batch begins with the highest score. The greedy algorithm for the k-centre problem (Gonzalez 1985,
    doi:10.1016/0304-3975(85)90224-5; Sener & Savarese 2018, arXiv:1708.00489) then adds the candidate that is the
    farthest from all chosen ones, again and again. Candidates are the `POOL` * n galaxies with the highest scores.

    Args:
        scores: scores, shape (galaxies,), finite.
        n: number of galaxies to choose.
        features: vectors in which galaxies that are alike are close, shape (galaxies, numbers); None for the scores
            alone.

    Returns:
        Indices of the galaxies, int (n,), in the order in which they were chosen. Of equal scores, the first is taken.

    Raises:
        ValueError: there are fewer than `n` galaxies, a score or feature is not finite, or there is not one vector per
            galaxy.
    """
    scores = np.asarray(scores, np.float64)
    if not 1 <= n <= len(scores):
        raise ValueError(f"n must be from 1 to the number of galaxies, {len(scores)}; received {n}")
    if not np.isfinite(scores).all():
        raise ValueError(f"scores must be finite; received {scores[~np.isfinite(scores)][0]}")
    best = np.argsort(-scores, kind="stable")
    if features is None:
        return best[:n]
    if len(features) != len(scores):
        raise ValueError(f"features must have one vector per galaxy, {len(scores)}; received {len(features)}")
    candidates = best[: POOL * n]
    vectors = np.asarray(features[candidates], np.float32)
    if not np.isfinite(vectors).all():
        raise ValueError("features must be finite")
    return candidates[_spread(vectors, n)]


def _spread(vectors: np.ndarray, n: int) -> np.ndarray:
    """Indices of `n` vectors far from each other, beginning with the first."""
    chosen = [0]
    nearest = np.full(len(vectors), np.inf)  # distance of each vector to the nearest that is chosen
    while len(chosen) < n:
        nearest = np.minimum(nearest, np.linalg.norm(vectors - vectors[chosen[-1]], axis=1))
        nearest[chosen[-1]] = -1.0  # below the 0 of a copy, so that nothing is chosen twice
        chosen.append(int(nearest.argmax()))
    return np.array(chosen)


def choose_above(
    probability: np.ndarray,
    threshold: float = ACTIVE_P,
    share: float = RANDOM_SHARE,
    seed: int | np.random.Generator = 0,
) -> np.ndarray:
    """Choose galaxies by the rule of Galaxy Zoo: all above a threshold, and some of the others at random.

    The random ones show whether the model misses galaxies.

    Args:
        probability: probability of each galaxy, shape (galaxies,), such as `fraction_above`.
        threshold: smallest probability of a galaxy that is chosen for it.
        share: number of random galaxies divided by the number of those above the threshold. The number is rounded down.
        seed: random seed.

    Returns:
        Indices of the chosen galaxies: those above the threshold in their order, then the random ones.
    """
    is_above = np.asarray(probability) >= threshold
    others = np.flatnonzero(~is_above)
    n_random = int(share * is_above.sum() + 1e-9)  # 0.2 * 35 is 7, whatever the rounding
    spice = np.random.default_rng(seed).choice(others, min(n_random, len(others)), replace=False)
    return np.concatenate([np.flatnonzero(is_above), spice])


# Masks


def mask_entropy(fraction: np.ndarray, lowest: float = MARKED_FRACTION) -> np.ndarray:
    """Sum, over the pixels of a mask, how uncertain it is whether the next volunteer marks the pixel.

    A network that predicts only the expected fraction cannot say whether it is unsure or whether volunteers disagree;
    this entropy holds both. See `mask_information` for a network that can.

    Args:
        fraction: expected fraction of volunteers who mark each pixel, shape (..., H, W), 0 to 1.
        lowest: smallest fraction of a pixel that counts. Without it, the small fractions of the many pixels of the sky
            would add to more than the arms.

    Returns:
        Entropy in nats, shape (...).
    """
    fraction = np.asarray(fraction, np.float64)
    values = entr(fraction) + entr(1 - fraction)
    return np.where(fraction >= lowest, values, 0.0).sum(axis=(-2, -1))


def mask_information(concentrations: np.ndarray, lowest: float = MARKED_FRACTION) -> np.ndarray:
    """Sum, over the pixels of a mask, what the mark of the next volunteer tells about the fraction of volunteers.

    It is small where the network is sure of the fraction, also if volunteers disagree there.

    Args:
        concentrations: output of a mask head of the kind "beta-binomial": concentrations of marking and of not marking
            a pixel, shape (..., H, W, 2), positive.
        lowest: smallest expected fraction of a pixel that counts; see `mask_entropy`.

    Returns:
        Information in nats, shape (...).
    """
    alpha = np.asarray(concentrations, np.float64)
    total = alpha.sum(axis=-1, keepdims=True)
    fraction = alpha / total
    values = (entr(fraction) - fraction * (digamma(total + 1) - digamma(alpha + 1))).sum(axis=-1)
    return np.where(fraction[..., 0] >= lowest, values, 0.0).sum(axis=(-2, -1))


# Helpers


def _check(name: str, shape: tuple[int, ...], schema: Schema, options: AcquisitionOptions) -> None:
    if name not in ACQUISITIONS:
        raise ValueError(f"there is no acquisition {name!r}; choose one of {', '.join(ACQUISITIONS)}")
    if len(shape) != 3 or shape[1] != len(schema.answers):
        raise ValueError(
            f"concentrations must have the axes galaxy, answer and sample, with the {len(schema.answers)} answers of "
            f"{schema!r}; received shape {shape}"
        )
    if name in _OF_SAMPLES and shape[2] < 2:
        raise ValueError(
            f"{name} compares dropout samples, and needs at least two; received {shape[2]}: predict with several "
            "samples, or choose fraction-information or entropy"
        )
    if options.n_votes < 1:
        raise ValueError(f"n_votes must be at least 1; received {options.n_votes}")
    if options.n_votes > 1 and name not in _OF_VOTES:
        raise ValueError(f"n_votes applies to {', '.join(_OF_VOTES)}; it must be 1 for {name}")
    for question in _counted(schema, options.question):
        _check_outcomes(question, options.n_votes)
    if name == "fraction-above":
        if not options.answer:
            raise ValueError(f"{name} needs answer, such as {schema.label_cols[0]}")
        schema.get_answer(options.answer)
        if not 0 <= options.bound <= 1:
            raise ValueError(f"bound must be a fraction from 0 to 1; received {options.bound}")


def _counted(schema: Schema, question: str) -> tuple[Question, ...]:
    return (schema.get_question(question),) if question else schema.questions


def _slices(schema: Schema, question: str) -> list[slice]:
    counted = _counted(schema, question)
    return [part for one, part in zip(schema.questions, schema.slices, strict=True) if one in counted]


def _check_outcomes(question: Question, n_votes: int) -> None:
    """Refuse more outcomes than can be summed, before the work."""
    n_answers = len(question.answers)

    def n_outcomes(n: int) -> int:
        return comb(n + n_answers - 1, n)

    if n_outcomes(n_votes) > MAX_OUTCOMES:
        most = n_votes
        while n_outcomes(most) > MAX_OUTCOMES:
            most -= 1
        raise ValueError(
            f"n_votes must be at most {most} for the {n_answers} answers of {question.text}; received {n_votes}; for "
            "more votes, choose one question of few answers, or many-votes-information"
        )


def _entropies(log_ps: Iterable[np.ndarray]) -> Entropies:
    """Entropies from the log-probabilities of all outcomes, each of shape (samples, galaxies)."""
    predictive, expected = np.float64(0), np.float64(0)
    for log_p in log_ps:
        p = np.exp(log_p)
        predictive = predictive + entr(p.mean(axis=0))
        expected = expected + entr(p).mean(axis=0)
    return Entropies(np.asarray(predictive), np.asarray(expected))


def _information_bounds(concentrations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bounds of `many_votes_information` for one question, from concentrations (galaxies, answers, samples)."""
    alpha = np.moveaxis(np.asarray(concentrations, np.float64), 0, -1)
    log_beta = _log_beta(alpha)
    mean_log = digamma(alpha) - digamma(alpha.sum(axis=0))  # of the fractions of each sample
    low, high = [], []
    for sample in range(alpha.shape[1]):
        one = alpha[:, sample, None]
        chernoff = (log_beta[sample] + log_beta) / 2 - _log_beta((one + alpha) / 2)
        divergence = log_beta - log_beta[sample] + ((one - alpha) * mean_log[:, sample, None]).sum(axis=0)
        low.append(-np.log(np.exp(-chernoff).mean(axis=0)))
        high.append(-np.log(np.exp(-divergence).mean(axis=0)))
    return np.mean(low, axis=0), np.mean(high, axis=0)


def _log_beta(alpha: np.ndarray) -> np.ndarray:
    """Logarithm of the normalisation of a Dirichlet distribution, with the answers on the first axis."""
    return gammaln(alpha).sum(axis=0) - gammaln(alpha.sum(axis=0))
