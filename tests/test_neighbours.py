"""Neighbours of galaxies, and their pictures."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.spatial.distance import cdist
from vector_tables import read_in_pieces, write_vectors

from zoobot3d_tf.pages.thumbnails import draw_neighbours
from zoobot3d_tf.representations.neighbours import METRICS, find_neighbours, write_neighbours
from zoobot3d_tf.representations.vectors import open_vectors

# As seen from a: b is in the same direction, c is near but at 90 degrees, d is in the opposite direction.
PLACES = {"a": [1, 0], "b": [3, 0], "c": [0, 1], "d": [-1, 0]}


@pytest.fixture
def table(tmp_path):
    return write_vectors(tmp_path / "c.parquet", "component", list(PLACES.values()), ids=list(PLACES))


def find(table, id_strs, k, metric="euclidean"):
    return find_neighbours(open_vectors(table, "component"), id_strs, k=k, metric=metric)


def test_distances_are_known_by_hand(table):
    near = find(table, ["a"], k=3)
    assert list(near.columns) == ["id_str", "rank", "neighbour", "distance", "file_loc"]
    assert list(near["rank"]) == [1, 2, 3]
    assert list(near.neighbour) == ["c", "b", "d"]  # b and d, at the same distance, keep their order
    assert list(near.file_loc) == ["c.png", "b.png", "d.png"]
    np.testing.assert_allclose(near.distance, [np.sqrt(2), 2, 2], rtol=1e-6)
    alike = find(table, ["a"], k=3, metric="cosine")
    assert list(alike.neighbour) == ["b", "c", "d"]
    np.testing.assert_allclose(alike.distance, [0, 1, 2], atol=1e-6)


@pytest.mark.parametrize("metric", METRICS)
def test_planted_copies_come_first_and_the_galaxy_itself_never(tmp_path, monkeypatch, metric):
    read_in_pieces(monkeypatch, 9, 10)
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(100, 10))
    vectors[[40, 80]] = vectors[3] + 1e-3 * rng.normal(size=(2, 10))
    vectors[99] = vectors[50]
    table = write_vectors(tmp_path / "c.parquet", "component", vectors)
    near = find(table, ["g3", "g50"], k=2, metric=metric)
    assert set(near.neighbour[:2]) == {"g40", "g80"}
    assert near.neighbour[2] == "g99"
    assert near.distance[2] == pytest.approx(0, abs=1e-5)
    everyone = find(table, ["g3"], k=99, metric=metric)
    assert set(everyone.neighbour) == {f"g{i}" for i in range(100)} - {"g3"}
    assert everyone.distance.is_monotonic_increasing


def test_a_table_written_by_pandas_can_be_read(table):
    stored = pd.read_parquet(table).assign(id_str=[11, 5, 7, 3], file_loc=["a.png", None, "c.png", "d.png"])
    stored.set_index("id_str").to_parquet(table)
    near = find(table, ["11"], k=3)
    assert list(near.neighbour) == ["7", "5", "3"]
    assert list(near.file_loc) == ["c.png", "", "d.png"]


@pytest.mark.parametrize("metric", METRICS)
def test_distances_are_those_of_scipy(tmp_path, monkeypatch, metric):
    read_in_pieces(monkeypatch, 30, 5)
    vectors = np.random.default_rng(1).normal(size=(100, 5)).astype(np.float32)
    near = find(write_vectors(tmp_path / "c.parquet", "component", vectors), ["g7"], k=99, metric=metric)
    distances = cdist(vectors[[7]], vectors, metric)[0]
    order = [i for i in np.argsort(distances, kind="stable") if i != 7]
    assert list(near.neighbour) == [f"g{i}" for i in order]
    np.testing.assert_allclose(near.distance, distances[order], rtol=1e-5)


def test_a_sheet_shows_each_galaxy_before_its_neighbours(tmp_path):
    colours = {"a": (250, 0, 0), "b": (0, 250, 0), "c": (0, 0, 250)}
    for name, colour in colours.items():
        image = np.full((60, 40, 3), colour, np.uint8)
        image[0, 0] = 9  # an image of one colour counts as empty
        Image.fromarray(image).save(tmp_path / f"{name}.png")
    file_locs = [str(tmp_path / f"{name}.png") for name in PLACES]  # the image of d is missing
    table = write_vectors(tmp_path / "c.parquet", "component", list(PLACES.values()), list(PLACES), file_locs)
    found = write_neighbours(table, ["b", "d"], tmp_path / "n.csv", k=2)
    assert list(found.neighbour) == ["a", "c", "c", "a"]
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "n.csv"), found, check_dtype=False)
    sheet = Image.open(draw_neighbours(tmp_path / "n.png", table, found)).convert("RGB")
    assert sheet.size == (10 + 3 * 160, 10 + 2 * 200)
    shown = [[sheet.getpixel((85 + 160 * column, 40 + 200 * row)) for column in range(3)] for row in range(2)]
    grey = (233, 236, 242)
    assert shown == [[colours["b"], colours["a"], colours["c"]], [grey, colours["c"], colours["a"]]]
    assert len(sheet.crop((10, 160, 160, 200)).getcolors(1000)) > 2, "the id is below the picture"


def test_ids_of_any_length_and_letters_fit_below_their_picture(tmp_path):
    ids = ["x" * 3000, "é☄ <b>", "two\nlines"]
    table = write_vectors(tmp_path / "c.parquet", "component", np.eye(3), ids=ids)
    draw_neighbours(tmp_path / "n.png", table, find(table, ids, k=1))
    sheet = np.asarray(Image.open(tmp_path / "n.png").convert("L"))
    assert (sheet[163:195, 161:169] == 255).all(), "the long id ends before the next picture begins"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"k": 4}, r"c\.parquet.*\bk\b.* 1 to 3 .* 4$"),
        ({"k": 0}, r"c\.parquet.*\bk\b.* 1 to 3 .* 0$"),
        ({"metric": "manhattan"}, "metric .*euclidean, cosine.* 'manhattan'"),
        ({"id_strs": []}, "id_strs .*none$"),
        ({"id_strs": ["a", "a"]}, "id_strs .* a, a$"),
        ({"id_strs": ["A"]}, r"c\.parquet.*'A'; did you mean a\?"),
        ({"out": "n.txt"}, r"n\.txt"),
        ({"out": "c.parquet"}, r"c\.parquet.*another name"),
    ],
)
def test_impossible_arguments_are_named(table, tmp_path, monkeypatch, options, words):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=words):
        write_neighbours(**({"components_loc": table, "id_strs": ["a"], "out": "n.csv", "k": 1} | options))
    assert not list(tmp_path.glob("n.*"))
