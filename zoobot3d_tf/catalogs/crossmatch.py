"""Two catalogues of one sky: for each galaxy of the first, the nearest of the second.

Astropy does the matching. It is given the second catalogue in pieces, which keeps memory small beside the catalogue.
"""

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa

from zoobot3d_tf.catalogs.sky_cells import files_near
from zoobot3d_tf.files import PathLike
from zoobot3d_tf.tables.columns import move_paths, read_positions, require_columns
from zoobot3d_tf.tables.formats import check_writable, from_arrow, read_table, write_table
from zoobot3d_tf.tables.parquet_pieces import is_parquet, no_rows, parquet_files, piece_positions, read_pieces

if TYPE_CHECKING:
    from astropy.coordinates import SkyCoord

MAX_RADIUS_ARCSEC = 3600.0

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

    A row without a position matches nothing. Of rows of `right` at one distance the one with the smallest right
    ascension is taken, then the smallest declination, and of rows at one position the first.

    Args:
        left: a row a galaxy.
        right: likewise.
        radius_arcsec: match no further than this.
        left_position: columns of right ascension and declination in `left`, degrees, ICRS; see `read_positions`.
        right_position: likewise in `right`.
        one_to_one: of several rows of `left` that have the same nearest row of `right`, match only the closest.
        keep_unmatched: keep rows of `left` without a match, their columns of `right` empty.

    Returns:
        The columns of `left`, in its order, then those of `right`, with `_right` behind names that are taken, and

        - `separation_arcsec`: the distance of the match, NaN without one;
        - `n_within`: the number of rows of `right` within the radius: above 1 the match may be the wrong one;
        - `shared`: whether another row of `left` has the same nearest row of `right`.

    Raises:
        ValueError: the radius is impossible, or a position is missing as a column, not a number or impossible.
    """
    _check_radius(radius_arcsec)
    left, right = left.reset_index(drop=True), right.reset_index(drop=True)
    left_positions = read_positions("left table", left, left_position)
    right_positions = read_positions("right table", right, right_position)
    nearest, n_within = _find_nearest(left_positions, right_positions, radius_arcsec, len(left))
    nearest["shared"] = nearest["right"].duplicated(keep=False)
    log.info(
        "%d of %d galaxies have a match within %g arcsec, %d of them several, %d share theirs; %d have no position",
        *(len(nearest), len(left), radius_arcsec),
        *((n_within > 1).sum(), nearest["shared"].sum(), len(left) - len(left_positions)),
    )

    if one_to_one:
        nearest = nearest.sort_values(["separation", "left"]).drop_duplicates("right").sort_values("left")
    nearest = nearest.set_index("left")
    matched = right.iloc[nearest["right"]].set_axis(nearest.index)
    if keep_unmatched:
        # Nullable types keep the digits of long ids beside missing values.
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
    """Match two tables in files, the second larger than memory if need be.

    Args:
        left_loc: see `read_table`.
        right_loc: likewise. Parquet is read piece by piece, from a file, a folder of files or one that
            `sky_cells.partition` made; of the last, only files near galaxies of `left_loc` are read.
        out: table to write; see `write_table`.
        radius_arcsec: see `match`.
        left_position: see `match`.
        right_position: see `match`.
        one_to_one: see `match`.
        keep_unmatched: see `match`.
        right_columns: columns of the second table to keep beside its position; all by default.

    Returns:
        Path of the table written. Paths in columns `*_loc` start from its folder.

    Raises:
        FileNotFoundError: there is no such table.
        ValueError: a table cannot be read or written, lacks a column, or a position or the radius is impossible. Rows
            of a folder are counted through its files in the order of their names.
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
            require_columns(right_loc, right.columns, columns)
            right = right[columns]
    left = move_paths(left, Path(left_loc).parent, out.parent)
    right = move_paths(right, Path(right_loc) if Path(right_loc).is_dir() else Path(right_loc).parent, out.parent)
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
    """The nearest row of `right` for each row of `left` that has one, and how many each has.

    Args:
        left: positions by row number.
        right: likewise.
        radius_arcsec: of the search.
        n_left: rows of the table that `left` is from.

    Returns:
        Row numbers `left` and `right` and `separation` in arcsec, in the order of `left`; int (n_left,).
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
    """All pairs of positions within the radius: the number of each, and their separation in arcsec."""
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
    """Those rows of a Parquet table that lie within the radius of any row of `left`."""
    sky = _sky(left)
    files = files_near(table_loc, position, sky, radius_arcsec)
    kept = [no_rows((files or parquet_files(table_loc))[0], columns)]
    for first_row, piece in read_pieces(files, columns):
        positions = piece_positions(table_loc, first_row, piece, position)
        near = np.unique(_search(sky, positions, radius_arcsec)[1])
        kept.append(piece.take(pa.array(positions.index[near])))
    return from_arrow(table_loc, pa.concat_tables(kept, promote_options="permissive"))


def _distinct(names: Iterable[str]) -> list[str]:
    """The names, with `_right` behind those that others before them have."""
    distinct: list[str] = []
    for name in names:
        while name in distinct:
            name += "_right"
        distinct.append(name)
    return distinct
