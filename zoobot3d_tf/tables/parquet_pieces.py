"""Parquet tables larger than memory, read and written piece by piece."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from zoobot3d_tf.files import PathLike, path_of
from zoobot3d_tf.progress import Progress
from zoobot3d_tf.tables.columns import find_columns, read_positions, require_columns

_SUFFIXES = (".parquet", ".pq")
_BATCH_ROWS = 2**16


def is_parquet(table_loc: PathLike) -> bool:
    """Whether a path is a folder, which must hold Parquet files, or has the suffix of a Parquet file."""
    return path_of(table_loc).is_dir() or path_of(table_loc).suffix.lower() in _SUFFIXES


def parquet_files(table_loc: PathLike) -> list[Path]:
    """List the files of a Parquet table.

    Args:
        table_loc: path of a Parquet file, or of a folder of Parquet files. Folders in it are searched too.

    Returns:
        Paths of the files, in the order of their names.

    Raises:
        FileNotFoundError: the file does not exist, or the folder holds no Parquet file.
    """
    path = path_of(table_loc)
    files = sorted(file for suffix in _SUFFIXES for file in path.rglob(f"*{suffix}")) if path.is_dir() else [path]
    if not files:
        raise FileNotFoundError(f"{path}: no file *.parquet in this folder")
    if not files[0].is_file():
        raise FileNotFoundError(f"{path}: no such catalogue")
    return files


def read_pieces(
    files: Sequence[Path], columns: Sequence[str] | None = None, n_bytes: int = 2**25
) -> Iterator[tuple[int, pa.Table]]:
    """Read Parquet files one after the other, in pieces of limited size.

    Args:
        files: paths of the files, in the order to read them.
        columns: names of the columns to read. By default all columns of the first file.
        n_bytes: approximate size of a piece in bytes.

    Yields:
        The number of the first row of a piece, counted from 0 through all files, and the piece.

    Raises:
        ValueError: a file cannot be read, lacks a column, or has columns of other types than the first file.
    """
    if columns is None and files:
        columns = no_rows(files[0]).column_names
    first_row, batches, size = 0, [], 0
    with Progress(total=sum(map(_n_rows, files)), unit="galaxy", unit_scale=True) as bar:
        for file in files:
            for batch in _read_batches(file, columns):
                batches.append(batch)
                size += batch.nbytes
                bar.update(len(batch))
                if size >= n_bytes:
                    piece = _join(file, batches)
                    yield first_row, piece
                    first_row, batches, size = first_row + len(piece), [], 0
        if batches:
            yield first_row, _join(file, batches)


def write_pieces(path: Path, pieces: Iterable[pa.Table]) -> None:
    """Write a Parquet file piece by piece, so that memory holds one piece at a time.

    Args:
        path: path of the file. Write inside `files.whole_file` if the file must be complete or absent.
        pieces: pieces of the table, at least one, all with the same columns.

    Raises:
        OSError: the file cannot be written.
    """
    pieces = iter(pieces)
    first = next(pieces)
    with pq.ParquetWriter(path, first.schema) as file:
        for piece in chain([first], pieces):
            file.write_table(piece)


def no_rows(file: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Read an empty piece, with the columns of a file.

    Args:
        file: path of the Parquet file.
        columns: names of the columns. By default all columns of the file.

    Returns:
        A table without rows.

    Raises:
        ValueError: the file cannot be read or lacks a column.
    """
    with naming_file(file):
        table = pq.read_schema(file).empty_table()
    require_columns(file, table.column_names, columns or [])
    return table if columns is None else table.select(list(columns))


def piece_positions(path: PathLike, first_row: int, piece: pa.Table, columns: Sequence[str]) -> pd.DataFrame:
    """Read the positions in a piece.

    Args:
        path: path of the table, for errors.
        first_row: number of the first row of the piece in the table.
        piece: piece of the table, as `read_pieces` yields it.
        columns: names of the columns of right ascension and declination, in degrees; see `find_columns`.

    Returns:
        `ra` and `dec` as `read_positions` returns them. The index is the number of the row in the piece.

    Raises:
        ValueError: a column is missing, or a value is not a number or out of range.
    """
    columns = find_columns(path, piece.column_names, columns)
    table = piece.select(columns).to_pandas(ignore_metadata=True)
    positions = read_positions(path, table.set_axis(table.index + first_row), columns)
    return positions.set_axis(positions.index - first_row)


@contextmanager
def naming_file(file: Path) -> Iterator[None]:
    """Convert Arrow's errors about a Parquet file to a ValueError that names the file."""
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{file}: cannot be read as a PARQUET table: {error}") from error


def _n_rows(file: Path) -> int:
    with naming_file(file):
        return pq.read_metadata(file).num_rows


def _read_batches(file: Path, columns: Sequence[str] | None) -> Iterator[pa.Table]:
    with naming_file(file), pq.ParquetFile(file, pre_buffer=False) as parquet:
        require_columns(file, parquet.schema_arrow.names, columns or [])
        for batch in parquet.iter_batches(_BATCH_ROWS, columns=columns):
            yield pa.Table.from_batches([batch])


def _join(file: Path, batches: list[pa.Table]) -> pa.Table:
    try:
        return pa.concat_tables(batches, promote_options="permissive")
    except pa.ArrowException as error:
        raise ValueError(f"{file}: has columns of other types than the files before it: {error}") from error
