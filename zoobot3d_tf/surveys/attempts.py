"""Functions applied to many items. An item that fails is listed, and the others continue until too many have failed."""

import logging
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TypeVar, cast

import pandas as pd

from zoobot3d_tf.failures import check_failures
from zoobot3d_tf.machine import map_in_processes
from zoobot3d_tf.progress import Progress
from zoobot3d_tf.tables.formats import write_table

_CHUNK_SIZE = 32

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

log = logging.getLogger(__name__)


def attempt_all(
    function: Callable[[_Item], _Result], items: Sequence[_Item], workers: int, unit: str, allowed: int
) -> tuple[list[tuple[_Item, _Result]], list[tuple[_Item, str]]]:
    """Apply a function to each item in several processes. If it raises a ValueError, only that item fails.

    Args:
        function: function of one item. Function, items and results must be picklable.
        items: items to apply the function to.
        workers: number of processes. If 1, the function runs in this process.
        unit: name of an item in the progress bar.
        allowed: number of items that may fail. After one more, the remaining items are not tried.

    Returns:
        Items with their results, and failed items with their error messages, both in the order of the items.

    Raises:
        OSError: the function raised it: a fault of the machine, such as a full disk.
        ChildProcessError: a worker process died.
    """
    results, failed = [], []
    with closing(map_in_processes(partial(_attempt, function), items, workers, _CHUNK_SIZE)) as attempts:
        bar = Progress(attempts, total=len(items), unit=unit)
        for item, (result, reason) in zip(items, bar, strict=True):
            if reason is None:
                results.append((item, cast(_Result, result)))
            else:
                failed.append((item, reason))
            if len(failed) > allowed:
                break
    return results, failed


def list_failed(
    path: Path,
    failed: list[tuple[str, str, str]],
    n_tried: int,
    max_failed: float,
    remedy: str,
    where: str = "file_loc",
) -> None:
    """Write a table of the galaxies that failed. If none failed, remove the table.

    Args:
        path: path of the table.
        failed: `id_str`, location and reason for each galaxy that failed.
        n_tried: number of galaxies, including those that did not fail.
        max_failed: largest fraction of galaxies that may fail; see `failures.may_fail`.
        remedy: how to go on if more galaxies have failed, for the error.
        where: name of the column of locations.

    Raises:
        ValueError: all galaxies failed, or more than `max_failed` allows.
    """
    path.unlink(missing_ok=True)
    if failed:
        write_table(pd.DataFrame(failed, columns=["id_str", where, "reason"]), path)
        if len(failed) == n_tried:
            raise ValueError(f"{path}: all {n_tried} galaxies failed; the first: {failed[0][2]}")
        check_failures([reason for *_, reason in failed], n_tried, max_failed, path, remedy)
        log.warning("%d of %d galaxies failed, see %s", len(failed), n_tried, path)


def _attempt(function: Callable[[_Item], _Result], item: _Item) -> tuple[_Result | None, str | None]:
    """Result or error message, the other one being None."""
    try:
        return function(item), None
    except ValueError as error:
        return None, str(error)
