"""Definition of a command: help texts, arguments and function. Types of arguments that several commands use."""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

from zoobot3d_tf.commands.options_file import add_config, take_settings
from zoobot3d_tf.failures import FEW_FAILED, MAX_FAILED
from zoobot3d_tf.files import path_of

TABLE = "Table to write: .csv, .parquet, .fits or .ecsv"
RUN = (
    "Trained model: a run folder, hf://owner/name or hf://owner/name@revision for the Hugging Face hub, or shipped for "
    "the model that comes with the package"
)
SCHEMA = "Decision tree: a name that `zoobot3d schemas` lists, or a .yaml or .json file"
LABEL_COLUMN = "with two values (such as yes and no), classes, or numbers"
LABEL_VALUES = (
    "Classes of --label-col, separated by commas (a list that begins with a minus: --label-values=-1,1), or single "
    "numbers, that are accepted although they look like placeholders for missing values or like two spellings"
)
IMAGE_ROOT = "Folder that relative paths in the catalogue start from (default: the folder of the catalogue)"
UNASKED = "Accept a catalogue without the columns of some questions: nobody was asked these questions"


@dataclass(frozen=True)
class Stage:
    """One command.

    Attributes:
        summary: sentence that says what the command does.
        details: other facts that users need; may be empty.
        example: a complete command line.
        add_arguments: function that adds the arguments to a parser.
        run: function that runs the command.
        from_file: whether options can also be given in a file, with `--config` and `--set`.
    """

    summary: str
    details: str
    example: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], None]
    from_file: bool = False

    def parser_settings(self) -> dict[str, Any]:
        """Keywords of `argparse.ArgumentParser`."""
        description = f"{self.summary} {self.details}".strip()
        return {"description": description, "epilog": f"example: {self.example}", "formatter_class": _Help}

    def complete(self, parser: argparse.ArgumentParser, arguments: Sequence[str] = ()) -> None:
        """Add the arguments to a parser, and take the entries of the file that `arguments` name as defaults."""
        self.add_arguments(parser)
        if self.from_file:
            add_config(parser)
        # Errors from Python name arguments. At the command line these names are replaced by the options.
        options = {action.dest: max(action.option_strings, key=len) for action in parser._actions if _is_option(action)}
        parser.add_argument(
            "--log-file", type=path_of, metavar="FILE", help="Also append messages and progress to FILE, with times"
        )
        parser.add_argument("--debug", action="store_true", help="Show the traceback of an error")
        parser.set_defaults(run=self.run, options=options)
        if self.from_file:
            take_settings(parser, arguments)


def _is_option(action: argparse.Action) -> bool:
    return bool(action.option_strings) and action.dest != "help"


class _Help(argparse.ArgumentDefaultsHelpFormatter):
    """Show the default of each option that has one, and the example on a separate line."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.default is None or action.default is False else super()._get_help_string(action)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        if text.startswith("example: "):
            return f"{indent}example:\n{indent}  {text.removeprefix('example: ')}"
        return super()._fill_text(text, width, indent)


def at_least(lowest: int) -> Callable[[str], int]:
    """Make the type of an argument that is a whole number of at least `lowest`."""

    def parse(text: str) -> int:
        number = int(text)
        if number < lowest:
            raise argparse.ArgumentTypeError(f"must be at least {lowest}; received {number}")
        return number

    parse.__name__ = "whole number"  # as argparse names it when int() fails
    return parse


def add_max_failed(parser: argparse.ArgumentParser) -> None:
    """Add the option `--max-failed`, see `failures.may_fail`."""
    parser.add_argument(
        "--max-failed",
        type=_fraction,
        default=MAX_FAILED,
        help=f"Stop if more than this fraction of the galaxies fails. {FEW_FAILED} may always fail, unless it is 0",
    )


def add_split(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose the validation galaxies."""
    from zoobot3d_tf.shards.options import DEFAULT_EVAL_SIZE

    add = parser.add_argument
    add(
        "--eval-size",
        type=float,
        help="Number of validation galaxies, approximate without --split-seed; or, if below 1, their fraction of all "
        f"labelled galaxies (default: the column split, or {DEFAULT_EVAL_SIZE} without it)",
    )
    add(
        "--eval-ids",
        type=path_of,
        metavar="FILE",
        help="Instead of --eval-size, the validation galaxies themselves: .txt with one id_str per line, or a table "
        "with the column id_str",
    )
    add(
        "--split-seed",
        type=at_least(0),
        metavar="N",
        help="Choose exactly --eval-size validation galaxies, with exact numbers of each class; N chooses one of the "
        "possible sets (default: about --eval-size, by a hash of id_str, so that new galaxies do not move others)",
    )


def add_overwrite_or_resume(parser: argparse.ArgumentParser) -> None:
    """Add the options `--overwrite` and `--resume` of commands that write shards, of which one may be given."""
    again = parser.add_mutually_exclusive_group()
    again.add_argument("--overwrite", action="store_true", help="Replace existing shards in --shard-dir")
    again.add_argument(
        "--resume", action="store_true", help="Continue an interrupted run, and keep its finished shards"
    )


def add_resize_size(parser: argparse.ArgumentParser) -> None:
    """Add the option `--resize-size` of a network that is trained from its beginning."""
    from zoobot3d_tf.models.config import ModelConfig

    parser.add_argument(
        "--resize-size",
        type=at_least(32),
        default=ModelConfig.image_size,
        help="Size of the input of the network, in pixels, a multiple of 32. The crop is resized to it",
    )


def add_stretch(parser: argparse.ArgumentParser, default: str | None, known: str = "") -> None:
    """Add the option `--stretch`, a name or the file of a stretch.

    Args:
        parser: parser of the command.
        default: default of the option.
        known: what to say about the default in the help; by default, argparse says it.
    """
    from zoobot3d_tf.images.stretch import STRETCHES

    parser.add_argument(
        "--stretch",
        type=_stretch,
        default=default,
        metavar=f"{{{','.join(STRETCHES)},FILE.yaml}}",
        help="Stretch that converts FITS cutouts to colour images: a name, or a YAML file with settings of your own "
        + known,
    )


def add_color(parser: argparse.ArgumentParser) -> None:
    """Add the option `--color`. Without it, the initial weights decide, or else the bands are averaged."""
    parser.add_argument(
        "--color",
        action="store_true",
        default=None,
        help="Use the three colours of the images (default: their mean, as Zoobot does)",
    )


def counts(text: str) -> list[int]:
    """Type of an argument that is a list of whole numbers above 0, separated by commas."""
    return [at_least(1)(part) for part in names(text)]


counts.__name__ = "list of whole numbers"  # as argparse names it when int() fails


def names(text: str) -> list[str]:
    """Type of an argument that is a list of names, separated by commas."""
    return [name.strip() for name in text.split(",") if name.strip()]


def given(args: argparse.Namespace) -> dict[str, Any]:
    """Convert arguments to keywords of a function. Arguments without a value are left out, for the default."""
    ours = ("run", "config", "set", "log_file", "debug", "options")
    return {name: value for name, value in vars(args).items() if name not in ours and value is not None}


def split_off(options: dict[str, Any], dataclass_type: type) -> dict[str, Any]:
    """Remove the fields of a dataclass from keywords; return them."""
    return {field.name: options.pop(field.name) for field in fields(dataclass_type) if field.name in options}


def _stretch(text: str) -> str:
    from zoobot3d_tf.images.stretch import read_stretch

    try:
        return read_stretch(text)
    except (OSError, ValueError) as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _fraction(text: str) -> float:
    number = float(text)
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError(f"must be a fraction from 0 to 1; received {text}")
    return number
