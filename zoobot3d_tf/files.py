"""Names and hashes of files, and files that are whole or absent, whenever the power fails."""

import hashlib
import os
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
