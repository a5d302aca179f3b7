"""The database of an experiment: what its steps write, and that they survive kills."""

import multiprocessing
import os
import random
import signal
import sqlite3
import time

import numpy as np
import pandas as pd
import pytest

from zoobot3d_tf.active_learning.database import STATES, IterationRow, create_database, open_database
from zoobot3d_tf.schemas import Schema

SCHEMA = Schema({"bar": ["_yes", "_no"]}, {"bar": None})
N_GALAXIES, PER_ITERATION = 400, 5


def galaxies(n=6, n_labelled=2):
    """Labelled galaxies for training and evaluation in turn, and unlabelled ones."""
    ids = [f"J{number:04d}" for number in range(n)]
    table = pd.DataFrame({"id_str": ids, "shard": "a.tfrecord", "record": range(n)})
    table["split"] = [("train", "eval")[number % 2] if number < n_labelled else "unlabelled" for number in range(n)]
    table[SCHEMA.label_cols] = [[4, 1] if number < n_labelled else [0, 0] for number in range(n)]
    return table


@pytest.fixture
def path(tmp_path):
    create_database(tmp_path / "database.sqlite", SCHEMA, galaxies())
    return tmp_path / "database.sqlite"


def answers(ids, votes=(7, 3)):
    table = pd.DataFrame([votes] * len(ids), columns=SCHEMA.label_cols, dtype=int)
    table.insert(0, "id_str", ids)
    return table


def chosen(ids):
    return pd.DataFrame({"id_str": ids, "rank": range(1, len(ids) + 1), "score": 0.5, "information": 0.25})


def test_the_steps_of_two_iterations(path):
    with open_database(path) as database:
        assert database.candidates(0) == ["J0002", "J0003", "J0004", "J0005"]
        database.begin(0, "first", answers([]))
        database.choose(0, chosen(["J0004", "J0002"]))
        assert database.candidates(0) == ["J0002", "J0003", "J0004", "J0005"]  # what was chosen could be chosen again
        assert database.candidates(1) == ["J0003", "J0005"]
        database.finish(0, pd.DataFrame({"id_str": [], "shard": [], "record": []}))
        assert (database.asked_in(0), database.waiting()) == (["J0004", "J0002"], ["J0002", "J0004"])
        database.begin(1, "second", answers(["J0004"]))
        assert database.waiting() == ["J0002"]
    with open_database(path) as database:
        assert database.iterations() == [IterationRow(0, "first", "finished"), IterationRow(1, "second", "begun")]
        assert database.answered_in(1).to_numpy().tolist() == [["J0004", 0.25, 7, 3]]
        database.finish(1, pd.DataFrame({"id_str": ["J0004"], "shard": ["b.tfrecord"], "record": [3]}))
        table = database.galaxies().set_index("id_str")
    assert table["is_labelled"].tolist() == [True, True, False, False, True, False]
    expected = ["unlabelled", "b.tfrecord", 3, True, 0.0, 1.0, 0.5, 0.25, 1.0]
    assert table.loc["J0004"].tolist() == expected
    assert np.isnan(table.loc["J0002", "answered"])


def test_a_galaxy_is_answered_once_and_only_if_it_was_asked(path):
    with open_database(path) as database:
        database.begin(0, "first", answers(["J0003"]))
        assert database.answered_in(0).empty
        database.choose(0, chosen(["J0003"]))
        database.begin(1, "second", answers(["J0003"]))
        database.begin(2, "third", answers(["J0003"], votes=(0, 9)))
        assert database.answered_in(1)["bar_yes"].tolist() == [7]
        assert database.answered_in(2).empty


def test_a_step_that_fails_writes_nothing(path):
    with open_database(path) as database:
        database.begin(0, "first", answers([]))
        database.choose(0, chosen(["J0003"]))
    with pytest.raises(ValueError, match="twice"), open_database(path) as database:
        database.begin(0, "first", answers(["J0003"]))
    with open_database(path) as database:
        assert database.waiting() == ["J0003"]


def test_a_galaxy_that_is_there_twice_is_refused(tmp_path):
    with pytest.raises(ValueError, match="twice"):
        create_database(tmp_path / "database.sqlite", SCHEMA, pd.concat([galaxies(), galaxies()[:1]]))
    assert list(tmp_path.iterdir()) == []


def test_files_that_are_no_database_are_named(tmp_path):
    path = tmp_path / "database.sqlite"
    with pytest.raises(FileNotFoundError, match="create-instructions"), open_database(path):
        pass
    path.write_bytes(b"no database, but more than a hundred bytes " * 10)
    with pytest.raises(ValueError, match=f"{path}: is no database"), open_database(path):
        pass
    path.unlink()
    sqlite3.connect(path).execute("CREATE TABLE other (a TEXT)")
    with pytest.raises(ValueError, match=f"{path}: is no database"), open_database(path):
        pass


def iterate(path):
    """Run iterations that answer, ask and finish, from where an earlier process was killed."""
    with open_database(path) as database:
        rows = database.iterations()
        number = len(rows) - (bool(rows) and rows[-1].state != "finished")
        while ids := database.candidates(number):
            states = {row.number: row.state for row in database.iterations()}
            if number not in states:
                database.begin(number, f"iteration_{number}", answers(database.waiting()))
            if states.get(number) != "chosen":
                database.choose(number, chosen(ids[:PER_ITERATION]))
            stored = database.answered_in(number)[["id_str"]]
            database.finish(number, stored.assign(shard=f"{number}.tfrecord", record=range(len(stored))))
            number += 1


def n_iterations(path):
    with open_database(path) as database:
        return len(database.iterations())


def check_consistent(path):
    """Each iteration is complete, apart from the steps of the last one that were not begun; return their number."""
    with open_database(path) as database:
        rows, table = database.iterations(), database.galaxies()
    assert [row.number for row in rows] == list(range(len(rows)))
    assert all(row.state == "finished" for row in rows[:-1])
    for row in rows:
        n_asked = (table["asked"] == row.number).sum()
        assert n_asked == (0 if row.state == "begun" else PER_ITERATION)
        answered = table[table["answered"] == row.number]
        assert len(answered) == (PER_ITERATION if row.number else 0)
        assert (answered["asked"] == row.number - 1).all()
        assert (answered["shard"] == f"{row.number}.tfrecord").all() == (row.state == "finished" or answered.empty)
    assert table["is_labelled"].sum() == table["answered"].notna().sum()
    return len(rows)


def test_kills_at_ten_random_moments_leave_whole_steps(tmp_path):
    path = tmp_path / "database.sqlite"
    create_database(path, SCHEMA, galaxies(N_GALAXIES, 0))
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["zoobot3d_tf.active_learning.database"])
    rng, reached = random.Random(0), [0]
    for _ in range(10):
        process = context.Process(target=iterate, args=(path,))
        process.start()
        while n_iterations(path) <= reached[-1] and process.is_alive():
            pass
        time.sleep(rng.uniform(0, 0.02))
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        with sqlite3.connect(path) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        reached.append(check_consistent(path))
    assert 0 < reached[1] < reached[-1]
    iterate(path)
    assert check_consistent(path) == N_GALAXIES // PER_ITERATION
    with open_database(path) as database:
        assert {row.state for row in database.iterations()} == {STATES[-1]}
