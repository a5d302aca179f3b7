"""Votes of volunteers, read from the forms that projects publish, as whole numbers in the columns of a schema."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from zoobot3d_tf import common_tree
from zoobot3d_tf.files import PathLike, path_of
from zoobot3d_tf.schemas import Schema
from zoobot3d_tf.surveys.zooniverse import read_classifications, read_reductions
from zoobot3d_tf.tables.columns import (
    MAX_VOTES,
    check_ids,
    read_counts,
    read_numbers,
    read_text,
    refuse,
    refuse_damaged_ids,
    require_columns,
    suggest,
)
from zoobot3d_tf.tables.formats import read_table

# Galaxy Zoo 2: names of questions, and of their answers, in the tables of Willett+13 and Hart+16. Columns are named
# after both, such as t03_bar_a06_bar_count.
_GZ2_TASKS: dict[str, tuple[str, dict[str, str]]] = {
    "smooth-or-featured": (
        "t01_smooth_or_features",
        {"smooth": "a01_smooth", "featured-or-disk": "a02_features_or_disk", "artifact": "a03_star_or_artifact"},
    ),
    "disk-edge-on": ("t02_edgeon", {"yes": "a04_yes", "no": "a05_no"}),
    "has-spiral-arms": ("t04_spiral", {"yes": "a08_spiral", "no": "a09_no_spiral"}),
    "bar": ("t03_bar", {"yes": "a06_bar", "no": "a07_no_bar"}),
    "bulge-size": (
        "t05_bulge_prominence",
        {
            "dominant": "a13_dominant",
            "obvious": "a12_obvious",
            "just-noticeable": "a11_just_noticeable",
            "no": "a10_no_bulge",
        },
    ),
    "something-odd": ("t06_odd", {"yes": "a14_yes", "no": "a15_no"}),
    "how-rounded": (
        "t07_rounded",
        {"round": "a16_completely_round", "in-between": "a17_in_between", "cigar": "a18_cigar_shaped"},
    ),
    "bulge-shape": ("t09_bulge_shape", {"round": "a25_rounded", "boxy": "a26_boxy", "no-bulge": "a27_no_bulge"}),
    "spiral-winding": ("t10_arms_winding", {"tight": "a28_tight", "medium": "a29_medium", "loose": "a30_loose"}),
    "spiral-arm-count": (
        "t11_arms_number",
        {
            "1": "a31_1",
            "2": "a32_2",
            "3": "a33_3",
            "4": "a34_4",
            "more-than-4": "a36_more_than_4",
            "cant-tell": "a37_cant_tell",
        },
    ),
}
_GZ2_TASKS["spiral-count"] = _GZ2_TASKS["spiral-arm-count"]  # name of the question in Zoobot v0.0.2


def read_votes(
    path: PathLike,
    form: str,
    schema: Schema,
    tasks_loc: PathLike | None = None,
    class_votes: int = common_tree.CLASS_VOTES,
) -> pd.DataFrame:
    """Read the votes of a survey or of a Zooniverse project.

    The forms are:

    - `columns`: table with the columns of the schema, such as the training CSV of KaDE. Id: `id_str`.
    - `gz2`: tables of Galaxy Zoo 2 by Willett+13 (arXiv 1308.3496) and Hart+16 (arXiv 1607.01019). Id: `dr7objid`.
    - `decals-dr12`, `decals-dr5`, `decals-dr8`: catalogues of the volunteers of Galaxy Zoo DECaLS (Walmsley+22, arXiv
      2102.08414), whose columns do not name the campaign. Id: `iauname`.
    - `reductions`: counts of Zooniverse by task and answer; see `zooniverse.read_reductions`.
    - `classifications`: single classifications of Zooniverse; see `zooniverse.read_classifications`.
    - `classes`: one class per galaxy in the column `class`, such as "spiral"; see `common_tree.class_answers`. A galaxy
      with an empty cell has no votes. Id: `id_str`.

    If the schema has columns for the campaign of the form (`bar-dr5_strong`), the votes go to these, else to the plain
    columns (`bar_strong`). Questions and answers that the schema does not have are left out.

    Args:
        path: path of the file.
        form: form of the file, one of `FORMS`, or `classes`.
        schema: decision tree of the votes.
        tasks_loc: path of the file of tasks, see `zooniverse`; required for reductions and classifications.
        class_votes: number of votes that a class counts as, for each question that it answers.

    Returns:
        One row per galaxy: `id_str`, unique; `ra` and `dec` in degrees, NaN if unknown; and the votes, int64, in
        `schema.label_cols`, 0 if nobody was asked.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the form is unknown; the file is not in this form, has no votes on any question of the schema, or
            has votes that are not whole numbers >= 0 or a class that is unknown; or the file of tasks is missing or
            wrong.
    """
    if form == CLASSES:
        return _read_classes(path_of(path), schema, class_votes)
    if form not in FORMS:
        raise ValueError(f"form must be one of {', '.join((*FORMS, CLASSES))}; received {form!r}")
    return FORMS[form](path_of(path), schema, tasks_loc)


def read_galaxies(path: PathLike, table: pd.DataFrame, *id_columns: str) -> pd.DataFrame:
    """Read names and positions of galaxies.

    Args:
        path: path of the table, for errors.
        table: table as `read_table` returns it.
        *id_columns: columns that may hold the names, such as `id_str`, `iauname`. The first one in the table is read.

    Returns:
        `id_str`, unique, and `ra`, `dec` in degrees, NaN if unknown, with the index of the table.

    Raises:
        ValueError: the table has none of the columns; a name is repeated, stored as a floating-point number or unfit,
            see `id_fault`; or a position is not a number.
    """
    present = [column for column in id_columns if column in table]
    if not present:
        suggestion = suggest(id_columns[0], table.columns)
        raise ValueError(f"{path}: lacks a column of names: {' or '.join(id_columns)}{suggestion}")
    ids = read_text(path, table, present[0])
    named = pd.DataFrame({present[0]: ids})
    check_ids(path, named, present[0])
    refuse_damaged_ids(path, named, present[0])
    refuse(path, table, present[0], ids.duplicated(), "it must be unique")
    unknown = pd.Series(np.nan, index=table.index)
    ra, dec = (read_numbers(path, table, column) if column in table else unknown for column in ("ra", "dec"))
    return pd.DataFrame({"id_str": ids, "ra": ra, "dec": dec})


def _read_classes(path: Path, schema: Schema, weight: int) -> pd.DataFrame:
    if not 1 <= weight <= MAX_VOTES:
        raise ValueError(f"class_votes must be from 1 to {MAX_VOTES}; received {weight}")
    table = read_table(path)
    galaxies = read_galaxies(path, table, "id_str")
    require_columns(path, table.columns, [_CLASS])
    classes = read_text(path, table, _CLASS)
    answers = {name: common_tree.class_answers(name) if name else () for name in classes.unique()}
    unknown = classes.isin([name for name, found in answers.items() if found is None])
    refuse(path, table, _CLASS, unknown, f"it must be one of {', '.join(common_tree.class_names())}, or empty")
    votes = pd.DataFrame(
        {column: [weight * (column in (answers[name] or ())) for name in classes] for column in schema.label_cols},
        index=table.index,
    )
    if not votes.to_numpy().any():
        raise ValueError(f"{path}: no class answers a question of the schema '{schema.name}'; use galaxy_zoo")
    return pd.concat([galaxies, votes], axis=1)


def _read_columns(path: Path, schema: Schema, _tasks_loc: PathLike | None) -> pd.DataFrame:
    return _take_votes(path, read_table(path), "id_str", schema, lambda question, answer: f"{question}_{answer}")


def _read_gz2(path: Path, schema: Schema, _tasks_loc: PathLike | None) -> pd.DataFrame:
    def source(question: str, answer: str) -> str:
        task, answers = _GZ2_TASKS.get(question.removesuffix("-gz2"), ("", {}))
        return f"{task}_{answers.get(answer, '')}_count"

    table = read_table(path)
    return _take_votes(path, table.rename(columns=str.lower), "dr7objid", schema, source)


def _read_decals(campaign: str) -> Callable[[Path, Schema, PathLike | None], pd.DataFrame]:
    def read(path: Path, schema: Schema, _tasks_loc: PathLike | None) -> pd.DataFrame:
        def source(question: str, answer: str) -> str:
            return f"{question.removesuffix(campaign)}_{answer}"

        return _take_votes(path, read_table(path), "iauname", schema, source)

    return read


def _take_votes(
    path: Path, table: pd.DataFrame, id_column: str, schema: Schema, source: Callable[[str, str], str]
) -> pd.DataFrame:
    """Convert a table to the result of `read_votes`. `source` names the column of a question and an answer."""
    galaxies = read_galaxies(path, table, "id_str", id_column)
    votes = pd.DataFrame(0, index=table.index, columns=schema.label_cols)
    n_asked, suggestions = 0, []
    for question in schema.questions:
        sources = {answer.text: source(question.text, answer.label) for answer in question.answers}
        missing = [column for column in sources.values() if column not in table]
        if len(missing) == len(sources):
            suggestions.append(suggest(missing[0], table))
            continue
        if missing:
            raise ValueError(
                f"{path}: lacks {', '.join(missing)}, but has other answers to {question.text}; the schema "
                f"'{schema.name}' must be replaced by one with the answers of this table{suggest(missing[0], table)}"
            )
        n_asked += 1
        for column, name in sources.items():
            votes[column] = read_counts(path, table, name).fillna(0).astype(np.int64)
    if n_asked == 0:
        raise ValueError(
            f"{path}: has no votes on any question of the schema '{schema.name}'; give another schema, or "
            f"another form: {', '.join(FORMS)}{next(filter(None, suggestions), '')}"
        )
    return pd.concat([galaxies, votes], axis=1)


CLASSES = "classes"
"""Form of a table with one class per galaxy."""
_CLASS = "class"

FORMS: dict[str, Callable[[Path, Schema, PathLike | None], pd.DataFrame]] = {
    "columns": _read_columns,
    "gz2": _read_gz2,
    "decals-dr12": _read_decals("-dr12"),
    "decals-dr5": _read_decals("-dr5"),
    "decals-dr8": _read_decals("-dr8"),
    "reductions": read_reductions,
    "classifications": read_classifications,
}
"""Functions (path, schema, file of tasks) that read votes, by form; see `read_votes`."""
