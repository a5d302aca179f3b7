"""Run a job: compute its missing parts on this machine or on a cluster, and join all parts to a table."""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor, as_completed
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import lru_cache, wraps
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import pyarrow as pa

from zoobot3d_tf.failures import check_failures, may_fail
from zoobot3d_tf.files import failed_loc, partial_path, sha256_of, whole_file
from zoobot3d_tf.images.read import ImageError
from zoobot3d_tf.inference.job import AnySettings, Failure, Job, JobSettings, NetworkSettings, differing, is_begun
from zoobot3d_tf.inference.metadata import read_metadata, write_metadata
from zoobot3d_tf.inference.source_images import read_images
from zoobot3d_tf.machine import available_cores
from zoobot3d_tf.progress import Progress
from zoobot3d_tf.runs.run_folder import TrainedRun
from zoobot3d_tf.tables.columns import id_fault
from zoobot3d_tf.tables.formats import write_failures

_Loaded = TypeVar("_Loaded")

log = logging.getLogger(__name__)


def check_same_weights(run: TrainedRun, settings: NetworkSettings) -> None:
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


def named_images(galaxies: pd.DataFrame, stretch: str) -> Iterator[tuple[Any, np.ndarray | ImageError]]:
    """Read the images of galaxies, if their ids can be used.

    Args:
        galaxies: galaxies, as the functions of `inputs` list them.
        stretch: colour stretch of FITS cutouts; see `images.rgb.to_rgb`.

    Yields:
        Each galaxy as a named tuple, with its image, or the error that says why there is none; see `read_images`.
    """
    for galaxy, image in zip(galaxies.itertuples(), read_images(galaxies, stretch), strict=True):
        fault = id_fault(str(galaxy.id_str))
        yield galaxy, ImageError(f"{galaxy.file_loc}: the id {galaxy.id_str!r} {fault}") if fault else image


def run_parts(
    job: Job[AnySettings],
    run_part: Callable[[Job[AnySettings], int], None],
    executor: Executor | None,
    save_loc: Path,
    max_failed: float,
) -> None:
    """Compute the missing parts of a job, on all cores of this machine or on an executor.

    Args:
        job: the job.
        run_part: function that computes one part and adds it to the job.
        executor: executor whose workers see the same files. None takes threads of this process.
        save_loc: table to write. If too many galaxies fail, the list of failures is written beside it.
        max_failed: largest fraction of the galaxies that may fail; see `failures.may_fail`. If more fail, no more parts
            are computed.

    Raises:
        ChildProcessError: the executor could not compute a part.
        ValueError: too many galaxies failed, or `run_part` raised it.
        OSError: `run_part` raised it.
    """
    _retry_failures(job)
    n_galaxies = job.settings.n_galaxies
    n_failed, allowed = len(job.failures()), may_fail(n_galaxies, max_failed)
    missing = job.missing() if n_failed <= allowed else []
    n_done = n_galaxies - sum(job.size_of(number) for number in job.missing())
    # One thread more than cores, since a thread waits at times, for the disk or for another thread.
    place: AbstractContextManager[Executor] = (
        ThreadPoolExecutor(available_cores() + 1) if executor is None else nullcontext(executor)
    )
    with place as pool, Progress(initial=n_done, total=n_galaxies, unit="galaxy") as bar:
        parts = {pool.submit(run_part, job, number): number for number in missing}
        try:
            for part in as_completed(parts):
                part.result()
                bar.update(job.size_of(parts[part]))
                n_failed += len(job.failures([parts[part]]))
                if n_failed > allowed:
                    break
        except Exception as error:
            if executor is None or isinstance(error, (ValueError, OSError)):
                raise
            raise ChildProcessError(f"the executor could not compute a part: {error}") from error
        finally:
            for part in parts:
                part.cancel()
    if n_failed <= allowed:
        return
    failures = job.failures()
    if len(failures) < n_galaxies:  # if all have failed, `join_parts` says it
        _list_failures(failures, save_loc)
        remedy = (
            f"The finished part of {save_loc} is kept: run the same again with a larger max_failed, or when the images "
            "can be read"
        )
        reasons = [failure.reason for failure in failures]
        check_failures(reasons, n_galaxies, max_failed, failed_loc(save_loc), remedy)


def was_finished(save_loc: Path, settings: JobSettings, others: Sequence[Path] = ()) -> bool:
    """Whether a run with these settings has finished its table before.

    Args:
        save_loc: the table.
        settings: settings of this run.
        others: folders and files that belong to the table. If one is missing, the table is not finished.

    Raises:
        FileExistsError: another table has this name.
    """
    # A run that was to replace the table may have been killed when it had written its metadata, but not the table.
    if not save_loc.exists() or is_begun(partial_path(save_loc), settings):
        return False
    metadata = read_metadata(save_loc)
    if metadata.get("table") != save_loc.name:
        raise FileExistsError(
            f"{save_loc}: already exists, and does not say how it was made; give overwrite=True to replace it, or "
            "another save_loc"
        )
    if changed := differing(metadata, settings):
        raise FileExistsError(
            f"{save_loc}: already exists, made with other {', '.join(changed)}; give overwrite=True to replace it, or "
            "another save_loc"
        )
    if not all(place.exists() for place in others):
        return False
    log.info("%s: was finished before, with the same galaxies and settings; nothing to do", save_loc)
    return True


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
    _list_failures(failures, save_loc)
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
def keeping_what_is_finished(job: Job[Any], save_loc: Path) -> Iterator[None]:
    """Add to errors of the machine that the finished parts are kept, and where."""
    try:
        yield
    except (OSError, MemoryError) as error:
        reason = str(error) or "the memory is full"
        if not job.is_present():
            raise OSError(
                f"{reason}; {job.folder} was removed during the run, and with it the finished part of {save_loc}: "
                "start again, and keep this folder"
            ) from error
        raise OSError(f"{reason}; the finished part of {save_loc} is kept: run the same again to continue") from error


def _retry_failures(job: Job[Any]) -> None:
    """Remove the finished parts with a galaxy whose image could not be read, but can be read now.

    Images may be out of reach for some time, for example because a disk is not mounted.
    """
    for number in job.finished():
        unread = [failure.id_str for failure in job.failures([number]) if not failure.was_read]
        galaxies = job.galaxies(number)
        images = named_images(galaxies[galaxies["id_str"].isin(unread)], job.settings.stretch)
        if any(not isinstance(image, ImageError) for _, image in images):
            job.discard(number)


def _list_failures(failures: Sequence[Failure], save_loc: Path) -> None:
    write_failures(failed_loc(save_loc), [(failure.id_str, failure.file_loc, failure.reason) for failure in failures])
