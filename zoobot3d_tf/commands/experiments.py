"""The commands that run experiments."""

import argparse

from zoobot3d_tf.commands.stage import Stage
from zoobot3d_tf.files import path_of


def _joint_vs_single_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("config_path", metavar="CONFIG", type=path_of, help="Configuration: a YAML file such as those in configs/")
    add("--out", type=path_of, required=True, help="Folder to fill, or to continue")


def _joint_vs_single(args: argparse.Namespace) -> None:
    from zoobot3d_tf.evaluation.experiment import compare_joint_and_single

    print(compare_joint_and_single(args.config_path, args.out))


STAGES = {
    "experiment joint-vs-single": Stage(
        "Compare learning votes and masks together with learning one of them alone.",
        "Trains all variants of a configuration with the same budget. Writes scores with intervals, paired tests and "
        "learning curves over the number of masked galaxies (docs/joint_learning.md). To continue an interrupted "
        "experiment, repeat the command.",
        "zoobot3d experiment joint-vs-single configs/joint_vs_single_simulated.yaml --out experiment",
        _joint_vs_single_arguments,
        _joint_vs_single,
    ),
}
