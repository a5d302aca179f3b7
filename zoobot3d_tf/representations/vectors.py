"""Tables of vectors, one row per galaxy: Parquet files with `id_str`, `file_loc` and numbered columns.

There are two kinds: features of a network (`feature_0000` and following) and their principal components
(`component_0000` and following). The tables are read piece by piece. Metadata are in a file beside each table.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from zoobot3d_tf.files import PathLike, check_inflated_size, path_of
from zoobot3d_tf.images.stretch import DEFAULT_STRETCH
from zoobot3d_tf.inference.metadata import metadata_loc, read_metadata
from zoobot3d_tf.progress import Progress
from zoobot3d_tf.tables.columns import require_columns, suggest
from zoobot3d_tf.tables.parquet_pieces import naming_file

SUFFIXES = (".parquet",)
IDENTITY = ("id_str", "file_loc")
"""Columns that identify the galaxy of a vector."""

# 32 MB in float32, for tables of any width.
_NUMBERS_AT_ONCE = 2**23
# Entries of the metadata that tell whether vectors can be compared, and their keys in the table.
_SOURCE = ("weights_sha256", "level")
_KEY = "zoobot3d_{}"
_MADE_BY = {"feature": "zoobot3d representations", "component": "zoobot3d compress"}


@dataclass(frozen=True)
class VectorTable:
    """Table of vectors on disk.

    Attributes:
        path: Parquet file.
        names: names of the columns that hold the vectors, in order.
        n_galaxies: number of rows.
        metadata: metadata of the table, such as the hash of the weights; see `inference.metadata`.
    """

    path: Path
    names: tuple[str, ...]
    n_galaxies: int
    metadata: Mapping[str, Any]

    @property
    def source(self) -> str:
        """SHA-256 of the weights and level of the features; '' if unknown."""
        return " ".join(str(self.metadata.get(name, "")) for name in _SOURCE).strip()

    @property
    def stretch(self) -> str:
        """Stretch of FITS cutouts that shows the galaxies as the network sees them."""
        return str(self.metadata.get("stretch", DEFAULT_STRETCH))

    def pieces(self, rows: np.ndarray | None = None) -> Iterator[tuple[pa.Table, np.ndarray]]:
        """Read the rows piece by piece.

        Args:
            rows: numbers of the rows to read, from 0, ascending; by default all rows.

        Yields:
            For each piece, a table of all columns but the vectors, with the columns `IDENTITY` as text; and the
            vectors, float32 (rows, numbers per vector).

        Raises:
            ValueError: the file is damaged, or a number is missing or not finite.
        """
        first_row = 0
        rows_at_once = max(1, _NUMBERS_AT_ONCE // len(self.names))
        # Without `pre_buffer=False`, Arrow keeps all bytes that it has read from the file.
        with naming_file(self.path), pq.ParquetFile(self.path, pre_buffer=False) as file:
            others = [name for name in file.schema_arrow.names if name not in set(self.names)]
            with Progress(total=self.n_galaxies, unit="galaxy", unit_scale=True) as bar:
                for batch in file.iter_batches(rows_at_once, columns=[*others, *self.names]):
                    # The metadata of pandas would turn a column into an index, if pandas has written the table.
                    piece = pa.Table.from_batches([batch]).replace_schema_metadata(None)
                    known, vectors = _with_text(piece.select(others)), self._vectors_of(piece, first_row)
                    if rows is not None:
                        wanted = rows[(rows >= first_row) & (rows < first_row + len(piece))] - first_row
                        known, vectors = known.take(wanted), vectors[wanted]
                    first_row += len(piece)
                    bar.update(len(piece))
                    yield known, vectors

    def _vectors_of(self, piece: pa.Table, first_row: int) -> np.ndarray:
        vectors = np.empty((len(piece), len(self.names)), np.float32)
        for i, name in enumerate(self.names):
            vectors[:, i] = piece.column(name).to_numpy()
        is_wrong = ~np.isfinite(vectors)
        if is_wrong.any():
            row, column = np.argwhere(is_wrong)[0]
            # Rows are counted as in all messages: the header is row 1.
            raise ValueError(
                f"{self.path}: {self.names[column]} is {vectors[row, column]} in row {first_row + row + 2} "
                f"({piece['id_str'][row]}); it must be a finite number"
            )
        return vectors


def with_source(pieces: Iterable[pa.Table], metadata: Mapping[str, Any]) -> Iterator[pa.Table]:
    """Note the weights and the level in the table itself, since the file of its metadata may be exchanged or lost."""
    source = {_KEY.format(name): str(metadata[name]) for name in _SOURCE if name in metadata}
    return (piece.replace_schema_metadata(source) for piece in pieces)


def vector_names(kind: str, n: int) -> list[str]:
    """Names of the columns of vectors of `n` numbers; the kind is "feature" or "component"."""
    return [f"{kind}_{i:04d}" for i in range(n)]


def open_vectors(path: PathLike, kind: str) -> VectorTable:
    """Open a table of vectors, and check its columns.

    Args:
        path: Parquet file.
        kind: "feature" or "component".

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file is not a Parquet file, lacks columns or has no rows, would inflate to more than the memory
            should hold, or its metadata are damaged or belong to vectors of other weights or another level.
    """
    path = path_of(path)
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(f"{path}: the name of a table of {kind}s must end in {' or '.join(SUFFIXES)}")
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; `{_MADE_BY[kind]}` writes a table of {kind}s")
    with naming_file(path):
        metadata = pq.read_metadata(path)
        columns = metadata.schema.to_arrow_schema()
    require_columns(path, columns.names, IDENTITY)
    names = [name for name in columns.names if re.fullmatch(rf"{kind}_\d{{4,}}", name)]
    if not names or names != vector_names(kind, len(names)):
        raise ValueError(f"{path}: must have the columns {kind}_0000, {kind}_0001, ... that `{_MADE_BY[kind]}` writes")
    for name in names:
        if not pa.types.is_floating(columns.field(name).type):
            raise ValueError(f"{path}: {name} holds {columns.field(name).type}; it must hold floats")
    if not metadata.num_rows:
        raise ValueError(f"{path}: the table has no rows")
    check_inflated_size(path, metadata.num_rows * 4 * len(columns.names))
    return VectorTable(path, tuple(names), metadata.num_rows, _metadata_of(path, columns.metadata or {}))


def check_other_table(out: PathLike, source: PathLike) -> None:
    """Refuse to overwrite the table that is read.

    Raises:
        ValueError: both paths are the same file.
    """
    if path_of(out).resolve() == path_of(source).resolve():
        raise ValueError(f"{out}: is the table to read; choose another name for the table to write")


def vector_columns(kind: str, vectors: np.ndarray) -> dict[str, np.ndarray]:
    """Turn vectors, shape (rows, numbers), into named columns of float32; the kind is "feature" or "component"."""
    columns = np.ascontiguousarray(vectors.T, dtype=np.float32)
    return dict(zip(vector_names(kind, len(columns)), columns, strict=True))


def sample_rows(n_galaxies: int, most: int, seed: int) -> np.ndarray:
    """Numbers of all rows, or of `most` rows drawn at random if there are more; ascending."""
    if n_galaxies <= most:
        return np.arange(n_galaxies)
    return np.sort(np.random.default_rng(seed).choice(n_galaxies, most, replace=False))


def rows_of(table: VectorTable, id_strs: Sequence[str]) -> tuple[pa.Table, np.ndarray]:
    """Read the rows of some galaxies.

    Args:
        table: table of vectors.
        id_strs: ids of the galaxies.

    Returns:
        In the order of `id_strs`, a table of all columns but the vectors, and the vectors, float32 (galaxies, numbers).

    Raises:
        ValueError: a galaxy is not in the table, or is in several rows.
    """
    wanted = pa.array(id_strs, pa.string())
    found, vectors = [], []
    for others, piece in table.pieces():
        is_wanted = np.asarray(pc.is_in(others["id_str"], wanted))
        found.append(others.filter(pa.array(is_wanted)))
        vectors.append(piece[is_wanted])
    rows = pa.concat_tables(found)
    places = rows["id_str"].to_pylist()
    for id_str in id_strs:
        if id_str not in places:
            present = (known for others, _ in table.pieces() for known in others["id_str"].to_pylist())
            raise ValueError(f"{table.path}: has no galaxy {id_str!r}{suggest(id_str, present)}")
        if places.count(id_str) > 1:
            raise ValueError(
                f"{table.path}: the galaxy {id_str!r} is in {places.count(id_str)} rows; it must be in one row"
            )
    order = [places.index(id_str) for id_str in id_strs]
    return rows.take(order), np.concatenate(vectors)[order]


def _metadata_of(path: Path, stored: Mapping[bytes, bytes]) -> dict[str, Any]:
    """Read the metadata beside a table, and compare their source with the source in the table."""
    metadata = read_metadata(path)
    keys = {name: _KEY.format(name).encode() for name in _SOURCE}
    source = {name: stored[key].decode(errors="replace") for name, key in keys.items() if key in stored}
    for name, value in source.items():
        if metadata.get(name, value) != value:
            raise ValueError(
                f"{metadata_loc(path)}: belongs to another table: its {name} is {metadata[name]}, that of {path} is "
                f"{value}; restore the file that was written with the table"
            )
    return source | metadata


def _with_text(piece: pa.Table) -> pa.Table:
    """Convert the columns `IDENTITY` to text, '' where a value is missing."""
    for name in IDENTITY:
        text = pc.fill_null(piece[name].cast(pa.string()), "")
        piece = piece.set_column(piece.column_names.index(name), name, text)
    return piece
