"""Downloads from a faulty server: files are complete or listed as failed."""

import errno
import gzip
import hashlib
import os
import signal
import subprocess
import sys
import time
from email.utils import formatdate
from itertools import pairwise, repeat

import numpy as np
import pandas as pd
import pytest
from archive_server import PAGE, archive_server

from zoobot3d_tf.files import partial_path
from zoobot3d_tf.surveys import download as engine
from zoobot3d_tf.surveys.download import Download, Summary, download, fetch_page
from zoobot3d_tf.version import __version__

CONTENT = np.random.default_rng(0).bytes(400_000)
SHA1 = hashlib.sha1(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(engine, "FIRST_WAIT", 0.001)
    monkeypatch.setattr(engine, "TIMEOUTS", (5.0, 0.3))


def check_content(path):
    if path.read_bytes() != CONTENT:
        raise ValueError("not the content")


def fetch(server, out, *names, sha1=None, **settings):
    return download([Download(server.url + name, name, sha1=sha1) for name in names], out, **settings)


def files_in(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_files_arrive_under_the_names_we_gave(tmp_path):
    with archive_server({"a": CONTENT, "b": b"", "c": PAGE}, {"c": ["redirect to /archive/a"]}) as server:
        wanted = [Download(server.url + name, f"fits/{name}.fits") for name in "abc"]
        assert download(wanted, tmp_path / "out") == Summary(n_present=0, n_fetched=3, failures=())
    assert files_in(tmp_path) == ["out/fits/a.fits", "out/fits/b.fits", "out/fits/c.fits"]
    contents = [(tmp_path / "out/fits" / f"{name}.fits").read_bytes() for name in "abc"]
    assert contents == [CONTENT, b"", CONTENT]


KNOWN = {"size": {"size": len(CONTENT)}, "SHA-1": {"sha1": SHA1.upper()}, "check": {}}


@pytest.mark.parametrize("known", KNOWN)
def test_whole_files_are_not_asked_for_again_and_others_are(tmp_path, known):
    (tmp_path / "whole").write_bytes(CONTENT)
    (tmp_path / "half").write_bytes(CONTENT[:1000])
    with archive_server({"whole": CONTENT, "half": CONTENT}) as server:
        wanted = [Download(server.url + name, name, **KNOWN[known]) for name in ("whole", "half")]
        summary = download(wanted, tmp_path, check=check_content)
        assert [request.name for request in server.requests] == ["half"]
    assert summary == Summary(n_present=1, n_fetched=1, failures=())
    assert (tmp_path / "half").read_bytes() == CONTENT


@pytest.mark.parametrize(
    "fault",
    [
        *("500", "503 retry-after soon", "429", "408"),
        *("drop midway", "stall midway", "silent", "wrong length", "truncate", "html"),
    ],
)
@pytest.mark.parametrize("sha1", [None, SHA1])
def test_a_temporary_fault_is_overcome(tmp_path, fault, sha1):
    with archive_server({"a": CONTENT}, {"a": [fault, fault]}) as server:
        summary = fetch(server, tmp_path, "a", sha1=sha1, check=check_content)
        assert len(server.asked("a")) >= 3
    assert summary.n_fetched == 1
    assert files_in(tmp_path) == ["a"]
    assert (tmp_path / "a").read_bytes() == CONTENT


def test_a_slow_server_is_accepted(tmp_path):
    with archive_server({"a": CONTENT}, {"a": ["slow"]}) as server:
        fetch(server, tmp_path, "a")
        assert len(server.asked("a")) == 1
    assert (tmp_path / "a").read_bytes() == CONTENT


LASTING = {
    "403": ("HTTP status 403 Forbidden", 1),
    "404": ("HTTP status 404 Not Found", 1),
    "410": ("HTTP status 410 Gone", 1),
    "500": (r"HTTP status 500 .*\b5 tries", 5),
    "drop midway": ("connection .*200000 more expected", 5),
    "html": ("not the content", 5),
    "truncate": ("not the content", 5),
    "endless": ("more than 1000000 bytes", 1),
    "redirect loop": ("redirect.* 5 times", 1),
    "redirect to file:///etc/passwd": ("file:///etc/passwd", 1),
    "redirect to http://[bad": ("Invalid IPv6 URL", 1),
}


@pytest.mark.parametrize("fault", LASTING)
def test_a_permanent_fault_fails_one_file_and_no_other(tmp_path, fault):
    reason, n_tries = LASTING[fault]
    with archive_server({"bad": CONTENT, "good": CONTENT}, {"bad": repeat(fault)}) as server:
        summary = fetch(server, tmp_path, "bad", "good", check=check_content, max_bytes=1_000_000)
        assert len(server.asked("bad")) == n_tries
        assert summary.n_fetched == 1
        assert files_in(tmp_path) == ["failed.csv", "good"]
        failed = pd.read_csv(tmp_path / "failed.csv")
        assert [tuple(row) for row in failed.to_numpy()] == list(summary.failures)
        assert list(failed["name"]) == ["bad"]
        assert list(failed["url"]) == [server.url + "bad"]
        assert failed["reason"].str.contains(reason)[0]

        server.faults.clear()
        assert fetch(server, tmp_path, "bad", "good", check=check_content) == Summary(1, 1, ())
    assert files_in(tmp_path) == ["bad", "good"]


def test_a_missing_server_is_the_reason(tmp_path):
    summary = download([Download("http://127.0.0.1:1/a", "a")], tmp_path)
    assert "Connection refused" in summary.failures[0][2]


@pytest.mark.parametrize(
    ("known", "reason"),
    [
        ({"sha1": "0" * 40}, SHA1),
        ({"size": 500_000}, "400000 bytes"),
        ({"size": 10}, "have 10"),
    ],
)
def test_a_file_with_another_size_or_sha1_fails(tmp_path, known, reason):
    with archive_server({"a": CONTENT}) as server:
        summary = download([Download(server.url + "a", "a", **known)], tmp_path)
    assert reason in summary.failures[0][2]
    assert files_in(tmp_path) == ["failed.csv"]


def test_waits_double(tmp_path, monkeypatch):
    monkeypatch.setattr(engine, "FIRST_WAIT", 0.04)
    with archive_server({"a": b"a"}, {"a": ["500"] * 4}) as server:
        fetch(server, tmp_path, "a")
        waits = [after.time - before.time for before, after in pairwise(server.requests)]
    assert all(wait >= least for wait, least in zip(waits, (0.02, 0.04, 0.08, 0.16), strict=True))


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_the_server_says_how_long_to_wait(tmp_path, form):
    # Dates have whole seconds, so this is more than one second ahead.
    wait = "1" if form == "seconds" else formatdate(time.time() + 2, usegmt=True)
    with archive_server({"a": b"a"}, {"a": [f"503 retry-after {wait}"]}) as server:
        assert fetch(server, tmp_path, "a").n_fetched == 1
        assert server.requests[1].time - server.requests[0].time >= 0.9


def test_the_requested_wait_is_limited(tmp_path, monkeypatch):
    monkeypatch.setattr(engine, "MAX_WAIT", 0.01)
    with archive_server({"a": b"a"}, {"a": ["429 retry-after 1000000"]}) as server:
        assert fetch(server, tmp_path, "a").n_fetched == 1


@pytest.mark.parametrize("settings", [{"sha1": SHA1}, {"resume": True, "check": check_content}])
def test_a_broken_download_is_continued(tmp_path, settings):
    with archive_server({"a": CONTENT}, {"a": ["drop midway"]}) as server:
        fetch(server, tmp_path, "a", **settings)
        first, second = server.ranges("a")
    assert first is None
    assert 0 < int(second.removeprefix("bytes=").removesuffix("-")) <= 200_000
    assert (tmp_path / "a").read_bytes() == CONTENT


def test_a_broken_download_that_cannot_be_verified_starts_again(tmp_path):
    with archive_server({"a": CONTENT}, {"a": ["drop midway"]}) as server:
        fetch(server, tmp_path, "a")
        assert server.ranges("a") == [None, None]
    assert (tmp_path / "a").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("partial", "fault", "ranges"),
    [
        (CONTENT[:1000], None, ["bytes=1000-"]),
        (CONTENT[:1000], "no ranges", ["bytes=1000-"]),
        (CONTENT[:1000], "other range", ["bytes=1000-", None]),
        (bytes(1000), None, ["bytes=1000-", None]),
        (CONTENT, None, ["bytes=400000-", None]),
        (b"", None, [None]),
    ],
    ids=["fits", "ranges not served", "another range served", "another version", "already whole", "empty"],
)
def test_the_partial_file_of_an_earlier_run_is_continued_or_replaced(tmp_path, partial, fault, ranges):
    partial_path(tmp_path / "a").write_bytes(partial)
    with archive_server({"a": CONTENT}, {"a": [fault] if fault else []}) as server:
        fetch(server, tmp_path, "a", sha1=SHA1)
        assert server.ranges("a") == ranges
    assert files_in(tmp_path) == ["a"]
    assert (tmp_path / "a").read_bytes() == CONTENT


def test_gzip_files_stay_gzipped_whatever_the_header_says(tmp_path):
    zipped = gzip.compress(CONTENT)
    with archive_server({"a.fits.gz": zipped}, {"a.fits.gz": repeat("gzip encoding")}) as server:
        fetch(server, tmp_path, "a.fits.gz")
        assert server.requests[0].headers["accept-encoding"] == "identity"
    assert (tmp_path / "a.fits.gz").read_bytes() == zipped


@pytest.mark.parametrize(
    "name",
    [
        *("", "../evil", "/tmp/evil", "a/../../evil", "a//b", "..", "a/.", "..\\evil", "C:evil", "a\nb", "a\0b"),
        *(".partial-good", "link/evil", "failed.csv", "x" * 201),
    ],
)
def test_nothing_is_written_outside_the_folder(tmp_path, name):
    out, outside = tmp_path / "a" / "out", tmp_path / "outside"
    outside.mkdir()
    out.mkdir(parents=True)
    (out / "link").symlink_to(outside)
    with archive_server({"good": CONTENT}) as server:
        summary = download([Download(server.url + "good", each) for each in (name, "good")], out)
        assert len(server.requests) == 1
    assert [failure[0] for failure in summary.failures] == [name]
    assert files_in(tmp_path) == ["a/out/failed.csv", "a/out/good"]


def test_two_files_of_one_name_are_refused(tmp_path):
    with pytest.raises(ValueError, match="two downloads have the same name"):
        download([Download("http://x/a", "a"), Download("http://x/b", "a")], tmp_path)


def test_simultaneous_requests_are_limited_and_name_the_client(tmp_path):
    names = [f"{i}" for i in range(12)]
    with archive_server(dict.fromkeys(names, CONTENT[:100_000]), {name: ["slow"] for name in names}) as server:
        fetch(server, tmp_path, *names)
        assert 2 <= server.most_at_once <= 4
        assert {request.headers["user-agent"] for request in server.requests} == {f"zoobot3d_tf/{__version__}"}


def test_a_full_disk_stops_the_run(tmp_path, monkeypatch):
    def fail(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(engine.os, "fsync", fail)
    names = [f"{i}" for i in range(50)]
    with archive_server(dict.fromkeys(names, CONTENT)) as server:
        with pytest.raises(OSError, match="No space left on device"):
            fetch(server, tmp_path, *names)
        assert len(server.requests) < 50
    assert not set(files_in(tmp_path)) & set(names)


# Children of a test run in the background would ignore interrupts.
CHILD = """
import signal, sys
from zoobot3d_tf.surveys.download import Download, download

signal.signal(signal.SIGINT, signal.default_int_handler)
url, out, names = sys.argv[1], sys.argv[2], sys.argv[3:]
download([Download(url + name, name) for name in names], out, workers=2, resume=True)
"""


def start_child(server, out, *names):
    return subprocess.Popen([sys.executable, "-c", CHILD, server.url, str(out), *names], stderr=subprocess.DEVNULL)


def wait_until(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_kill_loses_at_most_the_unfinished_files(tmp_path):
    with archive_server(dict.fromkeys("abc", CONTENT), {"c": ["stall midway"]}) as server:
        child = start_child(server, tmp_path, *"abc")
        partial = partial_path(tmp_path / "c")
        wait_until(lambda: (tmp_path / "a").exists() and (tmp_path / "b").exists())
        wait_until(lambda: partial.exists() and partial.stat().st_size > 0)
        child.kill()
        assert child.wait() == -signal.SIGKILL
        assert files_in(tmp_path) == [partial.name, "a", "b"]

        start = partial.stat().st_size
        summary = fetch(server, tmp_path, *"abc", resume=True, check=check_content)
        assert server.ranges("c") == [None, f"bytes={start}-"]
    assert summary == Summary(n_present=2, n_fetched=1, failures=())
    assert [(tmp_path / name).read_bytes() for name in files_in(tmp_path)] == [CONTENT] * 3


def test_an_interrupt_does_not_wait_for_the_queue(tmp_path):
    names = [f"{i:03d}" for i in range(200)]
    with archive_server(dict.fromkeys(names, CONTENT), {name: ["slow"] for name in names}) as server:
        child = start_child(server, tmp_path, *names)
        wait_until(lambda: (tmp_path / "000").exists())
        child.send_signal(signal.SIGINT)
        assert child.wait() != 0
        assert len(server.requests) < 200
    whole = [name for name in files_in(tmp_path) if not name.startswith(".")]
    assert all((tmp_path / name).read_bytes() == CONTENT for name in whole)


def test_a_page_is_downloaded_with_several_tries():
    with archive_server({"page": PAGE}, {"page": ["500", "drop midway"], "gone": ["410"]}) as server:
        assert fetch_page(server.url + "page", max_bytes=1000) == PAGE
        with pytest.raises(OSError, match=r"gone: .*HTTP status 410 Gone"):
            fetch_page(server.url + "gone", max_bytes=1000)
        with pytest.raises(OSError, match="more than 10 bytes"):
            fetch_page(server.url + "page", max_bytes=10)
