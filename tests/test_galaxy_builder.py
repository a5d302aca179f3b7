"""The catalogue of Galaxy Builder, from volunteers whose drawings are known and from the real ones."""

import gzip
import json
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from zoobot3d_tf.images.masks import counts_from_marks, overlap
from zoobot3d_tf.images.read import read_marks, read_mask
from zoobot3d_tf.schemas import get_schema

SHAPE = (128, 128)
ARM, SCRIBBLE = [[40, 30], [90, 30]], [[40, 110], [90, 110]]
BOX = [[54.5, 59.5], [74.5, 59.5], [74.5, 69.5], [54.5, 69.5]]


@pytest.fixture(scope="module")
def example():
    sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
    yield import_module("galaxy_builder")
    sys.path.pop(0)


def drew(*arms, bar=None):
    return {"arms": list(arms), "bar": bar and {"box_px": bar}}


def write_annotations(folder, entries):
    (folder / "images").mkdir(parents=True)
    for entry in entries:
        pixels = np.random.default_rng(0).integers(0, 255, SHAPE, dtype=np.uint8)
        Image.fromarray(pixels).save(folder / entry["image"])
    text = json.dumps({str(number): entry for number, entry in enumerate(entries)})
    (folder / "annotations.json.gz").write_bytes(gzip.compress(text.encode()))


def entry_of(id_str, volunteers, is_validation=False, align_score=0.5):
    return {
        "dr7objid": id_str,
        "is_validation": is_validation,
        "align_score": align_score,
        "image": f"images/{id_str}.png",
        "ra": 150.0,
        "dec": 2.0,
        "volunteers": volunteers,
    }


@pytest.fixture
def run(example, monkeypatch):
    def call(folder, out):
        monkeypatch.setattr(sys, "argv", ["galaxy_builder.py", str(folder), "--out", str(out)])
        example.main()

    return call


def test_catalogues_of_both_groups(run, tmp_path, capsys):
    nobody, first = [drew()] * 26, [drew(ARM, bar=BOX), drew(ARM, bar=BOX), drew(ARM, SCRIBBLE), drew()]
    entries = [
        entry_of("587", first + nobody),
        entry_of("587", [drew(ARM), drew(ARM)] + [drew()] * 28, is_validation=True),
        entry_of("588", first + nobody, align_score=0.19),
    ]
    write_annotations(tmp_path / "data", entries)
    for _ in range(2):  # it can be repeated
        run(tmp_path / "data", tmp_path / "out")
    printed = capsys.readouterr().out
    assert "1 of 2 galaxies; left out: 1 with an alignment score below 0.2" in printed
    assert "1 of 6" in printed

    tables = {
        name: pd.read_csv(tmp_path / "out" / name, dtype={"id_str": str})
        for name in ("catalog.csv", "second_group.csv")
    }
    for table in tables.values():
        assert (table["id_str"][0], table["n_volunteers"][0], len(table)) == ("587", 30, 1)
        assert (tmp_path / "out" / table["file_loc"][0]).is_file()
    row = tables["catalog.csv"].iloc[0]
    arms, bar = (read_mask(tmp_path / "out" / row[f"{name}_loc"], SHAPE, 30) for name in ("spiral_mask", "bar_mask"))
    # The line of 24 pixels is 51 columns of 25 rows; the caps are beyond them.
    assert (arms[18:43, 40:91] == 3).all()
    assert arms[43:].max() == arms[:18].max() == 0, "the scribble is left out"
    assert arms[30, 28] == 3
    assert (bar.max(), bar.sum()) == (2, 2 * 20 * 10)
    marks = read_marks(tmp_path / "out" / row["marks_loc"], SHAPE, 30)
    np.testing.assert_array_equal(marks["spiral_mask"], arms)
    second = tables["second_group.csv"].iloc[0]
    assert not read_mask(tmp_path / "out" / second["bar_mask_loc"], SHAPE, 30).any(), "asked, none drew"
    assert read_mask(tmp_path / "out" / second["spiral_mask_loc"], SHAPE, 30)[30, 60] == 2


def test_the_catalogue_can_be_used_for_training(run, tmp_path):
    from zoobot3d_tf.catalogs.training_catalog import read_training_catalog

    write_annotations(tmp_path / "data", [entry_of("587", [drew(ARM)] * 30)])
    run(tmp_path / "data", tmp_path / "out")
    catalog = read_training_catalog(
        tmp_path / "out" / "catalog.csv", get_schema("decals"), missing_questions_unasked=True
    )
    assert list(catalog["n_volunteers"]) == [30]


def test_shared_fraction_of_arms(example):
    line = [{"line": path, "width": 1} for path in ([[10, 10], [29, 10]], [[20, 10], [29, 10]], [[10, 90], [20, 90]])]
    fractions = example.shared_fractions([[line[0]], [line[1], line[2]], []], SHAPE)
    assert fractions == [[0.5], [1.0, 0.0], []]


def test_a_galaxy_without_image_is_left_out_and_named(run, tmp_path, capsys):
    write_annotations(tmp_path / "data", [entry_of("587", [drew(ARM)] * 30), entry_of("588", [drew(ARM)] * 30)])
    (tmp_path / "data" / "images" / "588.png").unlink()
    run(tmp_path / "data", tmp_path / "out")
    printed = capsys.readouterr().out
    assert "588.png: no such file" in printed
    assert "1 of 2 galaxies; left out: 0 with an alignment score below 0.2, 1 that cannot be read" in printed


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "no such file"), (b"text", "cannot be read"), (gzip.compress(b'{"1": {}}', mtime=0), "entry 0.*dr7objid")],
)
def test_folders_that_are_not_galaxy_builder_are_refused(example, tmp_path, content, words):
    if content is not None:
        (tmp_path / "annotations.json.gz").write_bytes(content)
    with pytest.raises(ValueError, match=rf"annotations\.json\.gz: .*{words}"):
        example.read_annotations(tmp_path)


def test_two_groups_of_real_volunteers_agree(example, reference):
    folder = reference / "data" / "real" / "galaxy_builder"
    if not folder.is_dir():
        pytest.skip(f"no Galaxy Builder data in {folder}")
    groups = {False: {}, True: {}}
    for entry in example.read_annotations(folder):
        assert len(entry["volunteers"]) == 30
        if entry["align_score"] >= example.MIN_ALIGNMENT:
            arms = example.marks_of(entry)["spiral_mask"]
            counts = counts_from_marks(arms, (512, 512))
            groups[entry["is_validation"]][entry["dr7objid"]] = counts, sum(map(bool, arms))
    both = groups[False].keys() & groups[True].keys()

    def mean_iou(fraction_of):
        pairs = [[fraction_of(*groups[group][id_str]) for group in (False, True)] for id_str in both]
        counts = [overlap(first, second, np, threshold=0.2) for first, second in pairs]
        return np.mean([intersection / union for intersection, union in counts if union])

    assert len(both) == 66
    # Half of the volunteers drew no arms: first without them, then with them, as in the catalogue.
    assert mean_iou(lambda counts, n_drew: counts / n_drew) == pytest.approx(0.58, abs=0.02)
    assert mean_iou(lambda counts, n_drew: counts / 30) == pytest.approx(0.48, abs=0.02)
