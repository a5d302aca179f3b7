"""The command line: `zoobot3d <stage>`, `python -m zoobot3d_tf <stage>`, and the scripts at the top level.

What each command takes and does stands in `commands/`. Help and mistakes in the arguments are answered at once: what is
slow to import is imported when a command runs.
"""

import argparse
import logging
import os
import sys
import warnings
from collections.abc import Sequence

from zoobot3d_tf import __version__
from zoobot3d_tf.commands import catalogs, learning, representations, weights

# Answers in English to mistakes in what the user gave; anything else is a fault of ours and deserves its traceback.
USER_ERRORS = (ValueError, OSError, FloatingPointError, ImportError)

STAGES = catalogs.STAGES | learning.STAGES | representations.STAGES | weights.STAGES
# Commands of two words, by the first.
GROUPS = {
    "gz3d": "Galaxy Zoo: 3D: download, catalog, marks.",
    "cutouts": "Images from the Legacy Surveys: download.",
    "masks": "Masks from volunteers' marks: draw.",
    "catalog": "The training catalogue: build.",
    "predictions": "Tables of predictions: show.",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """`zoobot3d`: runs one stage; returns the exit code."""
    parser = argparse.ArgumentParser(prog="zoobot3d", description="Votes and masks of galaxies, learned at once.")
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
        stage.complete(groups[group].add_parser(command, help=stage.summary, **stage.parser_settings()))
    return _run(parser.parse_args(arguments))


def run_script(name: str, arguments: Sequence[str] | None = None) -> int:
    """One of the scripts at the top level: a stage under the script's own name; returns the exit code."""
    parser = argparse.ArgumentParser(**STAGES[name].parser_settings())
    STAGES[name].complete(parser)
    return _run(parser.parse_args(arguments))


def _run(args: argparse.Namespace) -> int:
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    # TensorFlow's greetings, and what Keras and astropy say of each damaged file, would bury our own words.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    warnings.filterwarnings("ignore", module="astropy|keras")
    try:
        args.run(args)
    except USER_ERRORS as error:
        if args.debug:
            raise
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; what is finished is kept", file=sys.stderr)
        return 130
    return 0
