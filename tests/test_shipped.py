"""The run that comes with the package: its name, its use as the default, and the note on its predictions."""

import json
import logging
import shutil
import tomllib
from pathlib import Path

import pytest
from prediction_runs import RedNetwork, draw_galaxies, make_run

from zoobot3d_tf.cli import main
from zoobot3d_tf.files import sha256_of
from zoobot3d_tf.pages.gallery import write_gallery
from zoobot3d_tf.predictions import predict_part
from zoobot3d_tf.runs import run_folder
from zoobot3d_tf.runs.run_folder import SHIPPED, SHIPPED_FOLDER, WEIGHTS_NAME, read_run

ROOT = Path(__file__).resolve().parents[1]
NOTE = "small general weights, trained on real galaxies of SDSS and DECaLS and on simulated galaxies"


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    """A run with a fake network in place of the packaged one, and a folder of images to predict."""
    monkeypatch.setattr(run_folder, "SHIPPED_FOLDER", make_run(tmp_path / "package" / "shipped"))
    monkeypatch.setattr(predict_part, "Network", RedNetwork)
    draw_galaxies(tmp_path / "images", 3)
    monkeypatch.chdir(tmp_path)
    return run_folder.SHIPPED_FOLDER


def test_the_name_is_the_packaged_run_and_a_path_is_a_folder(shipped, tmp_path):
    assert read_run(SHIPPED).folder == shipped
    assert read_run(SHIPPED).note == NOTE
    own = make_run(tmp_path / "shipped")
    assert read_run(SHIPPED).folder == shipped
    for path in ("./shipped", Path("shipped"), str(own)):
        assert read_run(path).folder == own
        assert read_run(path).note is None


@pytest.mark.parametrize("arguments", [["images"], ["--folder", "images"], ["images", "--checkpoint-dir", "shipped"]])
def test_predictions_need_no_run_folder_and_record_the_note(shipped, caplog, capsys, arguments):
    with caplog.at_level(logging.WARNING):
        assert main(["predict", *arguments]) == 0
    assert [record.getMessage() for record in caplog.records] == [f"shipped: {NOTE}"]
    assert capsys.readouterr().out == "predictions.csv\n"
    metadata = json.loads(Path("predictions_metadata.json").read_text())
    assert metadata["note"] == NOTE
    assert metadata["runs"][0]["weights_sha256"] == sha256_of(shipped / WEIGHTS_NAME)


def test_predictions_of_an_own_run_have_no_note(shipped, tmp_path, caplog):
    make_run(tmp_path / "run")
    with caplog.at_level(logging.WARNING):
        assert main(["predict", "images", "--checkpoint-dir", "run", "--save-loc", "table.csv"]) == 0
    assert not caplog.records
    assert json.loads(Path("table_metadata.json").read_text())["note"] is None


def test_the_default_table_replaces_no_table(shipped, capsys):
    Path("predictions.csv").write_text("mine")
    assert main(["predict", "images"]) == 2
    error = capsys.readouterr().err
    assert "predictions.csv: already exists" in error
    assert "--save-loc" in error
    assert Path("predictions.csv").read_text() == "mine"


def test_exactly_one_source_of_images_is_accepted(shipped, capsys):
    for arguments in (["images", "--folder", "images"], []):
        with pytest.raises(SystemExit):
            main(["predict", *arguments])
    errors = capsys.readouterr().err
    assert "--folder: not allowed with argument FOLDER" in errors
    assert "one of the arguments FOLDER --folder --catalog --shards --files is required" in errors


def test_pages_have_the_note(shipped, survey, tmp_path):
    shutil.copytree(survey.parent / "images", tmp_path / "survey")
    main(["predict", "survey", "--samples"])
    write_gallery("predictions.csv", "page.html")
    data = (tmp_path / "page_files" / "data.js").read_text().removeprefix("const gallery = ").rstrip().rstrip(";")
    assert json.loads(data)["notes"] == [f"Predicted with {NOTE}."]
    main(
        [
            "evaluate",
            "--predictions",
            "predictions.csv",
            "--catalog",
            str(survey),
            "--schema",
            "decals",
            "--out",
            "report",
        ]
    )
    assert f"Predicted with {NOTE}." in Path("report/index.html").read_text()


def test_the_folder_belongs_to_the_package():
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    assert SHIPPED_FOLDER == ROOT / "zoobot3d_tf" / "shipped"
    assert "shipped/*" in patterns["zoobot3d_tf"]
