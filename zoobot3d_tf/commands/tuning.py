"""The command that searches hyperparameters."""

import argparse
from collections.abc import Mapping
from typing import Any

from zoobot3d_tf.commands import training
from zoobot3d_tf.commands.options_file import defaults_of, options_in, settings_values
from zoobot3d_tf.commands.stage import Stage, at_least
from zoobot3d_tf.files import path_of


def _sweep_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("config_path", metavar="CONFIG", type=path_of, help="YAML file such as configs/sweep_example.yaml")
    add("--out", type=path_of, required=True, help="Folder to fill, or to continue")
    add(
        "--trials",
        type=at_least(1),
        help="Number of trials, including finished ones (default: that of the configuration)",
    )
    add("--workers", type=at_least(1), default=1, help="Number of trials that are trained at the same time")


def _sweep(args: argparse.Namespace) -> None:
    from zoobot3d_tf.tuning.sweep import run_sweep
    from zoobot3d_tf.tuning.sweep_config import read_sweep

    train = argparse.ArgumentParser()
    training.STAGES["train"].complete(train)

    def convert(options: Mapping[str, Any], where: str) -> dict[str, Any]:
        return settings_values(train, options_in(options, where))

    sweep, space = read_sweep(args.config_path, convert, defaults_of(train))
    print(run_sweep(sweep, space, args.out, args.trials, args.workers))


STAGES = {
    "sweep": Stage(
        "Search the hyperparameters of `zoobot3d train` with Optuna.",
        "Each trial is a training in a process of its own. Writes a table and a plot of the scores of all trials "
        "(docs/tuning.md). To continue an interrupted sweep, repeat the command. Needs the extra [sweep].",
        "zoobot3d sweep configs/sweep_example.yaml --out sweep --workers 2",
        _sweep_arguments,
        _sweep,
    ),
}
