"""Cross-match of two tables by position: for each galaxy of the left table, the nearest one of the right table.

Astropy finds the neighbours. It receives the right table in pieces, so that it needs little memory beside the table.
"""

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa

from zoobot3d_tf.catalogs.sky_cells import files_near
from zoobot3d_tf.files import PathLike, path_of
from zoobot3d_tf.tables.columns import find_columns, move_paths, read_positions
from zoobot3d_tf.tables.formats import check_writable, from_arrow, read_table, write_table
from zoobot3d_tf.tables.parquet_pieces import is_parquet, no_rows, parquet_files, piece_positions, read_pieces

if TYPE_CHECKING:
    from astropy.coordinates import SkyCoord

MAX_RADIUS_ARCSEC = 3600.0
"""Largest radius of a cross-match."""

_PIECE_ROWS = 2**20

log = logging.getLogger(__name__)


def match(
    left: pd.DataFrame,
    right: pd.DataFrame,
    radius_arcsec: float = 3.0,
    left_position: Sequence[str] = ("ra", "dec"),
    right_position: Sequence[str] = ("ra", "dec"),
    one_to_one: bool = False,
    keep_unmatched: bool = False,
) -> pd.DataFrame:
    """Join to each row of `left` the nearest row of `right`.

    Rows without a position have no match. If several rows of `right` are equally near, the row with the smallest right
    ascension (0 to 360) is the match, then the row with the smallest declination, then the first row.

    Args:
        left: one row per galaxy.
        right: one row per galaxy.
        radius_arcsec: largest separation of a match, above 0 and at most `MAX_RADIUS_ARCSEC`.
        left_position: names of the columns of right ascension and declination in `left`, degrees, ICRS; see
            `read_positions`.
        right_position: names of these columns in `right`.
        one_to_one: whether a row of `right` may match only one row of `left`. If several rows of `left` have the same
            nearest row, only the closest of them is matched.
        keep_unmatched: whether to keep rows of `left` without a match. Their columns of `right` are empty.

    Returns:
        The matched rows in the order of `left`: the columns of `left`, the columns of `right`, and

        - `separation_arcsec`: separation of the match; NaN without a match;
        - `n_within`: number of rows of `right` within the radius. Above 1, the match may be the wrong galaxy;
        - `shared`: whether another row of `left` has the same nearest row of `right`.

        A column whose name is taken by an earlier column gets `_right` at the end of its name.

    Raises:
        ValueError: the radius is out of range; or a position column is missing, or holds a value that is not a number
            or out of range.
    """
    _check_radius(radius_arcsec)
    left, right = left.reset_index(drop=True), right.reset_index(drop=True)
    left_positions = read_positions("left table", left, left_position)
    right_positions = read_positions("right table", right, right_position)
    nearest, n_within = _find_nearest(left_positions, right_positions, radius_arcsec, len(left))
    nearest["shared"] = nearest["right"].duplicated(keep=False)
    log.info(
        "%d of %d galaxies have a match within %g arcsec; %d have more than one match; %d share a match; "
        "%d have no position",
        *(len(nearest), len(left), radius_arcsec),
        *((n_within > 1).sum(), nearest["shared"].sum(), len(left) - len(left_positions)),
    )

    if one_to_one:
        nearest = nearest.sort_values(["separation", "left"]).drop_duplicates("right").sort_values("left")
    nearest = nearest.set_index("left")
    matched = right.iloc[nearest["right"]].set_axis(nearest.index)
    if keep_unmatched:
        # Nullable types keep the digits of long ids in columns with missing values.
        whole = matched.select_dtypes(["integer", "bool"]).convert_dtypes()
        matched = matched.astype(whole.dtypes.to_dict())
        matched, nearest = matched.reindex(left.index), nearest.reindex(left.index)
    report = pd.DataFrame(
        {
            "separation_arcsec": nearest["separation"],
            "n_within": n_within[nearest.index],
            "shared": nearest["shared"].eq(True),
        }
    )
    joined = pd.concat([left.loc[nearest.index], matched, report], axis="columns")
    return joined.set_axis(_distinct(joined.columns), axis="columns").reset_index(drop=True)


def match_files(
    left_loc: PathLike,
    right_loc: PathLike,
    out: PathLike,
    radius_arcsec: float = 3.0,
    left_position: Sequence[str] = ("ra", "dec"),
    right_position: Sequence[str] = ("ra", "dec"),
    one_to_one: bool = False,
    keep_unmatched: bool = False,
    right_columns: Sequence[str] | None = None,
) -> Path:
    """Cross-match two tables in files. The right table may be larger than memory.

    Args:
        left_loc: path of the left table; see `read_table`.
        right_loc: path of the right table; see `read_table`. It may also be a folder of Parquet files. Parquet is read
            piece by piece. If `sky_cells.partition` made the folder, only files near galaxies of the left table are
            read.
        out: path of the table to write; see `write_table`.
        radius_arcsec: largest separation of a match; see `match`.
        left_position: names of the columns of right ascension and declination in the left table, degrees.
        right_position: names of these columns in the right table.
        one_to_one: whether a row of the right table may match only one row of the left table; see `match`.
        keep_unmatched: whether to keep galaxies of the left table without a match.
        right_columns: names of the columns of the right table to keep beside the position. By default all.

    Returns:
        Path of the table that was written. Relative paths in its columns `*_loc` start from its folder.

    Raises:
        FileNotFoundError: a table does not exist.
        ValueError: a table cannot be read or written, or lacks a column; or a position or the radius is out of range.
            In errors, rows of a folder are counted through its files in the order of their names.
        OSError: the table cannot be written.
    """
    _check_radius(radius_arcsec)
    out = check_writable(out)
    columns = None if right_columns is None else list(dict.fromkeys([*right_position, *right_columns]))
    left = read_table(left_loc)
    left_positions = read_positions(left_loc, left, left_position)
    if is_parquet(right_loc):
        right = _read_near(right_loc, right_position, columns, left_positions, radius_arcsec)
    else:
        right = read_table(right_loc)
        read_positions(right_loc, right, right_position)
        if columns is not None:
            right = right[find_columns(right_loc, right.columns, columns)]
    left = move_paths(left, path_of(left_loc).parent, out.parent)
    right_path = path_of(right_loc)
    right = move_paths(right, right_path if right_path.is_dir() else right_path.parent, out.parent)
    matches = match(left, right, radius_arcsec, left_position, right_position, one_to_one, keep_unmatched)
    return write_table(matches, out)


def _check_radius(radius_arcsec: float) -> None:
    if not 0 < radius_arcsec <= MAX_RADIUS_ARCSEC:
        raise ValueError(
            f"the radius must be above 0 and at most {MAX_RADIUS_ARCSEC:g} arcsec; received {radius_arcsec:g}"
        )


def _find_nearest(
    left: pd.DataFrame, right: pd.DataFrame, radius_arcsec: float, n_left: int
) -> tuple[pd.DataFrame, np.ndarray]:
    """Find the nearest row of `right` for each row of `left`, and count the rows within the radius.

    Args:
        left: positions, indexed by the number of the row.
        right: positions, indexed by the number of the row.
        radius_arcsec: radius of the search.
        n_left: number of rows of the left table, with or without a position.

    Returns:
        One row per match, in the order of `left`: row numbers `left` and `right`, and `separation` in arcsec. Then the
        number of rows of `right` within the radius, int (n_left,).
    """
    sky = _sky(left)
    found, n_within = [], np.zeros(n_left, int)
    for start in range(0, max(len(right), 1), _PIECE_ROWS):
        piece = right.iloc[start : start + _PIECE_ROWS]
        i, j, separation = _search(sky, piece, radius_arcsec)
        pairs = piece.iloc[j].assign(left=left.index[i], right=piece.index[j], separation=separation)
        n_within += np.bincount(pairs["left"], minlength=n_left)
        found.append(_closest(pairs))
    return _closest(pd.concat(found))[["left", "right", "separation"]], n_within


def _closest(pairs: pd.DataFrame) -> pd.DataFrame:
    return pairs.sort_values(["left", "separation", "ra", "dec", "right"]).drop_duplicates("left")


def _search(
    sky: "SkyCoord", positions: pd.DataFrame, radius_arcsec: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find all pairs of positions within the radius: the numbers of both, and their separation in arcsec."""
    from astropy import units
    from astropy.coordinates import search_around_sky

    i, j, separation, _ = search_around_sky(sky, _sky(positions), radius_arcsec * units.arcsec)
    return i, j, separation.arcsec


def _sky(positions: pd.DataFrame) -> "SkyCoord":
    from astropy.coordinates import SkyCoord

    return SkyCoord(positions["ra"], positions["dec"], unit="deg")


def _read_near(
    table_loc: PathLike,
    position: Sequence[str],
    columns: Sequence[str] | None,
    left: pd.DataFrame,
    radius_arcsec: float,
) -> pd.DataFrame:
    """Read the rows of a Parquet table that are within the radius of any position in `left`."""
    sky = _sky(left)
    files = files_near(table_loc, position, sky, radius_arcsec)
    if columns is not None:
        first = (files or parquet_files(table_loc))[0]
        columns = find_columns(first, no_rows(first).column_names, columns)
    kept = [no_rows((files or parquet_files(table_loc))[0], columns)]
    for first_row, piece in read_pieces(files, columns):
        positions = piece_positions(table_loc, first_row, piece, position)
        near = np.unique(_search(sky, positions, radius_arcsec)[1])
        kept.append(piece.take(pa.array(positions.index[near])))
    return from_arrow(table_loc, pa.concat_tables(kept, promote_options="permissive"))


def _distinct(names: Iterable[str]) -> list[str]:
    """Make names distinct: add `_right` to each name that an earlier one equals."""
    distinct: list[str] = []
    for name in names:
        while name in distinct:
            name += "_right"
        distinct.append(name)
    return distinct
