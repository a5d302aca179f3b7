"""Votes from Zooniverse exports, which know tasks and answers, not the questions of a schema.

A file of tasks, YAML or JSON, says which is which:

    workflow: 12345                # needed only where the export holds several
    subject:                       # columns from the subjects' metadata; without it, id_str is the subject's id
      id_str: "#iauname"
      ra: "#ra"
      dec: "#dec"
    tasks:
      T0: smooth-or-featured       # its answers read as in the schema, and stand in that order
      T1:
        question: disk-edge-on
        answers: {"Yes - edge on": yes, "Something else": no}    # text: answer in the schema; in the workflow's order

Answers are compared by their letters and digits alone: 'Can't tell' is `cant-tell`.
"""

import json
import logging
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from tqdm import tqdm

from zoobot3d_tf.files import PathLike
from zoobot3d_tf.schemas import Schema
from zoobot3d_tf.tables.columns import MAX_VOTES, read_text
from zoobot3d_tf.tables.formats import read_table

log = logging.getLogger(__name__)

_JSON_SUFFIXES = (".json", ".jsonl", ".ndjson")
_CLASSIFICATION_COLUMNS = [
    *("classification_id", "user_name", "user_ip", "workflow_id"),
    *("annotations", "subject_data", "subject_ids"),
]
_CHUNK_ROWS = 10_000
# What panoptes_aggregation counts beside the answers: those who gave none, and its own version.
_NOT_ANSWERS = ("None", "aggregation_version")


def read_reductions(path: Path, schema: Schema, tasks_loc: PathLike | None) -> pd.DataFrame:
    """Votes that Zooniverse has counted already: form `reductions` of `sources.read_votes`.

    Of several reductions of a subject and task, the last counts. In Caesar's, an answer that is a whole number is the
    place of the answer in the workflow, from 0; in those of panoptes_aggregation (column `task`) it is a text.

    Args:
        path: CSV of subject reductions, by Caesar or by panoptes_aggregation; or `.json`, `.jsonl`, `.ndjson` as Caesar
            posts them, one object a line. Only these have metadata.
        schema: the decision tree.
        tasks_loc: file of tasks, see above.

    Returns:
        As `sources.read_votes`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: either file is not in its form, or a count is no whole number >= 0.
    """
    tasks = _read_tasks(tasks_loc, schema)
    if path.suffix.lower() in _JSON_SUFFIXES:
        return _count_votes(path, _entries_of_posted_reductions(path), tasks, schema)
    if tasks.subject:
        raise ValueError(f"{path}: a table of reductions has no metadata; {tasks.path} must do without 'subject'")
    return _count_votes(path, _entries_of_reductions(path), tasks, schema)


def read_classifications(path: Path, schema: Schema, tasks_loc: PathLike | None) -> pd.DataFrame:
    """Votes counted from single classifications: form `classifications` of `sources.read_votes`.

    A volunteer counts once a galaxy, with the first classification. One who is not logged in has a `user_name` too,
    made of the address.

    Args:
        path: the CSV that the project builder exports.
        schema: the decision tree.
        tasks_loc: file of tasks, see above.

    Returns:
        As `sources.read_votes`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: either file is not in its form.
    """
    tasks = _read_tasks(tasks_loc, schema)
    return _count_votes(path, _entries_of_classifications(path, with_metadata=bool(tasks.subject)), tasks, schema)


@dataclass(frozen=True)
class _Answers:
    """Columns of a task's answers: in the order of the workflow, and by the letters of their texts."""

    in_order: list[str]
    by_letters: dict[str, str]

    def find(self, answer: object) -> str | None:
        """The column of an answer, given by its text or its place from 0; None if there is none."""
        if isinstance(answer, int):
            return self.in_order[answer] if 0 <= answer < len(self.in_order) else None
        return self.by_letters.get(_letters(answer)) if isinstance(answer, str) else None


@dataclass(frozen=True)
class _Tasks:
    """What a file of tasks says."""

    path: Path
    workflow: str
    subject: dict[str, str]
    answers: dict[str, _Answers]


@dataclass(frozen=True)
class _Entry:
    """Votes on one subject, as an export has them.

    Attributes:
        where: file and row, for errors.
        workflow: its id.
        subject: its id.
        metadata: of the subject.
        key: of entries on one galaxy with the same key, only that of the lowest order counts.
        order: see key.
        votes: (task, answer, count); the task is '' where the export does not say.
    """

    where: str
    workflow: str
    subject: str
    metadata: dict[str, Any]
    key: str
    order: int
    votes: list[tuple[str, object, int]]


def _count_votes(path: Path, entries: Iterable[_Entry], tasks: _Tasks, schema: Schema) -> pd.DataFrame:
    """One row a galaxy, as `sources.read_votes` returns it."""
    galaxies: dict[str, dict[str, Any]] = {}
    kept: defaultdict[str, dict[str, tuple[int, list[tuple[str, int]]]]] = defaultdict(dict)
    nameless: set[str] = set()
    for entry in _of_one_workflow(entries, tasks):
        galaxy = _describe_galaxy(entry, tasks)
        if not galaxy["id_str"]:
            nameless.add(entry.subject)
            continue
        votes = _find_columns(entry, tasks)
        earlier = kept[galaxy["id_str"]].get(entry.key)
        if votes and (earlier is None or entry.order < earlier[0]):
            galaxies.setdefault(galaxy["id_str"], galaxy)
            kept[galaxy["id_str"]][entry.key] = entry.order, votes
    if nameless:
        log.warning(
            "%s: left out %d subjects whose metadata have no %s, such as subject %s",
            *(path, len(nameless), tasks.subject["id_str"], min(nameless)),
        )
    if not galaxies:
        raise ValueError(f"{path}: has no answers to {', '.join(tasks.answers)}, the tasks in {tasks.path}")
    rows = []
    for id_str, galaxy in galaxies.items():
        counts: Counter[str] = Counter()
        for _, votes in kept[id_str].values():
            for column, count in votes:
                counts[column] += count
        rows.append({**galaxy, **counts})
    table = pd.DataFrame(rows, columns=["id_str", "ra", "dec", *schema.label_cols])
    return table.fillna(dict.fromkeys(schema.label_cols, 0)).astype(dict.fromkeys(schema.label_cols, np.int64))


def _of_one_workflow(entries: Iterable[_Entry], tasks: _Tasks) -> Iterator[_Entry]:
    """The entries of the workflow asked for; if none was, there may be only one."""
    first = ""
    for entry in entries:
        first = first or entry.workflow
        if entry.workflow == (tasks.workflow or first):
            yield entry
        elif not tasks.workflow:
            raise ValueError(
                f"{entry.where}: is of workflow {entry.workflow}, earlier rows are of {first}; "
                f"say which one to take in {tasks.path}, as in 'workflow: {first}'"
            )


def _describe_galaxy(entry: _Entry, tasks: _Tasks) -> dict[str, Any]:
    """`id_str`, '' if the metadata lack it; `ra` and `dec`, NaN if they do."""
    galaxy: dict[str, Any] = {"id_str": entry.subject, "ra": np.nan, "dec": np.nan}
    for column, key in tasks.subject.items():
        value = str(entry.metadata.get(key, "")).strip()
        if column == "id_str":
            galaxy[column] = value
        elif value:
            try:
                galaxy[column] = float(value)
            except ValueError:
                raise ValueError(f"{entry.where}: {key} is {value!r}; {column} must be a number") from None
    return galaxy


def _find_columns(entry: _Entry, tasks: _Tasks) -> list[tuple[str, int]]:
    """The entry's votes on the tasks that are listed, by column."""
    columns = []
    for named_task, answer, count in entry.votes:
        task = named_task or min(tasks.answers)
        if not named_task and len(tasks.answers) > 1:
            raise ValueError(f"{entry.where}: does not say its task; {tasks.path} must list that one only")
        if task not in tasks.answers:
            continue
        column = tasks.answers[task].find(answer)
        if column is None:
            raise ValueError(
                f"{entry.where}: task {task} has the answer {answer!r}, which is none of "
                f"{', '.join(tasks.answers[task].in_order)}; name it under the answers of {task} in {tasks.path}"
            )
        columns.append((column, count))
    return columns


def _entries_of_reductions(path: Path) -> Iterator[_Entry]:
    table = read_table(path)
    task_column = "task" if "task" in table else "reducer_key"
    missing = [column for column in ("subject_id", "workflow_id", task_column) if column not in table]
    if missing:
        raise ValueError(f"{path}: lacks {', '.join(missing)}; a table of reductions has them")
    ids = [read_text(path, table, column) for column in ("workflow_id", "subject_id", task_column)]
    data = table[[column for column in table.columns if column.startswith("data.")]]
    data = data.rename(columns=lambda name: name.removeprefix("data."))
    rows = zip(*ids, data.to_dict("records"), strict=True)
    for number, (workflow, subject, task, answers) in enumerate(rows, start=2):
        where = f"{path}: row {number}"
        votes = _read_counts(where, task, answers, by_place=task_column == "reducer_key")
        yield _Entry(where, workflow, subject, {}, key=f"{subject} {task}", order=-number, votes=votes)


def _entries_of_posted_reductions(path: Path) -> Iterator[_Entry]:
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            where = f"{path}: line {number}"
            if not line.strip():
                continue
            try:
                reduction = json.loads(line)["reduction"]
                subject, workflow = reduction["subject"], str(reduction["reducible"]["id"])
                task, subject_id = str(reduction.get("reducer_key") or ""), str(subject["id"])
                metadata, answers = dict(subject.get("metadata") or {}), dict(reduction["data"])
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                raise ValueError(f"{where}: is no reduction as Caesar posts it: {error!r}") from None
            votes = _read_counts(where, task, answers, by_place=True)
            yield _Entry(where, workflow, subject_id, metadata, key=f"{subject_id} {task}", order=-number, votes=votes)


def _read_counts(where: str, task: str, data: dict[str, Any], by_place: bool) -> list[tuple[str, object, int]]:
    """(task, answer, count) of the answers that somebody gave; whole numbers are places if `by_place`."""
    votes: list[tuple[str, object, int]] = []
    for answer, value in data.items():
        if answer in _NOT_ANSWERS or value in (None, "") or value != value:  # NaN is an empty cell
            continue
        try:
            count = float(value)
        except (TypeError, ValueError):
            count = np.nan
        if not (0 <= count <= MAX_VOTES and count % 1 == 0):
            raise ValueError(f"{where}: {answer} has the count {value!r}; votes must be whole numbers >= 0")
        if count > 0:
            votes.append((task, int(answer) if by_place and answer.isdecimal() else answer, int(count)))
    return votes


def _entries_of_classifications(path: Path, with_metadata: bool) -> Iterator[_Entry]:
    columns = [column for column in _CLASSIFICATION_COLUMNS if with_metadata or column != "subject_data"]
    for number, row in enumerate(_rows_as_text(path, columns), start=2):
        yield _read_classification(f"{path}: row {number}", row)


def _rows_as_text(path: Path, columns: list[str]) -> Iterator[dict[Any, str]]:
    """Rows of a CSV file that may be larger than memory."""
    try:
        with (
            pd.read_csv(
                path, usecols=columns, dtype=str, na_filter=False, encoding="utf-8-sig", chunksize=_CHUNK_ROWS
            ) as chunks,
            tqdm(unit="classification", disable=None) as bar,
        ):
            for chunk in chunks:
                yield from chunk.to_dict("records")
                bar.update(len(chunk))
    except ValueError as error:
        raise ValueError(f"{path}: cannot be read as a CSV of classifications: {error}") from error


def _read_classification(where: str, row: dict[Any, str]) -> _Entry:
    try:
        metadata = dict(json.loads(row.get("subject_data", "{}")).get(row["subject_ids"]) or {})
        answers = {str(annotation["task"]): annotation.get("value") for annotation in json.loads(row["annotations"])}
        order = int(row["classification_id"])
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{where}: is no classification as Zooniverse exports it: {error!r}") from None
    volunteer = row["user_name"] or row["user_ip"] or row["classification_id"]
    votes = [(task, answer, 1) for task, answer in answers.items() if answer not in (None, "", [])]
    return _Entry(where, row["workflow_id"], row["subject_ids"], metadata, key=volunteer, order=order, votes=votes)


def _read_tasks(path: PathLike | None, schema: Schema) -> _Tasks:
    if path is None:
        raise ValueError(
            "a Zooniverse export needs a file of tasks, which says what question each asks; "
            "in it 'tasks: {T0: smooth-or-featured}', for example"
        )
    path = Path(path)
    try:
        # The base loader leaves `yes`, `no` and `1` the texts that they are.
        content = yaml.load(path.read_bytes(), Loader=yaml.BaseLoader)
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: not valid YAML or JSON: {error}") from None
    keys = _mapping(path, content, "the file", ("workflow", "subject", "tasks"))
    tasks = _mapping(path, keys.get("tasks"), "'tasks'")
    subject = _mapping(path, keys.get("subject", {}), "'subject'", ("id_str", "ra", "dec"))
    answers = {task: _read_task(path, task, asked, schema) for task, asked in tasks.items()}
    if not answers:
        raise ValueError(f"{path}: 'tasks' is empty; it must name at least one, as in 'T0: smooth-or-featured'")
    return _Tasks(path, str(keys.get("workflow", "")), subject, answers)


def _read_task(path: Path, task: str, asked: object, schema: Schema) -> _Answers:
    entries = {"question": asked} if isinstance(asked, str) else _mapping(path, asked, task, ("question", "answers"))
    try:
        question = schema.get_question(str(entries.get("question", "")))
    except ValueError as error:
        raise ValueError(f"{path}: {task}: {error}") from None
    columns = {answer.label: answer.text for answer in question.answers}
    texts = _mapping(path, entries.get("answers", {label: label for label in columns}), f"the answers of {task}")
    for label in texts.values():
        if label not in columns:
            raise ValueError(f"{path}: {task}: {question.text} has no answer {label!r}, only {', '.join(columns)}")
    return _Answers(
        in_order=[columns[label] for label in texts.values()],
        by_letters={_letters(text): columns[label] for text, label in texts.items()},
    )


def _mapping(path: Path, value: Any, what: str, allowed: tuple[str, ...] | None = None) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{path}: {what} must be 'key: value' entries; received {value!r}")
    for key in value:
        if allowed and key not in allowed:
            raise ValueError(f"{path}: {what} has an unknown key {key!r}; the keys are {', '.join(allowed)}")
    return value


def _letters(text: str) -> str:
    return re.sub(r"[\W_]+", "", text.casefold())
