"""Simulated galaxies per second on one core, including the writing of files.

They are compared with the least that a simulation must do: draw noise of the size of a DECaLS image and blur it once.

python benchmarks/simulate.py
"""

import os
import tempfile
import time
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter

from zoobot3d_tf.simulation.survey import simulate_survey

N = 100


def main() -> None:
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        simulate_survey(Path(folder) / "survey", n=N, seed=0)
        ours = N / (time.perf_counter() - start)
    start = time.perf_counter()
    for seed in range(N):
        gaussian_filter(np.random.default_rng(seed).normal(size=(3, 424, 424)), (0, 2, 2))
    least = N / (time.perf_counter() - start)
    print(f"simulate: {ours:.1f} galaxies/s on one core (aim 10); noise and blur {least:.1f}; ratio {ours / least:.2f}")


if __name__ == "__main__":
    main()
