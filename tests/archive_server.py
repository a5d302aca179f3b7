"""Local HTTP server in place of the archive or the cutout service of a survey, with faults on request."""

import hashlib
import html
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar
from urllib.parse import parse_qsl, quote, unquote, urlsplit

FOLDER = "/archive/"
SHA1_LIST = "archive.sha1sum"
PAGE = b"<!DOCTYPE html><html><body><h1>It works!</h1></body></html>"
PIECE = 16 * 1024

Respond = Callable[[str, dict[str, str]], bytes | None]


@dataclass(frozen=True)
class Request:
    """A request. `name` is the path relative to the folder of the archive, '' for the index."""

    name: str
    query: dict[str, str]
    headers: dict[str, str]
    time: float


@dataclass
class ArchiveServer:
    """The running server.

    Attributes:
        url: address of the folder of the archive, with a slash at the end.
        files: content of the files by name. A test may change it.
        respond: function that makes the content of other names, see `archive_server`.
        faults: faults by name, see `archive_server`.
        index: page of the folder, see `archive_server`.
        sha1_list: whether there is a list of SHA-1 sums, see `archive_server`.
        requests: requests until now, in order.
        most_at_once: largest number of simultaneous requests until now.
        at_once: number of requests that are being answered.
        lock: lock of the requests and their numbers.
        closing: event that ends slow responses.
    """

    url: str
    files: dict[str, bytes]
    respond: Respond | None
    faults: dict[str, Iterator[str]]
    index: bytes | None
    sha1_list: bool
    requests: list[Request] = field(default_factory=list)
    most_at_once: int = 0
    at_once: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    closing: threading.Event = field(default_factory=threading.Event)

    def asked(self, name: str) -> list[Request]:
        """Requests for a file."""
        return [request for request in self.requests if request.name == name]

    def ranges(self, name: str) -> list[str | None]:
        """Header `Range` of each request for a file."""
        return [request.headers.get("range") for request in self.asked(name)]

    def content(self, name: str, query: dict[str, str]) -> bytes | None:
        """Content that a correct server would send; None if there is no such file."""
        if name in self.files:
            return self.files[name]
        if name == SHA1_LIST and self.sha1_list:
            sums = (f"{hashlib.sha1(content).hexdigest()}  {file}\n" for file, content in self.files.items())
            return "".join(sums).encode()
        if name == "" and self.respond is None:
            return self.index or index_page([*self.files, *([SHA1_LIST] if self.sha1_list else [])])
        return self.respond(name, query) if self.respond else None


@contextmanager
def archive_server(
    files: Mapping[str, bytes] | None = None,
    faults: Mapping[str, Iterable[str]] | None = None,
    respond: Respond | None = None,
    index: bytes | None = None,
    sha1_list: bool = False,
) -> Iterator[ArchiveServer]:
    """Run the server until the block ends.

    Args:
        files: content of the files by name.
        faults: faults by name, one per request. Requests after the last fault are answered correctly; for a permanent
            fault use `itertools.repeat`. Faults are the keys of `_Handler.FAULTS`, "500", "503 retry-after 2",
            "redirect loop" and "redirect to <URL>".
        respond: function that makes the content of names that are not among the files, from name and query. The
            status is 404 if it returns None.
        index: page of the folder, to send instead of an index of the files in the style of Apache.
        sha1_list: whether the index links to a list of SHA-1 sums, `archive.sha1sum`.

    Yields:
        The running server.
    """
    http_server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    http_server.daemon_threads = True
    url = f"http://127.0.0.1:{http_server.server_port}{FOLDER}"
    pending = {name: iter(each) for name, each in (faults or {}).items()}
    server = ArchiveServer(url, dict(files or {}), respond, pending, index, sha1_list)
    http_server.archive = server
    thread = threading.Thread(target=http_server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.closing.set()
        http_server.shutdown()
        thread.join()
        http_server.server_close()


def index_page(names: Iterable[str]) -> bytes:
    """Make an index as Apache does: links that sort, to the parent folder, and to the files, with rounded sizes."""
    rows = "".join(
        f'<tr><td><a href="{quote(name)}">{html.escape(name)}</a></td><td>2021-11-01 12:00</td><td>350K</td></tr>\n'
        for name in names
    )
    return (
        "<!DOCTYPE HTML><html><head><title>Index of /archive</title></head><body><table><tr>"
        '<th><a href="?C=N;O=D">Name</a></th><th><a href="?C=S;O=A">Size</a></th></tr>\n'
        f'<tr><td><a href="/">Parent Directory</a></td></tr>\n{rows}</table></body></html>'
    ).encode()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # without a buffer, the body is a second packet, which waits for the confirmation of the first

    def handle(self) -> None:
        with suppress(ConnectionError):  # clients may close the connection
            super().handle()

    def do_GET(self) -> None:
        archive: ArchiveServer = self.server.archive
        split = urlsplit(self.path)
        name, query = unquote(split.path).removeprefix(FOLDER), dict(parse_qsl(split.query))
        headers = {header.lower(): value for header, value in self.headers.items()}
        with archive.lock:
            archive.requests.append(Request(name, query, headers, time.monotonic()))
            archive.at_once += 1
            archive.most_at_once = max(archive.most_at_once, archive.at_once)
            fault = next(archive.faults.get(name, iter(())), None)
        try:
            self.answer(name, query, fault)
            self.wfile.flush()
        finally:
            with archive.lock:
                archive.at_once -= 1

    def answer(self, name: str, query: dict[str, str], fault: str | None) -> None:
        content = self.server.archive.content(name, query)
        if status := re.fullmatch(r"(\d{3})(?: retry-after (.+))?", fault or ""):
            self.refuse(int(status[1]), retry_after=status[2])
        elif fault == "redirect loop" or name == "loop":
            self.redirect(f"{FOLDER}loop")
        elif fault is not None and fault.startswith("redirect to "):
            self.redirect(fault.removeprefix("redirect to "))
        elif content is None:
            self.refuse(404)
        elif fault is None:
            self.send(content)
        else:
            self.FAULTS[fault](self, content)

    def refuse(self, status: int, retry_after: str | None = None) -> None:
        self.start(status, PAGE, {"Retry-After": retry_after} if retry_after else {})
        self.wfile.write(PAGE)

    def redirect(self, location: str) -> None:
        self.start(302, b"", {"Location": location})

    def send(self, content: bytes) -> None:
        """Send the file, or the requested range."""
        start = self.range_start()
        if start is None:
            self.start(200, content)
            self.wfile.write(content)
        elif start >= len(content):
            self.start(416, b"", {"Content-Range": f"bytes */{len(content)}"})
        else:
            part = content[start:]
            self.start(206, part, {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"})
            self.wfile.write(part)

    def send_slowly(self, content: bytes) -> None:
        self.start(200, content)
        for first in range(0, len(content), PIECE):
            self.wfile.write(content[first : first + PIECE])
            self.wfile.flush()
            self.server.archive.closing.wait(0.01)

    def drop_midway(self, content: bytes) -> None:
        self.start(200, content)
        self.wfile.write(content[: len(content) // 2])
        self.close_connection = True

    def stall_midway(self, content: bytes) -> None:
        self.start(200, content)
        self.wfile.write(content[: len(content) // 2])
        self.wfile.flush()
        self.server.archive.closing.wait()

    def stay_silent(self, content: bytes) -> None:
        self.server.archive.closing.wait()

    def truncate(self, content: bytes) -> None:
        """Send half of the file, with the length of the half."""
        self.start(200, content[: len(content) // 2])
        self.wfile.write(content[: len(content) // 2])

    def overstate_length(self, content: bytes) -> None:
        self.start(200, content + bytes(100))
        self.wfile.write(content)
        self.close_connection = True

    def send_page(self, content: bytes) -> None:
        self.send(PAGE)

    def send_endlessly(self, content: bytes) -> None:
        self.send_response(200)
        self.end_headers()
        while not self.server.archive.closing.is_set():
            self.wfile.write(bytes(PIECE))

    def declare_encoding(self, content: bytes) -> None:
        """Send the file with a header that tells clients to inflate it."""
        self.start(200, content, {"Content-Encoding": "x-gzip"})
        self.wfile.write(content)

    def ignore_range(self, content: bytes) -> None:
        self.start(200, content)
        self.wfile.write(content)

    def send_other_range(self, content: bytes) -> None:
        self.start(206, content[10:], {"Content-Range": f"bytes 10-{len(content) - 1}/{len(content)}"})
        self.wfile.write(content[10:])

    FAULTS: ClassVar = {
        "slow": send_slowly,
        "drop midway": drop_midway,
        "stall midway": stall_midway,
        "silent": stay_silent,
        "truncate": truncate,
        "wrong length": overstate_length,
        "html": send_page,
        "endless": send_endlessly,
        "gzip encoding": declare_encoding,
        "no ranges": ignore_range,
        "other range": send_other_range,
    }

    def start(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for header, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(header, value)
        self.end_headers()

    def range_start(self) -> int | None:
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        return int(match[1]) if match else None

    def log_message(self, format: str, *args: object) -> None:
        pass
