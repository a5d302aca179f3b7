"""Images of galaxies from the cutout service of the Legacy Surveys (Dey et al. 2019): FITS files, and colour from them.

What comes back is compared with what was asked for, since the service gives another size, other bands or empty sky
without a word.
"""

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pandas as pd
from astropy.io import fits
from astropy.wcs import WCS
from PIL import Image
from tqdm import tqdm

from zoobot3d_tf.files import FAILED_NAME, PathLike, partial_path, write_atomically
from zoobot3d_tf.images.read import FITS_SIGNATURE, read_image
from zoobot3d_tf.images.wcs import pixscale_of
from zoobot3d_tf.surveys.attempts import list_failed
from zoobot3d_tf.surveys.cutout_options import BASE_URL, DEFAULT_OPTIONS, MIN_PIXSCALE, CutoutOptions
from zoobot3d_tf.surveys.download import Download, download
from zoobot3d_tf.tables.columns import (
    DEC_RANGE,
    RA_RANGE,
    check_file_names,
    move_paths,
    read_numbers,
    require_columns,
    wrap_ra,
)
from zoobot3d_tf.tables.formats import read_table, write_table

SETTINGS_NAME = "cutouts.json"

_POSITIONS: dict[str | None, tuple[tuple[str, str], ...]] = {
    None: (("ra", "dec"),),
    "manga": (("wcs_ra", "wcs_dec"), ("ra_manga", "dec_manga")),
    "desi": (("ra_desi", "dec_desi"),),
}
_IMAGE_FORMATS: dict[str, dict[str, Any]] = {
    "png": {"format": "PNG"},
    "jpg": {"format": "JPEG", "quality": 95, "subsampling": 0},
}
# The largest cutout, 512 pixels in four bands, has 4 MB.
_MAX_BYTES = 64 * 1024**2

log = logging.getLogger(__name__)


def download_cutouts(
    catalog_loc: PathLike,
    out: PathLike,
    options: CutoutOptions = DEFAULT_OPTIONS,
    workers: int = 4,
    limit: int | None = None,
    base_url: str = BASE_URL,
) -> Path:
    """Download a cutout of each galaxy, and make a colour image of it.

    Writes `fits/<id_str>.fits`, `images/<id_str>.png` or `.jpg`, `cutouts.json` with the options, `catalog.csv` and,
    where galaxies fail, `failed.csv` with the reasons. In the images row 0 is north and column 0 east; the FITS files
    count rows from the south. The same call makes what is missing.

    Args:
        catalog_loc: table of galaxies, see `read_table`, with `id_str` and positions in degrees.
        out: folder to fill: a new one, or one made with the same options.
        options: what all cutouts share.
        workers: number of simultaneous downloads.
        limit: number of galaxies to take, from the first; by default all.
        base_url: address of the service.

    Returns:
        Path of `catalog.csv`: the rows of the galaxies that have a cutout, with `file_loc` (of the image, from `out`),
        `pixscale`, `cutout_ra` and `cutout_dec` (of its centre, degrees), these three from the WCS of the cutout. Paths
        in other columns named `*_loc` start from `out` too.

    Raises:
        FileNotFoundError: there is no such catalogue.
        FileExistsError: `out` holds something else.
        ValueError: the options are not those of `out`; the catalogue cannot be read, lacks a column, holds text among
            numbers or an `id_str` that is no file name or not unique; or no galaxy has a cutout.
        OSError: a file cannot be written; what is finished is kept.
    """
    out = Path(out).absolute()
    table = read_table(catalog_loc)
    check_file_names(catalog_loc, table)
    table = table[:limit]
    cutouts, reasons = _plan(catalog_loc, table, options, base_url)
    _claim_folder(out, options)

    grids, failed = _fetch(cutouts, out, options, workers)
    reasons |= failed
    made: dict[str, dict[str, str | float]] = {}
    for cutout in tqdm([cutout for cutout in cutouts if cutout.id_str in grids], unit="image", disable=None):
        try:
            made[cutout.id_str] = {"file_loc": _make_image(cutout, out, options), **grids[cutout.id_str]}
        except ValueError as error:
            (out / cutout.fits_name).unlink()
            reasons[cutout.id_str] = str(error)

    urls = {cutout.id_str: cutout.url for cutout in cutouts}
    failures = [(name, urls.get(name, ""), reasons[name]) for name in table["id_str"] if name in reasons]
    list_failed(out / FAILED_NAME, failures, n_tried=len(table), where="url")
    log.info("%s: %d cutouts; row 0 of an image is north, column 0 is east", out, len(made))
    columns = pd.DataFrame.from_dict(made, orient="index")
    rows = move_paths(table.drop(columns=list(columns), errors="ignore"), Path(catalog_loc).parent, out)
    rows = rows.join(columns, on="id_str", how="inner")
    return write_table(rows, out / "catalog.csv")


@dataclass(frozen=True)
class _Cutout:
    """A cutout to fetch: its centre in degrees and its scale in arcsec per pixel."""

    id_str: str
    ra: float
    dec: float
    pixscale: float
    url: str

    @property
    def fits_name(self) -> str:
        return f"fits/{self.id_str}.fits"


def _plan(
    path: PathLike, table: pd.DataFrame, options: CutoutOptions, base_url: str
) -> tuple[list[_Cutout], dict[str, str]]:
    """The cutouts to ask for, and by id the reasons why others cannot be asked for."""
    ra, dec = _position_columns(path, table, options.center_on)
    ranges = {ra: RA_RANGE, dec: DEC_RANGE}
    if options.pixscale_col is not None:
        require_columns(path, table.columns, [options.pixscale_col], hint=", named by pixscale_col")
        ranges[options.pixscale_col] = (1e-6, 1e6)
    numbers = pd.DataFrame({column: read_numbers(path, table, column) for column in ranges})
    wrapped = wrap_ra(numbers[ra])
    cutouts, reasons = [], {}
    for id_str, row, ra_degrees in zip(table["id_str"], numbers.to_dict("records"), wrapped, strict=True):
        wrong = [column for column, (low, high) in ranges.items() if not low <= row[column] <= high]
        if wrong:
            value, (low, high) = row[wrong[0]], ranges[wrong[0]]
            received = "empty" if np.isnan(value) else f"{value:g}"
            reasons[id_str] = f"{wrong[0]} is {received}; it must be from {low:g} to {high:g}"
            continue
        pixscale = max(row[options.pixscale_col], MIN_PIXSCALE) if options.pixscale_col else options.pixscale
        query = {
            "ra": ra_degrees,
            "dec": row[dec],
            "layer": options.survey,
            "pixscale": pixscale,
            "size": options.size,
            "bands": options.bands,
        }
        cutouts.append(_Cutout(id_str, ra_degrees, row[dec], pixscale, f"{base_url}?{urlencode(query)}"))
    return cutouts, reasons


def _position_columns(path: PathLike, table: pd.DataFrame, center_on: str | None) -> tuple[str, str]:
    for ra, dec in _POSITIONS[center_on]:
        if ra in table and dec in table:
            return ra, dec
    needed = " or ".join(", ".join(pair) for pair in _POSITIONS[center_on])
    raise ValueError(f"{path}: lacks the columns of the cutouts' centres, {needed}; center_on chooses others")


def _claim_folder(out: Path, options: CutoutOptions) -> None:
    """Make the folder, or see that it was made with the same options."""
    path = out / SETTINGS_NAME
    if path.exists():
        earlier = json.loads(path.read_text(encoding="utf-8"))
        differing = [
            f"{name} is {value!r}, was {earlier.get(name)!r}"
            for name, value in asdict(options).items()
            if value != earlier.get(name)
        ]
        if differing:
            raise ValueError(
                f"{out}: holds cutouts made with other options ({'; '.join(differing)}); use another folder"
            )
    elif out.exists() and any(not path.name.startswith(".") for path in out.iterdir()):
        raise FileExistsError(f"{out}: not empty, yet holds no {SETTINGS_NAME} of earlier cutouts; use another folder")
    else:
        out.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(asdict(options), indent=1))


def _fetch(
    cutouts: Sequence[_Cutout], out: Path, options: CutoutOptions, workers: int
) -> tuple[dict[str, dict[str, float]], dict[str, str]]:
    """Fetch the FITS files that are not there yet; by id the grids of all, and the reasons why some cannot be had."""
    asked = {cutout.fits_name: cutout for cutout in cutouts}
    by_path = {path: cutout for name, cutout in asked.items() for path in (out / name, partial_path(out / name))}
    grids = {}

    def check(path: Path) -> None:
        header = _read_header(path, options)
        grids[by_path[path].id_str] = _read_grid(header, by_path[path], options.size)

    downloads = [Download(cutout.url, name) for name, cutout in asked.items()]
    summary = download(downloads, out, workers, check, max_bytes=_MAX_BYTES)
    return grids, {asked[name].id_str: reason for name, _, reason in summary.failures}


def _read_header(path: Path, options: CutoutOptions) -> fits.Header:
    """The header of a cutout that is whole and has the size and the bands asked for.

    Raises:
        ValueError: it is or has not; the message gives the reason alone.
    """
    with path.open("rb") as file:
        start = file.read(40)
    if not start.startswith(FITS_SIGNATURE):
        raise ValueError(f"not a FITS file: it begins with {start!r}")
    try:
        with fits.open(path, memmap=False) as hdus:
            header, fluxes = hdus[0].header, hdus[0].data
            bands = header.get("BANDS")
    except Exception as error:  # damaged files make astropy raise errors of many kinds
        raise ValueError(f"cannot be read as FITS: {error}") from error
    shape = (len(options.bands), options.size, options.size)
    if fluxes is None or fluxes.shape != shape:
        received = None if fluxes is None else fluxes.shape
        raise ValueError(f"the cutout's shape (bands, height, width) is {received}, not {shape}")
    if bands != options.bands:
        raise ValueError(f"the cutout's bands are {bands!r}, not {options.bands!r}")
    return header


def _read_grid(header: fits.Header, asked: _Cutout, size: int) -> dict[str, float]:
    """Centre and scale, from its WCS, of a cutout that lies on the sky as it was asked for.

    Raises:
        ValueError: it does not; the message gives the reason alone.
    """
    try:
        wcs = WCS(header, naxis=2)
    except Exception as error:  # here too
        raise ValueError(f"the cutout's WCS cannot be read: {error}") from error
    if not wcs.has_celestial:
        raise ValueError("the cutout has no WCS that says where on the sky it lies")
    pixscale = pixscale_of(wcs)
    if not abs(pixscale / asked.pixscale - 1) < 0.01:
        raise ValueError(f"the cutout's scale is {pixscale:.4g} arcsec per pixel, not {asked.pixscale:.4g}")
    if not np.allclose(wcs.pixel_scale_matrix * 3600 / pixscale, [[-1, 0], [0, 1]], atol=0.01):
        raise ValueError("the cutout does not have north up and east left")
    middle = (size - 1) / 2
    x, y = wcs.wcs_world2pix(asked.ra, asked.dec, 0)
    offset = float(np.hypot(x - middle, y - middle))
    if not offset <= 1:
        raise ValueError(f"the cutout's centre is {offset:.1f} pixels from the galaxy")
    ra, dec = wcs.wcs_pix2world(middle, middle, 0)
    return {"pixscale": round(pixscale, 9), "cutout_ra": round(float(ra), 9), "cutout_dec": round(float(dec), 9)}


def _make_image(cutout: _Cutout, out: Path, options: CutoutOptions) -> str:
    """Make the colour image, unless it is there and not older than the cutout; its path from `out`.

    Raises:
        ValueError: the cutout is blank; the message gives the reason alone.
    """
    cutout_path, file_loc = out / cutout.fits_name, f"images/{cutout.id_str}.{options.image_format}"
    path = out / file_loc
    if path.exists() and path.stat().st_mtime >= cutout_path.stat().st_mtime:
        return file_loc
    fluxes = fits.getdata(cutout_path)
    is_seen = (np.isfinite(fluxes) & (fluxes != 0)).any(axis=(1, 2))
    if not is_seen.any():
        raise ValueError("the cutout is blank: outside the survey's footprint")
    if not is_seen.all():
        blank = ", ".join(band for band, seen in zip(options.bands, is_seen, strict=True) if not seen)
        raise ValueError(f"the cutout is blank in {blank}: the survey has no such images there")
    content = BytesIO()
    Image.fromarray(read_image(cutout_path, options.stretch)).save(content, **_IMAGE_FORMATS[options.image_format])
    path.parent.mkdir(exist_ok=True)
    write_atomically(path, content.getvalue())
    return file_loc
