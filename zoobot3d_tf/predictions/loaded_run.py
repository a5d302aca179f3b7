"""A trained run that predicts images in memory: `load_run`."""

import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, fields
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from zoobot3d_tf.files import PathLike
from zoobot3d_tf.images.image_file import ImageError
from zoobot3d_tf.inference.engine import choose_engine
from zoobot3d_tf.inference.job import Failure
from zoobot3d_tf.machine import available_cores
from zoobot3d_tf.predictions.calibrated_network import (
    CalibratedNetwork,
    Output,
    answer_columns,
    measure_masks,
    predict_step,
    wcs_of,
)
from zoobot3d_tf.predictions.column_metadata import to_qtable
from zoobot3d_tf.predictions.given_images import take_images
from zoobot3d_tf.predictions.mask_files import to_fraction
from zoobot3d_tf.predictions.measurements import COLUMNS
from zoobot3d_tf.predictions.network import Network
from zoobot3d_tf.predictions.options import PredictionOptions
from zoobot3d_tf.predictions.predict_galaxies import check_label_columns, doubts_about
from zoobot3d_tf.predictions.predicted_images import MAX_SHOWN, PredictedImages
from zoobot3d_tf.predictions.results import POSITION, column_names
from zoobot3d_tf.progress import Progress
from zoobot3d_tf.runs.calibration import read_calibration
from zoobot3d_tf.runs.run_folder import TrainedRun, read_run

if TYPE_CHECKING:
    from zoobot3d_tf.predictions.given_images import Images

_DEFAULTS = PredictionOptions()

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Galaxy:
    """A galaxy that was predicted: its row of `inference.inputs`, and what the network says."""

    row: Any
    output: Output
    measurements: dict[str, float]
    picture: np.ndarray | None


@dataclass(frozen=True, repr=False)
class LoadedRun(TrainedRun):
    """A run folder that is read once, and predicts images in memory.

    The network is loaded by the first call of `predict`, and kept for later calls with the same options. It has all
    that `TrainedRun` has, such as `load_model`, which gives the Keras model.
    """

    _networks: dict[tuple, CalibratedNetwork] = field(default_factory=dict, init=False, compare=False)
    _loading: Lock = field(default_factory=Lock, init=False, compare=False)

    def predict(
        self,
        images: "Images",
        ids: Sequence[str] | None = None,
        *,
        n_samples: int = _DEFAULTS.n_samples,
        n_votes: int = _DEFAULTS.n_votes,
        seed: int = _DEFAULTS.seed,
        engine: str = _DEFAULTS.engine,
        batch_size: int = _DEFAULTS.batch_size,
        no_calibration: bool = _DEFAULTS.no_calibration,
    ) -> PredictedImages:
        """Predict the votes or the label of galaxies, whichever the run has, and their masks.

        The numbers are those of `predict_galaxies` for the same images in files. Images are cropped and resized as the
        validation images of the run were. All results are kept in memory; `predict_galaxies` is for large surveys.

        Args:
            images: one of

                - one image, (H, W, 3), or images of one size, (N, H, W, 3): 0 to 255, in whole numbers or floats, which
                  are rounded; row 0 is the top row;
                - an image of Pillow;
                - a list of arrays (H, W, 3) and images of Pillow, of any sizes;
                - the path of an image or of a folder of images, or a list of paths of images;
                - a table of Astropy or pandas with the column `file_loc`. The columns `id_str`, `ra`, `dec` and
                  `pixscale` are used if it has them, as in a catalogue of `zoobot3d predict`. Relative paths start from
                  the working folder.

            ids: ids of the galaxies, one per image. By default, images in memory are numbered from "0", and images in
                files are named after them. The dropout of a galaxy is drawn from its id.
            n_samples: see `PredictionOptions`, as for all that follow.
            n_votes: number of volunteers assumed for the expected votes.
            seed: random seed of the dropout.
            engine: program that runs the network.
            batch_size: number of galaxies per step on a GPU.
            no_calibration: predict without the calibration of the run folder.

        Returns:
            The predictions. An image that cannot be used has no row; `failures` names it.

        Raises:
            TypeError: the images or the ids are of another type.
            ValueError: an array has another shape or range, an option is impossible, no image can be used, an id is
                repeated or cannot be used, or the weights or the calibration cannot be used.
            OSError: a file or folder does not exist, or the machine cannot read a file.
            ImportError: OpenVINO is requested but not installed.
        """
        options = PredictionOptions(
            n_samples=n_samples,
            n_votes=n_votes,
            seed=seed,
            engine=engine,
            batch_size=batch_size,
            no_calibration=no_calibration,
        )
        given = take_images(images, ids)
        network = self._network(options)
        step, n_galaxies = network.network.step, len(given.galaxies)

        def predict_step_at(first: int) -> list[_Galaxy | Failure]:
            batch = list(given.part(slice(first, first + step), self.stretch))
            return list(_predict_batch(batch, network, shows=first < MAX_SHOWN))

        outcomes: list[_Galaxy | Failure] = []
        # One thread more than cores, since a thread waits at times.
        with ThreadPoolExecutor(available_cores() + 1) as pool, Progress(total=n_galaxies, unit="galaxy") as bar:
            for outcome in pool.map(predict_step_at, range(0, n_galaxies, step)):
                outcomes += outcome
                bar.update(len(outcome))
        return self._finish(outcomes, n_votes)

    def _network(self, options: PredictionOptions) -> CalibratedNetwork:
        """Load the network, or find the one that was loaded with the same options."""
        engine, precision = choose_engine(options.engine)
        wanted = (options.n_samples, options.seed, options.batch_size, engine, precision, options.no_calibration)
        with self._loading:
            if wanted not in self._networks:
                check_label_columns(self)
                calibration = None if options.no_calibration else read_calibration(self)
                notes = [f"{self.folder.name}: {self.note}"] if self.note else []
                for warning in notes + doubts_about([calibration], [self], options.n_samples):
                    log.warning(warning)
                network = Network(
                    self,
                    self.model.masks,
                    options.n_samples,
                    options.batch_size,
                    options.seed,
                    engine,
                    precision,
                )
                self._networks[wanted] = CalibratedNetwork(network, self.model, self.framing, calibration)
            return self._networks[wanted]

    def _finish(self, outcomes: Sequence[_Galaxy | Failure], n_votes: int) -> PredictedImages:
        galaxies = [outcome for outcome in outcomes if isinstance(outcome, _Galaxy)]
        failures = [outcome for outcome in outcomes if isinstance(outcome, Failure)]
        if not galaxies:
            raise ValueError(f"none of the {len(failures)} images can be used; the first error: {failures[0].reason}")
        if failures:
            log.warning("%d images cannot be used; the first: %s", len(failures), failures[0].reason)
        model = self.model
        concentrations, labels = (
            [getattr(each.output, name) for each in galaxies] for name in ("concentrations", "label")
        )
        columns: dict[str, Any] = {
            name: [getattr(each.row, name) for each in galaxies] for name in ("id_str", "file_loc", *POSITION)
        }
        columns |= answer_columns(concentrations, labels, model, n_votes)
        if model.masks:
            columns |= {name: np.array([each.measurements[name] for each in galaxies], np.float32) for name in COLUMNS}
        omitted = {f"{mask}_loc" for mask in model.masks}  # masks are in memory
        omitted |= set() if any(columns["file_loc"]) else {"file_loc"}
        omitted |= set() if np.isfinite([columns[name] for name in POSITION]).any() else set(POSITION)
        names = column_names(model.vote_schema, masks=model.masks, label=model.label)
        names = [name for name in names if name not in omitted]
        masks = {name: [to_fraction(each.output.masks[name]) for each in galaxies] for name in model.masks}
        return PredictedImages(
            table=to_qtable(pd.DataFrame({name: columns[name] for name in names})),
            concentrations=None if model.vote_schema is None else np.array(concentrations),
            masks={
                name: np.array(each) if len({mask.shape for mask in each}) == 1 else each
                for name, each in masks.items()
            },
            schema=model.vote_schema,
            label=model.label,
            failures=failures,
            run_name=self.folder.name,
            thumbnails=[each.picture for each in galaxies[:MAX_SHOWN] if each.picture is not None],
        )

    def __repr__(self) -> str:
        schema, label = self.model.vote_schema, self.model.label
        parts = [] if schema is None else [f"votes of {len(schema.label_cols)} answers ({schema.name})"]
        parts += [] if label is None else [label.column]
        parts += self.model.masks
        return f"<LoadedRun {self.folder.name!r}: {', '.join(parts)}>"


def load_run(folder: PathLike) -> LoadedRun:
    """Read a run folder, for predictions in Python.

        run = load_run("shipped")
        predicted = run.predict(image)
        predicted.table, predicted.masks["bar_mask"]

    Args:
        folder: path of the run folder, `hf://owner/name`, or "shipped"; see `runs.run_folder.read_run`.

    Raises:
        OSError: as for `read_run`.
        ValueError: as for `read_run`.
        ImportError: as for `read_run`.
    """
    run = read_run(folder)
    return LoadedRun(**{item.name: getattr(run, item.name) for item in fields(run)})


def _predict_batch(
    batch: Sequence[tuple[Any, np.ndarray | ImageError]], network: CalibratedNetwork, shows: bool
) -> Iterator[_Galaxy | Failure]:
    outputs = predict_step([image for _, image in batch], [row.id_str for row, _ in batch], [network])
    for (row, image), output in zip(batch, outputs, strict=True):
        try:
            if isinstance(image, ImageError):
                raise image
            wcs = wcs_of(row, image.shape[:2]) if output.masks else None
            measured = measure_masks(row, output.masks, wcs) if output.masks else {}
            yield _Galaxy(row, output, measured, image if shows else None)
        except ImageError as error:
            yield Failure(row.id_str, row.file_loc, str(error), was_read=error is not image)
