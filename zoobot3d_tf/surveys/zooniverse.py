"""Votes from Zooniverse exports, which name tasks of a workflow instead of questions of a schema.

A file of tasks, YAML or JSON, gives the question of each task::

    workflow: 12345                # required if the export holds several workflows
    subject:                       # columns from the metadata of subjects; by default id_str is the id of the subject
      id_str: "#iauname"
      ra: "#ra"
      dec: "#dec"
    tasks:
      T0: smooth-or-featured       # answers with the texts and the order of the schema
      T1:
        question: disk-edge-on
        answers: {"Yes - edge on": yes, "Something else": no}    # text: answer of the schema; order of the workflow

Only letters and digits of answers are compared: 'Can't tell' is `cant-tell`.
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

from zoobot3d_tf.files import PathLike, path_of
from zoobot3d_tf.progress import Progress
from zoobot3d_tf.schemas import Schema
from zoobot3d_tf.tables.columns import MAX_VOTES, id_fault, read_text
from zoobot3d_tf.tables.formats import read_table

log = logging.getLogger(__name__)

_JSON_SUFFIXES = (".json", ".jsonl", ".ndjson")
_CLASSIFICATION_COLUMNS = [
    *("classification_id", "user_name", "user_ip", "workflow_id"),
    *("annotations", "subject_data", "subject_ids"),
]
_CHUNK_ROWS = 10_000
# Columns of panoptes_aggregation that are not answers: the number of volunteers without an answer, and its version.
_NO_ANSWER, _VERSION = "None", "aggregation_version"
_EMPTY = "empty answers"


class NoVotesError(ValueError):
    """An export has no answer to any task of the file of tasks, as before the first classification."""


def workflow_of(tasks_loc: PathLike, schema: Schema) -> str:
    """Check a file of tasks, and return the id of the workflow that it names, '' if it names none.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file is faulty.
    """
    return _read_tasks(tasks_loc, schema).workflow


def read_reductions(path: Path, schema: Schema, tasks_loc: PathLike | None, id_key: str | None = None) -> pd.DataFrame:
    """Read votes that Zooniverse has counted: form `reductions` of `sources.read_votes`.

    If a subject has several reductions of a task, the last one is used. In reductions of Caesar, an answer that is a
    whole number is the index of the answer in the workflow, from 0. In reductions of panoptes_aggregation, which have a
    column `task`, it is the text of the answer.

    Args:
        path: path of the export: a CSV of subject reductions by Caesar or panoptes_aggregation; or a `.json`, `.jsonl`
            or `.ndjson` file as Caesar posts it, with one object per line. Only posted reductions have metadata.
        schema: decision tree of the votes.
        tasks_loc: path of the file of tasks, described in this module.
        id_key: metadata that holds `id_str`, in place of `subject` in the file of tasks.

    Returns:
        One row per galaxy, as `sources.read_votes` returns them.

    Raises:
        FileNotFoundError: a file does not exist.
        NoVotesError: the export has no votes.
        ValueError: the export or the file of tasks is faulty, or a count is not a whole number >= 0.
    """
    tasks = _read_tasks(tasks_loc, schema, id_key)
    if path.suffix.lower() in _JSON_SUFFIXES:
        return _count_votes(path, _entries_of_posted_reductions(path), tasks, schema)
    if tasks.subject:
        raise ValueError(f"{path}: a table of reductions has no metadata; remove 'subject' from {tasks.path}")
    return _count_votes(path, _entries_of_reductions(path), tasks, schema)


def read_classifications(
    path: Path, schema: Schema, tasks_loc: PathLike | None, id_key: str | None = None
) -> pd.DataFrame:
    """Count votes from single classifications: form `classifications` of `sources.read_votes`.

    A volunteer counts once per galaxy, with the first classification. Volunteers who are not logged in have a
    `user_name` too, made from their address. Answers inside a combo task count as those of the tasks that it joins. A
    warning gives the numbers of answers that are not counted, with the reasons.

    Args:
        path: path of the CSV that the project builder exports. It may be larger than memory.
        schema: decision tree of the votes.
        tasks_loc: path of the file of tasks, described in this module.
        id_key: metadata that holds `id_str`, in place of `subject` in the file of tasks.

    Returns:
        One row per galaxy, as `sources.read_votes` returns them.

    Raises:
        FileNotFoundError: a file does not exist.
        NoVotesError: the export has no votes.
        ValueError: the export or the file of tasks is faulty.
    """
    tasks = _read_tasks(tasks_loc, schema, id_key)
    return _count_votes(path, _entries_of_classifications(path, with_metadata=bool(tasks.subject)), tasks, schema)


@dataclass(frozen=True)
class _Answers:
    """Columns of the answers of a task: in the order of the workflow, and by the letters of their texts."""

    in_order: list[str]
    by_letters: dict[str, str]

    def find(self, answer: object) -> str | None:
        """Column of an answer, which is given by its text or by its index; None if there is no such answer."""
        if isinstance(answer, int):
            return self.in_order[answer] if 0 <= answer < len(self.in_order) else None
        return self.by_letters.get(_letters(answer)) if isinstance(answer, str) else None


@dataclass(frozen=True)
class _Tasks:
    """Content of a file of tasks: its path, the workflow, columns and their metadata, answers by task."""

    path: Path
    workflow: str
    subject: dict[str, str]
    answers: dict[str, _Answers]


@dataclass(frozen=True)
class _Entry:
    """Votes on one subject, in an export.

    Attributes:
        where: file and row, for errors.
        workflow: id of the workflow.
        subject: id of the subject.
        metadata: metadata of the subject.
        key: key of the entry. If several entries on a galaxy have the same key, the one with the lowest order counts.
        order: rank among entries with the same key.
        votes: (task, answer, count). The task is '' if the export does not give it.
        skipped: number of answers that are not votes, by the reason.
    """

    where: str
    workflow: str
    subject: str
    metadata: dict[str, Any]
    key: str
    order: int
    votes: list[tuple[str, object, int]]
    skipped: Counter[str]


def _count_votes(path: Path, entries: Iterable[_Entry], tasks: _Tasks, schema: Schema) -> pd.DataFrame:
    """Add up the votes of each galaxy, one row per galaxy, as `sources.read_votes` returns them."""
    galaxies: dict[str, dict[str, Any]] = {}
    kept: defaultdict[str, dict[str, tuple[int, list[tuple[str, int]]]]] = defaultdict(dict)
    faults: dict[str, str] = {}
    skipped: Counter[str] = Counter()
    for entry in _of_one_workflow(entries, tasks, skipped):
        galaxy = _describe_galaxy(entry, tasks)
        if fault := id_fault(galaxy["id_str"]):
            faults[entry.subject] = fault
            continue
        skipped += entry.skipped
        votes = _find_columns(entry, tasks, skipped)
        earlier = kept[galaxy["id_str"]].get(entry.key)
        if votes and earlier is not None:
            skipped["entries that a volunteer or a reducer made again for the same galaxy"] += 1
        if votes and (earlier is None or entry.order < earlier[0]):
            galaxies.setdefault(galaxy["id_str"], galaxy)
            kept[galaxy["id_str"]][entry.key] = entry.order, votes
    if faults:
        log.warning(
            "%s: %d subjects were left out, because their %s cannot be an id, such as subject %s, where it %s",
            *(path, len(faults), tasks.subject.get("id_str", "id"), min(faults), faults[min(faults)]),
        )
    if skipped:
        log.warning("%s: not counted: %s", path, "; ".join(f"{n} {what}" for what, n in skipped.most_common()))
    if not galaxies:
        raise NoVotesError(f"{path}: has no answers to the tasks of {tasks.path}: {', '.join(tasks.answers)}")
    rows = []
    for id_str, galaxy in galaxies.items():
        counts: Counter[str] = Counter()
        for _, votes in kept[id_str].values():
            for column, count in votes:
                counts[column] += count
        rows.append({**galaxy, **counts})
    table = pd.DataFrame(rows, columns=["id_str", "ra", "dec", *schema.label_cols])
    return table.fillna(dict.fromkeys(schema.label_cols, 0)).astype(dict.fromkeys(schema.label_cols, np.int64))


def _of_one_workflow(entries: Iterable[_Entry], tasks: _Tasks, skipped: Counter[str]) -> Iterator[_Entry]:
    """Entries of the workflow in the file of tasks. If it names none, all entries must be of one workflow."""
    first = ""
    for entry in entries:
        first = first or entry.workflow
        if entry.workflow == (tasks.workflow or first):
            yield entry
        elif tasks.workflow:
            skipped["entries of other workflows"] += 1
        else:
            raise ValueError(
                f"{entry.where}: is of workflow {entry.workflow}, but earlier rows are of workflow {first}; name one "
                f"of them in {tasks.path}, such as 'workflow: {first}'"
            )


def _describe_galaxy(entry: _Entry, tasks: _Tasks) -> dict[str, Any]:
    """`id_str`, `ra` and `dec` of a subject; '' and NaN if they are not in its metadata."""
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


def _find_columns(entry: _Entry, tasks: _Tasks, skipped: Counter[str]) -> list[tuple[str, int]]:
    """Columns and counts of the votes on the tasks in the file of tasks."""
    columns = []
    for named_task, answer, count in entry.votes:
        task = named_task or min(tasks.answers)
        if not named_task and len(tasks.answers) > 1:
            raise ValueError(f"{entry.where}: does not name its task; {tasks.path} must list only this task")
        if task not in tasks.answers:
            skipped[f"answers to {task}, which is not in {tasks.path}"] += count
            continue
        column = tasks.answers[task].find(answer)
        if column is None:
            raise ValueError(
                f"{entry.where}: task {task} has the answer {answer!r}, which is none of "
                f"{', '.join(tasks.answers[task].in_order)}; add it to the answers of {task} in {tasks.path}"
            )
        columns.append((column, count))
    return columns


def _entries_of_reductions(path: Path) -> Iterator[_Entry]:
    table = read_table(path)
    task_column = "task" if "task" in table else "reducer_key"
    missing = [column for column in ("subject_id", "workflow_id", task_column) if column not in table]
    if missing:
        raise ValueError(f"{path}: lacks {', '.join(missing)}; a table of reductions must have these columns")
    ids = [read_text(path, table, column) for column in ("workflow_id", "subject_id", task_column)]
    data = table[[column for column in table.columns if column.startswith("data.")]]
    data = data.rename(columns=lambda name: name.removeprefix("data."))
    rows = zip(*ids, data.to_dict("records"), strict=True)
    for number, (workflow, subject, task, answers) in enumerate(rows, start=2):
        where = f"{path}: row {number}"
        votes, skipped = _read_counts(where, task, answers, by_place=task_column == "reducer_key")
        yield _Entry(where, workflow, subject, {}, f"{subject} {task}", -number, votes, skipped)


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
            except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
                raise ValueError(f"{where}: is not a reduction as posted by Caesar: {error!r}") from None
            votes, skipped = _read_counts(where, task, answers, by_place=True)
            yield _Entry(where, workflow, subject_id, metadata, f"{subject_id} {task}", -number, votes, skipped)


def _read_counts(
    where: str, task: str, data: dict[str, Any], by_place: bool
) -> tuple[list[tuple[str, object, int]], Counter[str]]:
    """Votes, as in `_Entry`, and the answers that are none. If `by_place`, whole numbers are indices of answers."""
    votes: list[tuple[str, object, int]] = []
    skipped: Counter[str] = Counter()
    for answer, value in data.items():
        if answer == _VERSION or value in (None, "") or value != value:  # NaN is an empty cell
            continue
        try:
            count = float(value)
        except (TypeError, ValueError):
            count = np.nan
        if not (0 <= count <= MAX_VOTES and count % 1 == 0):
            raise ValueError(
                f"{where}: {answer} has the count {value!r}; votes must be whole numbers >= 0, at most {MAX_VOTES}"
            )
        if count > 0 and answer == _NO_ANSWER:
            skipped[_EMPTY] += int(count)
        elif count > 0:
            votes.append((task, int(answer) if by_place and answer.isdecimal() else answer, int(count)))
    return votes, skipped


def _entries_of_classifications(path: Path, with_metadata: bool) -> Iterator[_Entry]:
    columns = [column for column in _CLASSIFICATION_COLUMNS if with_metadata or column != "subject_data"]
    for number, row in enumerate(_rows_as_text(path, columns), start=2):
        yield _read_classification(f"{path}: row {number}", row)


def _rows_as_text(path: Path, columns: list[str]) -> Iterator[dict[Any, str]]:
    """Read the rows of a CSV file in pieces, since it may be larger than memory."""
    try:
        with (
            pd.read_csv(
                path, usecols=columns, dtype=str, na_filter=False, encoding="utf-8-sig", chunksize=_CHUNK_ROWS
            ) as chunks,
            Progress(unit="classification") as bar,
        ):
            for chunk in chunks:
                yield from chunk.to_dict("records")
                bar.update(len(chunk))
    except ValueError as error:
        raise ValueError(f"{path}: cannot be read as a CSV of classifications: {error}") from error


def _read_classification(where: str, row: dict[Any, str]) -> _Entry:
    try:
        metadata = dict(json.loads(row.get("subject_data", "{}")).get(row["subject_ids"]) or {})
        given = list(_flatten(json.loads(row["annotations"])))
        order = int(row["classification_id"])
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError(f"{where}: is not a classification as exported by Zooniverse: {error!r}") from None
    volunteer = row["user_name"] or row["user_ip"] or row["classification_id"]
    answers = dict(given)
    votes = [(task, answer, 1) for task, answer in answers.items() if answer not in (None, "", [])]
    skipped = Counter({_EMPTY: len(answers) - len(votes), "answers that were changed later": len(given) - len(answers)})
    return _Entry(where, row["workflow_id"], row["subject_ids"], metadata, volunteer, order, votes, +skipped)


def _flatten(annotations: list[dict[str, Any]]) -> Iterator[tuple[str, Any]]:
    """Tasks and answers of a classification. The value of a combo task is a list of the annotations of its tasks."""
    for annotation in annotations:
        value = annotation.get("value")
        if isinstance(value, list) and value and all(isinstance(part, dict) and "task" in part for part in value):
            yield from _flatten(value)
        else:
            yield str(annotation["task"]), value


def _read_tasks(path: PathLike | None, schema: Schema, id_key: str | None = None) -> _Tasks:
    if path is None:
        raise ValueError(
            "a Zooniverse export needs tasks_loc, a file that gives the question of each task, such as "
            "'tasks: {T0: smooth-or-featured}'"
        )
    path = path_of(path)
    try:
        # The base loader keeps `yes`, `no` and `1` as text.
        content = yaml.load(path.read_bytes(), Loader=yaml.BaseLoader)
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(f"{path}: is not valid YAML or JSON: {error}") from None
    keys = _mapping(path, content, "the file", ("workflow", "subject", "tasks"))
    tasks = _mapping(path, keys.get("tasks"), "'tasks'")
    subject = _mapping(path, keys.get("subject", {}), "'subject'", ("id_str", "ra", "dec"))
    if id_key is not None:
        subject = {"id_str": id_key}
    answers = {task: _read_task(path, task, asked, schema) for task, asked in tasks.items()}
    if not answers:
        raise ValueError(f"{path}: 'tasks' is empty; it must name at least one task, such as 'T0: smooth-or-featured'")
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
            raise ValueError(f"{path}: {task}: {question.text} has no answer {label!r}; it has {', '.join(columns)}")
    return _Answers(
        in_order=[columns[label] for label in texts.values()],
        by_letters={_letters(text): columns[label] for text, label in texts.items()},
    )


def _mapping(path: Path, value: Any, what: str, allowed: tuple[str, ...] | None = None) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{path}: {what} must have entries 'key: value'; received {value!r}")
    for key in value:
        if allowed and key not in allowed:
            raise ValueError(f"{path}: {what} has an unknown key {key!r}; the keys are {', '.join(allowed)}")
    return value


def _letters(text: str) -> str:
    return re.sub(r"[\W_]+", "", text.casefold())
