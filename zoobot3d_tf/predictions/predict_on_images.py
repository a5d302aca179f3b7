"""A folder of images in, a table of predictions out, and masks: what `make_predictions.py` does.

TensorFlow is imported only when every argument has been checked.
"""

import logging
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from zoobot3d_tf import __version__
from zoobot3d_tf.data.framing import Framing, central_affine, warp
from zoobot3d_tf.files import PathLike, failed_loc, sha256_of
from zoobot3d_tf.images.read import ImageError, read_image, resize_image
from zoobot3d_tf.machine import available_cores
from zoobot3d_tf.predictions.folder import find_images, fingerprint, id_str_of
from zoobot3d_tf.predictions.mask_files import to_image, write_masks, write_overlay
from zoobot3d_tf.predictions.parts import PART_SIZE, TABLE_SUFFIXES, Failure, Parts, Prediction
from zoobot3d_tf.schemas import Schema
from zoobot3d_tf.training.run_folder import WEIGHTS_NAME, TrainedRun, read_run

if TYPE_CHECKING:
    from zoobot3d_tf.predictions.network import Network


log = logging.getLogger(__name__)


def predict(
    folder_to_predict: PathLike,
    checkpoint_dir: PathLike,
    save_loc: PathLike,
    n_samples: int = 1,
    batch_size: int = 64,
    file_format: str = "png",
    schema: Schema | None = None,
    initial_size: int | None = None,
    crop_size: int | None = None,
    final_size: int | None = None,
    masks_dir: PathLike | None = None,
    overlays: bool = False,
    recursive: bool = False,
    seed: int = 0,
) -> Path:
    """Predicts votes, and masks if asked for, of all images in a folder.

    Images are framed as the model's validation images were. One that cannot be read costs itself alone: it is left out
    and listed in `<table>_failed.csv` beside the table. An interrupted run goes on when it is started again with the
    same arguments. A table that stands at `save_loc` already is replaced when the new one is complete.

    Args:
        folder_to_predict: the images; hidden files are passed over.
        checkpoint_dir: the run folder of the model.
        save_loc: table to write, .csv or .parquet, a row a galaxy in the order of file names; see
            `results.column_names`.
        n_samples: samples of the concentrations, each with another dropout (Gal & Ghahramani 2016, arXiv 1506.02142).
            1 turns dropout off.
        batch_size: galaxies the network takes at once, at most: a CPU takes fewer.
        file_format: "png", "jpg" or "fits" (cutouts in g, r, z).
        schema: the decision tree. This and the three sizes are known from the run folder; given, they must agree.
        initial_size: size of the training's stored images, pixels.
        crop_size: size of their central part that the network sees, pixels.
        final_size: size of the network's input, pixels.
        masks_dir: folder for masks, `<id_str>_spiral_mask.png` and `<id_str>_bar_mask.png`: 8-bit PNGs over the image
            pixel for pixel, where 255 means every volunteer. By default no masks are predicted.
        overlays: also draw the masks over the image, `<id_str>_overlay.png`.
        recursive: look into sub-folders too; the id is then the path below the folder, 'sub/galaxy'.
        seed: of the dropout.

    Returns:
        Path of the table.

    Raises:
        ValueError: arguments are impossible or contradict the run folder, two images have one id, no image can be
            read, or an unfinished run at `save_loc` had other arguments.
        OSError: a folder or file is missing or cannot be written.
    """
    folder, save_loc = Path(folder_to_predict).absolute(), Path(save_loc).absolute()
    masks_dir = None if masks_dir is None else Path(masks_dir).absolute()
    run = read_run(Path(checkpoint_dir))
    _check_run(run, schema, initial_size=initial_size, crop_size=crop_size, final_size=final_size)
    _check_numbers(n_samples=(n_samples, 1), batch_size=(batch_size, 1), seed=(seed, 0))
    _check_table(save_loc)
    _check_masks(run, masks_dir, overlays)
    names = find_images(folder, file_format, recursive)
    _check_masks_apart(masks_dir, folder, file_format, recursive)

    masks = run.model.masks if masks_dir else ()
    settings = {
        "version": __version__,
        "weights": sha256_of(run.folder / WEIGHTS_NAME),
        "framing": asdict(run.framing),
        "images": fingerprint(folder, names),
        "n_samples": n_samples,
        "seed": seed,
        "masks_dir": masks_dir and str(masks_dir),
        "overlays": overlays,
    }
    votes_schema = run.model.schema if "votes" in run.model.tasks else None
    parts = Parts(save_loc, votes_schema, n_samples, masks, settings)
    slices = {number: names[first : first + PART_SIZE] for number, first in enumerate(range(0, len(names), PART_SIZE))}
    if todo := {number: part for number, part in slices.items() if not parts.has(number)}:
        from zoobot3d_tf.predictions.network import Network

        network = Network(run, masks, n_samples, batch_size, seed)
        batches = (part[i : i + network.step] for part in todo.values() for i in range(0, len(part), network.step))
        predict_batch = partial(_predict_batch, folder, run.framing, network, masks_dir, overlays)
        n_done = len(names) - sum(len(part) for part in todo.values())
        # So far ahead that the threads stay busy while a part is written.
        with closing(_map_on_threads(predict_batch, batches, ahead=PART_SIZE // network.step)) as running:
            outcomes = chain.from_iterable(running)
            outcomes = iter(tqdm(outcomes, initial=n_done, total=len(names), unit="galaxy", disable=None))
            for number, part in todo.items():
                parts.add(number, list(islice(outcomes, len(part))))

    n_predicted, n_failed = parts.join()
    log.info("%d galaxies predicted: %s", n_predicted, save_loc)
    if n_failed:
        log.warning("%d images left out, see %s", n_failed, failed_loc(save_loc))
    return save_loc


def _check_run(run: TrainedRun, schema: Schema | None, **sizes: int | None) -> None:
    if not (run.folder / WEIGHTS_NAME).is_file():
        raise ValueError(f"{run.folder}: no {WEIGHTS_NAME}; the run is unfinished, run train_model.py on it again")
    if schema is not None and schema != run.model.schema:
        raise ValueError(f"{run.folder} was trained with {run.model.schema!r}, not {schema!r}; leave out schema")
    for name, size in sizes.items():
        trained = getattr(run.framing, name)
        if size is not None and size != trained:
            raise ValueError(f"{run.folder} was trained with {name} {trained}, not {size}; leave out {name}")


def _check_numbers(**numbers: tuple[int, int]) -> None:
    for name, (number, lowest) in numbers.items():
        if number < lowest:
            raise ValueError(f"{name} must be at least {lowest}; received {number}")


def _check_table(save_loc: Path) -> None:
    if save_loc.suffix.lower() not in TABLE_SUFFIXES:
        raise ValueError(f"{save_loc}: the table's name must end in {' or '.join(TABLE_SUFFIXES)}")
    if save_loc.is_dir():
        raise IsADirectoryError(f"{save_loc}: is a folder; give the table another name")
    if not save_loc.parent.is_dir():
        raise NotADirectoryError(f"{save_loc.parent}: no such folder; make it for the table first")


def _check_masks(run: TrainedRun, masks_dir: Path | None, overlays: bool) -> None:
    if masks_dir is None and overlays:
        raise ValueError("overlays stand beside the masks: give masks_dir too")
    if masks_dir is None and "votes" not in run.model.tasks:
        raise ValueError(f"{run.folder} was trained on masks alone: give masks_dir to have them written")
    if masks_dir is not None and not run.model.masks:
        raise ValueError(f"{run.folder} was trained without masks; leave out masks_dir")
    if masks_dir is not None and masks_dir.exists() and not masks_dir.is_dir():
        raise NotADirectoryError(f"{masks_dir}: is not a folder; the masks need one")


def _check_masks_apart(masks_dir: Path | None, folder: Path, file_format: str, recursive: bool) -> None:
    if masks_dir is None or file_format != "png":
        return
    masks_dir, folder = masks_dir.resolve(), folder.resolve()
    if masks_dir == folder or (recursive and masks_dir.is_relative_to(folder)):
        raise ValueError(f"{masks_dir}: lies among the images, where the next run would take masks for galaxies")


def _map_on_threads(function: Callable, items: Iterable, ahead: int) -> Generator:
    """`map` on all cores, in order; at most `ahead` results wait."""
    cores = available_cores()
    pool = ThreadPoolExecutor(cores)
    running: deque[Future] = deque()
    try:
        for item in items:
            running.append(pool.submit(function, item))
            if len(running) > cores + ahead:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _predict_batch(
    folder: Path, framing: Framing, network: "Network", masks_dir: Path | None, overlays: bool, names: Sequence[str]
) -> list[Prediction | Failure]:
    """Reads and predicts one step of galaxies, and writes their masks."""
    # An image that cannot be read stays black in its place, so that the others come out as ever to the last bit.
    images = np.zeros((network.step, framing.final_size, framing.final_size, 3), np.uint8)
    originals: dict[int, np.ndarray] = {}
    outcomes: dict[int, Prediction | Failure] = {}
    for i, name in enumerate(names):
        try:
            image = read_image(folder / name)
        except ImageError as error:
            outcomes[i] = Failure(id_str_of(name), str(folder / name), str(error))
            continue
        originals[i] = image
        images[i] = warp(resize_image(image, framing.initial_size), central_affine(framing), framing.final_size)

    outputs = network(images, [id_str_of(name) for name in names])
    concentrations = outputs.pop("votes", None)
    for i, image in originals.items():
        id_str, file_loc = id_str_of(names[i]), str(folder / names[i])
        masks = {name: to_image(fraction[i], framing, image.shape[:2]) for name, fraction in outputs.items()}
        mask_locs = write_masks(masks_dir, id_str, masks) if masks_dir else []
        if masks_dir and overlays:
            write_overlay(masks_dir, id_str, image, masks)
        votes = None if concentrations is None else concentrations[i]
        outcomes[i] = Prediction(id_str, file_loc, votes, mask_locs)
    return [outcomes[i] for i in range(len(names))]
