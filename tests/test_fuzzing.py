"""Damaged files for every reader: it reads them, or raises an error of this package, soon and in little memory.

A few damages per reader are tried with each run of the tests; `make test-faults` tries many.
"""

import json
import pickle
import resource
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
from astropy.io import fits
from astropy.table import Table
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from prediction_runs import DECALS, make_run

from zoobot3d_tf.cli import is_users
from zoobot3d_tf.images.read import read_image, read_marks, read_mask
from zoobot3d_tf.models.torch_file import read_torch_tensors
from zoobot3d_tf.predictions.mask_files import MaskOrigin, fits_extensions, fits_primary, read_mask_file
from zoobot3d_tf.predictions.prediction_tables import iterate_predictions, load_predictions
from zoobot3d_tf.predictions.results import concentration_names
from zoobot3d_tf.representations.compress import FittedPca, load_pca
from zoobot3d_tf.runs.run_folder import read_run
from zoobot3d_tf.schemas import load_schema
from zoobot3d_tf.shards.manifest import read_manifest
from zoobot3d_tf.shards.read import iterate_records
from zoobot3d_tf.tables.formats import read_table

FEW, MANY = 12, 1500
MAX_MEMORY = 2**30  # bytes
SLOWEST = timedelta(seconds=10)


@dataclass(frozen=True)
class Reader:
    """A reader of files.

    Attributes:
        name: name of the valid file.
        write: function that writes a valid file to a path.
        read: function that reads the file.
    """

    name: str
    write: Callable[[Path], Any]
    read: Callable[[Path], Any]


RNG = np.random.default_rng(0)
PICTURE = RNG.integers(0, 256, (24, 20, 3), dtype=np.uint8)
TABLE = pd.DataFrame({"id_str": ["a", "b"], "file_loc": ["a.png", "b.png"], "ra": [1.5, np.nan], "objid": [2**60, 3]})
COUNTS = RNG.integers(0, 16, (20, 20), dtype=np.uint8)


def write_fits_picture(path: Path) -> None:
    header = fits.Header({"BANDS": "grz", "CRVAL1": 1.0, "CRVAL2": 2.0, "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN"})
    fits.writeto(path, RNG.normal(size=(3, 20, 20)).astype(np.float32), header)


def write_compressed_fits(path: Path) -> None:
    hdus = [fits.PrimaryHDU(), fits.CompImageHDU(RNG.normal(size=(3, 20, 20)).astype(np.float32))]
    hdus[1].header["BANDS"] = "grz"
    fits.HDUList(hdus).writeto(path)


def write_fits_mask(path: Path) -> None:
    path.write_bytes(fits_primary(MaskOrigin("0", (), ())) + fits_extensions("a", {"spiral_mask": COUNTS}, None))


def write_pca(path: Path) -> None:
    FittedPca(np.zeros(4), np.eye(2, 4), np.ones(2), 3.0, "run").save(path)


def write_predictions(path: Path) -> None:
    names = concentration_names(DECALS.label_cols, n_samples=1)
    table = pd.DataFrame({"id_str": ["a", "b"], **dict.fromkeys(names, 1.5)})
    table.to_csv(path, index=False) if path.suffix == ".csv" else table.to_parquet(path, index=False)
    path.with_name(f"{path.stem}_metadata.json").write_text(json.dumps({"schema": DECALS.to_dict()}))


def write_torch_archive(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("weights/data.pkl", b"\x80\x02}.")


def write_older_torch_file(path: Path) -> None:
    items = (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}, {}, [])  # two marks, machine, tensors, keys
    path.write_bytes(b"".join(pickle.dumps(item, protocol=2) for item in items))


BINARY = (
    Reader("a.png", lambda path: cv2.imwrite(str(path), PICTURE), read_image),
    Reader("a.jpg", lambda path: cv2.imwrite(str(path), PICTURE), read_image),
    Reader("a.tif", lambda path: cv2.imwrite(str(path), PICTURE), read_image),
    Reader("a.fits", write_fits_picture, read_image),
    Reader("a.fits.fz", write_compressed_fits, read_image),
    Reader(
        "mask.png", lambda path: cv2.imwrite(str(path), COUNTS), lambda path: read_mask(path, (20, 20), n_volunteers=15)
    ),
    Reader("mask.fits", write_fits_mask, lambda path: read_mask_file(f"{path}[SPIRAL]")),
    Reader("table.csv", lambda path: TABLE.to_csv(path, index=False), read_table),
    Reader("table.parquet", lambda path: TABLE.to_parquet(path, index=False), read_table),
    Reader("table.fits", lambda path: Table.from_pandas(TABLE).write(path), read_table),
    Reader("table.ecsv", lambda path: Table.from_pandas(TABLE).write(path), read_table),
    Reader("table.vot", lambda path: Table.from_pandas(TABLE).write(path, format="votable"), read_table),
    Reader("predictions.csv", write_predictions, load_predictions),
    Reader("predictions.parquet", write_predictions, load_predictions),
    Reader("pieces.csv", write_predictions, lambda path: list(iterate_predictions(path))),
    Reader("pieces.parquet", write_predictions, lambda path: list(iterate_predictions(path))),
    Reader("pca.npz", write_pca, load_pca),
    Reader("weights.bin", write_torch_archive, read_torch_tensors),
    Reader("weights.pth", write_older_torch_file, read_torch_tensors),
)
MARKS = {
    "spiral_mask": [[[[1, 1], [5, 1], [5, 5]]], []],
    "bar_mask": [[], [{"line": [[2, 2], [3, 2], [3, 3]], "width": 2}]],
}
TREE = {
    "questions": {
        "smooth": {"answers": ["yes", "no"]},
        "bar": {"answers": ["strong", "weak"], "asked_after": "smooth_no"},
    }
}
TEXTS = (
    Reader(
        "marks.json",
        lambda path: path.write_text(json.dumps(MARKS)),
        lambda path: read_marks(path, (8, 8), n_volunteers=2),
    ),
    Reader("tree.json", lambda path: path.write_text(json.dumps(TREE)), load_schema),
    Reader("run/config.json", lambda path: make_run(path.parent), lambda path: read_run(path.parent)),
    Reader(
        "predictions_metadata.json",
        lambda path: write_predictions(path.with_name("predictions.csv")),
        lambda path: load_predictions(path.with_name("predictions.csv")),
    ),
)


@st.composite
def damaged_bytes(draw: st.DrawFn, content: bytes) -> bytes:
    """A file with up to four damages: bytes changed, removed, repeated or cut off."""
    data = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, max(0, len(data) - 1)))
        stop = start + draw(st.integers(1, 40))
        change = draw(st.sampled_from(["set", "remove", "repeat", "cut"]))
        if change == "set":
            data[start:stop] = draw(st.binary(min_size=1, max_size=40))
        elif change == "remove":
            del data[start:stop]
        elif change == "repeat":
            data[start:start] = data[start:stop] * draw(st.integers(1, 50))
        else:
            del data[start:]
    return bytes(data)


NUMBERS = st.one_of(st.integers(-(2**70), 2**70), st.floats(), st.booleans(), st.none())
LEAVES = st.one_of(NUMBERS, st.text(max_size=8), st.just("../../x"), st.just({}), st.just([]))


@st.composite
def damaged_json(draw: st.DrawFn, content: Any) -> str:
    """A JSON document in which up to three values were replaced, removed, or nested deeply."""
    content = json.loads(json.dumps(content))
    for _ in range(draw(st.integers(1, 3))):
        place, key = content, None
        while isinstance(place, dict | list) and place and draw(st.integers(0, 5)):
            parent, key = place, draw(st.sampled_from(list(place) if isinstance(place, dict) else range(len(place))))
            place = parent[key]
        value = draw(LEAVES)
        if key is None:
            return json.dumps(value)
        if draw(st.booleans()):
            parent[key] = value
        else:
            del parent[key]
    text = json.dumps(content)
    return "[" * 100_000 if draw(st.integers(0, 30)) == 0 else text


def assert_reads_or_refuses(read: Callable[[Path], Any], path: Path) -> None:
    """Assert that a file is read, or refused with an error of this package, without much memory."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        read(path)
    except Exception as error:
        if not is_users(error):
            raise
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert (after - before) * 1024 < MAX_MEMORY


def check(strategy: st.SearchStrategy, write: Callable[[Any], Any], read: Callable[[], None], n: int) -> None:
    """Write and read `n` damaged files. The same files come with each run, and a failure is not made smaller."""

    @settings(
        max_examples=n,
        deadline=SLOWEST,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def read_damaged(content: Any) -> None:
        write(content)
        read()

    read_damaged()


HOW_MANY = pytest.mark.parametrize("n", [FEW, pytest.param(MANY, marks=pytest.mark.faults)])


@HOW_MANY
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("reader", BINARY, ids=lambda reader: reader.name)
def test_damaged_files_are_read_or_refused(tmp_path, reader, n):
    path = tmp_path / reader.name
    reader.write(path)
    reader.read(path)
    check(damaged_bytes(path.read_bytes()), path.write_bytes, lambda: assert_reads_or_refuses(reader.read, path), n)


@HOW_MANY
@pytest.mark.parametrize("reader", TEXTS, ids=lambda reader: reader.name)
def test_json_of_another_kind_is_read_or_refused(tmp_path, reader, n):
    path = tmp_path / reader.name
    path.parent.mkdir(exist_ok=True)
    reader.write(path)
    reader.read(path)
    strategy = damaged_json(json.loads(path.read_text()))
    check(strategy, path.write_text, lambda: assert_reads_or_refuses(reader.read, path), n)


@HOW_MANY
def test_a_damaged_manifest_is_read_or_refused(shards, tmp_path, n):
    path = tmp_path / "shards.json"
    strategy = damaged_json(json.loads((shards / "shards.json").read_text()))
    check(strategy, path.write_text, lambda: assert_reads_or_refuses(read_manifest, tmp_path), n)


@HOW_MANY
def test_damaged_records_are_read_or_refused(shards, tmp_path, n):
    """The size in the manifest is that of the damaged file, so that its content is read."""
    source = sorted((shards / "eval_shards").iterdir())[0]
    manifest = json.loads((shards / "shards.json").read_text())
    path = tmp_path / "eval_shards" / source.name
    path.parent.mkdir()

    def write(content: bytes) -> None:
        path.write_bytes(content)
        for file in manifest["splits"]["eval"]["files"]:
            file["bytes"] = len(content)
        (tmp_path / "shards.json").write_text(json.dumps(manifest))

    def read(path: Path) -> None:
        for _ in iterate_records([path]):
            pass

    check(damaged_bytes(source.read_bytes()), write, lambda: assert_reads_or_refuses(read, path), n)
