"""Journal of a live oracle: which subject a galaxy has, whether it was asked, and the votes when they are complete.

It is a SQLite file, so that it holds all or nothing of each step, also if the process is killed.
"""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

_TABLES = """
CREATE TABLE IF NOT EXISTS about (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS galaxies (
    id_str TEXT PRIMARY KEY, subject TEXT NOT NULL, is_asked INTEGER NOT NULL, votes TEXT, changed TEXT NOT NULL
);
"""


@dataclass(frozen=True)
class Entry:
    """A galaxy in the journal.

    Attributes:
        subject: id of its subject, whose image is uploaded.
        is_asked: whether the subject is in a subject set, so that volunteers are asked about it.
        votes: complete votes in the order of the schema; None until then.
    """

    subject: str
    is_asked: bool
    votes: tuple[int, ...] | None


class Journal:
    """An open journal; see `open_journal`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def entries(self) -> dict[str, Entry]:
        """All galaxies by `id_str`."""
        rows = self._connection.execute("SELECT id_str, subject, is_asked, votes FROM galaxies")
        return {
            id_str: Entry(subject, bool(is_asked), None if votes is None else tuple(json.loads(votes)))
            for id_str, subject, is_asked, votes in rows
        }

    def add(self, subjects: Mapping[str, str], is_asked: bool) -> None:
        """Write subjects by `id_str`. An earlier subject of a galaxy that was not asked is replaced."""
        with self._connection:
            self._connection.executemany(
                "INSERT OR REPLACE INTO galaxies VALUES (?, ?, ?, NULL, datetime('now'))",
                [(id_str, subject, is_asked) for id_str, subject in subjects.items()],
            )

    def mark_asked(self, ids: Iterable[str]) -> None:
        """Write that galaxies were asked."""
        with self._connection:
            self._connection.executemany(
                "UPDATE galaxies SET is_asked = 1, changed = datetime('now') WHERE id_str = ?",
                [(id_str,) for id_str in ids],
            )

    def keep_votes(self, votes: Mapping[str, Iterable[int]]) -> None:
        """Write the complete votes of galaxies, in the order of the schema."""
        with self._connection:
            self._connection.executemany(
                "UPDATE galaxies SET votes = ?, changed = datetime('now') WHERE id_str = ?",
                [(json.dumps([int(count) for count in counts]), id_str) for id_str, counts in votes.items()],
            )


@contextmanager
def open_journal(path: Path, about: Mapping[str, str]) -> Iterator[Journal]:
    """Open a journal, or begin one.

    Args:
        path: path of the file, in a folder that exists.
        about: what the journal is about, such as the workflow.

    Yields:
        The journal.

    Raises:
        ValueError: the file is no journal, or is about something else. The error names the difference.
        OSError: the file cannot be read or written.
    """
    try:
        with closing(sqlite3.connect(path)) as connection:
            connection.executescript(_TABLES)
            with connection:
                connection.executemany("INSERT OR IGNORE INTO about VALUES (?, ?)", about.items())
            for key, value in connection.execute("SELECT key, value FROM about"):
                if about.get(key, value) != value:
                    raise ValueError(
                        f"{path}: was begun with the {key} {value:.100}; received {about[key]:.100}; use another folder"
                    )
            yield Journal(connection)
    except sqlite3.OperationalError as error:
        raise OSError(f"{path}: cannot be read or written: {error}") from error
    except sqlite3.DatabaseError as error:
        raise ValueError(f"{path}: is no journal of an oracle, or is damaged: {error}") from error
