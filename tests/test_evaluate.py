"""The evaluation of trained runs: what is predicted, what is left out, and the commands."""

import argparse
import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from zoobot3d_tf.cli import main
from zoobot3d_tf.commands.evaluation import _split_places
from zoobot3d_tf.runs.seen import write_seen
from zoobot3d_tf.shards.manifest import read_manifest
from zoobot3d_tf.shards.read import read_votes


@pytest.fixture(scope="module")
def run(small_model, shards, tmp_path_factory):
    """A run that was trained on two of the validation galaxies of the shards, and has a history."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    shutil.copytree(small_model.run.folder, folder)
    manifest = read_manifest(shards)
    ids, votes = read_votes(manifest.paths("eval"))
    training = pd.DataFrame(votes[:2], columns=manifest.schema.label_cols)
    training.insert(0, "id_str", ids[:2])
    write_seen(folder, training, validation=ids[2:3])
    pd.DataFrame({"loss": [2.0, 1.0], "val_loss": [2.5, 1.5]}).to_csv(folder / "history.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def report(run, shards, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report") / "report"
    assert main(["evaluate", str(run), str(shards / "eval_shards"), "--out", str(folder), "--n-samples", "2"]) == 0
    return folder


def test_the_folder_has_the_page_and_every_number(report, shards):
    n_eval = read_manifest(shards).count("eval")
    stored = json.loads((report / "scores.json").read_text())
    assert stored["n_galaxies"] == n_eval - 2
    assert stored["left_out"] == {"on which run was trained": 2}
    assert any("1 of the" in note and "chose the best epoch of run" in note for note in stored["notes"])
    lines = pd.read_csv(report / "scores.csv")
    assert {"votes", "spiral_mask", "bar_mask"} == set(lines["of"])
    assert len(pd.read_csv(report / "galaxies.csv")) == n_eval - 2
    page = (report / "index.html").read_text()
    assert "always predicting the mean of the training galaxies" in page
    assert "Loss of each epoch" in page


def test_predictions_are_made_once(report, run, shards, capsys):
    before = (report / "predictions.parquet").stat().st_mtime_ns
    arguments = ["evaluate", str(run), str(shards / "eval_shards"), "--out", str(report), "--n-samples", "2"]
    assert main([*arguments, "--include-training"]) == 0
    assert (report / "predictions.parquet").stat().st_mtime_ns == before
    assert f"{read_manifest(shards).count('eval')} galaxies" in capsys.readouterr().out
    notes = json.loads((report / "scores.json").read_text())["notes"]
    assert any("scored galaxies are galaxies on which run was trained" in note for note in notes)


def test_two_runs_are_compared_on_the_same_galaxies(run, small_model, shards, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(small_model.run.folder, other)  # does not say what it was trained on
    arguments = ["compare", str(run), str(other), "--shards", str(shards), "--out", str(tmp_path / "comparison")]
    assert main([*arguments, "--n-samples", "1", "--n-galaxies", "2"]) == 0
    table = pd.read_csv(tmp_path / "comparison" / "comparison.csv")
    # The runs have the same weights.
    assert (table["difference"].dropna() == 0).all()
    page = (tmp_path / "comparison" / "index.html").read_text()
    assert "2 on which run was trained" in page
    assert "The run other does not say which galaxies it was trained on" in page
    assert "other and run do not differ" in page


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("evaluate --out r", "give one of RUN, --runs and --predictions"),
        (
            "evaluate --runs a b --predictions t.csv --catalog c.csv --out r",
            "give one of RUN, --runs and --predictions",
        ),
        ("evaluate run --out r", "give shards or --catalog"),
        ("evaluate run shards --catalog c.csv --out r", "received both"),
        ("evaluate run shards --schema decals --out r", "shards name their decision tree"),
        ("evaluate run shards more --out r", "at most one folder of shards; received shards more"),
        ("compare run --shards s --out r", "at least two runs; received run"),
        ("compare a/run b/../a/run --shards s --out r", "a/run is given twice"),
        ("compare a b --shards s --masks arcs --out r", "--masks must be NAME=FOLDER; received arcs"),
        ("compare a b --shards s --masks arcs=nowhere --out r", "nowhere: no such folder of masks"),
    ],
)
def test_wrong_arguments_are_refused(arguments, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(arguments.split()) == 2
    assert words in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("places", "runs", "expected"),
    [
        (["run", "shards"], None, (["run"], Path("shards"))),
        (["shards"], ["one", "two"], (["one", "two"], Path("shards"))),
        ([], ["one", "two", "shards"], (["one", "two"], Path("shards"))),  # `--runs one two shards`
    ],
)
def test_shards_may_stand_before_or_after_the_runs(places, runs, expected):
    args = argparse.Namespace(places=places, runs=runs, catalog=None, predictions=None)
    assert _split_places(args) == expected
    args.catalog = Path("catalog.csv")
    if not places:
        assert _split_places(args) == (runs, None)
