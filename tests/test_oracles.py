"""Simulated oracles: what they reveal, when, and that they can be restarted."""

import numpy as np
import pandas as pd
import pytest

from zoobot3d_tf.active_learning.oracles import ASKED_NAME, Imperfections, SimulatedOracle
from zoobot3d_tf.schemas import Schema

SCHEMA = Schema(
    {"smooth-or-featured": ["_smooth", "_featured"], "bar": ["_yes", "_no"]},
    {"smooth-or-featured": None, "bar": "smooth-or-featured_featured"},
)


def hidden(n=3, votes=(3.0, 7.0, 5.0, 2.0)):
    table = pd.DataFrame([votes] * n, columns=SCHEMA.label_cols)
    table.insert(0, "id_str", [f"J{number}" for number in range(n)])
    return table


@pytest.fixture
def make(tmp_path):
    """Function that makes an oracle, always in the same folder."""
    return lambda votes=None, **how: SimulatedOracle(
        hidden() if votes is None else votes, SCHEMA, tmp_path / "oracle", Imperfections(**how)
    )


def test_only_asked_galaxies_are_revealed_in_the_order_of_the_ids(make):
    votes = hidden()
    votes.loc[2, SCHEMA.label_cols] = [1, 0, np.nan, np.nan]
    oracle = make(votes)
    assert oracle.answers(["J0"]).empty
    oracle.ask(votes.loc[[2, 0], ["id_str"]].assign(file_loc="a.png"))
    found = oracle.answers(["J2", "J1", "J0", "unknown"])
    assert list(found.columns) == ["id_str", *SCHEMA.label_cols]
    assert found.to_numpy().tolist() == [["J2", 1, 0, 0, 0], ["J0", 3, 7, 5, 2]]
    assert (found.dtypes[SCHEMA.label_cols] == np.int64).all()


def test_an_oracle_remembers_what_was_asked(make):
    make().ask(hidden()[:1])
    again = make()
    again.ask(hidden()[:1])
    assert list(again.answers(["J0", "J1"])["id_str"]) == ["J0"]


def test_a_delay_is_counted_in_rounds_with_new_galaxies(make):
    votes = hidden(n=40)
    oracle = make(votes, max_delay=1)
    first, ids = votes[:30], list(votes["id_str"])
    oracle.ask(first)
    at_once = set(oracle.answers(ids)["id_str"])
    assert 5 < len(at_once) < 25  # half of 30
    oracle.ask(first)  # asked again, as after an interruption: no new round
    assert set(oracle.answers(ids)["id_str"]) == at_once
    oracle.ask(votes[30:])
    assert set(first["id_str"]) <= set(oracle.answers(ids)["id_str"])


def test_answers_depend_on_seed_and_id_alone(tmp_path):
    votes = hidden(n=20, votes=(30, 70, 50, 20))

    def answers(order, seed, folder):
        how = Imperfections(wrong=0.2, given=0.5, answered=0.7, seed=seed)
        oracle = SimulatedOracle(votes, SCHEMA, tmp_path / folder, how)
        for first in order:
            oracle.ask(votes[first : first + 10])
        return oracle.answers(sorted(votes["id_str"]))

    once = answers([0, 10], 1, "a")
    pd.testing.assert_frame_equal(once, answers([10, 0], 1, "b"))
    assert not once.equals(answers([0, 10], 2, "c"))
    assert 8 <= len(once) < 20


def test_wrong_votes_stay_on_their_question(make):
    votes = hidden(n=200, votes=(0, 100, 100, 0))
    oracle = make(votes, wrong=1.0)
    oracle.ask(votes)
    found = oracle.answers(list(votes["id_str"]))[SCHEMA.label_cols].to_numpy()
    assert (SCHEMA.sum_by_question(found) == 100).all()
    # Each of 20,000 votes is for a random answer: half of them, with a standard deviation of 0.0035.
    assert np.allclose(found.mean(axis=0), 50, atol=2)


def test_partial_votes_are_a_fraction_of_all(make):
    votes = hidden(n=200, votes=(40, 0, 0, 0))
    oracle = make(votes, given=0.25)
    oracle.ask(votes)
    found = oracle.answers(list(votes["id_str"]))
    assert abs(found["smooth-or-featured_smooth"].mean() - 10) < 1
    assert (found[SCHEMA.label_cols[1:]] == 0).all(axis=None)


def test_a_galaxy_without_votes_is_not_answered(make):
    oracle = make(given=0.0)
    oracle.ask(hidden())
    answers = oracle.answers(["J0", "J1", "J2"])
    assert answers.empty
    assert list(answers.columns) == ["id_str", *SCHEMA.label_cols]


def test_faults_are_named(make, tmp_path):
    with pytest.raises(ValueError, match="no hidden votes on 1 galaxies: J9"):
        make().ask(pd.DataFrame({"id_str": ["J0", "J9"]}))
    with pytest.raises(ValueError, match="J0 is there twice"):
        make().ask(hidden().iloc[[0, 0]])
    with pytest.raises(ValueError, match="bar_no"):
        make(hidden().drop(columns="bar_no"))
    with pytest.raises(ValueError, match="bar_no"):
        make(hidden(votes=(1, 2, 3, -4)))
    with pytest.raises(ValueError, match=r"wrong .* 1\.5"):
        make(wrong=1.5)
    with pytest.raises(ValueError, match=r"max_delay .* -1"):
        make(max_delay=-1)
    make().ask(hidden())
    (tmp_path / "oracle" / ASKED_NAME).write_text('{"rounds": {"J0": "x"}}')
    with pytest.raises(ValueError, match=ASKED_NAME):
        make().answers(["J0"])
