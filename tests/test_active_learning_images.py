"""The proof with images: the script from a catalogue to its table and plot, with a training that takes no time."""

import sys
from importlib import import_module
from pathlib import Path

import pandas as pd
import pytest
from active_experiment import Fakes

SETTINGS = ["--schema", "decals", "--seeds", "2", "--iterations", "3", "--strategies", "random,entropy"]
SIZES = ["--eval-size", "5", "--known", "5", "--per-iteration", "3", "--max-unlabelled", "12", "--img-size", "64"]


@pytest.fixture(scope="module")
def example():
    sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
    yield import_module("active_learning_images")
    sys.path.pop(0)


def run(example, monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["active_learning_images.py", *map(str, arguments)])
    example.main()


def test_all_simulations_run_and_are_not_repeated(example, survey, tmp_path, monkeypatch, capsys):
    fakes = Fakes(monkeypatch)
    command = (survey, *SETTINGS, *SIZES, "--resize-size", "32", "--out", tmp_path / "out")
    run(example, monkeypatch, *command)
    curves = pd.read_csv(tmp_path / "out" / "curves.csv")
    numbers = curves.groupby(["strategy", "seed"])["labels"].apply(list)
    assert len(numbers) == 4
    assert all(labels == [labels[0], labels[0] + 3, labels[0] + 6] for labels in numbers)
    # The seeds have other galaxies, but all strategies of a seed begin with the same ones.
    assert (curves[curves["labels"] == curves["labels"].min()].groupby("seed")["mae"].nunique() == 1).all()
    assert (tmp_path / "out" / "curves.png").stat().st_size > 10_000
    assert (tmp_path / "out" / "saved.md").read_text() in capsys.readouterr().out

    n_trained = len(fakes.trained)
    run(example, monkeypatch, *command)
    assert len(fakes.trained) == n_trained


def test_labels_saved_where_they_are_known(example, tmp_path):
    """A strategy that needs half of the labels; both end at the same number of labels."""
    labels = [100, 200, 300, 400]
    errors = {"random": [0.4, 0.3, 0.2, 0.1], "half": [0.4, 0.2, 0.1, 0.1]}
    curves = pd.concat(
        pd.DataFrame({"labels": labels, "mae": mae, "nll": mae, "strategy": name, "seed": seed})
        for name, mae in errors.items()
        for seed in (0, 1)
    )
    text = example.report(curves, tmp_path)
    # Random reaches 0.2 with 300 labels, half with 200: a third is saved.
    assert "| half | 25 ± 0 % | 33 ± 0 % | 25 ± 0 % |" in text


def test_the_reference_must_be_among_the_strategies(example, survey, tmp_path, monkeypatch, capsys):
    with pytest.raises(SystemExit):
        run(example, monkeypatch, survey, "--schema", "decals", "--strategies", "entropy", "--out", tmp_path / "out")
    assert "random" in capsys.readouterr().err
