"""Galaxies that fail: how many of them a run accepts, and which errors are faults of the machine instead."""

import errno
from collections.abc import Sequence
from pathlib import Path

MAX_FAILED = 0.01
"""Default of the largest fraction of galaxies that may fail."""

FEW_FAILED = 5
"""Number of galaxies that may fail in any run, since 1 % of a few galaxies is none. The fraction 0 accepts none."""

# Faults of one file: it is missing, its name is impossible, or it is not a file that this user may read.
_FAULTS_OF_A_FILE = {
    errno.ENOENT,
    errno.EACCES,
    errno.EPERM,
    errno.EISDIR,
    errno.ENOTDIR,
    errno.ELOOP,
    errno.ENAMETOOLONG,
}


def is_of_machine(error: BaseException) -> bool:
    """Whether an error while reading a file is a fault of the machine, so that all other files would fail too.

    Such errors are a full memory, too many open files, and errors of the disk or of the network file system. Errors
    without a number of the operating system are those of decoders about a damaged file.
    """
    if isinstance(error, OSError):
        return error.errno is not None and error.errno not in _FAULTS_OF_A_FILE
    return isinstance(error, MemoryError)


def check_max_failed(max_failed: float) -> None:
    """Check the largest fraction of galaxies that may fail.

    Raises:
        ValueError: it is not from 0 to 1.
    """
    if not 0 <= max_failed <= 1:
        raise ValueError(f"max_failed must be a fraction from 0 to 1; received {max_failed}")


def may_fail(n_galaxies: int, max_failed: float) -> int:
    """Number of galaxies that may fail before a run stops: a fraction of all, but at least `FEW_FAILED`."""
    return max(FEW_FAILED, int(max_failed * n_galaxies)) if max_failed else 0


def check_failures(reasons: Sequence[str], n_galaxies: int, max_failed: float, listed: Path, remedy: str) -> None:
    """Check that not too many galaxies have failed.

    Args:
        reasons: reason of each failure.
        n_galaxies: number of galaxies of the run, including those that were not tried.
        max_failed: largest fraction of galaxies that may fail; see `may_fail`.
        listed: file that lists the failures.
        remedy: how to go on, for the error.

    Raises:
        ValueError: more galaxies than `may_fail` have failed.
    """
    if len(reasons) > may_fail(n_galaxies, max_failed):
        first = " ".join(f"({number}) {reason}." for number, reason in enumerate(reasons[:3], start=1))
        raise ValueError(
            f"{len(reasons)} of {n_galaxies} galaxies failed, more than max_failed {max_failed:g} allows: {first} "
            f"{listed} lists all of them. {remedy}"
        )
