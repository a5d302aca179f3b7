"""The training catalogue: a table from the user, checked once and brought into one form. One row per galaxy."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from zoobot3d_tf.files import PathLike, path_of
from zoobot3d_tf.images.masks import MASKS, MAX_VOLUNTEERS, N_VOLUNTEERS
from zoobot3d_tf.schemas import Schema
from zoobot3d_tf.tables.columns import (
    name_rows,
    read_counts,
    read_image_positions,
    read_numbers,
    read_pixscale,
    read_text,
    refuse,
    require_columns,
    shorten,
)
from zoobot3d_tf.tables.formats import read_table

LABELS = ("votes", "masks")
"""Kinds of labels that every training catalogue may hold."""
MASK_COLUMNS = (*(f"{mask}_loc" for mask in MASKS), "marks_loc")
"""Columns with the paths of a galaxy's masks, or of the marks that its masks are drawn from."""


def read_training_catalog(
    path: PathLike,
    schema: Schema | None,
    image_root: PathLike | None = None,
    missing_questions_unasked: bool = False,
    labels: Sequence[str] = LABELS,
    label_col: str | None = None,
) -> pd.DataFrame:
    """Read a catalogue of galaxies, check all of it, and bring it into one form.

    Args:
        path: path of the table, see `read_table`. Columns `id_str` and `file_loc` are required; to read votes, also
            one column per answer of the schema. Optional columns: `MASK_COLUMNS`, `n_volunteers`, `ra` with `dec`,
            `cutout_ra` with `cutout_dec`, and `pixscale`. Other columns are ignored. A mask file takes precedence over
            the marks.
        schema: decision tree of the votes; None if there are no votes.
        image_root: folder that relative paths start from. By default the folder of the catalogue.
        missing_questions_unasked: whether a question without any column counts as not asked. By default it is an
            error.
        labels: labels to read, out of `LABELS`. Galaxies have no labels of the other kinds.
        label_col: name of a column with another label (see `labels`), which is kept unchanged.

    Returns:
        One row per galaxy, in the order of the table, with the columns:

        - `id_str`: name of the galaxy, unique;
        - `file_loc`: absolute path of the image;
        - one column per answer, in the order of `schema.label_cols`: number of votes, int64, 0 if not asked;
        - `has_votes`: whether the galaxy has a vote on any question;
        - `spiral_mask_loc`, `bar_mask_loc`, `marks_loc`: absolute paths, '' if missing;
        - `n_volunteers`: number of volunteers who were asked to draw, int64;
        - `ra`, `dec` in degrees: position of the image, `cutout_ra`, `cutout_dec` if the row has them; float64,
          NaN if missing;
        - `pixscale` in arcsec per pixel: float64, NaN if missing.

    Raises:
        FileNotFoundError: the table does not exist.
        ValueError: the table cannot be read, lacks a column, has an empty or repeated id or an impossible value; or
            labels are to be read, and no galaxy has a vote or a mask.
    """
    return check_training_catalog(
        path, read_table(path), schema, image_root, missing_questions_unasked, labels, label_col
    )


def check_training_catalog(
    path: PathLike,
    table: pd.DataFrame,
    schema: Schema | None,
    image_root: PathLike | None = None,
    missing_questions_unasked: bool = False,
    labels: Sequence[str] = LABELS,
    label_col: str | None = None,
) -> pd.DataFrame:
    """Check a catalogue that `read_table` has read, and bring it into one form; see `read_training_catalog`."""
    if table.empty:
        raise ValueError(f"{path}: the catalogue has no rows")
    require_columns(path, table.columns, ["id_str", "file_loc", *([] if label_col is None else [label_col])])
    _check_filled(path, table, table["id_str"])
    _check_unique(path, table)
    file_locs = read_text(path, table, "file_loc")
    _check_filled(path, table, file_locs)

    root = path_of(image_root if image_root is not None else path_of(path).parent).absolute()
    catalog = pd.DataFrame({"id_str": table["id_str"], "file_loc": _absolute(file_locs, root)})
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
    catalog[["ra", "dec"]] = read_image_positions(path, table)
    catalog["pixscale"] = read_pixscale(path, table, "pixscale") if "pixscale" in table else np.nan

    if "votes" in labels and label_col is None and not (catalog["has_votes"] | has_mask(catalog)).any():
        raise ValueError(f"{path}: no galaxy has a vote or a mask; a labelled catalogue needs at least one")
    if label_col is not None and label_col not in catalog:
        catalog[label_col] = table[label_col]
    return catalog


def has_mask(catalog: pd.DataFrame) -> pd.Series:
    """Whether each galaxy has a mask, or marks that a mask can be drawn from.

    Args:
        catalog: catalogue as `read_training_catalog` returns it.

    Returns:
        One truth value per galaxy.
    """
    return (catalog[list(MASK_COLUMNS)] != "").any(axis=1)


def _check_filled(path: PathLike, table: pd.DataFrame, texts: pd.Series) -> None:
    is_empty = texts == ""
    if is_empty.any():
        raise ValueError(f"{path}: {texts.name} is empty in {name_rows(table, is_empty)}")


def _check_unique(path: PathLike, table: pd.DataFrame) -> None:
    ids = table["id_str"]
    is_repeated = ids.duplicated()
    if is_repeated.any():
        repeated = ids[is_repeated].iloc[0]
        first, second = np.flatnonzero(ids == repeated)[:2] + 2
        raise ValueError(
            f"{path}: id_str must be unique; {repeated!r} is in rows {first} and {second} "
            f"(repeated rows: {is_repeated.sum()})"
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
            rule = f"{question.text} has votes there; write 0 for an answer without votes"
            refuse(path, table, column, votes[column].isna() & asked, rule)
    return votes.fillna(0).astype(np.int64)


def _read_n_volunteers(path: PathLike, table: pd.DataFrame) -> pd.Series:
    if "n_volunteers" not in table:
        return pd.Series(N_VOLUNTEERS, index=table.index)
    numbers = read_numbers(path, table, "n_volunteers").fillna(N_VOLUNTEERS)
    wrong = ~(numbers.between(1, MAX_VOLUNTEERS) & (numbers % 1 == 0))
    refuse(path, table, "n_volunteers", wrong, f"it must be a whole number from 1 to {MAX_VOLUNTEERS}")
    return numbers.astype(np.int64)
