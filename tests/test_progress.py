"""Progress: a bar in a terminal, plain lines elsewhere, and the remaining time in words."""

import logging
import sys

import pytest

from zoobot3d_tf import progress
from zoobot3d_tf.progress import Progress, duration, progress_line


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.25, "0.25 s"), (9.9, "9.9 s"), (45, "45 s"), (99.6, "2 min"), (720, "12 min"), (11100, "3 h 05 min")],
)
def test_time_spans_in_words(seconds, words):
    assert duration(seconds) == words


def test_a_line_tells_rate_and_remaining_time():
    line = progress_line("galaxy", 3000, 12000, n_timed=1000, seconds=20)
    assert line == "galaxy 3,000 of 12,000 (25 %) | 50 per second | 3 min remaining"
    line = progress_line("training", 2, 12, n_timed=2, seconds=300)
    assert line == "training 2 of 12 (17 %) | 2 min each | 25 min remaining"
    assert progress_line("galaxy", 50, 50, 50, 25) == "galaxy 50 of 50 (100 %) | 2 per second | took 25 s"
    assert progress_line("galaxy", 50, None, 50, 25) == "galaxy 50 | 2 per second | took 25 s"
    assert progress_line("galaxy", 50, 100, n_timed=0, seconds=0) == "galaxy 50 of 100 (50 %)"


@pytest.fixture
def lines(monkeypatch, caplog):
    """Lines of progress: one for each update, and one at the end."""
    monkeypatch.setattr(progress, "SECONDS_PER_LINE", -1)
    caplog.set_level(logging.DEBUG, progress.logger.name)
    return caplog


def test_without_a_terminal_there_are_lines_and_no_bar(lines, capsys):
    with Progress(total=4, initial=1, unit="galaxy", desc="reading") as bar:
        bar.update(3)
    assert capsys.readouterr().err == ""
    assert lines.messages[-1].startswith("reading: galaxy 4 of 4 (100 %) | ")
    assert {record.levelname for record in lines.records} == {"INFO"}


def test_in_a_terminal_there_is_a_bar_and_lines_are_only_for_log_files(lines, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert list(Progress([5, 6], unit="galaxy")) == [5, 6]
    assert "2/2" in capsys.readouterr().err
    assert {record.levelname for record in lines.records} == {"DEBUG"}


def test_bars_that_do_not_remain_have_no_last_line(caplog):
    caplog.set_level(logging.DEBUG, progress.logger.name)
    assert list(Progress([1], unit="batch", leave=False)) == [1]
    assert list(Progress([], unit="galaxy")) == []
    assert not caplog.messages


def test_lines_are_printed_where_nothing_is_logged(capsys, caplog):
    caplog.set_level(logging.WARNING, progress.logger.name)
    progress.write_line("epoch 1/2")
    assert capsys.readouterr().out == "epoch 1/2\n"
    caplog.set_level(logging.INFO, progress.logger.name)
    progress.write_line("epoch 2/2")
    assert (capsys.readouterr().out, caplog.messages) == ("", ["epoch 2/2"])
