"""The command line: help at once, errors in one line, and the stages it offers."""

import subprocess
import sys
from pathlib import Path

import pytest

from zoobot3d_tf.cli import STAGES, main

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = ("create_shards.py", "train_model.py", "make_predictions.py")


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_answers_at_once_with_an_example(script):
    command = [sys.executable, "-X", "importtime", script, "--help"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0
    assert f"python {script} --" in result.stdout.split("example:")[1]
    # What makes help slow is what it imports; a clock would only measure the machine.
    imported = {line.split("|")[-1].strip() for line in result.stderr.splitlines()}
    assert not imported & {"tensorflow", "keras", "numpy", "pandas", "astropy", "cv2"}


def test_every_stage_has_help(capsys):
    for name in STAGES:
        with pytest.raises(SystemExit) as stop:
            main([*name.split(), "--help"])
        assert stop.value.code == 0
        words = capsys.readouterr().out
        assert "example:" in words
        assert "default: [" not in words  # what Python would print is not what a user could type


def test_schemas_are_listed_and_printed_as_trees(capsys):
    assert main(["schemas"]) == 0
    assert "decals" in capsys.readouterr().out.split()
    assert main(["schemas", "rings"]) == 0
    assert "ring" in capsys.readouterr().out


def test_an_error_is_one_line_and_exit_code_two(capsys):
    assert main(["schemas", "decal"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert "decals" in error
    assert len(error.strip().splitlines()) == 1


def test_debug_shows_the_traceback():
    with pytest.raises(ValueError, match="decals"):
        main(["schemas", "decal", "--debug"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["simulate", "--n", "0", "--out", "x"], "must be at least 1; received 0"),
        (["simulate", "--n", "many", "--out", "x"], "invalid whole number value: 'many'"),
        (["train", "--loss-weights", "votes"], "expected task=weight"),
    ],
)
def test_mistakes_in_arguments_are_named(capsys, arguments, words):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert words in capsys.readouterr().err


def test_argument_errors_do_not_wait_for_tensorflow(tmp_path):
    command = [sys.executable, "-X", "importtime", "create_shards.py", "--labelled-catalog", tmp_path / "none.csv"]
    command += ["--shard-dir", tmp_path / "shards"]
    result = subprocess.run(list(map(str, command)), cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 2
    assert "none.csv" in result.stderr.splitlines()[-1]
    assert not any(line.split("|")[-1].strip() == "tensorflow" for line in result.stderr.splitlines())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--catalog", "galaxies.csv", "--recursive"], "--file-format and --recursive are about --folder"),
        (["--folder", "images", "--image-root", "."], "--image-root is where the paths in --catalog start from"),
    ],
)
def test_options_of_another_input_are_refused(options, words, capsys):
    assert main(["predict", "--checkpoint-dir", "run", "--save-loc", "table.csv", *options]) == 2
    assert words in capsys.readouterr().err
