"""Metadata beside a table of results, `<table>_metadata.json`: how the table was made."""

import json
import reprlib
import shlex
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from zoobot3d_tf.files import read_json_object, write_atomically
from zoobot3d_tf.images.stretch import check_stretch
from zoobot3d_tf.version import __version__

# Entries that are read again, by their types.
_TEXTS = ("table", "note", "stretch", "weights_sha256", "level")
_OBJECTS = ("schema", "label")
# Packages whose versions affect the results.
_PACKAGES = ("numpy", "pillow", "astropy", "tensorflow", "keras")


def metadata_loc(table_loc: Path) -> Path:
    """Path of the metadata of a table: `<table>_metadata.json`, beside it."""
    return table_loc.with_name(f"{table_loc.stem}_metadata.json")


def write_metadata(table_loc: Path, metadata: Mapping[str, Any]) -> None:
    """Write the metadata of a table.

    Args:
        table_loc: the table.
        metadata: values that JSON can hold. `schema` is `Schema.to_dict()`, or None if votes are not predicted, and
            `label` is `Label.to_dict()`, or None if no label is predicted.
    """
    write_atomically(metadata_loc(table_loc), json.dumps(metadata, indent=1, ensure_ascii=False) + "\n")


def read_metadata(table_loc: Path) -> dict[str, Any]:
    """Read the metadata of a table.

    Args:
        table_loc: the table.

    Returns:
        The metadata; empty if the table has none.

    Raises:
        ValueError: the metadata cannot be read, or an entry that this package uses has another type.
    """
    path = metadata_loc(table_loc)
    try:
        metadata = read_json_object(path, "metadata of a table")
    except FileNotFoundError:
        return {}
    for names, kind, words in ((_TEXTS, str, "text"), (_OBJECTS, dict, "a JSON object")):
        for name in names:
            if not isinstance(metadata.get(name), kind | None):
                raise ValueError(f"{path}: {name} must be {words}; received {reprlib.repr(metadata[name])}")
    if (stretch := metadata.get("stretch")) is not None:
        try:
            check_stretch(stretch)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
    return metadata


def how_it_was_made(engine: str) -> dict[str, Any]:
    """Versions of the packages that affect the results, and the command line, for the metadata."""
    packages = (*_PACKAGES, *(["openvino"] if engine == "openvino" else []))
    return {
        "versions": {"zoobot3d_tf": __version__} | {name: version(name) for name in packages},
        "command": shlex.join(sys.argv),
    }
