"""Growth of shards: records are copied with their votes, nothing else changes, and interruptions are repaired."""

import shutil

import numpy as np
import pandas as pd
import pytest

from zoobot3d_tf.files import sha256_of
from zoobot3d_tf.inference.inputs import galaxies_in_shards
from zoobot3d_tf.schemas import get_schema
from zoobot3d_tf.shards import grow
from zoobot3d_tf.shards.grow import copy_shards, grow_shards
from zoobot3d_tf.shards.manifest import check_shards, read_manifest, shards_in
from zoobot3d_tf.shards.options import ShardOptions
from zoobot3d_tf.shards.read import iterate_records, read_votes
from zoobot3d_tf.shards.write import create_shards
from zoobot3d_tf.tables.columns import move_paths
from zoobot3d_tf.tables.formats import read_table, write_table

DECALS = get_schema("decals")
OPTIONS = ShardOptions(img_size=32, eval_size=5, split_seed=0, shard_size=4)


@pytest.fixture(scope="module")
def catalogs(survey, tmp_path_factory):
    """Catalogues of 16 labelled and of the other galaxies."""
    folder = tmp_path_factory.mktemp("catalogs")
    table = move_paths(read_table(survey), survey.parent, folder)
    labelled = write_table(table[:16], folder / "labelled.csv")
    return labelled, write_table(table.loc[16:, ["id_str", "file_loc", "ra", "dec", "pixscale"]], folder / "others.csv")


@pytest.fixture(scope="module")
def made(catalogs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("made") / "shards"
    return create_shards(catalogs[0], folder, DECALS, OPTIONS, catalogs[1]).parent


@pytest.fixture
def shard_dir(made, tmp_path):
    return shutil.copytree(made, tmp_path / "shards")


def votes_of(shard_dir, rows):
    """Votes on some of the unlabelled galaxies, different for each galaxy and answer."""
    ids = galaxies_in_shards(shard_dir / "unlabelled_shards")["id_str"].iloc[rows].tolist()
    counts = 1 + np.arange(len(ids))[:, None] + np.arange(len(DECALS.label_cols))
    table = pd.DataFrame(counts, columns=DECALS.label_cols)
    table.insert(0, "id_str", ids)
    return table


def records(paths):
    return {galaxy["id_str"]: galaxy for galaxy in iterate_records(paths)}


def test_new_training_shards_hold_the_stored_galaxies_with_their_votes(shard_dir):
    before = read_manifest(shard_dir)
    stored = records(before.paths("unlabelled"))
    votes = votes_of(shard_dir, [9, 0, 5, 3, 7])
    paths = grow_shards(shard_dir, "iteration-1", votes)
    assert [path.name for path in paths] == [f"train-iteration-1-0000{n}-of-00002.tfrecord" for n in range(2)]

    after = read_manifest(shard_dir)
    check_shards(list(after.listed()), DECALS, verify_hash=True)
    assert after.splits["train"][:-2] == before.splits["train"]
    assert {split: after.splits[split] for split in ("eval", "unlabelled")} == {
        split: before.splits[split] for split in ("eval", "unlabelled")
    }
    assert after.count("train", "with_votes") == before.count("train", "with_votes") + 5
    assert set(paths) <= set(shards_in(shard_dir / "train_shards"))

    assert read_votes(paths)[0] == votes["id_str"].tolist()
    for row, (id_str, galaxy) in enumerate(records(paths).items()):
        np.testing.assert_array_equal(galaxy.pop("votes"), votes.loc[row, DECALS.label_cols].to_numpy(float))
        assert galaxy.pop("has_votes")
        earlier = stored[id_str]
        for name, value in galaxy.items():
            np.testing.assert_array_equal(value, earlier[name], err_msg=name)


def test_the_shard_folder_lists_a_galaxy_once_with_its_labels(shard_dir):
    before = galaxies_in_shards(shard_dir)
    votes = votes_of(shard_dir, [2])
    (path,) = grow_shards(shard_dir, "first", votes)
    after = galaxies_in_shards(shard_dir)
    assert sorted(after["id_str"]) == sorted(before["id_str"])
    assert after.set_index("id_str").loc[votes["id_str"][0], "file_loc"] == str(path)


def test_equal_growth_changes_nothing_and_other_growth_of_the_name_is_refused(shard_dir):
    votes = votes_of(shard_dir, [0, 1])
    (path,) = grow_shards(shard_dir, "first", votes)
    manifest, sha256 = (shard_dir / "shards.json").read_text(), sha256_of(path)
    assert grow_shards(shard_dir, "first", votes) == [path]
    assert ((shard_dir / "shards.json").read_text(), sha256_of(path)) == (manifest, sha256)
    with pytest.raises(ValueError, match="first was added before"):
        grow_shards(shard_dir, "first", votes_of(shard_dir, [0, 2]))


def test_a_name_may_be_the_beginning_of_another_and_names_files(shard_dir):
    grow_shards(shard_dir, "iteration-1", votes_of(shard_dir, [0]))
    (path,) = grow_shards(shard_dir, "iteration", votes_of(shard_dir, [1]))
    assert path.name == "train-iteration-00000-of-00001.tfrecord"
    with pytest.raises(ValueError, match=r"name must have .* received '\.\./up'"):
        grow_shards(shard_dir, "../up", votes_of(shard_dir, [2]))


def test_growth_that_was_interrupted_before_the_manifest_is_repeated(shard_dir, monkeypatch):
    votes, manifest = votes_of(shard_dir, [0, 1]), (shard_dir / "shards.json").read_text()

    def interrupt(path, content):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(grow, "write_atomically", interrupt)
        with pytest.raises(KeyboardInterrupt):
            grow_shards(shard_dir, "first", votes)
    assert (shard_dir / "shards.json").read_text() == manifest
    assert len(grow_shards(shard_dir, "first", votes)) == 1
    check_shards(shards_in(shard_dir / "train_shards"), verify_hash=True)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda votes, ids: votes.assign(id_str=["nobody", votes["id_str"][1]]), "1 galaxies are not in .*: nobody"),
        (lambda votes, ids: votes.assign(id_str=[votes["id_str"][1]] * 2), "twice"),
        (lambda votes, ids: votes.assign(**dict.fromkeys(DECALS.label_cols, 0)), "must have votes; received none"),
        (lambda votes, ids: votes[:0], "must have votes"),
        (lambda votes, ids: votes.drop(columns="bar_no"), "bar_no"),
        (lambda votes, ids: votes.assign(bar_no=0.5), "whole numbers"),
    ],
)
def test_votes_that_cannot_be_added_are_refused(shard_dir, change, words):
    votes = votes_of(shard_dir, [0, 1])
    with pytest.raises(ValueError, match=words):
        grow_shards(shard_dir, "first", change(votes, read_manifest(shard_dir)))
    assert len(read_manifest(shard_dir).paths("train")) == 3


def test_a_damaged_or_missing_shard_of_labelled_galaxies_is_named(shard_dir):
    votes, path = votes_of(shard_dir, [0]), read_manifest(shard_dir).paths("eval")[0]
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"{path}: holds a damaged record"):
        grow_shards(shard_dir, "first", votes)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=f"{path}: no such file"):
        grow_shards(shard_dir, "first", votes)


def test_a_galaxy_receives_votes_once(shard_dir):
    votes = votes_of(shard_dir, [0, 1])
    grow_shards(shard_dir, "first", votes)
    with pytest.raises(ValueError, match=f"1 galaxies have labels already: {votes['id_str'][1]}"):
        grow_shards(shard_dir, "second", votes[1:])


def test_a_copy_grows_alone(shard_dir, tmp_path):
    manifest = (shard_dir / "shards.json").read_text()
    copy_shards(shard_dir, tmp_path / "copy")
    assert (tmp_path / "copy" / "shards.json").read_text() == manifest
    check_shards(list(read_manifest(tmp_path / "copy").listed()), verify_hash=True)
    grow_shards(tmp_path / "copy", "first", votes_of(shard_dir, [0]))
    assert (shard_dir / "shards.json").read_text() == manifest
    assert [path.name for path in shards_in(shard_dir / "train_shards")] == [
        f"train-0000{n}-of-00003.tfrecord" for n in range(3)
    ]


def test_shards_made_anew_have_not_grown(shard_dir, catalogs):
    grow_shards(shard_dir, "first", votes_of(shard_dir, [0]))
    options = ShardOptions(**vars(OPTIONS) | {"overwrite": True})
    create_shards(catalogs[0], shard_dir, DECALS, options, catalogs[1])
    assert len(shards_in(shard_dir / "train_shards")) == 3
