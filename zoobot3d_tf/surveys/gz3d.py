"""Catalogue and marks from the files of Galaxy Zoo: 3D (Masters et al. 2021, arXiv 2108.02065).

There is one FITS file per galaxy. It holds the image that volunteers saw, four arrays of counts, and tables: the
metadata of the galaxy, and the marks of the volunteers as JSON text. Only the tables are read. The arrays lie before
them, and are inflated and skipped.
"""

import json
import logging
import re
from dataclasses import dataclass
from functools import partial
from io import SEEK_CUR
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd
from astropy.io import fits
from astropy.wcs import WCS
from isal import igzip

from zoobot3d_tf.failures import MAX_FAILED, check_max_failed, is_of_machine, may_fail
from zoobot3d_tf.files import FAILED_NAME, PathLike, failed_loc, one_owner, path_of, write_atomically
from zoobot3d_tf.images.masks import check_marks
from zoobot3d_tf.images.wcs import north_up_wcs
from zoobot3d_tf.surveys.attempts import attempt_all, list_failed
from zoobot3d_tf.tables.formats import check_writable, write_table

SHAPE = (525, 525)
"""Height and width of the image that volunteers drew on, and of its masks, in pixels."""
PIXSCALE = 0.099
"""Pixel scale of this image, in arcsec per pixel."""
MAX_INFLATED_BYTES = 64 * 1024**2
"""Largest accepted size of an inflated file. The files of the archive have about 10 MB."""
BLOCK_BYTES = 2880
"""Size of the blocks of a FITS file."""

_N_HDUS = 11
_SPIRAL_COUNTS = 3
_METADATA = 5
_MARKS = {"spiral_mask": (9, "spiral_paths"), "bar_mask": (10, "bar_paths")}
_VOTES = ("GZ_total_classifications", "GZ_spiral_votes", "GZ_bar_votes")
# FITS counts pixels from 1, so this is half a pixel above and left of the centre of the array.
_CRPIX = 262.5
_END = b"END".ljust(80)
_MAX_HEADER_BLOCKS = 100
_REMEDY = "Correct or remove these files, or raise max_failed, and run the same again"
_NUMBER_TYPES = {"I": ">i2", "J": ">i4", "K": ">i8", "E": ">f4", "D": ">f8"}

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Gz3d:
    """Content of one file.

    Attributes:
        id_str: MaNGA id, IFU size and subject, as in the name of the file: `1-304336_127_14724446`.
        mangaid: id of the galaxy in MaNGA.
        ifu_size: number of fibres of the IFU.
        subject_id: id of the image on Zooniverse.
        ra: right ascension of the galaxy, degrees. The file rounds it to float32, by up to 0.06 arcsec.
        dec: declination of the galaxy, degrees, rounded in the same way.
        wcs_ra: right ascension of the reference pixel of the masks, degrees; see `mask_wcs`.
        wcs_dec: declination of the reference pixel of the masks, degrees.
        votes: `GZ_total_classifications`, `GZ_spiral_votes` and `GZ_bar_votes`: votes of an earlier Galaxy Zoo, not
            numbers of volunteers who were asked to draw.
        marks: marks by the name of the mask, `spiral_mask` and `bar_mask`; see `images.masks.Marks`. A mask that nobody
            was asked to draw is absent.
    """

    id_str: str
    mangaid: str
    ifu_size: float
    subject_id: int
    ra: float
    dec: float
    wcs_ra: float
    wcs_dec: float
    votes: dict[str, int]
    marks: dict[str, list]


def read_gz3d(path: PathLike) -> Gz3d:
    """Read one file of Galaxy Zoo: 3D.

    Args:
        path: path of the file, `gz3d_<MaNGA id>_<IFU size>_<subject>.fits.gz`, or without `.gz`.

    Raises:
        ValueError: the file is missing, damaged, of another format or name, or inflates to more than 64 MB.
        OSError: the disk or the file system has a fault.
    """
    path = path_of(path)
    try:
        name = re.fullmatch(r"gz3d_(\d+-\d+_\d+_(\d+))\.fits(\.gz)?", path.name)
        if name is None:
            raise ValueError("it must be named gz3d_<MaNGA id>_<IFU size>_<subject>.fits.gz")
        with igzip.open(path) if name[3] else path.open("rb") as stream:
            hdus = [_read_hdu(stream) for _ in range(_N_HDUS)]
            # The checksum of gzip is at the end of the stream.
            if stream.read(1):
                raise ValueError(f"the file has more than {_N_HDUS} HDUs")
        rows = _to_table(*hdus[_METADATA])
        if len(rows) != 1:
            raise ValueError(f"the table of metadata has {len(rows)} rows; it must have 1")
        tables = {mask: _to_table(*hdus[number])[column] for mask, (number, column) in _MARKS.items()}
        ra, dec = float(rows["ra"][0]), float(rows["dec"][0])
        wcs_ra, wcs_dec = _grid_position(hdus[_SPIRAL_COUNTS][0])
        if not np.isfinite([ra, dec, wcs_ra, wcs_dec]).all():
            raise ValueError(
                f"positions must be finite; received ra {ra}, dec {dec} of the galaxy, and ra {wcs_ra}, dec {wcs_dec} "
                "of the masks"
            )
        return Gz3d(
            id_str=name[1],
            mangaid=rows["MANGAID"][0].decode().strip(),
            ifu_size=float(rows["IFUDESIGNSIZE"][0]),
            subject_id=int(name[2]),
            ra=ra,
            dec=dec,
            wcs_ra=wcs_ra,
            wcs_dec=wcs_dec,
            votes={vote: int(rows[vote][0]) for vote in _VOTES},
            # A table without rows has columns of numbers where it should have text.
            marks={mask: _parse_marks(texts, mask) for mask, texts in tables.items() if len(texts)},
        )
    except Exception as error:  # damaged files raise errors of nearly every type
        if is_of_machine(error):
            raise
        raise ValueError(f"{path}: cannot be read as a Galaxy Zoo: 3D file: {error}") from error


def mask_wcs(wcs_ra: float, wcs_dec: float) -> WCS:
    """WCS of the masks as arrays with row 0 at the top: row 0 is north, column 0 is east.

    The position x = i of a mark is column i of a mask, which is FITS pixel i + 1. The tables of clicks in the files
    take x = i as FITS pixel i instead, so that the clicks lie one pixel (0.099 arcsec) off the masks.

    Args:
        wcs_ra: right ascension of the reference pixel, degrees; see `Gz3d`.
        wcs_dec: declination of the reference pixel, degrees; see `Gz3d`.
    """
    return north_up_wcs(wcs_ra, wcs_dec, PIXSCALE, crpix=(_CRPIX, _CRPIX))


def gz3d_catalog(folder: PathLike, out: PathLike, workers: int = 1, max_failed: float = MAX_FAILED) -> Path:
    """Write a table with one row per file, in the order of their names.

    Its columns are `id_str`, `mangaid`, `ra`, `dec`, `ifu_size`, `subject_id`, the votes, `n_volunteers_spiral` and
    `n_volunteers_bar` (numbers of volunteers who were asked to draw), `wcs_ra`, `wcs_dec`, `pixscale` (of the masks,
    arcsec per pixel) and `gz3d_loc` (path of the file, relative to the folder of the table if the file lies below it);
    see `Gz3d`. Files that cannot be read are listed in `<table>_failed.csv` beside it.

    Args:
        folder: path of the folder that holds the files. They may lie in subfolders.
        out: path of the table to write, see `tables.formats.write_table`.
        workers: number of processes.
        max_failed: largest fraction of the files that may fail; see `failures.may_fail`. If more fail, the run stops.

    Returns:
        Path of the table.

    Raises:
        ValueError: the folder has no files, or two files of the same galaxy; no file can be read, or too many fail; or
            the suffix of the table is unknown.
        OSError: the table cannot be written, the disk has a fault, or a worker process died.
    """
    check_max_failed(max_failed)
    out = check_writable(out)
    files = _find_files(folder)
    row_of = partial(_catalog_row, out.parent.absolute())
    rows, failed = attempt_all(row_of, files, workers, "file", may_fail(len(files), max_failed))
    failures = [(_id_str(path), str(path), reason) for path, reason in failed]
    list_failed(failed_loc(out), failures, len(files), max_failed, _REMEDY)
    return write_table(pd.DataFrame([row for _, row in rows]), out)


def gz3d_marks(folder: PathLike, out: PathLike, workers: int = 1, max_failed: float = MAX_FAILED) -> Path:
    """Write the volunteers' marks of each file as `<id_str>.json`.

    The JSON file holds `{"spiral_mask": [volunteer][component][vertex] -> [x, y], "bar_mask": ...}` in pixels of the
    image that volunteers saw, 525 x 525 with row 0 at the top. A mask that nobody was asked to draw is absent. Existing
    JSON files are kept, also if the run stops with an error. FITS files that cannot be read are listed in `failed.csv`.

    Args:
        folder: path of the folder that holds the FITS files. They may lie in subfolders.
        out: path of the folder to fill.
        workers: number of processes.
        max_failed: largest fraction of the files that may fail; see `failures.may_fail`. If more fail, the run stops.

    Returns:
        Path of the folder.

    Raises:
        ValueError: the folder has no files, or two files of the same galaxy; or no file can be read, or too many fail.
        OSError: a file cannot be written, the disk has a fault, or a worker process died.
    """
    check_max_failed(max_failed)
    out = path_of(out)
    locs = {path: out / f"{_id_str(path)}.json" for path in _find_files(folder)}
    with one_owner(out):
        missing = [(path, loc) for path, loc in locs.items() if not loc.exists()]
        _, failed = attempt_all(_write_marks, missing, workers, "file", may_fail(len(locs), max_failed))
        failures = [(_id_str(path), str(path), reason) for (path, _), reason in failed]
        list_failed(out / FAILED_NAME, failures, len(locs), max_failed, _REMEDY)
    return out


def _find_files(folder: PathLike) -> list[Path]:
    """Files of galaxies, one per galaxy, in the order of their names."""
    by_id: dict[str, Path] = {}
    for path in sorted(path_of(folder).rglob("gz3d_*")):
        if not path.name.endswith((".fits", ".fits.gz")) or path.name == "gz3d_metadata.fits":
            continue
        other = by_id.setdefault(_id_str(path), path)
        if other != path:
            raise ValueError(f"{folder}: {other} and {path} are files of the same galaxy; keep one of them")
    if not by_id:
        raise ValueError(f"{folder}: contains no files gz3d_*.fits.gz")
    return [by_id[id_str] for id_str in sorted(by_id)]


def _id_str(path: Path) -> str:
    return path.name.removeprefix("gz3d_").removesuffix(".gz").removesuffix(".fits")


def _catalog_row(folder: Path, path: Path) -> dict[str, Any]:
    galaxy = read_gz3d(path)
    loc = path.absolute()
    return {
        "id_str": galaxy.id_str,
        "mangaid": galaxy.mangaid,
        "ra": galaxy.ra,
        "dec": galaxy.dec,
        "ifu_size": galaxy.ifu_size,
        "subject_id": galaxy.subject_id,
        **galaxy.votes,
        "n_volunteers_spiral": len(galaxy.marks.get("spiral_mask", [])),
        "n_volunteers_bar": len(galaxy.marks.get("bar_mask", [])),
        "wcs_ra": galaxy.wcs_ra,
        "wcs_dec": galaxy.wcs_dec,
        "pixscale": PIXSCALE,
        "gz3d_loc": str(loc.relative_to(folder) if loc.is_relative_to(folder) else loc),
    }


def _write_marks(path_and_loc: tuple[Path, Path]) -> None:
    path, loc = path_and_loc
    write_atomically(loc, json.dumps(read_gz3d(path).marks))


def _read_hdu(stream: IO[bytes]) -> tuple[fits.Header, bytes]:
    """Read header and data of the next HDU. The data of arrays are skipped."""
    header = _read_header(stream)
    size = header.data_size_padded
    if not 0 <= size <= MAX_INFLATED_BYTES - stream.tell():
        raise ValueError(f"it inflates to more than {MAX_INFLATED_BYTES} bytes")
    if header.get("XTENSION") != "BINTABLE":
        stream.seek(size, SEEK_CUR)
        return header, b""
    return header, _read(stream, size)


def _read_header(stream: IO[bytes]) -> fits.Header:
    text = b""
    for _ in range(_MAX_HEADER_BLOCKS):
        block = _read(stream, BLOCK_BYTES)
        text += block
        if any(block[start : start + len(_END)] == _END for start in range(0, BLOCK_BYTES, len(_END))):
            return fits.Header.fromstring(text)
    raise ValueError("a header has no end, or it is not a FITS file")


def _read(stream: IO[bytes], size: int) -> bytes:
    content = stream.read(size)
    if len(content) < size:
        raise ValueError("it is cut short, or is not a FITS file")
    return content


def _to_table(header: fits.Header, content: bytes) -> np.ndarray:
    """Convert a binary table of numbers and text. Astropy would take longer for it than inflating the file takes."""
    columns = []
    for number in range(1, header["TFIELDS"] + 1):
        form = header[f"TFORM{number}"].strip()
        text = f"S{form.removesuffix('A') or 1}"
        columns.append((header[f"TTYPE{number}"], _NUMBER_TYPES.get(form.removeprefix("1"), text)))
    rows = np.ndarray(header["NAXIS2"], columns, content)
    if rows.itemsize != header["NAXIS1"]:
        raise ValueError(f"the columns of a table have {rows.itemsize} bytes, its rows {header['NAXIS1']}")
    return rows


def _parse_marks(texts: np.ndarray, mask: str) -> list:
    """Parse and check the marks of each volunteer."""
    marks = [json.loads(text) for text in texts]
    try:
        check_marks(marks)
    except ValueError as error:
        raise ValueError(f"{mask}: {error}") from None
    return marks


def _grid_position(header: fits.Header) -> tuple[float, float]:
    """Right ascension and declination of the reference pixel; the grid is the same in all files, and is checked."""
    wcs = WCS(header, fix=False)
    is_gz3d = (
        (header["NAXIS2"], header["NAXIS1"]) == SHAPE
        and list(wcs.wcs.ctype) == ["RA---TAN", "DEC--TAN"]
        and np.allclose(wcs.wcs.crpix, _CRPIX)
        and np.allclose(wcs.pixel_scale_matrix * 3600, -PIXSCALE * np.eye(2), atol=1e-6)
    )
    if not is_gz3d:
        raise ValueError(
            f"the masks must have {SHAPE[0]} x {SHAPE[1]} pixels of {PIXSCALE} arcsec, with north at row 0; their "
            "header says otherwise"
        )
    ra, dec = wcs.wcs.crval
    return float(ra), float(dec)
