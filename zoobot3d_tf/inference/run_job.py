"""Run a job: compute its missing parts on this machine or on a cluster, and join all parts to a table."""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor, as_completed
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict
from functools import lru_cache, wraps
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

import pandas as pd
import pyarrow as pa
from tqdm import tqdm

from zoobot3d_tf.files import failed_loc, sha256_of, whole_file, write_atomically
from zoobot3d_tf.inference.job import AnySettings, Job, JobSettings
from zoobot3d_tf.inference.metadata import write_metadata
from zoobot3d_tf.machine import available_cores
from zoobot3d_tf.runs.run_folder import TrainedRun

_Loaded = TypeVar("_Loaded")

log = logging.getLogger(__name__)


def check_same_weights(run: TrainedRun, settings: JobSettings) -> None:
    """Check that the weights have not changed since a job was started.

    Raises:
        ValueError: the file has changed or is missing. The parts would be computed with two networks.
    """
    weights = run.weights_loc
    if sha256_of(weights) != settings.weights_sha256:
        raise ValueError(
            f"{weights}: the weights have changed since this run was started; wait for the training to end, or restore "
            "the file, and run the same again"
        )


def loaded_once(load: Callable[[AnySettings], _Loaded]) -> Callable[[AnySettings], _Loaded]:
    """Wrap a function that loads a network: it loads once per process, however many threads call it."""
    kept, loading = lru_cache(maxsize=1)(load), Lock()

    @wraps(load)
    def load_once(settings: AnySettings) -> _Loaded:
        with loading:
            return kept(settings)

    return load_once


def run_parts(
    job: Job[AnySettings], run_part: Callable[[Job[AnySettings], int], None], executor: Executor | None
) -> None:
    """Compute the missing parts of a job, on all cores of this machine or on an executor.

    Args:
        job: the job.
        run_part: function that computes one part and adds it to the job.
        executor: executor whose workers see the same files. None takes threads of this process.

    Raises:
        ChildProcessError: the executor could not compute a part.
        ValueError: `run_part` raised it.
        OSError: `run_part` raised it.
    """
    missing = job.missing()
    if not missing:
        return
    # One thread more than cores, since a thread waits at times, for the disk or for another thread.
    place: AbstractContextManager[Executor] = (
        ThreadPoolExecutor(available_cores() + 1) if executor is None else nullcontext(executor)
    )
    n_galaxies = job.settings.n_galaxies
    n_done = n_galaxies - sum(job.size_of(number) for number in missing)
    with place as pool, tqdm(initial=n_done, total=n_galaxies, unit="galaxy", disable=None) as bar:
        parts = {pool.submit(run_part, job, number): number for number in missing}
        try:
            for part in as_completed(parts):
                part.result()
                bar.update(job.size_of(parts[part]))
        except Exception as error:
            if executor is None or isinstance(error, (ValueError, OSError)):
                raise
            raise ChildProcessError(f"the executor could not compute a part: {error}") from error
        finally:
            for part in parts:
                part.cancel()


def join_parts(
    job: Job[AnySettings],
    save_loc: Path,
    metadata: Mapping[str, Any],
    write_table: Callable[[Path, Iterable[pa.Table]], None],
    join_more: Callable[[], None] = lambda: None,
) -> None:
    """Join the parts of a job to its table, write the list of failures and the metadata, and remove the job.

    An existing table is replaced in one step, when the new one is complete.

    Args:
        job: job whose parts are all finished.
        save_loc: table to write.
        metadata: metadata of the table.
        write_table: function that writes pieces of a table, with at least one piece, to a path.
        join_more: function that writes other files that belong to the table, before the table appears.

    Raises:
        ValueError: the images of all galaxies have failed.
        OSError: a file cannot be written.
    """
    failures = job.failures()
    failed_table = pd.DataFrame([asdict(failure) for failure in failures], columns=["id_str", "file_loc", "reason"])
    write_atomically(failed_loc(save_loc), failed_table.to_csv(index=False, lineterminator="\n"))
    n_predicted = job.settings.n_galaxies - len(failures)
    if n_predicted:
        with whole_file(job.folder / f"table{save_loc.suffix}") as new_table:
            write_table(new_table, job.pieces())
        join_more()
        write_metadata(save_loc, metadata)
        (job.folder / f"table{save_loc.suffix}").replace(save_loc)
    job.remove()
    if not n_predicted:
        raise ValueError(f"none of the {len(failures)} images can be used; the first error: {failures[0].reason}")
    log.info("%d galaxies written to %s", n_predicted, save_loc)
    if failures:
        log.warning("%d galaxies skipped, see %s", len(failures), failed_loc(save_loc))


@contextmanager
def keeping_what_is_finished(save_loc: Path) -> Iterator[None]:
    """Add to errors of the disk that the finished parts are kept, and where."""
    try:
        yield
    except OSError as error:
        raise OSError(f"{error}; the finished part of {save_loc} is kept: run the same again to continue") from error
