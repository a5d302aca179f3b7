"""A job from its first part to the table: on this machine or on a cluster, and again after an interruption."""

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
    """Refuses weights that have changed since a job began: its parts would be of two networks."""
    weights = run.weights_loc
    if sha256_of(weights) != settings.weights_sha256:
        raise ValueError(
            f"{weights}: is not the file that these predictions began with: let the training end, or put that file "
            "back, and repeat the command"
        )


def loaded_once(load: Callable[[AnySettings], _Loaded]) -> Callable[[AnySettings], _Loaded]:
    """Keeps what was loaded for the parts to come; threads that ask for it at once wait for the first."""
    kept, loading = lru_cache(maxsize=1)(load), Lock()

    @wraps(load)
    def load_once(settings: AnySettings) -> _Loaded:
        with loading:
            return kept(settings)

    return load_once


def run_parts(
    job: Job[AnySettings], run_part: Callable[[Job[AnySettings], int], None], executor: Executor | None
) -> None:
    """Computes what is missing, on all cores of this machine or by the executor.

    Args:
        job: as `start_job` made or found it.
        run_part: computes one part and adds it to the job.
        executor: whose workers see the same files; None takes threads of this process.

    Raises:
        ChildProcessError: the executor gave up.
        ValueError, OSError: as `run_part` raises them.
    """
    missing = job.missing()
    if not missing:
        return
    # A thread more than there are cores: one of them waits for another's result now and then.
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
            raise ChildProcessError(f"the cluster gave up a part: {error}") from error
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
    """Joins the parts to the table and what stands beside it; a table that stood there is replaced whole by whole.

    Args:
        job: all of whose parts are finished; its folder is removed.
        save_loc: the table.
        metadata: what made it.
        write_table: writes the table, piece by piece.
        join_more: writes what else belongs to the table, before it appears.

    Raises:
        ValueError: there is no row.
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
        raise ValueError(f"none of the {len(failures)} galaxies can be used; the first: {failures[0].reason}")
    log.info("%d galaxies done: %s", n_predicted, save_loc)
    if failures:
        log.warning("%d galaxies left out, see %s", len(failures), failed_loc(save_loc))


@contextmanager
def keeping_what_is_finished(save_loc: Path) -> Iterator[None]:
    """Adds to errors of the disk, which Python reports without a place, that the finished parts are kept."""
    try:
        yield
    except OSError as error:
        raise OSError(f"{error}; what is finished is kept beside {save_loc}: repeat the command to go on") from error
