"""Settings in YAML files: reading them, and dataclasses made from them.

Errors name the place of a wrong value, such as `budget.epochs`, and for an unknown key the nearest one.
"""

import difflib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import yaml

_KINDS = {int: "a whole number", float: "a number", str: "text", bool: "true or false", type(None): "empty"}


def read_yaml(path: Path) -> Mapping[str, Any]:
    """Read a YAML file of `key: value` entries. JSON files are YAML files, too.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file is not valid YAML, or has something else. The error names the file.
    """
    try:
        content = yaml.safe_load(path.read_bytes())
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{path}: the file is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, Mapping):
        raise ValueError(f"{path}: the file must be 'key: value' entries; received {shown(content)}")
    return content


def built(cls: type, content: Any, where: str = "") -> Any:
    """Make a dataclass from the entries of a file.

    Args:
        cls: type of the dataclass. Its fields may be dataclasses, and tuples and mappings of these.
        content: entries by the names of the fields.
        where: place of the entries in the file; empty for the whole file.

    Raises:
        ValueError: a key is unknown or missing, a value has another type, or the dataclass refuses it.
    """
    if not isinstance(content, Mapping):
        raise ValueError(f"{where} must be 'key: value' entries; received {shown(content)}")
    known = {entry.name: entry for entry in fields(cls)}
    prefix = f"{where}." if where else ""
    for key in content:
        check_known(f"{prefix}{key}", key, known, "unknown key")
    for name, entry in known.items():
        if name not in content and entry.default is MISSING and entry.default_factory is MISSING:
            raise ValueError(f"{where or 'the file'} must have the key {name}")
    hints = get_type_hints(cls)
    values = {key: _value(hints[key], value, f"{prefix}{key}") for key, value in content.items()}
    try:
        return cls(**values)
    except ValueError as error:
        # The checks of the whole file name the section themselves.
        raise ValueError(f"{prefix}{error}") from None


def check_known(where: str, name: Any, known: Mapping[str, Any], problem: str) -> None:
    """Check that a name is one of those that are known.

    Args:
        where: place of the name, for the error.
        name: the name.
        known: all names, as keys.
        problem: what is wrong if it is not, such as "unknown key".

    Raises:
        ValueError: the name is unknown. The error has the nearest one.
    """
    if name not in known:
        nearest = difflib.get_close_matches(str(name), known, 1, cutoff=0)
        raise ValueError(f"{where}: {problem} {name!r}; the nearest is {nearest[0]!r} of {', '.join(known)}")


def shown(value: Any) -> str:
    """Write a value of a file for an error."""
    return "nothing" if value is None else repr(value)


def _value(hint: Any, value: Any, where: str) -> Any:
    """Check a value of a file against the type of its field, and convert it."""
    if hasattr(hint, "__dataclass_fields__"):
        return built(hint, value, where)
    if get_origin(hint) is Mapping:
        if not isinstance(value, Mapping):
            raise ValueError(f"{where} must be 'name: value' entries; received {shown(value)}")
        return {str(name): _value(get_args(hint)[1], one, f"{where}.{name}") for name, one in value.items()}
    if get_origin(hint) is tuple:
        if not isinstance(value, list):
            raise ValueError(f"{where} must be a list, such as [first, second]; received {shown(value)}")
        return tuple(_value(get_args(hint)[0], one, where) for one in value)
    if hint is Any:
        return value
    kinds = get_args(hint) or (hint,)
    if float in kinds and type(value) is not bool and (str not in kinds or type(value) is int):
        with suppress(ValueError, TypeError):
            return float(value)  # for YAML, 1e-3 without a dot is text
    if type(value) in kinds:
        return value
    raise ValueError(f"{where} must be {' or '.join(_KINDS[kind] for kind in kinds)}; received {shown(value)}")
