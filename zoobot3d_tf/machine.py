"""Cores of this machine, and pools of processes that end with their parent."""

import os
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from concurrent.futures import ProcessPoolExecutor

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def available_cores() -> int:
    """Number of cores that this process may use, which is smaller than that of the machine if the process is pinned."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def process_pool(workers: int) -> "ProcessPoolExecutor":
    """Make a pool of worker processes.

    The workers ignore Ctrl-C, which the parent handles. They end when the parent ends, even if it is killed.

    Args:
        workers: number of processes.
    """
    # Imported here: the command line reads `available_cores`, and `--help` must not wait for these modules.
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    # A forked copy of a process that has loaded TensorFlow may hang.
    return ProcessPoolExecutor(workers, get_context("spawn"), initializer=_follow_parent)


def map_in_processes(
    function: Callable[[_Item], _Result], items: Sequence[_Item], workers: int, chunk_size: int
) -> Iterator[_Result]:
    """Apply a function to each item in several processes.

    Args:
        function: function of one item. Other processes must be able to import it.
        items: items to apply the function to.
        workers: number of processes. If 1, the function runs in this process.
        chunk_size: number of items that a process receives at a time.

    Yields:
        The result for each item, in the order of the items.
    """
    if workers == 1:
        yield from map(function, items)
        return
    with process_pool(workers) as pool:
        yield from pool.map(function, items, chunksize=chunk_size)


def _follow_parent() -> None:
    """Make a worker ignore Ctrl-C, so that its task can be finished, and end with its parent."""
    import multiprocessing
    import signal
    import threading

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def end_with_parent() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()
