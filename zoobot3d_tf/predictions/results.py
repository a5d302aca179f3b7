"""What a table of predictions says about votes: its columns, and the numbers that follow from the concentrations."""

import re
from collections.abc import Iterable, Sequence
from itertools import compress

import numpy as np
from scipy.special import betainc, betaincinv, betaln, entr

from zoobot3d_tf.labels import Label
from zoobot3d_tf.schemas import Schema

INTERVAL_LEVEL = 0.9
"""Probability inside the predicted interval of a vote fraction."""


def column_names(
    schema: Schema | None, n_samples: int, masks: Sequence[str] = (), label: Label | None = None
) -> list[str]:
    """The columns of a table of predictions, in order, without those measured on masks.

    Args:
        schema: the decision tree; None if votes are not predicted.
        n_samples: samples of the concentrations.
        masks: the masks written, such as `spiral_mask`.
        label: what else is predicted, if anything.

    Returns:
        `id_str`, `file_loc`; the columns that `vote_values` explains, answer by answer, question by question, and of
        the whole tree; those of the label; then `<mask>_loc`.
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
    """The columns of the concentrations: all samples of one answer after the other."""
    return [f"{answer}_concentration_{sample}" for answer in label_cols for sample in range(n_samples)]


def predicted_answers(columns: Iterable[str]) -> tuple[list[str], int]:
    """The answers whose concentrations are among the columns of a table, in order, and the number of samples.

    Where each answer has all its samples, `concentration_names` of these are the columns.
    """
    matches = [match for column in columns if (match := re.fullmatch(r"(.+)_concentration_\d+", column))]
    label_cols = list(dict.fromkeys(match[1] for match in matches))
    return label_cols, -(-len(matches) // max(len(label_cols), 1))


def is_text(column: str) -> bool:
    """Whether a column of the table holds text; all others hold float32."""
    return column in ("id_str", "most_likely") or column.endswith("_loc")


def vote_values(concentrations: np.ndarray, schema: Schema, n_votes: int) -> dict[str, np.ndarray]:
    """All that a table says about votes.

    Args:
        concentrations: (galaxies, answers, samples).
        schema: the decision tree.
        n_votes: number of volunteers assumed for the expected votes.

    Returns:
        Columns by name, in the order of `column_names`, (galaxies,) each; float32 but for the last. For each answer:
        `<answer>_concentration_<sample>` (samples from 0); `<answer>_fraction`, the expected share of its question's
        votes; `<answer>_low` and `<answer>_high`, the ends of that share's central 90 % interval; `<answer>_joint_p`,
        the probability that a volunteer is asked the question and answers so; `<answer>_expected_votes`, how many of
        `n_volunteers` do. For each question: `<question>_asked_p`, the probability that it is asked;
        `<question>_entropy`, the entropy in nats of the next volunteer's answer. Of the tree: `entropy`, in nats, of
        all that one volunteer answers on the way down, where answers to different questions are independent of each
        other given the expected fractions: by the chain rule the sum over questions of asked_p times entropy;
        `most_likely`, the answers that `most_likely_answers` chooses, joined by ';'.
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
    """Expected vote fractions, (galaxies, answers): means over the samples of (galaxies, answers, samples)."""
    return (concentrations / _totals(concentrations, schema)).mean(axis=2)


def most_likely_answers(fraction: np.ndarray, schema: Schema) -> np.ndarray:
    """The answers met on the way down the tree when the likeliest is given to each question that is asked.

    Args:
        fraction: expected share of each question's votes, (galaxies, answers). Of equal ones the first counts.
        schema: the decision tree.

    Returns:
        True for these answers, (galaxies, answers). A question is asked if any of the answers that lead to it was
        given; all that follow an answer are.
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
    """Central interval of each answer's vote fraction.

    Within a question the fractions follow a Dirichlet distribution, so one answer's follows Beta(its concentration, sum
    of the others); the samples together are the mixture of their Beta distributions, and these are its quantiles.
    Zoobot takes the median of the samples' quantiles instead, which leaves out how far the samples disagree.

    Args:
        concentrations: (galaxies, answers, samples), positive.
        schema: the decision tree.
        level: probability inside, 0..1.

    Returns:
        Lower and upper ends, (galaxies, answers) each, to 1e-5 where concentrations are 1 or more.
    """
    concentrations = np.asarray(concentrations, np.float64)
    shape = concentrations.shape[:2]
    alpha = np.moveaxis(concentrations, 2, 0)
    alpha = alpha.reshape(len(alpha), -1)
    total = np.moveaxis(_totals(concentrations, schema), 2, 0).reshape(alpha.shape)
    low, high = (_mixture_quantile(alpha, total - alpha, (1 + sign * level) / 2) for sign in (-1, 1))
    return low.reshape(shape), high.reshape(shape)


def _mixture_quantile(alpha: np.ndarray, beta: np.ndarray, probability: float) -> np.ndarray:
    """Quantiles, (n,), of mixtures of equal parts of the distributions Beta(alpha, beta), (samples, n) each.

    Halley's method: the distribution function is dear, its derivatives cost next to nothing. It begins at the quantile
    of the Beta distribution with the mixture's mean and variance and runs on theta = arcsin(sqrt(fraction)), where the
    width of a Beta distribution, 1 / (2 sqrt(alpha + beta)), does not depend on its mean. Ever closer bounds
    hold it where there are several peaks.
    """
    if len(alpha) == 1:
        return betaincinv(alpha[0], beta[0], probability)
    total = alpha + beta
    means = alpha / total
    mean = means.mean(axis=0)
    variance = (means * (1 - means) / (total + 1) + means**2).mean(axis=0) - mean**2
    matched = mean * (1 - mean) / variance - 1
    # In single precision, which is enough to begin with and twice as fast.
    start = (np.float32(matched * mean), np.float32(matched * (1 - mean)), np.float32(probability))
    theta = np.arcsin(np.sqrt(betaincinv(*start).astype(np.float64)))

    lower, upper = np.zeros_like(theta), np.full_like(theta, np.pi / 2)
    log_beta = betaln(alpha, beta)
    # A step leaves an error of about total * step**3, if the slope changes little along it.
    small_step = np.cbrt(6e-6 / total.max(axis=0))
    todo = np.arange(theta.size)
    while todo.size:
        a, b, before = alpha[:, todo], beta[:, todo], theta[todo]
        x = np.sin(before) ** 2
        excess = betainc(a, b, x).mean(axis=0) - probability
        lower[todo] = np.where(excess < 0, before, lower[todo])
        upper[todo] = np.where(excess < 0, upper[todo], before)
        # Far from all peaks the density vanishes; what is then not a number is replaced by the middle.
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
    """Sum over the question of each answer, of the shape of the concentrations."""
    by_sample = np.moveaxis(concentrations, 2, 1)
    return np.moveaxis(schema.repeat_by_question(schema.sum_by_question(by_sample)), 1, 2)
