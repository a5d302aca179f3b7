"""Tables of vectors, shared by the tests of representations and of the map."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from zoobot3d_tf.inference.metadata import write_metadata
from zoobot3d_tf.representations import vectors
from zoobot3d_tf.representations.vectors import vector_columns


def write_vectors(path: Path, kind: str, values, ids=None, file_locs=None, **metadata) -> Path:
    """Write a table of vectors. By default the ids of the galaxies are g0, g1, and so on."""
    values = np.asarray(values, np.float32)
    ids = [f"g{i}" for i in range(len(values))] if ids is None else ids
    identity = {"id_str": ids, "file_loc": [f"{i}.png" for i in ids] if file_locs is None else file_locs}
    pq.write_table(pa.table(identity | vector_columns(kind, values)), path)
    write_metadata(path, metadata)
    return path


def read_in_pieces(monkeypatch, n_rows: int, n_numbers: int) -> None:
    """Let tables whose vectors have `n_numbers` numbers be read in pieces of `n_rows` rows."""
    monkeypatch.setattr(vectors, "_NUMBERS_AT_ONCE", n_rows * n_numbers)
