"""Masks drawn from the volunteers' marks of Galaxy Zoo: 3D, on the pixel grid of each galaxy's cutout."""

import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from astropy.wcs import WCS
from PIL import Image

from zoobot3d_tf.failures import MAX_FAILED, check_max_failed, is_of_machine, may_fail
from zoobot3d_tf.files import FAILED_NAME, PathLike, one_owner, path_of, whole_file
from zoobot3d_tf.images.masks import MASKS, Marks, align_counts_wcs, counts_from_marks
from zoobot3d_tf.images.read import read_image
from zoobot3d_tf.images.wcs import flip_rows, read_wcs, wcs_at
from zoobot3d_tf.surveys.attempts import attempt_all, list_failed
from zoobot3d_tf.surveys.gz3d import SHAPE, mask_wcs
from zoobot3d_tf.tables.columns import check_file_names, move_paths, read_numbers, read_text, refuse, require_columns
from zoobot3d_tf.tables.formats import read_table, write_table

CATALOG_NAME = "catalog.csv"
_REMEDY = "Correct these files, or raise max_failed, and run the same again"

log = logging.getLogger(__name__)


def draw_masks(
    catalog_loc: PathLike,
    marks_dir: PathLike,
    out: PathLike,
    volunteers: Sequence[int] | None = None,
    drop_self_crossing: bool = False,
    workers: int = 1,
    max_failed: float = MAX_FAILED,
) -> Path:
    """Draw the masks of the galaxies of a catalogue, each on the pixel grid of the galaxy's image.

    Writes `<id_str>_spiral_mask.png` and `<id_str>_bar_mask.png`, 8-bit counts of volunteers, and `catalog.csv`. If
    volunteers were asked to draw a mask and none drew, the mask is written and is zero everywhere. If nobody was asked,
    no mask is written. Galaxies that fail are listed in `failed.csv`.

    Args:
        catalog_loc: path of the table of galaxies, see `read_table`, with `id_str`, `file_loc` (image of a cutout, row
            0 north) and `wcs_ra`, `wcs_dec` as `gz3d_catalog` writes them. The position of a cutout is read from its
            FITS file: `fits_loc`, or else `fits/<id_str>.fits` beside the table. Without a FITS file, north is up and
            east left, the scale is `pixscale` (arcsec per pixel), and the centre is `cutout_ra`, `cutout_dec`, or else
            `wcs_ra`, `wcs_dec` (degrees).
        marks_dir: path of the folder that `gz3d_marks` filled: outlines or lines, in pixels of the grid on which the
            volunteers drew. If it has no file of a galaxy, nobody was asked.
        out: path of the folder to fill.
        volunteers: indices of the volunteers to count, from 0 in the order of the marks; by default all.
        drop_self_crossing: whether outlines that cross themselves are left out; see `counts_from_marks`.
        workers: number of processes.
        max_failed: largest fraction of the galaxies that may fail; see `failures.may_fail`. If more fail, the run
            stops.

    Returns:
        Path of `catalog.csv`: the rows of the galaxies that did not fail, with `spiral_mask_loc` and `bar_mask_loc`
        (relative to `out`) and `n_volunteers`, which are empty if nobody was asked. Both masks of a galaxy have the
        same `n_volunteers`. If more volunteers were asked to draw one of them, only the first of these are counted, as
        many as were asked to draw the other.

    Raises:
        FileNotFoundError: the catalogue or the folder of marks does not exist.
        ValueError: the catalogue cannot be read, lacks a column, holds text in a column of numbers or an `id_str` that
            is not unique or cannot name a file, or would be overwritten; `volunteers` is empty; or all galaxies failed,
            or too many.
        OSError: a file cannot be written, the disk has a fault, or a worker process died.
    """
    check_max_failed(max_failed)
    marks_dir, out = path_of(marks_dir), path_of(out)
    if not marks_dir.is_dir():
        raise FileNotFoundError(f"{marks_dir}: no such folder; write the marks with `zoobot3d gz3d marks` first")
    if volunteers is not None and not volunteers:
        raise ValueError("volunteers must hold one index or more; received none")
    table = _read_catalog(catalog_loc)
    if (out / CATALOG_NAME).resolve() == path_of(catalog_loc).resolve():
        raise ValueError(f"{catalog_loc}: would be overwritten; choose another folder for the masks")
    root = path_of(catalog_loc).absolute().parent
    galaxies = _find_galaxies(catalog_loc, table, root, marks_dir)
    with one_owner(out):
        draw = partial(_draw, out, volunteers, drop_self_crossing)
        drawn, failed = attempt_all(draw, galaxies, workers, "galaxy", may_fail(len(galaxies), max_failed))
        failures = [(galaxy.id_str, str(galaxy.image), reason) for galaxy, reason in failed]
        list_failed(out / FAILED_NAME, failures, len(galaxies), max_failed, _REMEDY)
        columns = pd.DataFrame([masks for _, masks in drawn], index=[galaxy.id_str for galaxy, _ in drawn])
        columns = columns.astype({"n_volunteers": "Int64"})
        n_spiral, n_bar = ((columns[f"{name}_loc"] != "").sum() for name in MASKS)
        log.info("%s: %d spiral masks and %d bar masks of %d galaxies", out, n_spiral, n_bar, len(columns))
        rows = move_paths(table.drop(columns=list(columns), errors="ignore"), root, out)
        rows = rows.join(columns, on="id_str", how="inner")
        return write_table(rows, out / CATALOG_NAME)


@dataclass(frozen=True)
class _Galaxy:
    """Input for the masks of a galaxy.

    Attributes:
        id_str: name of the galaxy.
        image: path of the image, which gives the size of the masks.
        fits: path of the FITS file of the image, which gives the WCS; None if there is none.
        marks: path of the volunteers' marks; None if nobody was asked.
        pixscale: pixel scale of the image, in arcsec per pixel.
        centre: right ascension and declination of the centre of the image, degrees.
        masks_centre: `wcs_ra` and `wcs_dec`, degrees.
    """

    id_str: str
    image: Path
    fits: Path | None
    marks: Path | None
    pixscale: float
    centre: tuple[float, float]
    masks_centre: tuple[float, float]


def _read_catalog(path: PathLike) -> pd.DataFrame:
    table = read_table(path)
    check_file_names(path, table)
    require_columns(path, table.columns, ["file_loc", "wcs_ra", "wcs_dec"])
    table["file_loc"] = read_text(path, table, "file_loc")
    refuse(path, table, "file_loc", table["file_loc"] == "", "it must be the path of the galaxy's image")
    return table


def _find_galaxies(path: PathLike, table: pd.DataFrame, root: Path, marks_dir: Path) -> list[_Galaxy]:
    def numbers(column: str) -> pd.Series:
        return read_numbers(path, table, column) if column in table else pd.Series(np.nan, index=table.index)

    columns = table[["id_str", "file_loc"]].assign(
        fits_loc=read_text(path, table, "fits_loc") if "fits_loc" in table else "",
        pixscale=numbers("pixscale"),
        wcs_ra=numbers("wcs_ra"),
        wcs_dec=numbers("wcs_dec"),
        ra=numbers("cutout_ra").fillna(numbers("wcs_ra")),
        dec=numbers("cutout_dec").fillna(numbers("wcs_dec")),
    )
    rows: Iterator[Any] = columns.itertuples()
    return [
        _Galaxy(
            id_str=row.id_str,
            image=root / row.file_loc,
            fits=root / row.fits_loc if row.fits_loc else _existing(root / "fits" / f"{row.id_str}.fits"),
            marks=_existing(marks_dir / f"{row.id_str}.json"),
            pixscale=row.pixscale,
            centre=(row.ra, row.dec),
            masks_centre=(row.wcs_ra, row.wcs_dec),
        )
        for row in rows
    ]


def _existing(path: Path) -> Path | None:
    return path if path.exists() else None


def _draw(out: Path, volunteers: Sequence[int] | None, drop_self_crossing: bool, galaxy: _Galaxy) -> dict[str, object]:
    """Write the masks of a galaxy, and return its new columns of the catalogue."""
    columns: dict[str, object] = {**{f"{name}_loc": "" for name in MASKS}, "n_volunteers": None}
    marks = _read_marks(galaxy.marks) if galaxy.marks is not None else {}
    if not marks:
        return columns
    if not np.isfinite(galaxy.masks_centre).all():
        raise ValueError(
            f"{galaxy.marks}: there are marks, but wcs_ra or wcs_dec is empty in the catalogue; both must be given"
        )
    chosen = range(min(map(len, marks.values()))) if volunteers is None else volunteers
    shape = read_image(galaxy.image).shape[:2]
    grid = _image_wcs(galaxy, shape)
    for name, paths in marks.items():
        try:
            counts = counts_from_marks(paths, SHAPE, drop_self_crossing, chosen)
        except ValueError as error:
            raise ValueError(f"{galaxy.marks}: {name}: {error}") from None
        mask = align_counts_wcs(counts, mask_wcs(*galaxy.masks_centre), grid, shape)
        loc = f"{galaxy.id_str}_{name}.png"
        with whole_file(out / loc) as partial:
            Image.fromarray(mask).save(partial, format="PNG")
        columns[f"{name}_loc"] = loc
    return columns | {"n_volunteers": len(chosen)}


def _read_marks(path: Path) -> dict[str, Marks]:
    """Read the marks of the masks that volunteers were asked to draw."""
    try:
        marks = json.loads(path.read_bytes())
        if not isinstance(marks, dict) or not all(isinstance(marks.get(name, []), list) for name in MASKS):
            raise ValueError(f"the file must hold a JSON object of lists with the keys {' and '.join(MASKS)}")
    except Exception as error:  # damaged files raise errors of several types
        if is_of_machine(error):
            raise
        raise ValueError(f"{path}: cannot be read as marks: {error}") from error
    return {name: marks[name] for name in MASKS if marks.get(name)}


def _image_wcs(galaxy: _Galaxy, shape: tuple[int, int]) -> WCS:
    """WCS of the image as an array with row 0 at the top."""
    height, width = shape
    wcs: WCS | None
    if galaxy.fits is None:
        if not (galaxy.pixscale > 0 and np.isfinite(galaxy.centre).all()):
            raise ValueError(
                f"{galaxy.image}: has no FITS file; the catalogue must then give its pixscale, cutout_ra and cutout_dec"
            )
        wcs = wcs_at(*galaxy.centre, galaxy.pixscale, shape)
    else:
        wcs = read_wcs(galaxy.fits)
        if wcs is None:
            raise ValueError(f"{galaxy.fits}: is not a FITS file, or has no WCS with a position on the sky")
        size = tuple(wcs.array_shape[-2:])
        if size != (height, width):
            raise ValueError(
                f"{galaxy.fits}: has {size[0]} x {size[1]} pixels; it must have {height} x {width}, as the image "
                f"{galaxy.image} has"
            )
    return flip_rows(wcs, height)
