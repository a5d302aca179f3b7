"""The training catalogue: a table from the astronomer, checked once, so that later stages need not doubt it.

A row is a galaxy.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from zoobot3d_tf.files import PathLike
from zoobot3d_tf.images.masks import MASKS, MAX_VOLUNTEERS, N_VOLUNTEERS
from zoobot3d_tf.schemas import Schema
from zoobot3d_tf.tables.columns import (
    DEC_RANGE,
    RA_RANGE,
    name_rows,
    read_counts,
    read_numbers,
    read_text,
    refuse,
    require_columns,
    shorten,
    wrap_ra,
)
from zoobot3d_tf.tables.formats import read_table

LABELS = ("votes", "masks")

MASK_COLUMNS = (*(f"{mask}_loc" for mask in MASKS), "marks_loc")
"""Columns that say where a galaxy's masks, or the marks to draw them from, are."""
_RANGES = {"ra": RA_RANGE, "dec": DEC_RANGE, "pixscale": (1e-6, 1e6)}


def read_training_catalog(
    path: PathLike,
    schema: Schema | None,
    image_root: PathLike | None = None,
    missing_questions_unasked: bool = False,
    labels: Sequence[str] = LABELS,
    label_col: str | None = None,
) -> pd.DataFrame:
    """Read a catalogue, check all of it, and bring it into the one form that later stages know.

    Args:
        path: table of galaxies, see `read_table`. Needs `id_str`, `file_loc` and, to read votes, a column of them for
            each answer of the schema; masks, `n_volunteers`, `ra`, `dec` and `pixscale` are optional. Other columns are
            ignored, and so are marks where there is a mask.
        schema: the decision tree; None if there are no votes.
        image_root: folder that relative file names start from; by default the catalogue's.
        missing_questions_unasked: take questions without any column as asked of nobody, rather than as an error.
        labels: any of `LABELS` to read; of others, no galaxy has any.
        label_col: a further column, of a label that is neither (see `labels`), to keep as it is.

    Returns:
        A row a galaxy, in the table's order: `id_str`; `file_loc` (absolute); votes, int64 in `schema.label_cols`, 0
        where unasked; `has_votes` (in any question); `spiral_mask_loc`, `bar_mask_loc`, `marks_loc` (absolute, '' where
        missing); `n_volunteers`, int64; `ra`, `dec` (degrees), `pixscale` (arcsec/pixel), NaN where missing.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the table cannot be read, lacks a column, repeats or omits an id, or has an impossible value; or no
            galaxy of a labelled catalogue has a vote or a mask.
    """
    table = read_table(path)
    if table.empty:
        raise ValueError(f"{path}: the catalogue has no rows")
    require_columns(path, table.columns, ["id_str", "file_loc", *([] if label_col is None else [label_col])])
    _check_filled(path, table, "id_str")
    _check_filled(path, table, "file_loc")
    _check_unique(path, table)

    root = Path(image_root if image_root is not None else Path(path).parent).absolute()
    catalog = pd.DataFrame({"id_str": table["id_str"], "file_loc": _absolute(table["file_loc"], root)})
    if schema is None:
        votes = pd.DataFrame(index=table.index)
    elif "votes" in labels:
        votes = _read_votes(path, table, schema, missing_questions_unasked)
    else:
        votes = pd.DataFrame(0, index=table.index, columns=schema.label_cols)
    catalog = pd.concat([catalog, votes], axis=1)
    catalog["has_votes"] = (votes > 0).any(axis=1)
    for column in MASK_COLUMNS:
        is_read = "masks" in labels and column in table
        catalog[column] = _absolute(read_text(path, table, column), root) if is_read else ""
    catalog["n_volunteers"] = _read_n_volunteers(path, table)
    for column in _RANGES:
        catalog[column] = _read_in_range(path, table, column)

    if "votes" in labels and label_col is None and not (catalog["has_votes"] | has_mask(catalog)).any():
        raise ValueError(f"{path}: no galaxy has a vote or a mask; a labelled catalogue needs some")
    if label_col is not None and label_col not in catalog:
        catalog[label_col] = table[label_col]
    return catalog


def has_mask(catalog: pd.DataFrame) -> pd.Series:
    """Whether each galaxy has a mask, or marks to draw one from.

    Args:
        catalog: as `read_training_catalog` returns it.
    """
    return (catalog[list(MASK_COLUMNS)] != "").any(axis=1)


def _check_filled(path: PathLike, table: pd.DataFrame, column: str) -> None:
    empty = table[column] == ""
    if empty.any():
        raise ValueError(f"{path}: {column} is empty in {name_rows(table, empty)}")


def _check_unique(path: PathLike, table: pd.DataFrame) -> None:
    repeated = table["id_str"].duplicated()
    if repeated.any():
        first = table["id_str"] == table["id_str"][repeated].iloc[0]
        rows = " and ".join(str(row + 2) for row in np.flatnonzero(first)[:2])
        raise ValueError(
            f"{path}: id_str must be unique; {table['id_str'][repeated].iloc[0]!r} stands in rows {rows} "
            f"({int(repeated.sum())} repeated in all)"
        )


def _absolute(locations: pd.Series, root: Path) -> pd.Series:
    return pd.Series([os.path.join(root, loc) if loc else "" for loc in locations], index=locations.index, dtype=object)


def _read_votes(path: PathLike, table: pd.DataFrame, schema: Schema, missing_questions_unasked: bool) -> pd.DataFrame:
    absent = [q for q in schema.questions if not any(answer.text in table for answer in q.answers)]
    if missing_questions_unasked:
        table = table.reindex(columns=[*table.columns, *(answer.text for q in absent for answer in q.answers)])
    hint = f"; if nobody was asked {shorten([q.text for q in absent])}, set missing_questions_unasked=True"
    require_columns(path, table.columns, schema.label_cols, hint if absent and not missing_questions_unasked else "")
    votes = pd.DataFrame({column: read_counts(path, table, column) for column in schema.label_cols})
    for question in schema.questions:
        columns = [answer.text for answer in question.answers]
        asked = (votes[columns] > 0).any(axis=1)
        for column in columns:
            refuse(
                path, table, column, votes[column].isna() & asked, f"{question.text} has votes there; write 0 if none"
            )
    return votes.fillna(0).astype(np.int64)


def _read_n_volunteers(path: PathLike, table: pd.DataFrame) -> pd.Series:
    if "n_volunteers" not in table:
        return pd.Series(N_VOLUNTEERS, index=table.index)
    numbers = read_numbers(path, table, "n_volunteers").fillna(N_VOLUNTEERS)
    wrong = ~(numbers.between(1, MAX_VOLUNTEERS) & (numbers % 1 == 0))
    refuse(path, table, "n_volunteers", wrong, f"it must be a whole number from 1 to {MAX_VOLUNTEERS}")
    return numbers.astype(np.int64)


def _read_in_range(path: PathLike, table: pd.DataFrame, column: str) -> pd.Series:
    if column not in table:
        return pd.Series(np.nan, index=table.index)
    numbers = read_numbers(path, table, column)
    low, high = _RANGES[column]
    refuse(path, table, column, ~(numbers.isna() | numbers.between(low, high)), f"it must be from {low:g} to {high:g}")
    return wrap_ra(numbers) if column == "ra" else numbers
