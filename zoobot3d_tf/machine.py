"""What this machine offers, and work spread over it."""

import os
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def available_cores() -> int:
    """Cores that this process may use: fewer than the machine has where it is pinned."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def map_in_processes(
    function: Callable[[_Item], _Result], items: Sequence[_Item], workers: int, chunk_size: int
) -> Iterator[_Result]:
    """`map` in several processes, in order; one worker is this process itself."""
    if workers == 1:
        yield from map(function, items)
        return
    # Not above: `--help` does not wait for them.
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    # A forked copy of a process that has loaded TensorFlow may hang.
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        yield from pool.map(function, items, chunksize=chunk_size)
