"""Worker processes: order of results, Ctrl-C, and the end of workers whose parent is killed."""

import operator
import os
import signal
import subprocess
import sys
from contextlib import suppress

import pytest

from zoobot3d_tf.machine import available_cores, map_in_processes, process_pool

# Each worker says that it has begun, and would then run for longer than the test waits.
PROGRAM = """
import os
import time
from zoobot3d_tf.machine import map_in_processes

def work(item):
    os.write(1, f"{os.getpid()}\\n".encode())
    time.sleep(120)

if __name__ == "__main__":
    list(map_in_processes(work, [1, 2], workers=2, chunk_size=1))
"""


def process_id(_: int) -> int:
    return os.getpid()


def interrupt_this_process(item: int) -> int:
    os.kill(os.getpid(), signal.SIGINT)
    return item


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
    with process_pool(1) as pool:
        assert pool.submit(interrupt_this_process, 7).result(timeout=60) == 7


def test_an_error_in_a_worker_reaches_the_caller():
    with pytest.raises(ValueError, match="invalid literal"):
        list(map_in_processes(int, ["1", "one"], workers=2, chunk_size=1))


def test_workers_end_when_their_parent_is_killed(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    workers = []
    process = subprocess.Popen([sys.executable, str(program)], stdout=subprocess.PIPE)
    try:
        workers = [int(process.stdout.readline()) for _ in range(2)]
        assert len(set(workers)) == 2
        process.kill()
        # The workers hold the other end of this pipe: it is closed when the last of them has ended.
        process.communicate(timeout=20)
    finally:
        process.kill()
        process.stdout.close()
        for worker in workers:
            with suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)


def test_cores_are_those_that_the_process_may_use():
    command = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
    command += "from zoobot3d_tf.machine import available_cores; print(available_cores())"
    if hasattr(os, "sched_getaffinity"):
        run = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True)
        assert run.stdout == "1\n"
    assert available_cores() >= 1
