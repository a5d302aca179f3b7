"""Cores of this machine, and worker processes that end with their parent."""

import os
import signal
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.context import SpawnProcess
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def available_cores() -> int:
    """Number of cores that this process may use, which is smaller than that of the machine if the process is pinned."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def end_requested() -> Iterator[Callable[[], bool]]:
    """Let the block end the process in its own time when the system asks for it with SIGTERM, as Slurm does.

    Yields:
        Function that returns whether the signal has come. In another thread than the main one it returns False, and
        the signal ends the process at once, as usual.
    """
    received: list[int] = []
    try:
        before = signal.signal(signal.SIGTERM, lambda number, _: received.append(number))
    except ValueError:  # signals belong to the main thread
        yield lambda: False
        return
    try:
        yield lambda: bool(received)
    finally:
        signal.signal(signal.SIGTERM, before)


def map_in_processes(
    function: Callable[[_Item], _Result], items: Sequence[_Item], workers: int, chunk_size: int
) -> Generator[_Result, None, None]:
    """Apply a function to each item in several processes.

    The processes do not receive Ctrl-C, which the parent handles. If the iteration ends early, or the parent ends, even
    if it is killed, they end at once and leave their items unfinished.

    Args:
        function: function of one item. Other processes must be able to import it.
        items: items to apply the function to.
        workers: number of processes. If 1, the function runs in this process.
        chunk_size: number of items that a process receives at a time.

    Yields:
        The result for each item, in the order of the items.

    Raises:
        ChildProcessError: a process died, for example for lack of memory.
        Exception: the function raised this error.
    """
    if workers == 1:
        yield from map(function, items)
        return
    # Imported here: the command line reads `available_cores`, and `--help` must not wait for this module.
    from multiprocessing.connection import wait

    chunks = [items[start : start + chunk_size] for start in range(0, len(items), chunk_size)]
    todo = enumerate(chunks)
    at_work: dict[Any, int] = {}  # the number of the chunk that each worker has, by the connection to the worker
    results: dict[int, list[_Result]] = {}

    def give_next(connection: Any) -> None:
        if (following := next(todo, None)) is not None:
            at_work[connection], chunk = following
            with _death_noticed():
                connection.send(chunk)

    crew: list[tuple[_Worker, Any]] = [_start_worker(function) for _ in chunks[:workers]]
    try:
        for _, connection in crew:
            give_next(connection)
        for number in range(len(chunks)):
            while number not in results:
                answered: list[Any] = wait(list(at_work))
                for connection in answered:
                    with _death_noticed():
                        received, error, its_traceback = connection.recv()
                    if error is not None:
                        raise error from _RemoteTraceback(its_traceback)
                    results[at_work.pop(connection)] = received
                    give_next(connection)
            yield from results.pop(number)
    finally:
        _end(crew)


def in_own_processes(
    function: Callable[[_Item], _Result], items: Iterator[_Item], workers: int
) -> Generator[tuple[_Item, _Result], None, None]:
    """Apply a function to items, each in a new process, and yield the results as they come.

    The next item is only taken when a process is free, so that it may depend on the results so far. For Ctrl-C, and the
    end of the iteration or of the parent, see `map_in_processes`.

    Args:
        function: function of one item. Other processes must be able to import it.
        items: items to apply the function to.
        workers: number of processes at a time.

    Yields:
        Each item with its result.

    Raises:
        ChildProcessError: a process died, for example for lack of memory.
        Exception: the function raised this error.
    """
    from multiprocessing.connection import wait

    at_work: dict[Any, tuple[_Worker, _Item]] = {}  # by the connection to the worker
    try:
        while True:
            while len(at_work) < workers and (item := next(items, None)) is not None:
                worker, connection = _start_worker(function)
                at_work[connection] = worker, item
                with _death_noticed():
                    connection.send([item])
            if not at_work:
                return
            answered: list[Any] = wait(list(at_work))
            with _death_noticed():
                results, error, its_traceback = answered[0].recv()
            if error is not None:
                raise error from _RemoteTraceback(its_traceback)
            worker, item = at_work.pop(answered[0])
            _end([(worker, answered[0])])
            yield item, results[0]
    finally:
        _end([(worker, connection) for connection, (worker, _) in at_work.items()])


def _end(crew: "Sequence[tuple[_Worker, Any]]") -> None:
    """End workers, whatever they are doing, and the connections to them."""
    for worker, connection in crew:
        worker.kill()
        connection.close()
    for worker, _ in crew:
        worker.join()


class _RemoteTraceback(Exception):
    """The traceback of an error in a worker process, as text: the cause of the same error in this process."""


class _Worker(SpawnProcess):
    """Process that does not receive Ctrl-C, not even while it starts: signals that are blocked here stay so there.

    It is not forked: a forked copy of a process that has loaded TensorFlow may hang.
    """

    def start(self) -> None:
        from multiprocessing.resource_tracker import ensure_running

        ensure_running()  # the start of the first process would do this, and unblock the signal
        blocked_before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            super().start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked_before)


def _start_worker(function: Callable[[_Item], _Result]) -> tuple[_Worker, "Connection"]:
    """Start a process that applies the function to the chunks that it receives; return it, and the connection to it."""
    from multiprocessing import Pipe

    ours, theirs = Pipe()
    # Python itself ends daemons when it exits, in case that a second Ctrl-C interrupts the clean-up.
    worker = _Worker(target=_serve, args=(theirs, function), daemon=True)
    worker.start()
    theirs.close()
    return worker, ours


def _serve(connection: "Connection", function: Callable[[_Item], _Result]) -> None:
    """Answer each chunk of items with the list of results, or with an error, until the parent ends this process."""
    import threading
    import traceback

    threading.Thread(target=_end_with_parent, daemon=True).start()
    with suppress(EOFError, ConnectionError):
        while True:
            chunk = connection.recv()
            try:
                connection.send(([function(item) for item in chunk], None, ""))
            except Exception as error:
                connection.send((None, error, traceback.format_exc()))


def _end_with_parent() -> None:
    from multiprocessing import parent_process

    if (parent := parent_process()) is not None:
        parent.join()
        os._exit(1)


@contextmanager
def _death_noticed() -> Iterator[None]:
    """Turn the end of a connection to a worker into an error that says so."""
    try:
        yield
    except (EOFError, ConnectionError):
        raise ChildProcessError(
            "a worker process died, perhaps because the memory is full: use fewer workers. In a script, worker "
            'processes also need the line `if __name__ == "__main__":` above the call'
        ) from None
