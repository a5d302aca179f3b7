"""The command line: `zoobot3d <stage>`, `python -m zoobot3d_tf <stage>`, and the scripts of a checkout.

The arguments of each command and the function that runs it are in `commands/`.
"""

import argparse
import os
import re
import shlex
import sys
import warnings
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from traceback import extract_tb

from zoobot3d_tf.commands import (
    active_learning,
    catalogs,
    evaluation,
    experiments,
    predictions,
    pretraining,
    production,
    ranking,
    representations,
    schemas,
    shards,
    simulation,
    surveys,
    training,
    tuning,
    weights,
)
from zoobot3d_tf.extras import require
from zoobot3d_tf.messages import show_error, show_messages, written_to
from zoobot3d_tf.version import __version__

# Errors of these types, if this package raises them, are about the input of the user.
USER_ERRORS = (ValueError, FloatingPointError, ImportError)

COMPLETION = "_ARGCOMPLETE"
"""Environment variable that a shell sets when it asks how a line can go on; the line is in `COMP_LINE`."""

STAGES = (
    schemas.STAGES
    | simulation.STAGES
    | surveys.STAGES
    | catalogs.STAGES
    | shards.STAGES
    | pretraining.STAGES
    | training.STAGES
    | tuning.STAGES
    | predictions.STAGES
    | evaluation.STAGES
    | experiments.STAGES
    | representations.STAGES
    | active_learning.STAGES
    | ranking.STAGES
    | weights.STAGES
    | production.STAGES
)
"""All commands by name, in the order in which they are used. A name may have two words."""

GROUPS = {
    "gz3d": "Download and read the files of Galaxy Zoo: 3D (commands: download, catalog, marks).",
    "cutouts": "Download images from the Legacy Surveys (command: download).",
    "masks": "Make masks from the outlines of volunteers (command: draw).",
    "catalog": "Make the training catalogue (command: build).",
    "predictions": "Show predictions (command: show).",
    "experiment": "Run an experiment (command: joint-vs-single).",
    "production": "The jobs of Galaxy Zoo's production (commands: train, predict).",
    "al": "Active learning (commands: define, shards, create-instructions, run-iteration, simulate, timeline, rank).",
}
"""Help text of commands whose name has two words, by the first word."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command of `zoobot3d`; return the exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    is_completion = COMPLETION in os.environ
    if is_completion:
        arguments = os.environ["COMP_LINE"].split()[1:]
    parser = argparse.ArgumentParser(
        prog="zoobot3d",
        description="Train a model on Galaxy Zoo votes and masks, and predict them for new galaxies.",
        epilog="`zoobot3d COMMAND --help` describes a command.",
    )
    parser.add_argument("--version", action="version", version=f"zoobot3d_tf {__version__}")
    stages = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    groups = {"": stages}
    for name, stage in STAGES.items():
        group, _, command = name.rpartition(" ")
        if group not in groups:
            summary = GROUPS[group]
            groups[group] = stages.add_parser(group, help=summary, description=summary).add_subparsers(
                title="commands", metavar="COMMAND", required=True
            )
        stage_parser = groups[group].add_parser(command, help=stage.summary, **stage.parser_settings())
        # Only the arguments of this command are needed. To add all would import slow modules.
        words = name.split()
        if list(arguments[: len(words)]) == words:
            stage.complete(stage_parser, () if is_completion else arguments[len(words) :])
    if is_completion:
        _answer_shell(parser)
    return _run(parser.parse_args(arguments))


def _answer_shell(parser: argparse.ArgumentParser) -> None:
    """Tell the shell how the line can go on, and end the process."""
    require("argcomplete", "the completion of commands by the shell")
    import argcomplete

    argcomplete.autocomplete(parser)


def run_script(name: str, arguments: Sequence[str] | None = None) -> int:
    """Run a command as one of the scripts at the top level of a checkout; return the exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    settings = STAGES[name].parser_settings()
    settings["epilog"] = settings["epilog"].replace(f"zoobot3d {name}", f"python {Path(sys.argv[0]).name}")
    parser = argparse.ArgumentParser(**settings)
    STAGES[name].complete(parser, arguments)
    return _run(parser.parse_args(arguments))


def _run(args: argparse.Namespace) -> int:
    show_messages()
    # Our messages would be lost among the warnings of Keras and astropy about each damaged file.
    warnings.filterwarnings("ignore", module="astropy|keras")
    with ExitStack() as stack:
        try:
            stack.enter_context(written_to(args.log_file, f"zoobot3d_tf {__version__}: {shlex.join(sys.argv)}"))
            args.run(args)
        except KeyboardInterrupt:
            show_error("interrupted; finished work is kept")
            return 130
        except MemoryError as error:
            if args.debug:
                raise
            show_error(f"error: there is not enough memory: {error}".removesuffix(": "))
            return 1
        except Exception as error:
            if args.debug:
                raise
            if is_users(error):
                show_error(f"error: {in_options(str(error), args.options)}")
                return 2
            show_error(
                f"internal error: {type(error).__name__}: {error}\n"
                "This is a fault of zoobot3d_tf, not of your input; finished work is kept. Please report it to the "
                f"developers with the version ({__version__}), the command and the traceback that --debug shows."
            )
            return 1
        return 0


def is_users(error: Exception) -> bool:
    """Whether an error is about the input of the user or about files, and not a fault of this package.

    An error of `USER_ERRORS` is a fault of this package if another package raised it: this package checks its input.
    """
    if not isinstance(error, USER_ERRORS):
        return isinstance(error, OSError)
    # An error of a worker process has lost its frames; its cause holds them as text.
    text = str(error.__cause__) if type(error.__cause__).__name__ == "_RemoteTraceback" else ""
    files = re.findall(r'File "(.+?)", line', text) or [frame.filename for frame in extract_tb(error.__traceback__)]
    return Path(files[-1]).is_relative_to(Path(__file__).parent)


def in_options(message: str, options: Mapping[str, str]) -> str:
    """Replace the names of Python arguments in an error message by the options of the command line.

    Args:
        message: such as "eval_size must be above 0; received -1".
        options: option of each argument, such as {"eval_size": "--eval-size"}.
    """
    for name, option in options.items():
        # A name of one word, such as "seed", may also be an ordinary word. It is only replaced where it is an argument.
        role = "" if "_" in name else r"(?=(=| must | needs | applies ))"
        message = re.sub(rf"(?<![\w./'-]){name}(?![\w./'-]){role}(=True\b)?", option, message)
    return message
