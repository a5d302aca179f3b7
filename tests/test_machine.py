"""Worker processes: order of results, and their end when the parent is interrupted or killed."""

import operator
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress

import pytest

from zoobot3d_tf.machine import available_cores, in_own_processes, map_in_processes

# Each worker says that it has begun, and would then run for longer than the test waits. Eight more items wait.
PROGRAM = """
import os
import sys
import time
from zoobot3d_tf.machine import map_in_processes

def work(item):
    os.write(1, f"{os.getpid()}\\n".encode())
    time.sleep(120)

if __name__ == "__main__":
    os.write(1, b"parent\\n")
    try:
        list(map_in_processes(work, range(10), workers=2, chunk_size=1))
    except KeyboardInterrupt:
        sys.exit(130)
"""


def process_id(_: int) -> int:
    return os.getpid()


def interrupt_this_process(item: int) -> int:
    os.kill(os.getpid(), signal.SIGINT)
    return item


def end_this_process(_: int) -> None:
    os._exit(1)


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_the_order_of_the_items(workers):
    items = list(range(50, 0, -1))
    assert list(map_in_processes(operator.neg, items, workers, chunk_size=3)) == [-item for item in items]


def test_one_worker_is_this_process_and_several_are_others():
    assert set(map_in_processes(process_id, range(3), 1, chunk_size=1)) == {os.getpid()}
    others = set(map_in_processes(process_id, range(20), 2, chunk_size=1))
    assert os.getpid() not in others
    assert len(others) <= 2


def test_workers_ignore_an_interrupt():
    assert list(map_in_processes(interrupt_this_process, [7, 8], workers=2, chunk_size=1)) == [7, 8]


def test_an_error_in_a_worker_reaches_the_caller():
    with pytest.raises(ValueError, match="invalid literal") as caught:
        list(map_in_processes(int, ["1", "one"], workers=2, chunk_size=1))
    assert "in _serve" in str(caught.value.__cause__)


def test_the_death_of_a_worker_is_noticed():
    with pytest.raises(ChildProcessError, match="a worker process died"):
        list(map_in_processes(end_this_process, range(4), workers=2, chunk_size=1))


def test_workers_end_with_an_iteration_that_is_left():
    others = map_in_processes(process_id, range(20), 2, chunk_size=1)
    worker = next(others)
    os.kill(worker, 0)
    others.close()
    with pytest.raises(ProcessLookupError):
        os.kill(worker, 0)


@contextmanager
def running_program(folder):
    """Run `PROGRAM` in a process group of its own, which is killed in the end."""
    (folder / "program.py").write_text(PROGRAM)
    command = [sys.executable, str(folder / "program.py")]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen(command, **pipes, start_new_session=True)
    try:
        assert process.stdout.readline() == b"parent\n"
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_workers_end_when_their_parent_is_killed(tmp_path, how):
    with running_program(tmp_path) as process:
        assert len({int(process.stdout.readline()) for _ in range(2)}) == 2
        process.send_signal(how)
        # The workers hold the other end of this pipe: it is closed when the last of them has ended.
        process.communicate(timeout=20)
        assert process.returncode == -how


@pytest.mark.parametrize("workers_have_begun", [False, True])
@pytest.mark.parametrize("times", [1, 2])
def test_an_interrupt_of_all_processes_ends_them(tmp_path, workers_have_begun, times):
    with running_program(tmp_path) as process:
        if workers_have_begun:
            assert len({int(process.stdout.readline()) for _ in range(2)}) == 2
        for _ in range(times):
            time.sleep(0.1)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=20)
        # The second interrupt may come when Python is about to exit.
        assert process.returncode in (130, -signal.SIGINT)
        assert errors == b""


def test_cores_are_those_that_the_process_may_use():
    command = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
    command += "from zoobot3d_tf.machine import available_cores; print(available_cores())"
    if hasattr(os, "sched_getaffinity"):
        run = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True)
        assert run.stdout == "1\n"
    assert available_cores() >= 1


def test_the_next_item_may_depend_on_the_results_so_far():
    results = []

    def items():
        while sum(results) < 10:
            yield 3 + len(results)

    for item, result in in_own_processes(float, items(), 1):
        assert result == item
        results.append(result)
    assert results == [3, 4, 5]


def test_results_come_as_they_are_finished_and_errors_are_raised():
    numbers = [result for _, result in in_own_processes(float, iter(["1", "2", "3"]), 2)]
    assert sorted(numbers) == [1, 2, 3]
    with pytest.raises(ValueError, match="could not convert"):
        list(in_own_processes(float, iter(["1", "x"]), 2))
