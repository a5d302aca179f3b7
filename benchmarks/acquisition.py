"""Scores of a million galaxies with 34 answers and 15 samples: seconds and memory, compared with a loop in NumPy.

    python benchmarks/acquisition.py [--galaxies 1000000] [--folder DIR]

The loop applies the formula of the mutual information to one galaxy and question at a time, as published code does, on
a part of the galaxies; its rate does not depend on their number. Concentrations are random. With --folder, the same
number of galaxies is written to a table of each format in this folder (2 to 6 GB each), and ranked from there.
"""

import argparse
import resource
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pyarrow as pa
from peers import compare

from zoobot3d_tf.active_learning.acquisition import acquire
from zoobot3d_tf.active_learning.ranking import rank_galaxies
from zoobot3d_tf.predictions.prediction_tables import write_table
from zoobot3d_tf.predictions.results import concentration_names
from zoobot3d_tf.schemas import get_schema

SCHEMA = get_schema("decals_dr5_ortho")
N_SAMPLES = 15
N_LOOPED = 2_000
ROWS = 20_000


def concentrations(n_galaxies: int) -> Iterator[np.ndarray]:
    """Random concentrations, piece by piece: a million galaxies would take 2 GB."""
    rng = np.random.default_rng(0)
    for first in range(0, n_galaxies, ROWS):
        shape = (min(ROWS, n_galaxies - first), len(SCHEMA.answers), N_SAMPLES)
        yield 1 + 100 * rng.random(shape, np.float32)


def looped(piece: np.ndarray) -> np.ndarray:
    """Information summed down the tree, one galaxy and question at a time."""
    scores = np.zeros(len(piece))
    for number, galaxy in enumerate(piece.astype(np.float64)):
        fractions = [galaxy[part] / galaxy[part].sum(axis=0) for part in SCHEMA.slices]
        asked = SCHEMA.prob_asked(np.concatenate(fractions).mean(axis=1))
        for p, weight in zip(fractions, asked, strict=True):
            mean = p.mean(axis=1)
            predictive = -(mean * np.log(mean)).sum()
            scores[number] += weight * (predictive + (p * np.log(p)).sum(axis=0).mean())
    return scores


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--galaxies", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path)
    args = parser.parse_args()

    few = next(concentrations(N_LOOPED))
    difference = np.abs(acquire("mutual-information", few, SCHEMA) - looped(few)).max()
    print(f"largest difference from the loop: {difference:.1e} nats")

    def rate_of_loop() -> float:
        start = time.perf_counter()
        looped(few)
        return len(few) / (time.perf_counter() - start)

    def rate_of_ours() -> float:
        wall = cpu = 0.0
        for piece in concentrations(args.galaxies):
            start, cpu_start = time.perf_counter(), time.process_time()
            acquire("mutual-information", piece, SCHEMA)
            wall, cpu = wall + time.perf_counter() - start, cpu + time.process_time() - cpu_start
        print(f"{args.galaxies} galaxies: {wall:.1f} s, {cpu:.1f} s of CPU (aim 60 s), peak {peak_mb():.0f} MB")
        return args.galaxies / wall

    compare("acquisition", rate_of_ours, rate_of_loop, aim=10, unit="galaxies")
    for suffix in (".parquet", ".hdf5", ".csv") if args.folder else ():
        time_table(args.folder / f"predictions{suffix}", args.galaxies)


def time_table(path: Path, n_galaxies: int) -> None:
    names = concentration_names(SCHEMA.label_cols, N_SAMPLES)

    def pieces() -> Iterator[pa.Table]:
        for number, piece in enumerate(concentrations(n_galaxies)):
            columns = dict(zip(names, np.ascontiguousarray(piece.reshape(len(piece), -1).T), strict=True))
            yield pa.table({"id_str": [f"g{ROWS * number + row}" for row in range(len(piece))], **columns})

    write_table(path, pieces())
    # In a new process, whose memory is that of the ranking alone.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        seconds, cpu, megabytes = process.submit(rank, path).result()
    size = f"{path.suffix}, {path.stat().st_size / 1e9:.1f} GB, {n_galaxies} galaxies"
    print(f"{size}: {seconds:.1f} s, {cpu:.1f} s of CPU, peak {megabytes:.0f} MB", flush=True)
    path.unlink()


def rank(path: Path) -> tuple[float, float, float]:
    start, cpu = time.perf_counter(), time.process_time()
    rank_galaxies(path, "mutual-information", 500, schema=SCHEMA)
    return time.perf_counter() - start, time.process_time() - cpu, peak_mb()


if __name__ == "__main__":
    main()
