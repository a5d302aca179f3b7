"""Features: the output of the encoder for each image, averaged over its pixels.

Similar galaxies have similar features, also in properties that volunteers were not asked about.
"""

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Executor
from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from zoobot3d_tf.failures import MAX_FAILED, check_max_failed
from zoobot3d_tf.files import PathLike, check_output, one_owner, partial_path, path_of, sha256_of
from zoobot3d_tf.images.read import ImageError
from zoobot3d_tf.inference.compiled_network import compile_network
from zoobot3d_tf.inference.engine import choose_engine, step_size
from zoobot3d_tf.inference.inputs import fingerprint
from zoobot3d_tf.inference.job import Failure, Job, JobSettings, NetworkSettings, start_job
from zoobot3d_tf.inference.metadata import how_it_was_made
from zoobot3d_tf.inference.options import DEFAULT_BATCH_SIZE, DEFAULT_ENGINE, ENGINES
from zoobot3d_tf.inference.run_job import (
    check_same_weights,
    join_parts,
    keeping_what_is_finished,
    loaded_once,
    named_images,
    run_parts,
    was_finished,
)
from zoobot3d_tf.inference.source_images import frame_images
from zoobot3d_tf.representations.vectors import IDENTITY, SUFFIXES, vector_columns, with_source
from zoobot3d_tf.runs.run_folder import read_run
from zoobot3d_tf.tables.parquet_pieces import write_pieces
from zoobot3d_tf.version import __version__

LEVELS = ("top", "P1", "P2", "P3", "P4", "P5")
"""Layers of the encoder: `top` is the input of the vote head, Pn the map that is 2**n times smaller than the image."""


@dataclass(frozen=True)
class FeatureSettings(JobSettings, NetworkSettings):
    """Settings of a job that computes features.

    Attributes:
        level: layer of the encoder, one of `LEVELS`.
    """

    level: str


@dataclass(frozen=True)
class _FeatureNetwork:
    """The compiled encoder.

    Attributes:
        step: number of images per call.
        n_features: number of features per image.
        function: from images, uint8 (step, H, W, 3), to a list of one array, float32 (step, n_features).
    """

    step: int
    n_features: int
    function: Callable[[np.ndarray], list[np.ndarray]]


def write_features(
    galaxies: pd.DataFrame,
    run_folder: PathLike,
    save_loc: PathLike,
    *,
    level: str = "top",
    batch_size: int = DEFAULT_BATCH_SIZE,
    engine: str = DEFAULT_ENGINE,
    executor: Executor | None = None,
    max_failed: float = MAX_FAILED,
    overwrite: bool = False,
) -> Path:
    """Compute the features of galaxies and write them to a table.

    Images are read and framed, failures are listed and interrupted runs are continued as in `predict_galaxies`.

    Args:
        galaxies: galaxies, as the functions of `inference.inputs` list them.
        run_folder: run folder of the trained model.
        save_loc: table to write, .parquet, with one row per galaxy in the order given and the columns `id_str`,
            `file_loc`, and `feature_0000` and following, float32. The `top` of EfficientNetB0 has 1280 features.
        level: layer of the encoder, one of `LEVELS`; ConvNeXt has no P1.
        batch_size: number of galaxies per step on a GPU; a CPU takes fewer.
        engine: program that runs the network: "tf", "openvino" (extra `[fast]`), or "auto", which takes OpenVINO if it
            is installed and there is no GPU.
        executor: executor that runs the parts of the job, instead of threads of this process. Its workers must see the
            same files.
        max_failed: largest fraction of the galaxies that may fail; see `failures.may_fail`. If more fail, the run
            stops, and keeps its finished parts.
        overwrite: replace a table that is complete, even if it was made with the same settings.

    Returns:
        Path of the table.

    Raises:
        ValueError: an argument is impossible, no image can be used, more galaxies failed than `max_failed` allows, or
            an unfinished run at `save_loc` has other settings or galaxies.
        FileExistsError: there is another table at `save_loc`.
        OSError: a folder or file does not exist or cannot be written, or the disk has a fault. The finished parts are
            kept.
        ImportError: OpenVINO is requested but not installed.
    """
    save_loc = path_of(save_loc).absolute()
    run = read_run(run_folder)
    weights_sha256 = sha256_of(run.weights_loc)
    for name, value, choices in (("level", level, LEVELS), ("engine", engine, ENGINES)):
        if value not in choices:
            raise ValueError(f"{name} must be one of {', '.join(choices)}; received {value!r}")
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1; received {batch_size}")
    check_max_failed(max_failed)
    check_output(save_loc, "table", SUFFIXES)
    if level != "top" and level not in run.model.feature_maps:
        raise ValueError(
            f"level must be one of top, {', '.join(run.model.feature_maps)} for the encoder {run.model.encoder}; "
            f"received {level!r}"
        )

    engine, precision = choose_engine(engine)
    settings = FeatureSettings(
        version=__version__,
        run_folder=str(run.folder),
        weights_sha256=weights_sha256,
        **asdict(run.framing),
        stretch=run.stretch,
        engine=engine,
        precision=precision,
        batch_size=batch_size,
        n_galaxies=len(galaxies),
        fingerprint=fingerprint(galaxies),
        level=level,
    )
    if not overwrite and was_finished(save_loc, settings):
        return save_loc
    with one_owner(partial_path(save_loc)):
        job = start_job(partial_path(save_loc), settings, galaxies)
        if executor is None and job.missing():
            _load(settings)  # an error of the weights is then raised once, not once per thread
        with keeping_what_is_finished(job, save_loc):
            run_parts(job, features_part, executor, save_loc, max_failed)
            metadata = {"table": save_loc.name} | asdict(settings) | how_it_was_made(engine)
            join_parts(job, save_loc, metadata, partial(_write_table, metadata=metadata))
    return save_loc


def _write_table(path: Path, pieces: Iterable[pa.Table], metadata: Mapping[str, Any]) -> None:
    write_pieces(path, with_source(pieces, metadata))


def features_part(job: Job[FeatureSettings], number: int) -> None:
    """Compute the features of one part of a job.

    Args:
        job: job that `write_features` started.
        number: number of the part, from 0.

    Raises:
        ValueError: the weights do not fit the configuration of the run, or have changed since the job was started.
        OSError: the part cannot be written.
    """
    settings = job.settings
    network = _load(settings)
    galaxies = job.galaxies(number)
    images = named_images(galaxies, settings.stretch)
    identity: list[tuple[str, str]] = []
    failures: list[Failure] = []
    vectors = [np.empty((0, network.n_features), np.float32)]
    while batch := list(islice(images, network.step)):
        (features,) = network.function(frame_images([image for _, image in batch], settings.framing, network.step))
        is_usable = [not isinstance(image, ImageError) for _, image in batch]
        vectors.append(features[: len(batch)][is_usable])
        for galaxy, image in batch:
            id_str, file_loc = str(galaxy.id_str), str(galaxy.file_loc)
            if isinstance(image, ImageError):
                failures.append(Failure(id_str, file_loc, str(image)))
            else:
                identity.append((id_str, file_loc))
    columns = {name: pa.array([both[i] for both in identity], pa.string()) for i, name in enumerate(IDENTITY)}
    job.add(number, pa.table(columns | vector_columns("feature", np.concatenate(vectors))), failures)


@loaded_once
def _load(settings: FeatureSettings) -> _FeatureNetwork:
    run = read_run(settings.run_folder)
    check_same_weights(run, settings)
    step = step_size(settings.engine, settings.batch_size)

    def trace() -> Any:
        from zoobot3d_tf.models.traced import trace_features

        return trace_features(run.load_model(), settings.level, step)

    function = {"features": settings.level, "step": step, "image_size": run.model.image_size}
    network = compile_network(run, function, trace, settings.engine, settings.precision)
    return _FeatureNetwork(step, network.output_shapes[0][-1], network.run)
