"""Names and hashes of files, and files that are whole or absent, whenever the power fails."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

PathLike = str | os.PathLike[str]

FAILED_NAME = "failed.csv"
"""In a folder that a command fills: what it left out, a row each, with the reason."""


def write_atomically(path: Path, content: str | bytes) -> None:
    """Writes a file under a temporary name beside it, then renames: a reader never meets half of it."""
    partial = partial_path(path)
    with partial.open("wb") as file:
        file.write(content.encode() if isinstance(content, str) else content)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def partial_path(path: Path) -> Path:
    """Where to write before renaming to `path`: hidden, beside it, with the same suffixes."""
    return path.with_name(f".partial-{path.name}")


def failed_loc(table_loc: Path) -> Path:
    """Where to list what a table leaves out: `<table>_failed.csv`, beside it."""
    return table_loc.with_name(f"{table_loc.stem}_failed.csv")


def sha256_of(path: PathLike) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_output(path: Path, what: str, suffixes: Sequence[str]) -> None:
    """Refuses a file that could not be written in the end, before the work rather than after it.

    Args:
        path: the file.
        what: what it is to be, for the sentence.
        suffixes: those that its name may end in; with none, in anything.

    Raises:
        ValueError: it ends in another one.
        OSError: it is a folder, or its own folder is missing or cannot be written.
    """
    if suffixes and path.suffix.lower() not in suffixes:
        raise ValueError(f"{path}: the name of the {what} must end in {' or '.join(suffixes)}")
    if path.is_dir():
        raise IsADirectoryError(f"{path}: is a folder; give the {what} another name")
    if not path.parent.is_dir():
        raise NotADirectoryError(f"{path.parent}: no such folder; make it for the {what} first")
    if not os.access(path.parent, os.W_OK):
        raise PermissionError(f"{path.parent}: cannot be written; choose another folder for the {what}")
