"""Predict one part of a job: read its images, run the network, write its masks and its rows.

A thread of this process or a remote worker runs it. The job holds all that it needs.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from zoobot3d_tf.images.read import ImageError
from zoobot3d_tf.images.wcs import read_wcs, sky_of_pixel
from zoobot3d_tf.inference.inputs import kept_columns
from zoobot3d_tf.inference.job import Failure, Job
from zoobot3d_tf.inference.run_job import check_same_weights, loaded_once, named_images
from zoobot3d_tf.models.config import ModelConfig
from zoobot3d_tf.predictions.calibrated_network import (
    CalibratedNetwork,
    answer_columns,
    measure_masks,
    predict_step,
    wcs_of,
)
from zoobot3d_tf.predictions.mask_files import (
    MaskOrigin,
    fits_extensions,
    fits_loc,
    write_fits_masks,
    write_masks,
    write_overlay,
)
from zoobot3d_tf.predictions.network import Network
from zoobot3d_tf.predictions.prediction_tables import table_schema
from zoobot3d_tf.predictions.results import POSITION, column_names, plain_name
from zoobot3d_tf.predictions.settings import PredictionSettings, RunSettings
from zoobot3d_tf.runs.run_folder import read_run

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Prediction:
    """The prediction of one galaxy.

    Attributes:
        row: number of the galaxy in the job.
        position: right ascension and declination of the centre of the image, degrees, ICRS; NaN if unknown.
        concentrations: shape (answers, samples of all runs); None if the runs do not predict votes.
        label: shape (columns of `Label.outputs`, samples of all runs); None if the runs do not predict a label.
        mask_columns: paths of the masks and measurements on them, by column; empty if no masks are written.
        mask_hdus: masks as FITS extensions; empty if the masks do not go to one file.
    """

    row: int
    position: tuple[float, float]
    concentrations: np.ndarray | None
    label: np.ndarray | None
    mask_columns: Mapping[str, Any]
    mask_hdus: bytes


def predict_part(job: Job[PredictionSettings], number: int) -> None:
    """Predict one part of a job.

    Args:
        job: job that `predict_galaxies` started.
        number: number of the part, from 0.

    Raises:
        ValueError: the weights do not fit the configuration of the run or have changed since the job was started, or
            another run has taken the folder of the job.
        OSError: the part or its masks cannot be written.
    """
    settings = job.settings
    networks = load(settings)
    galaxies = job.galaxies(number)
    images = named_images(galaxies, settings.stretch)
    outcomes: list[_Prediction | Failure] = []
    while batch := list(islice(images, networks[0].network.step)):
        outcomes += _predict_batch(batch, networks, settings)
    predicted = [outcome for outcome in outcomes if isinstance(outcome, _Prediction)]
    failures = [outcome for outcome in outcomes if isinstance(outcome, Failure)]
    hdus = b"".join(prediction.mask_hdus for prediction in predicted) if settings.masks_file else None
    job.add(number, _rows(predicted, galaxies, networks[0].model, settings), failures, hdus)


@loaded_once
def load(settings: PredictionSettings) -> tuple[CalibratedNetwork, ...]:
    """Load the networks of a job. They are kept for the following parts.

    Raises:
        ValueError: the weights do not fit the configuration of the run, or have changed since the job was started.
    """
    return tuple(_load_run(run, settings) for run in settings.runs)


@lru_cache(maxsize=1)
def mask_origin(settings: PredictionSettings) -> MaskOrigin:
    """What predicts the masks of a job, for the headers of FITS files."""
    notes = [read_run(run.run_folder).note for run in settings.runs]
    weights = tuple(run.weights_sha256 for run in settings.runs)
    return MaskOrigin(settings.version, weights, tuple(note for note in notes if note))


@loaded_once
def _say_without_position(settings: PredictionSettings) -> None:
    """Warn that FITS masks have no WCS, once, whatever the number of galaxies."""
    log.warning(
        "FITS masks of images without a position have no WCS; give FITS images with a WCS, or a catalogue with ra, dec "
        "and pixscale"
    )


def _load_run(wanted: RunSettings, settings: PredictionSettings) -> CalibratedNetwork:
    run = read_run(wanted.run_folder)
    check_same_weights(run, wanted)
    model = replace(run.model, image_size=wanted.final_size)
    network = Network(
        replace(run, model=model),
        settings.masks,
        wanted.n_samples,
        settings.batch_size,
        settings.seed,
        settings.engine,
        settings.precision,
    )
    return CalibratedNetwork(network, model, wanted.framing, wanted.calibration)


def _predict_batch(
    batch: Sequence[tuple[Any, np.ndarray | ImageError]],
    networks: Sequence[CalibratedNetwork],
    settings: PredictionSettings,
) -> Iterator[_Prediction | Failure]:
    """Predict one step of galaxies, each with its image or the error that says why there is none."""
    outputs = predict_step([image for _, image in batch], [galaxy.id_str for galaxy, _ in batch], networks)
    for (galaxy, image), output in zip(batch, outputs, strict=True):
        try:
            if isinstance(image, ImageError):
                raise image
            masks = output.masks
            columns, hdus = _finish_masks(galaxy, image, masks, settings) if masks else ({}, b"")
            position = _position_of(galaxy, image.shape[:2])
            yield _Prediction(galaxy.Index, position, output.concentrations, output.label, columns, hdus)
        except ImageError as error:
            yield Failure(galaxy.id_str, galaxy.file_loc, str(error), was_read=error is not image)


def _finish_masks(
    galaxy: Any, image: np.ndarray, masks: Mapping[str, np.ndarray], settings: PredictionSettings
) -> tuple[dict[str, Any], bytes]:
    """Write the masks of a galaxy and measure them.

    Returns:
        Columns of the masks: paths and measurements; and their FITS extensions if the masks of all galaxies go to one
        file.

    Raises:
        ImageError: the id cannot be used as a file name, or the WCS of the image is damaged.
    """
    wcs = wcs_of(galaxy, image.shape[:2])
    locs, hdus = {}, b""
    if wcs is None and (settings.masks_file or settings.mask_format == "fits"):
        _say_without_position(settings)
    if settings.masks_file:
        version = galaxy.Index + 1
        hdus = fits_extensions(galaxy.id_str, masks, wcs, version)
        locs = {name: fits_loc(Path(settings.masks_file), name, version) for name in masks}
    elif settings.masks_dir and settings.mask_format == "fits":
        locs = write_fits_masks(Path(settings.masks_dir), galaxy.id_str, masks, wcs, mask_origin(settings))
    elif settings.masks_dir:
        locs = write_masks(Path(settings.masks_dir), galaxy.id_str, masks)
    if settings.masks_dir and settings.overlays:
        write_overlay(Path(settings.masks_dir), galaxy.id_str, image, masks)
    return {f"{name}_loc": loc for name, loc in locs.items()} | measure_masks(galaxy, masks, wcs), hdus


def _position_of(galaxy: Any, shape: tuple[int, int]) -> tuple[float, float]:
    """Position of the centre of an image, from the catalogue or else from its header; NaN if unknown."""
    if galaxy.record >= 0 or np.isfinite([galaxy.ra, galaxy.dec]).all():
        return galaxy.ra, galaxy.dec
    try:
        wcs = read_wcs(galaxy.file_loc)
    except ImageError:  # only masks need a WCS
        wcs = None
    if wcs is None:
        return np.nan, np.nan
    height, width = shape
    ra, dec = sky_of_pixel(wcs, (width - 1) / 2, (height - 1) / 2, height)
    return float(ra), float(dec)


def _rows(
    predicted: Sequence[_Prediction], galaxies: pd.DataFrame, model: ModelConfig, settings: PredictionSettings
) -> pa.Table:
    known = galaxies.loc[[p.row for p in predicted]]
    kept = kept_columns(galaxies)
    names = column_names(
        model.vote_schema, settings.n_samples if settings.samples else 0, settings.masks, model.label, kept
    )
    kinds = {field.name: field.type for field in table_schema(names)}
    kinds |= {name: _kept_type(galaxies[name]) for name in kept}
    final = [plain_name(name) for name in names] if settings.names == "plain" else names
    if not predicted:
        return pa.schema(zip(final, kinds.values(), strict=True)).empty_table()
    values: dict[str, Any] = {name: known[name] for name in ("id_str", "file_loc", *kept)}
    values |= dict(zip(POSITION, zip(*(p.position for p in predicted), strict=True), strict=True))
    concentrations, labels = [p.concentrations for p in predicted], [p.label for p in predicted]
    values |= answer_columns(concentrations, labels, model, settings.n_votes)
    for name in predicted[0].mask_columns:
        values[name] = [p.mask_columns[name] for p in predicted]
    return pa.table(values, schema=pa.schema(kinds.items())).rename_columns(final)


def _kept_type(column: pd.Series) -> pa.DataType:
    """Arrow type of a column of the catalogue."""
    return pa.string() if pd.api.types.is_string_dtype(column) else pa.from_numpy_dtype(column.dtype)
