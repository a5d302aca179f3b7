"""Oracles: who is asked about galaxies. `SimulatedOracle` reveals votes that are known; `panoptes` asks volunteers."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd

from zoobot3d_tf.files import PathLike, one_owner, path_of, read_json_object, write_atomically
from zoobot3d_tf.schemas import Schema
from zoobot3d_tf.tables.columns import check_ids, read_counts, read_text, require_columns, shorten

ASKED_NAME = "asked.json"
"""Name of the file, in the folder of a simulated oracle, with the round in which each galaxy was asked."""


class Oracle(Protocol):
    """Volunteers, or whoever stands in for them. Whoever chooses galaxies need not know which."""

    def ask(self, galaxies: pd.DataFrame) -> None:
        """Ask about galaxies. A galaxy that was asked before is not asked again.

        Args:
            galaxies: one row per galaxy, with `id_str` and `file_loc`, the path of the image.

        Raises:
            ValueError: the table is faulty.
            OSError: the oracle cannot be reached. What was asked until then stays asked: call again with the same.
        """

    def answers(self, ids: Sequence[str]) -> pd.DataFrame:
        """Votes on galaxies.

        Args:
            ids: `id_str` of galaxies, asked or not.

        Returns:
            One row per galaxy whose answer is complete, in the order of `ids`: `id_str`, and one column of whole
            numbers per answer of the schema.

        Raises:
            OSError: the oracle cannot be reached.
        """


@dataclass(frozen=True)
class Imperfections:
    """How the answers of a simulated oracle differ from the hidden votes. By default not at all.

    Attributes:
        wrong: probability that a vote is replaced by a random answer to the same question.
        given: probability that a vote is given.
        answered: fraction of galaxies that are answered at all, however long one waits.
        max_delay: a galaxy is answered after 0 to `max_delay` further rounds, at random. A round is a call of `ask`
            with galaxies that were not asked before.
        seed: seed. The answers on a galaxy depend on it and on `id_str` alone.

    Raises:
        ValueError: a probability is not from 0 to 1, or `max_delay` or `seed` is negative.
    """

    wrong: float = 0.0
    given: float = 1.0
    answered: float = 1.0
    max_delay: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("wrong", "given", "answered"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be a probability from 0 to 1; received {getattr(self, name)}")
        for name in ("max_delay", "seed"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be a whole number >= 0; received {getattr(self, name)}")


class SimulatedOracle:
    """An `Oracle` that reveals hidden votes. Its folder remembers what was asked, so that a new process can go on."""

    def __init__(
        self, votes: pd.DataFrame, schema: Schema, folder: PathLike, imperfections: Imperfections | None = None
    ) -> None:
        """Hide votes.

        Args:
            votes: table with `id_str` and the columns of the schema. Empty cells are no votes.
            schema: decision tree of the votes.
            folder: folder of the oracle. It is made at the first question.
            imperfections: how the answers differ from the votes.

        Raises:
            ValueError: a column is missing, an id is faulty or twice in the table, or a vote is no whole number >= 0.
        """
        where = "hidden votes"
        require_columns(where, votes.columns, schema.label_cols)
        self._row = {id_str: row for row, id_str in enumerate(ids_of(where, votes))}
        counts = [read_counts(where, votes, column).fillna(0) for column in schema.label_cols]
        self._votes = np.stack(counts, axis=1).astype(np.int64)
        self._schema = schema
        self._folder = path_of(folder)
        self._imperfections = imperfections or Imperfections()

    def ask(self, galaxies: pd.DataFrame) -> None:
        """Ask about galaxies; see `Oracle.ask`.

        Raises:
            ValueError: there are no hidden votes on a galaxy.
        """
        ids = ids_of("galaxies", galaxies)
        if unknown := [id_str for id_str in ids if id_str not in self._row]:
            raise ValueError(f"there are no hidden votes on {len(unknown)} galaxies: {shorten(unknown)}")
        with one_owner(self._folder):
            asked = self._asked()
            this_round = max(asked.values(), default=-1) + 1
            if new := {id_str: this_round for id_str in ids if id_str not in asked}:
                write_atomically(self._path, json.dumps({"rounds": asked | new}))

    def answers(self, ids: Sequence[str]) -> pd.DataFrame:
        """Votes on galaxies; see `Oracle.answers`. A galaxy without votes on the first question is not answered."""
        asked = self._asked()
        last_round = max(asked.values(), default=0)
        rows = {}
        for id_str in ids:
            if id_str in asked:
                delay, votes = self._answer(id_str)
                if last_round - asked[id_str] >= delay and votes[self._schema.slices[0]].any():
                    rows[id_str] = votes
        return votes_table(rows, self._schema)

    @property
    def _path(self) -> Path:
        return self._folder / ASKED_NAME

    def _asked(self) -> dict[str, int]:
        """Round in which each galaxy was asked."""
        if not self._path.exists():
            return {}
        rounds = read_json_object(self._path, "the rounds of questions").get("rounds")
        if not isinstance(rounds, dict) or not all(isinstance(number, int) for number in rounds.values()):
            raise ValueError(f"{self._path}: must give the number of a round per galaxy, as `ask` wrote it")
        return rounds

    def _answer(self, id_str: str) -> tuple[int, np.ndarray]:
        """Delay in rounds, and the votes (answers,), all zero if the galaxy is never answered."""
        how = self._imperfections
        # From the id and not from a common stream, so that the answers do not depend on what is asked, and when.
        digest = hashlib.sha256(id_str.encode()).digest()
        rng = np.random.default_rng([how.seed, int.from_bytes(digest[:8])])
        is_answered = rng.random() < how.answered
        delay = int(rng.integers(how.max_delay, endpoint=True))
        votes = rng.binomial(self._votes[self._row[id_str]], how.given)
        wrong = rng.binomial(votes, how.wrong)
        votes -= wrong
        for answers in self._schema.slices:
            n_answers = answers.stop - answers.start
            votes[answers] += rng.multinomial(wrong[answers].sum(), np.full(n_answers, 1 / n_answers))
        return delay, votes * is_answered


def ids_of(where: str, table: pd.DataFrame) -> list[str]:
    """Ids of the galaxies of a table.

    Args:
        where: name of the table, for errors.
        table: table with the column `id_str`.

    Raises:
        ValueError: the column is missing, or an id is faulty or twice in the table.
    """
    require_columns(where, table.columns, ["id_str"])
    ids = read_text(where, table, "id_str")
    check_ids(where, ids.to_frame())
    if ids.duplicated().any():
        raise ValueError(f"{where}: {ids[ids.duplicated()].iloc[0]} is there twice; list each galaxy once")
    return list(ids)


def votes_table(votes: dict[str, np.ndarray], schema: Schema) -> pd.DataFrame:
    """Table as `Oracle.answers` returns it.

    Args:
        votes: votes of each galaxy by `id_str`, whole numbers (answers,).
        schema: decision tree of the votes.
    """
    counts = np.array(list(votes.values()), dtype=np.int64).reshape(len(votes), len(schema.answers))
    table = pd.DataFrame(counts, columns=schema.label_cols)
    table.insert(0, "id_str", pd.Series(list(votes), dtype=object))
    return table
