"""Many galaxies, of which a bad one costs itself alone: it is listed, and the others go on."""

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar, cast

import pandas as pd
from tqdm import tqdm

from zoobot3d_tf.machine import map_in_processes
from zoobot3d_tf.tables.formats import write_table

_CHUNK_SIZE = 32

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

log = logging.getLogger(__name__)


def attempt_all(
    function: Callable[[_Item], _Result], items: Sequence[_Item], workers: int, unit: str
) -> tuple[list[tuple[_Item, _Result]], list[tuple[_Item, str]]]:
    """Apply a function to many items, in several processes; a ValueError costs its item alone.

    Args:
        function: can be pickled, and so can its items and results.
        items: what to apply it to.
        workers: processes; one is this process itself.
        unit: what an item is, for the progress bar.

    Returns:
        Items with results, and items with the words of their errors, both in the order given.

    Raises:
        ChildProcessError: a worker died.
    """
    results, failed = [], []
    attempts = map_in_processes(partial(_attempt, function), items, workers, _CHUNK_SIZE)
    bar = tqdm(attempts, total=len(items), unit=unit, disable=None)
    try:
        for item, (result, reason) in zip(items, bar, strict=True):
            if reason is None:
                results.append((item, cast(_Result, result)))
            else:
                failed.append((item, reason))
    except BrokenExecutor:
        raise ChildProcessError("a worker process died, perhaps for want of memory") from None
    return results, failed


def list_failed(path: Path, failed: list[tuple[str, str, str]], n_tried: int, where: str = "file_loc") -> None:
    """Write which galaxies were left out to a table; remove it if none was.

    Args:
        path: the table.
        failed: id_str, place and reason of each.
        n_tried: galaxies in all.
        where: what the place is, for the table's header.

    Raises:
        ValueError: none is left.
    """
    path.unlink(missing_ok=True)
    if failed:
        write_table(pd.DataFrame(failed, columns=["id_str", where, "reason"]), path)
        log.warning("%d of %d galaxies left out, see %s", len(failed), n_tried, path)
        if len(failed) == n_tried:
            raise ValueError(f"{path}: all {n_tried} galaxies failed; the first: {failed[0][2]}")


def _attempt(function: Callable[[_Item], _Result], item: _Item) -> tuple[_Result | None, str | None]:
    """The result, or the words of the ValueError."""
    try:
        return function(item), None
    except ValueError as error:
        return None, str(error)
