"""Columns of tables of galaxies: read, checked, and named in errors.

Every function that reads or checks a column takes the path of the table, the table as `formats.read_table` returns it,
and the name of the column. The path is only used in errors. Errors number rows as a spreadsheet does: the header is
row 1, the first galaxy row 2.
"""

import difflib
import math
import os
import re
from collections.abc import Callable, Hashable, Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd

from zoobot3d_tf.files import PathLike

RA_RANGE = (-360.0, 720.0)
"""Accepted right ascensions, degrees: one turn around 0 to 360, since some catalogues count from -180 to 180."""
DEC_RANGE = (-90.0, 90.0)
"""Accepted declinations, degrees."""
PIXSCALE_RANGE = (1e-6, 1e6)
"""Accepted pixel scales, arcsec per pixel."""
MAX_VOTES = 2**24
"""Largest number of votes for an answer. Shards store votes as float32, which is exact for whole numbers up to here."""

# Columns of a catalogue, which other programs may write in capitals.
_STANDARD_NAMES = re.compile(
    r"id_str|(file|marks|\w+_mask)_loc|(cutout_)?(ra|dec)|pixscale|n_volunteers|split", re.IGNORECASE
)
_STANDARD_UNITS = {
    "deg": re.compile(r"((cutout|wcs)_)?(ra|dec)|(ra|dec)_(desi|manga|obj|ifu)", re.IGNORECASE),
    "arcsec": re.compile(r"(\w+_)?pixscale", re.IGNORECASE),
}
_UNIT_WORDS = {"deg": "degrees", "arcsec": "arcsec per pixel"}
# Names of units that Astropy does not know, or takes for those of time.
_UNIT_NAMES = {
    **dict.fromkeys(("degree", "degrees", "decimal degrees"), "deg"),
    **dict.fromkeys(("radian", "radians"), "rad"),
    **dict.fromkeys(("arcminute", "arcminutes", "arcmins"), "arcmin"),
    **dict.fromkeys(("arcsecond", "arcseconds", "arcsecs", '"'), "arcsec"),
    **dict.fromkeys(("h", "hr", "hour", "hours", "hour angle"), "hourangle"),
}
# As spreadsheets and Python write floating-point numbers; `1e5` is a name.
_FLOAT_ID = r"[-+]?(\d+\.0*|\d+(\.\d+)?[eE]\+\d+)"

# Names that are compared with a wrong one, in search of the nearest.
_MOST_COMPARED = 50_000
# File systems allow 255 bytes. The names of files add words to the name of the galaxy.
_MAX_NAME_BYTES = 150


def read_numbers(path: PathLike, table: pd.DataFrame, column: str) -> pd.Series:
    """Read a column of numbers.

    Args:
        path: path of the table.
        table: table as `read_table` returns it.
        column: name of the column.

    Returns:
        One float64 per row, NaN where the cell is empty.

    Raises:
        ValueError: a cell holds neither a number nor nothing.
    """
    if pd.api.types.is_numeric_dtype(table[column]):
        return table[column].astype(np.float64)
    plain = table[column].map(lambda value: value if np.isscalar(value) else np.nan)  # not lists, as Parquet may hold
    values = pd.to_numeric(plain, errors="coerce").astype(np.float64)
    is_text = values.isna() & table[column].notna() & (table[column].map(str).str.strip() != "")
    refuse(path, table, column, is_text, "it must be a number")
    return values


def read_counts(path: PathLike, table: pd.DataFrame, column: str) -> pd.Series:
    """Read a column of numbers of votes.

    Args:
        path: path of the table.
        table: table as `read_table` returns it.
        column: name of the column.

    Returns:
        One float64 per row, NaN where the cell is empty.

    Raises:
        ValueError: a value is not a whole number from 0 to `MAX_VOTES`.
    """
    counts = read_numbers(path, table, column)
    is_wrong = ~(counts.isna() | counts.between(0, MAX_VOTES) & (counts % 1 == 0))
    refuse(path, table, column, is_wrong, f"votes must be whole numbers >= 0, at most {MAX_VOTES}")
    return counts


def read_ra(path: PathLike, table: pd.DataFrame, column: str) -> pd.Series:
    """Read a column of right ascensions.

    Args:
        path: path of the table.
        table: table as `read_table` returns it.
        column: name of the column.

    Returns:
        Right ascensions in degrees, float64, from 0 to below 360; see `wrap_ra`. NaN where the cell is empty.

    Raises:
        ValueError: a value is not a number in `RA_RANGE`.
    """
    return wrap_ra(_read_in_range(path, table, column, RA_RANGE, "deg"))


def read_dec(path: PathLike, table: pd.DataFrame, column: str) -> pd.Series:
    """Read a column of declinations.

    Args:
        path: path of the table.
        table: table as `read_table` returns it.
        column: name of the column.

    Returns:
        Declinations in degrees, float64. NaN where the cell is empty.

    Raises:
        ValueError: a value is not a number in `DEC_RANGE`.
    """
    return _read_in_range(path, table, column, DEC_RANGE, "deg")


def read_pixscale(path: PathLike, table: pd.DataFrame, column: str) -> pd.Series:
    """Read a column of pixel scales.

    Args:
        path: path of the table.
        table: table as `read_table` returns it.
        column: name of the column.

    Returns:
        Pixel scales in arcsec per pixel, float64. NaN where the cell is empty.

    Raises:
        ValueError: a value is not a number in `PIXSCALE_RANGE`.
    """
    return _read_in_range(path, table, column, PIXSCALE_RANGE, "arcsec")


def read_positions(path: PathLike, table: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Read positions on the sky.

    Args:
        path: path of the table.
        table: table as `read_table` returns it.
        columns: names of the columns of right ascension and declination; see `find_columns`.

    Returns:
        `ra` and `dec` as `read_ra` and `read_dec` return them, for the rows that have both, with the index of the
        table.

    Raises:
        ValueError: there are not two columns, the table lacks one, or a value is not a number or out of range.
    """
    if len(columns) != 2:
        raise ValueError(f"a position is two columns, right ascension and declination; received {', '.join(columns)}")
    ra, dec = find_columns(path, table.columns, columns)
    return pd.DataFrame({"ra": read_ra(path, table, ra), "dec": read_dec(path, table, dec)}).dropna()


def read_image_positions(path: PathLike, table: pd.DataFrame) -> pd.DataFrame:
    """Read the positions of the centres of images.

    Args:
        path: path of the table.
        table: table as `read_table` returns it.

    Returns:
        `ra` and `dec` in degrees, as `read_positions` returns them, with the index of the table: of the columns
        `cutout_ra`, `cutout_dec` where the row has them, else of `ra`, `dec`. NaN where the row has neither.

    Raises:
        ValueError: one of the two columns is missing, or a value is not a number or out of range.
    """
    positions = pd.DataFrame(np.nan, index=table.index, columns=["ra", "dec"])
    for columns in (["cutout_ra", "cutout_dec"], ["ra", "dec"]):
        if not table.columns.intersection(columns).empty:
            positions = positions.fillna(read_positions(path, table, columns))
    return positions


def wrap_ra(ra: pd.Series) -> pd.Series:
    """Bring right ascensions to the range from 0 to below 360 degrees.

    Args:
        ra: right ascensions in degrees, any finite number or NaN.

    Returns:
        The same directions. Values that are in the range already do not change.
    """
    wrapped = ra % 360
    # The remainder of a tiny negative number is rounded to 360.
    return wrapped.mask(wrapped == 360, 0.0)


def read_text(path: PathLike, table: pd.DataFrame, column: str) -> pd.Series:
    """Read a column of text, such as names or paths.

    Args:
        path: path of the table.
        table: table as `read_table` returns it.
        column: name of the column.

    Returns:
        One `str` per row, without spaces around it, '' where the cell is empty.

    Raises:
        ValueError: the column holds floating-point numbers, which cannot be converted to text without a guess of their
            digits.
    """
    values = table[column]
    if holds_floats(values):
        raise ValueError(
            f"{path}: {column} is stored as floating-point numbers, which lose digits; store it as text or as integers"
        )
    return values.astype(object).where(values.notna(), "").astype(str).str.strip()


def refuse_damaged_ids(path: PathLike, table: pd.DataFrame, column: str) -> None:
    """Refuse a column of ids, read as text, that show that the table was written or read in a wrong way.

    Args:
        path: path of the table.
        table: table as `read_table` returns it.
        column: name of the column of ids.

    Raises:
        ValueError: an id was a floating-point number, as 5.88018E+17 or 588018090547020096.0; or is not UTF-8 text.
    """
    ids = table[column]
    rule = (
        "it was a floating-point number, which loses digits; write the ids as text or as integers, and import them as "
        "text in a spreadsheet"
    )
    refuse(path, table, column, ids.str.fullmatch(_FLOAT_ID), rule)
    refuse(path, table, column, ids.str.contains("\ufffd", regex=False), "it must be UTF-8 text")


def id_fault(id_str: str) -> str:
    """Say why a text cannot be the id of a galaxy. This is the rule for ids, wherever they come from.

    Ids are written to tables and are parts of the names of files. A spreadsheet that opens a table executes texts that
    begin like a formula.

    Args:
        id_str: id of a galaxy, without spaces around it.

    Returns:
        What is wrong, such as "is empty", or '' if the id can be used.
    """
    if not id_str:
        return "is empty"
    if not _is_encodable(id_str):
        return "is not UTF-8 text"
    if not id_str.isprintable():
        return f"holds the control character {next(letter for letter in id_str if not letter.isprintable())!r}"
    if id_str[0] in "=+@" or (id_str[0] == "-" and not id_str[1:].isdecimal()):
        return f"begins with {id_str[0]!r}, which spreadsheets take for a formula"
    return ""


def listed_id(id_str: str) -> str:
    """Write an id for a list of failures: in quotes if it is unfit, so that a spreadsheet can open the list."""
    return repr(id_str) if id_fault(id_str) else id_str


def file_name_fault(id_str: str) -> str:
    """Say why a text cannot be an id that names files; see `id_fault`.

    Args:
        id_str: id of a galaxy, without spaces around it.

    Returns:
        What is wrong, or '' if the id can be part of the name of a file.
    """
    if fault := id_fault(id_str):
        return fault
    if len(id_str.encode()) > _MAX_NAME_BYTES:
        return f"has more than {_MAX_NAME_BYTES} bytes, and names files"
    if id_str[0] == "." or set(id_str) & set("/\\:"):
        return "names files, and must have no dot at the start, and no / \\ or :"
    return ""


def check_ids(path: PathLike, table: pd.DataFrame, column: str = "id_str") -> None:
    """Refuse a table with an id that `id_fault` finds unfit, naming its row.

    Args:
        path: path of the table.
        table: table as `read_table` returns it.
        column: name of the column of ids.

    Raises:
        ValueError: an id is unfit.
    """
    _refuse_faults(path, table, column, id_fault)


def holds_floats(values: pd.Series) -> bool:
    """Whether a column holds at least one floating-point number."""
    return pd.api.types.is_float_dtype(values) and bool(values.notna().any())


def is_path_column(name: Hashable) -> bool:
    """Whether a column holds paths of files by its name, `*_loc`."""
    return str(name).endswith("_loc")


def is_standard(name: str) -> bool:
    """Whether a column has the name, in any case of letters, of a column of a catalogue."""
    return _STANDARD_NAMES.fullmatch(name) is not None


def standard_unit(name: str) -> str:
    """Unit of a column by its name: deg for positions, arcsec for pixel scales, '' for other columns."""
    return next((unit for unit, pattern in _STANDARD_UNITS.items() if pattern.fullmatch(name)), "")


def convert_unit(name: str, values: pd.Series, stated: str, unit: str) -> pd.Series:
    """Convert a column of angles to another unit.

    Args:
        name: name of the column, for errors.
        values: the column.
        stated: its unit, such as rad, hourangle or arcmin / pix.
        unit: unit to convert to, deg or arcsec.

    Returns:
        The converted column, or the column itself if it has the unit already.

    Raises:
        ValueError: the unit is unknown or not one of angles, or the column holds text in another unit.
    """
    from astropy import units

    text = re.sub(r"\s*(/\s*pix(el)?|\s+pix(el)?-1)\s*$", "", stated.strip(), flags=re.IGNORECASE)
    try:
        factor = units.Unit(_UNIT_NAMES.get(text.lower(), text)).to(unit)
        factor = round(factor) if math.isclose(factor, round(factor), rel_tol=1e-14) else factor  # 15 of an hour
        return values if factor == 1 else pd.to_numeric(values) * factor
    except (ValueError, TypeError, units.UnitsError):
        raise ValueError(f"{name} has the unit {stated!r}; it must be {unit}, or numbers in a unit of angles") from None


def move_paths(table: pd.DataFrame, old: Path, new: Path) -> pd.DataFrame:
    """Make the relative paths of a table relative to another folder.

    Args:
        table: table as `read_table` returns it. Its columns `*_loc` hold paths.
        old: folder that the relative paths start from.
        new: folder that they start from afterwards.

    Returns:
        A copy of the table. Absolute paths, empty cells and numbers do not change.
    """
    # The folder above a symbolic link is the folder above its target.
    old, new = old.resolve(), new.resolve()

    def move(loc: object) -> object:
        is_relative = isinstance(loc, str) and loc and not os.path.isabs(loc)
        return os.path.relpath(old / cast(str, loc), new) if is_relative else loc

    return table.assign(**{name: table[name].map(move) for name in table.columns if is_path_column(name)})


def check_file_names(path: PathLike, table: pd.DataFrame) -> None:
    """Check that every `id_str` is unique and can be part of the name of a file.

    Args:
        path: path of the table.
        table: table as `read_table` returns it.

    Raises:
        ValueError: the table has no rows or no column `id_str`; or an id is repeated or unfit, see `file_name_fault`.
    """
    if table.empty:
        raise ValueError(f"{path}: the catalogue has no rows")
    require_columns(path, table.columns, ["id_str"])
    _refuse_faults(path, table, "id_str", file_name_fault)
    refuse(path, table, "id_str", table["id_str"].duplicated(), "it must be unique")


def require_columns(path: PathLike, present: Iterable[Hashable], columns: Sequence[str], hint: str = "") -> None:
    """Check that a table has some columns.

    Args:
        path: path of the table.
        present: names of the columns of the table.
        columns: names of the required columns.
        hint: text to add to the error.

    Raises:
        ValueError: a column is missing; the error names all missing columns.
    """
    present = set(present)
    missing = [column for column in columns if column not in present]
    if missing:
        suggestion = suggest(missing[0], present)
        raise ValueError(f"{path}: lacks the column{'s'[: len(missing) - 1]} {shorten(missing)}{hint}{suggestion}")


def find_columns(path: PathLike, present: Iterable[Hashable], columns: Sequence[str]) -> list[str]:
    """Find columns by their names; where there is no such column, by their names in another case of letters.

    Args:
        path: path of the table.
        present: names of the columns of the table.
        columns: names to find.

    Returns:
        The names that the table has.

    Raises:
        ValueError: a column is missing.
    """
    names = [str(name) for name in present]
    found = []
    for column in columns:
        alike = [name for name in names if name.lower() == column.lower()]
        found.append(alike[0] if column not in names and len(alike) == 1 else column)
    require_columns(path, names, found)
    return found


def suggest(name: str, present: Iterable[Hashable]) -> str:
    """Suggest the nearest of the names of columns, or of ids, as in '; did you mean bar_No?'; '' if none is near.

    Of more than `_MOST_COMPARED` names, only the first are compared, which takes a second or two.
    """
    by_lower = {str(known).lower(): str(known) for known in islice(present, _MOST_COMPARED)}
    close = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.8)
    return f"; did you mean {by_lower[close[0]]}?" if close else ""


def refuse(path: PathLike, table: pd.DataFrame, column: str, wrong: pd.Series, rule: str) -> None:
    """Raise an error about the wrong values of a column, if there are any.

    Args:
        path: path of the table.
        table: table as `read_table` returns it.
        column: name of the column.
        wrong: one truth value per row: whether the value of the row is wrong.
        rule: description of a correct value, such as "it must be a number".

    Raises:
        ValueError: a value is wrong. The error gives the first wrong value and its row.
    """
    if wrong.any():
        value = table[column][wrong].iloc[0]
        received = (
            "empty"
            if np.ndim(value) == 0 and pd.isna(value)
            else repr(value.item() if isinstance(value, np.generic) else value)
        )
        raise ValueError(f"{path}: {column} is {received} in {name_rows(table, wrong)}; {rule}")


def name_rows(table: pd.DataFrame, wrong: pd.Series) -> str:
    """Name the first of some rows by number and id, and count the others, as in 'row 4 (J2) and 1 more'."""
    first = table.index[wrong][0]
    others = int(wrong.sum()) - 1
    name = str(table["id_str"][first]) if "id_str" in table else ""
    name = name if name.isprintable() else repr(name)
    return f"row {first + 2}" + (f" ({name})" if name else "") + (f" and {others} more" if others else "")


def shorten(names: Sequence[str]) -> str:
    """Join the first names of a list that may be long, as in 'a, b, c, d, e and 7 more'."""
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _read_in_range(
    path: PathLike, table: pd.DataFrame, column: str, limits: tuple[float, float], unit: str
) -> pd.Series:
    numbers = read_numbers(path, table, column)
    stated = table.attrs.get("units", {}).get(column)
    if stated:
        try:
            numbers = convert_unit(column, numbers, stated, unit)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
    low, high = limits
    is_wrong = ~(numbers.isna() | numbers.between(low, high))
    refuse(path, table, column, is_wrong, f"it must be from {low:g} to {high:g} {_UNIT_WORDS[unit]}")
    return numbers


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # bytes of a name of a file that are not UTF-8
        return False
    return True


def _refuse_faults(path: PathLike, table: pd.DataFrame, column: str, find_fault: Callable[[str], str]) -> None:
    faults = table[column].map(find_fault).astype(object)
    wrong = faults != ""
    if wrong.any():
        refuse(path, table, column, wrong, f"it {faults[wrong].iloc[0]}")
