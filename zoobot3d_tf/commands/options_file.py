"""Options of a command from a YAML file: `--config FILE`, and `--set KEY=VALUE` in place of an entry."""

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from zoobot3d_tf.files import path_of
from zoobot3d_tf.settings_files import check_known, read_yaml

_NOT_SETTINGS = ("help", "config", "set", "log_file", "debug")


def add_config(parser: argparse.ArgumentParser) -> None:
    """Add the options `--config` and `--set`; see `take_settings`."""
    add = parser.add_argument
    add(
        "--config",
        type=path_of,
        metavar="FILE",
        help="YAML file of options, such as those in configs/: their names are the keys, with - or _. Or the "
        "config.json of a run, which is repeated. Options of the command line take precedence",
    )
    add(
        "--set",
        action="append",
        metavar="KEY=VALUE",
        help="Option in place of the one in the file of --config; may be given several times. An empty value is the "
        "default",
    )


def take_settings(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> None:
    """Use the entries of `--config` and `--set` as defaults of a parser. Wrong ones end the program, as wrong options.

    Args:
        parser: parser of a command, with all its options.
        arguments: words of the command line, after the name of the command.
    """
    required = [action for action in parser._actions if action.required]
    for action in required:
        action.required = False
    first = parser.parse_args(arguments)
    for action in required:
        action.required = True
    try:
        values = settings_values(parser, _settings(first.config, first.set or ()))
    except (ValueError, OSError) as error:
        parser.exit(2, f"error: {error}\n")
    parser.set_defaults(**values)
    for action in required:
        action.required = action.dest not in values


def settings_values(parser: argparse.ArgumentParser, settings: Mapping[str, tuple[str, Any]]) -> dict[str, Any]:
    """Convert settings to values of options, with the checks of the command line.

    Args:
        parser: parser of the command.
        settings: place for errors, and value, of each option by its name.

    Returns:
        Values by the names of arguments. Options whose value is empty are left out, for the default.

    Raises:
        ValueError: an option is unknown, or a value is wrong.
    """
    known = _settable(parser)
    values = {}
    for key, (where, value) in settings.items():
        check_known(where, key, known, "unknown option")
        if value is not None:
            try:
                values[key] = _converted(parser, known[key], value)
            except (ValueError, argparse.ArgumentError) as error:
                words = error.message if isinstance(error, argparse.ArgumentError) else error
                raise ValueError(f"{where}: {words}") from None
    return values


def defaults_of(parser: argparse.ArgumentParser) -> dict[str, Any]:
    """Defaults of the options of a command, by the names of arguments. Options without a default are left out."""
    return {name: action.default for name, action in _settable(parser).items() if action.default is not None}


def options_in(content: Mapping[str, Any], where: str) -> dict[str, tuple[str, Any]]:
    """Name the place of each entry, and write its key as the name of an argument."""
    return {str(key).replace("-", "_"): (f"{where}: {key}", value) for key, value in content.items()}


def _settable(parser: argparse.ArgumentParser) -> dict[str, argparse.Action]:
    return {
        action.dest: action for action in parser._actions if action.option_strings and action.dest not in _NOT_SETTINGS
    }


def _settings(config: Any, assignments: Sequence[str]) -> dict[str, tuple[str, Any]]:
    from zoobot3d_tf.training.repeat import is_run, options_of

    settings: dict[str, tuple[str, Any]] = {}
    if config is not None:
        content = read_yaml(config)
        try:
            settings = options_in(options_of(content) if is_run(content) else content, str(config))
        except ValueError as error:
            raise ValueError(f"{config}: {error}") from None
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals:
            raise ValueError(f"--set must be KEY=VALUE; received {assignment!r}")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError:
            raise ValueError(f"--set {key}: the value is not valid YAML; received {text!r}") from None
        settings |= options_in({key.strip(): value}, "--set")
    return settings


def _converted(parser: argparse.ArgumentParser, action: argparse.Action, value: Any) -> Any:
    if action.nargs == 0:
        if not isinstance(value, bool):
            raise ValueError(f"must be true or false; received {value!r}")
        return value
    if isinstance(value, Mapping):
        value = [f"{name}={one}" for name, one in value.items()]
    words = [str(one) for one in (value if isinstance(value, list) else [value])]
    return parser._get_values(action, words if action.nargs else [",".join(words)])
