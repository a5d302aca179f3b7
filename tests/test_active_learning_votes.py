"""The proof without images: the order of votes, the prior, and the votes saved, where they are known."""

import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from zoobot3d_tf.schemas import Schema

SCHEMA = Schema({"shape": ["_smooth", "_featured"]}, {}, "shape")


@pytest.fixture(scope="module")
def example():
    sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
    yield import_module("active_learning_votes")
    sys.path.pop(0)


@pytest.fixture(scope="module")
def votes():
    """Ten votes on each of 800 galaxies, whose fractions follow the Dirichlet distribution (2, 1)."""
    rng = np.random.default_rng(0)
    featured = rng.binomial(10, rng.beta(1, 2, 800))
    return np.stack([10 - featured, featured], axis=1)


def test_the_prior_is_that_of_the_galaxies(example, votes):
    np.testing.assert_allclose(example.fit_prior(votes), [2, 1], rtol=0.15)


def test_each_vote_is_revealed_once(example, votes):
    answers = example.shuffled_votes(np.r_[votes, [[1, 2]]], np.random.default_rng(0))
    counts = np.stack([(answers == answer).sum(axis=1) for answer in (0, 1)], axis=1)
    np.testing.assert_array_equal(counts, np.r_[votes, [[1, 2]]])
    assert list(answers[-1, 3:]) == [-1] * 7


@pytest.mark.parametrize("name", ["random", "equal", "fraction-information", "mutual-information", "majority"])
def test_the_error_falls_until_all_votes_are_revealed(example, votes, name):
    curve = example.run(votes, SCHEMA, example.STRATEGIES[name], 0, batch=100, most=20)
    np.testing.assert_allclose(curve["votes"].diff()[1:-1].max(), 100 / 300)
    assert curve["votes"].iloc[-1] == 10  # no more exist
    # The prior counts as three votes, which pull the fractions a little.
    assert curve["fraction_error"].iloc[-1] < 0.1 < curve["fraction_error"].iloc[0]
    assert curve["majority_error"].iloc[-1] < curve["majority_error"].iloc[0]


def test_saved_votes_of_curves_that_are_known(example):
    """One strategy reaches each error with half of the votes; one never reaches it."""
    votes = np.arange(0, 21.0)
    curves = {"random": 1 / (1 + votes), "half": 1 / (1 + 2 * votes), "never": np.ones(21)}
    table = pd.concat(
        pd.DataFrame({"votes": votes, "error": error, "strategy": name, "seed": seed})
        for name, error in curves.items()
        for seed in (0, 1)
    )
    saved = example.saved_share(table, "error", "random", 10)
    assert saved.to_dict() == {"random": "0 ± 0 %", "half": "50 ± 0 %", "never": "not reached"}


def test_the_report_is_written(example, votes, tmp_path):
    curves = []
    for name in ("random", "equal"):
        for seed in (0, 1):
            curve = example.run(votes, SCHEMA, example.STRATEGIES[name], seed, batch=300, most=10)
            curves.append(curve.assign(strategy=name, seed=seed, round=np.arange(len(curve))))
    text = example.report(pd.concat(curves), tmp_path)
    assert "| random | 0 ± 0 % |" in text
    assert (tmp_path / "saved.md").read_text() == text
    assert (tmp_path / "curves.png").stat().st_size > 10_000
