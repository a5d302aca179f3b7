"""What this machine offers: cores, and pools of processes that end with their parent."""

import os
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from concurrent.futures import ProcessPoolExecutor

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def available_cores() -> int:
    """Number of cores that this process may use: fewer than the machine has where the process is pinned."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def process_pool(workers: int) -> "ProcessPoolExecutor":
    """A pool of worker processes. They leave Ctrl-C to their parent, and end when the parent does, even if killed."""
    # Not above: `--help` does not wait for them.
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    # A forked copy of a process that has loaded TensorFlow may hang.
    return ProcessPoolExecutor(workers, get_context("spawn"), initializer=_follow_parent)


def map_in_processes(
    function: Callable[[_Item], _Result], items: Sequence[_Item], workers: int, chunk_size: int
) -> Iterator[_Result]:
    """`map` in several processes, in order. With one worker the function runs in this process."""
    if workers == 1:
        yield from map(function, items)
        return
    with process_pool(workers) as pool:
        yield from pool.map(function, items, chunksize=chunk_size)


def _follow_parent() -> None:
    """Let a worker leave Ctrl-C to its parent, so as to finish its task, but end with the parent."""
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
