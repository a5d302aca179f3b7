"""The command line: `zoobot3d <stage>`, `python -m zoobot3d_tf <stage>`, and the scripts of a checkout.

The arguments of each command and the function that runs it are in `commands/`.
"""

import argparse
import logging
import os
import re
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

from zoobot3d_tf import __version__
from zoobot3d_tf.commands import (
    catalogs,
    evaluation,
    predictions,
    representations,
    schemas,
    shards,
    simulation,
    surveys,
    training,
    weights,
)

# Errors about what the user gave. Any other error is a fault of this package, and shows its traceback.
USER_ERRORS = (ValueError, OSError, FloatingPointError, ImportError)

STAGES = (
    schemas.STAGES
    | simulation.STAGES
    | surveys.STAGES
    | catalogs.STAGES
    | shards.STAGES
    | training.STAGES
    | predictions.STAGES
    | evaluation.STAGES
    | representations.STAGES
    | weights.STAGES
)
"""All commands by name, in the order of the flow; the name may have two words."""

GROUPS = {
    "gz3d": "Galaxy Zoo: 3D: download, catalog, marks.",
    "cutouts": "Images from the Legacy Surveys: download.",
    "masks": "Masks from volunteers' marks: draw.",
    "catalog": "The training catalogue: build.",
    "predictions": "Tables of predictions: show.",
}
"""What the commands of two words are about, by the first word."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command of `zoobot3d`; return the exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = argparse.ArgumentParser(prog="zoobot3d", description="Galaxy Zoo votes and masks, learned together.")
    parser.add_argument("--version", action="version", version=f"zoobot3d_tf {__version__}")
    stages = parser.add_subparsers(title="stages", metavar="STAGE", required=True)
    groups = {"": stages}
    for name, stage in STAGES.items():
        group, _, command = name.rpartition(" ")
        if group not in groups:
            words = GROUPS[group]
            groups[group] = stages.add_parser(group, help=words, description=words).add_subparsers(
                title="commands", metavar="COMMAND", required=True
            )
        stage_parser = groups[group].add_parser(command, help=stage.summary, **stage.parser_settings())
        if list(arguments[: name.count(" ") + 1]) == name.split():  # the others' arguments are not needed
            stage.complete(stage_parser)
    return _run(parser.parse_args(arguments))


def run_script(name: str, arguments: Sequence[str] | None = None) -> int:
    """Run one of the scripts at the top level of a checkout, a command under another name; return the exit code."""
    settings = STAGES[name].parser_settings()
    settings["epilog"] = settings["epilog"].replace(f"zoobot3d {name}", f"python {Path(sys.argv[0]).name}")
    parser = argparse.ArgumentParser(**settings)
    STAGES[name].complete(parser)
    return _run(parser.parse_args(arguments))


def _run(args: argparse.Namespace) -> int:
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    # Start-up messages of TensorFlow, and warnings of Keras and astropy about each damaged file, would hide ours.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    warnings.filterwarnings("ignore", module="astropy|keras")
    try:
        args.run(args)
    except USER_ERRORS as error:
        if args.debug:
            raise
        print(f"error: {in_options(str(error), args.options)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; finished work is kept", file=sys.stderr)
        return 130
    return 0


def in_options(message: str, options: Mapping[str, str]) -> str:
    """An error message with the names of Python arguments replaced by the options of the command line.

    Args:
        message: such as "eval_size must be above 0; received -1".
        options: option of each argument, such as {"eval_size": "--eval-size"}.
    """
    for name, option in options.items():
        # A single word may be a word of the sentence, unless it is what the sentence is about.
        role = "" if "_" in name else r"(?=(=| must | needs | applies ))"
        message = re.sub(rf"(?<![\w./'-]){name}(?![\w./'-]){role}(=True\b)?", option, message)
    return message
