"""Models as one file: written, unpacked, and refused when damaged."""

import json
import shutil
import zipfile

import pytest
from prediction_runs import make_run

from zoobot3d_tf.runs.checkpoint_file import unpack_checkpoint, write_checkpoint
from zoobot3d_tf.runs.run_folder import CONFIG_NAME, WEIGHTS_NAME, read_run


@pytest.fixture
def run(tmp_path):
    return make_run(tmp_path / "run")


def test_an_unpacked_checkpoint_is_the_run(run, tmp_path):
    path = write_checkpoint(run, tmp_path / "models" / "zoobot.ckpt")
    assert path.parent == tmp_path / "models"
    unpacked = unpack_checkpoint(path, tmp_path / "unpacked")
    for name in (CONFIG_NAME, WEIGHTS_NAME):
        assert (unpacked / name).read_bytes() == (run / name).read_bytes()
    assert sorted(file.name for file in unpacked.iterdir()) == sorted([CONFIG_NAME, WEIGHTS_NAME])
    assert read_run(unpacked).model == read_run(run).model


def test_further_settings_are_stored_beside_those_of_the_run(run, tmp_path):
    path = write_checkpoint(run, tmp_path / "zoobot.ckpt", {"fixed_crop": {"lower_left_x": 3}})
    config = json.loads((unpack_checkpoint(path, tmp_path / "unpacked") / CONFIG_NAME).read_text())
    assert config == json.loads((run / CONFIG_NAME).read_text()) | {"fixed_crop": {"lower_left_x": 3}}
    assert read_run(tmp_path / "unpacked").framing == read_run(run).framing


def test_the_same_run_gives_the_same_bytes(run, tmp_path):
    first = write_checkpoint(run, tmp_path / "a.ckpt").read_bytes()
    assert write_checkpoint(run, tmp_path / "b.ckpt").read_bytes() == first


def test_an_unfinished_run_is_refused(run, tmp_path):
    (run / WEIGHTS_NAME).unlink()
    with pytest.raises(ValueError, match="the run is unfinished"):
        write_checkpoint(run, tmp_path / "a.ckpt")
    assert not (tmp_path / "a.ckpt").exists()


def _truncate(path):
    path.write_bytes(path.read_bytes()[:-40])


def _flip(path):
    content = bytearray(path.read_bytes())
    place = content.find(b"weights of a network")
    content[place] ^= 1
    path.write_bytes(content)


def _replace_by_text(path):
    path.write_text("not an archive")


def _add_a_member(path):
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("../outside.txt", "x")


def _compress(path):
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, part in content.items():
            archive.writestr(name, part)


@pytest.mark.parametrize("damage", [_truncate, _flip, _replace_by_text, _add_a_member, _compress])
def test_a_damaged_or_foreign_file_is_refused_and_leaves_nothing(run, tmp_path, damage):
    path = write_checkpoint(run, tmp_path / "zoobot.ckpt")
    damage(path)
    with pytest.raises(ValueError, match=r"zoobot.ckpt: cannot be read as a checkpoint of zoobot3d_tf"):
        unpack_checkpoint(path, tmp_path / "unpacked")
    assert not list((tmp_path / "unpacked").iterdir())
    shutil.rmtree(tmp_path / "unpacked")
