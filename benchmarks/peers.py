"""Run this package and other packages (peers) alternately, so that other programs on the machine slow down both.

The environment variable `ZOOBOT3D_REFERENCE` (by default `../shared`) names a folder. Its folder `peers/` holds the
scripts that run the other packages, and `setup.sh`, which installs them.
"""

import json
import os
import statistics
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path

REFERENCE = Path(os.environ.get("ZOOBOT3D_REFERENCE", Path(__file__).resolve().parents[2] / "shared"))
ROUNDS = 3


@cache
def _peer_python() -> str:
    """Path of the Python of the other packages, which are installed first."""
    setup = subprocess.run(["bash", "setup.sh"], cwd=REFERENCE / "peers", capture_output=True, text=True, check=True)
    return setup.stdout.strip()


def peer_command(*arguments: str) -> list[str]:
    """Command line of a command of `peers.py`."""
    return [_peer_python(), str(REFERENCE / "peers" / "peers.py"), *arguments]


def peer(*arguments: str, cores: str | None = None) -> float:
    """Run a command of `peers.py`, only on some cores (such as "0-3") if they are given; return images per second."""
    command = peer_command(*arguments)
    if cores:
        command = ["taskset", "--cpu-list", cores, *command]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(run.stdout.splitlines()[-1])["images_per_s"]


def compare(
    name: str, ours: Callable[[], float], theirs: Callable[[], float], aim: float, unit: str = "images"
) -> None:
    """Run both functions alternately; print the rates and the ratio of each round, and the median ratio."""
    ratios = []
    for number in range(ROUNDS):
        a, b = ours(), theirs()
        ratios.append(a / b)
        print(f"{name}, round {number + 1}: ours {a:.1f} {unit}/s, peer {b:.1f}, ratio {a / b:.2f}", flush=True)
    print(f"{name}: ratio {statistics.median(ratios):.2f} (aim {aim})", flush=True)
