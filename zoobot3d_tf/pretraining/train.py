"""The training of an encoder by VICReg, and its files for timm."""

import hashlib
import logging
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from safetensors.numpy import save

from zoobot3d_tf.data.dataset import in_parallel
from zoobot3d_tf.files import FAILED_NAME, write_atomically
from zoobot3d_tf.gpu import has_gpu
from zoobot3d_tf.models.timm_files import SAFETENSORS_NAME
from zoobot3d_tf.models.weights import timm_targets, timm_values
from zoobot3d_tf.pretraining.recipe import Pretraining
from zoobot3d_tf.pretraining.stored_images import store_images
from zoobot3d_tf.pretraining.vicreg import POOLED, build_network, rank, spread, vicreg_loss
from zoobot3d_tf.pretraining.views import view_pairs
from zoobot3d_tf.training.assemble import cosine
from zoobot3d_tf.training.checkpoints import Checkpoints, StopOnNaN
from zoobot3d_tf.training.progress import EpochLines

logger = logging.getLogger(__name__)

_STORED = "images-{}.uint8"


def train_encoder(pretraining: Pretraining, galaxies: pd.DataFrame, images: str, max_failed: float) -> None:
    """Train an encoder from its last checkpoint, and leave it in the folder of the pretraining.

    Args:
        pretraining: the pretraining. Its `config.json` is written already.
        galaxies: image files, as `galaxies_in_folder` lists them.
        images: hash of the images.
        max_failed: largest fraction of the images that may fail; see `failures.may_fail`.

    Raises:
        ValueError: too many images failed, or the initial weights are damaged.
        FloatingPointError: the loss became NaN or infinite.
        OSError: a file cannot be read or written.
    """
    recipe, folder = pretraining.recipe, pretraining.save_dir
    checkpoints = Checkpoints(folder / "checkpoints", patience=recipe.epochs)
    if checkpoints.finished(recipe.epochs) and (folder / SAFETENSORS_NAME).is_file():
        logger.info("%s: the pretraining of %d epochs is finished; nothing to do.", folder, checkpoints.epochs_done)
        return
    network = _compiled_network(pretraining, checkpoints.epochs_done)
    if checkpoints.finished(recipe.epochs):  # and interrupted before the files for timm
        checkpoints.restore(network)
    else:
        stored = store_images(
            _stored_loc(pretraining, images),
            galaxies,
            pretraining.framing.initial_size,
            pretraining.stretch,
            folder / FAILED_NAME,
            max_failed,
        )
        _fit(network, pretraining, checkpoints, stored)
    write_timm_tensors(network.get_layer(POOLED).get_layer("encoder"), folder / SAFETENSORS_NAME)
    for path in folder.glob(_STORED.format("*")):
        path.unlink()


def write_timm_tensors(encoder: keras.Model, path: Path) -> None:
    """Write the weights of an encoder with the names and axes of timm's tensors.

    Args:
        encoder: encoder made by `build_timm_encoder`.
        path: file to write, `model.safetensors`.

    Raises:
        OSError: the file cannot be written.
    """
    tensors = {name: np.ascontiguousarray(timm_values(*target)) for name, target in timm_targets(encoder).items()}
    write_atomically(path, save(tensors, metadata={"format": "pt"}))


def _stored_loc(pretraining: Pretraining, images: str) -> Path:
    """Path of the file of the stored images, another one if other images, or the same in another size, are stored."""
    contents = f"{images} {pretraining.framing.initial_size} {pretraining.stretch}"
    return pretraining.save_dir / _STORED.format(hashlib.sha256(contents.encode()).hexdigest()[:16])


def _compiled_network(pretraining: Pretraining, epochs_done: int) -> keras.Model:
    recipe = pretraining.recipe
    keras.utils.set_random_seed(recipe.seed)
    network = build_network(pretraining.model)
    if pretraining.encoder_weights and not epochs_done:
        pretraining.encoder_weights.load(network.get_layer(POOLED), pretraining.model)
    network.compile(
        keras.optimizers.AdamW(recipe.learning_rate, weight_decay=recipe.weight_decay),
        loss=vicreg_loss,
        metrics=[spread, rank],
        jit_compile="auto" if has_gpu() else False,  # as in `training.loop`
    )
    network.optimizer.build(network.trainable_variables)  # checkpoints need its variables
    return network


def _fit(network: keras.Model, pretraining: Pretraining, checkpoints: Checkpoints, stored: np.ndarray) -> None:
    recipe, framing = pretraining.recipe, pretraining.framing
    n_steps = len(stored) // recipe.batch_size
    if not n_steps:
        raise ValueError(
            f"batch_size must be at most the number of images that can be read, {len(stored)}; is {recipe.batch_size}"
        )
    shape = (recipe.batch_size, 2, framing.final_size, framing.final_size, 3)

    def views_of(step: np.ndarray) -> np.ndarray:
        return view_pairs(stored, framing, recipe.batch_size, recipe.seed, int(step))

    def batch_of(step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        views = tf.ensure_shape(tf.numpy_function(views_of, [step], tf.uint8), shape)
        return tf.cast(views, tf.float32), tf.zeros(recipe.batch_size)  # Keras wants targets

    checkpoints.restore(network)
    logger.info(
        "%d images. Pretraining starts at epoch %d of %d.", len(stored), checkpoints.epochs_done + 1, recipe.epochs
    )
    network.fit(
        in_parallel(tf.data.Dataset.range(checkpoints.epochs_done * n_steps, recipe.epochs * n_steps), batch_of),
        steps_per_epoch=n_steps,
        initial_epoch=checkpoints.epochs_done,
        epochs=recipe.epochs,
        callbacks=[cosine(recipe.learning_rate, recipe.epochs), StopOnNaN(), checkpoints, EpochLines()],
        shuffle=False,  # the views are in random order already
        verbose=0,
    )
