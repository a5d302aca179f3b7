"""How many galaxies may fail, and which errors are faults of the machine."""

import errno
import gzip
from pathlib import Path

import pytest

from zoobot3d_tf.failures import check_failures, check_max_failed, is_of_machine, may_fail


@pytest.mark.parametrize(
    ("n_galaxies", "max_failed", "expected"),
    [(10, 0.01, 5), (499, 0.01, 5), (600, 0.01, 6), (10_000, 0.01, 100), (10_000, 0.0, 0), (3, 1.0, 5), (40, 0.5, 20)],
)
def test_a_fraction_of_the_galaxies_but_at_least_five_may_fail(n_galaxies, max_failed, expected):
    assert may_fail(n_galaxies, max_failed) == expected


@pytest.mark.parametrize("max_failed", [-0.1, 1.01, 5, float("nan")])
def test_a_fraction_out_of_range_is_refused(max_failed):
    with pytest.raises(ValueError, match=rf"max_failed .* 0 to 1; received {max_failed}"):
        check_max_failed(max_failed)


def test_too_many_failures_are_an_error_with_the_first_reasons():
    check_failures(["cut short"] * 5, 100, 0.01, Path("failed.csv"), "Go on.")
    with pytest.raises(
        ValueError, match=r"^6 of 100 .*max_failed 0\.01 .*\(1\) no such.*\(3\) cut short\. failed\.csv .*Go on"
    ):
        check_failures(["no such file", *["cut short"] * 5], 100, 0.01, Path("failed.csv"), "Go on.")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OSError(errno.EIO, "Input/output error"), True),
        (OSError(errno.ESTALE, "Stale file handle"), True),
        (OSError(errno.EMFILE, "Too many open files"), True),
        (OSError(errno.ENOSPC, "No space left on device"), True),
        (TimeoutError(errno.ETIMEDOUT, "Connection timed out"), True),
        (MemoryError(), True),
        (FileNotFoundError(errno.ENOENT, "No such file or directory"), False),
        (PermissionError(errno.EACCES, "Permission denied"), False),
        (IsADirectoryError(errno.EISDIR, "Is a directory"), False),
        (OSError(errno.ENAMETOOLONG, "File name too long"), False),
        (OSError("Empty or corrupt FITS file"), False),
        (gzip.BadGzipFile("Not a gzipped file"), False),
        (ValueError("embedded null byte"), False),
    ],
)
def test_faults_of_the_machine_differ_from_faults_of_a_file(error, expected):
    assert is_of_machine(error) is expected
