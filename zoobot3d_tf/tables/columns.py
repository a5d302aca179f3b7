"""Columns of tables of galaxies, checked: numbers, positions, text, names of files.

Errors name rows as a spreadsheet does: the header is row 1, the first galaxy row 2.
"""

import os
from collections.abc import Hashable, Iterable, Sequence
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd

from zoobot3d_tf.files import PathLike

# File systems allow 255 bytes, of which words around a galaxy's name need some.
_MAX_NAME_BYTES = 150
RA_RANGE = (-360.0, 720.0)
"""Accepted right ascensions, degrees: one turn around 0 to 360, since some catalogues count from -180 to 180."""
DEC_RANGE = (-90.0, 90.0)
"""Accepted declinations, degrees."""


def read_numbers(path: PathLike, table: pd.DataFrame, column: str) -> pd.Series:
    """A column as float64, NaN where it is empty.

    Args:
        path: where the table is from, for the error.
        table: as `read_table` returns it.
        column: one of its columns.

    Returns:
        A number a row.

    Raises:
        ValueError: the column holds something else.
    """
    if pd.api.types.is_numeric_dtype(table[column]):
        return table[column].astype(np.float64)
    values = pd.to_numeric(table[column], errors="coerce").astype(np.float64)
    is_text = values.isna() & table[column].notna() & (table[column].astype(str).str.strip() != "")
    refuse(path, table, column, is_text, "it must be a number")
    return values


def read_positions(path: PathLike, table: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Positions on the sky.

    Args:
        path: where the table is from, for the error.
        table: as `read_table` returns it.
        columns: names of its columns of right ascension and declination, degrees.

    Returns:
        `ra` and `dec`, float64, of the rows that have both, under the table's index; `ra` from 0 to 360.

    Raises:
        ValueError: a column is missing, or a value is not a number or impossible.
    """
    if len(columns) != 2:
        raise ValueError(f"a position is two columns, right ascension and declination; received {', '.join(columns)}")
    require_columns(path, table.columns, columns)
    ra, dec = (read_numbers(path, table, column) for column in columns)
    for name, numbers, (low, high) in ((columns[0], ra, RA_RANGE), (columns[1], dec, DEC_RANGE)):
        is_wrong = ~(numbers.isna() | numbers.between(low, high))
        refuse(path, table, name, is_wrong, f"it must be from {low:g} to {high:g} degrees")
    return pd.DataFrame({"ra": wrap_ra(ra), "dec": dec}).dropna()


def wrap_ra(ra: pd.Series) -> pd.Series:
    """Right ascensions in degrees, brought to 0..360; values already there stay as they are."""
    return ra.where(ra.isna() | ra.between(0, 360), ra % 360)


def read_text(path: PathLike, table: pd.DataFrame, column: str) -> pd.Series:
    """A column as text without spaces around it, '' where it is empty.

    Args:
        path: where the table is from, for the error.
        table: as `read_table` returns it.
        column: one of its columns.

    Returns:
        A `str` a row.

    Raises:
        ValueError: the column holds floating-point numbers, whose digits would be a guess.
    """
    values = table[column]
    if pd.api.types.is_float_dtype(values) and values.notna().any():
        raise ValueError(f"{path}: {column} is stored as floating-point numbers; store it as text")
    return values.astype(object).where(values.notna(), "").astype(str).str.strip()


def check_file_names(path: PathLike, table: pd.DataFrame) -> None:
    """Refuse a catalogue unless each galaxy has a name of its own that can be part of the names of its files.

    Args:
        path: where the table is from, for the error.
        table: as `read_table` returns it.

    Raises:
        ValueError: there are no rows or no `id_str`, or one of these is not unique, or is empty, too long, begins with
            a dot or holds `/`, `\\`, `:` or control characters.
    """
    if table.empty:
        raise ValueError(f"{path}: the catalogue has no rows")
    require_columns(path, table.columns, ["id_str"])
    is_fit = table["id_str"].map(_is_fit_for_files).astype(bool)
    rule = "it names the galaxy's files: without / \\ : and control characters, no dot in front, "
    rule += f"1 to {_MAX_NAME_BYTES} bytes"
    refuse(path, table, "id_str", ~is_fit, rule)
    refuse(path, table, "id_str", table["id_str"].duplicated(), "it must be unique")


def move_paths(table: pd.DataFrame, old: Path, new: Path) -> pd.DataFrame:
    """The table with the relative paths in its columns `*_loc`, which start from one folder, starting from another.

    Args:
        table: as `read_table` returns it.
        old: folder that paths start from.
        new: folder that they shall start from. Absolute paths stay as they are.
    """
    # Above a folder that is a symbolic link lies the parent of what it leads to.
    old, new = old.resolve(), new.resolve()

    def move(loc: object) -> object:
        is_relative = isinstance(loc, str) and loc and not os.path.isabs(loc)
        return os.path.relpath(old / cast(str, loc), new) if is_relative else loc

    return table.assign(**{name: table[name].map(move) for name in table.columns if str(name).endswith("_loc")})


def require_columns(path: PathLike, present: Iterable[Hashable], columns: Sequence[str], hint: str = "") -> None:
    """Raise a ValueError that names the columns which a table lacks, if it lacks any.

    Args:
        path: where the table is from.
        present: the columns that it has.
        columns: those that it needs.
        hint: what else to say.
    """
    present = set(present)
    missing = [column for column in columns if column not in present]
    if missing:
        raise ValueError(f"{path}: lacks the column{'s'[: len(missing) - 1]} {shorten(missing)}{hint}")


def shorten(names: Sequence[str]) -> str:
    """The first names of a list that may be long: 'a, b, c, d, e and 7 more'."""
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def refuse(path: PathLike, table: pd.DataFrame, column: str, wrong: pd.Series, rule: str) -> None:
    """Raise a ValueError about the first row that is wrong, if any is.

    Args:
        path: where the table is from.
        table: as `read_table` returns it.
        column: the column at fault.
        wrong: which rows are.
        rule: what would be right, as in "it must be a number".
    """
    if wrong.any():
        value = table[column][wrong].iloc[0]
        received = "empty" if pd.isna(value) else repr(value.item() if isinstance(value, np.generic) else value)
        raise ValueError(f"{path}: {column} is {received} in {name_rows(table, wrong)}; {rule}")


def name_rows(table: pd.DataFrame, wrong: pd.Series) -> str:
    """Name the first wrong row by number and id, and say how many others there are: 'row 4 (J2) and 1 more'."""
    first = table.index[wrong][0]
    others = int(wrong.sum()) - 1
    name = table["id_str"][first] if "id_str" in table else ""
    return f"row {first + 2}" + (f" ({name})" if name else "") + (f" and {others} more" if others else "")


def _is_fit_for_files(name: str) -> bool:
    return (
        0 < len(name.encode()) <= _MAX_NAME_BYTES
        and name.isprintable()
        and name[0] != "."
        and not set(name) & set("/\\:")
    )


# Counts are stored as float32, which holds whole numbers exactly up to here.
MAX_VOTES = 2**24


def read_counts(path: PathLike, table: pd.DataFrame, column: str) -> pd.Series:
    """A column of votes as float64, NaN where it is empty.

    Args:
        path: where the table is from, for the error.
        table: as `read_table` returns it.
        column: one of its columns.

    Raises:
        ValueError: the column holds something else than whole numbers >= 0.
    """
    counts = read_numbers(path, table, column)
    wrong = ~(counts.isna() | counts.between(0, MAX_VOTES) & (counts % 1 == 0))
    refuse(path, table, column, wrong, "votes must be whole numbers >= 0")
    return counts
