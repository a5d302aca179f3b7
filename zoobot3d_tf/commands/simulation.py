"""The command that simulates galaxies."""

import argparse

from zoobot3d_tf.commands.stage import Stage, at_least
from zoobot3d_tf.files import path_of
from zoobot3d_tf.machine import available_cores
from zoobot3d_tf.simulation.looks import DEFAULT_SURVEY, SURVEYS


def _simulate_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--n", type=at_least(1), required=True, help="Number of galaxies")
    add("--out", type=path_of, required=True, help="Folder to fill")
    add("--seed", type=at_least(0), default=0, help="Random seed of the galaxies")
    add("--survey", choices=list(SURVEYS), default=DEFAULT_SURVEY, help="Survey whose look the images have")
    add("--workers", type=at_least(1), default=available_cores(), help="Number of processes")


def _simulate(args: argparse.Namespace) -> None:
    from zoobot3d_tf.simulation.survey import simulate_survey

    print(simulate_survey(args.out, n=args.n, seed=args.seed, workers=args.workers, survey=args.survey))


STAGES = {
    "simulate": Stage(
        "Simulate galaxies whose true shape is known, and the votes and outlines of volunteers.",
        "Writes images/, masks/, marks/ (the outlines), catalog.csv and truth.csv (the true shapes).",
        "zoobot3d simulate --n 1000 --seed 0 --out galaxies",
        _simulate_arguments,
        _simulate,
    ),
}
