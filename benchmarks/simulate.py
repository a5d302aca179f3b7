"""Simulated galaxies a second on one core, files included, beside a bare DECaLS-size render: noise and one blur.

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
    bare = N / (time.perf_counter() - start)
    print(
        f"simulate: {ours:.1f} galaxies/s on one core (aim 10); bare noise and blur {bare:.1f}; ratio {ours / bare:.2f}"
    )


if __name__ == "__main__":
    main()
