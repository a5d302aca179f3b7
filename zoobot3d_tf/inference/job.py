"""A run of the network over galaxies, on the disk: its settings, its galaxies in parts, and those that are finished.

All stands in a hidden folder beside the table to be, so that any process that sees it can predict a part, and a run
that was killed goes on with the parts that are missing. A part is one file, written atomically, with the failures among
its galaxies in its metadata: a part that exists is whole.
"""

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from zoobot3d_tf.files import write_atomically

_SETTINGS_NAME = "settings.json"
_GALAXIES_NAME = "galaxies.parquet"
# A part is some seconds of work, which is what an interruption may cost; few galaxies make smaller ones, for all cores.
_PART_SIZE = 256
_PART_UNIT = 16
# Parts read at a time when they are joined, to pieces of some thousand galaxies.
_PARTS_AT_ONCE = 16


@dataclass(frozen=True)
class JobSettings:
    """All that the rows depend on, whatever is computed: a run goes on only with the same.

    Attributes:
        version: of this package.
        run_folder: of the trained model.
        weights_sha256: of its weights.
        initial_size: pixels, as are the next two; see `Framing`.
        crop_size: side of the part that the network sees.
        final_size: side of the network's input.
        stretch: of FITS cutouts; see `images.rgb`.
        engine: "tf" or "openvino".
        precision: "f32" or "bf16".
        batch_size: galaxies a GPU takes at once.
        n_galaxies: how many galaxies there are.
        fingerprint: of the galaxies and their files.
    """

    version: str
    run_folder: str
    weights_sha256: str
    initial_size: int
    crop_size: int
    final_size: int
    stretch: str
    engine: str
    precision: str
    batch_size: int
    n_galaxies: int
    fingerprint: str

    @property
    def part_size(self) -> int:
        """Galaxies a part."""
        sixteenths = -(-self.n_galaxies // (16 * _PART_UNIT))
        return min(_PART_SIZE, _PART_UNIT * sixteenths)

    @property
    def n_parts(self) -> int:
        """How many parts there are."""
        return -(-self.n_galaxies // self.part_size)


AnySettings = TypeVar("AnySettings", bound=JobSettings)


@dataclass(frozen=True)
class Failure:
    """A galaxy whose image cannot be used, and why."""

    id_str: str
    file_loc: str
    reason: str


@dataclass(frozen=True)
class Job(Generic[AnySettings]):
    """A run: its hidden folder, and its settings."""

    folder: Path
    settings: AnySettings

    def galaxies(self, number: int) -> pd.DataFrame:
        """The galaxies of part `number`, from 0, as `inputs` lists them; the index counts all galaxies."""
        with pq.ParquetFile(self.folder / _GALAXIES_NAME) as file:
            galaxies = file.read_row_group(number).to_pandas()
        galaxies.index += number * self.settings.part_size
        return galaxies

    def missing(self) -> list[int]:
        """The parts still to be computed."""
        return [number for number in range(self.settings.n_parts) if not self._part_loc(number).is_file()]

    def size_of(self, number: int) -> int:
        """How many galaxies a part has."""
        size = self.settings.part_size
        return min(size, self.settings.n_galaxies - number * size)

    def add(self, number: int, rows: pa.Table, failures: Sequence[Failure], mask_hdus: bytes | None = None) -> None:
        """Writes part `number`.

        Args:
            number: the part.
            rows: of the galaxies whose images can be used, in their order.
            failures: the others.
            mask_hdus: the masks of its galaxies as FITS extensions, if they go to one file.

        Raises:
            ValueError: another run has taken the folder, or has finished and removed it.
            OSError: the part cannot be written.
        """
        if _read_settings(self.folder) != _plain(self.settings):
            raise ValueError(
                f"{self.folder} is no longer of this run, whose part {number} is not added: another run for the same "
                "table has begun or finished since; let one run at a time write a table"
            )
        if mask_hdus is not None:
            self._write(self._hdus_loc(number), mask_hdus)
        failed = json.dumps([asdict(failure) for failure in failures])
        content = pa.BufferOutputStream()
        pq.write_table(rows.replace_schema_metadata({"failed": failed}), content)
        self._write(self._part_loc(number), content.getvalue().to_pybytes())

    def pieces(self) -> Iterator[pa.Table]:
        """The rows of all parts in order, some thousand at a time."""
        numbers = range(self.settings.n_parts)
        for first in numbers[::_PARTS_AT_ONCE]:
            parts = (self._read(number) for number in numbers[first : first + _PARTS_AT_ONCE])
            yield pa.concat_tables(part.replace_schema_metadata() for part in parts)

    def failures(self) -> list[Failure]:
        """All galaxies whose images cannot be used, in order."""
        schemas = (pq.read_schema(self._part_loc(number)) for number in range(self.settings.n_parts))
        return [Failure(**failure) for schema in schemas for failure in json.loads(schema.metadata[b"failed"])]

    def mask_hdus(self) -> Iterator[bytes]:
        """The masks of each part as FITS extensions, in order."""
        return (self._hdus_loc(number).read_bytes() for number in range(self.settings.n_parts))

    def remove(self) -> None:
        """Deletes the folder, the settings first: without them it is of no run."""
        (self.folder / _SETTINGS_NAME).unlink()
        shutil.rmtree(self.folder)

    def _read(self, number: int) -> pa.Table:
        with pq.ParquetFile(self._part_loc(number)) as file:
            return file.read()

    def _write(self, path: Path, content: bytes) -> None:
        # On a cluster, a worker given up may still be at the same part.
        write_atomically(path, content, shared=True)

    def _part_loc(self, number: int) -> Path:
        return self.folder / f"part-{number:07d}.parquet"

    def _hdus_loc(self, number: int) -> Path:
        return self.folder / f"part-{number:07d}.fits"


def start_job(folder: Path, settings: AnySettings, galaxies: pd.DataFrame) -> Job[AnySettings]:
    """Makes the folder of a job, or enters that of an interrupted run.

    Args:
        folder: where it is, or is to be.
        settings: of this run.
        galaxies: as `inputs` lists them.

    Raises:
        ValueError: the folder holds an unfinished run with other settings.
    """
    job = Job(folder, settings)
    before, wanted = _read_settings(folder), _plain(settings)
    if before == wanted:
        return job
    if before and any(folder.glob("part-*.parquet")):
        changed = [name for name in wanted | before if wanted.get(name) != before.get(name)]
        raise ValueError(
            f"{folder} holds an unfinished run with other {', '.join(changed)}: "
            "repeat its command to finish it, or delete that folder to start anew"
        )
    if folder.is_dir():  # of a run killed at its very beginning or end: nothing to go on with
        shutil.rmtree(folder)
    folder.mkdir()
    table = pa.Table.from_pandas(galaxies, preserve_index=False)
    pq.write_table(table, folder / _GALAXIES_NAME, row_group_size=settings.part_size)
    write_atomically(folder / _SETTINGS_NAME, json.dumps(wanted, indent=1) + "\n")
    return job


def _read_settings(folder: Path) -> dict[str, Any]:
    """Those of the run that the folder is of; none if it is missing or was cut short while it was made or removed."""
    try:
        return json.loads((folder / _SETTINGS_NAME).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}


def _plain(settings: JobSettings) -> dict[str, Any]:
    """Settings as JSON gives them back."""
    return json.loads(json.dumps(asdict(settings)))
