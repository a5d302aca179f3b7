"""Tests of the record of the galaxies that a run has seen."""

import pandas as pd
import pytest

from zoobot3d_tf.runs.seen import read_seen, write_seen


def table(ids):
    return pd.DataFrame({"id_str": ids, "bar_yes": 3.0})


def test_a_galaxy_has_the_first_use_of_it(tmp_path):
    start, run = tmp_path / "start", tmp_path / "run"
    start.mkdir(), run.mkdir()
    write_seen(start, table(["0012", "b"]), validation=["v"])
    write_seen(run, table(["b", "c"]), validation=["0012", "d"], start=start)
    seen = read_seen(run)
    assert seen is not None
    assert dict(zip(seen["id_str"], seen["part"], strict=True)) == {
        "b": "training",  # also in the start
        "c": "training",
        "0012": "start",  # validated here, but the start was trained on it
        "d": "validation",  # that it validated the start taught nothing
    }
    assert seen.loc[seen["part"] == "training", "bar_yes"].tolist() == [3.0, 3.0]


def test_runs_of_earlier_versions_have_no_record(tmp_path):
    assert read_seen(tmp_path) is None
    write_seen(tmp_path, table(["a"]), [], start=tmp_path / "elsewhere")
    assert read_seen(tmp_path)["id_str"].tolist() == ["a"]


def test_a_damaged_record_is_refused(tmp_path):
    pd.DataFrame({"id_str": ["a"], "part": ["lunch"]}).to_parquet(tmp_path / "galaxies.parquet")
    with pytest.raises(ValueError, match="part, which is training, start, validation"):
        read_seen(tmp_path)
