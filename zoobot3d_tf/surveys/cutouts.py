"""Cutouts of galaxies from the Legacy Surveys (Dey et al. 2019): FITS files and colour images.

Each cutout is compared with the request, since the service may send another size, other bands or empty sky without
notice.
"""

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pandas as pd
from astropy.io import fits
from astropy.wcs import WCS
from PIL import Image

from zoobot3d_tf.failures import MAX_FAILED, check_max_failed, is_of_machine, may_fail
from zoobot3d_tf.files import (
    FAILED_NAME,
    PathLike,
    one_owner,
    partial_path,
    path_of,
    read_json_object,
    whole_file,
    write_atomically,
)
from zoobot3d_tf.images.fits_cutouts import FITS_SIGNATURE
from zoobot3d_tf.images.read import read_image
from zoobot3d_tf.images.wcs import pixscale_of
from zoobot3d_tf.progress import Progress
from zoobot3d_tf.surveys.attempts import list_failed
from zoobot3d_tf.surveys.cutout_options import BASE_URL, DEFAULT_OPTIONS, MIN_PIXSCALE, CutoutOptions
from zoobot3d_tf.surveys.download import Download, download
from zoobot3d_tf.tables.columns import (
    DEC_RANGE,
    PIXSCALE_RANGE,
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
# The largest cutout, of 512 x 512 pixels in four bands, has 4 MB.
_MAX_BYTES = 64 * 1024**2
_REMEDY = "Finished cutouts are kept: raise max_failed if these galaxies may be left out, and run the same again"

log = logging.getLogger(__name__)


def download_cutouts(
    catalog_loc: PathLike,
    out: PathLike,
    options: CutoutOptions = DEFAULT_OPTIONS,
    workers: int = 4,
    limit: int | None = None,
    base_url: str = BASE_URL,
    max_failed: float = MAX_FAILED,
) -> Path:
    """Download a cutout of each galaxy, and make a colour image of it.

    Writes `fits/<id_str>.fits`, `images/<id_str>.png` or `.jpg`, `cutouts.json` with the options, `catalog.csv` and, if
    galaxies fail, `failed.csv` with the reasons. In the images, row 0 is north and column 0 is east; in the FITS files,
    row 0 is south. Another call with the same arguments downloads only the missing cutouts.

    Args:
        catalog_loc: path of the table of galaxies, see `read_table`, with `id_str` and positions in degrees.
        out: path of the folder to fill: a new folder, or one made with the same options.
        options: options that all cutouts share.
        workers: number of simultaneous downloads.
        limit: number of galaxies to download, counted from the first row; by default all.
        base_url: address of the cutout service.
        max_failed: largest fraction of the galaxies that may fail; see `failures.may_fail`. If more fail, the run
            stops, and keeps the finished cutouts.

    Returns:
        Path of `catalog.csv`. It holds the rows of the galaxies that have a cutout, with `file_loc` (path of the image,
        relative to `out`), `pixscale` (arcsec per pixel), and `cutout_ra` and `cutout_dec` (centre, degrees). Scale and
        centre are those of the WCS of the cutout. Paths in other columns `*_loc` become relative to `out`.

    Raises:
        FileNotFoundError: the catalogue does not exist.
        FileExistsError: `out` holds files that are not cutouts.
        ValueError: the cutouts in `out` have other options; the catalogue cannot be read, lacks a column, holds text in
            a column of numbers or an `id_str` that is not unique or cannot name a file; or all galaxies failed, or too
            many.
        OSError: a file cannot be written, or the server does not answer. Finished files are kept.
    """
    check_max_failed(max_failed)
    out = path_of(out).absolute()
    table = read_table(catalog_loc)
    check_file_names(catalog_loc, table)
    table = table[:limit]
    cutouts, reasons = _plan(catalog_loc, table, options, base_url)
    with one_owner(out):
        _claim_folder(out, options)
        allowed = max(0, may_fail(len(table), max_failed) - len(reasons))
        grids, failed = _fetch(cutouts, out, options, workers, allowed)
        reasons |= failed
        blank: list[Path] = []
        made: dict[str, dict[str, str | float]] = {}
        for cutout in Progress([cutout for cutout in cutouts if cutout.id_str in grids], unit="image"):
            try:
                made[cutout.id_str] = {"file_loc": _make_image(cutout, out, options), **grids[cutout.id_str]}
            except ValueError as error:
                blank.append(out / cutout.fits_name)
                reasons[cutout.id_str] = str(error)

        urls = {cutout.id_str: cutout.url for cutout in cutouts}
        failures = [(name, urls.get(name, ""), reasons[name]) for name in table["id_str"] if name in reasons]
        list_failed(out / FAILED_NAME, failures, len(table), max_failed, _REMEDY, where="url")
        # Not before: if too many galaxies have failed, another call would download the blank cutouts again.
        for path in blank:
            path.unlink()
        log.info("%s: %d cutouts; row 0 of an image is north, column 0 is east", out, len(made))
        columns = pd.DataFrame.from_dict(made, orient="index")
        rows = move_paths(table.drop(columns=list(columns), errors="ignore"), path_of(catalog_loc).parent, out)
        rows = rows.join(columns, on="id_str", how="inner")
        return write_table(rows, out / "catalog.csv")


@dataclass(frozen=True)
class _Cutout:
    """A cutout to download: name of the galaxy, centre in degrees, pixel scale in arcsec per pixel, and address."""

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
    """List the cutouts to download and, by id, the reasons why other galaxies cannot have one."""
    ra, dec = _position_columns(path, table, options.center_on)
    ranges = {ra: (*RA_RANGE, "degrees"), dec: (*DEC_RANGE, "degrees")}
    if options.pixscale_col is not None:
        require_columns(path, table.columns, [options.pixscale_col], hint=", named by pixscale_col")
        ranges[options.pixscale_col] = (*PIXSCALE_RANGE, "arcsec per pixel")
    numbers = pd.DataFrame({column: read_numbers(path, table, column) for column in ranges})
    wrapped = wrap_ra(numbers[ra])
    cutouts, reasons = [], {}
    for id_str, row, ra_degrees in zip(table["id_str"], numbers.to_dict("records"), wrapped, strict=True):
        wrong = [column for column, (low, high, _) in ranges.items() if not low <= row[column] <= high]
        if wrong:
            value, (low, high, unit) = row[wrong[0]], ranges[wrong[0]]
            received = "empty" if np.isnan(value) else f"{value:g}"
            reasons[id_str] = f"{wrong[0]} is {received}; it must be from {low:g} to {high:g} {unit}"
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
    raise ValueError(
        f"{path}: lacks the columns {needed} for the centres of the cutouts; center_on selects other columns"
    )


def _claim_folder(out: Path, options: CutoutOptions) -> None:
    """Write the options to a new folder, or check that the folder was made with the same options."""
    path = out / SETTINGS_NAME
    if path.exists():
        earlier = read_json_object(path, "options of cutouts")
        differing = [
            f"{name} is {value!r}, but was {earlier.get(name)!r}"
            for name, value in asdict(options).items()
            if value != earlier.get(name)
        ]
        if differing:
            raise ValueError(
                f"{out}: holds cutouts that were made with other options ({'; '.join(differing)}); use another folder"
            )
    elif any(not path.name.startswith(".") for path in out.iterdir()):
        raise FileExistsError(f"{out}: holds files but no {SETTINGS_NAME} of earlier cutouts; use another folder")
    else:
        write_atomically(path, json.dumps(asdict(options), indent=1))


def _fetch(
    cutouts: Sequence[_Cutout], out: Path, options: CutoutOptions, workers: int, allowed: int
) -> tuple[dict[str, dict[str, float]], dict[str, str]]:
    """Download the missing FITS files. Returns the grids of all cutouts, and the reasons of failures, by id."""
    wanted = {cutout.fits_name: cutout for cutout in cutouts}
    by_path = {path: cutout for name, cutout in wanted.items() for path in (out / name, partial_path(out / name))}
    grids = {}

    def check(path: Path) -> None:
        header = _read_header(path, options)
        grids[by_path[path].id_str] = _read_grid(header, by_path[path], options.size)

    downloads = [Download(cutout.url, name) for name, cutout in wanted.items()]
    summary = download(downloads, out, workers, check, max_bytes=_MAX_BYTES, allowed=allowed)
    return grids, {wanted[name].id_str: reason for name, _, reason in summary.failures}


def _read_header(path: Path, options: CutoutOptions) -> fits.Header:
    """Read the header of a cutout, and check its size and its bands.

    Raises:
        ValueError: the file is damaged, or has another size or other bands. The message does not name the file.
    """
    with path.open("rb") as file:
        start = file.read(40)
    if not start.startswith(FITS_SIGNATURE):
        raise ValueError(f"the cutout is not a FITS file: it begins with {start!r}")
    try:
        with fits.open(path, memmap=False) as hdus:
            header, fluxes = hdus[0].header, hdus[0].data
            bands = header.get("BANDS")
    except Exception as error:  # damaged files make astropy raise errors of many types
        if is_of_machine(error):
            raise
        raise ValueError(f"the cutout cannot be read as FITS: {error}") from error
    shape = (len(options.bands), options.size, options.size)
    if fluxes is None or fluxes.shape != shape:
        received = None if fluxes is None else fluxes.shape
        raise ValueError(f"the shape of the cutout (bands, height, width) is {received}; it must be {shape}")
    if bands != options.bands:
        raise ValueError(f"the bands of the cutout are {bands!r}; they must be {options.bands!r}")
    return header


def _read_grid(header: fits.Header, wanted: _Cutout, size: int) -> dict[str, float]:
    """Read centre and pixel scale of a cutout from its WCS, and compare them with the request.

    Raises:
        ValueError: there is no WCS, or it differs from the request. The message does not name the file.
    """
    try:
        wcs = WCS(header, naxis=2)
    except Exception as error:  # as above
        raise ValueError(f"the WCS of the cutout cannot be read: {error}") from error
    if not wcs.has_celestial:
        raise ValueError("the cutout has no WCS with a position on the sky")
    pixscale = pixscale_of(wcs)
    if not abs(pixscale / wanted.pixscale - 1) < 0.01:
        raise ValueError(
            f"the pixel scale of the cutout is {pixscale:.4g} arcsec per pixel; it must be {wanted.pixscale:.4g}"
        )
    if not np.allclose(wcs.pixel_scale_matrix * 3600 / pixscale, [[-1, 0], [0, 1]], atol=0.01):
        raise ValueError("the cutout must have north up and east left; its WCS has another orientation")
    middle = (size - 1) / 2
    x, y = wcs.wcs_world2pix(wanted.ra, wanted.dec, 0)
    offset = float(np.hypot(x - middle, y - middle))
    if not offset <= 1:
        raise ValueError(f"the centre of the cutout is {offset:.1f} pixels from the galaxy; at most 1 is accepted")
    ra, dec = wcs.wcs_pix2world(middle, middle, 0)
    return {"pixscale": round(pixscale, 9), "cutout_ra": round(float(ra), 9), "cutout_dec": round(float(dec), 9)}


def _make_image(cutout: _Cutout, out: Path, options: CutoutOptions) -> str:
    """Make the colour image unless it exists and is not older than the cutout; return its path relative to `out`.

    Raises:
        ValueError: the cutout is blank. The message does not name the file.
    """
    cutout_path, file_loc = out / cutout.fits_name, f"images/{cutout.id_str}.{options.image_format}"
    path = out / file_loc
    if path.exists() and path.stat().st_mtime >= cutout_path.stat().st_mtime:
        return file_loc
    fluxes = fits.getdata(cutout_path)
    has_flux = (np.isfinite(fluxes) & (fluxes != 0)).any(axis=(1, 2))
    if not has_flux.any():
        raise ValueError("the cutout is blank: it lies outside the footprint of the survey")
    if not has_flux.all():
        blank = ", ".join(band for band, filled in zip(options.bands, has_flux, strict=True) if not filled)
        raise ValueError(f"the cutout is blank in {blank}: the survey has no images in these bands there")
    image = Image.fromarray(read_image(cutout_path, options.stretch))
    path.parent.mkdir(exist_ok=True)
    with whole_file(path) as partial:
        image.save(partial, **_IMAGE_FORMATS[options.image_format])
    return file_loc
