"""The file `predictions.json` from which Galaxy Zoo's production (KaDE) chooses the subjects for volunteers."""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.special import betaincc

from zoobot3d_tf.active_learning.options import FEATURED_BOUND
from zoobot3d_tf.schemas import Answer, Schema

BOUND_VARIABLE = "GZ_FEATURED_UPPER_BOUND"
"""Environment variable that sets the bound of the featured fraction, by default `FEATURED_BOUND`."""
_QUESTION = "smooth-or-featured"
_FEATURED = ("featured-or-disk", "featured", "features")


def featured_bound(environment: Mapping[str, str] = os.environ) -> float:
    """Read the bound of the featured fraction from the environment.

    Raises:
        ValueError: the variable is not a number between 0 and 1.
    """
    text = environment.get(BOUND_VARIABLE, "") or str(FEATURED_BOUND)
    try:
        bound = float(text)
    except ValueError:
        bound = np.nan
    if not 0 < bound < 1:
        raise ValueError(f"the variable {BOUND_VARIABLE} must be a number between 0 and 1; received {text!r}")
    return bound


def featured_answer(schema: Schema) -> Answer:
    """Find the answer "featured" of the question `smooth-or-featured`, with or without a suffix such as `-cd`.

    Args:
        schema: decision tree. If it joins several campaigns, the first one is taken.

    Raises:
        ValueError: the tree has no such answer.
    """
    for answer in schema.answers:
        if answer.question.startswith(_QUESTION) and answer.label in _FEATURED:
            return answer
    raise ValueError(
        f"the tree of the model must have the question {_QUESTION} with one of the answers {', '.join(_FEATURED)}; "
        f"received {schema!r}"
    )


def probability_above(concentrations: np.ndarray, schema: Schema, answer: Answer, bound: float) -> np.ndarray:
    """Compute the probability that the vote fraction of an answer exceeds a bound.

    The fractions of a question follow a Dirichlet distribution. The fraction of one answer then follows a Beta
    distribution, whose parameters are its concentration and the sum of the other concentrations.

    Args:
        concentrations: concentrations, shape (galaxies, answers, samples).
        schema: decision tree.
        answer: answer of the tree.
        bound: vote fraction, 0 to 1.

    Returns:
        Probabilities, shape (galaxies, samples).
    """
    own = concentrations[:, answer.index].astype(np.float64)
    total = concentrations[:, _slice(schema, answer)].sum(axis=1, dtype=np.float64)
    return betaincc(own, total - own, bound)


def subject_predictions(concentrations: np.ndarray, schema: Schema, bound: float) -> list[dict[str, list]]:
    """Make the entry of each subject in `predictions.json`.

    Args:
        concentrations: concentrations, shape (subjects, answers, samples).
        schema: decision tree.
        bound: bound of the featured fraction.

    Returns:
        For each subject and each sample, from "0": [probability that the featured fraction exceeds the bound, rounded
        to 4 digits, [concentrations of the question, rounded to 3 digits]].

    Raises:
        ValueError: the tree has no answer "featured".
    """
    answer = featured_answer(schema)
    # Rounded as float64: a rounded float32 is written with many digits.
    probabilities = probability_above(concentrations, schema, answer, bound).round(4)
    of_question = concentrations[:, _slice(schema, answer)].astype(np.float64).round(3)
    return [
        {str(n): [p, c] for n, (p, c) in enumerate(zip(ps, cs, strict=True))}
        for ps, cs in zip(probabilities.tolist(), of_question.transpose(0, 2, 1).tolist(), strict=True)
    ]


def predictions_file(subjects: Mapping[str, Mapping[str, list]], schema: Schema, bound: float) -> dict[str, Any]:
    """Make the content of `predictions.json`.

    Args:
        subjects: entry of each subject by its id; see `subject_predictions`.
        schema: decision tree.
        bound: bound of the featured fraction.
    """
    answer = featured_answer(schema)
    names = [f"{column}_prediction" for column in schema.label_cols[_slice(schema, answer)]]
    sample = [f"probability_at_least_{100 * bound:g}pc_featured", names]
    description = {
        "version": 1,
        "type": "zooniverse/subject_assistant",
        "data": {"subject_id": {"sample_num": sample}},
    }
    return {"schema": description, "data": dict(subjects)}


def _slice(schema: Schema, answer: Answer) -> slice:
    return schema.slices[[question.text for question in schema.questions].index(answer.question)]
