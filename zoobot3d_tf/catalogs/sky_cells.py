"""Tables larger than memory, sorted by position: a folder of Parquet files that each hold one cell of the sky.

Cells are ten degrees high and about as wide: bands of declination, each divided evenly in right ascension.
"""

import json
import logging
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds

from zoobot3d_tf.files import PathLike, partial_path
from zoobot3d_tf.tables.formats import read_table
from zoobot3d_tf.tables.parquet_pieces import is_parquet, parquet_files, piece_positions, read_pieces

if TYPE_CHECKING:
    from astropy.coordinates import SkyCoord

INDEX_NAME = "sky_cells.json"

_CELL_DEGREES = 10
_SOUTH = np.arange(-90, 90, _CELL_DEGREES)
_CELLS_IN_BAND = np.rint(360 / _CELL_DEGREES * np.cos(np.radians(_SOUTH + _CELL_DEGREES / 2))).astype(int)
_FIRST_IN_BAND = np.cumsum(_CELLS_IN_BAND) - _CELLS_IN_BAND

# Each piece leaves a file in every cell that it touches: a few hundred at most.
_PIECE_BYTES = 2**27

log = logging.getLogger(__name__)


def partition(table_loc: PathLike, out: PathLike, position: Sequence[str] = ("ra", "dec")) -> Path:
    """Sort a table by position into a folder, of which `crossmatch.match_files` reads no more than it needs.

    Memory does not grow with a table that is Parquet. Rows without a position match nothing, and are left out.

    Args:
        table_loc: see `read_table`, or a folder of Parquet files.
        out: folder to make, of `<cell>/<piece>.parquet` and `sky_cells.json`.
        position: columns of right ascension and declination, degrees.

    Returns:
        The folder.

    Raises:
        FileNotFoundError: there is no such table.
        FileExistsError: the folder is there already.
        ValueError: the table cannot be read, or a position is impossible.
        OSError: the folder cannot be written.
    """
    out = Path(out).absolute()
    if out.exists():
        raise FileExistsError(f"{out}: is there already; name a folder that is not")
    if is_parquet(table_loc):
        pieces = read_pieces(parquet_files(table_loc), n_bytes=_PIECE_BYTES)
    else:
        pieces = iter([(0, pa.Table.from_pandas(read_table(table_loc), preserve_index=False))])
    partial = partial_path(out)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    n_galaxies = n_placed = 0
    for number, (first_row, piece) in enumerate(pieces):
        positions = piece_positions(table_loc, first_row, piece, position)
        cells = cell_of(positions["ra"].to_numpy(), positions["dec"].to_numpy())
        ds.write_dataset(
            piece.take(pa.array(positions.index)).append_column("sky_cell", pa.array(cells)),
            partial,
            format="parquet",
            partitioning=["sky_cell"],
            basename_template=f"{number:06d}-{{i}}.parquet",
            existing_data_behavior="overwrite_or_ignore",
            min_rows_per_group=2**20,  # a group a file, rather than one for each batch that was read
            use_threads=False,  # keeps the order of rows
        )
        n_galaxies, n_placed = first_row + len(piece), n_placed + len(positions)
    index = {"cell_degrees": _CELL_DEGREES, "position": list(position)}
    (partial / INDEX_NAME).write_text(json.dumps(index), encoding="utf-8")
    log.info("%d galaxies sorted by position; %d without a position left out", n_placed, n_galaxies - n_placed)
    return partial.replace(out)


def files_near(folder: PathLike, position: Sequence[str], sky: "SkyCoord", radius_arcsec: float) -> list[Path]:
    """The files of a Parquet table that can hold galaxies near some positions: all, if it is not sorted.

    Args:
        folder: of Parquet files, or one such file.
        position: columns of right ascension and declination to match by.
        sky: the positions.
        radius_arcsec: how near.

    Raises:
        FileNotFoundError: there is no such table.
        ValueError: the folder was sorted by other columns, or into other cells.
    """
    files = parquet_files(folder)
    index_loc = Path(folder) / INDEX_NAME
    if not index_loc.is_file():
        return files
    index = json.loads(index_loc.read_text(encoding="utf-8"))
    if index != {"cell_degrees": _CELL_DEGREES, "position": list(position)}:
        raise ValueError(
            f"{folder}: was sorted by {index['position']} into cells of {index['cell_degrees']} degrees; to match by "
            f"{list(position)} in cells of {_CELL_DEGREES}, sort the table anew"
        )
    near = cells_near(sky, radius_arcsec)
    return [file for file in files if int(file.parent.name) in near]


def cell_of(ra: np.ndarray, dec: np.ndarray) -> np.ndarray:
    """The cell of each position.

    Args:
        ra: degrees, (n,).
        dec: degrees, -90 to 90, (n,).

    Returns:
        Its number, int64 (n,): from 0 at the south pole, eastwards, band by band.
    """
    band = np.minimum((dec + 90) // _CELL_DEGREES, len(_SOUTH) - 1).astype(int)
    n_cells = _CELLS_IN_BAND[band]
    # The remainder of a tiny negative number is rounded to 360 itself.
    return _FIRST_IN_BAND[band] + np.minimum(ra % 360 / 360 * n_cells, n_cells - 1).astype(int)


def cells_near(sky: "SkyCoord", radius_arcsec: float) -> set[int]:
    """The cells within a radius of any of some positions, and perhaps a few that are a little further."""
    from astropy.coordinates import SkyCoord

    if not len(sky):
        return set()
    south = np.repeat(_SOUTH, _CELLS_IN_BAND)
    width = 360 / np.repeat(_CELLS_IN_BAND, _CELLS_IN_BAND)
    west = width * (np.arange(len(south)) - np.repeat(_FIRST_IN_BAND, _CELLS_IN_BAND))
    centres = SkyCoord(west + width / 2, south + _CELL_DEGREES / 2, unit="deg")
    # In a band, no point of a cell is further from its centre than one of its corners.
    reach = [centres.separation(SkyCoord(west, corner, unit="deg")).deg for corner in (south, south + _CELL_DEGREES)]
    distance = centres.match_to_catalog_sky(sky)[1].deg
    return set(np.flatnonzero(distance <= np.max(reach, axis=0) + radius_arcsec / 3600 + 1e-6).tolist())
