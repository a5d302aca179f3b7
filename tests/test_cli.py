"""The command line: help, errors in one line, and defaults of options."""

import argparse
import inspect
import json
import os
import subprocess
import sys
from functools import partial
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from zoobot3d_tf.cli import STAGES, in_options, main
from zoobot3d_tf.machine import map_in_processes
from zoobot3d_tf.schemas import get_schema, schema_names

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = ("create_shards.py", "train_model.py", "make_predictions.py")


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_has_an_example_and_imports_nothing_slow(script):
    command = [sys.executable, "-X", "importtime", script, "--help"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0
    assert f"python {script} --" in result.stdout.split("example:")[1]
    # Imports make help slow. A time limit would depend on the machine.
    imported = {line.split("|")[-1].strip() for line in result.stderr.splitlines()}
    assert not imported & {"tensorflow", "keras", "pandas", "pyarrow", "astropy", "sklearn"}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("zoobot3d pre", {"predict", "predictions", "pretrain"}),
        ("zoobot3d predict --mask", {"--masks-dir", "--masks-file", "--mask-format"}),
        ("zoobot3d predict --mask-format ", {"png", "fits"}),
        ("zoobot3d predictions show t.csv --max", {"--max-galaxies"}),
    ],
)
def test_the_shell_completes_commands_and_options_without_slow_imports(line, expected, tmp_path):
    pytest.importorskip("argcomplete", reason="the extra [completion] is not installed")
    found = tmp_path / "found"
    variables = {"_ARGCOMPLETE": "1", "_ARGCOMPLETE_STDOUT_FILENAME": str(found), "_ARGCOMPLETE_IFS": "\n"}
    variables |= {"COMP_LINE": line, "COMP_POINT": str(len(line)), "_ARGCOMPLETE_SUPPRESS_SPACE": "1"}
    command = [sys.executable, "-X", "importtime", "-m", "zoobot3d_tf"]
    result = subprocess.run(command, cwd=ROOT, env=os.environ | variables, capture_output=True, text=True)
    assert result.returncode == 0
    assert set(found.read_text().split("\n")) == expected
    assert not any(line.split("|")[-1].strip() in ("tensorflow", "pandas") for line in result.stderr.splitlines())


def test_every_stage_has_help(capsys):
    for name in STAGES:
        with pytest.raises(SystemExit) as stop:
            main([*name.split(), "--help"])
        assert stop.value.code == 0
        words = capsys.readouterr().out
        assert "example:" in words
        assert "default: [" not in words  # a Python list is not what a user types


def test_schemas_are_listed_and_printed_as_trees(capsys):
    assert main(["schemas"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(schema_names())
    assert all(len(line.split()) > 2 for line in lines)  # each says what the tree is for
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
    ("fail", "words"),
    [
        (lambda: np.zeros(-1), "ValueError: negative dimensions"),
        (lambda: {}["x"], "KeyError: 'x'"),
        (lambda: import_module("no_such_package"), "ModuleNotFoundError: No module named 'no_such_package'"),
        (lambda: next(map_in_processes(json.loads, ["x"], 2, 1)), "JSONDecodeError: Expecting value"),
    ],
)
def test_an_error_that_is_not_the_users_says_so(capsys, monkeypatch, fail, words):
    monkeypatch.setattr("zoobot3d_tf.schemas.load_schema", lambda name: fail())
    assert main(["schemas", "decals"]) == 1
    error = capsys.readouterr().err
    assert f"internal error: {words}" in error
    assert "fault of zoobot3d_tf" in error
    assert "--debug" in error


def test_an_error_in_a_worker_is_the_users_if_this_package_raises_it(capsys, monkeypatch):
    of_worker = partial(map_in_processes, get_schema, ["decal"], 2, 1)
    monkeypatch.setattr("zoobot3d_tf.schemas.load_schema", lambda name: next(of_worker()))
    assert main(["schemas", "decals"]) == 2
    assert capsys.readouterr().err.startswith("error: ")


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (OSError(28, "No space left on device", "a.csv"), 2, "error: [Errno 28] No space left on device: 'a.csv'"),
        (MemoryError("Unable to allocate 9 TiB"), 1, "error: there is not enough memory: Unable to allocate 9 TiB"),
    ],
)
def test_an_error_of_the_machine_is_not_a_fault_of_this_package(capsys, monkeypatch, error, code, words):
    def fail(name):
        raise error

    monkeypatch.setattr("zoobot3d_tf.schemas.load_schema", fail)
    assert main(["schemas", "decals"]) == code
    assert capsys.readouterr().err == f"{words}\n"


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
        (["--catalog", "galaxies.csv", "--recursive"], "--recursive apply to --folder"),
        (["--folder", "images", "--image-root", "."], "--image-root applies to --catalog"),
        (["--folder", "images", "--keep", "redshift"], "--keep applies to --catalog"),
        (["--folder", ".", "--regions", "all.reg"], "give --masks-dir or --masks-file"),
    ],
)
def test_options_of_another_input_are_refused(options, words, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("galaxies.csv").touch()
    Path("images").mkdir()
    assert main(["predict", "--checkpoint-dir", "run", "--save-loc", "table.csv", *options]) == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize("source", ["", "--catalog ", "--shards ", "--files "])
def test_missing_galaxies_are_named_before_any_other_mistake(source, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("predictions.csv").touch()
    assert main(f"predict {source}nosuch --image-root a --checkpoint-dir b --save-loc c.doc".split()) == 2
    assert "error: nosuch: no such " in capsys.readouterr().err


def test_a_table_of_something_else_is_not_replaced(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("predictions.csv").write_text("id_str\na\n")
    Image.new("RGB", (64, 64), "red").save("a.png")
    assert main(["predict", "a.png"]) == 2
    assert "predictions.csv: already exists" in (error := capsys.readouterr().err)
    assert "give --overwrite" in error


@pytest.mark.parametrize("command", ["predict images", "shards --labelled-catalog none.csv --shard-dir shards"])
def test_a_cluster_without_its_package_is_refused_before_the_work(command, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("images").mkdir()
    monkeypatch.setattr("zoobot3d_tf.extras.find_spec", lambda name: None)
    assert main([*command.split(), "--scheduler", "tcp://127.0.0.1:8786"]) == 2
    assert "scheduler needs distributed, which is not installed: pip install" in capsys.readouterr().err


FUNCTIONS = {
    "simulate": "simulation.survey.simulate_survey",
    "gz3d download": "surveys.gz3d_archive.download_archive",
    "cutouts download": "surveys.cutouts.download_cutouts",
    "crossmatch": "catalogs.crossmatch.match_files",
    "partition": "catalogs.sky_cells.partition",
    "rings": "catalogs.rings.ring_catalog",
    "train": "training.training_config.config_from_folders",
    "finetune": "finetuning.finetune.finetune",
    "pretrain": "pretraining.pretrain.pretrain",
    "calibrate": "evaluation.fit_calibration.calibrate_run",
    "al define": "active_learning.definition.define_experiment",
    "al timeline": "pages.timeline.write_timeline",
    "predictions show": "pages.gallery.write_gallery",
    "representations": "representations.features.write_features",
    "neighbours": "representations.neighbours.write_neighbours",
    "anomalies": "representations.anomalies.write_anomalies",
    "map": "pages.map_page.write_map",
}
"""Functions of commands, by command. The options repeat the defaults in the signature of the function."""

CHOICES = {
    ("predict", "file_format"): "inference.inputs.FILE_SUFFIXES",
    ("representations", "level"): "representations.features.LEVELS",
    ("neighbours", "metric"): "representations.neighbours.METRICS",
    ("map", "method"): "pages.map_page.METHODS",
    ("export", "format"): "runs.export.FORMATS",
}
"""Choices that options repeat, by command and option, because the module that defines them is slow to import."""


def find(dotted):
    module, _, name = dotted.rpartition(".")
    return getattr(import_module(f"zoobot3d_tf.{module}"), name)


def actions_of(stage):
    parser = argparse.ArgumentParser()
    STAGES[stage].complete(parser)
    return {action.dest: action for action in parser._actions}


@pytest.mark.parametrize("stage", FUNCTIONS)
def test_options_and_functions_have_the_same_defaults(stage):
    parameters = inspect.signature(find(FUNCTIONS[stage])).parameters
    shared = 0
    for name, action in actions_of(stage).items():
        has_both = name in parameters and parameters[name].default is not inspect.Parameter.empty
        if has_both and action.default is not None and action.default is not False and name != "workers":
            default = action.type(action.default) if isinstance(action.default, str) and action.type else action.default
            expected = parameters[name].default
            assert default == (list(expected) if isinstance(expected, tuple) else expected), name
            shared += 1
    assert shared or stage in ("gz3d download", "cutouts download", "simulate")


@pytest.mark.parametrize(("stage", "name"), CHOICES)
def test_options_and_modules_have_the_same_choices(stage, name):
    assert tuple(actions_of(stage)[name].choices) == tuple(find(CHOICES[stage, name]))


def test_errors_name_options_where_python_names_arguments():
    options = {"eval_size": "--eval-size", "seed": "--seed", "catalog_loc": "--catalog", "resume": "--resume"}
    assert in_options("eval_size must be above 0", options) == "--eval-size must be above 0"
    assert in_options("seed must be at least 0; the seed is -1", options) == "--seed must be at least 0; the seed is -1"
    assert in_options("/data/eval_size/a.csv: no such file", options) == "/data/eval_size/a.csv: no such file"
    assert in_options("give resume=True, or catalog_loc", options) == "give --resume, or --catalog"
