"""Sweeps: what a file may say, the score of a trial, and sweeps that are interrupted, continued or enlarged."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import yaml

from zoobot3d_tf.cli import main
from zoobot3d_tf.training.trainer import check_run
from zoobot3d_tf.training.training_config import config_from_folders
from zoobot3d_tf.tuning import sweep as tuning
from zoobot3d_tf.tuning.sweep_results import score, validation_errors

ROOT = Path(__file__).resolve().parents[1]
SEARCH = {
    "learning_rate": {"low": "1e-4", "high": 1.0, "log": True},
    "dropout": {"low": 0, "high": 0.5},
    "decoder_widths": [[16, 16, 8, 8], "32,16,8,8"],
    "mask-loss": ["l1", "cross-entropy"],
}


@pytest.fixture
def write(shards, tmp_path):
    """Write the configuration of a sweep with changes, and return its path."""

    def write(**changes):
        train = {
            "train_dir": str(shards / "train_shards"),
            "eval_dir": str(shards / "eval_shards"),
            "resize-size": 32,
            "crop_size": 75,
            "epochs": 2,
            "batch_size": 8,
            "tasks": "votes,spiral_mask",
        }
        path = tmp_path / "sweep.yaml"
        path.write_text(yaml.safe_dump({"train": train, "search": SEARCH, "trials": 4} | changes))
        return str(path)

    return write


def write_history(run: Path, *epochs):
    pd.DataFrame(epochs).to_csv(run / "history.csv", index=False)


@pytest.fixture
def trained(monkeypatch):
    """Trainings that take no time: the score is known from the options. Returns the numbers of the trials."""
    numbers = []

    def train(trial):
        config = config_from_folders(**trial.arguments, experiment_dir=trial.run)
        check_run(config)
        numbers.append(trial.number)
        if config.learning_rate > 0.9:
            return "the loss became nan"
        epoch = {"val_votes_fraction_mae": config.learning_rate, "val_spiral_mask_iou": 0.5 - config.model.dropout / 2}
        write_history(trial.run, {"epoch": 1, "val_loss": 3.0} | epoch)
        return ""

    monkeypatch.setattr(tuning, "in_own_processes", lambda _, items, workers: ((item, train(item)) for item in items))
    pytest.importorskip("optuna", reason="the extra [sweep] is not installed")
    return numbers


def test_the_score_is_of_the_kept_epoch_and_does_not_depend_on_the_loss(shards, tmp_path):
    folders = (shards / "train_shards", shards / "eval_shards")
    sizes = {"crop_size": 75, "resize_size": 32, "batch_size": 8, "epochs": 2}
    check_run(config_from_folders(*folders, tmp_path / "both", tasks=["votes", "bar_mask"], **sizes))
    last = {"epoch": 2, "val_loss": 2.0, "val_votes_fraction_mae": 0.0, "val_bar_mask_iou": 1.0}
    write_history(
        tmp_path / "both", {"epoch": 1, "val_loss": 1.0, "val_votes_fraction_mae": 0.1, "val_bar_mask_iou": 0.3}, last
    )
    assert validation_errors(tmp_path / "both") == pytest.approx({"votes": 0.1, "bar_mask": 0.7})
    assert score(tmp_path / "both", {"votes": 5.0, "bar_mask": 1.0, "spiral_mask": 1.0}) == pytest.approx(1.2 / 6)
    check_run(config_from_folders(*folders, tmp_path / "one", tasks=["bar_mask"], **sizes))
    write_history(tmp_path / "one", {"epoch": 1, "val_loss": 1.0, "val_iou": 0.4})
    assert validation_errors(tmp_path / "one") == pytest.approx({"bar_mask": 0.6})
    with pytest.raises(ValueError, match="none of the tasks that the weights of the sweep name: votes"):
        score(tmp_path / "one", {"votes": 1.0})


def test_a_finished_sweep_does_nothing_and_trials_can_be_added(write, trained, tmp_path):
    command = ["sweep", write(), "--out", str(tmp_path / "sweep")]
    assert main(command) == 0
    assert trained == [0, 1, 2, 3]
    assert main(command) == 0
    assert trained == [0, 1, 2, 3]
    assert main([*command, "--trials", "6"]) == 0
    assert trained == [0, 1, 2, 3, 4, 5]
    results = pd.read_csv(tmp_path / "sweep" / "results.csv")
    assert sorted(results["trial"]) == trained
    assert results["score"].dropna().is_monotonic_increasing
    assert set(results["decoder_widths"]) <= {"16,16,8,8", "32,16,8,8"}
    assert results["learning_rate"].nunique() == 6  # also those of the continued sweep are new
    best = results.iloc[0]
    assert best["score"] == pytest.approx((5 * best["learning_rate"] + 0.5 + best["dropout"] / 2) / 6)
    repeated = json.loads((tmp_path / "sweep" / best["run"] / "config.json").read_text())
    assert repeated["training"]["learning_rate"] == pytest.approx(best["learning_rate"])
    assert (tmp_path / "sweep" / "results.png").stat().st_size > 10_000
    assert f"| {best['trial']} |" in (tmp_path / "sweep" / "results.md").read_text().splitlines()[2]


def test_an_interrupted_trial_is_continued_with_its_values(write, trained, tmp_path, monkeypatch):
    command = ["sweep", write(trials=2), "--out", str(tmp_path / "sweep")]
    seen = []

    def die(_, items, workers):
        seen.append(next(items))
        raise KeyboardInterrupt
        yield

    with monkeypatch.context() as patch:
        patch.setattr(tuning, "in_own_processes", die)
        assert main(command) == 130
    assert main(command) == 0
    assert trained == [0, 1]
    stored = json.loads((seen[0].run / "config.json").read_text())["training"]
    assert stored["learning_rate"] == seen[0].arguments["learning_rate"]


def test_a_sweep_whose_first_trials_all_fail_is_stopped(write, trained, tmp_path, capsys):
    search = {"learning_rate": {"low": 0.95, "high": 1.0}}
    assert main(["sweep", write(search=search, trials=9), "--out", str(tmp_path / "sweep")]) == 2
    assert trained == [0, 1, 2]
    assert "the first 3 trials failed" in capsys.readouterr().err


def test_another_sweep_in_the_same_folder_is_refused(write, trained, tmp_path, capsys):
    out = str(tmp_path / "sweep")
    assert main(["sweep", write(trials=1), "--out", out]) == 0
    assert main(["sweep", write(weights={"votes": 1}), "--out", out]) == 2
    assert "has a sweep with other settings (weights)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"serach": {}}, "sweep.yaml: serach: unknown key 'serach'; the nearest is 'search'"),
        ({"search": {"droput": [0.1]}}, "search: droput: unknown option 'droput'; the nearest is 'dropout'"),
        ({"search": {"mask_loss": ["dice"]}}, "search: mask_loss: invalid choice: 'dice'"),
        ({"search": {"seed": {"low": 1, "high": 4}}}, "search: seed: invalid whole number value: '1.0'"),
        ({"search": {"dropout": {"low": 0.5, "high": 0.1}}}, "search.dropout.low must be below high"),
        ({"search": {"dropout": {"low": 0, "high": 0.1, "log": True}}}, "low must be above 0 if log is true"),
        ({"search": {"dropout": 0.1}}, "search.dropout must be a list of values, or a range"),
        ({"search": {"epochs": [1, 2]}}, "search: epochs is in train, too"),
        ({"search": {}}, "search must name at least one option"),
        ({"train": {"train_dir": "a"}}, "train must have the key eval_dir"),
        ({"train": {"experiment-dir": "a"}}, "experiment_dir must be left out"),
        ({"weights": {"vote": 1}}, "weights.vote: unknown task 'vote'; the nearest is 'votes'"),
        ({"trials": 0}, "trials must be at least 1"),
    ],
)
def test_mistakes_are_refused_with_their_place(write, tmp_path, capsys, changes, words):
    assert main(["sweep", write(**changes), "--out", str(tmp_path / "sweep")]) == 2
    assert words in capsys.readouterr().err


@pytest.mark.slow
def test_a_killed_sweep_of_two_workers_is_continued(write, tmp_path):
    pytest.importorskip("optuna", reason="the extra [sweep] is not installed")
    out = tmp_path / "sweep"
    search = {"mask_loss": ["l1", "mse"], "dropout": {"low": 0.0, "high": 0.5}}
    command = [sys.executable, "-m", "zoobot3d_tf", "sweep", write(search=search, trials=3), "--out", str(out)]
    command += ["--workers", "2"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    while process.poll() is None and not list(out.glob("trials/*/checkpoints/state.json")):
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    results = pd.read_csv(out / "results.csv")
    assert sorted(results["trial"]) == [0, 1, 2]
    assert results["score"].between(0, 1).all()
    assert {len(pd.read_csv(out / run / "history.csv")) for run in results["run"]} == {2}
