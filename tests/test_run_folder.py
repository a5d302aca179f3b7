"""Run folders that cannot be used."""

import pytest

from zoobot3d_tf.runs.run_folder import names_of_runs, read_run


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", r"config\.json"),
        ('{"format_version": 9}', r"config\.json.* 9.* 1"),
        ("{}", r"config\.json.*format_version"),
    ],
)
def test_damaged_config_is_refused(tmp_path, content, words):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(ValueError, match=words):
        read_run(tmp_path)


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no config\.json.*`zoobot3d train`"):
        read_run(tmp_path)


def test_runs_are_named_by_the_shortest_ends_of_their_paths_that_differ(tmp_path):
    assert names_of_runs(["a/masked", "b/masked", "b/joint"]) == ["a/masked", "b/masked", "joint"]
    assert names_of_runs([tmp_path / "x" / "a" / "run", "y/a/run", "run"])[:2] == ["x/a/run", "y/a/run"]
    assert names_of_runs(["hf://owner/galaxies", "shipped", "../other/"]) == ["galaxies", "shipped", "other"]
    with pytest.raises(ValueError, match="a/run is given twice"):
        names_of_runs(["a/run", "a/run/"])
