"""Tables of galaxies read and written: CSV, Parquet, FITS, ECSV and VOTable files, one row per galaxy."""

import gzip
import io
import tarfile
from collections.abc import Callable
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import numpy as np
import pandas as pd

from zoobot3d_tf.files import PathLike, check_output, whole_file
from zoobot3d_tf.tables.columns import holds_floats, is_path_column, read_text

if TYPE_CHECKING:
    import pyarrow as pa

MAX_INFLATED_BYTES = 4 * 1024**3
"""Largest size of the content of a compressed file, which is held in memory. No published catalogue comes near it."""

_TEXT_TYPE = pd.Series([""]).dtype  # `str`, or `object` before pandas 3
_LARGEST_EXACT_FLOAT = 2**53


def read_table(path: PathLike) -> pd.DataFrame:
    """Read a table of galaxies. The suffix of the file gives the format.

    Args:
        path: file named `*.csv`, `*.parquet`, `*.fits`, `*.ecsv`, `*.vot`, `*.votable` or `*.xml`, with or without
            `.gz` at the end; or an archive `*.tar`, `*.tar.gz` or `*.tgz` that holds one FITS table.

    Returns:
        All columns that have one value per row, in the byte order of this machine. Bytes become text, masked values
        missing values. Three kinds of columns become text without spaces around it ('0123' keeps its zero), '' where
        the cell is empty: `id_str`, `id_str_<other>` and, unless they hold floating-point numbers, `*_loc`. Integers
        that a float cannot hold exactly keep their digits if the column has missing values, as `Int64`.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the suffix is unknown; the file cannot be read; its content is larger than `MAX_INFLATED_BYTES`; or
            a column of ids holds floating-point numbers.
    """
    path = Path(path)
    name = path.name.lower()
    suffix = ".tar" if name.endswith(".tgz") else PurePath(name.removesuffix(".gz")).suffix
    if suffix not in _READERS:
        raise ValueError(f"{path}: the name of a catalogue must end in {', '.join(_READERS)}, with or without .gz")
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such catalogue")
    try:
        with _inflate(path) if name.endswith((".gz", ".tgz")) else path.open("rb") as file:
            table = _READERS[suffix](file)
    except Exception as error:  # the parsers raise errors of every type on damaged files
        raise ValueError(f"{path}: cannot be read as a {suffix[1:].upper()} table: {error}") from error
    return _with_text(path, table)


def from_arrow(path: PathLike, table: "pa.Table") -> pd.DataFrame:
    """Convert rows of a Parquet file, read with Arrow, to the table that `read_table` returns.

    Args:
        path: path of the file, for errors.
        table: rows of the file.

    Returns:
        The same rows; see `read_table`.

    Raises:
        ValueError: a column of ids holds floating-point numbers.
    """
    return _with_text(path, _from_arrow(table))


def write_table(table: pd.DataFrame, path: PathLike) -> Path:
    """Write a table. The suffix of the file gives the format. The file is complete or absent.

    Args:
        table: one row per galaxy. The index is not written.
        path: file named `*.csv`, `*.parquet`, `*.fits` or `*.ecsv`. It is replaced if it exists, and its folder is
            made if it is missing.

    Returns:
        Path of the file.

    Raises:
        ValueError: the suffix is unknown, or the format cannot hold a column.
        OSError: the file cannot be written.
    """
    path = check_writable(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with whole_file(path) as partial:
            _WRITERS[path.suffix.lower()](table, partial)
    except OSError:
        raise
    except Exception as error:  # Arrow and Astropy raise errors of many types on columns that they cannot hold
        raise ValueError(f"{path}: cannot be written as a {path.suffix[1:].upper()} table: {error}") from error
    return path


def check_writable(path: PathLike) -> Path:
    """Check that `write_table` can write a file, before the work rather than after it.

    Args:
        path: path of the table.

    Returns:
        The path.

    Raises:
        ValueError: the suffix is none that `write_table` knows.
        OSError: the path is a folder, or its folder cannot be made or written.
    """
    path = Path(path)
    check_output(path, "table", tuple(_WRITERS), make_folder=True)
    return path


def _with_text(path: PathLike, table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(**{name: read_text(path, table, name) for name in _text_columns(table)})


def _text_columns(table: pd.DataFrame) -> list[str]:
    """Columns of ids and of paths. `*_loc` may be somebody else's column of numbers, ids must never be floats."""
    names = [str(name) for name in table]
    ids = [name for name in names if name == "id_str" or name.startswith("id_str_")]
    return ids + [name for name in names if is_path_column(name) and not holds_floats(table[name])]


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
    texts = _text_columns(table)
    table = table.astype({name: _plain_type(column) for name, column in table.items()})
    # Ids are read again as text, so that "0123" does not become a number, nor "NA" a missing value.
    file.seek(0)
    names = pd.read_csv(file, encoding="utf-8-sig", usecols=texts, dtype=str, na_filter=False)
    table[names.columns] = names
    return table


def _plain_type(column: pd.Series) -> Any:
    """Return the type that pandas gives a column by default, but a nullable one for long integers with gaps."""
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
    # By default astropy masks empty strings, which pandas would show as missing values.
    return _read_with_astropy(file, format="fits", mask_invalid=False)


def _read_ecsv(file: BinaryIO) -> pd.DataFrame:
    return _read_with_astropy(file, format="ascii.ecsv")


def _read_votable(file: BinaryIO) -> pd.DataFrame:
    return _read_with_astropy(file, format="votable")


def _read_tar(file: BinaryIO) -> pd.DataFrame:
    """Read the FITS table of an archive. Nothing is unpacked to disk, so that names of members cannot do harm."""
    with tarfile.open(fileobj=file, mode="r:") as archive:
        # macOS adds files of its own, whose names begin with "._".
        tables = [
            member
            for member in archive
            if member.isfile()
            and member.name.lower().endswith(".fits")
            and not PurePath(member.name).name.startswith("._")
        ]
        if len(tables) != 1:
            raise ValueError(f"holds {len(tables)} files *.fits; it must hold one FITS table")
        # A sparse member can be larger than its archive.
        if tables[0].size > MAX_INFLATED_BYTES:
            raise ValueError(f"{tables[0].name} inflates to more than {MAX_INFLATED_BYTES} bytes")
        return _read_fits(io.BytesIO(cast(BinaryIO, archive.extractfile(tables[0])).read()))


def _read_with_astropy(file: BinaryIO, **how: object) -> pd.DataFrame:
    from astropy.table import Column, Table

    table = Table.read(file, **how)
    # ECSV files may also hold columns of times and sky coordinates.
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
            raise ValueError(f"{name} has missing truth values, which a FITS table cannot hold")
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
