"""Pretraining of an encoder on folders of images.

This module checks the arguments and finds the images. Only the training imports TensorFlow, so that errors come at
once.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from zoobot3d_tf.data.framing import CENTRAL_SHARE, Framing
from zoobot3d_tf.failures import MAX_FAILED, check_max_failed
from zoobot3d_tf.files import PathLike, one_owner, path_of
from zoobot3d_tf.images.stretch import DEFAULT_STRETCH, check_stretch
from zoobot3d_tf.inference.inputs import fingerprint, galaxies_in_folder
from zoobot3d_tf.models.config import TIMM_ENCODERS, ModelConfig
from zoobot3d_tf.models.timm_files import SAFETENSORS_NAME
from zoobot3d_tf.pretraining.recipe import DEFAULT_ENCODER, Pretraining, Recipe
from zoobot3d_tf.runs.encoder_weights import find_encoder_weights
from zoobot3d_tf.runs.run_folder import write_config
from zoobot3d_tf.schemas import get_schema


def pretrain(
    folders: Sequence[PathLike],
    save_dir: PathLike,
    recursive: bool = False,
    encoder: str | None = None,
    encoder_weights: str | None = None,
    encoder_pixels: str | None = None,
    color: bool | None = None,
    img_size: int | None = None,
    crop_size: int | None = None,
    resize_size: int = ModelConfig.image_size,
    stretch: str = DEFAULT_STRETCH,
    max_failed: float = MAX_FAILED,
    **recipe: Any,
) -> Path:
    """Pretrain an encoder on images without labels, by VICReg (Bardes et al. 2022, arXiv 2105.04906).

    If the pretraining was interrupted, the same call continues it. If it is finished, the call only says so.

    Args:
        folders: folders of images, see `galaxies_in_folder`.
        save_dir: folder to fill with the encoder in the files of timm (`config.json`, `model.safetensors`), which
            `encoder_weights` of training reads, and with `history.csv`, `checkpoints/` and `failed.csv`.
        recursive: whether to include sub-folders.
        encoder: name of the encoder, one of `TIMM_ENCODERS`; by default that of the weights, or `DEFAULT_ENCODER`.
        encoder_weights: source of the initial weights, see `find_encoder_weights`; random if None.
        encoder_pixels: range of pixels that these weights expect, see `TimmWeights.from_folder`.
        color: whether the encoder sees the three bands, or their mean; by default as the weights require, or the mean.
        img_size: height and width to which the central square of each image is resized once, in pixels; by default 1.5
            times `resize_size`.
        crop_size: height and width of the central part that the network sees, in pixels of the resized images; by
            default three quarters of their size.
        resize_size: height and width of the network's input, in pixels; a multiple of 32.
        stretch: colour stretch of FITS cutouts, see `images.rgb.to_rgb`.
        max_failed: largest fraction of the images that may fail; see `failures.may_fail`.
        recipe: fields of `Recipe`.

    Returns:
        The folder.

    Raises:
        ValueError: an argument is impossible, there are fewer images than in a batch, too many images failed, or the
            folder holds something else.
        OSError: a folder of images or the weights do not exist, or the machine cannot read or write a file.
        FloatingPointError: the loss became NaN or infinite.
        BlockingIOError: another process writes the folder.
    """
    settings = Recipe(**recipe)
    check_max_failed(max_failed)
    check_stretch(stretch)
    weights = None
    if encoder_weights is not None:
        weights = find_encoder_weights(encoder_weights, {"encoder": encoder, "color": color}, encoder_pixels)
    asked = {"encoder": encoder or DEFAULT_ENCODER, "color": color} | (weights.settings if weights else {})
    if asked["encoder"] not in TIMM_ENCODERS:
        raise ValueError(f"encoder must be one of timm: {', '.join(TIMM_ENCODERS)}; received {asked['encoder']!r}")
    # Models need a task. The head of this one, a single question, is not used.
    model = ModelConfig(
        get_schema("rings"), resize_size, tasks=("votes",), **{k: v for k, v in asked.items() if v is not None}
    )
    stored_size = img_size or resize_size * 3 // 2
    framing = Framing(stored_size, crop_size or int(stored_size * CENTRAL_SHARE), resize_size)
    galaxies = pd.concat([galaxies_in_folder(folder, recursive=recursive) for folder in folders], ignore_index=True)
    if len(galaxies) < settings.batch_size:
        raise ValueError(f"batch_size must be at most the number of images, {len(galaxies)}; is {settings.batch_size}")

    pretraining = Pretraining(model, framing, stretch, path_of(save_dir).absolute(), weights, settings)
    with one_owner(pretraining.save_dir):
        _check_folder(pretraining.save_dir)
        images = fingerprint(galaxies)
        write_config(pretraining.save_dir, pretraining.to_dict(images))
        from zoobot3d_tf.pretraining.train import train_encoder

        train_encoder(pretraining, galaxies, images, max_failed)
    return pretraining.save_dir


def _check_folder(save_dir: Path) -> None:
    """Raise an error if the folder holds weights that no pretraining there has written, or that cannot be continued."""
    if (save_dir / SAFETENSORS_NAME).is_file() and not any(save_dir.rglob("*.weights.h5")):
        raise ValueError(
            f"{save_dir}: already holds {SAFETENSORS_NAME}, and no checkpoints to continue; choose another save_dir"
        )
