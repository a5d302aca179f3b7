"""The commands from images to features, components, neighbours, anomalies and the map."""

import re

import numpy as np
import pandas as pd
import pytest
from prediction_runs import draw_galaxies, make_run
from vector_tables import write_vectors

from zoobot3d_tf.cli import main
from zoobot3d_tf.inference.inputs import galaxies_in_catalog
from zoobot3d_tf.representations import features


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run folder with a fake network, whose features are the means of the three bands."""
    means = features._FeatureNetwork(4, 3, lambda pixels: [pixels.mean(axis=(1, 2), dtype=np.float32)])
    monkeypatch.setattr(features, "_load", lambda settings: means)
    return make_run(tmp_path / "run")


def command(*arguments):
    return main([str(argument) for argument in arguments])


@pytest.mark.parametrize(
    ("stage", "picture"),
    [
        (["neighbours", "--id", "g1"], "near.jpg"),
        (["neighbours", "--id", "g1", "--k", "1000"], "near.png"),
        (["anomalies"], "odd.jpg"),
    ],
)
def test_a_picture_that_could_not_be_written_is_refused_before_the_work(tmp_path, monkeypatch, capsys, stage, picture):
    monkeypatch.chdir(tmp_path)
    write_vectors(tmp_path / "c.parquet", "component", np.eye(1002)[:, :2])
    name, *options = stage
    assert command(name, "c.parquet", *options, "--out", "t.csv", "--picture", picture) == 2
    assert picture in capsys.readouterr().err
    assert not list(tmp_path.glob("t.*"))


def test_all_commands_from_images_to_the_map(run, survey, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert command("representations", run, survey, "--out", "features.parquet", "--engine", "tf") == 0
    assert command("compress", "features.parquet", "--n-components", 2, "--out", "components.parquet") == 0
    ids = list(galaxies_in_catalog(survey).id_str)
    assert list(pd.read_parquet("components.parquet").id_str) == ids
    near = ("neighbours", "components.parquet", "--id", ids[4], ids[0], "--k", 3, "--out", "near.csv")
    assert command(*near, "--metric", "cosine", "--picture", "near.png") == 0
    assert list(pd.read_csv("near.csv").id_str.unique()) == [ids[4], ids[0]]
    assert command("anomalies", "components.parquet", "--out", "odd.parquet", "--picture", "odd.png") == 0
    assert set(pd.read_parquet("odd.parquet").id_str) == set(ids)
    assert command("map", "components.parquet", "--catalog", "odd.parquet", "--out", "map.html", "--method", "pca") == 0
    assert {path.name for path in tmp_path.iterdir()} > {"near.png", "odd.png", "map.html", "components_pca.npz"}
    assert capsys.readouterr().out.splitlines()[-1] == "map.html"
    again = ("compress", "features.parquet", "--pca", "components_pca.npz", "--out", "again.parquet")
    assert command(*again) == 0
    pd.testing.assert_frame_equal(pd.read_parquet("again.parquet"), pd.read_parquet("components.parquet"))


def test_every_kind_of_input_gives_its_galaxies(run, survey, shards, tmp_path):
    images = draw_galaxies(tmp_path / "images", 11)
    (tmp_path / "list.txt").write_text("\n".join(str(path) for path in sorted(images.iterdir())[:3]))
    in_catalog = list(galaxies_in_catalog(survey).id_str)
    names = sorted(path.stem for path in images.iterdir())
    written = {}
    for source in (images, tmp_path / "list.txt", survey, shards, shards / "eval_shards"):
        options = ["--out", tmp_path / "f.parquet", "--engine", "tf", "--overwrite"]
        assert command("representations", run, source, *options) == 0
        written[source] = list(pd.read_parquet(tmp_path / "f.parquet").id_str)
    assert written[images] == names
    assert written[tmp_path / "list.txt"] == names[:3]
    assert written[survey] == in_catalog
    assert set(written[shards / "eval_shards"]) < set(written[shards]) == set(in_catalog)


@pytest.mark.parametrize(
    ("source", "option", "words"),
    [
        ("list.txt", ["--recursive"], r"--recursive\b.* folder .*list\.txt"),
        ("list.txt", ["--image-root", "."], r"--image-root\b.* catalogue.*list\.txt"),
        (".", ["--image-root", "."], r"--image-root\b.* catalogue"),
        ("imgaes", [], r"imgaes\b.* folder, image, catalogue or list"),
    ],
)
def test_options_for_another_kind_of_input_are_refused(run, tmp_path, monkeypatch, capsys, source, option, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "list.txt").write_text("a.png")
    assert command("representations", run, source, "--out", "f.parquet", *option) == 2
    assert re.search(words, capsys.readouterr().err)
