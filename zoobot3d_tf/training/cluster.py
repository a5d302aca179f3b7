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
        try:
            content = json.loads(text)
            return len(content["cluster"]["worker"])
        except (ValueError, KeyError, TypeError):
            raise ValueError(
                'TF_CONFIG must be JSON such as {"cluster": {"worker": ["host1:8888", "host2:8888"]}, "task": {"type": '
                f'"worker", "index": 0}}}}; received {text}'
            ) from None
    return int(environment.get("SLURM_STEP_NUM_TASKS", "1"))


def rank_of(environment: Mapping[str, str] = os.environ) -> int:
    """Number of this process among those of `count_processes`, from 0. Only the process 0 writes files."""
    if text := environment.get("TF_CONFIG"):
        return int(json.loads(text).get("task", {}).get("index", 0))
    return int(environment.get("SLURM_PROCID", "0")) if count_processes(environment) > 1 else 0
