"""Metadata beside a table of results, `<table>_metadata.json`: what made it."""

import json
import shlex
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from zoobot3d_tf import __version__
from zoobot3d_tf.files import write_atomically


def metadata_loc(table_loc: Path) -> Path:
    """Where the metadata of a table are: `<table>_metadata.json`, beside it."""
    return table_loc.with_name(f"{table_loc.stem}_metadata.json")


def write_metadata(table_loc: Path, metadata: Mapping[str, Any]) -> None:
    """Writes what made a table beside it, whole or not at all.

    Args:
        table_loc: the table.
        metadata: plain values, fit for JSON; `schema` holds `Schema.to_dict()`, or None if votes are not predicted,
            and `label` likewise.
    """
    write_atomically(metadata_loc(table_loc), json.dumps(metadata, indent=1, ensure_ascii=False) + "\n")


def read_metadata(table_loc: Path) -> dict[str, Any]:
    """What made a table; empty if that file is missing.

    Raises:
        ValueError: the file cannot be read.
    """
    path = metadata_loc(table_loc)
    if not path.is_file():
        return {}
    try:
        metadata = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: cannot be read as JSON: {error}") from error
    if not isinstance(metadata, dict):
        raise ValueError(f"{path}: must hold an object, as write_metadata leaves it; received {metadata!r:.80}")
    return metadata


# Whose versions decide what comes out.
_PACKAGES = ("numpy", "pillow", "astropy", "tensorflow", "keras")


def how_it_was_made(engine: str) -> dict[str, Any]:
    """For the metadata: the versions of the packages that decide what comes out, and the command line."""
    packages = (*_PACKAGES, *(["openvino"] if engine == "openvino" else []))
    return {
        "versions": {"zoobot3d_tf": __version__} | {name: version(name) for name in packages},
        "command": shlex.join(sys.argv),
    }
