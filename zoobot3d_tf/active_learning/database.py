"""Database of an experiment: where each galaxy is stored, when it was asked, and how it was answered.

It is a SQLite file in which each step of an iteration is one transaction: it holds all of a step or nothing, also if
the process is killed or the power fails. An iteration has three steps, see `STATES`.
"""

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from zoobot3d_tf.files import whole_file
from zoobot3d_tf.schemas import Schema

DATABASE_NAME = "database.sqlite"
"""Name of the database in the folder of an experiment."""

STATES = ("begun", "chosen", "finished")
"""States of an iteration: the answers to earlier questions are written; the galaxies to ask are; all work is done."""

_TABLES = """
CREATE TABLE schema (label_cols TEXT NOT NULL);
CREATE TABLE iterations (number INTEGER PRIMARY KEY, folder TEXT NOT NULL UNIQUE, state TEXT NOT NULL);
CREATE TABLE galaxies (
    id_str TEXT PRIMARY KEY,
    split TEXT NOT NULL,
    shard TEXT NOT NULL,
    record INTEGER NOT NULL,
    votes TEXT,
    asked INTEGER REFERENCES iterations,
    rank INTEGER,
    score REAL,
    information REAL,
    answered INTEGER REFERENCES iterations
) WITHOUT ROWID;
CREATE INDEX by_asked ON galaxies (asked);
CREATE INDEX by_answered ON galaxies (answered);
"""


@dataclass(frozen=True)
class IterationRow:
    """An iteration in the database.

    Attributes:
        number: number, from 0.
        folder: its folder, relative to the folder of the experiment.
        state: one of `STATES`.
    """

    number: int
    folder: str
    state: str


class Database:
    """An open database; see `open_database`."""

    def __init__(self, connection: sqlite3.Connection, label_cols: Sequence[str]) -> None:
        self._connection = connection
        self._label_cols = list(label_cols)

    def iterations(self) -> list[IterationRow]:
        """All iterations, in order. Only the last one can be unfinished."""
        rows = self._connection.execute("SELECT number, folder, state FROM iterations ORDER BY number")
        return [IterationRow(*row) for row in rows]

    def galaxies(self) -> pd.DataFrame:
        """All galaxies, by id.

        Returns:
            One row per galaxy: `id_str`; `split`, as in the shards from which the experiment began; `shard` and
            `record`, the file and the place in it; `is_labelled`; `asked`, the iteration that asked about it, with its
            `rank`, `score` and `information` then; and `answered`, the iteration that received the answer. NaN if it
            was not asked or answered.
        """
        columns = "id_str, split, shard, record, votes IS NOT NULL AS is_labelled"
        columns += ", asked, rank, score, information, answered"
        query = f"SELECT {columns} FROM galaxies ORDER BY id_str"
        table = pd.read_sql_query(query, self._connection)
        numbers = ("asked", "rank", "score", "information", "answered")
        return table.astype({"is_labelled": bool} | dict.fromkeys(numbers, np.float64))

    def candidates(self, number: int) -> list[str]:
        """Galaxies that an iteration can ask about: unlabelled, and not asked before it."""
        return self._ids("split = 'unlabelled' AND (asked IS NULL OR asked = ?)", number)

    def waiting(self) -> list[str]:
        """Galaxies that were asked about, and have no answer."""
        return self._ids("asked IS NOT NULL AND votes IS NULL")

    def asked_in(self, number: int) -> list[str]:
        """Galaxies that an iteration has asked about, the first choice first."""
        return self._ids("asked = ?", number, order="rank")

    def answered_in(self, number: int) -> pd.DataFrame:
        """Answers that an iteration received.

        Returns:
            One row per galaxy: `id_str`, `information` when it was asked, and the votes for each answer, int64.
        """
        query = "SELECT id_str, information, votes FROM galaxies WHERE answered = ? ORDER BY id_str"
        rows = self._connection.execute(query, (number,)).fetchall()
        votes = np.array([json.loads(row[2]) for row in rows], np.int64).reshape(len(rows), len(self._label_cols))
        table = pd.DataFrame(votes, columns=self._label_cols)
        table.insert(0, "id_str", pd.Series([row[0] for row in rows], dtype=object))
        table.insert(1, "information", np.array([row[1] for row in rows], np.float64))
        return table

    def begin(self, number: int, folder: str, answers: pd.DataFrame) -> None:
        """Begin an iteration with the answers that have arrived.

        Args:
            number: number of the iteration.
            folder: its folder, relative to the folder of the experiment.
            answers: one row per galaxy, as `oracles.Oracle.answers` returns them.
        """
        votes = answers[self._label_cols].to_numpy().tolist()
        rows = [(json.dumps(counts), number, id_str) for id_str, counts in zip(answers["id_str"], votes, strict=True)]
        with self._connection:
            self._connection.execute("INSERT INTO iterations VALUES (?, ?, 'begun')", (number, folder))
            self._connection.executemany(
                "UPDATE galaxies SET votes = ?, answered = ? WHERE id_str = ? AND asked IS NOT NULL AND votes IS NULL",
                rows,
            )

    def choose(self, number: int, chosen: pd.DataFrame) -> None:
        """Write the galaxies that an iteration asks about. They are written before they are asked.

        Args:
            number: number of the iteration.
            chosen: one row per galaxy: `id_str`, `rank`, `score`, and `information`, NaN if unknown.
        """
        columns = chosen[["rank", "score", "information", "id_str"]].astype(object)
        with self._connection:
            self._connection.executemany(
                "UPDATE galaxies SET asked = ?, rank = ?, score = ?, information = ? WHERE id_str = ?",
                [(number, *row) for row in columns.itertuples(index=False, name=None)],
            )
            self._connection.execute("UPDATE iterations SET state = 'chosen' WHERE number = ?", (number,))

    def finish(self, number: int, stored: pd.DataFrame) -> None:
        """Finish an iteration.

        Args:
            number: number of the iteration.
            stored: one row per galaxy that it has labelled: `id_str`, and its new `shard` and `record`.
        """
        columns = stored[["shard", "record", "id_str"]].astype(object)
        with self._connection:
            self._connection.executemany(
                "UPDATE galaxies SET shard = ?, record = ? WHERE id_str = ?",
                list(columns.itertuples(index=False, name=None)),
            )
            self._connection.execute("UPDATE iterations SET state = 'finished' WHERE number = ?", (number,))

    def _ids(self, condition: str, *values: int, order: str = "id_str") -> list[str]:
        query = f"SELECT id_str FROM galaxies WHERE {condition} ORDER BY {order}"
        return [id_str for (id_str,) in self._connection.execute(query, values)]


def create_database(path: Path, schema: Schema, galaxies: pd.DataFrame) -> None:
    """Write a new database. It is complete or absent.

    Args:
        path: path of the file. It is replaced if it exists.
        schema: decision tree of the votes.
        galaxies: one row per galaxy: `id_str`, unique; `split`, `shard` and `record`; and the votes for each answer,
            which are 0 for galaxies without labels.

    Raises:
        ValueError: a galaxy is there twice.
        OSError: the file cannot be written.
    """
    votes = galaxies[schema.label_cols].to_numpy(np.int64)
    stored = [json.dumps(counts) if any(counts) else None for counts in votes.tolist()]
    rows = zip(*(galaxies[name].tolist() for name in ("id_str", "split", "shard", "record")), stored, strict=True)
    with whole_file(path) as partial:
        partial.unlink(missing_ok=True)
        with _errors(path), closing(sqlite3.connect(partial)) as connection:
            connection.executescript(_TABLES)
            with connection:
                connection.execute("INSERT INTO schema VALUES (?)", (json.dumps(schema.label_cols),))
                connection.executemany(
                    "INSERT INTO galaxies (id_str, split, shard, record, votes) VALUES (?, ?, ?, ?, ?)", rows
                )


@contextmanager
def open_database(path: Path) -> Iterator[Database]:
    """Open a database.

    Args:
        path: path of the file.

    Yields:
        The database. Other processes can read while it is open.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file is no database of an experiment, or is damaged.
        OSError: the file cannot be read or written.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such database; `zoobot3d al create-instructions` makes it")
    with _errors(path), closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")  # a finished step survives a power failure
        (label_cols,) = connection.execute("SELECT label_cols FROM schema").fetchone()
        yield Database(connection, json.loads(label_cols))


@contextmanager
def _errors(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.IntegrityError as error:
        raise ValueError(f"{path}: a galaxy or an iteration is there twice: {error}") from error
    except sqlite3.OperationalError as error:
        if "no such table" in str(error):
            raise ValueError(f"{path}: is no database of an experiment: {error}") from error
        raise OSError(f"{path}: cannot be read or written: {error}") from error
    except sqlite3.DatabaseError as error:
        raise ValueError(f"{path}: is no database of an experiment, or is damaged: {error}") from error
