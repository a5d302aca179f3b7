"""A job on disk: its settings, its galaxies in parts, and the finished parts.

A job is a hidden folder beside the table to write. Any process that can access the folder can compute a part. A part is
one file, written atomically; its metadata list the failures among its galaxies. A run that was killed continues with
the missing parts.
"""

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Generic, TypeGuard, TypeVar

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from zoobot3d_tf.data.framing import Framing
from zoobot3d_tf.failures import is_of_machine
from zoobot3d_tf.files import empty_owned, read_json_object, whole_file, write_atomically

_SETTINGS_NAME = "settings.json"
_GALAXIES_NAME = "galaxies.parquet"
# An interruption may lose one part, which takes some seconds. Parts are smaller if there are few galaxies, so that all
# cores have work.
_PART_SIZE = 256
_PART_UNIT = 16
# Parts that are joined to one piece of the table, which has some thousand galaxies.
_PARTS_AT_ONCE = 16


@dataclass(frozen=True)
class NetworkSettings:
    """A trained network of a job, and the sizes of its images.

    Attributes:
        run_folder: path of the run folder of the model.
        weights_sha256: SHA-256 of the weights.
        initial_size: height and width of the stored training images, in pixels; see `Framing`.
        crop_size: height and width of the part that the network sees, in pixels.
        final_size: height and width of the input of the network, in pixels.
    """

    run_folder: str
    weights_sha256: str
    initial_size: int
    crop_size: int
    final_size: int

    @property
    def framing(self) -> Framing:
        """Sizes of stored images, crop and network input."""
        return Framing(self.initial_size, self.crop_size, self.final_size)


@dataclass(frozen=True)
class JobSettings:
    """Everything, besides the networks, that the rows of any table depend on.

    A run continues only with the same settings.

    Attributes:
        version: version of this package.
        stretch: colour stretch of FITS cutouts; see `images.rgb.to_rgb`.
        engine: engine that runs the network, "tf" or "openvino".
        precision: precision of the engine, "f32" or "bf16".
        batch_size: number of galaxies per step on a GPU.
        n_galaxies: number of galaxies.
        fingerprint: hash of the galaxies and their files; see `inputs.fingerprint`.
    """

    version: str
    stretch: str
    engine: str
    precision: str
    batch_size: int
    n_galaxies: int
    fingerprint: str

    @property
    def part_size(self) -> int:
        """Number of galaxies per part."""
        sixteenths = -(-self.n_galaxies // (16 * _PART_UNIT))
        return min(_PART_SIZE, _PART_UNIT * sixteenths)

    @property
    def n_parts(self) -> int:
        """Number of parts."""
        return -(-self.n_galaxies // self.part_size)


AnySettings = TypeVar("AnySettings", bound=JobSettings)


@dataclass(frozen=True)
class Failure:
    """A galaxy whose image cannot be used.

    Attributes:
        id_str: id of the galaxy.
        file_loc: path of its image, or of the shard that holds it.
        reason: message of the error.
        was_read: whether the image could be read, so that another try would fail too.
    """

    id_str: str
    file_loc: str
    reason: str
    was_read: bool = False


@dataclass(frozen=True)
class Job(Generic[AnySettings]):
    """A job on disk.

    Attributes:
        folder: hidden folder of the job.
        settings: settings of the job.
    """

    folder: Path
    settings: AnySettings

    def galaxies(self, number: int) -> pd.DataFrame:
        """Read the galaxies of part `number`, from 0, as `inputs` lists them. The index counts all galaxies."""
        with pq.ParquetFile(self.folder / _GALAXIES_NAME) as file:
            galaxies = file.read_row_group(number).to_pandas()
        galaxies.index += number * self.settings.part_size
        return galaxies

    def missing(self) -> list[int]:
        """Numbers of the parts that are not finished."""
        return [number for number in range(self.settings.n_parts) if not self._part_loc(number).is_file()]

    def finished(self) -> list[int]:
        """Numbers of the parts that are finished."""
        return [number for number in range(self.settings.n_parts) if self._part_loc(number).is_file()]

    def is_present(self) -> bool:
        """Whether the folder of the job still exists, with its settings."""
        return (self.folder / _SETTINGS_NAME).is_file()

    def size_of(self, number: int) -> int:
        """Number of galaxies in part `number`."""
        size = self.settings.part_size
        return min(size, self.settings.n_galaxies - number * size)

    def add(self, number: int, rows: pa.Table, failures: Sequence[Failure], mask_hdus: bytes | None = None) -> None:
        """Write part `number`.

        Args:
            number: number of the part, from 0.
            rows: rows of the galaxies whose images can be used, in their order.
            failures: the other galaxies of the part.
            mask_hdus: masks of the galaxies as FITS extensions, if the masks of all galaxies go to one file.

        Raises:
            ValueError: another run has taken the folder.
            OSError: the part cannot be written, or the folder was removed.
        """
        found = _read_settings(self.folder)
        if not found:
            raise FileNotFoundError(f"{self.folder}: part {number} cannot be added, because the folder is gone")
        if found != _plain(self.settings):
            raise ValueError(
                f"{self.folder}: part {number} cannot be added, because another run has started the same table; write "
                "a table with one run at a time"
            )
        if mask_hdus is not None:
            self._write(self._hdus_loc(number), mask_hdus)
        failed = json.dumps([asdict(failure) for failure in failures])
        content = pa.BufferOutputStream()
        pq.write_table(rows.replace_schema_metadata({"failed": failed}), content)
        self._write(self._part_loc(number), content.getvalue().to_pybytes())

    def pieces(self) -> Iterator[pa.Table]:
        """Read the rows of all parts in order, some thousand at a time."""
        numbers = range(self.settings.n_parts)
        for first in numbers[::_PARTS_AT_ONCE]:
            parts = (self._read(number) for number in numbers[first : first + _PARTS_AT_ONCE])
            # One chunk: pyarrow before 24 writes the header of a CSV again after a chunk without rows.
            yield pa.concat_tables(part.replace_schema_metadata() for part in parts).combine_chunks()

    def failures(self, numbers: Iterable[int] | None = None) -> list[Failure]:
        """Read the galaxies whose images cannot be used, in order.

        Args:
            numbers: numbers of finished parts; by default all finished parts.

        Raises:
            ValueError: a part is damaged.
        """
        numbers = self.finished() if numbers is None else numbers
        return [failure for number in numbers for failure in self._failures_of(number)]

    def discard(self, number: int) -> None:
        """Remove a finished part, so that it is computed again."""
        self._part_loc(number).unlink()

    def mask_hdus(self) -> Iterator[bytes]:
        """Read the masks of each part as FITS extensions, in order."""
        return (self._hdus_loc(number).read_bytes() for number in range(self.settings.n_parts))

    def remove(self) -> None:
        """Delete the folder. The settings go first, so that an interrupted deletion leaves a folder of no run."""
        (self.folder / _SETTINGS_NAME).unlink()
        shutil.rmtree(self.folder)

    def _read(self, number: int) -> pa.Table:
        path = self._part_loc(number)
        with _naming_damage(path), pq.ParquetFile(path) as file:
            return file.read()

    def _failures_of(self, number: int) -> list[Failure]:
        path = self._part_loc(number)
        with _naming_damage(path):
            return [Failure(**failure) for failure in json.loads(pq.read_schema(path).metadata[b"failed"])]

    def _write(self, path: Path, content: bytes) -> None:
        # On a cluster, a worker that is considered lost may still write the same part.
        write_atomically(path, content, shared=True)

    def _part_loc(self, number: int) -> Path:
        return self.folder / f"part-{number:07d}.parquet"

    def _hdus_loc(self, number: int) -> Path:
        return self.folder / f"part-{number:07d}.fits"


def start_job(folder: Path, settings: AnySettings, galaxies: pd.DataFrame) -> Job[AnySettings]:
    """Make the folder of a job, or open the folder of an interrupted run.

    Args:
        folder: folder of the job. The caller owns it; see `files.one_owner`.
        settings: settings of this run.
        galaxies: galaxies, as `inputs` lists them.

    Returns:
        The job. Some of its parts may be finished.

    Raises:
        ValueError: the folder holds an unfinished run with other settings.
    """
    job = Job(folder, settings)
    before, wanted = _read_settings(folder), _plain(settings)
    if before == wanted:
        return job
    if before and any(folder.glob("part-*.parquet")):
        changed = _changed(before, wanted)
        raise ValueError(
            f"{folder} holds an unfinished run with other {', '.join(changed)}: "
            "finish that run first, with its own settings, or delete the folder"
        )
    folder.mkdir(exist_ok=True)
    empty_owned(folder)  # of a run that was killed while it made or removed the folder
    table = pa.Table.from_pandas(galaxies, preserve_index=False)
    with whole_file(folder / _GALAXIES_NAME) as partial:
        pq.write_table(table, partial, row_group_size=settings.part_size)
    write_atomically(folder / _SETTINGS_NAME, json.dumps(wanted, indent=1) + "\n")
    return job


def is_begun(folder: Path, settings: JobSettings) -> bool:
    """Whether a folder holds the unfinished job of a run with these settings."""
    return _read_settings(folder) == _plain(settings)


def differing(stored: Mapping[str, Any], settings: JobSettings) -> list[str]:
    """Names of the settings that differ from those among the metadata of a finished table, which may hold more."""
    wanted = _plain(settings)
    return _changed(_restricted(stored, wanted), wanted)


def _restricted(stored: Any, wanted: Any) -> Any:
    """The entries of stored objects that the wanted ones have, too."""
    if isinstance(stored, Mapping) and isinstance(wanted, Mapping):
        return {name: _restricted(stored.get(name), value) for name, value in wanted.items()}
    if _are_objects(stored) and _are_objects(wanted) and len(stored) == len(wanted):
        return [_restricted(*pair) for pair in zip(stored, wanted, strict=True)]
    return stored


def _changed(before: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """Names of the settings that differ; of settings in lists, such as those of the networks, their own names."""
    names: list[str] = []
    for name in {**wanted, **before}:
        old, new = before.get(name), wanted.get(name)
        if old == new:
            continue
        if _are_objects(old) and _are_objects(new) and len(old) == len(new):
            names += [inner for pair in zip(old, new, strict=True) for inner in _changed(*pair)]
        else:
            names.append("galaxies or images" if name in ("fingerprint", "n_galaxies") else name)
    return list(dict.fromkeys(names))


def _are_objects(stored: Any) -> TypeGuard[list[dict[str, Any]]]:
    return isinstance(stored, list) and all(isinstance(item, dict) for item in stored)


def _read_settings(folder: Path) -> dict[str, Any]:
    """Read the settings of the run that owns the folder; empty if there is no such run.

    Raises:
        ValueError: the file is damaged.
    """
    try:
        return read_json_object(folder / _SETTINGS_NAME, "settings of a run")
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise ValueError(f"{error}; delete the folder {folder} to start again") from error


@contextmanager
def _naming_damage(path: Path) -> Iterator[None]:
    """Convert the errors of a damaged part to a ValueError that names the file. Faults of the machine are passed on."""
    try:
        yield
    except Exception as error:  # damaged files raise errors of many types
        if isinstance(error, FileNotFoundError) or is_of_machine(error):
            raise
        raise ValueError(f"{path}: is damaged: {error}; delete this file, and run the same again") from error


def _plain(settings: JobSettings) -> dict[str, Any]:
    """Settings as they are after writing to JSON and reading back."""
    return json.loads(json.dumps(asdict(settings)))
