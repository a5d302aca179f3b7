"""The processes that train together, as their environment variables say. The module does not import TensorFlow."""

import json
import os
from collections.abc import Mapping


def count_processes(environment: Mapping[str, str] = os.environ) -> int:
    """Number of processes that train together: those of `TF_CONFIG`, or of the job step of Slurm; 1 if there is none.

    Args:
        environment: environment variables.

    Raises:
        ValueError: `TF_CONFIG` is not that of a cluster of workers.
    """
    if text := environment.get("TF_CONFIG"):
        return _read_tf_config(text)[0]
    return int(environment.get("SLURM_STEP_NUM_TASKS", "1"))


def rank_of(environment: Mapping[str, str] = os.environ) -> int:
    """Number of this process among those of `count_processes`, from 0. Only the process 0 writes files.

    Args:
        environment: environment variables.

    Raises:
        ValueError: as `count_processes`.
    """
    if text := environment.get("TF_CONFIG"):
        return _read_tf_config(text)[1]
    return int(environment.get("SLURM_PROCID", "0")) if count_processes(environment) > 1 else 0


def _read_tf_config(text: str) -> tuple[int, int]:
    """Number of workers, and number of this one."""
    try:
        content = json.loads(text)
        cluster, task = content["cluster"], content["task"]
        n_workers, index = len(cluster["worker"]), int(task["index"])
        # With another kind of process, such as a chief, two processes would have the number 0, and both would write.
        if set(cluster) == {task["type"]} == {"worker"} and index in range(n_workers):
            return n_workers, index
    except (ValueError, KeyError, TypeError):
        pass
    raise ValueError(
        'TF_CONFIG must be JSON such as {"cluster": {"worker": ["host1:8888", "host2:8888"]}, "task": {"type": '
        f'"worker", "index": 0}}}}; received {text}'
    )
