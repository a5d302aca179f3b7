"""Files that are whole or absent, whatever interrupts their writing; names and hashes of files."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

PathLike = str | os.PathLike[str]

FAILED_NAME = "failed.csv"
"""In a folder that a command fills: the galaxies left out, one row per galaxy, with the reason."""

_PARTIAL = ".partial-"


@contextmanager
def whole_file(path: Path, shared: bool = False) -> Iterator[Path]:
    """Write a file so that a reader never meets half of it: to a partial file, which is synced and then renamed.

    The partial file is removed if the block raises. After a kill it stays, and the next writer replaces it.

    Args:
        path: the file. It is replaced if it exists.
        shared: whether other processes may write the same file at the same time; the partial file then has a name of
            its own.

    Yields:
        Path of the partial file, in the folder of `path` and with its suffixes. The block must create it.

    Raises:
        OSError: the file cannot be written; the error names `path`.
    """
    partial = partial_path(path)
    if shared:
        partial = partial.with_name(f"{_PARTIAL}{uuid4().hex}-{path.name}")
    try:
        yield partial
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException as error:
        partial.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None and error.strerror:
            # Python does not say which file a full disk was about.
            raise type(error)(error.errno, error.strerror, str(path)) from error
        raise


def write_atomically(path: Path, content: str | bytes, shared: bool = False) -> None:
    """Write text (UTF-8) or bytes to a file that is whole or absent; see `whole_file`."""
    with whole_file(path, shared) as partial:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)


def partial_path(path: Path) -> Path:
    """Where to write before renaming to `path`: a hidden file or folder beside it, with the same suffixes."""
    return path.with_name(f"{_PARTIAL}{path.name}")


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
