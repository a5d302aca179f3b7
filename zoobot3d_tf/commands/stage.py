"""What a command is: its words, its arguments and its function; and the kinds of argument that several share."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

TABLE = "Table to write: .csv, .parquet, .fits or .ecsv"
RUN = "Run folder, hf://owner/name, or shipped: the weights that come with the package"
SCHEMA = "Decision tree: its name (see `zoobot3d schemas`), or a .yaml or .json file"


@dataclass(frozen=True)
class Stage:
    """One command.

    Attributes:
        summary: what it does, in one sentence.
        details: what else a user should know; may be empty.
        example: a complete command line.
        add_arguments: adds its arguments to a parser.
        run: runs it.
    """

    summary: str
    details: str
    example: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], None]

    def parser_settings(self) -> dict[str, Any]:
        """Keywords of `argparse.ArgumentParser`."""
        description = f"{self.summary} {self.details}".strip()
        return {"description": description, "epilog": f"example: {self.example}", "formatter_class": _Help}

    def complete(self, parser: argparse.ArgumentParser) -> None:
        """Add the arguments to a parser."""
        self.add_arguments(parser)
        # Errors from Python name arguments; at the command line they are to name these options.
        options = {action.dest: max(action.option_strings, key=len) for action in parser._actions if _is_option(action)}
        parser.add_argument("--debug", action="store_true", help="Show the traceback of an error")
        parser.set_defaults(run=self.run, options=options)


def _is_option(action: argparse.Action) -> bool:
    return bool(action.option_strings) and action.dest != "help"


class _Help(argparse.ArgumentDefaultsHelpFormatter):
    """Show the default of each option that has one, and the example on a line of its own."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.default is None or action.default is False else super()._get_help_string(action)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        if text.startswith("example: "):
            return f"{indent}example:\n{indent}  {text.removeprefix('example: ')}"
        return super()._fill_text(text, width, indent)


def at_least(lowest: int) -> Callable[[str], int]:
    """The kind of argument that is a whole number, not below `lowest`."""

    def parse(text: str) -> int:
        number = int(text)
        if number < lowest:
            raise argparse.ArgumentTypeError(f"must be at least {lowest}; received {number}")
        return number

    parse.__name__ = "whole number"  # as argparse names it when int() fails
    return parse


def names(text: str) -> list[str]:
    """The kind of argument that is a list of names separated by commas."""
    return [name.strip() for name in text.split(",") if name.strip()]


def given(args: argparse.Namespace) -> dict[str, Any]:
    """Arguments as keywords of the function that they are for. Without a value, the function's default applies."""
    ours = ("run", "debug", "options")
    return {name: value for name, value in vars(args).items() if name not in ours and value is not None}


def split_off(options: dict[str, Any], dataclass_type: type) -> dict[str, Any]:
    """Remove the fields of a dataclass from keywords; return them."""
    return {field.name: options.pop(field.name) for field in fields(dataclass_type) if field.name in options}
