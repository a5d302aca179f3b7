"""Calibration: predicted probabilities compared with observed frequencies, and one factor per question that mends them.

places = place_votes(concentrations, votes, schema)    # where the votes lie in their predicted distributions
coverage_curve(places).error                           # 0 if intervals of all levels hold what they promise
scales = fit_scales(concentrations, votes, schema)     # on validation galaxies
place_votes(scaled(concentrations, scales, schema), votes, schema)
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar

from zoobot3d_tf.evaluation.bootstrap import Score, ratio, ratio_scores
from zoobot3d_tf.evaluation.distributions import answer_probabilities, question_nll
from zoobot3d_tf.predictions.results import INTERVAL_LEVEL, expected_fractions
from zoobot3d_tf.schemas import Schema, vote_fractions

N_BINS = 10
"""Number of bins of a reliability curve, all of the same width."""
LEVELS = np.linspace(0.05, 0.95, 19)
"""Levels of the intervals of a coverage curve."""
DEVIATIONS = np.linspace(0, 0.5, 11)
"""Deviations of vote fractions of a deviation curve."""
QUOTED_DEVIATION = 0.2
"""Deviation for which Walmsley et al. 2020 quote their coverage error; see `deviation_curve`."""
TOLERANCE = 0.03
"""Difference of the coverage from its level up to which intervals count as right."""
MIN_GALAXIES = 50
"""Smallest number of galaxies with two or more votes to which the factor of a question is fitted."""
SCALE_LIMITS = (0.01, 100.0)
"""Smallest and largest factor of `fit_scales`."""

# Deviations that are equal by hand differ in the last digits.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Curve:
    """Observed against predicted values. Intervals have the probability `INTERVAL_LEVEL`, by bootstrap over galaxies.

    Attributes:
        at: places on the horizontal axis: levels, deviations or predicted values, shape (points,).
        predicted: mean predicted values, same shape. If calibrated, the observed values are equal to them.
        observed: mean observed values, same shape.
        low: lower ends of the intervals of the observed values, same shape.
        high: upper ends, same shape.
        numbers: number of values behind each point, same shape.
    """

    at: np.ndarray
    predicted: np.ndarray
    observed: np.ndarray
    low: np.ndarray
    high: np.ndarray
    numbers: np.ndarray

    @property
    def errors(self) -> np.ndarray:
        """Absolute differences of predicted and observed values, shape (points,)."""
        return np.abs(self.predicted - self.observed)

    @property
    def error(self) -> float:
        """Mean of the errors, weighted by the numbers; NaN without values."""
        return float(ratio((self.errors * self.numbers).sum(), self.numbers.sum()))

    def error_at(self, place: float) -> float:
        """Find the error of the point whose `at` is nearest to a place, such as `QUOTED_DEVIATION`."""
        return float(self.errors[np.abs(self.at - place).argmin()])


@dataclass(frozen=True)
class VotePlaces:
    """Where each observed number of votes k lies in its predicted distribution of the number K.

    Attributes:
        below: probability of K < k, shape (galaxies, answers); NaN where a question was not asked.
        equal: probability of K = k, likewise.
    """

    below: np.ndarray
    equal: np.ndarray


def place_votes(concentrations: np.ndarray, votes: np.ndarray, schema: Schema) -> VotePlaces:
    """Find the places of the votes in their predicted distributions.

    The predicted distribution is a mixture of beta-binomial distributions, one per sample of the concentrations, so it
    includes the noise of the votes.

    Args:
        concentrations: concentrations, > 0, shape (galaxies, answers, samples).
        votes: numbers of votes, shape (galaxies, answers).
        schema: decision tree.
    """
    places = VotePlaces(*np.full((2, *votes.shape), np.nan))
    for answer, asked, n_asked, alpha, beta in _asked_answers(concentrations, votes, schema):
        observed = votes[asked, answer]
        below, equal = np.zeros((2, len(observed)))
        for k, probability in enumerate(answer_probabilities(n_asked, alpha, beta)):
            below += np.where(k < observed, probability, 0)
            equal += np.where(k == observed, probability, 0)
        places.below[asked, answer], places.equal[asked, answer] = below, equal
    return places


def coverage(places: VotePlaces, level: float = INTERVAL_LEVEL) -> np.ndarray:
    """Compute how much of each observed number of votes lies in the central interval of its predicted distribution.

    Votes are whole numbers. A number at the edge of the interval counts in part: by the share of its probability inside
    the interval. For perfect predictions the mean over galaxies is then `level`, for any number of volunteers. This is
    the non-randomised probability integral transform (Czado, Gneiting & Held 2009, Biometrics 65, 1254).

    Args:
        places: places of the votes.
        level: probability of the interval, 0..1.

    Returns:
        Values in 0..1, shape (galaxies, answers); NaN where a question was not asked.
    """
    tail = (1 - level) / 2
    inside = (places.below + places.equal).clip(tail, 1 - tail) - places.below.clip(tail, 1 - tail)
    # Votes without probability are outside of every interval; NaN stays NaN.
    return np.divide(inside, places.equal, out=0 * inside, where=places.equal > 0)


def predictive_coverage(
    concentrations: np.ndarray, votes: np.ndarray, schema: Schema, level: float = INTERVAL_LEVEL
) -> np.ndarray:
    """Compute `coverage` from concentrations, shape (galaxies, answers, samples), and votes; see `place_votes`."""
    return coverage(place_votes(concentrations, votes, schema), level)


def coverage_curve(
    places: VotePlaces, where: np.ndarray | bool = True, levels: np.ndarray = LEVELS, seed: int = 0
) -> Curve:
    """Compute the coverage of central intervals of all levels; see `coverage`.

    Args:
        places: places of the votes.
        where: which galaxies and answers to use, bool; broadcasts to (galaxies, answers).
        levels: probabilities of the intervals, 0..1, shape (points,).
        seed: seed of the bootstrap.

    Returns:
        Curve with `at` and `predicted` equal to the levels. Its error is the mean difference of coverage and level.
    """
    used = np.isfinite(places.equal) & where
    numbers = used.sum(axis=1)
    inside = np.stack([coverage(places, level).sum(axis=1, where=used) for level in levels], axis=1)
    numbers = np.repeat(numbers[:, None], len(levels), axis=1)
    return _curve(levels, levels * numbers, inside, numbers, seed)


def coverage_score(places: VotePlaces, where: np.ndarray | bool = True, level: float = INTERVAL_LEVEL) -> Score:
    """Compute the mean `coverage` at one level, with its interval; arguments as in `coverage_curve`."""
    curve = coverage_curve(places, where, np.array([level]))
    return Score(float(curve.observed[0]), float(curve.low[0]), float(curve.high[0]))


def coverage_in_words(score: Score, level: float = INTERVAL_LEVEL) -> str:
    """Say what a coverage means, such as "90% intervals hold 62% (60% to 64%) of the votes: they are too narrow ...".

    Intervals count as right if the coverage differs by at most `TOLERANCE` from the level, or not significantly.
    """
    if np.isnan(score.value):
        return f"{level:.0%} intervals cannot be checked: no volunteers were asked"
    if abs(score.value - level) <= TOLERANCE or score.low <= level <= score.high:
        verdict = "as they should"
    elif score.value < level:
        verdict = "they are too narrow, so the predictions are overconfident"
    else:
        verdict = "they are too wide, so the predictions are underconfident"
    return f"{level:.0%} intervals hold {score.text('.0%')} of the votes: {verdict}"


def randomised_pit(places: VotePlaces, seed: int = 0) -> np.ndarray:
    """Compute the randomised probability integral transform of the votes.

    It is P(K < k) + u P(K = k), where u is drawn uniformly from 0..1 (Smith 1985, Journal of Forecasting 4, 283; Czado,
    Gneiting & Held 2009, Biometrics 65, 1254). For perfect predictions it is uniformly distributed. A histogram that is
    high at both ends means predictions that are too narrow; high in the middle, too wide; high at 1, too few votes
    predicted for the answer. The values of the answers of one question depend on each other.

    Args:
        places: places of the votes.
        seed: seed of the draws.

    Returns:
        Values in 0..1, shape (galaxies, answers); NaN where a question was not asked.
    """
    # A stream of its own: simulated votes may have been drawn with the same seed.
    (rng,) = np.random.default_rng(seed).spawn(1)
    return places.below + rng.random(places.equal.shape) * places.equal


def deviation_curve(
    concentrations: np.ndarray,
    votes: np.ndarray,
    schema: Schema,
    where: np.ndarray | bool = True,
    deviations: np.ndarray = DEVIATIONS,
    seed: int = 0,
) -> Curve:
    """Compute how often observed vote fractions deviate from their expected values by less than predicted.

    For each deviation e, `predicted` is the mean predicted probability that the observed fraction k / n of an answer is
    at most e from the expected fraction, and `observed` is how often it is. The errors are the coverage errors of
    Walmsley et al. 2020 (arXiv 1905.07424), except that they measure the deviation from the most likely number of
    votes. For bars and `QUOTED_DEVIATION` they quote 11.8 % with dropout samples, and 22.6 % with one network alone.

    Args:
        concentrations: concentrations, > 0, shape (galaxies, answers, samples).
        votes: numbers of votes, shape (galaxies, answers).
        schema: decision tree.
        where: which galaxies and answers to use, bool; broadcasts to (galaxies, answers).
        deviations: deviations in vote fraction, ascending, shape (points,).
        seed: seed of the bootstrap.

    Returns:
        Curve with `at` equal to the deviations.
    """
    expected, observed = expected_fractions(concentrations, schema), vote_fractions(votes, schema)
    used = np.isfinite(observed) & where
    # One more place holds what deviates by more than the largest deviation.
    predicted_at, observed_at = np.zeros((2, len(votes), len(deviations) + 1))
    for answer, asked, n_asked, alpha, beta in _asked_answers(concentrations, votes, schema):
        kept = used[asked, answer]
        rows, n_asked = np.flatnonzero(asked)[kept], n_asked[kept]
        centre = expected[rows, answer]
        for k, probability in enumerate(answer_probabilities(n_asked, alpha[kept], beta[kept])):
            place = np.searchsorted(deviations, np.abs(k / n_asked - centre) - _ROUNDING)
            predicted_at[rows, place] += probability
        place = np.searchsorted(deviations, np.abs(observed[rows, answer] - centre) - _ROUNDING)
        observed_at[rows, place] += 1
    predicted_sums, observed_sums = (sums.cumsum(axis=1)[:, :-1] for sums in (predicted_at, observed_at))
    numbers = np.repeat(used.sum(axis=1)[:, None], len(deviations), axis=1)
    return _curve(deviations, predicted_sums, observed_sums, numbers, seed)


def reliability(predicted: np.ndarray, observed: np.ndarray) -> tuple[np.ndarray, ...]:
    """Compute the reliability curve of predictions, in bins of the predicted value.

    Args:
        predicted: predicted probabilities or fractions, 0..1, shape (n,).
        observed: observed outcomes or fractions, 0..1, shape (n,).

    Returns:
        Three arrays with one value per bin that is not empty: mean predicted value, mean observed value, number of
        values.
    """
    bins = _bins(predicted)
    numbers, sums, hits = (np.bincount(bins, values, N_BINS) for values in (None, predicted, observed))
    filled = numbers > 0
    return sums[filled] / numbers[filled], hits[filled] / numbers[filled], numbers[filled]


def reliability_curve(predicted: np.ndarray, observed: np.ndarray, seed: int = 0) -> Curve:
    """Compute the curve of `reliability`, with intervals over galaxies.

    A galaxy is drawn with all its values, since the answers of one galaxy are not independent.

    Args:
        predicted: predicted probabilities or fractions, 0..1, shape (galaxies,) or (galaxies, answers).
        observed: observed outcomes or fractions, 0..1, same shape; NaN where not known.
        seed: seed of the bootstrap.

    Returns:
        Curve with one point per bin that is not empty; `at` is the mean predicted value. Its error is the expected
        calibration error (Naeini et al. 2015).
    """
    known = np.isfinite(observed)
    galaxies = np.nonzero(known)[0]
    bins = galaxies * N_BINS + _bins(predicted[known])
    shape = len(predicted), N_BINS
    numbers, sums, hits = (
        np.bincount(bins, values, len(predicted) * N_BINS).reshape(shape)
        for values in (None, predicted[known], observed[known])
    )
    filled = numbers.any(axis=0)
    numbers, sums, hits = numbers[:, filled], sums[:, filled], hits[:, filled]
    return _curve(ratio(sums.sum(axis=0), numbers.sum(axis=0)), sums, hits, numbers, seed)


def fit_scales(concentrations: np.ndarray, votes: np.ndarray, schema: Schema) -> np.ndarray:
    """Fit one factor per question that multiplies the concentrations, so that intervals get the right width.

    A common factor keeps the expected fractions of each sample. It is below 1 if the predictions are overconfident. It
    is the value within `SCALE_LIMITS` that maximises the likelihood of the votes under the mixture of the samples; see
    `distributions.question_nll`. It has the role of the temperature of Guo et al. 2017 (arXiv 1706.04599).

    Args:
        concentrations: concentrations, > 0, shape (galaxies, answers, samples), of galaxies that the network has not
            learned from.
        votes: numbers of votes, shape (galaxies, answers).
        schema: decision tree.

    Returns:
        Factors, shape (questions,). A factor is 1 if fewer than `MIN_GALAXIES` galaxies have at least two votes on the
        question: a single vote says nothing about the width.
    """
    return np.array([_fit_scale(concentrations[:, part], votes[:, part]) for part in schema.slices])


def scaled(concentrations: np.ndarray, scales: np.ndarray, schema: Schema) -> np.ndarray:
    """Multiply concentrations, shape (galaxies, answers, samples), by the factors of their questions, (questions,)."""
    return concentrations * schema.repeat_by_question(scales)[:, None]


def _fit_scale(concentrations: np.ndarray, votes: np.ndarray) -> float:
    used = votes.sum(axis=1) >= 2
    if used.sum() < MIN_GALAXIES:
        return 1.0
    concentrations, votes = concentrations[used], votes[used]
    found = minimize_scalar(
        lambda log_scale: question_nll(np.exp(log_scale) * concentrations, votes).sum(),
        bounds=np.log(SCALE_LIMITS),
        method="bounded",
        options={"xatol": 1e-3},
    )
    return float(np.exp(found.x))


def _asked_answers(
    concentrations: np.ndarray, votes: np.ndarray, schema: Schema
) -> Iterator[tuple[int, np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """For each answer: its index, where it was asked (galaxies,); and there votes on the question, alpha, beta."""
    n_asked = schema.sum_by_question(votes)
    for index, (question, part) in enumerate(zip(schema.questions, schema.slices, strict=True)):
        asked = n_asked[:, index] > 0
        of_question = concentrations[asked, part]
        total = of_question.sum(axis=1)
        for place, answer in enumerate(question.answers):
            alpha = of_question[:, place]
            yield answer.index, asked, n_asked[asked, index], alpha, total - alpha


def _bins(predicted: np.ndarray) -> np.ndarray:
    return np.minimum((predicted * N_BINS).astype(int), N_BINS - 1)


def _curve(at: np.ndarray, predicted: np.ndarray, observed: np.ndarray, numbers: np.ndarray, seed: int) -> Curve:
    """Curve from the sums of each galaxy and point, (galaxies, points) each."""
    total = numbers.sum(axis=0)
    return Curve(at, ratio(predicted.sum(axis=0), total), *ratio_scores(observed, numbers, seed), total)
