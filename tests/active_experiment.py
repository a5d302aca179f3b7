"""A small experiment of active learning, and training and networks that take no time in place of real ones.

python active_experiment.py FOLDER runs a simulation of the experiment with the tiny encoder.
"""

import sys
from pathlib import Path

import pandas as pd
from prediction_runs import RedNetwork, make_run

from zoobot3d_tf.active_learning.definition import LABELLED_NAME, SIMULATION_NAME, UNLABELLED_NAME, define_experiment
from zoobot3d_tf.active_learning.instructions import AcquisitionCallableFactory, Instructions, TrainCallableFactory
from zoobot3d_tf.active_learning.plan import Plan
from zoobot3d_tf.schemas import get_schema
from zoobot3d_tf.shards.options import ShardOptions
from zoobot3d_tf.shards.write import create_shards

QUESTION = "smooth-or-featured"
N_ITERATIONS = 4


def make_sources(folder: Path, survey: Path, question: str = "") -> Path:
    """Make the catalogues and the shards of an experiment; return the folder of the catalogues."""
    catalogs = define_experiment(survey, folder / "catalogs", get_schema("decals"), question=question, known=10)
    simulation = catalogs / SIMULATION_NAME
    plan = Instructions(simulation, folder)
    options = ShardOptions(img_size=64, eval_size=5, split_seed=0, shard_size=4)
    create_shards(simulation / LABELLED_NAME, folder / "shards", plan.schema, options, simulation / UNLABELLED_NAME)
    return simulation


def make_plan(simulation: Path, experiment: Path, acquisition: str = "mutual-information", **settings) -> Plan:
    """A plan that asks about three galaxies per iteration, unless the settings say otherwise."""
    instructions = Instructions(simulation, experiment, **{"subjects_per_iter": 3, "n_samples": 2} | settings)
    training = TrainCallableFactory(epochs=1, batch_size=8, resize_size=32)
    return Plan(instructions, training, AcquisitionCallableFactory(acquisition))


class Fakes:
    """Training that makes a run folder at once, and a network of which only the images matter.

    Attributes:
        trained: arguments of each training: run folder, numbers of training galaxies, seed, run before.
    """

    def __init__(self, monkeypatch) -> None:
        self.trained = []
        monkeypatch.setattr(TrainCallableFactory, "get", lambda factory: self._train)
        monkeypatch.setattr("zoobot3d_tf.predictions.predict_part.Network", RedNetwork)

    def _train(self, shard_dir, run_dir, seed, previous_run):
        from zoobot3d_tf.shards.manifest import read_manifest

        self.trained.append((run_dir, read_manifest(shard_dir).count("train"), seed, previous_run))
        if not run_dir.exists():
            make_run(run_dir, tasks=("votes",))


def contents(experiment: Path) -> tuple[pd.DataFrame, str]:
    """What an experiment has decided: the table of galaxies, and the manifest of its shards."""
    from zoobot3d_tf.active_learning.database import DATABASE_NAME, open_database

    with open_database(experiment / DATABASE_NAME) as database:
        galaxies = database.galaxies()
    return galaxies, (experiment / "shards" / "shards.json").read_text()


def main(experiment: Path) -> None:
    """Simulate the experiment whose settings are in a folder, with the tiny encoder."""
    import tensorflow  # noqa: F401  # before the start, so that kills do not only hit the import
    from tiny_network import tiny_encoder

    from zoobot3d_tf.active_learning.simulation import run_simulation
    from zoobot3d_tf.models import build

    build.build_encoder = tiny_encoder
    print("ready", flush=True)
    run_simulation(experiment / "instructions", N_ITERATIONS)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
