"""Scores of predicted votes, beside those of simple baselines and the noise of the votes.

errors = vote_errors(predicted, concentrations, votes, schema, training_votes)
errors.scores()["bar"].nll       # over all galaxies
errors.scores(rows)              # over some of them
errors.estimates()["bar"]["nll"] # with its interval
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.special import gammaln, xlog1py, xlogy

from zoobot3d_tf.evaluation.bootstrap import Score, interval_of_draws, ratio, resampled_sums
from zoobot3d_tf.evaluation.calibration import VotePlaces, coverage, fit_scales, place_votes, scaled
from zoobot3d_tf.evaluation.distributions import votes_nll
from zoobot3d_tf.schemas import Question, Schema, fraction_errors, vote_fractions

ASKED_SHARE = 0.5
"""Share of the volunteers from which a question counts as asked by many."""
CLEAR_SHARE = 0.8
"""Share of the votes that one answer must have for the volunteers to be confident."""
CLEAR_VOTES = 10
"""Smallest number of votes of confident volunteers. One or two volunteers always agree."""
ALL = "all"
"""Name of the scores over all questions."""

# Number of fractions in the fitted distribution, and of steps of its fit. Larger numbers change the floor by < 1 %.
_N_FRACTIONS = 50
_EM_STEPS = 200


@dataclass(frozen=True)
class VoteScores:
    """Scores over the answers of one question, or of all questions.

    Errors of fractions and coverage are means over the answers of the galaxies that were asked, with equal weight. The
    negative log-likelihood is per galaxy that was asked: of the votes on the question, or the sum over all questions.
    Accuracies are over galaxies with confident volunteers; see `clear_answers`. A score is NaN if no galaxy has it.

    The baseline `mean_...` is the same prediction for all galaxies: the mean fractions, the distribution of
    `mean_concentrations`, and the commonest answer of confident volunteers. The baseline `uniform_...` predicts equal
    fractions for the answers of a question; for the likelihood, all combinations of fractions are equally likely
    (concentrations 1); for the accuracy, one of the answers at random.

    Attributes:
        n_galaxies: number of galaxies for which the question was asked.
        n_asked_by_half: number of galaxies for which it was asked by at least half of the volunteers; see
            `asked_by_many`.
        n_clear: number of pairs of galaxy and question with confident volunteers.
        is_training_mean: whether the mean is that of the training galaxies. If not, it is that of the scored galaxies,
            which favours this baseline a little.
        mae: mean absolute difference of predicted and observed fractions.
        mean_mae: the same for the mean fractions.
        uniform_mae: the same for uniform fractions.
        gain: relative decrease of the error compared with always predicting the mean, 1 - mae / mean_mae.
        noise_floor: expected mean absolute difference of the true fractions; see `noise_floor`.
        times_floor: error divided by the noise floor.
        mae_by_half: `mae` of the galaxies for which at least half of the volunteers were asked.
        mean_mae_by_half: `mean_mae` of these galaxies.
        uniform_mae_by_half: `uniform_mae` of these galaxies.
        nll: negative log-likelihood of the votes, in nats; see `distributions.votes_nll`.
        mean_nll: the same for the mean.
        uniform_nll: the same for the uniform distribution.
        nll_gain: decrease of the negative log-likelihood compared with always predicting the mean, mean_nll - nll.
        coverage: share of the observed votes in the central predicted interval of probability `INTERVAL_LEVEL`; see
            `calibration.coverage`.
        accuracy: share of the galaxies with confident volunteers whose likeliest predicted answer is theirs.
        mean_accuracy: the same for the commonest answer.
        uniform_accuracy: the same for an answer at random.
        volunteer_accuracy: mean share of the volunteers themselves who gave this answer.
    """

    n_galaxies: int
    n_asked_by_half: int
    n_clear: int
    is_training_mean: bool
    mae: float
    mean_mae: float
    uniform_mae: float
    gain: float
    noise_floor: float
    times_floor: float
    mae_by_half: float
    mean_mae_by_half: float
    uniform_mae_by_half: float
    nll: float
    mean_nll: float
    uniform_nll: float
    nll_gain: float
    coverage: float
    accuracy: float
    mean_accuracy: float
    uniform_accuracy: float
    volunteer_accuracy: float


@dataclass(frozen=True)
class VoteErrors:
    """Errors of the predicted votes of each galaxy, from which the scores of any of the galaxies follow.

    Attributes:
        schema: decision tree.
        sums: contributions of each galaxy to sums that scores are ratios of, by name, finite, shape
            (galaxies, questions + 1). The last column is for all questions.
        predicted_answers: place of the likeliest predicted answer in each question, int, shape (galaxies, questions).
        clear_answers: place of the answer of confident volunteers, likewise; -1 if they are not confident.
        is_training_mean: as in `VoteScores`.
        places: places of the votes in their predicted distributions, for their calibration.
    """

    schema: Schema
    sums: Mapping[str, np.ndarray]
    predicted_answers: np.ndarray
    clear_answers: np.ndarray
    is_training_mean: bool
    places: VotePlaces

    def scores(self, rows: np.ndarray | slice = slice(None)) -> dict[str, VoteScores]:
        """Compute the scores of some galaxies.

        Args:
            rows: indices of the galaxies, which may repeat; or a mask, bool; by default all galaxies.

        Returns:
            Scores by the text of the question, for questions asked for at least one galaxy; last, under `ALL`, the
            scores over all questions.
        """
        totals = {name: values[rows].sum(axis=0) for name, values in self.sums.items()}
        ratios = _ratios(totals)
        return {
            name: VoteScores(
                n_galaxies=int(totals["asked"][column]),
                n_asked_by_half=int(totals["asked_by_half"][column]),
                n_clear=int(totals["clear"][column]),
                is_training_mean=self.is_training_mean,
                **{score: _number(values[column]) for score, values in ratios.items()},
            )
            for column, name in enumerate(self._names)
            if totals["asked"][column]
        }

    def estimates(self, seed: int = 0) -> dict[str, dict[str, Score]]:
        """Compute the scores of all galaxies with their intervals over galaxies; see `bootstrap.bootstrap_interval`.

        Args:
            seed: seed of the bootstrap.

        Returns:
            By question as in `scores`, the scores by their names in `VoteScores`, without numbers of galaxies.
        """
        values = self.scores()
        ends = {score: interval_of_draws(drawn) for score, drawn in self._drawn(seed).items()}
        return {
            name: {
                score: Score(getattr(values[name], score), _number(low[column]), _number(high[column]))
                for score, (low, high) in ends.items()
            }
            for column, name in enumerate(self._names)
            if name in values
        }

    def confusion(self, question: Question, rows: np.ndarray | slice = slice(None)) -> np.ndarray:
        """Count the galaxies with confident volunteers by their answer and the likeliest predicted answer.

        Args:
            question: question of the tree.
            rows: indices of the galaxies, or a mask; by default all galaxies.

        Returns:
            Numbers of galaxies, int, shape (answers, answers): answers of the volunteers in rows, predicted answers in
            columns.
        """
        column = self.schema.questions.index(question)
        known, predicted = self.clear_answers[rows, column], self.predicted_answers[rows, column]
        counts = np.zeros((len(question.answers), len(question.answers)), int)
        np.add.at(counts, (known[known >= 0], predicted[known >= 0]), 1)
        return counts

    def _drawn(self, seed: int) -> dict[str, np.ndarray]:
        """Scores of random test sets by name, shape (draws, questions + 1)."""
        draws = resampled_sums(np.stack(list(self.sums.values()), axis=1), seed=seed)
        return _ratios(dict(zip(self.sums, np.moveaxis(draws, 1, 0), strict=True)))

    @property
    def _names(self) -> list[str]:
        return [*(question.text for question in self.schema.questions), ALL]


def vote_errors(
    predicted: np.ndarray,
    concentrations: np.ndarray,
    votes: np.ndarray,
    schema: Schema,
    training_votes: np.ndarray | None = None,
) -> VoteErrors:
    """Compute the errors of predicted votes, and of the baselines, for each galaxy.

    Args:
        predicted: expected fractions, shape (galaxies, answers), in the order of `schema.label_cols`.
        concentrations: concentrations of the predicted Dirichlet distributions, > 0, shape (galaxies, answers,
            samples).
        votes: numbers of votes, shape (galaxies, answers).
        schema: decision tree.
        training_votes: numbers of votes of the training galaxies, for the baseline of the mean, shape (training
            galaxies, answers); None if they are not known.

    Raises:
        ValueError: the arrays do not belong together; a prediction is not a number or not possible; or a number of
            votes is negative.
    """
    _check(predicted, concentrations, votes, schema)
    known = votes if training_votes is None else training_votes
    asked = schema.sum_by_question(votes) > 0
    by_half = asked_by_many(votes, schema)
    means, of_mean = mean_fractions(known, schema), mean_concentrations(known, schema)
    of_questions = zip(*(clear_answers(votes[:, part]) for part in schema.slices), strict=True)
    clear, share = (np.stack(values, axis=1) for values in of_questions)
    usual = np.array([_commonest_answer(known[:, part], means[part]) for part in schema.slices])
    chosen = np.stack([predicted[:, part].argmax(axis=1) for part in schema.slices], axis=1)
    n_answers = np.array([len(question.answers) for question in schema.questions])
    is_clear = clear >= 0
    places = place_votes(concentrations, votes, schema)

    sums: dict[str, np.ndarray] = {}
    for name, fractions in (
        ("error", predicted),
        ("mean_error", means),
        ("uniform_error", schema.repeat_by_question(1 / n_answers)),
    ):
        sums[name] = schema.sum_by_question(fraction_errors(fractions, votes, schema, np)[0])
        sums[f"{name}_by_half"] = sums[name] * by_half
    for name, alpha in (
        ("nll", concentrations),
        ("mean_nll", np.broadcast_to(of_mean[:, None], (*votes.shape, 1))),
        ("uniform_nll", np.ones((*votes.shape, 1))),
    ):
        sums[name] = np.nan_to_num(votes_nll(alpha, votes, schema))
    sums |= {
        "answers": asked * n_answers,
        "answers_by_half": by_half * n_answers,
        "noise": schema.sum_by_question(np.nan_to_num(noise_floor(votes, schema))),
        "covered": schema.sum_by_question(np.nan_to_num(coverage(places))),
        "clear": is_clear,
        "right": is_clear & (chosen == clear),
        "mean_right": is_clear & (usual == clear),
        "uniform_right": is_clear / n_answers,
        "volunteers_right": share,
    }
    with_all = {name: np.column_stack([values, values.sum(axis=1)]) for name, values in sums.items()}
    # Galaxies are counted once, however many questions were asked.
    counted = {"asked": asked, "asked_by_half": by_half}
    with_all |= {name: np.column_stack([values, values.any(axis=1)]) for name, values in counted.items()}
    return VoteErrors(
        schema,
        {name: values.astype(float) for name, values in with_all.items()},
        predicted_answers=chosen,
        clear_answers=clear,
        is_training_mean=training_votes is not None,
        places=places,
    )


def vote_differences(first: VoteErrors, second: VoteErrors, seed: int = 0) -> dict[str, dict[str, Score]]:
    """Compare the predicted votes of two models on the same galaxies: the scores of the first minus the second.

    Each random test set has the same galaxies for both models, so that what is hard for both cancels (paired
    bootstrap).

    Args:
        first: errors of one model.
        second: errors of the other, for the same galaxies in the same order, with the same decision tree.
        seed: seed of the bootstrap.

    Returns:
        Differences by question and score, as in `VoteErrors.estimates`.

    Raises:
        ValueError: the trees or the numbers of galaxies differ.
    """
    if first.schema != second.schema or len(first.clear_answers) != len(second.clear_answers):
        raise ValueError(
            f"first and second must be of the same galaxies and decision tree; they have {len(first.clear_answers)} "
            f"and {len(second.clear_answers)} galaxies, and {first.schema!r} and {second.schema!r}"
        )
    both = (first, second)
    values = [_ratios({name: sums.sum(axis=0) for name, sums in errors.sums.items()}) for errors in both]
    draws = [errors._drawn(seed) for errors in both]
    names, known = first._names, first.scores()
    differences: dict[str, dict[str, Score]] = {name: {} for name in names if name in known}
    for score, of_first in values[0].items():
        low, high = interval_of_draws(draws[0][score] - draws[1][score])
        value = of_first - values[1][score]
        for column, name in enumerate(names):
            if name in known:
                differences[name][score] = Score(*(_number(ends[column]) for ends in (value, low, high)))
    return differences


def score_votes(
    predicted: np.ndarray,
    concentrations: np.ndarray,
    votes: np.ndarray,
    schema: Schema,
    training_votes: np.ndarray | None = None,
) -> dict[str, VoteScores]:
    """Score predicted votes. Arguments and errors are those of `vote_errors`, the scores those of all galaxies."""
    return vote_errors(predicted, concentrations, votes, schema, training_votes).scores()


def asked_by_many(votes: np.ndarray, schema: Schema, share: float = ASKED_SHARE) -> np.ndarray:
    """Find the galaxies for which many of the volunteers were asked a question.

    All volunteers of a galaxy are asked the first question of the tree. Therefore their number is that of the votes on
    the question without conditions from which the question is reached; in most trees this is the first question.

    Args:
        votes: numbers of votes, shape (galaxies, answers).
        schema: decision tree.
        share: share of the volunteers, 0..1.

    Returns:
        Whether at least this share, and at least one volunteer, was asked each question, shape (galaxies, questions).
    """
    n_asked = schema.sum_by_question(votes)
    places = {question.text: place for place, question in enumerate(schema.questions)}
    first: list[int] = []
    for place, question in enumerate(schema.questions):
        # Questions are after the questions that lead to them.
        first.append(first[places[question.asked_after[0].question]] if question.asked_after else place)
    n_volunteers = n_asked[:, first]
    return (n_asked > 0) & (n_volunteers > 0) & (n_asked >= share * n_volunteers)


def clear_answers(
    votes: np.ndarray, share: float = CLEAR_SHARE, n_votes: int = CLEAR_VOTES
) -> tuple[np.ndarray, np.ndarray]:
    """Find the galaxies whose volunteers are confident of their answer to one question.

    Args:
        votes: numbers of votes on the question, shape (galaxies, answers).
        share: smallest share of the votes that one answer must have, above 0.5.
        n_votes: smallest number of votes on the question, >= 1.

    Returns:
        Index of this answer, int, -1 if there is none; and the share of its votes, 0 if there is none. Both have the
        shape (galaxies,).
    """
    n_asked, most = votes.sum(axis=1), votes.max(axis=1)
    is_clear = (n_asked >= n_votes) & (most >= share * n_asked)
    return np.where(is_clear, votes.argmax(axis=1), -1), np.where(is_clear, most / np.maximum(n_asked, 1), 0.0)


def mean_fractions(votes: np.ndarray, schema: Schema) -> np.ndarray:
    """Average the observed fractions over the galaxies that were asked.

    Args:
        votes: numbers of votes, shape (galaxies, answers).
        schema: decision tree.

    Returns:
        Mean fractions, shape (answers,); uniform for a question that nobody was asked.
    """
    observed = vote_fractions(votes, schema)
    uniform = 1 / schema.same_question.sum(axis=1)
    n_asked = np.isfinite(observed).sum(axis=0)
    return np.where(n_asked > 0, np.nansum(observed, axis=0) / np.maximum(n_asked, 1), uniform)


def mean_concentrations(votes: np.ndarray, schema: Schema) -> np.ndarray:
    """Fit one Dirichlet distribution for all galaxies: the baseline of the likelihood.

    Its fractions are the mean fractions of the galaxies and of one more galaxy with uniform fractions, so that an
    answer that nobody gave is not impossible. The sum of its concentrations maximises the likelihood; see
    `calibration.fit_scales`. The mean fractions alone would be a multinomial distribution, as if all galaxies were
    equal: an overconfident baseline, which is easy to beat.

    Args:
        votes: numbers of votes, shape (galaxies, answers).
        schema: decision tree.

    Returns:
        Concentrations, > 0, shape (answers,).
    """
    n_asked = schema.repeat_by_question((schema.sum_by_question(votes) > 0).sum(axis=0))
    uniform = 1 / schema.same_question.sum(axis=1)
    # Before the fit, the sum is 10, in the middle of the limits of the fit.
    unscaled = 10 * (n_asked * mean_fractions(votes, schema) + uniform) / (n_asked + 1)
    repeated = np.broadcast_to(unscaled[:, None], (*votes.shape, 1))
    return scaled(unscaled[:, None], fit_scales(repeated, votes, schema), schema)[:, 0]


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
        Expected absolute value of k/n - p, where k is the number of successes.
    """
    above = np.minimum(np.floor(n * p) + 1, n)
    log_choose = gammaln(n + 1) - gammaln(above + 1) - gammaln(n - above + 1)
    return 2 * above / n * np.exp(log_choose + xlogy(above, p) + xlog1py(n - above + 1, -p))


def _ratios(totals: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Scores by name from sums over galaxies, whose last axis is that of `VoteErrors.sums`."""
    answers, by_half, asked, clear = (totals[name] for name in ("answers", "answers_by_half", "asked", "clear"))
    mae, mean_mae, noise = (ratio(totals[name], answers) for name in ("error", "mean_error", "noise"))
    nll, mean_nll = (ratio(totals[name], asked) for name in ("nll", "mean_nll"))
    return {
        "mae": mae,
        "mean_mae": mean_mae,
        "uniform_mae": ratio(totals["uniform_error"], answers),
        "gain": 1 - ratio(mae, mean_mae),
        "noise_floor": noise,
        "times_floor": ratio(mae, noise),
        "mae_by_half": ratio(totals["error_by_half"], by_half),
        "mean_mae_by_half": ratio(totals["mean_error_by_half"], by_half),
        "uniform_mae_by_half": ratio(totals["uniform_error_by_half"], by_half),
        "nll": nll,
        "mean_nll": mean_nll,
        "uniform_nll": ratio(totals["uniform_nll"], asked),
        "nll_gain": mean_nll - nll,
        "coverage": ratio(totals["covered"], answers),
        "accuracy": ratio(totals["right"], clear),
        "mean_accuracy": ratio(totals["mean_right"], clear),
        "uniform_accuracy": ratio(totals["uniform_right"], clear),
        "volunteer_accuracy": ratio(totals["volunteers_right"], clear),
    }


def _number(value: float) -> float:
    # One NaN for all, so that equal scores compare equal.
    return math.nan if math.isnan(value) else float(value)


def _commonest_answer(votes: np.ndarray, fractions: np.ndarray) -> int:
    """Index of the commonest answer of confident volunteers to one question; without any, of the largest fraction."""
    clear, _ = clear_answers(votes)
    # Fractions of at most 1 decide between equal numbers only.
    return int((2 * np.bincount(clear[clear >= 0], minlength=len(fractions)) + fractions).argmax())


def _check(predicted: np.ndarray, concentrations: np.ndarray, votes: np.ndarray, schema: Schema) -> None:
    shape = len(votes), len(schema.answers)
    if votes.shape != shape or predicted.shape != shape or concentrations.shape[:2] != shape:
        raise ValueError(
            f"predicted, concentrations and votes must be of the same galaxies and of the {shape[1]} answers of "
            f"{schema!r}; received shapes {predicted.shape}, {concentrations.shape} and {votes.shape}"
        )
    for name, values, wrong, right in (
        ("predicted", predicted, ~((predicted >= 0) & (predicted <= 1 + 1e-6)), "from 0 to 1"),
        ("concentrations", concentrations, ~((concentrations > 0) & np.isfinite(concentrations)), "above 0 and finite"),
    ):
        if wrong.any():
            row, answer, *sample = np.argwhere(wrong)[0]
            raise ValueError(
                f"{name} of galaxy {row} is {values[row, answer, *sample]:g} for '{schema.label_cols[answer]}'; "
                f"it must be {right}"
            )


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
