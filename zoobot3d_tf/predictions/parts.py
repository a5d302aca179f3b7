"""How predictions reach the disk: in parts while they are made, as one table at the end."""

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow.csv import CSVWriter

from zoobot3d_tf.files import failed_loc, partial_path, write_atomically
from zoobot3d_tf.predictions.results import column_names, vote_values
from zoobot3d_tf.schemas import Schema

PART_SIZE = 256  # galaxies, some seconds of work: what an interruption may cost
# Parts joined at a time, to a row group of some ten thousand galaxies.
_PARTS_AT_ONCE = 64
_WRITERS = {".csv": CSVWriter, ".parquet": pq.ParquetWriter}
TABLE_SUFFIXES = tuple(_WRITERS)


@dataclass(frozen=True)
class Prediction:
    """A galaxy predicted: concentrations (answers, samples), if the model has votes, and the masks written."""

    id_str: str
    file_loc: str
    concentrations: np.ndarray | None
    mask_locs: Sequence[str]


@dataclass(frozen=True)
class Failure:
    """An image that could not be read, and why."""

    id_str: str
    file_loc: str
    reason: str


class Parts:
    """The rows of a table in the making, in a hidden folder beside it.

    Each part is one file, written atomically, with the failures among its galaxies in its metadata: a part that exists
    is whole, and a run that was killed goes on with those that are missing.
    """

    def __init__(
        self,
        save_loc: Path,
        schema: Schema | None,
        n_samples: int,
        masks: Sequence[str],
        settings: Mapping[str, Any],
    ) -> None:
        """Makes the folder, or enters that of an interrupted run.

        Args:
            save_loc: the table to be, .csv or .parquet.
            schema: the decision tree; None if votes are not predicted.
            n_samples: samples of the concentrations.
            masks: the masks written.
            settings: all that the rows depend on; plain values, fit for JSON.

        Raises:
            ValueError: the folder holds an unfinished run with other settings.
        """
        self.save_loc, self.folder = save_loc, partial_path(save_loc)
        self._schema = schema
        self._columns = pa.schema([(name, _type_of(name)) for name in column_names(schema, n_samples, masks)])
        self._enter(settings)

    def has(self, number: int) -> bool:
        """Whether this part is finished."""
        return self._path(number).is_file()

    def add(self, number: int, outcomes: Sequence[Prediction | Failure]) -> None:
        """Writes part `number`, from 0; rows keep this order, and that of the outcomes."""
        predicted = [outcome for outcome in outcomes if isinstance(outcome, Prediction)]
        failed = [astuple(outcome) for outcome in outcomes if isinstance(outcome, Failure)]
        rows = self._rows(predicted) if predicted else self._columns.empty_table()
        content = pa.BufferOutputStream()
        pq.write_table(rows.replace_schema_metadata({"failed": json.dumps(failed)}), content)
        write_atomically(self._path(number), content.getvalue().to_pybytes())

    def join(self) -> tuple[int, int]:
        """Makes the table of all parts, and beside it the list of failures; then removes the parts.

        A table that stood there before is replaced at the end, whole by whole.

        Returns:
            Number of galaxies in the table, and of those left out.

        Raises:
            ValueError: all were left out; a table that stood there before stays.
        """
        new_table = self.folder / f"table{self.save_loc.suffix}"
        paths = sorted(self.folder.glob("part-*.parquet"))
        failed: list[list[str]] = []
        n_rows = 0
        with _WRITERS[self.save_loc.suffix.lower()](new_table, self._columns) as writer:
            for first in range(0, len(paths), _PARTS_AT_ONCE):
                parts = [_read(path) for path in paths[first : first + _PARTS_AT_ONCE]]
                failed += [failure for part in parts for failure in json.loads(part.schema.metadata[b"failed"])]
                rows = pa.concat_tables(part.replace_schema_metadata() for part in parts)
                writer.write_table(rows)
                n_rows += len(rows)
        _sync(new_table)
        failed_table = pd.DataFrame(failed, columns=["id_str", "file_loc", "reason"])
        write_atomically(failed_loc(self.save_loc), failed_table.to_csv(index=False, lineterminator="\n"))
        if n_rows:
            new_table.replace(self.save_loc)
        shutil.rmtree(self.folder)
        if not n_rows:
            raise ValueError(f"none of the {len(failed)} images can be used; the first: {failed[0][2]}")
        return n_rows, len(failed)

    def _enter(self, settings: Mapping[str, Any]) -> None:
        pinned = self.folder / "settings.json"
        if pinned.is_file() and any(self.folder.glob("part-*")):
            before = json.loads(pinned.read_text(encoding="utf-8"))
            if changed := [name for name in settings if settings[name] != before.get(name)]:
                raise ValueError(
                    f"{self.folder} holds an unfinished run with other {', '.join(changed)}: "
                    "repeat its command to finish it, or delete that folder to start anew"
                )
            return
        if self.folder.is_dir():  # of a run killed at its very beginning or end: nothing to go on with
            shutil.rmtree(self.folder)
        self.folder.mkdir()
        write_atomically(pinned, json.dumps(settings, indent=1))

    def _rows(self, predicted: Sequence[Prediction]) -> pa.Table:
        columns: list[Sequence] = [[p.id_str for p in predicted], [p.file_loc for p in predicted]]
        if self._schema is not None:
            columns += list(vote_values(np.array([p.concentrations for p in predicted]), self._schema).T)
        columns += list(zip(*(p.mask_locs for p in predicted), strict=True))
        return pa.table(dict(zip(self._columns.names, columns, strict=True)), schema=self._columns)

    def _path(self, number: int) -> Path:
        return self.folder / f"part-{number:06d}.parquet"


def _type_of(column: str) -> pa.DataType:
    return pa.string() if column == "id_str" or column.endswith("_loc") else pa.float32()


def _read(path: Path) -> pa.Table:
    with pq.ParquetFile(path) as file:
        return file.read()


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
