"""Cross-match of 30,000 positions with millions: seconds and memory, compared with Astropy on the same positions.

    python benchmarks/crossmatch.py
    python benchmarks/crossmatch.py --huge

The first command matches tables in memory, with right tables of increasing size. The second command matches tables on
disk of up to 100 million rows (7 GB in the temporary folder), unsorted and sorted by position. Each measurement runs in
a separate process. Its memory includes the tables and 0.25 GB of imports.
"""

import argparse
import multiprocessing
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from peers import ROUNDS

from zoobot3d_tf.catalogs.crossmatch import match, match_files
from zoobot3d_tf.catalogs.sky_cells import partition
from zoobot3d_tf.tables.formats import write_table

N_LEFT = 30_000
SIZES = (1_000_000, 2_000_000, 4_000_000, 8_700_000)
HUGE_SIZES = (25_000_000, 50_000_000, 100_000_000)
FILE_ROWS = 2_500_000


def sky(n: int, seed: int = 0) -> pd.DataFrame:
    """Make a table of galaxies spread evenly over the sky."""
    rng = np.random.default_rng(seed)
    dec = np.degrees(np.arcsin(rng.uniform(-1, 1, n)))
    return pd.DataFrame({"ra": rng.uniform(0, 360, n), "dec": dec, "objid": rng.integers(2**60, size=n)})


def measured_again(galaxies: pd.DataFrame) -> pd.DataFrame:
    """Select galaxies, and shift them by about one arcsec, like positions in another survey."""
    galaxies = galaxies.sample(min(N_LEFT, len(galaxies)), random_state=0)
    off = np.random.default_rng(1).normal(0, 1 / 3600, len(galaxies))
    return pd.DataFrame({"ra": galaxies["ra"], "dec": np.clip(galaxies["dec"] + off, -90, 90)})


def with_astropy(n: int) -> tuple[int, float]:
    """Match with only Astropy; return the number of matches and the seconds."""
    from astropy.coordinates import SkyCoord

    right = sky(n)
    left = measured_again(right)
    start = time.perf_counter()
    left_sky, right_sky = (SkyCoord(table["ra"], table["dec"], unit="deg") for table in (left, right))
    separation = left_sky.match_to_catalog_sky(right_sky)[1]
    return int((separation.arcsec < 3).sum()), time.perf_counter() - start


def in_memory(n: int) -> tuple[int, float]:
    """Match two tables in memory; return the number of matches and the seconds."""
    right = sky(n)
    left = measured_again(right)
    start = time.perf_counter()
    return len(match(left, right)), time.perf_counter() - start


def sort(table: Path, out: Path) -> tuple[int, float]:
    """Sort a table by position; return the number of files and the seconds."""
    start = time.perf_counter()
    partition(table, out)
    return len(list(out.rglob("*.parquet"))), time.perf_counter() - start


def on_disk(left: Path, right: Path, out: Path) -> tuple[int, float]:
    """Match two tables on disk; return the number of matches and the seconds."""
    start = time.perf_counter()
    match_files(left, right, out)
    return pq.read_metadata(out).num_rows, time.perf_counter() - start


def measure(function: Callable[..., tuple[int, float]], *arguments: object) -> tuple[int, float, float]:
    """Call a function in a separate process; return its count, its seconds and its peak memory in GB."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        count, seconds = process.submit(function, *arguments).result()
        return count, seconds, process.submit(peak_memory).result()


def peak_memory() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2


def compare_in_memory() -> None:
    for n in SIZES:
        ratios = []
        for number in range(ROUNDS):
            matches, seconds, memory = measure(in_memory, n)
            theirs, their_seconds, their_memory = measure(with_astropy, n)
            ratios.append(seconds / their_seconds)
            print(
                f"{n:,} rows, round {number + 1}: ours {seconds:.1f} s, {memory:.2f} GB, {matches:,} matches; "
                f"Astropy {their_seconds:.1f} s, {their_memory:.2f} GB, {theirs:,} matches",
                flush=True,
            )
        print(f"{n:,} rows: {statistics.median(ratios):.2f} times the time of Astropy (aim: 15 s and 2 GB)", flush=True)


def grow_on_disk() -> None:
    for n in HUGE_SIZES:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            for number in range(n // FILE_ROWS):
                write_table(sky(FILE_ROWS, number), folder / "table" / f"{number:03d}.parquet")
            galaxies = sky(FILE_ROWS)
            field = galaxies[(galaxies["ra"] < 10) & (galaxies["dec"].abs() < 5)]
            everywhere = write_table(measured_again(galaxies), folder / "everywhere.parquet")
            one_field = write_table(measured_again(field), folder / "field.parquet")
            files, seconds, memory = measure(sort, folder / "table", folder / "cells")
            print(f"{n:,} rows sorted into {files:,} files: {seconds:.0f} s, {memory:.2f} GB", flush=True)
            for name, left, right in (
                ("the whole sky, unsorted", everywhere, "table"),
                ("the whole sky, sorted", everywhere, "cells"),
                ("one field, sorted", one_field, "cells"),
            ):
                matches, seconds, memory = measure(on_disk, left, folder / right, folder / "joined.parquet")
                print(f"{n:,} rows, {name}: {seconds:.1f} s, {memory:.2f} GB, {matches:,} matches", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--huge", action="store_true", help="Match tables on disk, up to 100 million rows")
    if parser.parse_args().huge:
        grow_on_disk()
    else:
        compare_in_memory()


if __name__ == "__main__":
    main()
