"""Tables of galaxies read and written: CSV, Parquet, FITS, ECSV and VOTable files, one row per galaxy."""

import bz2
import gzip
import io
import os
import re
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import numpy as np
import pandas as pd

from zoobot3d_tf.files import PathLike, check_output, path_of, whole_file
from zoobot3d_tf.tables.astropy_files import from_astropy, read_ecsv, read_fits, read_votable
from zoobot3d_tf.tables.columns import (
    holds_floats,
    is_path_column,
    is_standard,
    listed_id,
    read_text,
    refuse_damaged_ids,
)
from zoobot3d_tf.tables.csv_files import read_csv
from zoobot3d_tf.tables.values import check_shape, decode, plain_type

if TYPE_CHECKING:
    import pyarrow as pa
    from astropy.table import Table

MAX_INFLATED_BYTES = 2**29
"""Largest size of the content of a compressed file, which is held in memory, unless the file itself is large."""

_MAX_INFLATION = 32  # catalogues compress less


def read_table(path: PathLike) -> pd.DataFrame:
    """Read a table of galaxies. The suffix of the file gives the format.

    A file of several tables, FITS or VOTable, needs the number or the name of one after its name, as in
    `galaxies.fits[2]` or `galaxies.fits[VOTES]`.

    Args:
        path: file with one of the suffixes `SUFFIXES`, with or without `.gz` or `.bz2` at the end; or an archive
            `*.tar`, also compressed, or `*.tgz`, that holds one FITS file.

    Returns:
        All columns that have one value per row, in the byte order of this machine. Bytes become text, with `\\ufffd`
        for those that are not UTF-8, and masked values missing values. Columns of a catalogue whose names are in
        another case of letters (`ID_STR`, `RA`) receive the usual names. Three kinds of columns become text without
        spaces around it ('0123' keeps its zero), '' where the cell is empty: `id_str` and, unless they hold
        floating-point numbers, `id_str_<other>` and `*_loc`. Integers that a float cannot hold exactly keep their
        digits if the column has missing values, as `Int64`. Positions and pixel scales are in degrees and arcsec; units
        of other columns, where the file gives them, are in `attrs["units"]`.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the suffix is unknown; the file cannot be read; its content is too large for its size;
            it holds several tables; `id_str` holds floating-point numbers; or a position or pixel scale has a unit that
            cannot be converted.
    """
    path, part = _split_part(path_of(path))
    name = path.name.lower()
    suffix = ".tar" if name.endswith((".tgz", ".tbz2")) else PurePath(re.sub(r"\.(gz|bz2)$", "", name)).suffix
    if suffix not in _READERS:
        raise ValueError(
            f"{path}: the name of a catalogue must end in {', '.join(SUFFIXES)}, with or without .gz or .bz2"
        )
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such catalogue")
    try:
        if part and suffix not in _OF_SEVERAL_TABLES:
            raise ValueError(f"it holds one table; leave out [{part}]")
        with _open(path) as file:
            table = _READERS[suffix](file, path.stat().st_size, part)
    except Exception as error:  # the parsers raise errors of every type on damaged files
        raise ValueError(f"{path}: cannot be read as a {suffix[1:].upper()} table: {error}") from error
    return _finish(path, table)


def _split_part(path: Path) -> tuple[Path, str]:
    """Split `galaxies.fits[2]`, unless this is the name of a file."""
    match = re.fullmatch(r"(.+)\[([^\[\]]+)\]", path.name)
    return (path, "") if match is None or path.exists() else (path.with_name(match[1]), match[2])


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
    return _finish(path, _from_arrow(table))


def from_memory(name: str, table: "pd.DataFrame | Table") -> pd.DataFrame:
    """Convert a table of pandas or Astropy to the table that `read_table` returns for a file of it.

    Args:
        name: name of the table, for errors.
        table: one row per galaxy. It is not changed.

    Returns:
        The same rows, numbered from 0; see `read_table`.

    Raises:
        ValueError: `id_str` holds floating-point numbers, or a position or pixel scale has several values per row or a
            unit that cannot be converted.
    """
    try:
        rows = table.reset_index(drop=True) if isinstance(table, pd.DataFrame) else from_astropy(table)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    return _finish(name, rows)


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


def write_failures(path: Path, failures: Sequence[tuple[str, str, str]]) -> None:
    """Write the list of the galaxies that failed.

    Args:
        path: path of the CSV file.
        failures: `id_str`, path of the image, and reason for each galaxy. Unfit ids are written in quotes.
    """
    table = pd.DataFrame(failures, columns=["id_str", "file_loc", "reason"])
    write_table(table.assign(id_str=table["id_str"].map(listed_id)), path)


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
    path = path_of(path)
    check_output(path, "table", tuple(_WRITERS))
    return path


def _finish(path: PathLike, table: pd.DataFrame) -> pd.DataFrame:
    """Give columns their usual names, convert ids and paths to text, and nullable columns to the types of pandas."""
    lower = [str(name).lower() for name in table]
    usual = {name: name.lower() for name in map(str, table) if is_standard(name) and lower.count(name.lower()) == 1}
    table = table.rename(columns=usual)
    texts = [str(name) for name, column in table.items() if _is_text(str(name), column)]
    table = table.assign(**{name: read_text(path, table, name) for name in texts})
    table = table.assign(**{name: table[name].map(os.path.expanduser) for name in texts if is_path_column(name)})
    if "id_str" in table:
        refuse_damaged_ids(path, table, "id_str")
    nullable = [name for name, dtype in table.dtypes.items() if getattr(dtype, "na_value", None) is pd.NA]
    return table.astype({name: plain_type(table[name]) for name in nullable})


def _is_text(name: str, column: pd.Series) -> bool:
    """Whether a column holds ids or paths. Of columns of floats, only `id_str` is named, and then refused."""
    name = name.lower()
    return name == "id_str" or ((name.startswith("id_str_") or is_path_column(name)) and not holds_floats(column))


def _is_written_text(name: str, column: pd.Series) -> bool:
    """Whether a column of a text file holds ids or paths. Ids never become numbers."""
    return name.lower().startswith("id_str_") or _is_text(name, column)


def _open(path: Path) -> BinaryIO:
    """Open a file, inflated if it is compressed."""
    name = path.name.lower()
    if not name.endswith((".gz", ".tgz", ".bz2", ".tbz2")):
        return path.open("rb")
    content, file_bytes = io.BytesIO(), path.stat().st_size
    with gzip.open(path) if name.endswith("gz") else bz2.open(path) as file:
        while chunk := file.read(2**20):
            content.write(chunk)
            _check_inflated(content.tell(), file_bytes)
    content.seek(0)
    return content


def _check_inflated(n_bytes: int, file_bytes: int, name: str = "") -> None:
    limit = max(MAX_INFLATED_BYTES, _MAX_INFLATION * file_bytes)
    if n_bytes > limit:
        raise ValueError(f"{name} inflates to more than {limit} bytes".lstrip())


def _read_csv(file: BinaryIO, file_bytes: int, _part: str) -> pd.DataFrame:
    return read_csv(file, file_bytes, ",", _is_written_text)


def _read_tsv(file: BinaryIO, file_bytes: int, _part: str) -> pd.DataFrame:
    return read_csv(file, file_bytes, "\t", _is_written_text)


def _read_parquet(file: BinaryIO, file_bytes: int, _part: str) -> pd.DataFrame:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pq.ParquetFile(file) as parquet:
        metadata, schema = parquet.metadata, parquet.schema_arrow
    check_shape(metadata.num_rows, metadata.num_columns, file_bytes)
    widths = [field.type.byte_width for field in schema if pa.types.is_fixed_size_binary(field.type)]
    stored = sum(metadata.row_group(number).total_byte_size for number in range(metadata.num_row_groups))
    _check_inflated(max(stored, metadata.num_rows * sum(widths)), file_bytes)
    # Repeated texts take space once in the file. Read like that, their size is known before it is taken.
    texts = [field.name for field in schema if _is_arrow_text(field.type)]
    with pq.ParquetFile(file, read_dictionary=texts) as parquet:
        table = parquet.read()
    n_bytes = 0
    for number, (name, column) in enumerate(zip(table.column_names, table.columns, strict=True)):
        if name in texts and pa.types.is_dictionary(column.type):
            n_bytes += sum(_text_bytes(chunk) for chunk in column.chunks)
            _check_inflated(n_bytes, file_bytes)
            table = table.set_column(number, name, column.cast(column.type.value_type))
    return _from_arrow(table)


def _is_arrow_text(kind: "pa.DataType") -> bool:
    from pyarrow import types

    kind = kind.value_type if types.is_dictionary(kind) else kind
    return types.is_string(kind) or types.is_large_string(kind) or types.is_binary(kind) or types.is_large_binary(kind)


def _text_bytes(chunk: "pa.DictionaryArray") -> int:
    """Size of the texts of a column that stores each of them once."""
    import pyarrow.compute as pc

    lengths = pc.fill_null(pc.binary_length(chunk.dictionary), 0).to_numpy(zero_copy_only=False)
    places = chunk.indices.drop_null().to_numpy()
    return int(np.bincount(places, minlength=len(lengths)) @ lengths.astype(np.int64)) if len(places) else 0


def _from_arrow(arrow: "pa.Table") -> pd.DataFrame:
    import pyarrow as pa

    def to_nullable(kind: pa.DataType) -> Any:
        is_whole = pa.types.is_integer(kind)
        return pd.api.types.pandas_dtype(str(kind).replace("u", "U").replace("int", "Int")) if is_whole else None

    for number, (name, column) in enumerate(zip(arrow.column_names, arrow.columns, strict=True)):
        if not pa.types.is_dictionary(column.type) and _is_arrow_text(column.type):
            arrow = arrow.set_column(number, name, _as_utf8(column))
    table = arrow.to_pandas(types_mapper=to_nullable)
    return table.reset_index(drop=table.index.name is None)


def _as_utf8(column: "pa.ChunkedArray") -> "pa.ChunkedArray":
    """Convert a column of bytes, or of text that is not valid, to valid text."""
    import pyarrow as pa

    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        try:
            column.validate(full=True)
            return column
        except pa.ArrowInvalid:
            pass
    return pa.chunked_array(
        [[decode(value) for value in column.cast(pa.large_binary()).to_pylist()]], pa.large_string()
    )


def _read_ecsv(file: BinaryIO, file_bytes: int, _part: str) -> pd.DataFrame:
    return read_ecsv(file, file_bytes)


def _read_tar(file: BinaryIO, file_bytes: int, part: str) -> pd.DataFrame:
    """Read the FITS table of an archive. Nothing is unpacked to disk, so that names of members cannot do harm."""
    with tarfile.open(fileobj=file, mode="r:") as archive:
        # macOS adds files of its own, whose names begin with "._".
        tables = [
            member
            for member in archive
            if member.isfile()
            and PurePath(member.name).suffix.lower() in _FITS_SUFFIXES
            and not PurePath(member.name).name.startswith("._")
        ]
        if len(tables) != 1:
            raise ValueError(f"holds {len(tables)} files *.fits; it must hold one FITS table")
        _check_inflated(tables[0].size, file_bytes, tables[0].name)  # a sparse member can be larger than its archive
        return read_fits(io.BytesIO(cast(BinaryIO, archive.extractfile(tables[0])).read()), file_bytes, part)


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


_FITS_SUFFIXES = (".fits", ".fit", ".fts", ".fz")
_VOTABLE_SUFFIXES = (".vot", ".votable", ".xml")
_READERS: dict[str, Callable[[BinaryIO, int, str], pd.DataFrame]] = {
    ".csv": _read_csv,
    ".parquet": _read_parquet,
    ".fits": read_fits,
    ".ecsv": _read_ecsv,
    **dict.fromkeys(_VOTABLE_SUFFIXES, read_votable),
    ".tsv": _read_tsv,
    ".pq": _read_parquet,
    **dict.fromkeys(_FITS_SUFFIXES, read_fits),
    ".tar": _read_tar,
}
_OF_SEVERAL_TABLES = (*_FITS_SUFFIXES, *_VOTABLE_SUFFIXES, ".tar")
SUFFIXES = tuple(_READERS)
"""Suffixes of the tables that can be read."""
_WRITERS: dict[str, Callable[[pd.DataFrame, Path], None]] = {
    ".csv": _write_csv,
    ".parquet": _write_parquet,
    ".fits": _write_fits,
    ".ecsv": _write_ecsv,
}
