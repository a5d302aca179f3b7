"""The public archive of Galaxy Zoo: 3D (Masters et al. 2021): list its files and download them."""

import gzip
import logging
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

from isal import igzip, isal_zlib

from zoobot3d_tf.failures import MAX_FAILED, check_failures, check_max_failed, may_fail
from zoobot3d_tf.files import FAILED_NAME, PathLike, one_owner, path_of
from zoobot3d_tf.images.fits_cutouts import FITS_SIGNATURE
from zoobot3d_tf.surveys.download import Download, Summary, download, fetch_page
from zoobot3d_tf.surveys.gz3d import BLOCK_BYTES, MAX_INFLATED_BYTES

BASE_URL = "https://data.sdss.org/sas/dr17/manga/morphology/galaxyzoo3d/v4_0_0/"
"""Address of the archive, a value-added catalogue of SDSS data release 17: 29,800 files of about 350 KB each."""

_FILE_NAME = re.compile(r"gz3d_[\w.+-]+\.fits\.gz|gz3d_metadata\.fits", re.ASCII)
_SHA1_LINE = re.compile(r"([0-9a-fA-F]{40})\s+\*?(?:.*/)?(.+)")
_GZIP_SIGNATURE = b"\x1f\x8b"

log = logging.getLogger(__name__)


def download_archive(
    out: PathLike,
    limit: int | None = None,
    workers: int = 4,
    base_url: str = BASE_URL,
    max_failed: float = MAX_FAILED,
) -> Summary:
    """Download the missing files of the archive. Files that fail are listed in `failed.csv`.

    Args:
        out: path of the folder to fill.
        limit: number of files to download, in the order of their names; by default all.
        workers: number of simultaneous downloads.
        base_url: address of the folder of the archive, or of a mirror.
        max_failed: largest fraction of the files that may fail; see `failures.may_fail`. If more fail, the run stops.

    Returns:
        Numbers of files, and failures.

    Raises:
        ValueError: the page at `base_url` is not an index, or has no links to files of the archive; or too many files
            failed.
        OSError: the index cannot be downloaded, the server does not answer, all files failed, or a file cannot be
            written. Finished files are kept.
    """
    check_max_failed(max_failed)
    files = list_archive(base_url)[:limit]
    # Resuming is safe: if two versions of a file were joined together, the checksum of gzip would be wrong.
    with one_owner(path_of(out)):
        allowed = may_fail(len(files), max_failed)
        summary = download(
            files, out, workers, check=check_file, resume=True, max_bytes=MAX_INFLATED_BYTES, allowed=allowed
        )
    if len(summary.failures) == len(files):
        raise OSError(f"{base_url}: all {len(files)} files failed; the first: {summary.failures[0][2]}")
    reasons = [f"{name}: {reason}" for name, _, reason in summary.failures]
    remedy = "Finished files are kept: run the same again, or raise max_failed"
    check_failures(reasons, len(files), max_failed, path_of(out) / FAILED_NAME, remedy)
    return summary


def list_archive(base_url: str = BASE_URL) -> list[Download]:
    """Read the HTML index of the archive and the lists of SHA-1 sums that it links to.

    Args:
        base_url: address of the folder of the archive, or of a mirror.

    Returns:
        The files `gz3d_*.fits.gz` and `gz3d_metadata.fits` in this folder, in the order of their names. Their sizes are
        unknown, since the index rounds them.

    Raises:
        ValueError: the page is not an index, or has no links to files of the archive.
        OSError: the page cannot be downloaded.
    """
    base_url = base_url.rstrip("/") + "/"
    links = _Links()
    links.feed(fetch_page(base_url, MAX_INFLATED_BYTES).decode(errors="replace"))
    if not links.hrefs:
        raise ValueError(f"{base_url}: is not the index of an archive: it has no links")
    in_folder = {href: _name_in_folder(href, base_url) for href in links.hrefs}
    names = {name for name in in_folder.values() if _FILE_NAME.fullmatch(name)}
    if not names:
        raise ValueError(f"{base_url}: is not the index of the archive: it has no links to files gz3d_*.fits.gz")
    ignored = [href for href, name in in_folder.items() if ".fits.gz" in href and name not in names]
    if ignored:
        log.warning("%s: %d links to other files or folders ignored, such as %s", base_url, len(ignored), ignored[0])
    sha1s: dict[str, str] = {}
    for name in {name for name in in_folder.values() if name.endswith(".sha1sum")}:
        sha1s |= _read_sha1s(base_url + name)
    n_sums = len(names & set(sha1s))
    log.info("%s: %d files, %d with a SHA-1", base_url, len(names), n_sums)
    return [Download(base_url + name, name, sha1=sha1s.get(name)) for name in sorted(names)]


def check_file(path: Path) -> None:
    """Check that a file is a complete FITS file, compressed with gzip if its name ends in `.gz`.

    Args:
        path: path of the file.

    Raises:
        ValueError: the file is damaged or of another format. The message gives the reason without the path.
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
                    raise ValueError(f"the file inflates to more than {MAX_INFLATED_BYTES} bytes")
    except (EOFError, isal_zlib.IsalError, gzip.BadGzipFile) as error:  # type: ignore[misc]  # its stubs are wrong
        raise ValueError(f"damaged gzip file: {error}") from error
    if n_bytes == 0 or n_bytes % BLOCK_BYTES:
        raise ValueError(f"the FITS file has {n_bytes} bytes; a complete one has a multiple of {BLOCK_BYTES}")


class _Links(HTMLParser):
    """Collects the addresses that a page links to, in order, without repetitions."""

    def __init__(self) -> None:
        super().__init__()
        self.hrefs: dict[str, None] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        href = dict(attrs).get("href")
        if tag == "a" and href:
            self.hrefs[href] = None


def _name_in_folder(href: str, base_url: str) -> str:
    """Name of the file in the folder `base_url` that a link leads to; '' if it leads elsewhere."""
    try:
        link = urlsplit(urljoin(base_url, href))
    except ValueError:  # not a URL
        return ""
    base = urlsplit(base_url)
    folder, slash, name = unquote(link.path).rpartition("/")
    return name if (link.netloc, folder + slash) == (base.netloc, unquote(base.path)) else ""


def _read_sha1s(url: str) -> dict[str, str]:
    """Read a list in the format of `sha1sum`: SHA-1 by name. If it cannot be downloaded, warn and return none."""
    try:
        lines = fetch_page(url, MAX_INFLATED_BYTES).decode(errors="replace").splitlines()
    except OSError as error:
        log.warning("%s; continuing without these SHA-1 sums", error)
        return {}
    matches = [_SHA1_LINE.fullmatch(line.strip()) for line in lines]
    return {match[2]: match[1] for match in matches if match}


def _check_start(start: bytes, signature: bytes, kind: str) -> None:
    if not start.startswith(signature):
        is_page = start.lstrip()[:9].lower().startswith((b"<!doctype", b"<html"))
        found = "it is a web page" if is_page else f"it begins with {start[:20]!r}"
        raise ValueError(f"the file is not {kind}: {found}")
