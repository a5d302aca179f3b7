"""Parquet tables in pieces: no row is lost, and rows are numbered through all files."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from zoobot3d_tf.tables.parquet_pieces import no_rows, parquet_files, piece_positions, read_pieces, write_pieces


@pytest.fixture
def folder(tmp_path):
    """Folder of two files of 70,000 rows each: more than one batch."""
    for number, name in enumerate(["a.parquet", "b/c.parquet"]):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        rows = np.arange(70_000) + 70_000 * number
        pq.write_table(pa.table({"row": rows, "ra": rows / 1000.0, "dec": 0.0 * rows}), tmp_path / name)
    return tmp_path


@pytest.mark.parametrize("n_bytes", [1, 10**6, 10**9])
def test_rows_are_numbered_through_all_files(folder, n_bytes):
    pieces = list(read_pieces(parquet_files(folder), ["row"], n_bytes))
    assert len(pieces) == {1: 4, 10**6: 2, 10**9: 1}[n_bytes]
    for first_row, piece in pieces:
        assert piece.column_names == ["row"]
        assert piece["row"][0].as_py() == first_row
    rows = np.concatenate([piece["row"].to_numpy() for _, piece in pieces])
    np.testing.assert_array_equal(rows, np.arange(140_000))


def test_pieces_are_written_as_one_table(folder, tmp_path):
    files = parquet_files(folder)
    write_pieces(tmp_path / "all.parquet", (piece for _, piece in read_pieces(files, n_bytes=1)))
    expected = pd.concat([pd.read_parquet(file) for file in files], ignore_index=True)
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "all.parquet"), expected)


def test_an_empty_piece_has_the_columns_asked_for(folder):
    file = parquet_files(folder)[0]
    assert no_rows(file).column_names == ["row", "ra", "dec"]
    assert no_rows(file, ["dec"]).to_pydict() == {"dec": []}
    with pytest.raises(ValueError, match=r"a.parquet: lacks the column z$"):
        no_rows(file, ["z"])


def test_wrong_positions_are_named_by_their_row_in_the_table():
    piece = pa.table({"ra": [None, 1.0, 2.0], "dec": [0.0, 95.0, 3.0]})
    with pytest.raises(ValueError, match=r"a.parquet: dec is 95.0 in row 103"):
        piece_positions("a.parquet", 100, piece, ("ra", "dec"))
    positions = piece_positions("a.parquet", 100, piece.slice(2), ("ra", "dec"))
    assert positions.to_dict("split") == {"index": [0], "columns": ["ra", "dec"], "data": [[2.0, 3.0]]}
