"""The processes that train together, from the variables of their environment."""

import json

import pytest

from zoobot3d_tf.training.cluster import count_processes, rank_of

WORKERS = {"worker": ["a:1", "b:1", "c:1"]}


def config(cluster, **task):
    return {"TF_CONFIG": json.dumps({"cluster": cluster, "task": task})}


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, (1, 0)),
        (config(WORKERS, type="worker", index=2), (3, 2)),
        ({"SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "3"}, (4, 3)),
        ({"SLURM_PROCID": "3"}, (1, 0)),
        ({"SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "3"} | config(WORKERS, type="worker", index=0), (3, 0)),
    ],
)
def test_the_environment_counts_the_processes(environment, expected):
    assert (count_processes(environment), rank_of(environment)) == expected


@pytest.mark.parametrize("function", [count_processes, rank_of])
@pytest.mark.parametrize(
    "environment",
    [
        {"TF_CONFIG": "worker"},
        {"TF_CONFIG": "[]"},
        {"TF_CONFIG": json.dumps({"cluster": WORKERS})},
        {"TF_CONFIG": json.dumps({"cluster": WORKERS, "task": None})},
        config(WORKERS, type="worker", index="first"),
        config(WORKERS, type="worker", index=3),
        config({"chief": ["a:1"], "worker": ["b:1"]}, type="chief", index=0),
        config({"chief": ["a:1"], "worker": ["b:1"]}, type="worker", index=0),
    ],
)
def test_what_is_no_cluster_of_workers_is_refused(function, environment):
    with pytest.raises(ValueError, match=r'^TF_CONFIG must be JSON such as {"cluster": {"worker": .*; received '):
        function(environment)
