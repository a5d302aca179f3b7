"""Messages of commands: on the standard error, and in a log file with their times."""

import re
import subprocess
import sys

import pytest

from zoobot3d_tf.cli import main

LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \S")


def run(*words):
    command = [sys.executable, "-m", "zoobot3d_tf", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True)


def test_a_log_file_has_the_command_progress_and_errors_with_their_times(tmp_path):
    log = tmp_path / "log.txt"
    simulate = ("simulate", "--n", 3, "--out", tmp_path / "survey", "--log-file", log)
    result = run(*simulate)
    assert result.returncode == 0
    assert run("schemas", "decal", "--log-file", log).returncode == 2
    content = log.read_bytes().decode()
    assert "\r" not in content + result.stderr
    first, *others, last = content.splitlines()
    assert all(LINE.match(line) for line in (first, *others, last))
    assert f"--n 3 --out {tmp_path}" in first
    assert any("simulating: galaxy 3 of 3 (100 %)" in line for line in others)
    assert "simulating: galaxy 3 of 3 (100 %)" in result.stderr
    assert "error: " in last
    assert "decals" in last


def test_a_log_file_has_the_traceback_of_debugging(tmp_path):
    log = tmp_path / "log.txt"
    with pytest.raises(ValueError, match="decals"):
        main(["schemas", "decal", "--debug", "--log-file", str(log)])
    assert "Traceback" in log.read_text()
    assert main(["schemas", "rings"]) == 0
    assert "Traceback" in log.read_text().splitlines()[2]  # later commands of this process do not write to it


def test_a_log_file_that_cannot_be_written_is_named(tmp_path, capsys):
    assert main(["schemas", "--log-file", str(tmp_path)]) == 2
    assert f"{tmp_path}: is a folder; give the log file another name" in capsys.readouterr().err
