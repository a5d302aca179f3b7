"""The prediction job of Galaxy Zoo's production: predict the images of a manifest, which are fetched by URL.

While one group of images is predicted, the next one is downloaded. The images of a group are then removed, so that the
disk never holds more than two groups.
"""

import json
import logging
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd

from zoobot3d_tf.active_learning.fixed_crop import FixedCrop
from zoobot3d_tf.active_learning.options import FEATURED_BOUND
from zoobot3d_tf.active_learning.predictions_json import featured_answer, predictions_file, subject_predictions
from zoobot3d_tf.active_learning.train_on_catalog import FIXED_CROP_KEY
from zoobot3d_tf.files import PathLike, check_output, failed_loc, path_of, read_json_object, write_atomically
from zoobot3d_tf.images.read import ImageError
from zoobot3d_tf.inference.engine import choose_engine
from zoobot3d_tf.inference.source_images import frame_images, read_images
from zoobot3d_tf.machine import available_cores
from zoobot3d_tf.models.model_folder import CONFIG_NAME
from zoobot3d_tf.progress import Progress
from zoobot3d_tf.runs.checkpoint_file import unpack_checkpoint
from zoobot3d_tf.runs.run_folder import TrainedRun, read_run
from zoobot3d_tf.schemas import Schema
from zoobot3d_tf.surveys.download import Download, download, fetch_page
from zoobot3d_tf.tables.columns import file_name_fault
from zoobot3d_tf.tables.formats import write_failures

MAX_MANIFEST_BYTES = 2**29
"""Largest size of a manifest: a million images take about 200 MB."""
MAX_IMAGE_BYTES = 2**26
"""Largest size of an image. Subjects of Zooniverse have at most about 1 MB."""

_Failures = list[tuple[str, str, str]]  # id of the subject, address of the image, reason

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ManifestOptions:
    """How the images of a manifest are fetched and predicted.

    Attributes:
        num_samples: number of dropout samples; 1 turns dropout off.
        fixed_crop: rectangle of the images that the network sees; by default the one that the checkpoint was trained
            with or, without one, the central part that it was trained with.
        num_workers: number of simultaneous downloads.
        prefetch_factor: number of batches per group of images.
        batch_size: number of images per step on a GPU. A CPU takes fewer.
        bound: bound of the featured fraction, see `predictions_json.probability_above`.
        seed: random seed of the dropout.

    Raises:
        ValueError: a number is below 1.
    """

    num_samples: int = 1
    fixed_crop: FixedCrop | None = None
    num_workers: int = 11
    prefetch_factor: int = 9
    batch_size: int = 128
    bound: float = FEATURED_BOUND
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("num_samples", "num_workers", "prefetch_factor", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1; received {getattr(self, name)}")

    @property
    def group_size(self) -> int:
        """Number of images that are downloaded together."""
        return self.batch_size * self.prefetch_factor


_DEFAULTS = ManifestOptions()


def predict_manifest(
    checkpoint: PathLike, catalog_url: str, save_path: PathLike, options: ManifestOptions = _DEFAULTS
) -> Path:
    """Predict the subjects of a manifest, and write `predictions.json`.

    An image that cannot be downloaded, after four retries, or cannot be read is left out, and listed in
    `<save_path>_failed.csv` with the reason.

    Args:
        checkpoint: file that `train_on_catalog` has written, or a run folder as `read_run` takes it.
        catalog_url: address of the manifest, see `read_manifest`.
        save_path: file to write, `.json`. It is replaced if it exists.
        options: how the images are fetched and predicted.

    Returns:
        Absolute path of the file.

    Raises:
        ValueError: the checkpoint or the manifest is wrong, the model does not predict `smooth-or-featured`, or none of
            the images can be used.
        OSError: the manifest cannot be downloaded, the server of the images does not answer for ten images in a row, or
            a file cannot be written.
    """
    save_path = path_of(save_path).absolute()
    check_output(save_path, "file of predictions", (".json",))
    with TemporaryDirectory(prefix="zoobot3d-") as temporary:
        folder = Path(temporary)
        is_file = path_of(checkpoint).is_file()
        run = read_run(unpack_checkpoint(checkpoint, folder / "run") if is_file else checkpoint)
        schema = run.model.vote_schema
        if schema is None:
            raise ValueError(f"{checkpoint}: the model does not predict votes; train it with a decision tree")
        featured_answer(schema)  # raises an error before the work if there is none
        run, fixed_crop = _framed(checkpoint, run, options.fixed_crop)
        images, failures = read_manifest(catalog_url)
        predictor = _Predictor(run, schema, fixed_crop, options)
        subjects: dict[str, dict[str, list]] = {}
        with Progress(total=len(images), unit="image") as bar:
            for group, missing in _fetched(images, folder, options):
                entries, unread = predictor(group)
                subjects |= entries
                failures += missing + unread
                bar.update(len(group) + len(missing))
    write_failures(failed_loc(save_path), failures)
    if failures:
        log.warning("%d images are left out, see %s", len(failures), failed_loc(save_path))
    if failures and not subjects:
        raise ValueError(f"{catalog_url}: none of its images can be used; the first error: {failures[0][2]}")
    content = predictions_file(subjects, schema, options.bound)
    write_atomically(save_path, json.dumps(content))
    log.info("%d subjects written to %s", len(subjects), save_path)
    return save_path


def read_manifest(url: str) -> tuple[dict[str, str], _Failures]:
    """Download a manifest: a JSON list of `[address of the image, JSON text with the key subject_id]`.

    Args:
        url: address of the manifest, http or https.

    Returns:
        Address of the image of each subject, by its id; and the images that are not used: further images of a subject,
        and subjects whose id cannot name a file.

    Raises:
        ValueError: it is not such a list. The error names the entry.
        OSError: it cannot be downloaded.
    """
    content = fetch_page(url, MAX_MANIFEST_BYTES)
    try:
        entries = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{url}: the manifest is not valid JSON: {error}") from error
    if not isinstance(entries, list):
        raise ValueError(f"{url}: the manifest must be a JSON list; received {entries!r:.80}")
    images: dict[str, str] = {}
    failures: _Failures = []
    for number, entry in enumerate(entries):
        try:
            image_url, described = entry
            subject = str(json.loads(described)["subject_id"])
            if not isinstance(image_url, str):
                raise TypeError("the address must be text")
        except (ValueError, TypeError, KeyError, RecursionError):
            raise ValueError(
                f"{url}: entry {number} of the manifest must be [address, JSON text with subject_id]; received "
                f"{entry!r:.120}"
            ) from None
        if fault := file_name_fault(subject):
            failures.append((subject, image_url, f"the id of the subject {fault}"))
        elif subject in images:
            failures.append((subject, image_url, "only the first image of a subject is used"))
        else:
            images[subject] = image_url
    return images, failures


def _framed(checkpoint: PathLike, run: TrainedRun, given: FixedCrop | None) -> tuple[TrainedRun, FixedCrop | None]:
    """Choose the fixed crop, and adapt the framing of a run that was trained without one.

    Raises:
        ValueError: the checkpoint was trained with another fixed crop.
    """
    stored = read_json_object(run.folder / CONFIG_NAME, "configuration of a run").get(FIXED_CROP_KEY)
    trained = FixedCrop(**stored) if stored else None
    if trained and given and given != trained:
        raise ValueError(
            f"{checkpoint}: was trained with fixed_crop {trained.to_json()}; received {given.to_json()}; omit "
            "fixed_crop, or train again with the new one"
        )
    if given and not trained:
        log.warning(
            "%s was trained without fixed_crop, on the central %d of %d pixels; it now sees the whole of fixed_crop",
            *(checkpoint, run.framing.crop_size, run.framing.initial_size),
        )
        run = replace(run, framing=replace(run.framing, crop_size=run.framing.initial_size))
    return run, trained or given


def _fetched(
    images: dict[str, str], folder: Path, options: ManifestOptions
) -> Iterator[tuple[pd.DataFrame, _Failures]]:
    """Download images group by group, one group ahead.

    Yields:
        Table of the images of a group as `source_images.read_images` takes it, with their addresses as `url`; and the
        images that could not be downloaded. The files are removed before the next group.
    """
    subjects = list(images)
    groups = [subjects[start : start + options.group_size] for start in range(0, len(subjects), options.group_size)]

    def fetch(group: Sequence[str], place: Path) -> tuple[pd.DataFrame, _Failures]:
        summary = download(
            [Download(images[subject], subject) for subject in group],
            place,
            options.num_workers,
            max_bytes=MAX_IMAGE_BYTES,
        )
        reasons = {name: reason for name, _, reason in summary.failures}
        rows = [(s, str(place / s), -1, images[s]) for s in group if s not in reasons]
        failures = [(s, images[s], reasons[s]) for s in group if s in reasons]
        return pd.DataFrame(rows, columns=["id_str", "file_loc", "record", "url"]), failures

    with ThreadPoolExecutor(1) as ahead:
        coming = [ahead.submit(fetch, group, folder / f"group-{n}") for n, group in enumerate(groups[:2])]
        for number in range(len(groups)):
            yield coming.pop(0).result()
            shutil.rmtree(folder / f"group-{number}")
            if number + 2 < len(groups):
                coming.append(ahead.submit(fetch, groups[number + 2], folder / f"group-{number + 2}"))


class _Predictor:
    """Predicts groups of images with one network."""

    def __init__(self, run: TrainedRun, schema: Schema, fixed_crop: FixedCrop | None, options: ManifestOptions) -> None:
        from zoobot3d_tf.predictions.network import Network

        self._schema, self._framing, self._stretch = schema, run.framing, run.stretch
        self._fixed_crop, self._bound = fixed_crop, options.bound
        engine, precision = choose_engine("auto")
        settings = (options.num_samples, options.batch_size, options.seed, engine, precision)
        self._network = Network(run, (), *settings)

    def __call__(self, group: pd.DataFrame) -> tuple[dict[str, dict[str, list]], _Failures]:
        """Predict a group, in steps that run in parallel; return the entries by subject, and the unreadable images."""
        step = self._network.step
        parts = [group[start : start + step] for start in range(0, len(group), step)]
        entries: dict[str, dict[str, list]] = {}
        failures: _Failures = []
        # One thread more than cores, since a thread waits at times for the disk.
        with ThreadPoolExecutor(available_cores() + 1) as pool:
            for predicted, unread in pool.map(self._predict, parts):
                entries |= predicted
                failures += unread
        return entries, failures

    def _predict(self, part: pd.DataFrame) -> tuple[dict[str, dict[str, list]], _Failures]:
        galaxies: list[Any] = list(part.itertuples())
        read = [
            self._cut(image, galaxy.file_loc)
            for galaxy, image in zip(galaxies, read_images(part, self._stretch), strict=True)
        ]
        inputs = frame_images(read, self._framing, self._network.step)
        votes = self._network(inputs, [galaxy.id_str for galaxy in galaxies])["votes"]
        entries = subject_predictions(votes[: len(galaxies)], self._schema, self._bound)
        predicted, failures = {}, []
        for galaxy, image, entry in zip(galaxies, read, entries, strict=True):
            if isinstance(image, ImageError):
                failures.append((galaxy.id_str, galaxy.url, str(image).replace(galaxy.file_loc, galaxy.url)))
            else:
                predicted[galaxy.id_str] = entry
        return predicted, failures

    def _cut(self, image: np.ndarray | ImageError, name: str) -> np.ndarray | ImageError:
        if self._fixed_crop is None or isinstance(image, ImageError):
            return image
        try:
            return self._fixed_crop.cut(image, name)
        except ImageError as error:
            return error
