"""Options of acquisition functions. The module imports nothing slow, so that the command line starts without delay."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

FEATURED_BOUND = 0.2
ACTIVE_P = 0.8
RANDOM_SHARE = 0.2
"""Rule of Galaxy Zoo: a galaxy is shown if P(featured fraction > `FEATURED_BOUND`) is at least `ACTIVE_P`; and as many
others at random as `RANDOM_SHARE` of these."""

POOL = 10
"""A diverse batch of n galaxies is chosen among the n times this number with the highest scores."""

MASK_ENTROPY = "mask-entropy"
"""Acquisition from the predicted masks: the sum of `acquisition.mask_entropy` over the masks of a galaxy."""

RANKINGS = (
    "mutual-information",
    "many-votes-information",
    "fraction-information",
    "entropy",
    "expected-entropy",
    "fraction-above",
    "random",
    MASK_ENTROPY,
)
"""Names of the acquisition functions that can rank a table: those of `acquisition.ACQUISITIONS`, and `MASK_ENTROPY`."""


@dataclass(frozen=True)
class AcquisitionOptions:
    """Options of acquisition functions. Each function uses those that concern it.

    Attributes:
        n_votes: number of volunteers who are going to answer each question that is asked.
        question: count only this question, such as "bar"; all questions if empty.
        answer: answer whose fraction "fraction-above" compares with the bound, such as
            "smooth-or-featured_featured-or-disk".
        bound: vote fraction, 0 to 1.
        seed: random seed of "random"; or a generator, which goes on from piece to piece of a table.
    """

    n_votes: int = 1
    question: str = ""
    answer: str = ""
    bound: float = FEATURED_BOUND
    seed: int | np.random.Generator = 0
