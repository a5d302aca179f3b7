"""Galaxies in, a table of predictions out, and masks: the run as a whole, on this machine or on a cluster.

TensorFlow is imported only when every argument has been checked.
"""

import logging
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pandas as pd

from zoobot3d_tf import __version__
from zoobot3d_tf.data.framing import Framing
from zoobot3d_tf.files import PathLike, check_output, partial_path, sha256_of, whole_file
from zoobot3d_tf.images.rgb import check_stretch
from zoobot3d_tf.inference.inputs import fingerprint
from zoobot3d_tf.inference.job import Job, start_job
from zoobot3d_tf.inference.metadata import how_it_was_made, metadata_loc, read_metadata
from zoobot3d_tf.inference.run_job import join_parts, keeping_what_is_finished, run_parts
from zoobot3d_tf.models.config import ModelConfig
from zoobot3d_tf.predictions.mask_files import fits_primary
from zoobot3d_tf.predictions.measurements import COLUMNS
from zoobot3d_tf.predictions.options import Settings
from zoobot3d_tf.predictions.prediction_tables import SUFFIXES, write_table
from zoobot3d_tf.predictions.results import N_VOLUNTEERS, column_names
from zoobot3d_tf.runs.run_folder import TrainedRun, read_run
from zoobot3d_tf.schemas import Schema

MASK_FORMATS = ("png", "fits")
ENGINES = ("auto", "tf", "openvino")

log = logging.getLogger(__name__)


def predict_galaxies(
    galaxies: pd.DataFrame,
    checkpoint_dir: PathLike,
    save_loc: PathLike,
    *,
    n_samples: int = 1,
    batch_size: int = 64,
    schema: Schema | None = None,
    initial_size: int | None = None,
    crop_size: int | None = None,
    final_size: int | None = None,
    stretch: str | None = None,
    force: bool = False,
    masks_dir: PathLike | None = None,
    mask_format: str = "png",
    masks_file: PathLike | None = None,
    overlays: bool = False,
    n_votes: int = N_VOLUNTEERS,
    seed: int = 0,
    engine: str = "auto",
    executor: Executor | None = None,
) -> Path:
    """Predicts votes, a label, or whatever of these the model has; and masks if asked for.

    Images are framed as the model's validation images were. One that cannot be used costs itself alone: it is left out
    and listed in `<table>_failed.csv` beside the table. An interrupted run goes on when it is started again with the
    same arguments. A table that stands at `save_loc` already is replaced when the new one is complete. What made the
    table is said in `<table>_metadata.json`.

    Args:
        galaxies: what to predict, as the functions of `inputs` list it.
        checkpoint_dir: the run folder of the model, as `read_run` takes it.
        save_loc: table to write, .csv, .parquet or .hdf5, a row a galaxy in the order given; see
            `results.column_names` and `measurements.COLUMNS`.
        n_samples: samples of the concentrations, each with another dropout (Gal & Ghahramani 2016, arXiv 1506.02142).
            1 turns dropout off.
        batch_size: galaxies a GPU takes at once; a CPU takes fewer.
        schema: the decision tree. This, the three sizes and the stretch are known from the run folder; given, they
            must agree.
        initial_size: size of the training's stored images, pixels.
        crop_size: size of their central part that the network sees, pixels.
        final_size: size of the network's input, pixels.
        stretch: from the fluxes of FITS cutouts to colours; see `images.rgb.to_rgb`.
        force: let sizes and stretch contradict the run folder; the metadata then say so.
        masks_dir: folder for masks on the grid of each image: `<id_str>_spiral_mask.png` and `<id_str>_bar_mask.png`,
            8-bit, where 255 means every volunteer; or one FITS file a galaxy. By default no masks are predicted.
        mask_format: "png" or "fits", which carries the WCS of the image.
        masks_file: one FITS file for the masks of all galaxies, in place of `masks_dir`.
        overlays: also draw the masks over the image, `<id_str>_overlay.png` in `masks_dir`.
        n_votes: number of volunteers that the expected votes are of.
        seed: of the dropout.
        engine: "tf", "openvino" (extra `[fast]`), or "auto": OpenVINO where it is installed and there is no GPU.
        executor: runs the parts in place of the threads of this process, as
            `dask.distributed.Client(address).get_executor()` does. Its workers must see the same files.

    Returns:
        Path of the table.

    Raises:
        ValueError: arguments are impossible or contradict the run folder, no image can be used, or an unfinished run
            at `save_loc` had other arguments.
        OSError: a folder or file is missing or cannot be written.
        ImportError: OpenVINO is wanted but not installed.
    """
    save_loc = Path(save_loc).absolute()
    folder_of_masks = None if masks_dir is None else Path(masks_dir).absolute()
    file_of_masks = None if masks_file is None else Path(masks_file).absolute()
    run = read_run(checkpoint_dir)
    weights_sha256 = sha256_of(run.weights_loc)
    _check_schema(run, schema)
    _check_numbers(n_samples=(n_samples, 1), batch_size=(batch_size, 1), n_votes=(n_votes, 1), seed=(seed, 0))
    _check_choice("engine", engine, ENGINES)
    _check_choice("mask format", mask_format, MASK_FORMATS)
    check_output(save_loc, "table", SUFFIXES)
    _check_metadata(save_loc)
    _check_masks(run, folder_of_masks, file_of_masks, overlays)
    _check_label(run)
    wanted = {"initial_size": initial_size, "crop_size": crop_size, "final_size": final_size, "stretch": stretch}
    chosen, forced = _choose_framing(run, wanted, force)

    from zoobot3d_tf.inference.engine import choose_engine
    from zoobot3d_tf.predictions.predict_part import load, predict_part

    if run.note:
        log.warning("%s: %s", run.folder.name, run.note)
    engine, precision = choose_engine(engine)
    settings = Settings(
        version=__version__,
        run_folder=str(run.folder),
        weights_sha256=weights_sha256,
        **chosen,
        engine=engine,
        precision=precision,
        n_samples=n_samples,
        n_votes=n_votes,
        batch_size=batch_size,
        seed=seed,
        masks=run.model.masks if folder_of_masks or file_of_masks else (),
        masks_dir=None if folder_of_masks is None else str(folder_of_masks),
        mask_format=mask_format,
        masks_file=None if file_of_masks is None else str(file_of_masks),
        overlays=overlays,
        n_galaxies=len(galaxies),
        fingerprint=fingerprint(galaxies),
    )
    job = start_job(partial_path(save_loc), settings, galaxies)
    if executor is None and job.missing():
        load(settings)  # so that weights that do not fit say so once, not once a thread
    with keeping_what_is_finished(save_loc):
        run_parts(job, predict_part, executor)
        metadata = {"table": save_loc.name, "note": run.note} | _metadata(settings, run.model, forced)
        join_parts(job, save_loc, metadata, write_table, lambda: _join_masks(job))
    return save_loc


def _check_schema(run: TrainedRun, schema: Schema | None) -> None:
    if schema is not None and schema != run.model.schema:
        raise ValueError(f"{run.folder} was trained with {run.model.schema!r}, not {schema!r}; leave out schema")


def _choose_framing(
    run: TrainedRun, wanted: Mapping[str, int | str | None], force: bool
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Sizes and stretch to use, and those among them that contradict the run: name -> [trained with, used]."""
    trained = asdict(run.framing) | {"stretch": run.stretch}
    forced = {name: [trained[name], value] for name, value in wanted.items() if value not in (None, trained[name])}
    if forced and not force:
        name, (before, now) = next(iter(forced.items()))
        raise ValueError(f"{run.folder} was trained with {name} {before}, not {now}; leave out {name}, or force it")
    chosen = trained | {name: now for name, (_, now) in forced.items()}
    check_stretch(chosen["stretch"])
    framing = Framing(**{name: size for name, size in chosen.items() if name != "stretch"})
    replace(run.model, image_size=framing.final_size)  # says what is wrong with a size that no network takes
    return chosen, forced


def _check_numbers(**numbers: tuple[int, int]) -> None:
    for name, (number, lowest) in numbers.items():
        if number < lowest:
            raise ValueError(f"{name} must be at least {lowest}; received {number}")


def _check_choice(name: str, choice: str, choices: Sequence[str]) -> None:
    if choice not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}; received {choice!r}")


def _check_masks(run: TrainedRun, masks_dir: Path | None, masks_file: Path | None, overlays: bool) -> None:
    if masks_dir and masks_file:
        raise ValueError("masks go to one place: give masks_dir, or masks_file")
    if overlays and masks_dir is None:
        raise ValueError("overlays stand beside the masks: give masks_dir too")
    if not (masks_dir or masks_file) and run.model.tasks == run.model.masks:
        raise ValueError(f"{run.folder} was trained on masks alone: give masks_dir or masks_file to have them written")
    if (masks_dir or masks_file) and not run.model.masks:
        raise ValueError(f"{run.folder} was trained without masks; leave out masks_dir and masks_file")
    if masks_file:
        check_output(masks_file, "file of masks", (".fits",))
    if masks_dir:
        if masks_dir.exists() and not masks_dir.is_dir():
            raise NotADirectoryError(f"{masks_dir}: is not a folder; the masks need one")
        place = next(folder for folder in (masks_dir, *masks_dir.parents) if folder.exists())
        if not os.access(place, os.W_OK):
            raise PermissionError(f"{place}: cannot be written; choose another folder for the masks")


def _check_label(run: TrainedRun) -> None:
    others = {*column_names(run.model.vote_schema, n_samples=1), *(COLUMNS if run.model.masks else ())}
    if run.model.label is not None and (taken := others.intersection(run.model.label.outputs)):
        raise ValueError(
            f"{run.folder} predicts a label in the column {min(taken)}, where tables have something else; "
            "train with another name of the label"
        )


def _check_metadata(save_loc: Path) -> None:
    """Refuses to lay the metadata and the failures of one table over those of another, of the same name but suffix."""
    described = read_metadata(save_loc).get("table", save_loc.name)
    if described != save_loc.name and Path(described).stem == save_loc.stem and save_loc.with_name(described).exists():
        raise ValueError(
            f"{save_loc}: {metadata_loc(save_loc).name} there is that of {described}; give the new table another name"
        )


def _join_masks(job: Job[Settings]) -> None:
    if job.settings.masks_file is None:
        return
    masks_file = Path(job.settings.masks_file)
    with whole_file(masks_file) as partial, partial.open("wb") as file:
        file.write(fits_primary())
        file.writelines(job.mask_hdus())


def _metadata(settings: Settings, model: ModelConfig, forced: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "schema": model.vote_schema and model.vote_schema.to_dict(),
        "label": model.label and model.label.to_dict(),
        **asdict(settings),
        "forced": dict(forced),
        **how_it_was_made(settings.engine),
    }
