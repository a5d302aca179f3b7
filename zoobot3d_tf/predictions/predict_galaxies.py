"""Predict galaxies: votes, labels and masks of each, written to one table."""

import logging
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import asdict, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from zoobot3d_tf.data.framing import Framing
from zoobot3d_tf.extras import require
from zoobot3d_tf.files import PathLike, check_output, one_owner, partial_path, path_of, sha256_of, whole_file
from zoobot3d_tf.inference.engine import choose_engine
from zoobot3d_tf.inference.inputs import fingerprint, kept_columns
from zoobot3d_tf.inference.job import Job, start_job
from zoobot3d_tf.inference.metadata import how_it_was_made, metadata_loc, read_metadata
from zoobot3d_tf.inference.run_job import join_parts, keeping_what_is_finished, run_parts, was_finished
from zoobot3d_tf.models.config import ModelConfig
from zoobot3d_tf.predictions.mask_files import check_masks_dir, fits_primary
from zoobot3d_tf.predictions.options import PredictionOptions
from zoobot3d_tf.predictions.predict_part import load, mask_origin, predict_part
from zoobot3d_tf.predictions.prediction_tables import HDF5_SUFFIXES, MAX_FITS_COLUMNS, SUFFIXES, write_table
from zoobot3d_tf.predictions.regions import write_regions
from zoobot3d_tf.predictions.results import column_names, plain_name
from zoobot3d_tf.predictions.settings import PredictionSettings, RunSettings
from zoobot3d_tf.runs.calibration import Calibration, read_calibration
from zoobot3d_tf.runs.run_folder import TrainedRun, read_run
from zoobot3d_tf.version import __version__

_DEFAULTS = PredictionOptions()
_SIZES = tuple(field.name for field in fields(Framing))

log = logging.getLogger(__name__)


def predict_galaxies(
    galaxies: pd.DataFrame,
    checkpoint_dir: PathLike | Sequence[PathLike],
    save_loc: PathLike,
    options: PredictionOptions = _DEFAULTS,
    executor: Executor | None = None,
) -> Path:
    """Predict the votes or the label of galaxies, whichever the model has, and optionally their masks.

    Images are cropped and resized as the validation images of the model were. If an image cannot be used, only that
    galaxy is skipped; it is listed in `<table>_failed.csv` beside the table. If too many fail, or the machine has a
    fault, the run stops. The same call continues an interrupted run, and does nothing if the table is complete. Another
    table at `save_loc` is replaced only with `options.overwrite`, when the new one is complete. `<table>_metadata.json`
    records how the table was made.

    Several runs are predicted together: the samples of the first run, then those of the second, and so on. As all
    samples, they form a mixture of Dirichlet distributions with equal weights (a deep ensemble; Lakshminarayanan et al.
    2017, arXiv 1612.01474). Labels and masks are means. The calibration of each run is applied to its own outputs.

    Args:
        galaxies: galaxies, as the functions of `inference.inputs` list them.
        checkpoint_dir: run folder of the trained model, as `read_run` takes it; or several run folders, of runs with
            the same decision tree and the same tasks.
        save_loc: table to write, with one row per galaxy in the order given. Its suffix, one of
            `prediction_tables.SUFFIXES`, gives the format. For its columns see `results.column_names`.
        options: what to predict, how, and which masks to write.
        executor: executor that runs the parts of the job, instead of threads of this process, such as
            `dask.distributed.Client(address).get_executor()`. Its workers must see the same files.

    Returns:
        Path of the table.

    Raises:
        ValueError: the options contradict the run folder, the runs cannot be predicted together, a calibration cannot
            be used, no image can be used, more galaxies failed than `max_failed` allows, or an unfinished run at
            `save_loc` has other settings or galaxies.
        FileExistsError: there is another table at `save_loc`.
        OSError: a folder or file does not exist or cannot be written, or the disk has a fault. The finished parts are
            kept.
        ImportError: OpenVINO is requested but not installed, or `regions` is.
    """
    save_loc = path_of(save_loc).absolute()
    masks_dir = None if options.masks_dir is None else path_of(options.masks_dir).absolute()
    masks_file = None if options.masks_file is None else path_of(options.masks_file).absolute()
    regions = None if options.regions is None else path_of(options.regions).absolute()
    runs = _read_runs(checkpoint_dir)
    hashes = _hash_weights(runs)
    check_output(save_loc, "table", SUFFIXES)
    _check_metadata(save_loc)
    _check_alike(runs)
    for run in runs:
        _check_tasks(run, options)
    has_samples = options.samples or save_loc.suffix.lower() in HDF5_SUFFIXES
    n_written = options.n_samples * len(runs) if has_samples else 0
    _check_names(galaxies, runs[0].model, options, save_loc, n_written)
    if regions:
        require("regions", "regions of DS9")
        check_output(regions, "file of regions", (".reg",))
    if masks_file:
        check_output(masks_file, "file of masks", (".fits",))
    if masks_dir:
        check_masks_dir(masks_dir)
    chosen = [_choose_framing(run, options) for run in runs]
    stretch = _one_stretch(runs, [framing.pop("stretch") for framing, _ in chosen])
    calibrations = [None if options.no_calibration else read_calibration(run) for run in runs]

    engine, precision = choose_engine(options.engine)
    settings = PredictionSettings(
        version=__version__,
        stretch=stretch,
        engine=engine,
        precision=precision,
        batch_size=options.batch_size,
        n_galaxies=len(galaxies),
        fingerprint=fingerprint(galaxies),
        runs=tuple(
            RunSettings(str(run.folder), sha256, **framing, n_samples=options.n_samples, calibration=calibration)
            for run, sha256, (framing, _), calibration in zip(runs, hashes, chosen, calibrations, strict=True)
        ),
        samples=has_samples,
        names=options.names,
        n_votes=options.n_votes,
        seed=options.seed,
        masks=runs[0].model.masks if options.writes_masks else (),
        masks_dir=None if masks_dir is None else str(masks_dir),
        mask_format=options.mask_format,
        masks_file=None if masks_file is None else str(masks_file),
        overlays=options.overlays,
    )
    others = (masks_dir, masks_file, regions)
    if not options.overwrite and was_finished(save_loc, settings, [place for place in others if place]):
        return save_loc
    notes = [f"{run.folder.name}: {run.note}" for run in runs if run.note]
    for warning in notes + doubts_about(calibrations, runs, options.n_samples):
        log.warning(warning)
    with one_owner(partial_path(save_loc)):
        job = start_job(partial_path(save_loc), settings, galaxies)
        if executor is None and job.missing():
            load(settings)  # an error of the weights is then raised once, not once per thread
        with keeping_what_is_finished(job, save_loc):
            run_parts(job, predict_part, executor, save_loc, options.max_failed)
            note = "; ".join(run.note for run in runs if run.note) or None
            forced = [changed for _, changed in chosen]
            metadata = {"table": save_loc.name, "note": note} | _metadata(settings, runs[0].model, forced)
            units = galaxies.attrs.get("units", {})
            if options.names == "plain":
                units = {plain_name(name): unit for name, unit in units.items()}
            write = partial(write_table, units=units, header=_header(metadata))
            join_parts(job, save_loc, metadata, write, lambda: _join_files(job, regions))
    return save_loc


def _read_runs(checkpoint_dir: PathLike | Sequence[PathLike]) -> list[TrainedRun]:
    if isinstance(checkpoint_dir, str | os.PathLike):
        return [read_run(checkpoint_dir)]
    if not checkpoint_dir:
        raise ValueError("checkpoint_dir must be a run folder or several run folders; received an empty list")
    if len(checkpoint_dir) == 1:
        log.warning("%s is the only run: the predictions are those of this run alone", checkpoint_dir[0])
    return [read_run(folder) for folder in checkpoint_dir]


def _hash_weights(runs: Sequence[TrainedRun]) -> list[str]:
    """SHA-256 of the weights of each run. Raise a ValueError if two are equal, which would count one network twice."""
    found: dict[str, TrainedRun] = {}
    for run in runs:
        sha256 = sha256_of(run.weights_loc)
        if (other := found.setdefault(sha256, run)) is not run:
            raise ValueError(f"{other.folder} and {run.folder} have the same weights; give each run once")
    return list(found)


def _check_alike(runs: Sequence[TrainedRun]) -> None:
    """Check that runs predict the same quantities, so that their predictions can be joined."""
    first = runs[0]
    for run in runs[1:]:
        both = f"{first.folder} and {run.folder} cannot be predicted together: they were trained"
        if set(run.model.tasks) != set(first.model.tasks):
            tasks = (", ".join(each.model.tasks) for each in (first, run))
            raise ValueError(f"{both} on other tasks ({' and on '.join(tasks)})")
        if run.model.vote_schema != first.model.vote_schema:
            raise ValueError(f"{both} with other decision trees ({first.model.schema!r} and {run.model.schema!r})")
        if first.model.label is not None and not first.model.label.same_as(run.model.label):
            raise ValueError(f"{both} on other labels ({first.model.label!r} and {run.model.label!r})")


def _one_stretch(runs: Sequence[TrainedRun], stretches: Sequence[str]) -> str:
    """Stretch of FITS cutouts of all runs, which see one image."""
    if len(set(stretches)) > 1:
        named = ", ".join(f"{run.folder}: {stretch}" for run, stretch in zip(runs, stretches, strict=True))
        raise ValueError(f"the runs were trained with other values of stretch ({named}); give stretch, and set force")
    return stretches[0]


def doubts_about(calibrations: Sequence[Calibration | None], runs: Sequence[TrainedRun], n_samples: int) -> list[str]:
    """Warnings about calibrations that are missing for some of the runs, or fitted to another number of samples."""
    pairs = list(zip(runs, calibrations, strict=True))
    without = [str(run.folder) for run, calibration in pairs if calibration is None]
    doubts = [f"not calibrated, unlike the other runs: {', '.join(without)}"] if 0 < len(without) < len(runs) else []
    return doubts + [
        f"{run.folder}: the calibration was fitted with {calibration.n_samples} dropout samples, not {n_samples}; the "
        "intervals may be too wide or too narrow"
        for run, calibration in pairs
        if calibration is not None and calibration.n_samples != n_samples
    ]


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
    check_label_columns(run)


def check_label_columns(run: TrainedRun) -> None:
    """Check that the label of a run does not take the name of another column.

    Raises:
        ValueError: it does.
    """
    model = run.model
    others = set(column_names(model.vote_schema, n_samples=1, masks=model.masks))
    if model.label is not None and (taken := others.intersection(model.label.outputs)):
        raise ValueError(
            f"{run.folder} predicts a label in the column {min(taken)}, which tables use for something else; "
            "train with another name of the label"
        )


def _choose_framing(run: TrainedRun, options: PredictionOptions) -> tuple[dict[str, Any], dict[str, Any]]:
    """Sizes and stretch to use, and the forced ones among them, as name -> [trained with, used]."""
    trained = asdict(run.framing) | {"stretch": run.stretch}
    wanted = {name: getattr(options, name) for name in (*_SIZES, "stretch")}
    forced = {name: [trained[name], value] for name, value in wanted.items() if value not in (None, trained[name])}
    if forced and not options.force:
        name, (before, now) = next(iter(forced.items()))
        raise ValueError(f"{run.folder} was trained with {name} {before}, not {now}; omit {name}, or set force")
    chosen = trained | {name: now for name, (_, now) in forced.items()}
    framing = Framing(**{name: chosen[name] for name in _SIZES})
    replace(run.model, image_size=framing.final_size)  # raises an error if the network cannot have this size
    return chosen, forced


def _check_names(
    galaxies: pd.DataFrame, model: ModelConfig, options: PredictionOptions, save_loc: Path, n_samples: int
) -> None:
    """Check that no two columns of the table get the same name, and that its format can hold so many."""
    masks = model.masks if options.writes_masks else ()
    names = column_names(model.vote_schema, n_samples, masks, model.label, kept_columns(galaxies))
    if options.names == "plain":
        names = [plain_name(name) for name in names]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"two columns of the table would have the name {repeated[0]}; leave it out of keep")
    if save_loc.suffix.lower() == ".fits" and len(names) > MAX_FITS_COLUMNS:
        raise ValueError(
            f"{save_loc}: the table has {len(names)} columns, and a FITS table at most {MAX_FITS_COLUMNS}; omit "
            "samples, or choose another format"
        )


def _join_files(job: Job[PredictionSettings], regions: Path | None) -> None:
    """Write the files of all galaxies that belong to the table: the masks, then the regions around them."""
    if job.settings.masks_file is not None:
        with whole_file(Path(job.settings.masks_file)) as partial_file, partial_file.open("wb") as file:
            file.write(fits_primary(mask_origin(job.settings)))
            file.writelines(job.mask_hdus())
    if regions is not None:
        write_regions(regions, (piece.to_pandas() for piece in job.pieces()))


def _header(metadata: Mapping[str, Any]) -> dict[str, str | int]:
    """Summary of the metadata for the header of the table. FITS keywords have at most 8 characters."""
    values = {
        "CREATOR": f"zoobot3d_tf {__version__}",
        "RUN": ", ".join(Path(run["run_folder"]).name for run in metadata["runs"]),
        "WEIGHTS": ", ".join(run["weights_sha256"][:12] for run in metadata["runs"]),
        "TREE": (metadata["schema"] or {}).get("name"),
        "NSAMPLES": sum(run["n_samples"] for run in metadata["runs"]),
        "NVOTES": metadata["n_votes"],
        "CALIBRAT": "yes" if all(run["calibration"] for run in metadata["runs"]) else "no",
        "NOTE": metadata["note"],
        "COMMAND": metadata["command"],
    }
    return {name: value for name, value in values.items() if value is not None}


def _metadata(settings: PredictionSettings, model: ModelConfig, forced: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    stored = asdict(settings)
    runs = [run | {"forced": dict(changed)} for run, changed in zip(stored["runs"], forced, strict=True)]
    return {
        "schema": model.vote_schema and model.vote_schema.to_dict(),
        "label": model.label and model.label.to_dict(),
        **stored,
        "runs": runs,
        **how_it_was_made(settings.engine),
    }
