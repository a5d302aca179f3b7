"""Scores of labels that are neither votes nor masks, with the scores of a constant answer for comparison.

A `Measure` computes one score of any selection of galaxies. Intervals, and differences of two runs on the same
galaxies, follow from it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from zoobot3d_tf.evaluation.bootstrap import (
    N_RESAMPLES,
    Score,
    ScoreLine,
    bootstrap_score,
    interval_of_draws,
    lines_to_dict,
    share_interval,
)
from zoobot3d_tf.evaluation.calibration import Curve, reliability
from zoobot3d_tf.labels import Label

OUTLIER = 5.0
"""An outlier differs from the median error by more than this number times the scatter, as in Brammer et al. (2008)."""
_NORMAL = 1.4826  # standard deviation of a normal distribution, divided by its median absolute deviation


@dataclass(frozen=True)
class Measure:
    """One score of a label, as a function of the galaxies.

    Attributes:
        name: what is measured.
        of_rows: function that computes the score of the galaxies with the given indices, int, which may repeat; NaN if
            they have none.
        n_galaxies: number of galaxies that decide the score.
        baseline: score of the baseline on all galaxies; NaN if there is none.
        baseline_name: what the baseline does.
        of_class: class that the score is about; '' for all.
        is_share: whether it is the share of these galaxies that have a property.
    """

    name: str
    of_rows: Callable[[np.ndarray], float]
    n_galaxies: int
    baseline: float = float("nan")
    baseline_name: str = ""
    of_class: str = ""
    is_share: bool = False

    def line(self, n_galaxies: int) -> ScoreLine:
        """Compute the score with its interval.

        The interval of a share is that of `share_interval`, since a bootstrap of a few galaxies that are all right says
        that the score is certain. The others are bootstrapped.

        Args:
            n_galaxies: number of all galaxies.
        """
        if self.is_share and self.n_galaxies:
            value = self.of_rows(np.arange(n_galaxies))
            score = Score(value, *map(float, share_interval(value * self.n_galaxies, self.n_galaxies)))
        else:
            score = bootstrap_score(self.of_rows, n_galaxies)
        return ScoreLine(self.name, score, self.n_galaxies, self.baseline, self.baseline_name, self.of_class)


@dataclass(frozen=True)
class LabelScores:
    """Scores of a label.

    Attributes:
        n_galaxies: number of scored galaxies: those with a finite prediction and a label.
        lines: the scores, none without galaxies; see `class_measures`, `calibration_error` and `number_measures`.
        confusion: numbers of galaxies, see `confusion`; None for numbers, and without galaxies.
        reliability: reliability curve, see `label_curve`; None for numbers, and without galaxies.
        notes: sentences that say what could not be scored, and why.
    """

    n_galaxies: int
    lines: tuple[ScoreLine, ...]
    confusion: np.ndarray | None
    reliability: Curve | None
    notes: tuple[str, ...]

    def line(self, name: str, of_class: str = "") -> ScoreLine:
        """Find a score by its name and class.

        Raises:
            KeyError: there is no such score.
        """
        for line in self.lines:
            if (line.name, line.of_class) == (name, of_class):
                return line
        raise KeyError(f"{name} {of_class}".strip())

    def to_dict(self, label: Label) -> dict[str, Any]:
        """Convert to a dictionary for JSON; see `lines_to_dict`."""
        stored: dict[str, Any] = {"galaxies": self.n_galaxies, **lines_to_dict(self.lines)}
        if self.confusion is not None:
            names = label.class_names
            rows = zip(names, self.confusion.tolist(), strict=True)
            stored["confusion"] = {name: dict(zip(names, row, strict=True)) for name, row in rows}
        return stored | ({"notes": list(self.notes)} if self.notes else {})


def score_label(label: Label, predicted: np.ndarray, known: np.ndarray) -> LabelScores:
    """Score predictions of a label.

    Args:
        label: label. Its statistics of the training galaxies give the baselines.
        predicted: outputs of the network: probability of the class "1", or of each class, or numbers in the unit of the
            label, shape (galaxies, outputs).
        known: index of the true class, or the true number, shape (galaxies,); NaN if unknown.

    Returns:
        The scores. Galaxies without a label or without a finite prediction are left out; the latter are counted in a
        note. What needs galaxies that are missing, such as both classes, is NaN, and a note says why.
    """
    is_known, is_finite = ~np.isnan(known.astype(float)), np.isfinite(predicted).all(axis=1)
    used = is_known & is_finite
    notes = []
    if n_broken := int((is_known & ~is_finite).sum()):
        notes.append(f"{n_broken} of {is_known.sum()} galaxies are left out: their predictions are not finite numbers.")
    if not used.any():
        notes.append(f"No galaxy has both {label.column} and a prediction of it, so there are no scores.")
        return LabelScores(0, (), None, None, tuple(notes))
    predicted, known, n = predicted[used], known[used].astype(float), int(used.sum())
    if label.kind == "regression":
        lines = [measure.line(n) for measure in number_measures(label, predicted, known)]
        return LabelScores(n, tuple(lines), None, None, tuple(notes))
    lines = [measure.line(n) for measure in class_measures(label, predicted, known)]
    matrix, stated = confusion(label, predicted, known), stated_probability(predicted, known)
    error, if_right = calibration_error(*stated)
    lines.append(ScoreLine("calibration_error", error, n, if_right.value, "if the probabilities were right"))
    notes += _class_notes(label, matrix)
    return LabelScores(n, tuple(lines), matrix, label_curve(*stated), tuple(notes))


def measures_of(label: Label, predicted: np.ndarray, known: np.ndarray) -> list[Measure]:
    """Measures of a label of any kind; see `class_measures` and `number_measures`."""
    measures = number_measures if label.kind == "regression" else class_measures
    return measures(label, predicted, known)


def class_measures(label: Label, predicted: np.ndarray, known: np.ndarray) -> list[Measure]:
    """Measures of a label with classes.

    Args:
        label: label of kind binary or multiclass.
        predicted: finite probabilities; see `likeliest_classes`.
        known: index of the true class of each galaxy, shape (galaxies,).

    Returns:
        The measures.

        - `accuracy`: share of the galaxies whose most probable class is the true one. Baseline: always the commonest
          class of the training galaxies (of the scored galaxies, if those are not known; likewise below).
        - `balanced_accuracy`: mean completeness of the classes that are present. Baseline: always one class.
        - `auc`: area under the ROC curve, see `Ranking.auc`. With more than two classes, the mean over classes, each
          against the rest. Baseline: chance.
        - `brier`: half the squared difference of the predicted probabilities and the truth (1 for the true class, 0
          for the others), summed over classes, mean over galaxies; 0 is perfect, 1 is always surely wrong (Brier 1950,
          Monthly Weather Review 78, 1). Unlike the logarithmic score it is finite for a galaxy that is wrong with
          certainty, so that one galaxy of few does not decide it. Baseline: the class shares of the training galaxies.
        - per class, `completeness`: share of its galaxies that are recognised; `purity`: share of the galaxies
          predicted as this class that belong to it; `average_precision`: see `Ranking.average_precision`. The baseline
          of the last two is the share of the class.
    """
    names, n = label.class_names, len(known)
    known, chosen = known.astype(int), likeliest_classes(predicted)
    # For two classes 1 - p would make equal values of small p.
    ranked = predicted if predicted.shape[1] > 1 else np.hstack([-predicted, predicted])
    truth, choice = (np.arange(len(names)) == classes[:, None] for classes in (known, chosen))
    shares = np.array(label.counts or truth.sum(axis=0), float)
    shares /= max(shares.sum(), 1)
    commonest, source = int(shares.argmax()), "training" if label.counts else "scored"
    cell = known * len(names) + chosen

    def balanced(rows: np.ndarray) -> float:
        matrix = np.bincount(cell[rows], minlength=len(names) ** 2).reshape(len(names), len(names))
        n_true = matrix.sum(axis=1)
        return _mean(np.diag(matrix)[n_true > 0] / n_true[n_true > 0])

    rankings = [Ranking.of(ranked[:, k], truth[:, k]) for k in range(len(names))]
    compared = rankings[1:] if label.kind == "binary" else rankings

    def area(rows: np.ndarray) -> float:
        areas = np.array([ranking.auc(rows) for ranking in compared])
        return _mean(areas[np.isfinite(areas)])

    n_present = int(truth.any(axis=0).sum())
    always = f"always {names[commonest]!r}"
    squares = np.square(_class_probabilities(predicted) - truth).sum(axis=1) / 2
    squares_of_shares = np.square(shares - truth).sum(axis=1) / 2
    measures = [
        Measure("accuracy", _mean_of(chosen == known), n, _mean(known == commonest), always, is_share=True),
        Measure("balanced_accuracy", balanced, n, 1 / n_present if n_present else float("nan"), "always one class"),
        Measure("auc", area, n, 0.5, "chance"),
        Measure("brier", _mean_of(squares), n, _mean(squares_of_shares), f"the class shares of the {source} galaxies"),
    ]
    for k, name in enumerate(names):
        right, share = truth[:, k] & choice[:, k], _mean(truth[:, k])
        n_true, n_chosen = int(truth[:, k].sum()), int(choice[:, k].sum())
        of_share = (share, "the share of the class", name)
        measures += [
            Measure("completeness", _ratio_of(right, truth[:, k]), n_true, of_class=name, is_share=True),
            Measure("purity", _ratio_of(right, choice[:, k]), n_chosen, *of_share, is_share=True),
            Measure("average_precision", rankings[k].average_precision, n_true, *of_share),
        ]
    return measures


def number_measures(label: Label, predicted: np.ndarray, known: np.ndarray) -> list[Measure]:
    """Measures of a label that is a number, in the unit of the label. The error is predicted minus true value.

    Args:
        label: label of kind regression, with the mean of the training galaxies.
        predicted: finite predicted values, shape (galaxies, 1).
        known: true values, shape (galaxies,).

    Returns:
        Measures, with the baseline of always predicting the training mean:

        - `mae`: mean absolute error;
        - `rms`: root mean square error;
        - `bias`: mean error;
        - `scatter`: see `scatter`;
        - `outliers`: see `outlier_share`.
    """
    error, error_of_mean = predicted[:, 0] - known, label.mean - known
    statistics: dict[str, Callable[[np.ndarray], float]] = {
        "mae": lambda e: _mean(np.abs(e)),
        "rms": lambda e: float(np.sqrt(_mean(np.square(e)))),
        "bias": _mean,
        "scatter": scatter,
        "outliers": outlier_share,
    }
    return [
        Measure(
            name,
            _of_values(statistic, error),
            len(known),
            statistic(error_of_mean),
            "always the training mean",
            is_share=name == "outliers",
        )
        for name, statistic in statistics.items()
    ]


def scatter(errors: np.ndarray) -> float:
    """Compute the normalised median absolute deviation: 1.4826 times the median distance from the median.

    It is the standard deviation of a normal distribution, and hardly changes with a few outliers (Hampel 1974, Journal
    of the American Statistical Association 69, 383).

    Args:
        errors: errors, shape (galaxies,).

    Returns:
        The scatter, in the unit of the errors; NaN without galaxies.
    """
    if not len(errors):
        return float("nan")
    return float(_NORMAL * np.median(np.abs(errors - np.median(errors))))


def outlier_share(errors: np.ndarray) -> float:
    """Compute the share of outliers: errors that differ from the median error by more than `OUTLIER` times the scatter.

    Of normally distributed errors, fewer than one in a million are outliers (Brammer et al. 2008, ApJ 686, 1503).

    Args:
        errors: errors, shape (galaxies,).

    Returns:
        The share, 0..1; NaN without galaxies.
    """
    if not len(errors):
        return float("nan")
    return _mean(np.abs(errors - np.median(errors)) > OUTLIER * scatter(errors))


@dataclass(frozen=True)
class Ranking:
    """Galaxies in the order of a predicted value, of which some belong to a class (positives) and others do not.

    Attributes:
        level: rank of each galaxy's value among the distinct values, from 0 for the lowest, int (galaxies,).
        is_positive: whether each galaxy belongs to the class, bool (galaxies,).
    """

    level: np.ndarray
    is_positive: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray, is_positive: np.ndarray) -> "Ranking":
        """Rank galaxies.

        Args:
            values: predicted values, higher for likelier positives, shape (galaxies,).
            is_positive: whether each galaxy belongs to the class, same shape.
        """
        return cls(np.unique(values, return_inverse=True)[1], is_positive.astype(bool))

    def auc(self, rows: np.ndarray | slice = slice(None)) -> float:
        """Compute the area under the ROC curve: the probability that a positive has a higher value than a negative.

        Equal values count one half, so this is the statistic of Mann & Whitney (1947, Annals of Mathematical Statistics
        18, 50), divided by the number of pairs.

        Args:
            rows: indices of galaxies, which may repeat.

        Returns:
            The area, 0..1; NaN without galaxies of both kinds.
        """
        positives, negatives = self._by_level(rows)
        n_below = np.cumsum(negatives) - negatives
        return _ratio((positives * (n_below + negatives / 2)).sum(), positives.sum() * negatives.sum())

    def average_precision(self, rows: np.ndarray | slice = slice(None)) -> float:
        """Compute the mean purity of the lists of highest values, one list ending at each positive.

        The lists are not interpolated, and galaxies with equal values are in the same lists, as in scikit-learn.

        Args:
            rows: indices of galaxies, which may repeat.

        Returns:
            The mean, 0..1; NaN without positives.
        """
        positives, negatives = (numbers[::-1] for numbers in self._by_level(rows))
        n_found, n_listed = np.cumsum(positives), np.cumsum(positives + negatives)
        return _ratio((positives * n_found / np.maximum(n_listed, 1)).sum(), positives.sum())

    def _by_level(self, rows: np.ndarray | slice) -> tuple[np.ndarray, np.ndarray]:
        """Numbers of positives and of negatives by level."""
        level, is_positive = self.level[rows], self.is_positive[rows]
        n_levels = self.level.max(initial=-1) + 1
        positives = np.bincount(level, is_positive, n_levels)
        return positives, np.bincount(level, minlength=n_levels) - positives


def stated_probability(predicted: np.ndarray, known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find the probability whose calibration is tested, and whether it came true.

    Args:
        predicted: probabilities; see `likeliest_classes`.
        known: index of the true class of each galaxy, shape (galaxies,).

    Returns:
        For a binary label the probability of "1", and whether the galaxy is "1". With more classes, the highest
        probability of each galaxy, and whether its class is true (Guo et al. 2017, ICML, 1321). Shape (galaxies,) each.
    """
    if predicted.shape[1] == 1:
        return predicted[:, 0], known == 1
    return predicted.max(axis=1), likeliest_classes(predicted) == known


def label_curve(probability: np.ndarray, came_true: np.ndarray) -> Curve:
    """Compute the reliability curve of probabilities, with the intervals of `share_interval`.

    Args:
        probability: predicted probabilities, 0..1, shape (galaxies,).
        came_true: whether each came true, bool, same shape.

    Returns:
        Curve with one point per bin that is not empty; `at` is the mean probability.
    """
    predicted, observed, numbers = reliability(probability, came_true)
    return Curve(predicted, predicted, observed, *share_interval(observed * numbers, numbers), numbers)


def calibration_error(probability: np.ndarray, came_true: np.ndarray, seed: int = 0) -> tuple[Score, Score]:
    """Compute the expected calibration error, and the one that the same probabilities would have if they were right.

    The error is the mean over galaxies of the absolute difference of mean probability and observed share in their bin
    of the probability; see `reliability` for the bins (Naeini, Cooper & Hauskrecht 2015, AAAI 29, 2901). Chance makes
    it positive, the more so for few galaxies: it only means something beside the error of outcomes that are drawn with
    the predicted probabilities (consistency resampling, Bröcker & Smith 2007, Weather and Forecasting 22, 651).

    For the same reason the errors of random test sets are too high. The interval is therefore the basic one of Davison
    & Hinkley (1997, Bootstrap Methods, section 5.2): the percentile interval, mirrored at the error. It begins at 0 if
    the error is within the interval of right probabilities, and never excludes the error itself.

    Args:
        probability: predicted probabilities, 0..1, shape (galaxies,), at least one.
        came_true: whether each came true, bool, same shape.
        seed: seed of the draws.

    Returns:
        The error with its interval; and the mean error of right probabilities with its interval.
    """
    n = len(probability)

    def error(rows: np.ndarray | slice, outcomes: np.ndarray) -> float:
        predicted, observed, numbers = reliability(probability[rows], outcomes[rows])
        return float((np.abs(predicted - observed) * numbers).sum() / n)

    measured = bootstrap_score(lambda rows: error(rows, came_true), n)
    rng = np.random.default_rng(seed)
    drawn = np.array([error(slice(None), rng.random(n) < probability) for _ in range(N_RESAMPLES)])
    if_right = Score(float(drawn.mean()), *map(float, interval_of_draws(drawn)))
    value = measured.value
    low = 0.0 if value <= if_right.high else np.clip(2 * value - measured.high, 0, value)
    return Score(value, float(low), max(value, 2 * value - measured.low)), if_right


def likeliest_classes(predicted: np.ndarray) -> np.ndarray:
    """Find the most probable class of each galaxy.

    Args:
        predicted: probability of the class "1", shape (galaxies, 1), or of each class, shape (galaxies, classes).

    Returns:
        Index of the class, int, shape (galaxies,).
    """
    return predicted.argmax(axis=1) if predicted.shape[1] > 1 else (predicted[:, 0] >= 0.5).astype(int)


def confusion(label: Label, predicted: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Count the galaxies of each true class by their predicted class.

    Args:
        label: label with classes, binary or multiclass.
        predicted: probabilities; see `likeliest_classes`.
        known: index of the true class of each galaxy, shape (galaxies,).

    Returns:
        Numbers of galaxies, int, shape (classes, classes): true classes in rows, predicted classes in columns.
    """
    n = len(label.class_names)
    return np.bincount(known.astype(int) * n + likeliest_classes(predicted), minlength=n * n).reshape(n, n)


def _class_notes(label: Label, matrix: np.ndarray) -> list[str]:
    """Say which scores do not exist, because a class has no galaxy or is never predicted."""
    absent, never = (
        [name for name, number in zip(label.class_names, matrix.sum(axis=axis), strict=True) if not number]
        for axis in (1, 0)
    )
    notes = []
    if len(absent) == len(label.class_names) - 1:
        present = next(name for name in label.class_names if name not in absent)
        notes.append(
            f"All {matrix.sum()} scored galaxies have {label.column} {present!r}: AUC, purity and average precision "
            "need galaxies of two classes."
        )
    elif absent:
        notes.append(f"No scored galaxy has {label.column} {_listed(absent)}: completeness and AUC are without it.")
    if never:
        notes.append(f"{label.column} {_listed(never)} is never predicted: it has no purity.")
    return notes


def _listed(names: list[str]) -> str:
    return ", ".join(map(repr, names))


def _class_probabilities(predicted: np.ndarray) -> np.ndarray:
    return predicted if predicted.shape[1] > 1 else np.hstack([1 - predicted, predicted])


def _mean_of(values: np.ndarray) -> Callable[[np.ndarray], float]:
    return lambda rows: _mean(values[rows])


def _ratio_of(parts: np.ndarray, wholes: np.ndarray) -> Callable[[np.ndarray], float]:
    return lambda rows: _ratio(parts[rows].sum(), wholes[rows].sum())


def _of_values(statistic: Callable[[np.ndarray], float], values: np.ndarray) -> Callable[[np.ndarray], float]:
    return lambda rows: statistic(values[rows])


def _mean(values: np.ndarray) -> float:
    return _ratio(values.sum(), len(values))


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole else float("nan")
