"""The training job of Galaxy Zoo's production: fine-tune a checkpoint on a training catalogue of KaDE."""

import csv
import json
import logging
import os
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from zoobot3d_tf.active_learning.fixed_crop import FixedCrop
from zoobot3d_tf.data.framing import CENTRAL_SHARE, Framing
from zoobot3d_tf.extras import require
from zoobot3d_tf.files import FAILED_NAME, PathLike, one_owner, path_of, read_json_object, whole_file, write_atomically
from zoobot3d_tf.finetuning.finetune import finetune
from zoobot3d_tf.images.read import read_image
from zoobot3d_tf.images.stretch import DEFAULT_STRETCH
from zoobot3d_tf.models.config import ModelConfig
from zoobot3d_tf.runs.checkpoint_file import unpack_checkpoint, write_checkpoint
from zoobot3d_tf.runs.encoder_weights import EncoderWeights, find_encoder_weights
from zoobot3d_tf.runs.run_folder import FORMAT_VERSION, HISTORY_NAME, WEIGHTS_NAME, TrainedRun, read_run, write_config
from zoobot3d_tf.schemas import Schema
from zoobot3d_tf.surveys.attempts import attempt_all
from zoobot3d_tf.tables.columns import file_name_fault, read_text, require_columns
from zoobot3d_tf.tables.formats import read_table, write_failures, write_table
from zoobot3d_tf.version import __version__

RUN_NAME = "run"
"""Name of the run folder in the folder of results."""
CHECKPOINTS_NAME = "checkpoints"
"""Name of the folder of checkpoints in the folder of results."""
FIXED_CROP_KEY = "fixed_crop"
"""Entry of the configuration of a checkpoint with the fixed crop that it was trained with, None if there was none."""
_BASE_NAME, _UNPACKED_NAME, _IMAGES_NAME, _CATALOG_NAME = "base", "unpacked", "images", "catalog.csv"
_HUB_PREFIX = "hf_hub:"  # as timm and Zoobot name repositories

log = logging.getLogger(__name__)


def train_on_catalog(
    catalog: PathLike,
    save_dir: PathLike,
    checkpoint: PathLike,
    schema: Schema,
    image_size: int = ModelConfig.image_size,
    fixed_crop: FixedCrop | None = None,
    limit: int | None = None,
    workers: int = 1,
    **recipe: Any,
) -> Path:
    """Fine-tune a checkpoint on a training catalogue.

    If the job was interrupted, the same call continues it.

    Args:
        catalog: training CSV of KaDE: `id_str`, `file_loc`, and one column per answer; 0 if missing. Other columns are
            ignored.
        save_dir: folder of results to fill: `run/`, which is a run folder, and `checkpoints/`.
        checkpoint: model to begin with: a file that this function has written; a run folder, a folder of weights of
            timm or Zoobot, `hf://owner/name` of either, or the same with `hf_hub:`; or a name that
            `find_encoder_weights` takes.
        schema: decision tree of the votes.
        image_size: height and width of the input of the network, in pixels.
        fixed_crop: rectangle of the original images that the network sees; by default the central part that the
            checkpoint was trained with.
        limit: number of galaxies to use, the first ones; by default all.
        workers: number of processes that read images.
        recipe: fields of `finetuning.recipe.Recipe`.

    Returns:
        Path of the checkpoint `checkpoints/epoch-<n>-val_loss-<loss>.ckpt`, of the epoch with the lowest loss.

    Raises:
        ValueError: the catalogue, the checkpoint or an argument is wrong, or `save_dir` holds another run.
        OSError: a file cannot be read or written, or all images are missing.
        FloatingPointError: the loss became NaN or infinite.
    """
    save_dir = path_of(save_dir).absolute()
    with one_owner(save_dir):
        base = _find_base(checkpoint, schema, image_size, fixed_crop, save_dir)
        source = catalog
        if fixed_crop or limit:
            source = _prepare_catalog(catalog, save_dir, base, fixed_crop, limit, workers)
        finetune(
            source,
            save_dir / RUN_NAME,
            base.folder,
            schema,
            crop_size=base.framing.initial_size if fixed_crop else None,
            resize_size=image_size,
            image_root=path_of(catalog).absolute().parent,
            workers=workers,
            **recipe,
        )
        best = json.loads((save_dir / RUN_NAME / "validation.json").read_text(encoding="utf-8"))
        name = f"epoch-{best['epoch']}-val_loss-{best['loss']:.7f}.ckpt"
        settings = {FIXED_CROP_KEY: fixed_crop and asdict(fixed_crop)}
        return write_checkpoint(save_dir / RUN_NAME, save_dir / CHECKPOINTS_NAME / name, settings)


@dataclass(frozen=True)
class WandbRun:
    """Where a training is logged at Weights & Biases.

    Attributes:
        project: name of the project.
        name: name of the run.
    """

    project: str
    name: str

    def check(self) -> None:
        """Check, before the training, that it can be logged.

        Raises:
            ImportError: wandb is not installed.
            ValueError: there is no key.
        """
        require("wandb", "wandb")
        if not os.environ.get("WANDB_API_KEY") and os.environ.get("WANDB_MODE") not in ("offline", "disabled"):
            raise ValueError("wandb needs the variable WANDB_API_KEY; set it, or omit wandb")

    def log(self, save_dir: PathLike) -> None:
        """Log the history of a finished training.

        Args:
            save_dir: folder of results of `train_on_catalog`.
        """
        import wandb

        run_folder = path_of(save_dir) / RUN_NAME
        with wandb.init(project=self.project, name=self.name, dir=run_folder) as run:
            with (run_folder / HISTORY_NAME).open(encoding="utf-8", newline="") as file:
                for epoch in csv.DictReader(file):
                    run.log({key: float(value) if key != "stage" else value for key, value in epoch.items() if value})


def _find_base(
    checkpoint: PathLike, schema: Schema, image_size: int, fixed_crop: FixedCrop | None, save_dir: Path
) -> TrainedRun:
    """Find the run that the fine-tuning begins with. An encoder becomes a run with new heads."""
    name = os.fspath(checkpoint)
    if name.startswith(_HUB_PREFIX):
        name = f"hf://{name.removeprefix(_HUB_PREFIX)}"
    elif path_of(name).is_file():
        return read_run(unpack_checkpoint(name, save_dir / _UNPACKED_NAME))
    weights = find_encoder_weights(name, {"encoder": None, "color": None})
    if isinstance(weights.found, TrainedRun):
        return weights.found
    initial_size = image_size if fixed_crop else round(image_size / CENTRAL_SHARE)
    return _base_of_encoder(weights, schema, Framing(initial_size, image_size, image_size), save_dir / _BASE_NAME)


def _base_of_encoder(weights: EncoderWeights, schema: Schema, framing: Framing, folder: Path) -> TrainedRun:
    """Make a run folder with the weights of an encoder and an untrained vote head, or read the one made before."""
    model = ModelConfig(schema=schema, image_size=framing.final_size, tasks=("votes",), **weights.settings)
    config = {
        "format_version": FORMAT_VERSION,
        "model": model.to_dict(),
        "framing": asdict(framing),
        "encoder_weights": weights.to_dict(),
        "versions": {"zoobot3d_tf": __version__},
        "stretch": DEFAULT_STRETCH,
    }
    write_config(folder, config)
    if not (folder / WEIGHTS_NAME).is_file():
        import keras

        from zoobot3d_tf.models.build import build_model
        from zoobot3d_tf.models.weights_file import save_weights

        keras.utils.set_random_seed(0)  # the base is the same after an interruption
        network = build_model(model)
        weights.load(network, model)
        save_weights(network, folder / WEIGHTS_NAME)
    return read_run(folder)


def _prepare_catalog(
    catalog: PathLike, save_dir: Path, base: TrainedRun, fixed_crop: FixedCrop | None, limit: int | None, workers: int
) -> Path:
    """Write a catalogue of the galaxies to use, with cropped images if there is a fixed crop."""
    table = read_table(catalog)[:limit].copy()
    require_columns(catalog, table.columns, ["id_str", "file_loc"])
    root = path_of(catalog).absolute().parent
    table["file_loc"] = [os.path.join(root, loc) for loc in read_text(catalog, table, "file_loc")]
    if fixed_crop:
        table = _crop_images(table, save_dir, base.stretch, fixed_crop, workers)
    return write_table(table, save_dir / _CATALOG_NAME)


def _crop_images(
    table: pd.DataFrame, save_dir: Path, stretch: str, fixed_crop: FixedCrop, workers: int
) -> pd.DataFrame:
    """Write the cropped images; return the rows of the galaxies that have one, and list the others."""
    folder = save_dir / _IMAGES_NAME
    folder.mkdir(exist_ok=True)
    _claim_images(folder, fixed_crop)
    galaxies = list(zip(table["id_str"], table["file_loc"], strict=True))
    crop = partial(_crop_image, folder, stretch, fixed_crop)
    made, failed = attempt_all(crop, galaxies, workers, "image", allowed=len(galaxies))
    write_failures(save_dir / FAILED_NAME, [(*galaxy, reason) for galaxy, reason in failed])
    if not made:
        raise ValueError(f"none of the {len(galaxies)} images can be used; the first error: {failed[0][1]}")
    if failed:
        log.warning("%d of %d galaxies are left out, see %s", len(failed), len(galaxies), save_dir / FAILED_NAME)
    paths = {galaxy: str(path) for galaxy, path in made}
    locs = pd.Series([paths.get(galaxy, "") for galaxy in galaxies], index=table.index)
    return table.assign(file_loc=locs)[locs != ""]


def _claim_images(folder: Path, fixed_crop: FixedCrop) -> None:
    path = folder / "fixed_crop.json"
    if path.exists() and FixedCrop(**read_json_object(path, "fixed crop")) != fixed_crop:
        raise ValueError(f"{folder}: holds images with another fixed_crop; use another save_dir")
    write_atomically(path, fixed_crop.to_json())


def _crop_image(folder: Path, stretch: str, fixed_crop: FixedCrop, galaxy: tuple[str, str]) -> Path:
    """Write the cropped image of a galaxy unless it exists.

    Raises:
        ValueError: the image cannot be used. The message names it.
    """
    id_str, file_loc = galaxy
    if fault := file_name_fault(id_str):
        raise ValueError(f"{file_loc}: the id {id_str!r} {fault}")
    path = folder / f"{id_str}.png"
    if not path.exists():
        pixels = fixed_crop.cut(read_image(file_loc, stretch), file_loc)
        with whole_file(path, sync=False) as made:
            Image.fromarray(np.ascontiguousarray(pixels)).save(made, format="PNG")
    return path
