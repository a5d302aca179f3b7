"""Predict one part of a job: read its images, run the network, write its masks and its rows.

A thread of this process or a remote worker runs it. The job holds all that it needs.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from astropy.wcs import WCS

from zoobot3d_tf.data.framing import Framing
from zoobot3d_tf.images.read import ImageError
from zoobot3d_tf.images.wcs import pixscale_of, read_wcs, wcs_at
from zoobot3d_tf.inference.job import Failure, Job
from zoobot3d_tf.inference.run_job import check_same_weights, loaded_once, named_images
from zoobot3d_tf.inference.source_images import frame_images
from zoobot3d_tf.models.config import ModelConfig
from zoobot3d_tf.predictions.mask_files import (
    fits_extensions,
    fits_loc,
    mean_to_image,
    to_fraction,
    write_fits_masks,
    write_masks,
    write_overlay,
)
from zoobot3d_tf.predictions.measurements import COLUMNS, measure
from zoobot3d_tf.predictions.network import Network
from zoobot3d_tf.predictions.prediction_tables import table_schema
from zoobot3d_tf.predictions.results import column_names, vote_values
from zoobot3d_tf.predictions.settings import PredictionSettings, RunSettings
from zoobot3d_tf.runs.calibration import Calibration
from zoobot3d_tf.runs.run_folder import read_run


@dataclass(frozen=True)
class _CalibratedNetwork:
    """The network of a run, and what belongs to it.

    Attributes:
        network: the network.
        model: configuration of the network.
        framing: how images are cropped and resized for it.
        calibration: calibration of its outputs; None for none.
    """

    network: Network
    model: ModelConfig
    framing: Framing
    calibration: Calibration | None

    def predict(self, images: np.ndarray, id_strs: Sequence[str]) -> dict[str, np.ndarray]:
        """Predict one step of galaxies, as `Network` does, and apply the calibration."""
        outputs = self.network(images, id_strs)
        if self.calibration is None:
            return outputs
        outputs |= {
            name: self.calibration.map_mask(name, outputs[name]) for name in self.model.masks if name in outputs
        }
        if self.model.vote_schema is not None:
            outputs["votes"] = self.calibration.scale(outputs["votes"], self.model.vote_schema)
        return outputs


@dataclass(frozen=True)
class _Prediction:
    """The prediction of one galaxy.

    Attributes:
        id_str: id of the galaxy.
        file_loc: path of its image, or of the shard that holds it.
        concentrations: shape (answers, samples of all runs); None if the runs do not predict votes.
        label: shape (columns of `Label.outputs`, samples of all runs); None if the runs do not predict a label.
        mask_columns: paths of the masks and measurements on them, by column; empty if no masks are written.
        mask_hdus: masks as FITS extensions; empty if the masks do not go to one file.
    """

    id_str: str
    file_loc: str
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
    job.add(number, _rows(predicted, networks[0].model, settings), failures, hdus)


@loaded_once
def load(settings: PredictionSettings) -> tuple[_CalibratedNetwork, ...]:
    """Load the networks of a job. They are kept for the following parts.

    Raises:
        ValueError: the weights do not fit the configuration of the run, or have changed since the job was started.
    """
    return tuple(_load_run(run, settings) for run in settings.runs)


def _load_run(wanted: RunSettings, settings: PredictionSettings) -> _CalibratedNetwork:
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
    return _CalibratedNetwork(network, model, wanted.framing, wanted.calibration)


def _predict_batch(
    batch: Sequence[tuple[Any, np.ndarray | ImageError]],
    networks: Sequence[_CalibratedNetwork],
    settings: PredictionSettings,
) -> Iterator[_Prediction | Failure]:
    """Predict one step of galaxies, each with its image or the error that says why there is none.

    All networks see an image while it is in memory, so that several runs read each image once.
    """
    images, id_strs = [image for _, image in batch], [galaxy.id_str for galaxy, _ in batch]
    framings = [each.framing for each in networks]
    inputs = {framing: frame_images(images, framing, networks[0].network.step) for framing in set(framings)}
    outputs = [each.predict(inputs[each.framing], id_strs) for each in networks]
    concentrations, labels = (_side_by_side(outputs, name, len(batch)) for name in ("votes", "label"))
    for i, (galaxy, image) in enumerate(batch):
        try:
            if isinstance(image, ImageError):
                raise image
            masks = {
                name: mean_to_image([output[name][i] for output in outputs], framings, image.shape[:2])
                for name in settings.masks
            }
            columns, hdus = _finish_masks(galaxy, image, masks, settings) if masks else ({}, b"")
            yield _Prediction(galaxy.id_str, galaxy.file_loc, concentrations[i], labels[i], columns, hdus)
        except ImageError as error:
            yield Failure(galaxy.id_str, galaxy.file_loc, str(error), was_read=error is not image)


def _side_by_side(outputs: Sequence[Mapping[str, np.ndarray]], name: str, n_galaxies: int) -> np.ndarray | list[None]:
    """Samples of all runs, in their order, per galaxy: (columns, samples) each; None if the runs do not predict it."""
    if name not in outputs[0]:
        return [None] * n_galaxies
    return np.concatenate([output[name] for output in outputs], axis=2)


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
    wcs = _wcs_of(galaxy, image.shape[:2])
    locs, hdus = {}, b""
    if settings.masks_file:
        version = galaxy.Index + 1
        hdus = fits_extensions(galaxy.id_str, masks, wcs, version)
        locs = {name: fits_loc(Path(settings.masks_file), name, version) for name in masks}
    elif settings.masks_dir and settings.mask_format == "fits":
        locs = write_fits_masks(Path(settings.masks_dir), galaxy.id_str, masks, wcs)
    elif settings.masks_dir:
        locs = write_masks(Path(settings.masks_dir), galaxy.id_str, masks)
    if settings.masks_dir and settings.overlays:
        write_overlay(Path(settings.masks_dir), galaxy.id_str, image, masks)
    pixscale = galaxy.pixscale if wcs is None else pixscale_of(wcs)
    fractions = {name: to_fraction(mask) for name, mask in masks.items()}
    return {f"{name}_loc": loc for name, loc in locs.items()} | measure(fractions, wcs, pixscale), hdus


def _wcs_of(galaxy: Any, shape: tuple[int, int]) -> WCS | None:
    """WCS in the header of the image, or else the WCS that follows from the position and pixel scale of the galaxy."""
    if galaxy.record < 0 and (wcs := read_wcs(galaxy.file_loc)) is not None:
        return wcs
    is_known = np.isfinite([galaxy.ra, galaxy.dec, galaxy.pixscale]).all()
    return wcs_at(galaxy.ra, galaxy.dec, galaxy.pixscale, shape) if is_known else None


def _rows(predicted: Sequence[_Prediction], model: ModelConfig, settings: PredictionSettings) -> pa.Table:
    names = column_names(model.vote_schema, settings.n_samples, settings.masks, model.label)
    columns = table_schema(names + (list(COLUMNS) if settings.masks else []))
    if not predicted:
        return columns.empty_table()
    values: dict[str, Any] = {name: [getattr(p, name) for p in predicted] for name in ("id_str", "file_loc")}
    if model.vote_schema is not None:
        concentrations = np.array([p.concentrations for p in predicted])
        values |= vote_values(concentrations, model.vote_schema, settings.n_votes)
    if model.label is not None:
        means = np.array([p.label for p in predicted]).mean(axis=2)
        values |= dict(zip(model.label.outputs, means.T, strict=True))
    for name in predicted[0].mask_columns:
        values[name] = [p.mask_columns[name] for p in predicted]
    return pa.table(values, schema=columns)
