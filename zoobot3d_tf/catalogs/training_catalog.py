"""The training catalogue: a table from the astronomer, checked once, so that later stages need not doubt it.

A row is a galaxy. Errors name rows as a spreadsheet does: the header is row 1, the first galaxy row 2.
"""

import os
from pathlib import Path

import numpy as np
import pandas as pd

from zoobot3d_tf.files import PathLike
from zoobot3d_tf.images.masks import MAX_VOLUNTEERS, N_VOLUNTEERS
from zoobot3d_tf.schemas import Schema

_MASK_COLUMNS = ("spiral_mask_loc", "bar_mask_loc", "marks_loc")
_RANGES = {"ra": (0.0, 360.0), "dec": (-90.0, 90.0), "pixscale": (1e-6, 1e6)}

_TEXT_COLUMNS = ("id_str", "file_loc", *_MASK_COLUMNS)
# Counts are stored as float32, which holds whole numbers exactly up to here.
_MAX_VOTES = 2**24


def read_table(path: PathLike) -> pd.DataFrame:
    """Read a table of galaxies: CSV, Parquet, FITS or ECSV, by its suffix.

    Args:
        path: file named `*.csv`, `*.csv.gz`, `*.parquet`, `*.fits`, `*.fits.gz` or `*.ecsv`.

    Returns:
        All columns with one value a row. `id_str` and the columns of file names are text ('0123' keeps its zero), empty
        where the table has no value.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the suffix is another one, the file cannot be read, or `id_str` is stored as a fraction.
    """
    path = Path(path)
    readers = {".csv": _read_csv, ".parquet": _read_parquet, ".fits": _read_fits, ".ecsv": _read_ecsv}
    suffix = Path(path.name.lower().removesuffix(".gz")).suffix
    if suffix not in readers:
        raise ValueError(f"{path}: a catalogue's name must end in {', '.join(readers)}")
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such catalogue")
    try:
        table = readers[suffix](path)
    except Exception as error:  # parsers of four formats raise errors of every kind on damaged files
        raise ValueError(f"{path}: cannot be read as a {suffix[1:].upper()} table: {error}") from error
    for column in [name for name in _TEXT_COLUMNS if name in table]:
        if pd.api.types.is_float_dtype(table[column]) and table[column].notna().any():
            raise ValueError(f"{path}: {column} is stored as floating-point numbers; store it as text")
        table[column] = table[column].astype(object).where(table[column].notna(), "").astype(str).str.strip()
    return table


def read_training_catalog(
    path: PathLike,
    schema: Schema,
    image_root: PathLike | None = None,
    missing_questions_unasked: bool = False,
    labelled: bool = True,
) -> pd.DataFrame:
    """Read a catalogue, check all of it, and bring it into the one form that later stages know.

    Args:
        path: table of galaxies, see `read_table`. Needs `id_str`, `file_loc` and, if labelled, a column of votes for
            each answer of the schema; masks, `n_volunteers`, `ra`, `dec` and `pixscale` are optional. Other columns are
            ignored, and so are marks where there is a mask.
        schema: the decision tree.
        image_root: folder that relative file names start from; by default the catalogue's.
        missing_questions_unasked: take questions without any column as asked of nobody, rather than as an error.
        labelled: read votes and masks. If not, no galaxy has any.

    Returns:
        A row a galaxy, in the table's order: `id_str`; `file_loc` (absolute); votes, int64 in `schema.label_cols`, 0
        where unasked; `has_votes` (in any question); `spiral_mask_loc`, `bar_mask_loc`, `marks_loc` (absolute, '' where
        missing); `n_volunteers`, int64; `ra`, `dec` (degrees), `pixscale` (arcsec/pixel), NaN where missing.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the table cannot be read, lacks a column, repeats or omits an id, or has an impossible value; or no
            galaxy of a labelled catalogue has a vote or a mask.
    """
    table = read_table(path)
    if table.empty:
        raise ValueError(f"{path}: the catalogue has no rows")
    _require_columns(path, table, ["id_str", "file_loc"])
    _check_filled(path, table, "id_str")
    _check_filled(path, table, "file_loc")
    _check_unique(path, table)

    root = Path(image_root if image_root is not None else Path(path).parent).absolute()
    catalog = pd.DataFrame({"id_str": table["id_str"], "file_loc": _absolute(table["file_loc"], root)})
    if labelled:
        votes = _read_votes(path, table, schema, missing_questions_unasked)
    else:
        votes = pd.DataFrame(0, index=table.index, columns=schema.label_cols)
    catalog = pd.concat([catalog, votes], axis=1)
    catalog["has_votes"] = (votes > 0).any(axis=1)
    for column in _MASK_COLUMNS:
        catalog[column] = _absolute(table[column], root) if labelled and column in table else ""
    catalog["n_volunteers"] = _read_n_volunteers(path, table)
    for column in _RANGES:
        catalog[column] = _read_in_range(path, table, column)

    has_mask = (catalog[list(_MASK_COLUMNS)] != "").any(axis=1)
    if labelled and not (catalog["has_votes"] | has_mask).any():
        raise ValueError(f"{path}: no galaxy has a vote or a mask; a labelled catalogue needs some")
    return catalog


def _read_csv(path: Path) -> pd.DataFrame:
    table = pd.read_csv(path, encoding="utf-8-sig", low_memory=False)
    if not isinstance(table.index, pd.RangeIndex):
        raise ValueError("rows have more fields than the header has names")
    # Read by itself, text is not taken for a number or for a missing value: "0123" and "NA" are names as good as any.
    text = pd.read_csv(
        path, encoding="utf-8-sig", usecols=lambda name: name in _TEXT_COLUMNS, dtype=str, na_filter=False
    )
    table[text.columns] = text
    return table


def _read_parquet(path: Path) -> pd.DataFrame:
    table = pd.read_parquet(path)
    return table.reset_index(drop=table.index.name is None)


def _read_fits(path: Path) -> pd.DataFrame:
    from astropy.table import Table

    # Left to itself astropy masks empty strings, which pandas would then show as missing values.
    return _to_pandas(Table.read(path, format="fits", mask_invalid=False))


def _read_ecsv(path: Path) -> pd.DataFrame:
    from astropy.table import Table

    return _to_pandas(Table.read(path, format="ascii.ecsv"))


def _to_pandas(table) -> pd.DataFrame:
    table.convert_bytestring_to_unicode()
    return table[[name for name in table.colnames if table[name].ndim == 1]].to_pandas()


def _require_columns(path: PathLike, table: pd.DataFrame, columns: list[str], hint: str = "") -> None:
    missing = [column for column in columns if column not in table]
    if missing:
        raise ValueError(f"{path}: lacks the column{'s'[: len(missing) - 1]} {_shorten(missing)}{hint}")


def _check_filled(path: PathLike, table: pd.DataFrame, column: str) -> None:
    empty = table[column] == ""
    if empty.any():
        raise ValueError(f"{path}: {column} is empty in {_rows(table, empty)}")


def _check_unique(path: PathLike, table: pd.DataFrame) -> None:
    repeated = table["id_str"].duplicated()
    if repeated.any():
        first = table["id_str"] == table["id_str"][repeated].iloc[0]
        rows = " and ".join(str(row + 2) for row in np.flatnonzero(first)[:2])
        raise ValueError(
            f"{path}: id_str must be unique; {table['id_str'][repeated].iloc[0]!r} stands in rows {rows} "
            f"({int(repeated.sum())} repeated in all)"
        )


def _absolute(locations: pd.Series, root: Path) -> pd.Series:
    return pd.Series([os.path.join(root, loc) if loc else "" for loc in locations], index=locations.index, dtype=object)


def _read_votes(path: PathLike, table: pd.DataFrame, schema: Schema, missing_questions_unasked: bool) -> pd.DataFrame:
    absent = [q for q in schema.questions if not any(answer.text in table for answer in q.answers)]
    if missing_questions_unasked:
        table = table.reindex(columns=[*table.columns, *(answer.text for q in absent for answer in q.answers)])
    hint = f"; if nobody was asked {_shorten([q.text for q in absent])}, say --missing-questions-unasked"
    _require_columns(path, table, schema.label_cols, hint if absent else "")
    votes = pd.DataFrame({column: _numbers(path, table, column) for column in schema.label_cols})
    for column in schema.label_cols:
        wrong = ~(votes[column].isna() | votes[column].between(0, _MAX_VOTES) & (votes[column] % 1 == 0))
        _refuse(path, table, column, wrong, "votes must be whole numbers >= 0")
    for question in schema.questions:
        columns = [answer.text for answer in question.answers]
        asked = (votes[columns] > 0).any(axis=1)
        for column in columns:
            _refuse(
                path, table, column, votes[column].isna() & asked, f"{question.text} has votes there; write 0 if none"
            )
    return votes.fillna(0).astype(np.int64)


def _read_n_volunteers(path: PathLike, table: pd.DataFrame) -> pd.Series:
    if "n_volunteers" not in table:
        return pd.Series(N_VOLUNTEERS, index=table.index)
    numbers = _numbers(path, table, "n_volunteers").fillna(N_VOLUNTEERS)
    wrong = ~(numbers.between(1, MAX_VOLUNTEERS) & (numbers % 1 == 0))
    _refuse(path, table, "n_volunteers", wrong, f"it must be a whole number from 1 to {MAX_VOLUNTEERS}")
    return numbers.astype(np.int64)


def _read_in_range(path: PathLike, table: pd.DataFrame, column: str) -> pd.Series:
    if column not in table:
        return pd.Series(np.nan, index=table.index)
    numbers = _numbers(path, table, column)
    low, high = _RANGES[column]
    _refuse(path, table, column, ~(numbers.isna() | numbers.between(low, high)), f"it must be from {low:g} to {high:g}")
    return numbers


def _numbers(path: PathLike, table: pd.DataFrame, column: str) -> pd.Series:
    """A column as float64, NaN where it is empty."""
    numbers = pd.to_numeric(table[column], errors="coerce").astype(np.float64)
    is_text = numbers.isna() & table[column].notna() & (table[column].astype(str).str.strip() != "")
    _refuse(path, table, column, is_text, "it must be a number")
    return numbers


def _refuse(path: PathLike, table: pd.DataFrame, column: str, wrong: pd.Series, rule: str) -> None:
    """Raise a ValueError about the first row that is wrong, if any is."""
    if wrong.any():
        value = table[column][wrong].iloc[0]
        received = "empty" if pd.isna(value) else repr(value.item() if isinstance(value, np.generic) else value)
        raise ValueError(f"{path}: {column} is {received} in {_rows(table, wrong)}; {rule}")


def _shorten(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _rows(table: pd.DataFrame, wrong: pd.Series) -> str:
    """Name the first wrong row by number and id, and say how many others there are."""
    first = int(np.flatnonzero(wrong)[0])
    others = int(wrong.sum()) - 1
    name = table["id_str"].iloc[first]
    return f"row {first + 2}" + (f" ({name})" if name else "") + (f" and {others} more" if others else "")
