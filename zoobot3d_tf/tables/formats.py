"""Tables of galaxies in the formats that astronomers keep them in, and the checks that every reader of one needs.

Errors name rows as a spreadsheet does: the header is row 1, the first galaxy row 2.
"""

import gzip
import io
import re
import tarfile
from collections.abc import Callable
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import numpy as np
import pandas as pd

from zoobot3d_tf.files import PathLike, whole_file
from zoobot3d_tf.tables.columns import read_text

if TYPE_CHECKING:
    import pyarrow as pa

# Compressed files unpack in memory. No catalogue in use is larger; a file that claims to be is broken or a trap.
MAX_INFLATED_BYTES = 4 * 1024**3

# Names of galaxies, also those that a cross-match brought along, and of files.
_TEXT_COLUMN = re.compile(r"id_str(_\w+)?|\w+_loc")
_TEXT_TYPE = pd.Series([""]).dtype  # `str`, or `object` before pandas 3
_LARGEST_EXACT_FLOAT = 2**53


def read_table(path: PathLike) -> pd.DataFrame:
    """Read a table of galaxies: CSV, Parquet, FITS, ECSV or VOTable, by its suffix.

    Args:
        path: file named `*.csv`, `*.parquet`, `*.fits`, `*.ecsv`, `*.vot`, `*.votable` or `*.xml`, or one of these with
            `.gz` behind; or `*.tar.gz` or `*.tgz`, holding one FITS table.

    Returns:
        All columns with one value a row, in this machine's byte order; bytes become text and masked values missing.
        `id_str`, `id_str_<other>` and the columns of file names are text ('0123' keeps its zero), empty where the table
        has no value. Whole numbers too long for a float keep their digits, as `Int64`, beside missing ones.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the suffix is another one, the file cannot be read, inflates to more than 4 GB, or `id_str` is
            stored as a fraction.
    """
    path = Path(path)
    name = path.name.lower()
    suffix = ".tar" if name.endswith(".tgz") else PurePath(name.removesuffix(".gz")).suffix
    if suffix not in _READERS:
        raise ValueError(f"{path}: a catalogue's name must end in {', '.join(_READERS)}, with or without .gz")
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such catalogue")
    try:
        with _inflate(path) if name.endswith((".gz", ".tgz")) else path.open("rb") as file:
            table = _READERS[suffix](file)
    except Exception as error:  # parsers of many formats raise errors of every kind on damaged files
        raise ValueError(f"{path}: cannot be read as a {suffix[1:].upper()} table: {error}") from error
    return _with_text(path, table)


def from_arrow(path: PathLike, table: "pa.Table") -> pd.DataFrame:
    """Rows of a Parquet file that were read with Arrow, as `read_table` would return them.

    Args:
        path: where the rows are from, for the error.
        table: the rows.

    Returns:
        See `read_table`.

    Raises:
        ValueError: `id_str` is stored as a fraction.
    """
    return _with_text(path, _from_arrow(table))


def write_table(table: pd.DataFrame, path: PathLike) -> Path:
    """Write a table as CSV, Parquet, FITS or ECSV, by the suffix; the file is whole or absent. The index is left out.

    Args:
        table: a row a galaxy.
        path: file named `*.csv`, `*.parquet`, `*.fits` or `*.ecsv`; replaced if it is there. Its folder is made.

    Returns:
        The path.

    Raises:
        ValueError: the suffix is another one, or the format cannot hold a column.
        OSError: the file cannot be written.
    """
    path = check_writable(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with whole_file(path) as partial:
            _WRITERS[path.suffix.lower()](table, partial)
    except OSError:
        raise
    except Exception as error:  # Arrow and Astropy raise errors of their own on columns that they cannot hold
        raise ValueError(f"{path}: cannot be written as a {path.suffix[1:].upper()} table: {error}") from error
    return path


def check_writable(path: PathLike) -> Path:
    """Refuse a name that `write_table` would refuse, before long work rather than after it.

    Returns:
        The path.

    Raises:
        ValueError: the suffix is none of those that `write_table` knows.
        IsADirectoryError: a folder has that name.
    """
    path = Path(path)
    if path.suffix.lower() not in _WRITERS:
        raise ValueError(f"{path}: the name of a table to write must end in {', '.join(_WRITERS)}")
    if path.is_dir():
        raise IsADirectoryError(f"{path}: is a folder; give the table another name")
    return path


def _with_text(path: PathLike, table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(**{name: read_text(path, table, name) for name in _text_columns(table)})


def _text_columns(table: pd.DataFrame) -> list[str]:
    """Columns of names and paths. Numbers in a column that only ends as paths do stay numbers."""
    names = [str(name) for name in table if _TEXT_COLUMN.fullmatch(str(name))]
    return [name for name in names if not name.endswith("_loc") or not _holds_floats(table[name])]


def _holds_floats(column: pd.Series) -> bool:
    return pd.api.types.is_float_dtype(column) and bool(column.notna().any())


def _inflate(path: Path) -> BinaryIO:
    content = io.BytesIO()
    with gzip.open(path) as file:
        while chunk := file.read(2**20):
            content.write(chunk)
            if content.tell() > MAX_INFLATED_BYTES:
                raise ValueError(f"inflates to more than {MAX_INFLATED_BYTES} bytes")
    content.seek(0)
    return content


def _read_csv(file: BinaryIO) -> pd.DataFrame:
    table = pd.read_csv(file, encoding="utf-8-sig", low_memory=False, dtype_backend="numpy_nullable")
    if not isinstance(table.index, pd.RangeIndex):
        raise ValueError("rows have more fields than the header has names")
    table = table.astype({name: _plain_type(column) for name, column in table.items()})
    # Read by itself, text is not taken for a number or for a missing value: "0123" and "NA" are names as good as any.
    file.seek(0)
    texts = _text_columns(table)
    names = pd.read_csv(file, encoding="utf-8-sig", usecols=texts, dtype=str, na_filter=False)
    table[names.columns] = names
    return table


def _plain_type(column: pd.Series) -> Any:
    """The type that pandas gives a column by itself, except that long whole numbers keep their digits beside gaps."""
    if pd.api.types.is_string_dtype(column):
        return _TEXT_TYPE
    if not column.hasnans:
        return cast(Any, column.dtype).numpy_dtype
    if pd.api.types.is_bool_dtype(column):
        return object
    is_long = pd.api.types.is_integer_dtype(column) and (column.abs() > _LARGEST_EXACT_FLOAT).any()
    return column.dtype if is_long else np.float64


def _read_parquet(file: BinaryIO) -> pd.DataFrame:
    import pyarrow.parquet as pq

    return _from_arrow(pq.read_table(file))


def _from_arrow(arrow: "pa.Table") -> pd.DataFrame:
    import pyarrow as pa

    table = arrow.to_pandas(types_mapper={pa.int64(): pd.Int64Dtype(), pa.uint64(): pd.UInt64Dtype()}.get)
    nullable = table.select_dtypes(["Int64", "UInt64"])
    table = table.astype({name: _plain_type(column) for name, column in nullable.items()})
    return table.reset_index(drop=table.index.name is None)


def _read_fits(file: BinaryIO) -> pd.DataFrame:
    # Left to itself astropy masks empty strings, which pandas would then show as missing values.
    return _read_with_astropy(file, format="fits", mask_invalid=False)


def _read_ecsv(file: BinaryIO) -> pd.DataFrame:
    return _read_with_astropy(file, format="ascii.ecsv")


def _read_votable(file: BinaryIO) -> pd.DataFrame:
    return _read_with_astropy(file, format="votable")


def _read_tar(file: BinaryIO) -> pd.DataFrame:
    """The one FITS table of an archive. Members are read where they are: their names decide nothing on disk."""
    with tarfile.open(fileobj=file, mode="r:") as archive:
        # What macOS adds for its own use has the same names with "._" in front.
        tables = [
            member
            for member in archive
            if member.isfile()
            and member.name.lower().endswith(".fits")
            and not PurePath(member.name).name.startswith("._")
        ]
        if len(tables) != 1:
            raise ValueError(f"holds {len(tables)} files *.fits; it must hold one FITS table")
        # A sparse member is longer than the archive itself.
        if tables[0].size > MAX_INFLATED_BYTES:
            raise ValueError(f"{tables[0].name} in it inflates to more than {MAX_INFLATED_BYTES} bytes")
        return _read_fits(io.BytesIO(cast(BinaryIO, archive.extractfile(tables[0])).read()))


def _read_with_astropy(file: BinaryIO, **how: object) -> pd.DataFrame:
    from astropy.table import Column, Table

    table = Table.read(file, **how)
    # ECSV may hold columns of times and of positions as well.
    table = table[[name for name in table.colnames if isinstance(table[name], Column) and table[name].ndim == 1]]
    table.convert_bytestring_to_unicode()
    return table.to_pandas()


def _write_csv(table: pd.DataFrame, path: Path) -> None:
    table.to_csv(path, index=False, lineterminator="\n")


def _write_parquet(table: pd.DataFrame, path: Path) -> None:
    table.to_parquet(path, index=False)


def _write_fits(table: pd.DataFrame, path: Path) -> None:
    from astropy.table import Table

    for name, column in table.items():
        if pd.api.types.is_bool_dtype(column) and column.hasnans:
            raise ValueError(f"{name} has missing truth values, which FITS cannot hold")
    Table.from_pandas(table).write(path, format="fits", overwrite=True)


def _write_ecsv(table: pd.DataFrame, path: Path) -> None:
    from astropy.table import Table

    Table.from_pandas(table).write(path, format="ascii.ecsv", overwrite=True)


_READERS: dict[str, Callable[[BinaryIO], pd.DataFrame]] = {
    ".csv": _read_csv,
    ".parquet": _read_parquet,
    ".fits": _read_fits,
    ".ecsv": _read_ecsv,
    ".vot": _read_votable,
    ".votable": _read_votable,
    ".xml": _read_votable,
    ".tar": _read_tar,
}
_WRITERS: dict[str, Callable[[pd.DataFrame, Path], None]] = {
    ".csv": _write_csv,
    ".parquet": _write_parquet,
    ".fits": _write_fits,
    ".ecsv": _write_ecsv,
}
