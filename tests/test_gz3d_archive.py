"""The archive of Galaxy Zoo: 3D: its index, its SHA-1 sums, and the check of its files."""

import gzip
import hashlib
import logging
import re
from itertools import repeat

import numpy as np
import pytest
from archive_server import PAGE, SHA1_LIST, archive_server, index_page

from zoobot3d_tf.files import partial_path
from zoobot3d_tf.surveys import download as engine
from zoobot3d_tf.surveys import gz3d_archive
from zoobot3d_tf.surveys.download import Download, Summary
from zoobot3d_tf.surveys.gz3d_archive import check_file, download_archive, list_archive

NAMES = [f"gz3d_1-{number}_127_{number}.fits.gz" for number in (100, 200, 300)]


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(engine, "FIRST_WAIT", 0.001)


def fits_bytes(seed=0, n_blocks=140):
    header = b"SIMPLE  =                    T".ljust(2880)
    return header + np.random.default_rng(seed).bytes(2880 * n_blocks)


FILES = {name: gzip.compress(fits_bytes(seed), 1) for seed, name in enumerate(NAMES)}


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("sha1_list", [False, True])
def test_the_archive_is_downloaded_once(tmp_path, sha1_list):
    files = FILES | {"gz3d_metadata.fits": fits_bytes(), "readme.txt": b"not ours"}
    wanted = {name: content for name, content in files.items() if name != "readme.txt"}
    with archive_server(files, sha1_list=sha1_list) as server:
        assert download_archive(tmp_path, base_url=server.url.rstrip("/")) == Summary(0, 4, ())
        assert contents(tmp_path) == wanted
        assert download_archive(tmp_path, base_url=server.url) == Summary(4, 0, ())
        assert all(len(server.asked(name)) == 1 for name in wanted)


def test_the_real_files_pass(reference, tmp_path):
    files = {path.name: path.read_bytes() for path in (reference / "reference/golden/gz3d_fits").glob("*.fits.gz")}
    with archive_server(files) as server:
        assert download_archive(tmp_path, base_url=server.url).n_fetched == len(files) == 4


def test_sums_come_from_the_list_in_either_form(tmp_path):
    sums = [hashlib.sha1(FILES[name]).hexdigest() for name in NAMES]
    listing = f"{sums[0]}  {NAMES[0]}\n{sums[1].upper()} *./v4_0_0/{NAMES[1]}\n# a remark\n{sums[2][:39]}  {NAMES[2]}\n"
    with archive_server(FILES | {SHA1_LIST: listing.encode()}) as server:
        files = list_archive(server.url)
    expected = [sums[0], sums[1].upper(), None]
    assert files == [Download(server.url + n, n, sha1=sha1) for n, sha1 in zip(NAMES, expected, strict=True)]


def test_a_missing_list_of_sums_is_not_an_error(tmp_path, caplog):
    with archive_server(FILES, {SHA1_LIST: ["404"]}, sha1_list=True) as server:
        assert download_archive(tmp_path, base_url=server.url).n_fetched == 3
    assert re.search("archive.sha1sum: .*HTTP status 404 Not Found", caplog.text)


def test_a_file_with_another_sum_is_not_kept(tmp_path):
    listing = f"{'0' * 40}  {NAMES[0]}\n".encode()
    with archive_server(FILES | {SHA1_LIST: listing}) as server:
        summary = download_archive(tmp_path, base_url=server.url)
        assert len(server.asked(NAMES[0])) == 5
    assert [(name, "SHA-1" in reason) for name, _, reason in summary.failures] == [(NAMES[0], True)]
    assert set(contents(tmp_path)) == {*NAMES[1:], "failed.csv"}


def test_the_limit_takes_the_first_by_name(tmp_path):
    with archive_server(dict(reversed(FILES.items()))) as server:
        assert download_archive(tmp_path, limit=2, base_url=server.url).n_fetched == 2
    assert sorted(contents(tmp_path)) == NAMES[:2]


@pytest.mark.parametrize(
    "href",
    [
        "../gz3d_evil.fits.gz",
        "/gz3d_evil.fits.gz",
        "%2e%2e/gz3d_evil.fits.gz",
        "..%2Fgz3d_evil.fits.gz",
        "..\\gz3d_evil.fits.gz",
        "sub/gz3d_evil.fits.gz",
        "gz3d_/../../evil.fits.gz",
        "http://other.invalid/archive/gz3d_evil.fits.gz",
        "//[gz3d_evil.fits.gz",
        "gz3d_%00.fits.gz",
    ],
)
def test_links_that_leave_the_folder_are_ignored(tmp_path, caplog, href):
    index = index_page(NAMES) + f'<a href="{href}">evil</a>'.encode()
    with archive_server(FILES, index=index) as server:
        assert [file.name for file in list_archive(server.url)] == NAMES
        assert f"such as {href}" in caplog.text
        download_archive(tmp_path / "out", base_url=server.url)
        assert {request.name for request in server.requests} == {"", *NAMES}
    assert sorted(path.name for path in tmp_path.rglob("*.gz")) == NAMES


def test_links_may_be_absolute_encoded_and_repeated(caplog):
    hrefs = ["/archive/" + NAMES[0], NAMES[1].replace("-", "%2D"), "./" + NAMES[2], NAMES[2] + "?C=N#top"]
    index = "".join(f"<A HREF='{href}'>x</A><a name='y'>" for href in hrefs).encode()
    with archive_server(index=index) as server:
        files = list_archive(server.url)
    assert files == [Download(server.url + name, name) for name in NAMES]
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize(
    ("index", "message"),
    [
        (PAGE, "not the index of an archive: .*no links"),
        (b'{"error": "maintenance"}', "not the index of an archive: .*no links"),
        (bytes(range(256)), "not the index of an archive: .*no links"),
        (index_page(["readme.txt"]), r"no links to files gz3d_\*\.fits\.gz"),
    ],
)
def test_a_page_that_is_no_index_is_refused(tmp_path, index, message):
    with archive_server(index=index) as server, pytest.raises(ValueError, match=message):
        download_archive(tmp_path, base_url=server.url)


def test_a_missing_archive_is_an_error(tmp_path):
    with archive_server(faults={"": ["404"]}) as server:
        with pytest.raises(OSError, match=r"/archive/: .*HTTP status 404 Not Found"):
            download_archive(tmp_path, base_url=server.url)


def test_an_archive_of_which_all_files_fail_is_an_error(tmp_path):
    with archive_server(FILES, {name: ["404"] for name in FILES}) as server:
        with pytest.raises(OSError, match=r"/archive/: .* 3 files .*HTTP status 404"):
            download_archive(tmp_path, base_url=server.url)
    assert (tmp_path / "failed.csv").exists()


def test_an_index_of_thirty_thousand_files_is_read():
    names = [f"gz3d_1-{number}_127_{number}.fits.gz" for number in range(100_000, 130_000)]
    with archive_server(index=index_page(names)) as server:
        assert [file.name for file in list_archive(server.url)] == names


def test_a_partial_file_without_a_sum_is_continued_and_verified_by_its_checksum(tmp_path):
    partial_path(tmp_path / NAMES[0]).write_bytes(FILES[NAMES[0]][:1000])
    partial_path(tmp_path / NAMES[1]).write_bytes(FILES[NAMES[0]][:1000])
    with archive_server(FILES) as server:
        download_archive(tmp_path, base_url=server.url)
        assert server.ranges(NAMES[0]) == ["bytes=1000-"]
        assert server.ranges(NAMES[1]) == ["bytes=1000-", None]
    assert contents(tmp_path) == FILES


@pytest.mark.parametrize("fault", ["html", "truncate"])
def test_an_incomplete_fits_file_is_downloaded_again(tmp_path, fault):
    with archive_server(FILES, {NAMES[0]: [fault], NAMES[1]: repeat(fault)}) as server:
        summary = download_archive(tmp_path, base_url=server.url)
    assert [failure[0] for failure in summary.failures] == [NAMES[1]]
    assert contents(tmp_path).keys() == {NAMES[0], NAMES[2], "failed.csv"}


ZIPPED = gzip.compress(fits_bytes(n_blocks=5))
WRONG = {
    "page": ("a.fits.gz", PAGE, "not gzip: .* web page"),
    "zipped page": ("a.fits.gz", gzip.compress(PAGE), "not FITS: .* web page"),
    "plain": ("a.fits.gz", fits_bytes(), "not gzip: .* b'SIMPLE  ="),
    "empty": ("a.fits.gz", b"", "not gzip: .* b''"),
    "zipped nothing": ("a.fits.gz", gzip.compress(b""), "has 0 bytes"),
    "cut short": ("a.fits.gz", ZIPPED[:-9], "damaged gzip file: Compressed file ended before"),
    "changed": ("a.fits.gz", ZIPPED[:9000] + b"!" + ZIPPED[9001:], "damaged gzip file: CRC check failed"),
    "longer": ("a.fits.gz", ZIPPED + b"x" * 20, "damaged gzip file: Not a gzipped file"),
    "broken inside": ("a.fits.gz", ZIPPED[:10] + b"\xff" * 100, "damaged gzip file: Error -1"),
    "not in blocks": ("a.fits.gz", gzip.compress(fits_bytes()[:-1]), "has 406079 bytes.* 2880"),
    "bomb": ("a.fits.gz", gzip.compress(b"SIMPLE  =" + bytes(2**21), 9), "more than 1048576 bytes"),
    "plain page": ("a.fits", PAGE, "not FITS: .* web page"),
    "plain cut short": ("a.fits", fits_bytes()[:5000], "has 5000 bytes.* 2880"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_the_fault_of_a_file_is_the_reason(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(gz3d_archive, "MAX_INFLATED_BYTES", 2**20)
    name, content, reason = WRONG[kind]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=reason):
        check_file(tmp_path / name)
