"""Metadata beside a table of results, `<table>_metadata.json`: how the table was made."""

import json
import shlex
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from zoobot3d_tf import __version__
from zoobot3d_tf.files import write_atomically

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
        ValueError: the metadata cannot be read.
    """
    path = metadata_loc(table_loc)
    if not path.is_file():
        return {}
    try:
        metadata = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: cannot be read as JSON: {error}") from error
    if not isinstance(metadata, dict):
        raise ValueError(f"{path}: must hold a JSON object with the metadata of a table; received {metadata!r:.80}")
    return metadata


def how_it_was_made(engine: str) -> dict[str, Any]:
    """Versions of the packages that affect the results, and the command line, for the metadata."""
    packages = (*_PACKAGES, *(["openvino"] if engine == "openvino" else []))
    return {
        "versions": {"zoobot3d_tf": __version__} | {name: version(name) for name in packages},
        "command": shlex.join(sys.argv),
    }
