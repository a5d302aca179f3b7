"""What a command is: its words, its arguments and its function; and the kinds of argument that several share."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Stage:
    """One command: what it does in a line, what more there is to say, an example, its arguments, its function."""

    summary: str
    details: str
    example: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], None]

    def parser_settings(self) -> dict:
        """What `argparse` wants to know of it."""
        description = f"{self.summary} {self.details}".strip()
        return {"description": description, "epilog": f"example: {self.example}", "formatter_class": _Help}

    def complete(self, parser: argparse.ArgumentParser) -> None:
        """Adds the arguments to the parser."""
        self.add_arguments(parser)
        parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
        parser.set_defaults(run=self.run)


class _Help(argparse.ArgumentDefaultsHelpFormatter):
    """Defaults beside the options that have one, and the example on a line of its own."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.default is None or action.default is False else super()._get_help_string(action)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        if text.startswith("example: "):
            return f"{indent}example:\n{indent}  {text.removeprefix('example: ')}"
        return super()._fill_text(text, width, indent)


def at_least(lowest: int) -> Callable[[str], int]:
    """The kind of argument that is a whole number, no smaller than `lowest`."""

    def parse(text: str) -> int:
        number = int(text)
        if number < lowest:
            raise argparse.ArgumentTypeError(f"must be at least {lowest}; received {number}")
        return number

    parse.__name__ = "whole number"  # as argparse names it when int() fails
    return parse


def names(text: str) -> list[str]:
    """The kind of argument that is a list of names between commas."""
    return [name.strip() for name in text.split(",") if name.strip()]


def given(args: argparse.Namespace) -> dict:
    """The arguments as keywords of the function that they are for; those without a value keep that function's."""
    return {name: value for name, value in vars(args).items() if name not in ("run", "debug") and value is not None}
