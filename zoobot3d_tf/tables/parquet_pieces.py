"""Parquet tables larger than memory, read piece by piece."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from zoobot3d_tf.files import PathLike
from zoobot3d_tf.tables.columns import read_positions, require_columns

_BATCH_ROWS = 2**16


def is_parquet(table_loc: PathLike) -> bool:
    """Whether this is a Parquet file or a folder of them."""
    return Path(table_loc).is_dir() or Path(table_loc).suffix.lower() == ".parquet"


def parquet_files(table_loc: PathLike) -> list[Path]:
    """The file itself, or the Parquet files in a folder and those below, in the order of their names.

    Raises:
        FileNotFoundError: there is no such file, or none in the folder.
    """
    path = Path(table_loc)
    files = sorted(path.rglob("*.parquet")) if path.is_dir() else [path]
    if not files:
        raise FileNotFoundError(f"{path}: no file *.parquet in this folder")
    if not files[0].is_file():
        raise FileNotFoundError(f"{path}: no such catalogue")
    return files


def read_pieces(
    files: Sequence[Path], columns: Sequence[str] | None = None, n_bytes: int = 2**25
) -> Iterator[tuple[int, pa.Table]]:
    """Read Parquet files one after the other, so many rows at once as memory can hold.

    Args:
        files: in the order to read them.
        columns: names of those to read; all of the first file by default.
        n_bytes: memory for a piece, about.

    Yields:
        The number of a row, counted from 0 through all files, and a table of the rows from there on.

    Raises:
        ValueError: a file cannot be read, lacks a column, or has columns of other kinds than the first.
    """
    if columns is None and files:
        columns = no_rows(files[0]).column_names
    first_row, batches, size = 0, [], 0
    with tqdm(total=sum(map(_n_rows, files)), unit="galaxy", unit_scale=True, disable=None) as bar:
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
    """Write a Parquet file piece by piece; memory holds one piece at a time.

    Args:
        path: the file; see `files.whole_file` to have it whole or not at all.
        pieces: at least one, all with the columns of the first.

    Raises:
        OSError: the file cannot be written.
    """
    pieces = iter(pieces)
    first = next(pieces)
    with pq.ParquetWriter(path, first.schema) as file:
        for piece in chain([first], pieces):
            file.write_table(piece)


def no_rows(file: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """A piece without rows; arguments and errors as of `read_pieces`."""
    with naming_file(file):
        table = pq.read_schema(file).empty_table()
    require_columns(file, table.column_names, columns or [])
    return table if columns is None else table.select(list(columns))


def piece_positions(path: PathLike, first_row: int, piece: pa.Table, columns: Sequence[str]) -> pd.DataFrame:
    """The positions in a piece; see `read_positions`.

    Args:
        path: where the piece is from, for the error.
        first_row: number of its first row.
        piece: as `read_pieces` yields it.
        columns: names of its columns of right ascension and declination, degrees.

    Returns:
        `ra` and `dec` of the rows that have both, by number of the row within the piece.

    Raises:
        ValueError: a column is missing, or a value is not a number or impossible.
    """
    require_columns(path, piece.column_names, columns)
    table = piece.select(list(columns)).to_pandas(ignore_metadata=True)
    positions = read_positions(path, table.set_axis(table.index + first_row), columns)
    return positions.set_axis(positions.index - first_row)


@contextmanager
def naming_file(file: Path) -> Iterator[None]:
    """Turn Arrow's errors about a file into ones that name it."""
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
        raise ValueError(f"{file}: has columns of other kinds than the files before it: {error}") from error
