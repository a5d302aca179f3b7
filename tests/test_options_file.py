"""Options from a file: which option wins, what is refused in words, and a run that is repeated from its config.json."""

import argparse
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from zoobot3d_tf.cli import STAGES, main
from zoobot3d_tf.commands.stage import given
from zoobot3d_tf.training.repeat import options_of
from zoobot3d_tf.training.trainer import check_run
from zoobot3d_tf.training.training_config import config_from_folders

ROOT = Path(__file__).resolve().parents[1]
CONTENT = {
    "experiment-dir": "run",
    "train_dir": ["a", "b"],
    "eval-dir": "c",
    "epochs": 3,
    "learning-rate": "1e-4",
    "photometry": True,
    "galaxies_per_epoch": [64, 32],
    "loss_weights": {"bar_mask": 2000},
}


def parsed(*words):
    parser = argparse.ArgumentParser()
    STAGES["train"].complete(parser, words)
    return parser.parse_args(words)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "train.yaml"
    path.write_text(yaml.safe_dump(CONTENT))
    return str(path)


def test_a_file_has_the_options_of_the_command(file):
    args = parsed("--config", file)
    assert (args.experiment_dir, args.train_dir, args.eval_dir) == (Path("run"), [Path("a"), Path("b")], [Path("c")])
    assert (args.epochs, args.learning_rate, args.photometry) == (3, 1e-4, True)
    assert (args.galaxies_per_epoch, args.loss_weights) == ([64, 32], {"bar_mask": 2000.0})
    assert args.batch_size == parsed("--experiment-dir", "r", "--train-dir", "a", "--eval-dir", "b").batch_size


def test_options_come_before_set_and_set_before_the_file(file):
    changes = ("--set", "epochs=5", "--set", "photometry=false", "--set", "learning_rate=", "--set", "train-dir=[d]")
    args = parsed("--config", file, *changes, "--epochs", "7", "--eval-dir", "e", "f")
    assert (args.epochs, args.photometry, args.train_dir, args.eval_dir) == (
        7,
        False,
        [Path("d")],
        [Path("e"), Path("f")],
    )
    assert args.learning_rate == 1e-3  # the default
    assert parsed("--conf", file, "--set", "epochs=5").epochs == 5  # argparse takes abbreviations


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"epoch": 3}, "train.yaml: epoch: unknown option 'epoch'; the nearest is 'epochs'"),
        ({"debug": True}, "train.yaml: debug: unknown option 'debug'"),
        ({"epochs": 0}, "train.yaml: epochs: must be at least 1; received 0"),
        ({"epochs": True}, "train.yaml: epochs: invalid whole number value: 'True'"),
        ({"mask-loss": "dice"}, "train.yaml: mask-loss: invalid choice: 'dice' (choose from"),
        ({"photometry": 1}, "train.yaml: photometry: must be true or false; received 1"),
        ({"eval-dir": None}, "the following arguments are required: --eval-dir"),
    ],
)
def test_mistakes_in_a_file_are_named(file, changes, words, capsys):
    Path(file).write_text(yaml.safe_dump(CONTENT | changes))
    with pytest.raises(SystemExit) as stop:
        main(["train", "--config", file])
    assert stop.value.code == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "words"),
    [
        (("--set", "epochs"), "--set must be KEY=VALUE; received 'epochs'"),
        (("--set", "epoch=3"), "--set: epoch: unknown option 'epoch'; the nearest is 'epochs'"),
        (("--set", "tasks=[votes"), "--set tasks: the value is not valid YAML; received '[votes'"),
        (("--config", "nosuch.yaml"), "nosuch.yaml"),
    ],
)
def test_mistakes_on_the_command_line_are_named(option, words, capsys):
    with pytest.raises(SystemExit):
        main(["train", *option])
    assert words in capsys.readouterr().err


def test_the_script_reads_a_file_without_tensorflow(file):
    command = [sys.executable, "-X", "importtime", "train_model.py", "--config", file]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 2
    assert result.stderr.splitlines()[-1].startswith("error: ")  # there is no folder a
    assert not any(line.split("|")[-1].strip() == "tensorflow" for line in result.stderr.splitlines())


def test_the_config_of_a_run_repeats_it(shards, tmp_path):
    run = config_from_folders(
        shards / "train_shards",
        shards / "eval_shards",
        tmp_path / "run",
        crop_size=75,
        resize_size=32,
        epochs=2,
        batch_size=8,
        tasks=["votes", "bar_mask"],
        color=True,
        dropout=0.3,
        decoder_widths=[16, 16, 8, 8],
        mask_loss="beta-binomial",
        loss_weights={"bar_mask": 3},
        weight_decay=3e-5,
        seed=4,
        masked_times=2,
    )
    check_run(run)
    args = parsed("--config", str(tmp_path / "run" / "config.json"), "--experiment-dir", str(tmp_path / "again"))
    again = config_from_folders(**given(args))
    assert replace(again, log_dir=run.log_dir) == run


def test_runs_of_other_commands_are_not_repeated_by_train(tmp_path, capsys):
    stored = {"format_version": 1, "model": {}, "framing": {}, "training": {"base": "shipped"}}
    path = tmp_path / "config.json"
    path.write_text(json.dumps(stored))
    with pytest.raises(SystemExit):
        main(["train", "--config", str(path)])
    assert "config.json: is of a run of another command" in capsys.readouterr().err
    with pytest.raises(ValueError, match="lacks 'initial_size'"):
        options_of(stored | {"training": {}})


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("train_*.yaml")), ids=lambda path: path.name)
def test_configurations_of_the_repository_are_valid(path):
    args = parsed("--config", str(path))
    assert args.train_dir
    assert args.eval_dir
