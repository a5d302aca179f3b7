"""Paths that begin with ~, the home folder, at the command line, in Python and in catalogues."""

from pathlib import Path

import pandas as pd
import pytest

from zoobot3d_tf.cli import main
from zoobot3d_tf.inference.inputs import galaxies_in_catalog, galaxies_in_folder
from zoobot3d_tf.runs.run_folder import read_run
from zoobot3d_tf.shards.manifest import read_manifest, shards_in
from zoobot3d_tf.shards.read import iterate_records
from zoobot3d_tf.tables.formats import read_table, write_table
from zoobot3d_tf.training.training_config import config_from_folders


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """Home folder; the working folder is another one, and must stay empty."""
    for name in ("home", "elsewhere"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "elsewhere")
    yield tmp_path / "home"
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_table_is_written_to_the_home_folder_and_read_from_it(home):
    table = pd.DataFrame({"id_str": ["a"], "file_loc": ["~/images/a.png"]})
    assert write_table(table, "~/t.csv") == home / "t.csv"
    assert list(home.iterdir()) == [home / "t.csv"]
    assert read_table("~/t.csv")["file_loc"][0] == str(home / "images" / "a.png")


def test_commands_work_in_the_home_folder(home):
    assert main(["simulate", "--out=~/survey", "--n", "6", "--workers", "1"]) == 0
    assert main(["shards", "--labelled-catalog=~/survey/catalog.csv", "--shard-dir=~/shards", "--schema", "decals",
                 "--img-size", "32", "--eval-size", "0.5", "--workers", "1"]) == 0  # fmt: skip
    assert {path.name for path in home.iterdir()} == {"survey", "shards"}
    assert read_manifest("~/shards").count("train") + read_manifest("~/shards/eval_shards").count("eval") == 6
    assert shards_in("~/shards/train_shards")[0].is_relative_to(home)
    assert len(list(iterate_records(["~/shards/train_shards/train-00000-of-00001.tfrecord"]))) > 0
    assert len(galaxies_in_folder("~/survey/images")) == 6


def test_a_catalogue_may_name_files_of_the_home_folder(home):
    main(["simulate", "--out=~/survey", "--n", "2", "--workers", "1"])
    catalog = read_table("~/survey/catalog.csv")
    catalog["file_loc"] = "~/survey/" + catalog["file_loc"]
    (home / "lists").mkdir()
    write_table(catalog, "~/lists/c.csv")
    for loc in galaxies_in_catalog("~/lists/c.csv")["file_loc"]:
        assert Path(loc).is_file()


def test_a_run_folder_may_be_in_the_home_folder(home, small_model, shards):
    (home / "run").symlink_to(small_model.run.folder)
    assert read_run("~/run").weights_loc.is_file()
    (home / "shards").symlink_to(shards)
    folders = ("~/shards/train_shards", "~/shards/eval_shards", "~/new")
    config = config_from_folders(*folders, resize_size=32, epochs=1, batch_size=8)
    assert config.log_dir == home / "new"
    assert all(Path(path).is_file() for path in config.train_records)
