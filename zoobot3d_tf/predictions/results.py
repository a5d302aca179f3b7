"""Columns of a table of predictions, and the values that follow from the concentrations."""

import re
from collections.abc import Iterable, Sequence
from itertools import compress

import numpy as np
import pandas as pd
from scipy.special import betainc, betaincinv, betaln, entr

from zoobot3d_tf.labels import Label
from zoobot3d_tf.predictions import measurements
from zoobot3d_tf.schemas import Schema

INTERVAL_LEVEL = 0.9
"""Probability inside the predicted interval of a vote fraction."""

ANSWER_COLUMNS = {
    "fraction": "expected vote fraction, 0 to 1",
    "low": f"lower end of the central {INTERVAL_LEVEL:.0%} interval of the vote fraction",
    "high": f"upper end of the central {INTERVAL_LEVEL:.0%} interval of the vote fraction",
    "joint_p": "probability that a volunteer is asked the question and gives this answer",
    "expected_votes": "expected number of votes",
}
"""Endings of the columns of each answer, `<answer>_<ending>`, and what they mean."""
QUESTION_COLUMNS = {
    "asked_p": "probability that a volunteer is asked this question",
    "entropy": "entropy of the answer of the next volunteer, nats",
}
"""Endings of the columns of each question, `<question>_<ending>`, and what they mean."""
TREE_COLUMNS = {
    "entropy": "entropy of all answers of the next volunteer, nats",
    "most_likely": "most likely answers on the way down the decision tree",
}
"""Columns of the whole tree, and what they mean."""
POSITION = ("ra", "dec")
"""Columns of the position of the centre of the image, degrees, ICRS; NaN if unknown."""

_READ_FIRST = ("fraction", "low", "high")


def column_names(
    schema: Schema | None,
    n_samples: int = 0,
    masks: Sequence[str] = (),
    label: Label | None = None,
    kept: Sequence[str] = (),
) -> list[str]:
    """Columns of a table of predictions, in the order in which people read them.

    Args:
        schema: decision tree; None if votes are not predicted.
        n_samples: number of dropout samples whose concentrations are in the table; 0 for a compact table.
        masks: names of the masks that are written, such as `spiral_mask`.
        label: label that is predicted; None if there is none.
        kept: columns of the catalogue that the table keeps.

    Returns:
        `id_str`, `ra`, `dec`; the columns of the catalogue; the fractions with their intervals, by question; the
        probabilities that questions are asked; the label; the measurements on masks; the other columns of
        `vote_values`; `file_loc` and `<mask>_loc`; the concentrations.
    """
    names = ["id_str", *POSITION, *kept]
    label_cols = [] if schema is None else schema.label_cols
    questions = [] if schema is None else [question.text for question in schema.questions]
    names += [f"{answer}_{what}" for answer in label_cols for what in _READ_FIRST]
    names += [f"{question}_asked_p" for question in questions]
    names += [] if label is None else label.outputs
    names += measurements.COLUMNS if masks else ()
    names += [f"{answer}_{what}" for answer in label_cols for what in ANSWER_COLUMNS if what not in _READ_FIRST]
    names += [f"{question}_entropy" for question in questions]
    names += TREE_COLUMNS if questions else ()
    names += ["file_loc", *(f"{mask}_loc" for mask in masks)]
    return names + concentration_names(label_cols, n_samples)


def plain_name(name: str) -> str:
    """Name of a column with characters other than letters, digits and `_` replaced by `_`, so that `query` takes it."""
    return re.sub(r"\W|^(?=\d)", "_", name, flags=re.ASCII)


def tree_names(table: pd.DataFrame, schema: Schema | None, label: Label | None = None) -> pd.DataFrame:
    """Rename the columns of a table with plain names to those of the decision tree and the label.

    Args:
        table: table of predictions with either kind of names.
        schema: decision tree of the table; None if votes are not predicted.
        label: label of the table; None if there is none.

    Returns:
        The same table. Other columns, such as those of a catalogue, keep their names.
    """
    names = column_names(schema, predicted_answers(table.columns)[1], label=label)
    return table.rename(columns={plain_name(name): name for name in names if name not in table})


def concentration_names(label_cols: Iterable[str], n_samples: int) -> list[str]:
    """Columns of the concentrations: all samples of the first answer, then of the second, and so on."""
    return [f"{answer}_concentration_{sample}" for answer in label_cols for sample in range(n_samples)]


def predicted_answers(columns: Iterable[str]) -> tuple[list[str], int]:
    """Find the answers that are predicted in a table, and the number of samples whose concentrations are columns.

    Returns:
        The answers in order, and the number of samples. If each answer has all its samples, `concentration_names` of
        these are columns. A compact table has 0 samples; its answers have fractions with intervals.
    """
    columns = list(columns)
    matches = [match for column in columns if (match := re.fullmatch(r"(.+)_concentration_\d+", column))]
    label_cols = list(dict.fromkeys(match[1] for match in matches))
    if not label_cols:
        present = set(columns)
        fractions = [column.removesuffix("_fraction") for column in columns if column.endswith("_fraction")]
        label_cols = [name for name in fractions if present.issuperset(f"{name}_{what}" for what in _READ_FIRST)]
    return label_cols, -(-len(matches) // max(len(label_cols), 1))


def is_text(column: str) -> bool:
    """Whether a column of predictions holds text. `POSITION` holds float64, all others float32."""
    return column in ("id_str", "most_likely") or column.endswith("_loc")


def vote_values(concentrations: np.ndarray, schema: Schema, n_votes: int) -> dict[str, np.ndarray]:
    """Compute all columns about votes.

    Of each answer:

    - `<answer>_fraction`: expected vote fraction;
    - `<answer>_low`, `<answer>_high`: ends of the central interval of the vote fraction, of probability
      `INTERVAL_LEVEL`; see `mixture_interval`;
    - `<answer>_joint_p`: probability that a volunteer is asked the question and gives this answer;
    - `<answer>_expected_votes`: `n_votes` times `joint_p`;
    - `<answer>_concentration_<sample>`: concentration, samples from 0.

    Of each question:

    - `<question>_asked_p`: probability that a volunteer is asked the question;
    - `<question>_entropy`: entropy of the answer of the next volunteer, in nats.

    Of the tree:

    - `entropy`: entropy of all answers of the next volunteer, in nats. If answers to different questions are
      independent given the expected fractions, it is by the chain rule the sum of asked_p times entropy over questions;
    - `most_likely`: answers of `most_likely_answers`, joined by ';'.

    Args:
        concentrations: concentrations, shape (galaxies, answers, samples).
        schema: decision tree.
        n_votes: number of volunteers assumed for the expected votes.

    Returns:
        Columns by name, in the order of `column_names`, each of shape (galaxies,). `most_likely` is text, all others
        are float32.
    """
    concentrations = np.asarray(concentrations, np.float64)
    fraction = expected_fractions(concentrations, schema)
    low, high = mixture_interval(concentrations, schema)
    asked_p = schema.prob_asked(fraction)
    joint_p = fraction * schema.repeat_by_question(asked_p)
    entropy = schema.sum_by_question(entr(fraction))
    chosen = most_likely_answers(fraction, schema)

    of_answers = dict(zip(ANSWER_COLUMNS, (fraction, low, high, joint_p, n_votes * joint_p), strict=True))
    columns = {
        f"{answer.text}_{what}": v[:, answer.index] for answer in schema.answers for what, v in of_answers.items()
    }
    of_questions = dict(zip(QUESTION_COLUMNS, (asked_p, entropy), strict=True))
    for i, question in enumerate(schema.questions):
        columns |= {f"{question.text}_{what}": values[:, i] for what, values in of_questions.items()}
    columns["entropy"] = (asked_p * entropy).sum(axis=1)
    n_samples = concentrations.shape[2]
    names = concentration_names(schema.label_cols, n_samples)
    columns |= dict(zip(names, concentrations.reshape(len(concentrations), len(names)).T, strict=True))
    columns = {name: column.astype(np.float32) for name, column in columns.items()}
    columns["most_likely"] = np.array([";".join(compress(schema.label_cols, row)) for row in chosen.tolist()], object)
    return {name: columns[name] for name in column_names(schema, n_samples) if name in columns}


def expected_fractions(concentrations: np.ndarray, schema: Schema) -> np.ndarray:
    """Expected vote fractions, shape (galaxies, answers), from concentrations, shape (galaxies, answers, samples)."""
    return (concentrations / _totals(concentrations, schema)).mean(axis=2)


def most_likely_answers(fraction: np.ndarray, schema: Schema) -> np.ndarray:
    """Find the answers on the way down the tree that takes the most likely answer to each question.

    Args:
        fraction: expected vote fractions, shape (galaxies, answers). If two are equal, the first is taken.
        schema: decision tree.

    Returns:
        Whether each answer is on the way, shape (galaxies, answers). A question is asked if any answer that leads to it
        is on the way. If an answer leads to several questions, all of them are asked.
    """
    given = np.zeros(fraction.shape, bool)
    for question, part in zip(schema.questions, schema.slices, strict=True):
        parents = [answer.index for answer in question.asked_after]
        is_asked = given[:, parents].any(axis=1) if parents else True
        likeliest = part.start + fraction[:, part].argmax(axis=1)
        given[np.arange(len(given)), likeliest] = is_asked
    return given


def mixture_interval(
    concentrations: np.ndarray, schema: Schema, level: float = INTERVAL_LEVEL
) -> tuple[np.ndarray, np.ndarray]:
    """Compute the central interval of each vote fraction.

    The fractions of one question follow a Dirichlet distribution, so the fraction of one answer follows a Beta
    distribution, whose parameters are its concentration and the sum of the others. The dropout samples give a mixture
    of Beta distributions with equal weights. The interval ends at quantiles of this mixture. Zoobot takes the median of
    the quantiles of the samples instead, which ignores how much the samples disagree.

    Args:
        concentrations: concentrations, shape (galaxies, answers, samples), positive.
        schema: decision tree.
        level: probability inside the interval, 0 to 1.

    Returns:
        Lower and upper ends, each of shape (galaxies, answers), accurate to 1e-5 for concentrations of at least 1,
        and to 1e-4 below.
    """
    concentrations = np.asarray(concentrations, np.float64)
    shape = concentrations.shape[:2]
    alpha = np.moveaxis(concentrations, 2, 0)
    alpha = alpha.reshape(len(alpha), -1)
    total = np.moveaxis(_totals(concentrations, schema), 2, 0).reshape(alpha.shape)
    low, high = (_mixture_quantile(alpha, total - alpha, (1 + sign * level) / 2) for sign in (-1, 1))
    return low.reshape(shape), high.reshape(shape)


def _mixture_quantile(alpha: np.ndarray, beta: np.ndarray, probability: float) -> np.ndarray:
    """Quantiles of mixtures of Beta distributions with equal weights.

    Halley's method, since the distribution function takes long to compute, but its derivatives do not. It starts at the
    quantile of the Beta distribution with the mean and variance of the mixture. It iterates over
    theta = arcsin(sqrt(fraction)), where the width of a Beta distribution, 1 / (2 sqrt(alpha + beta)), does not depend
    on its mean. Bounds, as in bisection, make it converge if there are several peaks.

    Args:
        alpha: first parameters, shape (samples, n).
        beta: second parameters, same shape.
        probability: value of the distribution function, 0 to 1.

    Returns:
        Quantiles, shape (n,).
    """
    if len(alpha) == 1:
        return betaincinv(alpha[0], beta[0], probability)
    total = alpha + beta
    means = alpha / total
    mean = means.mean(axis=0)
    variance = (means * (1 - means) / (total + 1) + means**2).mean(axis=0) - mean**2
    matched = mean * (1 - mean) / variance - 1
    # Single precision is enough for the start, and twice as fast.
    start = (np.float32(matched * mean), np.float32(matched * (1 - mean)), np.float32(probability))
    theta = np.arcsin(np.sqrt(betaincinv(*start).astype(np.float64)))

    lower, upper = np.zeros_like(theta), np.full_like(theta, np.pi / 2)
    log_beta = betaln(alpha, beta)
    # After a step, the error is about total * step**3, if the slope changes little along the step.
    small_step = np.cbrt(6e-6 / total.max(axis=0))
    todo = np.arange(theta.size)
    while todo.size:
        a, b, before = alpha[:, todo], beta[:, todo], theta[todo]
        x = np.sin(before) ** 2
        excess = betainc(a, b, x).mean(axis=0) - probability
        lower[todo] = np.where(excess < 0, before, lower[todo])
        upper[todo] = np.where(excess < 0, upper[todo], before)
        # Far from all peaks the density is 0. NaN is then replaced by the middle of the bounds.
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            density = np.exp((a - 0.5) * np.log(x) + (b - 0.5) * np.log1p(-x) - log_beta[:, todo])
            cotangent = np.sqrt((1 - x) / x)
            slope = ((2 * a - 1) * density).mean(axis=0) * cotangent - ((2 * b - 1) * density).mean(axis=0) / cotangent
            density = density.mean(axis=0)
            newton = excess / (2 * density)
            change = newton * slope / density / 2
            after = before - newton / (1 - change.clip(-0.5, 0.5))
        is_inside = (lower[todo] < after) & (after < upper[todo])
        after = np.where(is_inside, after, (lower[todo] + upper[todo]) / 2)
        theta[todo] = after
        todo = todo[np.abs(after - before) > np.where(np.abs(change) < 0.2, small_step[todo], 1e-7)]
    return np.sin(theta) ** 2


def _totals(concentrations: np.ndarray, schema: Schema) -> np.ndarray:
    """Sum of the concentrations of the question of each answer, of the shape of the concentrations."""
    by_sample = np.moveaxis(concentrations, 2, 1)
    return np.moveaxis(schema.repeat_by_question(schema.sum_by_question(by_sample)), 1, 2)
