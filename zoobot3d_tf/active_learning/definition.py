"""Definition of an experiment: which galaxies are labelled, and a simulation in which known votes are hidden."""

import json
import logging
from pathlib import Path

import numpy as np
import pandas as pd

from zoobot3d_tf.catalogs.selection import hash_share
from zoobot3d_tf.catalogs.training_catalog import MASK_COLUMNS, check_training_catalog
from zoobot3d_tf.files import PathLike, one_owner, path_of, write_atomically
from zoobot3d_tf.schemas import Schema
from zoobot3d_tf.tables.columns import move_paths
from zoobot3d_tf.tables.formats import read_table, write_table

LABELLED_NAME = "labelled_catalog.csv"
UNLABELLED_NAME = "unlabelled_catalog.csv"
HIDDEN_NAME = "hidden_votes.csv"
"""Table of the votes that a simulation hides."""
SCHEMA_NAME = "schema.json"
"""Decision tree of an experiment, in the form that `Schema.from_file` reads."""
SIMULATION_NAME = "simulation_context"
"""Folder of the simulation, in the folder of the catalogues."""

log = logging.getLogger(__name__)


def define_experiment(
    master_catalog: PathLike,
    save_dir: PathLike,
    schema: Schema,
    *,
    question: str = "",
    known: float = 0.2,
    seed: int = 0,
    image_root: PathLike | None = None,
    missing_questions_unasked: bool = False,
) -> Path:
    """Divide a catalogue into galaxies with and without votes, and make a simulation of those with votes.

    Writes `labelled_catalog.csv`, `unlabelled_catalog.csv` if there are galaxies without votes, and `schema.json`. The
    folder `simulation_context` holds the same for the galaxies with votes alone: most of them count as unlabelled, and
    their votes are in `hidden_votes.csv`.

    Args:
        master_catalog: catalogue of all galaxies; see `read_training_catalog`. It should not change during an
            experiment.
        save_dir: folder to fill.
        schema: decision tree of the votes.
        question: learn this question of the tree alone; all questions if empty.
        known: number of galaxies whose votes are known when the simulation begins, or their fraction if below 1. They
            are drawn at random.
        seed: random seed of the draw.
        image_root: folder that relative paths start from; by default the folder of the catalogue.
        missing_questions_unasked: whether a question without any column counts as not asked.

    Returns:
        The folder.

    Raises:
        FileExistsError: the folder has an experiment.
        ValueError: the catalogue has an error, or no galaxy with votes; the tree has no such question; or `known`
            leaves nothing known or nothing to hide.
        OSError: a file cannot be read or written.
    """
    master, save_dir = path_of(master_catalog), path_of(save_dir).absolute()
    schema = one_question(schema, question) if question else schema
    table = read_table(master)
    unasked = missing_questions_unasked
    checked = check_training_catalog(master, table, schema, image_root, unasked, labels=("votes",))
    has_votes = checked["has_votes"].to_numpy()
    n_known = _number_of_known(known, int(has_votes.sum()))
    root = path_of(image_root) if image_root is not None else master.parent
    others = [name for name in table if name not in (*schema.label_cols, "split")]
    votes = checked[schema.label_cols]
    is_known = np.zeros(len(table), bool)
    order = np.array([hash_share(f"known {seed} of {id_str}") for id_str in checked["id_str"]])
    is_known[np.flatnonzero(has_votes)[np.argsort(order[has_votes])[:n_known]]] = True

    def write(folder: Path, is_labelled: np.ndarray, is_unlabelled: np.ndarray) -> None:
        moved = move_paths(table[others], root, folder)
        unlabelled = moved[is_unlabelled].drop(columns=[name for name in MASK_COLUMNS if name in moved])
        if len(unlabelled):
            write_table(unlabelled, folder / UNLABELLED_NAME)
        write_atomically(folder / SCHEMA_NAME, json.dumps(_tree_file(schema), indent=1, ensure_ascii=False) + "\n")
        # It is written last: a folder that has it is complete.
        write_table(pd.concat([moved, votes], axis=1)[is_labelled], folder / LABELLED_NAME)

    with one_owner(save_dir):
        if (save_dir / LABELLED_NAME).exists():
            raise FileExistsError(f"{save_dir}: has an experiment already; choose another folder for save_dir")
        simulation = save_dir / SIMULATION_NAME
        simulation.mkdir(exist_ok=True)
        is_hidden = has_votes & ~is_known
        write_table(pd.concat([table["id_str"], votes], axis=1)[is_hidden], simulation / HIDDEN_NAME)
        write(simulation, is_known, is_hidden)
        write(save_dir, has_votes, ~has_votes)
    log.info(
        "%d galaxies have votes, %d have none; the simulation begins with %d and hides the votes of %d",
        *(number.sum() for number in (has_votes, ~has_votes, is_known, is_hidden)),
    )
    return save_dir


def one_question(schema: Schema, question: str) -> Schema:
    """Take one question out of a tree. All volunteers count as asked.

    Args:
        schema: decision tree.
        question: text of the question, such as "bar".

    Raises:
        ValueError: the tree has no such question.
    """
    answers = [f"_{answer.label}" for answer in schema.get_question(question).answers]
    return Schema({question: answers}, {question: None}, question)


def _number_of_known(known: float, n_labelled: int) -> int:
    number = round(known * n_labelled) if known < 1 else int(known)
    if not 0 < number < n_labelled or (known >= 1 and known % 1):
        raise ValueError(
            f"known must be a fraction below 1, or a number of galaxies below that with votes, {n_labelled}: some are "
            f"known, and the others are hidden; received {known:g}"
        )
    return number


def _tree_file(schema: Schema) -> dict:
    """Content of a file of a tree; see `Schema.from_file`."""
    questions = {
        question.text: {"answers": [answer.label for answer in question.answers]}
        | ({"asked_after": [answer.text for answer in question.asked_after]} if question.asked_after else {})
        for question in schema.questions
    }
    return {"name": schema.name, "questions": questions}
