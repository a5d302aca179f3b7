"""Tables of vectors, a row a galaxy: Parquet files of `id_str`, `file_loc` and numbered columns, read piece by piece.

Two kinds exist: of the features of a network, `feature_0000` and on, and of the components of their PCA,
`component_0000` and on. Metadata stand beside each, as beside predictions.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from tqdm import tqdm

from zoobot3d_tf.files import PathLike
from zoobot3d_tf.images.rgb import DEFAULT_STRETCH
from zoobot3d_tf.inference.metadata import read_metadata
from zoobot3d_tf.tables.columns import require_columns
from zoobot3d_tf.tables.parquet_pieces import naming_file

SUFFIXES = (".parquet",)
IDENTITY = ("id_str", "file_loc")
"""The columns that say whose vector it is."""

# 32 MB in float32, however wide the table.
_NUMBERS_AT_ONCE = 2**23
_MADE_BY = {"feature": "zoobot3d representations", "component": "zoobot3d compress"}


@dataclass(frozen=True)
class VectorTable:
    """A table of vectors on the disk.

    Attributes:
        path: the Parquet file.
        names: columns of the vectors' numbers, in order.
        n_galaxies: rows.
        metadata: what made it.
    """

    path: Path
    names: tuple[str, ...]
    n_galaxies: int
    metadata: Mapping[str, Any]

    @property
    def stretch(self) -> str:
        """That of FITS cutouts, for pictures of the galaxies as the network saw them."""
        return str(self.metadata.get("stretch", DEFAULT_STRETCH))

    def pieces(self, rows: np.ndarray | None = None) -> Iterator[tuple[pa.Table, np.ndarray]]:
        """The rows, as many at a time as memory easily holds.

        Args:
            rows: numbers of those wanted, ascending; by default all.

        Yields:
            The columns that are not numbers of the vectors, `IDENTITY` as text, and the vectors, float32
            (rows, numbers).

        Raises:
            ValueError: the file is damaged, or a number is missing or not finite.
        """
        first_row = 0
        rows_at_once = max(1, _NUMBERS_AT_ONCE // len(self.names))
        # Without `pre_buffer=False`, Arrow keeps all bytes of the file that it has read.
        with naming_file(self.path), pq.ParquetFile(self.path, pre_buffer=False) as file:
            others = [name for name in file.schema_arrow.names if name not in set(self.names)]
            with tqdm(total=self.n_galaxies, unit="galaxy", unit_scale=True, disable=None) as bar:
                for batch in file.iter_batches(rows_at_once, columns=[*others, *self.names]):
                    # What pandas adds would make an index of a column, if somebody has stored the table anew.
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
            # Rows are counted as in all tables: the header is row 1.
            raise ValueError(
                f"{self.path}: {self.names[column]} is {vectors[row, column]} in row {first_row + row + 2} "
                f"({piece['id_str'][row]}); it must be a finite number"
            )
        return vectors


def vector_names(kind: str, n: int) -> list[str]:
    """Names of the columns of `n` numbers of a kind, "feature" or "component"."""
    return [f"{kind}_{i:04d}" for i in range(n)]


def open_vectors(path: PathLike, kind: str) -> VectorTable:
    """A table of vectors of a kind, "feature" or "component".

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no Parquet file, has no such columns or no rows, lacks an id, or its metadata are damaged.
    """
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(f"{path}: the name of a table of {kind}s must end in {' or '.join(SUFFIXES)}")
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such table of {kind}s; `{_MADE_BY[kind]}` makes one")
    with naming_file(path):
        metadata = pq.read_metadata(path)
        columns = metadata.schema.to_arrow_schema()
    require_columns(path, columns.names, IDENTITY)
    names = [name for name in columns.names if re.fullmatch(rf"{kind}_\d{{4,}}", name)]
    if not names or names != vector_names(kind, len(names)):
        raise ValueError(f"{path}: has no columns {kind}_0000 and on; `{_MADE_BY[kind]}` makes such a table")
    for name in names:
        if not pa.types.is_floating(columns.field(name).type):
            raise ValueError(f"{path}: {name} holds {columns.field(name).type}; it must hold floats")
    if not metadata.num_rows:
        raise ValueError(f"{path}: the table has no rows")
    return VectorTable(path, tuple(names), metadata.num_rows, read_metadata(path))


def check_other_table(out: PathLike, source: PathLike) -> None:
    """Refuses to write a table over the one that it is made of.

    Raises:
        ValueError: both are one file.
    """
    if Path(out).resolve() == Path(source).resolve():
        raise ValueError(f"{out}: is the table to read; give the one to write another name")


def vector_columns(kind: str, vectors: np.ndarray) -> dict[str, np.ndarray]:
    """Vectors (rows, numbers) as columns of float32."""
    columns = np.ascontiguousarray(vectors.T, dtype=np.float32)
    return dict(zip(vector_names(kind, len(columns)), columns, strict=True))


def sample_rows(n_galaxies: int, most: int, seed: int) -> np.ndarray:
    """Numbers of rows, ascending: all, or so many at random where there are more."""
    if n_galaxies <= most:
        return np.arange(n_galaxies)
    return np.sort(np.random.default_rng(seed).choice(n_galaxies, most, replace=False))


def rows_of(table: VectorTable, id_strs: Sequence[str]) -> tuple[pa.Table, np.ndarray]:
    """The rows of some galaxies, in the order asked for: what is known of them, and their vectors.

    Raises:
        ValueError: a galaxy is not in the table, or not once.
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
        if places.count(id_str) != 1:
            raise ValueError(
                f"{table.path}: the galaxy {id_str!r} is in {places.count(id_str)} rows; it must be in one"
            )
    order = [places.index(id_str) for id_str in id_strs]
    return rows.take(order), np.concatenate(vectors)[order]


def _with_text(piece: pa.Table) -> pa.Table:
    """The same columns, those of `IDENTITY` as text, '' where there is none."""
    for name in IDENTITY:
        text = pc.fill_null(piece[name].cast(pa.string()), "")
        piece = piece.set_column(piece.column_names.index(name), name, text)
    return piece
