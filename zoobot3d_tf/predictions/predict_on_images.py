"""A folder of images in, a table of predictions out, and masks: what `make_predictions.py` does.

TensorFlow is imported only when every argument has been checked.
"""

import logging
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
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
from zoobot3d_tf.images.read import ImageError, read_image, resize_image
from zoobot3d_tf.predictions.folder import find_images, fingerprint, id_str_of
from zoobot3d_tf.predictions.mask_files import to_image, write_masks, write_overlay
from zoobot3d_tf.predictions.parts import PART_SIZE, TABLE_SUFFIXES, Failure, Parts, Prediction, failed_loc
from zoobot3d_tf.schemas import Schema
from zoobot3d_tf.shards.manifest import sha256_of
from zoobot3d_tf.training.training_config import WEIGHTS_NAME, TrainedRun, read_run

if TYPE_CHECKING:
    from zoobot3d_tf.predictions.network import Network

PathLike = str | os.PathLike[str]

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
    run = read_run(checkpoint_dir)
    _check_run(run, schema, initial_size=initial_size, crop_size=crop_size, final_size=final_size)
    _check_numbers(n_samples=(n_samples, 1), batch_size=(batch_size, 1), seed=(seed, 0))
    _check_table(save_loc)
    _check_masks(run, masks_dir, overlays)
    _check_masks_apart(masks_dir, folder, file_format, recursive)
    names = find_images(folder, file_format, recursive)

    masks = run.model.masks if masks_dir else ()
    settings = {
        "version": __version__,
        "weights": sha256_of(run.folder / WEIGHTS_NAME),
        "framing": asdict(run.framing),
        "images": fingerprint(folder, names),
        "seed": seed,
        "masks_dir": masks_dir and str(masks_dir),
        "overlays": overlays,
    }
    votes_schema = run.model.schema if "votes" in run.model.tasks else None
    parts = Parts(save_loc, votes_schema, n_samples, masks, settings)
    todo = [first for first in range(0, len(names), PART_SIZE) if not parts.has(first // PART_SIZE)]
    if todo:
        from zoobot3d_tf.predictions.network import Network

        network = Network(run, masks, n_samples, batch_size, seed)
