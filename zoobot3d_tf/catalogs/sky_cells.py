"""Tables larger than memory, sorted by position: a folder of Parquet files, each for one cell of the sky.

Cells are bands of declination, ten degrees high, divided evenly in right ascension into cells about as wide.
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

from zoobot3d_tf.files import PathLike, partial_path, path_of
from zoobot3d_tf.tables.formats import read_table
from zoobot3d_tf.tables.parquet_pieces import is_parquet, parquet_files, piece_positions, read_pieces

if TYPE_CHECKING:
    from astropy.coordinates import SkyCoord

INDEX_NAME = "sky_cells.json"
"""Name of the file, in a folder of cells, that records the size of the cells and the columns of the positions."""

_CELL_DEGREES = 10
_SOUTH = np.arange(-90, 90, _CELL_DEGREES)
_CELLS_IN_BAND = np.rint(360 / _CELL_DEGREES * np.cos(np.radians(_SOUTH + _CELL_DEGREES / 2))).astype(int)
_FIRST_IN_BAND = np.cumsum(_CELLS_IN_BAND) - _CELLS_IN_BAND

# Each piece adds a file to every cell that it has galaxies in. Large pieces keep the number of files small.
_PIECE_BYTES = 2**27

log = logging.getLogger(__name__)


def partition(table_loc: PathLike, out: PathLike, position: Sequence[str] = ("ra", "dec")) -> Path:
    """Sort a table by position into a folder of cells, so that `crossmatch.match_files` reads only the cells it needs.

    If the table is Parquet, memory does not grow with its size. Rows without a position are left out, since they have
    no match.

    Args:
        table_loc: path of the table, see `read_table`, or of a folder of Parquet files.
        out: folder to make. It will hold `<cell>/<piece>.parquet` and `sky_cells.json`.
        position: names of the columns of right ascension and declination, degrees.

    Returns:
        Path of the folder.

    Raises:
        FileNotFoundError: the table does not exist.
        FileExistsError: the folder exists already.
        ValueError: the table cannot be read, lacks a column, or a position is out of range.
        OSError: the folder cannot be written.
    """
    out = path_of(out).absolute()
    if out.exists():
        raise FileExistsError(f"{out}: already exists; give the folder another name")
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
            min_rows_per_group=2**20,  # one group per file, not one per batch
            use_threads=False,  # keeps the order of the rows
        )
        n_galaxies, n_placed = first_row + len(piece), n_placed + len(positions)
    index = {"cell_degrees": _CELL_DEGREES, "position": list(position)}
    (partial / INDEX_NAME).write_text(json.dumps(index), encoding="utf-8")
    log.info(
        "%d galaxies were sorted by position; %d without a position were left out", n_placed, n_galaxies - n_placed
    )
    return partial.replace(out)


def files_near(folder: PathLike, position: Sequence[str], sky: "SkyCoord", radius_arcsec: float) -> list[Path]:
    """List the files of a Parquet table that can hold galaxies near some positions.

    Args:
        folder: path of a folder of Parquet files, or of one Parquet file.
        position: names of the columns of right ascension and declination in the table.
        sky: positions on the sky.
        radius_arcsec: largest distance from a position.

    Returns:
        Paths of the files. If `partition` did not make the folder, all of its files.

    Raises:
        FileNotFoundError: the table does not exist.
        ValueError: the folder was sorted by other columns, or into cells of another size.
    """
    files = parquet_files(folder)
    index_loc = path_of(folder) / INDEX_NAME
    if not index_loc.is_file():
        return files
    index = json.loads(index_loc.read_text(encoding="utf-8"))
    if index != {"cell_degrees": _CELL_DEGREES, "position": list(position)}:
        raise ValueError(
            f"{folder}: was sorted by {index['position']} into cells of {index['cell_degrees']} degrees; to match by "
            f"{list(position)} in cells of {_CELL_DEGREES}, sort the table again with `zoobot3d partition`"
        )
    near = cells_near(sky, radius_arcsec)
    return [file for file in files if int(file.parent.name) in near]


def cell_of(ra: np.ndarray, dec: np.ndarray) -> np.ndarray:
    """Number of the cell of each position.

    Args:
        ra: right ascensions in degrees, (n,).
        dec: declinations in degrees, -90 to 90, (n,).

    Returns:
        Numbers of the cells, int64 (n,). They count from 0 at the south pole, eastwards in each band.
    """
    band = np.minimum((dec + 90) // _CELL_DEGREES, len(_SOUTH) - 1).astype(int)
    n_cells = _CELLS_IN_BAND[band]
    # The remainder of a tiny negative number is rounded to 360.
    return _FIRST_IN_BAND[band] + np.minimum(ra % 360 / 360 * n_cells, n_cells - 1).astype(int)


def cells_near(sky: "SkyCoord", radius_arcsec: float) -> set[int]:
    """Find the cells within a radius of any position, and possibly a few more distant ones.

    Args:
        sky: positions on the sky, (n,).
        radius_arcsec: largest distance from a position.

    Returns:
        Numbers of the cells; see `cell_of`.
    """
    from astropy.coordinates import SkyCoord

    if not len(sky):
        return set()
    south = np.repeat(_SOUTH, _CELLS_IN_BAND)
    width = 360 / np.repeat(_CELLS_IN_BAND, _CELLS_IN_BAND)
    west = width * (np.arange(len(south)) - np.repeat(_FIRST_IN_BAND, _CELLS_IN_BAND))
    centres = SkyCoord(west + width / 2, south + _CELL_DEGREES / 2, unit="deg")
    # The point of a cell that is furthest from the centre of the cell is a corner.
    reach = [centres.separation(SkyCoord(west, corner, unit="deg")).deg for corner in (south, south + _CELL_DEGREES)]
    distance = centres.match_to_catalog_sky(sky)[1].deg
    return set(np.flatnonzero(distance <= np.max(reach, axis=0) + radius_arcsec / 3600 + 1e-6).tolist())
