"""Predict galaxies: votes, labels and masks of each, written to one table.

TensorFlow is imported only when all arguments have been checked.
"""

import logging
from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pandas as pd

from zoobot3d_tf.data.framing import Framing
from zoobot3d_tf.files import PathLike, check_output, one_owner, partial_path, path_of, sha256_of, whole_file
from zoobot3d_tf.inference.engine import choose_engine
from zoobot3d_tf.inference.inputs import fingerprint
from zoobot3d_tf.inference.job import Job, start_job
from zoobot3d_tf.inference.metadata import how_it_was_made, metadata_loc, read_metadata
from zoobot3d_tf.inference.run_job import join_parts, keeping_what_is_finished, run_parts
from zoobot3d_tf.models.config import ModelConfig
from zoobot3d_tf.predictions.mask_files import check_masks_dir, fits_primary
from zoobot3d_tf.predictions.measurements import COLUMNS
from zoobot3d_tf.predictions.options import PredictionOptions
from zoobot3d_tf.predictions.prediction_tables import SUFFIXES, write_table
from zoobot3d_tf.predictions.results import column_names
from zoobot3d_tf.predictions.settings import PredictionSettings
from zoobot3d_tf.runs.run_folder import TrainedRun, read_run
from zoobot3d_tf.version import __version__

_DEFAULTS = PredictionOptions()
_FRAMING = ("initial_size", "crop_size", "final_size", "stretch")

log = logging.getLogger(__name__)


def predict_galaxies(
    galaxies: pd.DataFrame,
    checkpoint_dir: PathLike,
    save_loc: PathLike,
    options: PredictionOptions = _DEFAULTS,
    executor: Executor | None = None,
) -> Path:
    """Predict the votes or the label of galaxies, whichever the model has, and optionally their masks.

    Images are cropped and resized as the validation images of the model were. If an image cannot be used, only that
    galaxy is skipped; it is listed in `<table>_failed.csv` beside the table. If too many fail, or the machine has a
    fault, the run stops. The same call continues an interrupted run. An existing table at `save_loc` is replaced when
    the new one is complete. `<table>_metadata.json` records how the table was made.

    Args:
        galaxies: galaxies, as the functions of `inference.inputs` list them.
        checkpoint_dir: run folder of the trained model, as `read_run` takes it.
        save_loc: table to write, .csv, .parquet or .hdf5, with one row per galaxy in the order given. For its columns
            see `results.column_names` and `measurements.COLUMNS`.
        options: what to predict, how, and which masks to write.
        executor: executor that runs the parts of the job, instead of threads of this process, such as
            `dask.distributed.Client(address).get_executor()`. Its workers must see the same files.

    Returns:
        Path of the table.

    Raises:
        ValueError: the options contradict the run folder, no image can be used, more galaxies failed than
            `max_failed` allows, or an unfinished run at `save_loc` has other settings or galaxies.
        OSError: a folder or file does not exist or cannot be written, or the disk has a fault. The finished parts are
            kept.
        ImportError: OpenVINO is requested but not installed.
    """
    save_loc = path_of(save_loc).absolute()
    masks_dir = None if options.masks_dir is None else path_of(options.masks_dir).absolute()
    masks_file = None if options.masks_file is None else path_of(options.masks_file).absolute()
    run = read_run(checkpoint_dir)
    weights_sha256 = sha256_of(run.weights_loc)
    check_output(save_loc, "table", SUFFIXES)
    _check_metadata(save_loc)
    _check_tasks(run, options)
    if masks_file:
        check_output(masks_file, "file of masks", (".fits",))
    if masks_dir:
        check_masks_dir(masks_dir)
    framing, forced = _choose_framing(run, options)

    from zoobot3d_tf.predictions.predict_part import load, predict_part

    if run.note:
        log.warning("%s: %s", run.folder.name, run.note)
    engine, precision = choose_engine(options.engine)
    settings = PredictionSettings(
        version=__version__,
        run_folder=str(run.folder),
        weights_sha256=weights_sha256,
        **framing,
        engine=engine,
        precision=precision,
        n_samples=options.n_samples,
        n_votes=options.n_votes,
        batch_size=options.batch_size,
        seed=options.seed,
        masks=run.model.masks if options.writes_masks else (),
        masks_dir=None if masks_dir is None else str(masks_dir),
        mask_format=options.mask_format,
        masks_file=None if masks_file is None else str(masks_file),
        overlays=options.overlays,
        n_galaxies=len(galaxies),
        fingerprint=fingerprint(galaxies),
    )
    with one_owner(partial_path(save_loc)):
        job = start_job(partial_path(save_loc), settings, galaxies)
        if executor is None and job.missing():
            load(settings)  # an error of the weights is then raised once, not once per thread
        with keeping_what_is_finished(job, save_loc):
            run_parts(job, predict_part, executor, save_loc, options.max_failed)
            metadata = {"table": save_loc.name, "note": run.note} | _metadata(settings, run.model, forced)
            join_parts(job, save_loc, metadata, write_table, lambda: _join_masks(job))
    return save_loc


def _check_metadata(save_loc: Path) -> None:
    """Refuse to overwrite the metadata of another table, which differs only in its suffix."""
    described = read_metadata(save_loc).get("table", save_loc.name)
    if described != save_loc.name and Path(described).stem == save_loc.stem and save_loc.with_name(described).exists():
        raise ValueError(
            f"{save_loc}: the existing {metadata_loc(save_loc).name} belongs to {described}; "
            "give the new table another name"
        )


def _check_tasks(run: TrainedRun, options: PredictionOptions) -> None:
    """Compare the schema, the masks and the label of the run with what is requested."""
    model = run.model
    if options.schema is not None and options.schema != model.schema:
        raise ValueError(f"{run.folder} was trained with {model.schema!r}, not {options.schema!r}; omit schema")
    if options.writes_masks and not model.masks:
        raise ValueError(f"{run.folder} was trained without masks; omit masks_dir and masks_file")
    if not options.writes_masks and model.tasks == model.masks:
        raise ValueError(f"{run.folder} was trained on masks only; give masks_dir or masks_file to write them")
    others = {*column_names(model.vote_schema, n_samples=1), *(COLUMNS if model.masks else ())}
    if model.label is not None and (taken := others.intersection(model.label.outputs)):
        raise ValueError(
            f"{run.folder} predicts a label in the column {min(taken)}, which tables use for something else; "
            "train with another name of the label"
        )


def _choose_framing(run: TrainedRun, options: PredictionOptions) -> tuple[dict[str, Any], dict[str, Any]]:
    """Sizes and stretch to use, and the forced ones among them, as name -> [trained with, used]."""
    trained = asdict(run.framing) | {"stretch": run.stretch}
    wanted = {name: getattr(options, name) for name in _FRAMING}
    forced = {name: [trained[name], value] for name, value in wanted.items() if value not in (None, trained[name])}
    if forced and not options.force:
        name, (before, now) = next(iter(forced.items()))
        raise ValueError(f"{run.folder} was trained with {name} {before}, not {now}; omit {name}, or set force")
    chosen = trained | {name: now for name, (_, now) in forced.items()}
    framing = Framing(**{name: size for name, size in chosen.items() if name != "stretch"})
    replace(run.model, image_size=framing.final_size)  # raises an error if the network cannot have this size
    return chosen, forced


def _join_masks(job: Job[PredictionSettings]) -> None:
    if job.settings.masks_file is None:
        return
    with whole_file(Path(job.settings.masks_file)) as partial, partial.open("wb") as file:
        file.write(fits_primary())
        file.writelines(job.mask_hdus())


def _metadata(settings: PredictionSettings, model: ModelConfig, forced: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "schema": model.vote_schema and model.vote_schema.to_dict(),
        "label": model.label and model.label.to_dict(),
        **asdict(settings),
        "forced": dict(forced),
        **how_it_was_made(settings.engine),
    }
