"""Oracle of the volunteers of Zooniverse, whose service for projects and subjects is called Panoptes.

A galaxy becomes a *subject*: an image with metadata. Volunteers are asked about a subject if it is in a *subject set*
of a *workflow*. Their answers are counted by Caesar (*reductions*), or by this package from an export of single
*classifications*.

No galaxy is asked twice. A subject is asked only when it is put into the set, and this happens once per galaxy:

1. The subject is made, and its image is uploaded. If this is interrupted, the subject belongs to no set and nobody sees
   it; another one is made later.
2. Its id is written to the journal.
3. It is put into the set. If it is unknown whether this has succeeded, the set is asked which subjects it has.
4. This is written to the journal.
"""

import io
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from zoobot3d_tf.active_learning.journal import Entry, Journal, open_journal
from zoobot3d_tf.active_learning.oracles import ids_of, votes_table
from zoobot3d_tf.extras import require
from zoobot3d_tf.failures import MAX_FAILED, check_failures, check_max_failed
from zoobot3d_tf.files import FAILED_NAME, PathLike, one_owner, path_of, workspace, write_atomically
from zoobot3d_tf.images.image_file import ImageError, open_image_file, read_content
from zoobot3d_tf.images.read import read_image
from zoobot3d_tf.progress import Progress
from zoobot3d_tf.schemas import Schema
from zoobot3d_tf.surveys.download import Download, download
from zoobot3d_tf.surveys.zooniverse import NoVotesError, read_classifications, read_reductions, workflow_of
from zoobot3d_tf.tables.columns import read_text, require_columns

JOURNAL_NAME = "journal.sqlite"
"""Name of the journal in the folder of the oracle."""
ID_KEY = "id_str"
"""Key of the metadata of a subject that holds the id of the galaxy."""
SOURCES = ("reductions", "classifications")
"""Where votes come from: Caesar, which counts them, or the export of single classifications of the workflow."""

# The service takes as many in one request, and lists as many on one page.
_AT_ONCE = 100
_UPLOADS_AT_ONCE = 5
_LINK_TRIES = 3
_EXPORT = "classifications"
_EXPORT_NAME = "classifications.csv"
_READY = ("ready", "finished")  # states of an export
_SIGNATURES = {b"\x89PNG\r\n\x1a\n": "image/png", b"\xff\xd8\xff": "image/jpeg"}

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PanoptesOptions:
    """Where galaxies are asked, and when an answer is complete. It holds no credentials, and can be written to a file.

    Attributes:
        subject_set: id of the subject set that is filled. It must be linked to the workflow.
        workflow: id of the workflow that asks.
        tasks_loc: path of the file that gives the question of each task; see `surveys.zooniverse`. With the source
            `reductions`, its tasks are the keys of the reducers.
        n_votes: number of votes on the first question of the schema at which an answer is complete; at most the number
            of classifications at which the workflow retires a subject.
        source: one of `SOURCES`.
        metadata: columns that volunteers may see, beside `id_str`. Other columns are not uploaded.
        export_hours: age in hours up to which an export of classifications is used again. Its making takes Zooniverse
            minutes to hours.
        export_wait: longest time to wait for a new export, in seconds.
        max_failed: largest fraction of galaxies whose images may be unusable; see `failures`.

    Raises:
        ValueError: an option is faulty.
    """

    subject_set: str
    workflow: str
    tasks_loc: str
    n_votes: int
    source: str = SOURCES[0]
    metadata: tuple[str, ...] = ("ra", "dec")
    export_hours: float = 24.0
    export_wait: float = 3600.0
    max_failed: float = MAX_FAILED

    def __post_init__(self) -> None:
        for name in ("subject_set", "workflow"):
            if not getattr(self, name).isdecimal():
                raise ValueError(
                    f"{name} must be an id of Zooniverse, such as '1234'; received {getattr(self, name)!r}"
                )
        if self.n_votes < 1:
            raise ValueError(f"n_votes must be at least 1; received {self.n_votes}")
        if self.source not in SOURCES:
            raise ValueError(f"source must be {' or '.join(SOURCES)}; received {self.source!r}")
        if ID_KEY in self.metadata:
            raise ValueError(f"metadata always holds {ID_KEY}; remove it from the list")
        if self.export_hours < 0 or self.export_wait <= 0:
            raise ValueError(
                f"export_hours must be >= 0 and export_wait > 0; received {self.export_hours} and {self.export_wait}"
            )
        check_max_failed(self.max_failed)


class PanoptesOracle:
    """An `oracles.Oracle` that asks the volunteers of Zooniverse, through its official client (extra `[active]`)."""

    def __init__(self, options: PanoptesOptions, schema: Schema, folder: PathLike) -> None:
        """Check the options and the credentials. Zooniverse is not called before the first question.

        Args:
            options: where galaxies are asked.
            schema: decision tree of the votes.
            folder: folder of the journal. All iterations of an experiment must use the same.

        Raises:
            ImportError: the extra `[active]` is not installed.
            PermissionError: there are no credentials; see `zooniverse_client.find_credentials`.
            FileNotFoundError: the file of tasks does not exist.
            ValueError: the file of tasks is faulty, or names another workflow.
        """
        for package in ("panoptes_client", "keyring"):
            require(package, "asking on Zooniverse")
        named = workflow_of(options.tasks_loc, schema)
        if named not in ("", options.workflow):
            raise ValueError(
                f"{options.tasks_loc}: is for workflow {named}, not for {options.workflow}, which is asked"
            )
        self._zooniverse.find_credentials()
        self._options = options
        self._schema = schema
        self._folder = path_of(folder)

    def ask(self, galaxies: pd.DataFrame) -> None:
        """Ask volunteers about galaxies; see `Oracle.ask`.

        PNG and JPEG images are uploaded as they are, others as PNG in the colours of `images.read.read_image`. A galaxy
        whose image cannot be used is left out, and listed in `failed.csv` in the folder. A galaxy whose `id_str` is in
        the metadata of a subject of the set already is not asked again, whoever has uploaded it.

        Args:
            galaxies: one row per galaxy, with `id_str`, `file_loc` and the columns `metadata` of the options, as far as
                they are there.

        Raises:
            ValueError: the table is faulty, too many images cannot be used, or the journal is of something else.
            PermissionError: Zooniverse refuses the credentials.
            OSError: Zooniverse does not answer. What was asked stays asked: call again with the same galaxies.
        """
        wanted = _described(galaxies, self._options.metadata)
        failures: dict[str, str] = {}
        with self._journal() as journal:
            entries = journal.entries()
            new = [galaxy for galaxy in wanted if not _is_asked(entries, galaxy.id_str)]
            if new:
                with self._client, self._service_errors():
                    self._ask_new(new, journal, failures)
        self._list_failures(failures)
        check_failures(
            list(failures.values()),
            len(wanted),
            self._options.max_failed,
            self._folder / FAILED_NAME,
            "The other galaxies were asked.",
        )

    def answers(self, ids: Sequence[str]) -> pd.DataFrame:
        """Votes on galaxies; see `Oracle.answers`. Complete votes are kept in the journal, and not fetched again.

        Raises:
            ValueError: votes do not fit the file of tasks, or the journal is of something else.
            PermissionError: Zooniverse refuses the credentials.
            OSError: Zooniverse does not answer, or an export is not ready yet.
        """
        with self._journal() as journal:
            entries = journal.entries()
            waiting = {i: entries[i].subject for i in ids if _is_asked(entries, i) and entries[i].votes is None}
            if waiting:
                journal.keep_votes(self._complete_votes(waiting))
                entries = journal.entries()
        return votes_table(
            {i: np.array(entries[i].votes) for i in ids if i in entries and entries[i].votes is not None}, self._schema
        )

    @property
    def _zooniverse(self) -> Any:
        # It imports the client, which takes a moment, and is optional.
        from zoobot3d_tf.active_learning import zooniverse_client

        return zooniverse_client

    @cached_property
    def _client(self) -> Any:
        return self._zooniverse.connect()

    def _service_errors(self) -> Any:
        return self._zooniverse.service_errors(self._client.endpoint)

    @contextmanager
    def _journal(self) -> Iterator[Journal]:
        """Own the folder, and open the journal."""
        about = {
            "service": self._zooniverse.endpoint(),
            "workflow": self._options.workflow,
            "answers": " ".join(self._schema.label_cols),
        }
        with one_owner(self._folder), open_journal(self._folder / JOURNAL_NAME, about) as journal:
            yield journal

    def _ask_new(self, galaxies: Sequence["_Galaxy"], journal: Journal, failures: dict[str, str]) -> None:
        """Ask galaxies that were not asked according to the journal; add the reasons of those that cannot be."""
        subject_set = self._zooniverse.panoptes_client.SubjectSet.find(self._options.subject_set)
        project = subject_set.raw["links"]["project"]
        present = self._subjects_of_set()
        journal.add({g.id_str: present[g.id_str] for g in galaxies if g.id_str in present}, is_asked=True)
        uploaded = {id_str: entry.subject for id_str, entry in journal.entries().items() if not entry.is_asked}
        absent = [galaxy for galaxy in galaxies if galaxy.id_str not in present]
        with Progress(total=len(absent), unit="galaxy") as bar:
            for first in range(0, len(absent), _AT_ONCE):
                group = absent[first : first + _AT_ONCE]
                made, errors = self._make_subjects([g for g in group if g.id_str not in uploaded], project, failures)
                journal.add(made, is_asked=False)
                subjects = {g.id_str: uploaded[g.id_str] for g in group if g.id_str in uploaded} | made
                self._link(list(subjects.values()))
                journal.mark_asked(subjects)
                if errors:
                    raise errors[0]
                bar.update(len(group))
        log.info(
            "subject set %s: %d galaxies asked, %d were in it already, %d left out",
            *(self._options.subject_set, len(absent) - len(failures), len(galaxies) - len(absent), len(failures)),
        )

    def _subjects_of_set(self) -> dict[str, str]:
        """Subject of each galaxy in the set by the `id_str` in its metadata."""
        listed = self._zooniverse.panoptes_client.Subject.where(
            subject_set_id=self._options.subject_set, page_size=_AT_ONCE
        )
        return {str(subject.metadata[ID_KEY]): str(subject.id) for subject in listed if ID_KEY in subject.metadata}

    def _make_subjects(
        self, galaxies: Sequence["_Galaxy"], project: str, failures: dict[str, str]
    ) -> tuple[dict[str, str], list[OSError]]:
        """Make subjects in no set, and upload their images.

        Returns:
            The subjects by `id_str`, and what has interrupted the work. Subjects made until then are not lost, since
            the service counts them against the limit of the account.
        """
        uploads: dict[str, tuple[str, Future[None]]] = {}
        errors: list[OSError] = []
        # Only images travel in threads: the client is not made for several.
        with ThreadPoolExecutor(_UPLOADS_AT_ONCE) as pool:
            for galaxy in galaxies:
                try:
                    content, media_type = read_upload(galaxy.file_loc)
                    subject, url = self._make_subject(galaxy, project, media_type)
                except ImageError as error:
                    failures[galaxy.id_str] = str(error)
                except OSError as error:
                    errors.append(error)
                    break
                else:
                    upload = pool.submit(self._zooniverse.upload, url, content, media_type)
                    uploads[galaxy.id_str] = subject, upload
        made = {}
        for id_str, (subject, upload) in uploads.items():
            try:
                upload.result()
                made[id_str] = subject
            except self._zooniverse.UploadRefusedError as error:
                failures[id_str] = str(error)
            except OSError as error:
                errors.append(error)
        return made, errors

    def _make_subject(self, galaxy: "_Galaxy", project: str, media_type: str) -> tuple[str, str]:
        """Make a subject that is in no set; return its id, and the address for its image."""
        wanted = {"locations": [media_type], "metadata": galaxy.metadata, "links": {"project": project}}
        with self._service_errors():
            # Not `Subject.save`: it uploads the image too, and does not say if that fails.
            made = self._client.post("/subjects", json={"subjects": wanted})[0]["subjects"][0]
        return str(made["id"]), made["locations"][0][media_type]

    def _link(self, subjects: list[str]) -> None:
        """Put subjects into the set."""
        path = f"/subject_sets/{self._options.subject_set}/links/subjects"
        for n_tries in range(1, _LINK_TRIES + 1):
            if not subjects:
                return
            try:
                with self._service_errors():
                    # Not `SubjectSet.add`: it repeats a request of which it is unknown whether it has arrived.
                    self._client.post(path, json={"subjects": subjects})
                return
            except OSError:
                subjects = [subject for subject in subjects if not self._is_in_set(subject)]
                if subjects and n_tries == _LINK_TRIES:
                    raise

    def _is_in_set(self, subject: str) -> bool:
        members = self._zooniverse.panoptes_client.set_member_subject.SetMemberSubject.where(
            subject_set_id=self._options.subject_set, subject_id=subject
        )
        return next(members, None) is not None

    def _list_failures(self, failures: dict[str, str]) -> None:
        path = self._folder / FAILED_NAME
        if failures:
            table = pd.DataFrame(list(failures.items()), columns=["id_str", "reason"])
            write_atomically(path, table.to_csv(index=False, lineterminator="\n"))
            log.warning("%d galaxies were not asked; %s gives the reasons", len(failures), path)
        else:
            path.unlink(missing_ok=True)

    def _complete_votes(self, subjects: dict[str, str]) -> dict[str, np.ndarray]:
        """Fetch the votes on subjects, given by `id_str`; return those that are complete."""
        # An export names volunteers, so it is removed with its folder.
        with workspace(self._folder / "votes") as folder, self._client, self._service_errors():
            try:
                if self._options.source == "reductions":
                    path = self._fetch_reductions(subjects, folder)
                    table = read_reductions(path, self._schema, self._options.tasks_loc, ID_KEY)
                else:
                    path = self._fetch_export(folder)
                    table = read_classifications(path, self._schema, self._options.tasks_loc, ID_KEY)
            except NoVotesError:
                return {}
        votes = table[self._schema.label_cols].to_numpy()
        is_complete = votes[:, self._schema.slices[0]].sum(axis=1) >= self._options.n_votes
        found = zip(table["id_str"], votes, is_complete, strict=True)
        return {id_str: counts for id_str, counts, complete in found if complete and id_str in subjects}

    def _fetch_reductions(self, subjects: dict[str, str], folder: Path) -> Path:
        """Write the reductions of subjects to a file, in the form in which Caesar posts them."""
        caesar = self._zooniverse.panoptes_client.Caesar(endpoint=self._zooniverse.caesar_endpoint())
        path = folder / "reductions.jsonl"
        with path.open("w", encoding="utf-8") as file:
            for id_str, subject in Progress(subjects.items(), unit="galaxy"):
                reductions = caesar.get_reductions_by_workflow_and_subject(self._options.workflow, subject) or []
                for reduction in sorted(reductions, key=lambda each: each.get("updated_at") or ""):
                    posted = {
                        "reducible": {"id": self._options.workflow, "type": "Workflow"},
                        "reducer_key": reduction["reducer_key"],
                        "data": reduction["data"] or {},
                        "subject": {"id": subject, "metadata": {ID_KEY: id_str}},
                    }
                    file.write(json.dumps({"reduction": posted}) + "\n")
        return path

    def _fetch_export(self, folder: Path) -> Path:
        """Download the export of classifications of the workflow; have one made if there is none, or an old one."""
        workflow = self._zooniverse.panoptes_client.Workflow(self._options.workflow)
        try:
            is_current = _is_current(workflow.describe_export(_EXPORT)["media"][0], self._options.export_hours)
        except self._zooniverse.PanoptesAPIException:  # there was no export of this workflow yet
            is_current = False
        if not is_current:
            workflow.generate_export(_EXPORT)
        medium = workflow.wait_export(_EXPORT, timeout=self._options.export_wait)["media"][0]
        summary = download([Download(medium["src"], _EXPORT_NAME)], folder)
        if summary.failures:
            _, _, reason = summary.failures[0]
            raise OSError(f"the export of workflow {self._options.workflow} cannot be downloaded: {reason}")
        return folder / _EXPORT_NAME


@dataclass(frozen=True)
class _Galaxy:
    """A galaxy to ask about. The metadata hold its id too."""

    id_str: str
    file_loc: str
    metadata: dict[str, str]


def read_upload(file_loc: PathLike) -> tuple[bytes, str]:
    """Read an image for volunteers.

    Args:
        file_loc: path of the image.

    Returns:
        Content and MIME type: of the file if it is a PNG or JPEG, else of a PNG of what `images.read.read_image` reads.

    Raises:
        ImageError: `read_image` cannot read the file.
        OSError, MemoryError: the machine cannot read the file.
    """
    path = path_of(file_loc)
    image = read_image(path)  # volunteers should not meet a damaged file, even one that is not converted
    with open_image_file(path) as file:
        content = read_content(path, file)
    for start, media_type in _SIGNATURES.items():
        if content.startswith(start):
            return content, media_type
    made = io.BytesIO()
    Image.fromarray(image).save(made, "PNG")
    return made.getvalue(), "image/png"


def _described(galaxies: pd.DataFrame, columns: Sequence[str]) -> list[_Galaxy]:
    """Galaxies of a table, with the metadata for volunteers: the id, and the columns that exist and are not empty."""
    where = "galaxies"
    require_columns(where, galaxies.columns, ["id_str", "file_loc"])
    ids, paths = ids_of(where, galaxies), read_text(where, galaxies, "file_loc")
    rows = galaxies[[column for column in columns if column in galaxies]].to_dict("records")
    return [
        _Galaxy(
            id_str, path, {ID_KEY: id_str} | {str(key): str(value) for key, value in row.items() if pd.notna(value)}
        )
        for id_str, path, row in zip(ids, paths, rows, strict=True)
    ]


def _is_asked(entries: Mapping[str, Entry], id_str: str) -> bool:
    return id_str in entries and entries[id_str].is_asked


def _is_current(medium: Mapping[str, Any], hours: float) -> bool:
    """Whether an export is being made now, or is not older than some hours."""
    stamp = medium.get("updated_at") or medium.get("created_at")
    if (medium.get("metadata") or {}).get("state") not in _READY:
        return True
    return stamp is not None and datetime.now(UTC) - datetime.fromisoformat(stamp) <= timedelta(hours=hours)
