"""Columns of a table of predictions, and the values that follow from the concentrations."""

import re
from collections.abc import Iterable, Sequence
from itertools import compress

import numpy as np
from scipy.special import betainc, betaincinv, betaln, entr

from zoobot3d_tf.labels import Label
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


def column_names(
    schema: Schema | None, n_samples: int, masks: Sequence[str] = (), label: Label | None = None
) -> list[str]:
    """Columns of a table of predictions, in order, without the measurements on masks.

    Args:
        schema: decision tree; None if votes are not predicted.
        n_samples: number of dropout samples of the concentrations.
        masks: names of the masks that are written, such as `spiral_mask`.
        label: label that is predicted; None if there is none.

    Returns:
        `id_str`, `file_loc`; the columns of `vote_values`: of each answer, of each question and of the whole tree; the
        columns of the label; then `<mask>_loc`.
    """
    names = ["id_str", "file_loc"]
    if schema is not None:
        for answer in schema.label_cols:
            names += concentration_names([answer], n_samples)
            names += [f"{answer}_{what}" for what in ("fraction", "low", "high", "joint_p", "expected_votes")]
        names += [f"{question.text}_{what}" for question in schema.questions for what in ("asked_p", "entropy")]
        names += ["entropy", "most_likely"]
    if label is not None:
        names += label.outputs
    return names + [f"{mask}_loc" for mask in masks]


def concentration_names(label_cols: Iterable[str], n_samples: int) -> list[str]:
    """Columns of the concentrations: all samples of the first answer, then of the second, and so on."""
    return [f"{answer}_concentration_{sample}" for answer in label_cols for sample in range(n_samples)]


def predicted_answers(columns: Iterable[str]) -> tuple[list[str], int]:
    """Find the answers whose concentrations are among the columns of a table, and the number of samples.

    Returns:
        The answers in order, and the number of samples. If each answer has all its samples, `concentration_names` of
        these are the columns.
    """
    matches = [match for column in columns if (match := re.fullmatch(r"(.+)_concentration_\d+", column))]
    label_cols = list(dict.fromkeys(match[1] for match in matches))
    return label_cols, -(-len(matches) // max(len(label_cols), 1))


def is_text(column: str) -> bool:
    """Whether a column holds text. All other columns hold float32."""
    return column in ("id_str", "most_likely") or column.endswith("_loc")


def vote_values(concentrations: np.ndarray, schema: Schema, n_votes: int) -> dict[str, np.ndarray]:
    """Compute all columns about votes.

    Of each answer:

    - `<answer>_concentration_<sample>`: concentration, samples from 0;
    - `<answer>_fraction`: expected vote fraction;
    - `<answer>_low`, `<answer>_high`: ends of the central interval of the vote fraction, of probability
      `INTERVAL_LEVEL`; see `mixture_interval`;
    - `<answer>_joint_p`: probability that a volunteer is asked the question and gives this answer;
    - `<answer>_expected_votes`: `n_votes` times `joint_p`.

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

    of_answers = [*np.moveaxis(concentrations, 2, 0), fraction, low, high, joint_p, n_votes * joint_p]
    columns = [values[:, answer.index] for answer in schema.answers for values in of_answers]
    columns += [values[:, i] for i in range(len(schema.questions)) for values in (asked_p, entropy)]
    columns += [(asked_p * entropy).sum(axis=1)]
    columns = [column.astype(np.float32) for column in columns]
    columns += [np.array([";".join(compress(schema.label_cols, row)) for row in chosen.tolist()], object)]
    _, _, *names = column_names(schema, concentrations.shape[2])
    return dict(zip(names, columns, strict=True))


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
