"""Tables of predictions in all formats: equal when read back, with errors for bad ones."""

import json
import os
import subprocess
import sys
import warnings

import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.table import QTable

from zoobot3d_tf.inference.metadata import metadata_loc, write_metadata
from zoobot3d_tf.predictions import prediction_tables
from zoobot3d_tf.predictions.measurements import COLUMNS
from zoobot3d_tf.predictions.prediction_tables import (
    SUFFIXES,
    iterate_predictions,
    load_predictions,
    table_schema,
    write_table,
)
from zoobot3d_tf.predictions.results import POSITION, column_names, plain_name, vote_values
from zoobot3d_tf.schemas import get_schema

RINGS = get_schema("rings")
DECALS = get_schema("decals")
MASKS = ("spiral_mask", "bar_mask")
AWKWARD = ["J1", "007", "NA", "nan", 'a "b", c', "two\nlines", "α/β", "", "1e5", "true"]


def make_table(n=10, schema=RINGS, n_samples=3, seed=0) -> pa.Table:
    """Rows as in a run: votes, masks, and a measurement that some galaxies lack."""
    rng = np.random.default_rng(seed)
    ids = [f"{AWKWARD[i % 10]}{'' if i < 10 else i}" for i in range(n)]
    columns = {"id_str": ids, "file_loc": [f"/images/{id_str}.png" for id_str in ids]}
    columns |= {name: rng.uniform(0, 90, n) for name in POSITION}
    if schema:
        columns |= vote_values(rng.uniform(1, 101, (n, len(schema.label_cols), n_samples)), schema, 40)
    columns |= {f"{mask}_loc": [f"masks/{id_str}.fits[SPIRAL]" if id_str else "" for id_str in ids] for mask in MASKS}
    columns |= {name: np.where(rng.random(n) < 0.5, np.nan, rng.uniform(0, 100, n)) for name in COLUMNS}
    return pa.table(columns, schema=table_schema(column_names(schema, n_samples, MASKS)))


def write(path, table, rows=4, metadata=None):
    write_table(path, (table[first : first + rows] for first in range(0, len(table), rows)))
    if metadata is not None:
        write_metadata(path, metadata)
    return path


@pytest.fixture(params=[suffix for suffix in SUFFIXES if suffix not in (".h5", ".xml")])
def path(request, tmp_path):
    return tmp_path / f"table{request.param}"


# There and back


def test_each_format_comes_back_as_it_was_written(path):
    table = make_table()
    read = load_predictions(write(path, table, metadata={"schema": RINGS.to_dict(), "n_samples": 3, "name": "αβ"}))
    expected = table.to_pandas()
    pd.testing.assert_frame_equal(read.table, expected)
    assert read.table["bar_length_px"].dtype == np.float32
    assert list(read.table["id_str"]) == AWKWARD
    assert read.schema == RINGS
    assert read.metadata == {"schema": RINGS.to_dict(), "n_samples": 3, "name": "αβ"}
    assert read.concentrations.dtype == np.float32
    assert read.concentrations.shape == (10, 2, 3)
    for i, answer in enumerate(RINGS.label_cols):
        for k in range(3):
            np.testing.assert_array_equal(read.concentrations[:, i, k], expected[f"{answer}_concentration_{k}"])


def test_numbers_keep_every_bit(path):
    bits = np.random.default_rng(0).integers(0, 2**31, 20_000, dtype=np.uint32)  # all floats of positive sign
    values = bits.view(np.float32)
    values = np.append(values[np.isfinite(values)], np.float32([0, 1e-45, 3.4028235e38, np.inf]))
    columns = {"id_str": [str(i) for i in range(len(values))], "bar_mask_loc": [""] * len(values), "entropy": values}
    read = load_predictions(write(path, pa.table(columns, schema=table_schema(columns)), rows=7000))
    np.testing.assert_array_equal(read.table["entropy"].to_numpy().view(np.uint32), values.view(np.uint32))


def test_a_table_of_masks_alone_has_no_votes(path):
    table = make_table(schema=None)
    read = load_predictions(write(path, table, metadata={"schema": None}))
    pd.testing.assert_frame_equal(read.table, table.to_pandas())
    assert (read.schema, read.concentrations) == (None, None)


def test_without_metadata_the_votes_are_there_but_not_the_tree(path):
    read = load_predictions(write(path, make_table()))
    assert (read.schema, read.metadata) == (None, {})
    assert read.concentrations.shape == (10, 2, 3)


def test_pieces_may_be_of_any_size_and_empty(path, tmp_path):
    table = make_table(9000, RINGS, 1)
    lengths = [0, 1, 4096, 0, 4095, 808, 0]
    ends = np.cumsum(lengths)
    write_table(path, (table[end - length : end] for length, end in zip(lengths, ends, strict=True)))
    pd.testing.assert_frame_equal(load_predictions(path).table, table.to_pandas())


def test_the_same_pieces_make_the_same_bytes(path):
    table = make_table(50)
    first = write(path, table).read_bytes()
    assert write(path, table).read_bytes() == first


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".hdf5"])
@pytest.mark.parametrize("n_samples", [1, 100])
def test_rows_may_be_long(tmp_path, suffix, n_samples):
    path = tmp_path / f"table{suffix}"
    table = make_table(20, DECALS, n_samples)
    read = load_predictions(write(path, table, rows=15, metadata={"schema": DECALS.to_dict()}))
    pd.testing.assert_frame_equal(read.table, table.to_pandas())
    assert read.concentrations.shape == (20, 34, n_samples)


def test_what_others_added_stays(path):
    table = make_table()
    text, numbers = pa.array([f"NGC {i}" for i in range(10)]), pa.array(np.arange(10, dtype=np.float32))
    read = load_predictions(write(path, table.append_column("name", text).append_column("z", numbers))).table
    assert list(read.columns) == [*table.column_names, "name", "z"]
    assert list(read["name"]) == text.to_pylist()
    np.testing.assert_array_equal(read["z"], np.arange(10))


def test_tables_that_others_wrote_again_are_read(tmp_path):
    expected = load_predictions(write(tmp_path / "table.csv", make_table()))
    expected.table.to_parquet(tmp_path / "pandas.parquet")
    expected.table.to_csv(tmp_path / "pandas.csv", index=False)
    for name in ("pandas.parquet", "pandas.csv"):
        read = load_predictions(tmp_path / name)
        pd.testing.assert_frame_equal(read.table, expected.table)
        np.testing.assert_array_equal(read.concentrations, expected.concentrations)


def test_suffixes_may_be_in_capitals(tmp_path):
    table = make_table()
    for suffix in SUFFIXES:
        read = load_predictions(write(tmp_path / f"TABLE{suffix.upper()}", table))
        pd.testing.assert_frame_equal(read.table, table.to_pandas())


# The layout of Zoobot


@pytest.mark.parametrize("suffix", [".hdf5", ".h5"])
def test_hdf5_is_laid_out_as_zoobots(tmp_path, suffix):
    table = make_table()
    path = write(tmp_path / f"table{suffix}", table)
    with h5py.File(path) as file:
        assert file["predictions"].shape == (10, 2, 3)
        assert file["predictions"].dtype == np.float32
        assert list(file["label_cols"].asstr()) == RINGS.label_cols
        assert list(file["id_str"].asstr()) == AWKWARD
        np.testing.assert_array_equal(file["predictions"][:, 1, 2], table["ring_no_concentration_2"])
        np.testing.assert_array_equal(file["columns/ring_no_low"], table["ring_no_low"])
        assert list(file["columns/most_likely"].asstr()) == table["most_likely"].to_pylist()
    path = write(tmp_path / f"masks{suffix}", make_table(schema=None))
    with h5py.File(path) as file:
        assert set(file) == {"id_str", "columns", "column_names", "table", "table.__table_column_meta__"}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_files_of_zoobot_itself_are_read(tmp_path, dtype):
    concentrations = np.random.default_rng(0).uniform(1, 101, (4, 34, 2)).astype(dtype)
    with h5py.File(tmp_path / "zoobot.hdf5", "w") as file:
        text = h5py.string_dtype("utf-8")
        file.create_dataset("predictions", data=concentrations, compression="gzip")
        file.create_dataset("id_str", data=["0", "1", "b", "c"], dtype=text)
        file.create_dataset("label_cols", data=DECALS.label_cols, dtype=text)
    read = load_predictions(tmp_path / "zoobot.hdf5")
    np.testing.assert_array_equal(read.concentrations, concentrations.astype(np.float32))
    assert list(read.table.columns[:3]) == [
        "id_str",
        "smooth-or-featured_smooth_concentration_0",
        "smooth-or-featured_smooth_concentration_1",
    ]
    assert list(read.table["id_str"]) == ["0", "1", "b", "c"]
    assert (read.schema, read.metadata) == (None, {})


def test_hdf5_on_a_full_disk_fails_in_words(tmp_path):
    # A limit on file sizes simulates a full disk. Without a check HDF5 would crash when it closes the file.
    code = """
import resource, signal, sys
from pathlib import Path
from test_prediction_tables import make_table, write_table
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
table = make_table(30_000)
for limit in (1000, 6_000_000, 12_000_000, 80_000_000):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        write_table(Path(sys.argv[1]), (table[first : first + 5000] for first in range(0, len(table), 5000)))
        print("written")
    except OSError as error:
        print(error)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", code, tmp_path / "table.hdf5"]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout == "[Errno 27] File too large\n" * 3 + "written\n"


# What is refused


@pytest.mark.parametrize("name", ["table.txt", "table", "table.csv.gz"])
def test_other_suffixes_are_refused(tmp_path, name):
    message = rf"{name}: .*\.csv, \.parquet, \.hdf5, \.h5"
    with pytest.raises(ValueError, match=message):
        write(tmp_path / name, make_table())
    with pytest.raises(ValueError, match=message):
        load_predictions(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_table_of_no_pieces_is_refused(path):
    with pytest.raises(ValueError, match=rf"{path.name}: .*pieces .*at least one"):
        write_table(path, [])


def test_missing_tables_are_named(path):
    with pytest.raises(FileNotFoundError, match=rf"{path.name}: no such"):
        load_predictions(path)


def test_damaged_tables_are_refused(path):
    whole = write(path, make_table(1000)).read_bytes()
    for content in (b"", b"nothing of the kind", whole[: len(whole) // 2], whole[: -len(whole) // 50]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=rf"{path.name}: "):
            load_predictions(path)


def test_tables_without_rows_are_refused(path):
    write_table(path, [make_table()[:0]])
    with pytest.raises(ValueError, match=rf"{path.name}: .*no rows"):
        load_predictions(path)


def changed(path, **columns):
    table = make_table(4)
    for name, values in columns.items():
        kind = pa.string() if isinstance(values[0], str) else pa.float32()
        table = table.set_column(table.column_names.index(name), name, pa.array(values, kind))
    return write(path, table)


def test_a_galaxy_twice_is_refused(path):
    with pytest.raises(ValueError, match=r"id_str is 'J2' in row 4 \(J2\) and 1 more"):
        load_predictions(changed(path, id_str=["J1", "J2", "J2", "J2"]))


@pytest.mark.parametrize(("value", "shown"), [(0, r"0\.0"), (-3, r"-3\.0"), (np.nan, "empty"), (np.inf, "inf")])
def test_impossible_concentrations_are_refused(path, value, shown):
    message = rf"ring_no_concentration_1 is {shown} in row 4 \(NA\); .* 0 and finite"
    with pytest.raises(ValueError, match=message):
        load_predictions(changed(path, ring_no_concentration_1=[1, 2, value, 4]))


def test_text_among_numbers_is_refused(tmp_path):
    table = make_table(4).to_pandas()
    table["ring_no_concentration_1"] = ["1", "2", "spiral", "4"]
    table.to_csv(tmp_path / "table.csv", index=False)
    with pytest.raises(ValueError, match=r"ring_no_concentration_1 is 'spiral' in row 4 \(NA\); .*number"):
        load_predictions(tmp_path / "table.csv")


def test_lacking_columns_are_named(path):
    table = make_table()
    with pytest.raises(ValueError, match="lacks the column ring_no_concentration_2"):
        load_predictions(write(path.with_suffix(".csv"), table.drop_columns("ring_no_concentration_2")))
    with pytest.raises(ValueError, match="id_str"):
        load_predictions(write(path.with_suffix(".parquet"), table.drop_columns("id_str")))


def test_foreign_tables_are_refused(path):
    catalog = pa.table({"id_str": ["a"], "file_loc": ["a.png"], "redshift": pa.array([0.1], pa.float32())})
    with pytest.raises(ValueError, match=rf"{path.name}: .*_concentration_0 .*spiral_mask_loc"):
        load_predictions(write(path, catalog))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"predictions": np.ones((2, 2, 1)), "label_cols": ["a", "b"]}, "id_str"),
        ({"predictions": np.ones((2, 2, 1)), "id_str": ["x", "y"]}, "label_cols"),
        (
            {"predictions": np.ones((2, 2, 1)), "label_cols": ["a"], "id_str": ["x", "y"]},
            r"predictions .*galaxy, answer and sample, with 1 .*label_cols; received shape \(2, 2, 1\)",
        ),
        ({"predictions": np.ones((2, 2)), "label_cols": ["a", "b"], "id_str": ["x", "y"]}, r"received shape \(2, 2\)"),
        ({"predictions": np.ones((2, 2, 1)), "label_cols": ["a", "b"], "id_str": ["x"]}, "cannot be read"),
    ],
)
def test_hdf5_of_another_layout_is_refused(tmp_path, content, message):
    with h5py.File(tmp_path / "table.hdf5", "w") as file:
        for name, values in content.items():
            file[name] = values
    with pytest.raises(ValueError, match=rf"table\.hdf5: .*{message}"):
        load_predictions(tmp_path / "table.hdf5")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "JSON"),
        ('{"schema": {"name": "x"}}', "schema"),
        ('{"schema": {"name": [], "questions": [3]}}', "schema cannot be used"),
        ('{"schema": {"name": "x", "questions": ' + "[" * 400 + "]" * 400 + "}}", "schema cannot be used"),
        ('{"label": {"kind": {}}}', "label cannot be used"),
        ('{"label": {"column": 1, "kind": "binary", "counts": "ab"}}', "label cannot be used|lacks"),
        (json.dumps({"schema": DECALS.to_dict()}), r"'decals'.* 2 answers of the table"),
    ],
)
def test_wrong_metadata_are_refused(path, content, message):
    write(path, make_table())
    metadata_loc(path).write_text(content)
    with pytest.raises(ValueError, match=rf"table_metadata\.json: .*{message}"):
        load_predictions(path)


# Small files that would fill the memory


def write_rows(path, value, n):
    """A Parquet file of a few kB that has one value in all its rows."""
    piece = pa.table({"id_str": pa.array([value] * n, pa.string())})
    with pq.ParquetWriter(path, piece.schema) as file:
        for _ in range(50):
            file.write_table(piece)


@pytest.mark.parametrize(("value", "n"), [("g", 10**6), ("g" * 10_000, 1000), (None, 10**6)])
def test_parquet_of_absurd_size_is_refused_before_it_fills_the_memory(tmp_path, value, n):
    write_rows(tmp_path / "t.parquet", value, n)
    assert (tmp_path / "t.parquet").stat().st_size < 1e6
    with pytest.raises(
        ValueError, match=r"^\S+t\.parquet: cannot be read .*: its content would take 0\.3 GB of memory"
    ):
        load_predictions(tmp_path / "t.parquet")


@pytest.mark.parametrize(("name", "shape"), [("predictions", (10**8, 2, 3)), ("id_str", (10**8,))])
def test_hdf5_of_absurd_size_is_refused_before_it_is_read(tmp_path, name, shape):
    with h5py.File(tmp_path / "t.hdf5", "w") as file:
        file["label_cols"] = ["a", "b"]
        dtype = h5py.string_dtype() if name == "id_str" else np.float32
        file.create_dataset(name, shape, dtype, chunks=(4096, *shape[1:]))
    with pytest.raises(ValueError, match=r"t\.hdf5: .* its content would take \d\.\d GB of memory"):
        load_predictions(tmp_path / "t.hdf5")


def test_too_many_columns_are_refused(tmp_path):
    names = ["id_str", *(f"c{i}" for i in range(2**15))]
    (tmp_path / "t.csv").write_text(",".join(names) + "\n" + ",".join("1" for _ in names) + "\n")
    pq.write_table(pa.table({name: ["1"] for name in names}), tmp_path / "t.parquet")
    with h5py.File(tmp_path / "t.hdf5", "w") as file:
        file["id_str"], file["label_cols"], file["predictions"] = ["g"], ["a"], np.ones((1, 1, 2**15 + 1), np.float32)
    for path in tmp_path.iterdir():
        with pytest.raises(ValueError, match=rf"{path.name}: .* has 32769 columns; it must have at most 32768"):
            load_predictions(path)


def test_a_file_that_is_being_written_is_named(tmp_path):
    path = write(tmp_path / "t.hdf5", make_table())
    code = "import h5py, sys; file = h5py.File(sys.argv[1], 'a'); print(flush=True); sys.stdin.read()"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", code, path], **pipes) as other:
        other.stdout.readline()
        with pytest.raises(BlockingIOError, match=r"t\.hdf5: another program is writing this file; wait"):
            load_predictions(path)
        other.communicate()
    assert len(load_predictions(path).table) == 10


# Piece by piece


@pytest.fixture
def in_small_pieces(monkeypatch):
    """Three rows of Parquet and HDF5 at once, and few rows of CSV."""
    n_numbers = len(make_table(1, DECALS, 3).column_names)
    monkeypatch.setattr(prediction_tables, "_NUMBERS_AT_ONCE", 3 * 34 * 3)
    monkeypatch.setattr(prediction_tables, "_CSV_BLOCK_BYTES", 40 * n_numbers)


def test_pieces_hold_the_whole_table(path, in_small_pieces):
    table = make_table(200, DECALS, 3)
    write(path, table, rows=50, metadata={"schema": DECALS.to_dict()})
    whole, pieces = load_predictions(path), list(iterate_predictions(path))
    is_whole = path.suffix in (".fits", ".vot", ".ecsv")
    assert len(pieces) == 1 if is_whole else len(pieces) > 5
    np.testing.assert_array_equal(np.concatenate([piece.concentrations for piece in pieces]), whole.concentrations)
    identity = ["id_str", "file_loc", "spiral_mask_loc", "bar_mask_loc"]
    pd.testing.assert_frame_equal(pd.concat([piece.table for piece in pieces]), whole.table[identity])
    assert all(piece.schema == DECALS for piece in pieces)


def test_pieces_of_masks_alone_have_no_votes(path):
    (piece,) = iterate_predictions(write(path, make_table(schema=None)))
    assert (piece.schema, piece.concentrations) == (None, None)
    assert list(piece.table["id_str"]) == AWKWARD


def test_a_wrong_number_in_a_late_piece_is_named_by_its_row(path, in_small_pieces):
    table = make_table(200, DECALS, 3)
    name = f"{DECALS.label_cols[1]}_concentration_2"
    values = table[name].to_numpy().copy()
    values[150] = -1
    number = table.column_names.index(name)
    write(path, table.set_column(number, name, pa.array(values)), rows=50)
    with pytest.raises(ValueError, match=rf"{name} is -1.0 in row 152 \({table['id_str'][150]}\)"):
        list(iterate_predictions(path))


@pytest.mark.parametrize("content", [b"", b"no table", b"a,b\n1\n"])
def test_files_that_are_no_tables_are_refused_in_pieces_too(path, content):
    path.write_bytes(content)
    with pytest.raises(ValueError, match=path.name):
        list(iterate_predictions(path))


def test_a_table_without_rows_has_no_pieces(path):
    write_table(path, [make_table(3)[:0]])
    with pytest.raises(ValueError, match=f"{path.name}: the table has no rows"):
        list(iterate_predictions(path))
    with pytest.raises(FileNotFoundError, match="no such table"):
        list(iterate_predictions(path.with_stem("other")))


# Astropy, and compact tables


@pytest.mark.parametrize("suffix", [".fits", ".vot", ".ecsv", ".parquet", ".hdf5"])
def test_astropy_reads_units_descriptions_and_metadata_without_warnings(tmp_path, suffix):
    path = tmp_path / f"table{suffix}"
    table = make_table(3).append_column("v-rot", pa.array([1.0, 2.0, 3.0]))
    write_table(path, [table[:2], table[2:]], {"v-rot": "km / s"}, {"RUN": "α", "NVOTES": 40})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read = QTable.read(path, path="table") if suffix == ".hdf5" else QTable.read(path)
    np.testing.assert_allclose(read["ra"].to_value("deg"), table["ra"].to_numpy())
    assert (read["bar_length_arcsec"].unit, read["bar_length_px"].unit) == (u.arcsec, u.pix)
    assert read["v-rot"].unit == u.km / u.s
    assert read["ring_yes_low"].info.description.startswith("ring_yes: lower end")
    assert [str(id_str) for id_str in read["id_str"].astype(str)] == AWKWARD[:3]
    if suffix == ".vot":
        assert b'name="NVOTES" value="40"/>' in path.read_bytes()
    else:
        assert (read.meta["RUN"], read.meta["NVOTES"]) == (r"\u03b1" if suffix == ".fits" else "α", 40)
    if suffix == ".fits":  # where TOPCAT looks for descriptions
        assert fits.getheader(path, 1)["TCOMM2"].startswith("right ascension")


@pytest.mark.parametrize("names", ["tree", "plain"])
def test_compact_tables_have_votes_but_no_concentrations(path, names):
    table = make_table(schema=DECALS).select(column_names(DECALS, 0, MASKS))
    if names == "plain":
        table = table.rename_columns([plain_name(name) for name in table.column_names])
    write(path, table, metadata={"schema": DECALS.to_dict()})
    read = load_predictions(path)
    assert (read.schema, read.concentrations) == (DECALS, None)
    assert list(read.table) == table.column_names
    assert [piece.concentrations for piece in iterate_predictions(path)] == [None]
    write(path, table.drop_columns(table.column_names[3:6]), metadata={"schema": DECALS.to_dict()})
    with pytest.raises(ValueError, match=r"'decals'.* 33 answers"):
        load_predictions(path)


def test_predictions_never_print_whole(tmp_path):
    read = load_predictions(write(tmp_path / "table.csv", make_table(), metadata={"schema": RINGS.to_dict()}))
    assert len(repr(read)) < 100
    assert all(fact in repr(read) for fact in ("10 galaxies", "'rings'", "3 samples"))
