"""The plan of an experiment, which is its three settings, and its preparation: shards, database and files."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from zoobot3d_tf.active_learning.acquisition import acquire
from zoobot3d_tf.active_learning.database import create_database
from zoobot3d_tf.active_learning.instructions import (
    INSTRUCTIONS_NAME,
    AcquisitionCallableFactory,
    Instructions,
    TrainCallableFactory,
)
from zoobot3d_tf.files import PathLike, one_owner, path_of
from zoobot3d_tf.shards.manifest import SPLITS, Manifest, read_manifest

INSTRUCTIONS_DIR = "instructions"
"""Folder of the instructions in the folder of an experiment."""


@dataclass(frozen=True)
class Plan:
    """The three settings of an experiment."""

    instructions: Instructions
    training: TrainCallableFactory
    acquisition: AcquisitionCallableFactory

    def use_test_mode(self) -> "Plan":
        """Change the settings to very short iterations, to see whether everything works."""
        return Plan(self.instructions.use_test_mode(), self.training.use_test_mode(), self.acquisition)

    def save(self, folder: Path) -> None:
        """Write the three files."""
        self.training.save(folder)
        self.acquisition.save(folder)
        self.instructions.save(folder)

    @classmethod
    def load(cls, folder: PathLike) -> "Plan":
        """Read the three files; errors as of `Instructions.load`."""
        return cls(
            Instructions.load(folder), TrainCallableFactory.load(folder), AcquisitionCallableFactory.load(folder)
        )


def create_instructions(plan: Plan, shard_dir: PathLike) -> Path:
    """Prepare an experiment: its copy of the shards, its database, and the files of its settings.

    Args:
        plan: settings. Their folder of the experiment is filled.
        shard_dir: shards with evaluation galaxies and unlabelled galaxies. They are not changed, so that several
            experiments can begin with them.

    Returns:
        Folder of the settings. If the experiment was prepared before with the same settings, nothing is changed.

    Raises:
        ValueError: the experiment was prepared with other settings; an option of the acquisition function is
            impossible; or the shards are damaged, have another decision tree, or no unlabelled galaxies.
        BlockingIOError: another process writes the folder of the experiment.
        OSError: a file cannot be read or written, or there is nobody to ask; see `Instructions.get_oracle`.
    """
    instructions = plan.instructions
    folder = instructions.experiment_dir / INSTRUCTIONS_DIR
    manifest = read_manifest(path_of(shard_dir))
    if manifest.schema != instructions.schema:
        raise ValueError(
            f"{shard_dir}: its votes are of {manifest.schema!r}, those of {instructions.catalog_dir} of "
            f"{instructions.schema!r}; make shards of these catalogues"
        )
    if not manifest.count("unlabelled"):
        raise ValueError(f"{shard_dir}: has no unlabelled galaxies that could be asked about")
    # Errors are better raised before the first training.
    instructions.get_oracle()
    equal = np.ones((1, len(instructions.schema.label_cols), instructions.n_samples))
    acquire(plan.acquisition.name, equal, instructions.schema, plan.acquisition.options)
    with one_owner(instructions.experiment_dir):
        if (folder / INSTRUCTIONS_NAME).is_file():
            _check_same(folder, plan)
            return folder

        from zoobot3d_tf.shards.grow import copy_shards  # imports TensorFlow, which the checks do not need

        copied = copy_shards(shard_dir, instructions.shard_dir)
        create_database(instructions.db_loc, instructions.schema, _galaxies_of(copied))
        plan.save(folder)
    return folder


def _check_same(folder: Path, plan: Plan) -> None:
    earlier = Plan.load(folder)
    for name in ("instructions", "training", "acquisition"):
        old, new = asdict(getattr(earlier, name)), asdict(getattr(plan, name))
        if differing := [key for key in new if json.dumps(new[key], default=str) != json.dumps(old[key], default=str)]:
            key = differing[0]
            raise ValueError(
                f"{folder}: this experiment was prepared with other settings ({key} was {old[key]}, now {new[key]}); "
                "repeat its settings, or choose another folder"
            )


def _galaxies_of(manifest: Manifest) -> pd.DataFrame:
    """Galaxies in shards, as `create_database` takes them."""
    from zoobot3d_tf.shards.read import read_votes

    tables = []
    for split in SPLITS:
        for path in manifest.paths(split):
            ids, votes = read_votes([path])
            columns = [] if manifest.schema is None else manifest.schema.label_cols
            table = pd.DataFrame(votes.astype(np.int64), columns=columns)
            shard = path.relative_to(manifest.folder).as_posix()
            tables.append(table.assign(id_str=ids, split=split, shard=shard, record=np.arange(len(ids))))
    return pd.concat(tables, ignore_index=True)
