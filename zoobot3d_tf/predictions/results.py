"""What a table of predictions says: its columns, and the numbers that follow from the concentrations."""

from collections.abc import Sequence

import numpy as np
from scipy.optimize import elementwise
from scipy.special import betainc, betaincinv

from zoobot3d_tf.schemas import Schema

INTERVAL_LEVEL = 0.9


def column_names(schema: Schema | None, n_samples: int, masks: Sequence[str] = ()) -> list[str]:
    """The columns of a table of predictions, in order.

    Args:
        schema: the decision tree; None if votes are not predicted.
        n_samples: samples of the concentrations.
        masks: the masks written, such as `spiral_mask`.

    Returns:
        `id_str`, `file_loc`; for each answer `<answer>_concentration_<sample>` (from 0), `<answer>_fraction` (expected
        share of its question's votes), `<answer>_low` and `<answer>_high` (its central 90 % interval),
        `<answer>_joint_p` (question asked, and so answered); for each question `<question>_asked_p`; then
        `<mask>_loc`.
    """
    of_an_answer = [*(f"concentration_{sample}" for sample in range(n_samples)), "fraction", "low", "high", "joint_p"]
    answers = [f"{answer}_{what}" for answer in (schema.label_cols if schema else ()) for what in of_an_answer]
    questions = [f"{question.text}_asked_p" for question in (schema.questions if schema else ())]
    return ["id_str", "file_loc", *answers, *questions, *(f"{mask}_loc" for mask in masks)]


def vote_values(concentrations: np.ndarray, schema: Schema) -> np.ndarray:
    """All that a table says about votes.

    Args:
        concentrations: (galaxies, answers, samples).
        schema: the decision tree.

    Returns:
        float32 (galaxies, columns), the columns in the order of `column_names`.
    """
    concentrations = np.asarray(concentrations, np.float64)
    fraction = expected_fractions(concentrations, schema)
    low, high = mixture_interval(concentrations, schema)
    asked_p = schema.prob_asked(fraction)
    joint_p = fraction * schema.repeat_by_question(asked_p)
    answers = np.concatenate([concentrations, np.stack([fraction, low, high, joint_p], axis=2)], axis=2)
    return np.hstack([answers.reshape(len(answers), -1), asked_p]).astype(np.float32)


def expected_fractions(concentrations: np.ndarray, schema: Schema) -> np.ndarray:
    """Expected vote fractions, (galaxies, answers): means over the samples of (galaxies, answers, samples)."""
    return (concentrations / _totals(concentrations, schema)).mean(axis=2)


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
        Lower and upper ends, (galaxies, answers) each, to 1e-5.
    """
    # Samples first, and a last axis for the two ends.
    alpha = np.moveaxis(concentrations, 2, 0)[..., None]
    beta = np.moveaxis(_totals(concentrations, schema) - concentrations, 2, 0)[..., None]
    probability = np.array([(1 - level) / 2, (1 + level) / 2])
    n_samples = len(alpha)
    if n_samples == 1:
        ends = betaincinv(alpha[0], beta[0], probability)
    else:

        def excess(fraction, probability, *parameters):
            samples = zip(parameters[:n_samples], parameters[n_samples:], strict=True)
            return sum(betainc(a, b, fraction) for a, b in samples) / n_samples - probability

        tolerances = {"xatol": 1e-5, "xrtol": 0.0}
        ends = elementwise.find_root(excess, (0.0, 1.0), args=(probability, *alpha, *beta), tolerances=tolerances).x
    return ends[..., 0], ends[..., 1]


def _totals(concentrations: np.ndarray, schema: Schema) -> np.ndarray:
    """Sum over the question of each answer, of the shape of the concentrations."""
    by_sample = np.moveaxis(concentrations, 2, 1)
    return np.moveaxis(schema.repeat_by_question(schema.sum_by_question(by_sample)), 1, 2)
