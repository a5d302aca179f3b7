"""Write tables of predictions as CSV, Parquet, HDF5, FITS, VOTable or ECSV, and read them.

CSV, Parquet and HDF5 are written and read piece by piece; Astropy, which writes the others, holds the whole table.
Units, descriptions and a summary of the metadata are in all formats but CSV. `<table>_metadata.json`, beside the table,
records completely how it was made.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow.csv import ConvertOptions, CSVWriter, ParseOptions, ReadOptions, open_csv, read_csv

from zoobot3d_tf.failures import is_of_machine
from zoobot3d_tf.files import PathLike, check_inflated_size, path_of
from zoobot3d_tf.inference.metadata import metadata_loc, read_metadata
from zoobot3d_tf.labels import Label
from zoobot3d_tf.predictions.column_metadata import describe, to_astropy
from zoobot3d_tf.predictions.results import (
    POSITION,
    concentration_names,
    is_text,
    plain_name,
    predicted_answers,
)
from zoobot3d_tf.schemas import Schema
from zoobot3d_tf.tables.columns import read_numbers, refuse, require_columns
from zoobot3d_tf.tables.formats import read_table

if TYPE_CHECKING:
    from astropy.table import Table

NO_SAMPLES = "has no concentrations of votes; predict with `zoobot3d predict --samples`, or to a .hdf5 table"
"""What is said of a table without the concentrations of each sample to those who need them."""
MAX_FITS_COLUMNS = 999
"""Largest number of columns of a FITS table (FITS standard 4.0, section 7.3.1)."""
MAX_COLUMNS = 2**15
"""Largest number of columns that are read. Arrow takes 17 kB of memory per column of a CSV file."""

# A block of CSV must hold at least one row, and rows with many samples are long.
_CSV_BLOCK_BYTES = 2**24
_PARQUET_ROWS = 2**15
# Numbers of a piece of a table that is not read as a whole: 32 MB. Texts are larger, and limit the rows.
_NUMBERS_AT_ONCE = 2**23
_MOST_ROWS_AT_ONCE = 2**16
# HDF5 decompresses whole chunks, even to read one galaxy.
_CHUNK_ROWS = 4096
_CHUNK_BYTES = 2**20
_TEXT_BYTES = 64  # of a short text in memory

_Stored = TypeVar("_Stored")


@dataclass(frozen=True)
class Predictions:
    """A table of predictions.

    Attributes:
        table: one row per galaxy, with all columns of the file in their order; see `results` and `measurements`.
            Missing text is ''. Names are those of the file, which may be plain; see `results.tree_names`.
        schema: decision tree; None if votes were not predicted or there are no metadata.
        concentrations: concentrations of the Dirichlet distributions, float32 (galaxies, answers, samples), with the
            answers in the order of their columns; None if votes were not predicted or the table is compact.
        metadata: how the table was made; empty if there are no metadata.
        label: label that was predicted, in the columns `Label.outputs`; None if no label was predicted or there are no
            metadata.
    """

    table: pd.DataFrame
    schema: Schema | None
    concentrations: np.ndarray | None
    metadata: dict[str, Any]
    label: Label | None = None

    def __repr__(self) -> str:
        votes = "no votes" if self.schema is None else f"votes of {self.schema.name!r}"
        samples = "" if self.concentrations is None else f", {self.concentrations.shape[2]} samples"
        label = "" if self.label is None else f", label {self.label.column!r}"
        return f"<Predictions: {len(self.table)} galaxies, {self.table.shape[1]} columns, {votes}{samples}{label}>"


def table_schema(columns: Iterable[str]) -> pa.Schema:
    """Arrow schema of columns of predictions: text, float64 for positions, or float32."""
    return pa.schema([(column, _type_of(column)) for column in columns])


def _type_of(column: str) -> pa.DataType:
    return pa.string() if is_text(column) else pa.float64() if column in POSITION else pa.float32()


def write_table(
    path: Path,
    pieces: Iterable[pa.Table],
    units: Mapping[str, str] | None = None,
    header: Mapping[str, str | int] | None = None,
) -> None:
    """Write a table.

    CSV, Parquet and HDF5 are written piece by piece: memory holds one piece at a time. FITS, VOTable and ECSV hold the
    whole table in memory.

    HDF5 files have the layout of Zoobot: `predictions`, the concentrations, float32 (galaxy, answer, sample); and the
    texts `label_cols`, the answers, and `id_str`. All other columns are data sets of the group `columns`, and
    `column_names` lists all columns in order. `table` holds the columns without the concentrations once more, as a
    table of Astropy.

    Args:
        path: table to write, with one of `SUFFIXES`. Use `files.whole_file` to write it atomically.
        pieces: pieces of the table, at least one, all with the columns of the first and at most some ten thousand rows.
        units: units of columns that `column_metadata.describe` does not know.
        header: metadata for the header of the file, by names of at most 8 characters, as FITS needs them.

    Raises:
        ValueError: the suffix is unknown, or there are no pieces.
        OSError: the file cannot be written.
    """
    writer = _find(_WRITERS, path)
    pieces = iter(pieces)
    first = next(pieces, None)
    if first is None:
        raise ValueError(f"{path}: pieces must hold at least one table; received none")
    empty = to_astropy(first.schema.empty_table().to_pandas(), units)
    empty.meta.update(header or {})
    with writer(path, first.schema, empty) as file:
        for piece in chain([first], pieces):
            file.write_table(piece)


def load_predictions(path: PathLike) -> Predictions:
    """Read a table of predictions: one that `write_table` wrote, or an HDF5 file of Zoobot.

    Args:
        path: file with one of `SUFFIXES`, which gives its format. Additional columns are kept.

    Returns:
        The predictions, equal for all formats. Only the types of additional columns may differ, since CSV has none,
        and spaces at the end of text, which FITS does not keep.

    Raises:
        FileNotFoundError: the file does not exist.
        OSError: another program is writing the file, or the disk has a fault.
        ValueError: the suffix is unknown; the file cannot be read, has more than `MAX_COLUMNS`, is far larger in memory
            than on disk, has no rows, two rows of one galaxy, impossible concentrations, or neither concentrations nor
            masks nor a label; or the metadata cannot be read or belong to another table.
    """
    path = path_of(path)
    read = _find(_READERS, path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such table of predictions")
    with _naming(path):
        table = _to_pandas(read(path))
    _check_galaxies(path, table)
    label_cols, concentrations = _read_concentrations(path, table)
    metadata = read_metadata(path)
    label = _read_label(path, table, metadata)
    if label is not None:
        table = table.astype(dict.fromkeys(_outputs(table, label), np.float32))
    if not label_cols and label is None and not any(column.endswith("_mask_loc") for column in table.columns):
        raise ValueError(
            f"{path}: is not a table of predictions: it needs columns such as bar_strong_fraction and its interval, "
            f"bar_strong_concentration_0 or spiral_mask_loc, or a label that {metadata_loc(path).name} names"
        )
    schema = _read_schema(path, metadata, label_cols)
    return Predictions(table, schema, concentrations, metadata, label)


def iterate_predictions(path: PathLike) -> Iterator[Predictions]:
    """Read a table of predictions piece by piece, with the ids, paths and concentrations only.

    Memory holds one piece of a CSV, Parquet or HDF5 file at a time, so that the table may be larger than memory.

    Args:
        path: table; see `load_predictions`.

    Yields:
        Pieces of the table in order, each with at least one galaxy. `table` has the columns `id_str` and `*_loc`, and
        the numbers of the rows as index, from 0 through the whole table; `label` is None.

    Raises:
        FileNotFoundError: the file does not exist.
        OSError: another program is writing the file, or the disk has a fault.
        ValueError: as for `load_predictions`, except that galaxies in two rows and far too large content are not
            noticed.
    """
    path = path_of(path)
    iterate = _find(_ITERATORS, path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such table of predictions")
    metadata = read_metadata(path)
    first_row = 0
    with _naming(path):
        pieces = iterate(path)
    while True:
        with _naming(path):
            piece = next(pieces, None)
            table = None if piece is None else _to_pandas(piece)
        if table is None:
            break
        table.index += first_row
        first_row += len(table)
        require_columns(path, table.columns, ["id_str"])
        label_cols, concentrations = _read_concentrations(path, table)
        schema = _read_schema(path, metadata, label_cols or None)  # a piece lacks the answers of a compact table
        known = table[[name for name in table.columns if _is_identity(str(name))]]
        yield Predictions(known, schema, concentrations, metadata)
    if not first_row:
        raise ValueError(f"{path}: the table has no rows")


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Convert errors of parsers to errors that name the table. They raise many kinds for damaged files."""
    try:
        yield
    except BlockingIOError as error:  # HDF5 locks its files
        raise BlockingIOError(f"{path}: another program is writing this file; wait until that has ended") from error
    except Exception as error:
        if isinstance(error, OSError) and is_of_machine(error):
            raise OSError(error.errno, error.strerror, str(path)) from error
        reason = str(error).removeprefix(f"{path}: ")
        raise ValueError(f"{path}: cannot be read as a table of predictions: {reason}") from error


def _is_identity(column: str) -> bool:
    return column == "id_str" or column.endswith("_loc")


def _needed(columns: Sequence[str]) -> list[str]:
    """Names of the columns of a piece, of all columns of the table."""
    if len(set(columns)) < len(columns):
        raise ValueError("two columns have the same name")
    _check_width(len(columns))
    concentrations = set(concentration_names(*predicted_answers(columns)))
    return [column for column in columns if column in concentrations or _is_identity(column)]


def _rows_at_once(n_columns: int) -> int:
    return max(1, min(_MOST_ROWS_AT_ONCE, _NUMBERS_AT_ONCE // max(n_columns, 1)))


def _find(by_suffix: Mapping[str, Callable], path: Path) -> Callable:
    if path.suffix.lower() not in by_suffix:
        raise ValueError(f"{path}: the name of a table of predictions must end in {', '.join(by_suffix)}")
    return by_suffix[path.suffix.lower()]


def _to_pandas(table: pa.Table) -> pd.DataFrame:
    if len(set(table.column_names)) < table.num_columns:
        raise ValueError("two columns have the same name")
    columns = {
        name: column.cast(pa.string()).fill_null("") if is_text(name) or _holds_text(column.type) else column
        for name, column in zip(table.column_names, table.columns, strict=True)
    }
    return pa.table(columns).to_pandas()


def _holds_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _check_galaxies(path: Path, table: pd.DataFrame) -> None:
    require_columns(path, table.columns, ["id_str"])
    if table.empty:
        raise ValueError(f"{path}: the table has no rows")
    refuse(path, table, "id_str", table["id_str"].duplicated(), "it must be unique")


def _read_concentrations(path: Path, table: pd.DataFrame) -> tuple[list[str], np.ndarray | None]:
    label_cols, n_samples = predicted_answers(table.columns)
    if not label_cols:
        return [], None
    if not n_samples:
        return label_cols, None
    names = concentration_names(label_cols, n_samples)
    require_columns(path, table.columns, names)
    values = np.stack([read_numbers(path, table, name).to_numpy(np.float32) for name in names], axis=1)
    is_wrong = ~((values > 0) & np.isfinite(values))
    if is_wrong.any():
        column = is_wrong.any(axis=0).argmax()
        wrong = pd.Series(is_wrong[:, column], table.index)
        refuse(path, table, names[column], wrong, "a concentration must be larger than 0 and finite")
    return label_cols, values.reshape(len(table), len(label_cols), n_samples)


def _read_label(path: Path, table: pd.DataFrame, metadata: Mapping[str, Any]) -> Label | None:
    """Read the label from the metadata, and check its columns."""
    label = _stored(path, metadata, "label", Label.from_dict)
    if label is None:
        return None
    require_columns(path, table.columns, _outputs(table, label))
    for column in _outputs(table, label):
        read_numbers(path, table, column)
    return label


def _outputs(table: pd.DataFrame, label: Label) -> list[str]:
    """Columns of the label, whose names may be plain."""
    plain = [plain_name(name) for name in label.outputs]
    return plain if table.columns.isin(plain).any() else list(label.outputs)


def _read_schema(path: Path, metadata: Mapping[str, Any], label_cols: Sequence[str] | None) -> Schema | None:
    """Read the decision tree from the metadata, and compare its answers with the columns, if they are known."""
    schema = _stored(path, metadata, "schema", Schema.from_dict)
    if schema is None or label_cols is None:
        return schema
    if label_cols not in (schema.label_cols, [plain_name(answer) for answer in schema.label_cols]):
        raise ValueError(
            f"{metadata_loc(path)}: {schema!r} does not have the {len(label_cols)} answers of the table; "
            "the file belongs to another table, replace it or move it away"
        )
    return schema


def _stored(path: Path, metadata: Mapping[str, Any], name: str, from_dict: Callable[[Any], _Stored]) -> _Stored | None:
    """Read an entry of the metadata; None if there is no such entry."""
    if (stored := metadata.get(name)) is None:
        return None
    try:
        return from_dict(stored)
    except (ValueError, AttributeError, TypeError, RecursionError) as error:
        raise ValueError(f"{metadata_loc(path)}: {name} cannot be used: {error}") from error


def _check_width(n_columns: int) -> None:
    if n_columns > MAX_COLUMNS:
        raise ValueError(f"the table has {n_columns} columns; it must have at most {MAX_COLUMNS}")


# CSV and Parquet


def _read_csv(path: Path) -> pa.Table:
    with path.open("rb") as lines:
        _check_width(lines.readline(_CSV_BLOCK_BYTES).count(b",") + 1)
    options = ReadOptions(block_size=_CSV_BLOCK_BYTES), ParseOptions(newlines_in_values=True)
    with open_csv(path, *options) as file:
        types = {field.name: _csv_type(field) for field in file.schema}
    return read_csv(path, *options, ConvertOptions(column_types=types))


def _iterate_csv(path: Path) -> Iterator[pa.Table]:
    options = ReadOptions(block_size=_CSV_BLOCK_BYTES), ParseOptions(newlines_in_values=True)
    with open_csv(path, *options) as file:
        needed = _needed(file.schema.names)
    types = {name: _type_of(name) for name in needed}
    with open_csv(path, *options, ConvertOptions(column_types=types, include_columns=needed)) as file:
        for piece in file:
            yield pa.Table.from_batches([piece])


def _csv_type(found: pa.Field) -> pa.DataType:
    """Type of a column, from the type that its first rows suggest."""
    if is_text(found.name):
        return pa.string()
    # Null: all of the first rows are empty.
    is_number = any(check(found.type) for check in (pa.types.is_integer, pa.types.is_floating, pa.types.is_null))
    if is_number and describe(found.name)[1]:
        return _type_of(found.name)
    return pa.float64() if is_number and not pa.types.is_integer(found.type) else found.type


class _ParquetWriter:
    """Writer of Parquet files with units and descriptions, as Astropy stores them."""

    def __init__(self, path: Path, columns: pa.Schema, empty: "Table") -> None:
        # A stored schema of Arrow would hide the metadata that are added at the end.
        self._file, self._empty = pq.ParquetWriter(path, columns, store_schema=False), empty
        self._lengths = _TextLengths(columns)

    def __enter__(self) -> "_ParquetWriter":
        return self

    def __exit__(self, *_: object) -> None:
        lengths = {f"table::len::{name}": str(length) for name, length in self._lengths.characters.items()}
        self._file.add_key_value_metadata({"table_meta_yaml": "\n".join(_header_lines(self._empty)), **lengths})
        self._file.close()

    def write_table(self, piece: pa.Table) -> None:
        self._lengths.add(piece)
        self._file.write_table(piece)


class _TextLengths:
    """Largest lengths of the columns of text, at least 1, in characters and bytes."""

    def __init__(self, columns: pa.Schema) -> None:
        self.characters = {field.name: 1 for field in columns if _holds_text(field.type)}
        self.bytes = dict(self.characters)

    def add(self, piece: pa.Table) -> None:
        for lengths, measure in ((self.characters, pc.utf8_length), (self.bytes, pc.binary_length)):
            for name, longest in lengths.items():
                lengths[name] = max(longest, pc.max(measure(piece.column(name))).as_py() or 0)


def _header_lines(empty: "Table") -> list[str]:
    """Units, descriptions and metadata of a table without rows, as Astropy writes them to its files."""
    from astropy.table.meta import get_yaml_from_table

    return get_yaml_from_table(empty)


def _read_parquet(path: Path) -> pa.Table:
    n_bytes, pieces = 0, []
    with pq.ParquetFile(path) as file:
        _check_width(file.metadata.num_columns)
        # Piece by piece, since a value that is stored once may stand in any number of rows.
        for piece in file.iter_batches(_PARQUET_ROWS):
            n_bytes += max(piece.nbytes, 8 * piece.num_rows)
            check_inflated_size(path, n_bytes)
            pieces.append(piece)
        return pa.Table.from_batches(pieces, file.schema_arrow)


def _iterate_parquet(path: Path) -> Iterator[pa.Table]:
    # Without `pre_buffer=False`, Arrow keeps all bytes that it has read from the file.
    with pq.ParquetFile(path, pre_buffer=False) as file:
        needed = _needed(file.schema_arrow.names)
        for piece in file.iter_batches(_rows_at_once(len(needed)), columns=needed):
            # The metadata of pandas would turn a column into an index, if pandas has written the table.
            yield pa.Table.from_batches([piece]).replace_schema_metadata(None)


# HDF5


class _Hdf5Writer:
    """Writer that appends Arrow tables to data sets; see `write_table` for the layout."""

    def __init__(self, path: Path, columns: pa.Schema, empty: "Table") -> None:
        self._path, self._columns, self._empty = path, columns, empty
        self._lengths = _TextLengths(columns)
        self._label_cols, self._n_samples = predicted_answers(columns.names)
        self._concentrations = concentration_names(self._label_cols, self._n_samples)
        # Without caches of the data sets, memory does not grow, and the file size is known at any time.
        self._file = h5py.File(path, "w", rdcc_nbytes=0)
        self._reserve_space(columns.empty_table())
        self._file.create_dataset("column_names", data=columns.names, dtype=h5py.string_dtype())
        group = self._file.create_group("columns")
        self._datasets = {
            field.name: _make_dataset(self._file if field.name == "id_str" else group, field.name, field.type)
            for field in columns
            if field.name not in set(self._concentrations)
        }
        if self._concentrations:
            self._file.create_dataset("label_cols", data=self._label_cols, dtype=h5py.string_dtype())
            shape = (len(self._label_cols), self._n_samples)
            self._predictions = _make_dataset(self._file, "predictions", pa.float32(), shape)

    def __enter__(self) -> "_Hdf5Writer":
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self._write_for_astropy()
        self._file.flush()
        n_bytes = self._file.id.get_filesize()
        self._file.close()
        os.truncate(self._path, n_bytes)

    def write_table(self, piece: pa.Table) -> None:
        self._reserve_space(piece)
        self._lengths.add(piece)
        for name, dataset in self._datasets.items():
            column = piece.column(name)
            _append(dataset, column.to_pylist() if _holds_text(column.type) else column.to_numpy())
        if self._concentrations:
            samples = np.stack([piece.column(name).to_numpy() for name in self._concentrations], axis=1)
            _append(self._predictions, samples.reshape(len(piece), len(self._label_cols), self._n_samples))

    def _write_for_astropy(self) -> None:
        """Write the columns again, as one data set of rows with texts of fixed length, and its description."""
        kinds = {
            name: np.dtype(f"S{self._lengths.bytes[name]}") if name in self._lengths.bytes else dataset.dtype
            for name, dataset in self._datasets.items()
        }
        rows_type = np.dtype(list(kinds.items()))
        n_rows = len(next(iter(self._datasets.values())))
        self._extend(2 * n_rows * rows_type.itemsize + 2**22)
        chunk = max(1, min(_CHUNK_ROWS, _CHUNK_BYTES // rows_type.itemsize, n_rows))
        whole = self._file.create_dataset(
            "table", (n_rows,), rows_type, maxshape=(None,), chunks=(chunk,), compression=1, shuffle=True
        )
        for first in range(0, n_rows, _CHUNK_ROWS):
            part = slice(first, first + _CHUNK_ROWS)
            rows = np.empty(min(_CHUNK_ROWS, n_rows - first), rows_type)
            for name, dataset in self._datasets.items():
                rows[name] = dataset[part]
            whole[part] = rows
        described = self._empty[list(self._datasets)]
        lines = [line.encode() for line in _header_lines(described)]
        self._file.create_dataset("table.__table_column_meta__", data=lines)

    def _reserve_space(self, piece: pa.Table) -> None:
        """Extend the file by more than a piece can take."""
        n_texts = sum(map(_holds_text, self._columns.types))
        # Data that gzip cannot compress, references to texts, last chunks that move when they grow, and indices.
        self._extend(2 * piece.nbytes + (64 * len(piece) + 2**17) * n_texts + 2**15 * len(self._columns) + 2**22)

    def _extend(self, n_bytes: int) -> None:
        """Extend the file. This raises an error if the disk is full; HDF5 would crash when it closes the file."""
        wanted = self._file.id.get_filesize() + n_bytes
        with self._path.open("ab") as file:
            file.write(bytes(max(0, wanted - file.tell())))


def _make_dataset(group: h5py.Group, name: str, kind: pa.DataType, shape: tuple[int, ...] = ()) -> h5py.Dataset:
    dtype = h5py.string_dtype() if _holds_text(kind) else np.dtype(kind.to_pandas_dtype())
    row_bytes = dtype.itemsize * int(np.prod(shape))
    rows = min(_CHUNK_ROWS, max(1, _CHUNK_BYTES // row_bytes))
    return group.create_dataset(
        name, (0, *shape), dtype, maxshape=(None, *shape), chunks=(rows, *shape), compression=1, shuffle=True
    )


def _append(dataset: h5py.Dataset, values: Sequence | np.ndarray) -> None:
    n_before = len(dataset)
    dataset.resize(n_before + len(values), axis=0)
    dataset[n_before:] = values


def _read_hdf5(path: Path) -> pa.Table:
    with h5py.File(path) as file:
        sizes: list[int] = []
        file.visititems(lambda _, item: sizes.append(_bytes_in_memory(item)))
        check_inflated_size(path, sum(sizes))
        columns = {"id_str": file["id_str"].asstr()[:], **_read_samples(file)}
        names = list(columns)  # the columns of a file of Zoobot
        if "column_names" in file:
            names = list(file["column_names"].asstr())
            columns |= {name: _read_dataset(file["columns"][name]) for name in names if name not in columns}
    return pa.table({name: columns[name] for name in names})


def _iterate_hdf5(path: Path) -> Iterator[pa.Table]:
    with h5py.File(path) as file:
        names = list(file["column_names"].asstr()) if "column_names" in file else ["id_str"]
        texts = {
            name: file["id_str" if name == "id_str" else f"columns/{name}"] for name in filter(_is_identity, names)
        }
        n_answers, n_samples = file["predictions"].shape[1:] if "predictions" in file else (0, 0)
        _check_width(len(texts) + n_answers * n_samples)
        rows = _rows_at_once(n_answers * n_samples)
        for first in range(0, len(file["id_str"]), rows):
            part = slice(first, first + rows)
            columns = {name: dataset.asstr()[part] for name, dataset in texts.items()}
            yield pa.table(columns | _read_samples(file, part))


def _bytes_in_memory(item: h5py.Dataset | h5py.Group) -> int:
    if not isinstance(item, h5py.Dataset):
        return 0
    return item.size * (_TEXT_BYTES if h5py.check_string_dtype(item.dtype) else item.dtype.itemsize)


def _read_samples(file: h5py.File, rows: slice = slice(None)) -> dict[str, np.ndarray]:
    """Read the concentrations of some rows as columns."""
    if "predictions" not in file:
        return {}
    label_cols, samples = list(file["label_cols"].asstr()), file["predictions"][rows].astype(np.float32)
    if samples.ndim != 3 or samples.shape[1] != len(label_cols):
        raise ValueError(
            f"predictions must have the axes galaxy, answer and sample, with {len(label_cols)} answers as label_cols; "
            f"received shape {samples.shape}"
        )
    _check_width(len(label_cols) * samples.shape[2])
    names = concentration_names(label_cols, samples.shape[2])
    return dict(zip(names, samples.reshape(len(samples), len(names)).T, strict=True))


def _read_dataset(dataset: h5py.Dataset) -> np.ndarray:
    return dataset.asstr()[:] if h5py.check_string_dtype(dataset.dtype) else dataset[:]


# FITS, VOTable and ECSV


class _AstropyWriter:
    """Writer that collects the pieces; Astropy writes them when all are there."""

    def __init__(self, path: Path, columns: pa.Schema, empty: "Table") -> None:
        self._path, self._empty = path, empty
        self._pieces = [columns.empty_table()]

    def __enter__(self) -> "_AstropyWriter":
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            table = to_astropy(pa.concat_tables(self._pieces).to_pandas())
            for name in table.colnames:
                table[name].unit = self._empty[name].unit
            table.meta.update(self._empty.meta)
            _SAVE[self._path.suffix.lower()](table, self._path)

    def write_table(self, piece: pa.Table) -> None:
        self._pieces.append(piece)


def _save_fits(table: "Table", path: Path) -> None:
    # TOPCAT reads the descriptions of columns from TCOMM, Astropy from the comments that it writes itself.
    descriptions = {f"TCOMM{i + 1}": table[name].description for i, name in enumerate(table.colnames)}
    table.meta.update({key: text for key, text in descriptions.items() if text})
    table.meta = {key: _in_ascii(value) for key, value in table.meta.items()}
    table.convert_unicode_to_bytestring()  # in UTF-8, where Astropy would refuse other characters than ASCII
    table.write(path, format="fits", overwrite=True)


def _in_ascii(value: str | int) -> str | int:
    return value.encode("ascii", "backslashreplace").decode() if isinstance(value, str) else value


def _save_votable(table: "Table", path: Path) -> None:
    from astropy.io.votable import from_table
    from astropy.io.votable.tree import Info

    file = from_table(table)
    file.resources[0].infos.extend(Info(name=name, value=str(value)) for name, value in table.meta.items())
    file.to_xml(str(path), tabledata_format="binary2")


def _save_ecsv(table: "Table", path: Path) -> None:
    table.write(path, format="ascii.ecsv", overwrite=True)


def _read_whole(path: Path) -> pa.Table:
    table = read_table(path)
    _check_width(table.shape[1])
    return pa.Table.from_pandas(table, preserve_index=False)


def _iterate_whole(path: Path) -> Iterator[pa.Table]:
    table = _read_whole(path)
    needed = _needed(table.column_names)
    yield table.select(needed)


_SAVE = {".fits": _save_fits, ".vot": _save_votable, ".xml": _save_votable, ".ecsv": _save_ecsv}
_WRITERS = {
    ".csv": lambda path, columns, _: CSVWriter(path, columns),
    ".parquet": _ParquetWriter,
    ".hdf5": _Hdf5Writer,
    ".h5": _Hdf5Writer,
    **dict.fromkeys(_SAVE, _AstropyWriter),
}
_READERS = {
    ".csv": _read_csv,
    ".parquet": _read_parquet,
    ".hdf5": _read_hdf5,
    ".h5": _read_hdf5,
    **dict.fromkeys(_SAVE, _read_whole),
}
_ITERATORS = {
    ".csv": _iterate_csv,
    ".parquet": _iterate_parquet,
    ".hdf5": _iterate_hdf5,
    ".h5": _iterate_hdf5,
    **dict.fromkeys(_SAVE, _iterate_whole),
}
SUFFIXES = tuple(_WRITERS)
"""Suffixes of a table of predictions."""
HDF5_SUFFIXES = (".hdf5", ".h5")
"""Suffixes of tables in the layout of Zoobot, which always hold the samples."""
