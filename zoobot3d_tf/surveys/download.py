"""Fetch many files from a server that may fail, politely, and so that a file that bears its name is whole.

Files are stored under names that we choose, never the server. A fault of the server, or of one file, costs that file
alone; a fault of our own disk stops the run, since every other file would meet it too.
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

import pandas as pd
import requests
import urllib3
from tqdm import tqdm

from zoobot3d_tf import __version__
from zoobot3d_tf.files import FAILED_NAME, PathLike, partial_path, write_atomically

USER_AGENT = f"zoobot3d_tf/{__version__}"
TRIES = 5
FIRST_WAIT = 1.0
"""Seconds before the second try, about; they double with every further one."""
MAX_WAIT = 120.0
"""Seconds; also where the server asks for a longer wait."""
TIMEOUTS = (10.0, 60.0)
"""Seconds to connect, and seconds that a connected server may be silent."""
MAX_REDIRECTS = 5
MAX_BYTES = 2 * 1024**3

_CHUNK_BYTES = 64 * 1024
_RANGE_ANSWERS = (HTTPStatus.PARTIAL_CONTENT, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
# File systems allow 255 bytes, of which a temporary name needs a few.
_MAX_NAME_BYTES = 200

log = logging.getLogger(__name__)

Check = Callable[[Path], None]
"""Raises ValueError or OSError, with the reason alone, if a file is not what it should be. Its temporary name ends as
the final one does."""


@dataclass(frozen=True)
class Download:
    """A file to fetch.

    Attributes:
        url: where from, http or https.
        name: where to: a path below the folder of the downloads, with `/` between its parts.
        size: in bytes, if known exactly.
        sha1: of its content, in hexadecimal digits, if known.
    """

    url: str
    name: str
    size: int | None = None
    sha1: str | None = None


@dataclass(frozen=True)
class Summary:
    """What became of the downloads.

    Attributes:
        n_present: files that were there already, whole.
        n_fetched: files that came now.
        failures: (name, url, reason) of the others.
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
) -> Summary:
    """Fetch the files that are not there yet, and list those that cannot be had in `failed.csv`.

    A file counts as whole if it has the size and the SHA-1 that are known of it and, where no SHA-1 is, passes `check`.
    It is written under a temporary name until then. Overloaded servers, broken connections and damaged files are tried
    again, up to five times, after waits that double, or that the server asks for, of two minutes at most.

    Args:
        downloads: the files.
        out: folder to fill.
        workers: files to fetch at once.
        check: looks into files without a SHA-1, in several threads at once.
        resume: go on with partial files by HTTP ranges even where no SHA-1 is known. `check` must then notice a file
            glued from two versions.
        max_bytes: give a file up that is longer than this.

    Returns:
        How many files there are, and which are not.

    Raises:
        ValueError: two downloads have the same name.
        OSError: a file cannot be written, on a full disk for example; what is finished is kept.
    """
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    if len({wanted.name for wanted in downloads}) < len(downloads):
        raise ValueError(f"{out}: two downloads have the same name")
    fetched: dict[str, bool] = {}
    reasons: dict[str, str] = {}
    fetcher = _Fetcher(check, resume, max_bytes)
    with (
        ThreadPoolExecutor(workers) as pool,
        tqdm(total=len(downloads), unit="file", disable=None) as bar,
    ):
        try:
            futures = {pool.submit(fetcher.obtain, wanted, out): wanted.name for wanted in downloads}
            for future in as_completed(futures):
                try:
                    fetched[futures[future]] = future.result()
                except _FetchError as error:
                    reasons[futures[future]] = str(error)
                bar.update()
        finally:
            fetcher.stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
    failures = tuple((d.name, d.url, reasons[d.name]) for d in downloads if d.name in reasons)
    _write_failures(out / FAILED_NAME, failures)
    n_fetched = sum(fetched.values())
    summary = Summary(n_present=len(fetched) - n_fetched, n_fetched=n_fetched, failures=failures)
    log.info("%s: %d files fetched, %d there already, %d failed", out, n_fetched, summary.n_present, len(failures))
    return summary


def fetch_page(url: str, max_bytes: int) -> bytes:
    """Fetch one page into memory, with the patience of `download`.

    Raises:
        OSError: it cannot be had.
    """
    with TemporaryDirectory() as folder:
        try:
            _Fetcher(max_bytes=max_bytes).obtain(Download(url, "page"), Path(folder))
        except _FetchError as error:
            raise OSError(f"{url}: cannot be fetched: {error}") from error
        return (Path(folder) / "page").read_bytes()


class _FetchError(Exception):
    """The server or what it sends is at fault. `wait` is how many seconds it asked for."""

    def __init__(self, reason: str, try_again: bool = True, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.try_again = try_again
        self.wait = wait


class _Connection(threading.local):
    """A session for each thread: requests does not promise that threads may share one."""

    def __init__(self) -> None:
        self.session = requests.Session()
        self.session.max_redirects = MAX_REDIRECTS
        # Bytes as they are on the server's disk: ranges and sizes count those.
        self.session.headers.update({"User-Agent": USER_AGENT, "Accept-Encoding": "identity"})


@dataclass(frozen=True)
class _Fetcher:
    """Fetches one file after another, in as many threads as call it; for the attributes see `download`."""

    check: Check | None = None
    resume: bool = False
    max_bytes: int = MAX_BYTES
    connection: _Connection = field(default_factory=_Connection)
    stop: threading.Event = field(default_factory=threading.Event)

    def obtain(self, wanted: Download, out: Path) -> bool:
        """See to it that the file is there and whole; tell whether it had to be fetched.

        Raises:
            _FetchError: it cannot be had.
            OSError: it cannot be written.
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
            raise OSError(f"{target}: cannot be stored: {error.strerror or error}; what is finished is kept") from error

    def _fetch_patiently(self, wanted: Download, partial: Path) -> None:
        """Fetch and verify a file, several times if need be."""
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
                    raise _FetchError(f"{error} (the last of {TRIES} tries)") from error
                # At random, lest all that were turned away together come back together.
                pause = FIRST_WAIT * 2 ** (n_tries - 1) * random.uniform(0.5, 1.5)
                if self.stop.wait(min(MAX_WAIT, max(pause, error.wait))):
                    raise

    def _fetch(self, wanted: Download, partial: Path) -> None:
        """Fill the partial file, from where it ends if that is allowed and the server can."""
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
                    raise _FetchError(f"the server cannot go on from byte {start}")
                else:
                    raise _refusal(response)
        # requests lets some ValueErrors through, about malformed addresses in redirects for one.
        except (requests.RequestException, urllib3.exceptions.HTTPError, ValueError) as error:
            if not may_resume:
                partial.unlink(missing_ok=True)
            raise _connection_error(error) from error

    def _save(self, response: requests.Response, partial: Path, start: int) -> None:
        """Write the body to the partial file, from byte `start`, and see it safely on disk."""
        size = start
        with partial.open("ab" if start else "wb") as file:
            # A server may declare .gz files as gzip-encoded; decoded, they would not be the files of the archive.
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
        """Raise a _FetchError unless the file is whole."""
        size = path.stat().st_size
        if size > self.max_bytes:
            raise _FetchError(f"longer than {self.max_bytes} bytes", try_again=False)
        if wanted.size is not None and size != wanted.size:
            raise _FetchError(f"{size} bytes, where it should have {wanted.size}")
        if wanted.sha1 is not None:
            with path.open("rb") as file:
                sha1 = hashlib.file_digest(file, "sha1").hexdigest()
            if sha1 != wanted.sha1.lower():
                raise _FetchError(f"its SHA-1 is {sha1}, where it should be {wanted.sha1}")
        elif self.check is not None:
            try:
                self.check(path)
            except (ValueError, OSError) as error:
                raise _FetchError(str(error)) from error


def _target(out: Path, name: str) -> Path:
    """Where to store a file: below `out`, whatever its name and symbolic links say."""
    parts = name.split("/")
    if (
        name == FAILED_NAME
        or not name.isprintable()
        or "\\" in name
        or PureWindowsPath(name).drive
        or any(not part or part.startswith(".") or len(part.encode()) > _MAX_NAME_BYTES for part in parts)
    ):
        raise _FetchError(f"{name!r} cannot be the name of a file in the folder of downloads", try_again=False)
    target = out.joinpath(*parts)
    if not partial_path(target).resolve().is_relative_to(out.resolve()):
        raise _FetchError(f"{name!r} leads out of the folder of downloads by a symbolic link", try_again=False)
    return target


def _continues(response: requests.Response, start: int) -> bool:
    """Tell whether the body is all of the file from byte `start`."""
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
    return _FetchError(f"HTTP status {status} {response.reason}", try_again, _seconds_to_wait(response))


def _seconds_to_wait(response: requests.Response) -> float:
    """Seconds from the header Retry-After, which gives them or a date; 0 where it says neither."""
    try:
        return urllib3.Retry().parse_retry_after(response.headers.get("Retry-After", "0"))
    except urllib3.exceptions.InvalidHeader:
        return 0.0


def _connection_error(error: Exception) -> _FetchError:
    cause: BaseException = error
    while cause.__context__ is not None:  # the libraries wrap the one plain sentence several times
        cause = cause.__context__
    if isinstance(error, requests.Timeout | urllib3.exceptions.TimeoutError):
        return _FetchError("the server did not answer in time")
    if isinstance(error, requests.ConnectionError | urllib3.exceptions.HTTPError):
        return _FetchError(f"the connection failed: {cause}")
    if isinstance(error, requests.TooManyRedirects):
        return _FetchError(f"redirected more than {MAX_REDIRECTS} times", try_again=False)
    return _FetchError(str(error), try_again=False)


def _write_failures(path: Path, failures: tuple[tuple[str, str, str], ...]) -> None:
    if failures:
        table = pd.DataFrame(list(failures), columns=["name", "url", "reason"])
        write_atomically(path, table.to_csv(index=False, lineterminator="\n"))
    else:
        path.unlink(missing_ok=True)
