"""Files that are complete or absent, even if writing is interrupted; locks of folders; names and hashes."""

import errno
import fcntl
import hashlib
import json
import logging
import os
import platform
import reprlib
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, TextIO
from uuid import uuid4

PathLike = str | os.PathLike[str]

YAML_SUFFIXES = (".yaml", ".yml", ".json")
"""Suffixes of files that are read as YAML. JSON is YAML, too."""
FAILED_NAME = "failed.csv"
"""Name of the file, in the folder that a command fills, that lists each galaxy left out, with the reason."""

LOCK_NAME = ".lock"
"""Name of the file in a folder that one process holds while it writes the folder; see `one_owner`."""

_PARTIAL = ".partial-"
_MAX_JSON_BYTES = 64 * 1024**2
_MAX_INFLATED_BYTES = 256 * 1024**2
_MAX_INFLATION = 50

log = logging.getLogger(__name__)


def path_of(path: PathLike) -> Path:
    """Path that a user gave. A home folder in short form, such as `~/shards`, is written out.

    Each path that enters the package, at the command line, in Python or in a catalogue, passes through this function.
    """
    return Path(os.path.expanduser(path))


@contextmanager
def whole_file(path: Path, shared: bool = False, sync: bool = True) -> Iterator[Path]:
    """Write a file so that it is complete or absent: to a partial file, which is synced and then renamed.

    If the block raises an error, the partial file is removed. If the process is killed, the partial file remains, and
    the next writer replaces it.

    Args:
        path: path of the file. It is replaced if it exists.
        shared: whether other processes may write the same file at the same time. The name of the partial file is then
            unique.
        sync: whether the file is also complete or absent if the power fails. For many small files, this takes longer
            than making them.

    Yields:
        Path of the partial file, in the folder of `path` and with the same suffixes. The block must create the file.

    Raises:
        OSError: the file cannot be written, or another process has written it at the same time. The error names `path`.
    """
    partial = partial_path(path)
    if shared:
        partial = partial.with_name(f"{_PARTIAL}{uuid4().hex}-{path.name}")
    try:
        yield partial
        if not partial.exists():
            raise BlockingIOError(
                f"{path}: another process has written this file at the same time; wait until that has ended, and run "
                "the same again"
            )
        if sync:
            with partial.open("rb+") as file:
                os.fsync(file.fileno())
        partial.replace(path)
    except BaseException as error:
        partial.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None and error.strerror:
            # Python does not name the file if the disk is full.
            raise type(error)(error.errno, error.strerror, str(path)) from error
        raise


def write_atomically(path: Path, content: str | bytes, shared: bool = False) -> None:
    """Write text (as UTF-8) or bytes to a file that is complete or absent; see `whole_file`."""
    with whole_file(path, shared) as partial:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)


def check_space(path: Path, n_bytes: int) -> None:
    """Check that there is space for a file, by writing as many zeros beside it and removing them.

    HDF5 needs this check: on a full disk it crashes the process when it closes the file.

    Args:
        path: path of the file that will be written.
        n_bytes: size of the file, or more.

    Raises:
        OSError: there is no space. The error names `path`.
    """
    try:
        with TemporaryFile(dir=path.parent, prefix=_PARTIAL) as file:
            for start in range(0, n_bytes, 2**20):
                file.write(bytes(min(2**20, n_bytes - start)))
    except OSError as error:
        raise type(error)(error.errno, error.strerror, str(path)) from error


def partial_path(path: Path) -> Path:
    """Path of the hidden file or folder, beside `path` and with its suffixes, to write before renaming it."""
    return path.with_name(f"{_PARTIAL}{path.name}")


@contextmanager
def one_owner(folder: Path) -> Iterator[None]:
    """Own a folder during a block, so that two commands never write the same folder at the same time.

    A missing folder is made, and removed again if the block leaves it empty. The operating system releases the lock
    when the process ends, even if it is killed: the next run then owns the folder.

    Args:
        folder: path of the folder.

    Raises:
        BlockingIOError: another process owns the folder. The error names the process.
        OSError: the folder cannot be written.
    """
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / LOCK_NAME
    with path.open("a+", encoding="utf-8") as file:
        if not _locked(file, folder):
            file.seek(0)
            owner = file.read() or "another process"
            raise BlockingIOError(f"{folder}: {owner} is writing it; wait until that has ended, or use another folder")
        file.truncate(0)
        with suppress(OSError):  # on a full disk the owner has no name, and the first output names itself in the error
            os.write(file.fileno(), f"process {os.getpid()} on {platform.node()}".encode())
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
            if is_new:
                with suppress(OSError):  # the folder is not empty, as intended, or the block has removed it
                    folder.rmdir()


@contextmanager
def workspace(path: Path) -> Iterator[Path]:
    """Own an empty hidden folder beside a path during a block, to build there what `move_into_place` then moves.

    The folder is removed after the block. If the process is killed, the next workspace of the same path removes what is
    left.

    Args:
        path: path of the file or folder to make.

    Yields:
        Path of the folder, on the same file system as `path`.

    Raises:
        BlockingIOError: another process is making the same path. The error names the process.
        OSError: the folder cannot be written.
    """
    folder = partial_path(path)
    if folder.is_file():  # left by `whole_file`
        folder.unlink()
    with one_owner(folder):
        empty_owned(folder)
        try:
            yield folder
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT) and error.filename is None:
                raise type(error)(error.errno, error.strerror, str(path)) from error
            raise
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def empty_owned(folder: Path) -> None:
    """Remove what a run that was killed has left in a folder of this process; see `one_owner`."""
    for left in folder.iterdir():
        if left.is_dir():
            shutil.rmtree(left)
        elif left.name != LOCK_NAME:
            left.unlink()


def move_into_place(made: Path, path: Path) -> None:
    """Sync a file, or the files of a folder, to the disk, and rename it. An existing file is replaced."""
    for part in [made, *made.rglob("*")]:
        if part.is_file():
            with part.open("rb+") as file:
                os.fsync(file.fileno())
    made.replace(path)


def _locked(file: TextIO, folder: Path) -> bool:
    """Lock an open file; return whether that was possible."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        log.warning("%s: the file system has no locks (%s); run one command at a time here", folder, error.strerror)
    return os.fstat(file.fileno()).st_nlink > 0  # its owner may have ended and removed it between opening and locking


def failed_loc(table_loc: Path) -> Path:
    """Path of the file `<table>_failed.csv`, beside a table, that lists the galaxies left out of the table."""
    return table_loc.with_name(f"{table_loc.stem}_failed.csv")


def sha256_of(path: PathLike) -> str:
    """SHA-256 of a file as a hexadecimal string."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_json_object(path: Path, what: str) -> dict[str, Any]:
    """Read a JSON object from a file.

    Args:
        path: file in UTF-8.
        what: what the object describes, for errors, such as "metadata of a table".

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file is damaged, larger than 64 MB or nested too deeply, or holds something else.
    """
    try:
        if path.stat().st_size > _MAX_JSON_BYTES:
            raise ValueError(f"the file is larger than {_MAX_JSON_BYTES} bytes")
        content = json.loads(path.read_text(encoding="utf-8"))
    except RecursionError as error:
        raise ValueError(f"{path}: cannot be read as a JSON object with {what}: it is nested too deeply") from error
    except ValueError as error:
        raise ValueError(f"{path}: cannot be read as a JSON object with {what}: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: must be a JSON object with {what}; received {reprlib.repr(content)}")
    return content


def check_inflated_size(path: Path, n_bytes: int) -> None:
    """Check that the content of a compressed file is not far larger than the file, before it is read to memory.

    Args:
        path: the file.
        n_bytes: size of its content in memory, in bytes.

    Raises:
        ValueError: the content has more than 256 MB and is more than fifty times as large as the file.
    """
    if n_bytes > max(_MAX_INFLATED_BYTES, _MAX_INFLATION * path.stat().st_size):
        raise ValueError(
            f"{path}: its content would take {n_bytes / 1e9:.1f} GB of memory, more than {_MAX_INFLATION} times the "
            "size of the file; such a file is damaged or was made to fill the memory"
        )


def check_output(path: Path, what: str, suffixes: Sequence[str]) -> None:
    """Check that a file can be written, and make its folder, before the work rather than after it.

    Args:
        path: path of the file.
        what: description of the file for the error, such as "table".
        suffixes: suffixes that the name may have, in lower case; any if empty.

    Raises:
        ValueError: the name has another suffix.
        OSError: the path is a folder, or its folder is a file or cannot be written.
    """
    if suffixes and path.suffix.lower() not in suffixes:
        raise ValueError(f"{path}: the name of the {what} must end in {' or '.join(suffixes)}")
    if path.is_dir():
        raise IsADirectoryError(f"{path}: is a folder; give the {what} another name")
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder}: is a file; choose another folder for the {what}")
    if not os.access(folder, os.W_OK):
        raise PermissionError(f"{folder}: cannot be written; choose another folder for the {what}")
    path.parent.mkdir(parents=True, exist_ok=True)
