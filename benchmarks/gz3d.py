"""Catalogue from files of Galaxy Zoo: 3D: files per second on two cores, compared with astropy; memory for more files.

taskset --cpu-list 0,1 python benchmarks/gz3d.py
"""

import argparse
import resource
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from itertools import cycle, islice
from multiprocessing import get_context
from pathlib import Path

from peers import REFERENCE, compare

GOLDEN = REFERENCE / "reference" / "golden" / "gz3d_fits"
WORKERS = 2


def make_folder(folder: Path, n: int) -> Path:
    """Make links to the four reference files in turn, with n names."""
    folder.mkdir()
    files = sorted(GOLDEN.glob("*.fits.gz"))
    for number, path in enumerate(islice(cycle(files), n)):
        (folder / f"gz3d_1-{number}_127_{number}.fits.gz").symlink_to(path)
    return folder


def read_with_astropy(path: Path) -> tuple:
    from astropy.io import fits

    with fits.open(path) as hdus:
        (metadata,) = hdus[5].data
        return (
            metadata["MANGAID"],
            float(metadata["ra"]),
            hdus[3].header["CRVAL1"],
            len(hdus[9].data),
            len(hdus[10].data),
        )


def astropy_rate(folder: Path) -> float:
    """Files per second with astropy, in `WORKERS` processes."""
    paths = sorted(folder.iterdir())
    start = time.perf_counter()
    with ProcessPoolExecutor(WORKERS, mp_context=get_context("spawn")) as pool:
        list(pool.map(read_with_astropy, paths, chunksize=32))
    return len(paths) / (time.perf_counter() - start)


def our_rate(folder: Path) -> float:
    """Files per second with `gz3d_catalog`, in `WORKERS` processes."""
    from zoobot3d_tf.surveys.gz3d import gz3d_catalog

    start = time.perf_counter()
    gz3d_catalog(folder, folder.with_suffix(".parquet"), WORKERS)
    return len(list(folder.iterdir())) / (time.perf_counter() - start)


def peak_megabytes(folder: Path) -> tuple[float, float]:
    """Peak memory of a process that makes the catalogue, and of its largest worker process, in MB."""
    our_rate(folder)
    return tuple(resource.getrusage(who).ru_maxrss / 1024 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=3000, help="Number of files")
    n = parser.parse_args().n
    with tempfile.TemporaryDirectory() as name:
        folder = make_folder(Path(name) / "files", n)
        compare("gz3d catalog", lambda: our_rate(folder), lambda: astropy_rate(folder), aim=2, unit="files")
        for factor in (1, 4):
            larger = make_folder(Path(name) / f"times{factor}", factor * n)
            # A new process, since the peak of a process never decreases.
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                parent, worker = pool.submit(peak_megabytes, larger).result()
            print(f"{factor * n} files: peak {parent:.0f} MB, largest worker process {worker:.0f} MB", flush=True)


if __name__ == "__main__":
    main()
