"""Units and descriptions of the columns of a table of predictions, and the table as Astropy holds it."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from zoobot3d_tf.predictions import measurements
from zoobot3d_tf.predictions.results import ANSWER_COLUMNS, QUESTION_COLUMNS, TREE_COLUMNS

if TYPE_CHECKING:
    from astropy.table import QTable, Table

_DESCRIPTIONS = {
    "id_str": "id of the galaxy",
    "ra": "right ascension of the centre of the image, ICRS",
    "dec": "declination of the centre of the image, ICRS",
    **TREE_COLUMNS,
    **measurements.COLUMNS,
    "file_loc": "image of the galaxy, or the shard that holds it",
    "spiral_mask_loc": "predicted mask of the spiral arms",
    "bar_mask_loc": "predicted mask of the bar",
}
_UNITS = {"ra": "deg", "dec": "deg", **measurements.UNITS}
_ENDINGS = {
    **ANSWER_COLUMNS,
    **QUESTION_COLUMNS,
    r"concentration_\d+": "concentration of the Dirichlet distribution in one dropout sample",
}


def describe(name: str) -> tuple[str, str]:
    """Find the unit and the description of a column of a table of predictions.

    Args:
        name: name of the column.

    Returns:
        Unit as `astropy.units` reads it, and one line of text. '' if the column has no unit or is not known here, such
        as a label or a column of the catalogue.
    """
    if name in _DESCRIPTIONS:
        return _UNITS.get(name, ""), _DESCRIPTIONS[name]
    for ending, meaning in _ENDINGS.items():
        if match := re.fullmatch(f"(.+)_{ending}", name):
            return "", f"{match[1]}: {meaning}"
    return "", ""


def to_astropy(table: pd.DataFrame, units: Mapping[str, str] | None = None) -> "Table":
    """Convert a table of predictions to a table of Astropy, with units and descriptions.

    Args:
        table: one row per galaxy.
        units: units of columns that `describe` does not know, such as those of a catalogue. Units that Astropy does not
            know are kept as they are.

    Returns:
        The same columns. Numbers that are NaN stay NaN; missing integers are masked.
    """
    from astropy.table import Column, Table
    from astropy.units import Unit

    floats = table.select_dtypes(np.floating)  # in which `from_pandas` would mask NaN
    others = Table.from_pandas(table.drop(columns=floats.columns))
    converted = Table(
        [Column(floats[name].to_numpy(), name) if name in floats else others[name] for name in table], copy=False
    )
    for column in converted.itercols():
        unit, description = describe(column.name)
        column.description = description or None
        unit = unit or (units or {}).get(column.name, "")
        column.unit = Unit(unit, parse_strict="silent") if unit else None
    return converted


def to_qtable(table: pd.DataFrame, meta: Mapping[str, Any] | None = None) -> "QTable":
    """Convert a table of predictions to a `QTable`, whose columns with a unit are quantities.

    Args:
        table: one row per galaxy.
        meta: metadata of the table.

    Returns:
        The same columns, with units and descriptions.
    """
    from astropy.table import QTable

    converted = QTable(to_astropy(table))
    converted.meta.update(meta or {})
    return converted
