"""Settings of an experiment: saved, moved to another place, read again, and refused if they are wrong."""

import json
from pathlib import Path

import pytest

from zoobot3d_tf.active_learning.instructions import (
    ACQUISITION_NAME,
    INSTRUCTIONS_NAME,
    TRAIN_NAME,
    AcquisitionCallableFactory,
    Instructions,
    TrainCallableFactory,
)
from zoobot3d_tf.active_learning.options import AcquisitionOptions
from zoobot3d_tf.active_learning.oracles import Imperfections
from zoobot3d_tf.active_learning.panoptes import PanoptesOptions


def instructions(root, **settings):
    return Instructions(root / "catalogs", root / "experiment", subjects_per_iter=50, **settings)


def test_settings_are_read_as_they_were_saved(tmp_path):
    panoptes = PanoptesOptions("12", "34", str(tmp_path / "tasks.json"), 40, metadata=("ra", "magnitude"))
    for one in (
        instructions(tmp_path, imperfections=Imperfections(wrong=0.1, max_delay=2)),
        instructions(tmp_path, panoptes=panoptes, seed=3),
        TrainCallableFactory(epochs=3, tasks=("votes", "bar_mask"), warm_start=False, settings={"learning_rate": 1e-4}),
        AcquisitionCallableFactory("entropy", diverse=True, options=AcquisitionOptions(n_votes=4, question="bar")),
    ):
        one.save(tmp_path / "instructions")
        assert type(one).load(tmp_path / "instructions") == one
    assert {path.name for path in (tmp_path / "instructions").iterdir()} == {
        INSTRUCTIONS_NAME,
        TRAIN_NAME,
        ACQUISITION_NAME,
    }


def test_an_experiment_can_be_moved(tmp_path):
    old, new = tmp_path / "old", tmp_path / "far" / "new"
    panoptes = PanoptesOptions("12", "34", str(old / "tasks.json"), 40)
    instructions(old, panoptes=panoptes).save(old / "experiment" / "instructions")
    assert str(tmp_path) not in (old / "experiment" / "instructions" / INSTRUCTIONS_NAME).read_text()
    new.parent.mkdir()
    old.rename(new)
    moved = Instructions.load(new / "experiment" / "instructions")
    assert (moved.catalog_dir, moved.experiment_dir) == (new / "catalogs", new / "experiment")
    assert moved.shard_dir == new / "experiment" / "shards"
    assert moved.panoptes.tasks_loc == str(new / "tasks.json")


def test_test_mode_makes_iterations_short():
    short = instructions(Path("/data"), n_samples=2).use_test_mode()
    assert (short.subjects_per_iter, short.n_samples) == (10, 2)
    assert TrainCallableFactory().use_test_mode().epochs == 2
    assert TrainCallableFactory(epochs=1).use_test_mode().epochs == 1


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: instructions(Path(), n_samples=1), "n_samples must be at least 2; received 1"),
        (lambda: AcquisitionCallableFactory("bald"), "acquisition must be one of mutual-information,.*'bald'"),
        (lambda: AcquisitionCallableFactory("mask-entropy"), "acquisition must be one of"),
        (lambda: TrainCallableFactory(settings={"epoch": 3}), "settings must .* received epoch"),
        (lambda: TrainCallableFactory(settings={"epochs": 3}), "settings must .* received epochs"),
        (lambda: TrainCallableFactory(settings={"seed": 3}), "settings must .* received seed"),
    ],
)
def test_settings_that_cannot_be_used_are_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()


@pytest.mark.parametrize(
    "change",
    [
        lambda stored: stored | {"subjects": 3},
        lambda stored: stored | {"subjects_per_iter": "many"},
        lambda stored: {name: value for name, value in stored.items() if name != "catalog_dir"},
        lambda stored: stored | {"imperfections": {"wrong": 2}},
        lambda stored: stored | {"panoptes": {}},
        lambda stored: [stored],
    ],
)
def test_a_damaged_file_is_named(tmp_path, change):
    instructions(tmp_path).save(tmp_path)
    path = tmp_path / INSTRUCTIONS_NAME
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    with pytest.raises(ValueError, match=str(path)):
        Instructions.load(tmp_path)


def test_a_missing_file_says_which_command_writes_it(tmp_path):
    for one in (Instructions, TrainCallableFactory, AcquisitionCallableFactory):
        with pytest.raises(FileNotFoundError, match="create-instructions"):
            one.load(tmp_path)


def test_without_hidden_votes_nobody_can_be_asked(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"simulation_context .* panoptes"):
        instructions(tmp_path).get_oracle()
