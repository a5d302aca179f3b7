"""Run folders that cannot be used."""

import pytest

from zoobot3d_tf.runs.run_folder import read_run


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
