"""The public archive of Galaxy Zoo: 3D (Masters et al. 2021): what it holds, and a copy of it."""

import gzip
import logging
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

from isal import igzip, isal_zlib

from zoobot3d_tf.files import PathLike
from zoobot3d_tf.images.read import FITS_SIGNATURE
from zoobot3d_tf.surveys.download import Download, Summary, download, fetch_page
from zoobot3d_tf.surveys.gz3d import BLOCK_BYTES, MAX_INFLATED_BYTES

BASE_URL = "https://data.sdss.org/sas/dr17/manga/morphology/galaxyzoo3d/v4_0_0/"
"""Value-added catalogue of SDSS data release 17: about 29,800 files of about 350 KB."""

_FILE_NAME = re.compile(r"gz3d_[\w.+-]+\.fits\.gz|gz3d_metadata\.fits", re.ASCII)
_SHA1_LINE = re.compile(r"([0-9a-fA-F]{40})\s+\*?(?:.*/)?(.+)")
_GZIP_SIGNATURE = b"\x1f\x8b"

log = logging.getLogger(__name__)


def download_archive(out: PathLike, limit: int | None = None, workers: int = 4, base_url: str = BASE_URL) -> Summary:
    """Fetch the files of the archive that are not there yet.

    Args:
        out: folder to fill.
        limit: take only so many files, the first by name.
        workers: files to fetch at once.
        base_url: the archive's folder, or a mirror's.

    Returns:
        How many files there are now, and which are not; `failed.csv` in the folder lists the latter too.

    Raises:
        ValueError: the page at `base_url` is no index, or names no files.
        OSError: the index or all of the files cannot be fetched, or one cannot be written; what is finished is
            kept.
    """
    files = list_archive(base_url)[:limit]
    # A file glued from two versions would not inflate to its end with the right checksum: it is safe to resume.
    summary = download(files, out, workers, check=check_file, resume=True, max_bytes=MAX_INFLATED_BYTES)
    if len(summary.failures) == len(files):
        raise OSError(f"{base_url}: none of {len(files)} files can be had; the first: {summary.failures[0][2]}")
    return summary


def list_archive(base_url: str = BASE_URL) -> list[Download]:
    """Read the archive's HTML index and the lists of SHA-1 sums that it names.

    Args:
        base_url: the archive's folder, or a mirror's.

    Returns:
        The files `gz3d_*.fits.gz` and `gz3d_metadata.fits` that lie in this very folder, by name. Sizes are left
        unknown, since an index rounds them.

    Raises:
        ValueError: the page is no index, or names no files.
        OSError: it cannot be fetched.
    """
    base_url = base_url.rstrip("/") + "/"
    links = _Links()
    links.feed(fetch_page(base_url, MAX_INFLATED_BYTES).decode(errors="replace"))
    if not links.hrefs:
        raise ValueError(f"{base_url}: not the index of an archive: it has no links")
    in_folder = {href: _name_in_folder(href, base_url) for href in links.hrefs}
    names = {name for name in in_folder.values() if _FILE_NAME.fullmatch(name)}
    if not names:
        raise ValueError(f"{base_url}: not the index of the archive: it has no links to files gz3d_*.fits.gz")
    strays = [href for href, name in in_folder.items() if ".fits.gz" in href and name not in names]
    if strays:
        log.warning("%s: %d links to other files or folders ignored, such as %s", base_url, len(strays), strays[0])
    sha1s: dict[str, str] = {}
    for name in {name for name in in_folder.values() if name.endswith(".sha1sum")}:
        sha1s |= _read_sha1s(base_url + name)
    n_sums = len(names & set(sha1s))
    log.info("%s: %d files, %d of them with a SHA-1", base_url, len(names), n_sums)
    return [Download(base_url + name, name, sha1=sha1s.get(name)) for name in sorted(names)]


def check_file(path: Path) -> None:
    """Check that a file is FITS, gzipped if its name says so, and whole to its end.

    Raises:
        ValueError: it is not. The message says why, without the path.
    """
    gzipped = path.suffix == ".gz"
    if gzipped:
        with path.open("rb") as file:
            _check_start(file.read(64), _GZIP_SIGNATURE, "gzip")
    n_bytes = 0
    try:
        with igzip.open(path) if gzipped else path.open("rb") as file:
            while chunk := file.read(1024**2):
                if n_bytes == 0:
                    _check_start(chunk, FITS_SIGNATURE, "FITS")
                n_bytes += len(chunk)
                if n_bytes > MAX_INFLATED_BYTES:
                    raise ValueError(f"inflates to more than {MAX_INFLATED_BYTES} bytes")
    except (EOFError, isal_zlib.IsalError, gzip.BadGzipFile) as error:  # type: ignore[misc]  # a fault of its stubs
        raise ValueError(f"damaged gzip file: {error}") from error
    if n_bytes == 0 or n_bytes % BLOCK_BYTES:
        raise ValueError(f"not whole: {n_bytes} bytes of FITS, which comes in blocks of {BLOCK_BYTES}")


class _Links(HTMLParser):
    """Collects where a page's links lead, once each, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.hrefs: dict[str, None] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        href = dict(attrs).get("href")
        if tag == "a" and href:
            self.hrefs[href] = None


def _name_in_folder(href: str, base_url: str) -> str:
    """Name of the file in the folder `base_url` that a link leads to; '' where it leads elsewhere."""
    try:
        link = urlsplit(urljoin(base_url, href))
    except ValueError:  # not a URL
        return ""
    base = urlsplit(base_url)
    folder, slash, name = unquote(link.path).rpartition("/")
    return name if (link.netloc, folder + slash) == (base.netloc, unquote(base.path)) else ""


def _read_sha1s(url: str) -> dict[str, str]:
    """SHA-1 of each file that a list in the format of `sha1sum` names; none, with a warning, if it cannot be had."""
    try:
        lines = fetch_page(url, MAX_INFLATED_BYTES).decode(errors="replace").splitlines()
    except OSError as error:
        log.warning("%s; going on without these SHA-1 sums", error)
        return {}
    matches = [_SHA1_LINE.fullmatch(line.strip()) for line in lines]
    return {match[2]: match[1] for match in matches if match}


def _check_start(start: bytes, signature: bytes, kind: str) -> None:
    if not start.startswith(signature):
        what = "a web page" if start.lstrip()[:9].lower().startswith((b"<!doctype", b"<html")) else repr(start[:20])
        raise ValueError(f"not {kind}: it begins as {what}")
