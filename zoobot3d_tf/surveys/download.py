"""Download of many files from a server that may fail. A file is complete or absent.

The caller chooses the names of the files, not the server. If a file is faulty, only that file fails. If a file cannot
be written, or the server does not answer for one file after the other, the run stops, since other files would fail too.
"""

import hashlib
import logging
import os
import random
import re
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path, PureWindowsPath
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

import pandas as pd
import requests
import urllib3

from zoobot3d_tf.failures import is_of_machine
from zoobot3d_tf.files import FAILED_NAME, PathLike, partial_path, path_of, write_atomically
from zoobot3d_tf.progress import Progress
from zoobot3d_tf.version import __version__

USER_AGENT = f"zoobot3d_tf/{__version__}"
TRIES = 5
"""Number of tries per file."""
FIRST_WAIT = 1.0
"""Approximate time before the second try, in seconds. It doubles with each further try."""
MAX_WAIT = 120.0
"""Longest time between two tries, in seconds, even if the server requests a longer one."""
TIMEOUTS = (10.0, 60.0)
"""Longest time to connect, and longest time without data from the server, in seconds."""
MAX_REDIRECTS = 5
MAX_SILENT = 10
"""Number of files in a row, each after all its tries, without an answer of the server; the run then stops."""
MAX_BYTES = 2 * 1024**3
"""Default of the largest accepted size of a file, in bytes."""

_CHUNK_BYTES = 64 * 1024
_RANGE_ANSWERS = (HTTPStatus.PARTIAL_CONTENT, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
# File systems allow 255 bytes. The prefix of partial files needs some of them.
_MAX_NAME_BYTES = 200

log = logging.getLogger(__name__)

Check = Callable[[Path], None]
"""Function that raises a ValueError or an OSError if the content of a file is wrong. The message gives the reason
without the path. The partial file that it receives has the suffixes of the final name."""


@dataclass(frozen=True)
class Download:
    """A file to download.

    Attributes:
        url: address of the file, http or https.
        name: path of the file relative to the folder of downloads, with `/` between its parts.
        size: size of the file in bytes, if known exactly.
        sha1: SHA-1 of the file as a hexadecimal string, if known.
    """

    url: str
    name: str
    size: int | None = None
    sha1: str | None = None


@dataclass(frozen=True)
class Summary:
    """Results of the downloads.

    Attributes:
        n_present: number of files that existed already and are complete.
        n_fetched: number of files downloaded by this call.
        failures: (name, url, reason) for each file that failed. If more files failed than `download` allows, others
            were not tried.
    """

    n_present: int
    n_fetched: int
    failures: tuple[tuple[str, str, str], ...]


def download(
    downloads: Sequence[Download],
    out: PathLike,
    workers: int = 4,
    check: Check | None = None,
    resume: bool = False,
    max_bytes: int = MAX_BYTES,
    allowed: int | None = None,
) -> Summary:
    """Download the missing files, and list the files that fail in `failed.csv`.

    A file is complete if it has the known size and the known SHA-1 or, where no SHA-1 is known, passes `check`. Until
    then it has the name of a partial file. If the server is overloaded, the connection breaks or the file is damaged,
    the download is tried again, five times in all. The time between tries doubles, or is the one that the server
    requests, up to two minutes.

    Args:
        downloads: files to download.
        out: path of the folder to fill.
        workers: number of simultaneous downloads.
        check: function that checks the files without a known SHA-1. Several threads call it at the same time.
        resume: whether partial files without a known SHA-1 are continued, by HTTP ranges. `check` must then detect
            two versions of a file joined together.
        max_bytes: largest accepted size of a file, in bytes.
        allowed: number of files that may fail. After one more, the remaining files are not tried. By default all.

    Returns:
        Numbers of files, and failures.

    Raises:
        ValueError: two downloads have the same name.
        OSError: a file cannot be written, for example because the disk is full, or `MAX_SILENT` files in a row failed
            because the server did not answer. Finished files are kept.
    """
    out = path_of(out)
    out.mkdir(parents=True, exist_ok=True)
    if len({wanted.name for wanted in downloads}) < len(downloads):
        raise ValueError(f"{out}: two downloads have the same name")
    fetched: dict[str, bool] = {}
    reasons: dict[str, str] = {}
    n_silent = 0
    fetcher = _Fetcher(check, resume, max_bytes)
    with (
        ThreadPoolExecutor(workers) as pool,
        Progress(total=len(downloads), unit="file") as bar,
    ):
        try:
            futures = {pool.submit(fetcher.obtain, wanted, out): wanted.name for wanted in downloads}
            for future in as_completed(futures):
                try:
                    fetched[futures[future]] = future.result()
                    n_silent = 0
                except _FetchError as error:
                    reasons[futures[future]] = str(error)
                    n_silent = n_silent + 1 if error.is_of_server else 0
                bar.update()
                if n_silent == MAX_SILENT or (allowed is not None and len(reasons) > allowed):
                    break
        finally:
            fetcher.stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
    failures = tuple((d.name, d.url, reasons[d.name]) for d in downloads if d.name in reasons)
    _write_failures(out / FAILED_NAME, failures)
    if n_silent == MAX_SILENT:
        raise OSError(
            f"{urlsplit(failures[-1][1]).netloc}: the server has not answered for {n_silent} files in a row; the last: "
            f"{failures[-1][2]}. Finished files are kept: run the same again when it answers"
        )
    n_fetched = sum(fetched.values())
    summary = Summary(n_present=len(fetched) - n_fetched, n_fetched=n_fetched, failures=failures)
    log.info("%s: %d files downloaded, %d present already, %d failed", out, n_fetched, summary.n_present, len(failures))
    return summary


def fetch_page(url: str, max_bytes: int) -> bytes:
    """Download a page into memory, with as many tries as `download`.

    Args:
        url: address of the page, http or https.
        max_bytes: largest accepted size of the page, in bytes.

    Raises:
        OSError: the page cannot be downloaded.
    """
    with TemporaryDirectory() as folder:
        try:
            _Fetcher(max_bytes=max_bytes).obtain(Download(url, "page"), Path(folder))
        except _FetchError as error:
            raise OSError(f"{url}: cannot be downloaded: {error}") from error
        return (Path(folder) / "page").read_bytes()


class _FetchError(Exception):
    """A fault of the server or of the content.

    Attributes:
        try_again: whether another try may succeed.
        wait: time before the next try that the server requests, in seconds.
        is_of_server: whether the server has not answered, so that other files would fail too.
    """

    def __init__(self, reason: str, try_again: bool = True, wait: float = 0.0, is_of_server: bool = False) -> None:
        super().__init__(reason)
        self.try_again = try_again
        self.wait = wait
        self.is_of_server = is_of_server


class _Connection(threading.local):
    """One session per thread: the sessions of requests are not documented as safe for threads."""

    def __init__(self) -> None:
        self.session = requests.Session()
        self.session.max_redirects = MAX_REDIRECTS
        # Without it, the server may compress the content; ranges and sizes refer to the stored file.
        self.session.headers.update({"User-Agent": USER_AGENT, "Accept-Encoding": "identity"})


@dataclass(frozen=True)
class _Fetcher:
    """Downloads one file per call, in any number of threads. The attributes are arguments of `download`."""

    check: Check | None = None
    resume: bool = False
    max_bytes: int = MAX_BYTES
    connection: _Connection = field(default_factory=_Connection)
    stop: threading.Event = field(default_factory=threading.Event)

    def obtain(self, wanted: Download, out: Path) -> bool:
        """Download the file unless it exists and is complete; return whether it was downloaded.

        Raises:
            _FetchError: the file cannot be downloaded.
            OSError: the file cannot be written.
        """
        target = _target(out, wanted.name)
        try:
            if target.is_file():
                with suppress(_FetchError):
                    self._verify(target, wanted)
                    return False
            target.parent.mkdir(parents=True, exist_ok=True)
            self._fetch_patiently(wanted, partial_path(target))
            partial_path(target).replace(target)
            return True
        except OSError as error:
            raise OSError(f"{target}: cannot be written: {error.strerror or error}; finished files are kept") from error

    def _fetch_patiently(self, wanted: Download, partial: Path) -> None:
        """Download and check a file, with several tries."""
        for n_tries in range(1, TRIES + 1):
            try:
                self._fetch(wanted, partial)
                try:
                    self._verify(partial, wanted)
                except _FetchError:
                    partial.unlink()
                    raise
                return
            except _FetchError as error:
                if not error.try_again:
                    raise
                if n_tries == TRIES:
                    reason = f"{error} (after {TRIES} tries)"
                    raise _FetchError(reason, is_of_server=error.is_of_server) from error
                # Random, so that clients that were refused at the same time do not return at the same time.
                pause = FIRST_WAIT * 2 ** (n_tries - 1) * random.uniform(0.5, 1.5)
                if self.stop.wait(min(MAX_WAIT, max(pause, error.wait))):
                    raise

    def _fetch(self, wanted: Download, partial: Path) -> None:
        """Fill the partial file. It is continued if that is allowed and the server supports ranges."""
        may_resume = self.resume or wanted.sha1 is not None
        start = partial.stat().st_size if may_resume and partial.exists() else 0
        headers = {"Range": f"bytes={start}-"} if start else {}
        try:
            with self.connection.session.get(wanted.url, headers=headers, stream=True, timeout=TIMEOUTS) as response:
                if response.status_code == HTTPStatus.OK:
                    self._save(response, partial, 0)
                elif start and _continues(response, start):
                    self._save(response, partial, start)
                elif start and response.status_code in _RANGE_ANSWERS:
                    partial.unlink()
                    raise _FetchError(f"the server cannot continue from byte {start}")
                else:
                    raise _refusal(response)
        # requests does not convert all ValueErrors, for example about malformed addresses in redirects.
        except (requests.RequestException, urllib3.exceptions.HTTPError, ValueError) as error:
            if not may_resume:
                partial.unlink(missing_ok=True)
            raise _connection_error(error) from error

    def _save(self, response: requests.Response, partial: Path, start: int) -> None:
        """Write the body to the partial file from byte `start`, and sync it to disk."""
        size = start
        with partial.open("ab" if start else "wb") as file:
            # Some servers declare .gz files as gzip-encoded. Decoded, they would differ from the files of the archive.
            for chunk in response.raw.stream(_CHUNK_BYTES, decode_content=False):
                if self.stop.is_set():
                    raise _FetchError("interrupted", try_again=False)
                file.write(chunk)
                size += len(chunk)
                if size > self.max_bytes:
                    break
            file.flush()
            os.fsync(file.fileno())

    def _verify(self, path: Path, wanted: Download) -> None:
        """Raise a _FetchError if the file is not complete."""
        size = path.stat().st_size
        if size > self.max_bytes:
            raise _FetchError(f"the file has more than {self.max_bytes} bytes", try_again=False)
        if wanted.size is not None and size != wanted.size:
            raise _FetchError(f"the file has {size} bytes; it must have {wanted.size}")
        if wanted.sha1 is not None:
            with path.open("rb") as file:
                sha1 = hashlib.file_digest(file, "sha1").hexdigest()
            if sha1 != wanted.sha1.lower():
                raise _FetchError(f"the SHA-1 of the file is {sha1}; it must be {wanted.sha1}")
        elif self.check is not None:
            try:
                self.check(path)
            except (ValueError, OSError) as error:
                if is_of_machine(error):
                    raise
                raise _FetchError(str(error)) from error


def _target(out: Path, name: str) -> Path:
    """Path of a file, which lies below `out` whatever its name and symbolic links are."""
    parts = name.split("/")
    if (
        name == FAILED_NAME
        or not name.isprintable()
        or "\\" in name
        or PureWindowsPath(name).drive
        or any(not part or part.startswith(".") or len(part.encode()) > _MAX_NAME_BYTES for part in parts)
    ):
        raise _FetchError(
            f"{name!r} cannot name a file in the folder of downloads; a valid name is 'fits/J1.fits'", try_again=False
        )
    target = out.joinpath(*parts)
    if not partial_path(target).resolve().is_relative_to(out.resolve()):
        raise _FetchError(f"{name!r} leaves the folder of downloads through a symbolic link", try_again=False)
    return target


def _continues(response: requests.Response, start: int) -> bool:
    """Whether the body of the response is the rest of the file from byte `start`."""
    match = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", response.headers.get("Content-Range", ""))
    return (
        response.status_code == HTTPStatus.PARTIAL_CONTENT
        and match is not None
        and int(match[1]) == start
        and int(match[2]) == int(match[3]) - 1
    )


def _refusal(response: requests.Response) -> _FetchError:
    status = response.status_code
    try_again = status >= 500 or status in (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS)
    reason = f"HTTP status {status} {response.reason}"
    return _FetchError(reason, try_again, seconds_to_wait(response), is_of_server=try_again)


def seconds_to_wait(response: requests.Response) -> float:
    """Seconds until the time of the header Retry-After, a number or a date; 0 if there is neither."""
    try:
        return urllib3.Retry().parse_retry_after(response.headers.get("Retry-After", "0"))
    except urllib3.exceptions.InvalidHeader:
        return 0.0


def _connection_error(error: Exception) -> _FetchError:
    cause: BaseException = error
    while cause.__context__ is not None:  # the libraries wrap the message several times
        cause = cause.__context__
    if isinstance(error, requests.Timeout | urllib3.exceptions.TimeoutError):
        return _FetchError("the server did not respond in time", is_of_server=True)
    if isinstance(error, requests.ConnectionError | urllib3.exceptions.HTTPError):
        return _FetchError(f"the connection failed: {cause}", is_of_server=True)
    if isinstance(error, requests.TooManyRedirects):
        return _FetchError(f"the server redirected more than {MAX_REDIRECTS} times", try_again=False)
    return _FetchError(str(error), try_again=False)


def _write_failures(path: Path, failures: tuple[tuple[str, str, str], ...]) -> None:
    if failures:
        table = pd.DataFrame(list(failures), columns=["name", "url", "reason"])
        write_atomically(path, table.to_csv(index=False, lineterminator="\n"))
    else:
        path.unlink(missing_ok=True)
