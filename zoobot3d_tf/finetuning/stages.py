"""Stages of a fine-tuning: a new head on the frozen encoder, then the last blocks of the encoder."""

import json
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from itertools import islice
from typing import Any, cast

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from zoobot3d_tf.data.dataset import Share
from zoobot3d_tf.extras import is_installed
from zoobot3d_tf.files import write_atomically
from zoobot3d_tf.finetuning.blocks import unfreeze
from zoobot3d_tf.finetuning.recipe import Finetuning
from zoobot3d_tf.finetuning.scores import Validation, validation_scores
from zoobot3d_tf.images.masks import MASKS, overlap
from zoobot3d_tf.models.build import build_model
from zoobot3d_tf.models.config import POOLED_HEADS
from zoobot3d_tf.models.heads import mask_fraction
from zoobot3d_tf.predictions.results import INTERVAL_LEVEL
from zoobot3d_tf.progress import Progress
from zoobot3d_tf.runs.run_folder import HISTORY_NAME, WEIGHTS_NAME, read_run
from zoobot3d_tf.shards.manifest import galaxies_in
from zoobot3d_tf.training.assemble import batches, compile_model, shards_checked_on_error
from zoobot3d_tf.training.checkpoints import Checkpoints, best_epoch
from zoobot3d_tf.training.finish import finish_model
from zoobot3d_tf.training.loop import fit, fit_batches
from zoobot3d_tf.training.run_config import RunConfig

logger = logging.getLogger(__name__)

VALIDATION_NAME = "validation.json"
VIEWS = 8
"""Number of random views of each galaxy whose features the head learns from. Each costs one pass of the encoder."""
FEATURE_BYTES = 2**30
"""Largest memory of the features, in bytes. Fewer views are taken of larger catalogues."""


def begin(finetuning: Finetuning) -> keras.Model:
    """Build the network before its first step: encoder and decoder of the base, and new heads.

    The heads of masks, and for the same decision tree the vote head, are those of the base too.

    Raises:
        ValueError: the weights of the base do not fit its configuration.
    """
    config = finetuning.run
    base = finetuning.base.load_model()
    keras.utils.set_random_seed(config.seed)
    model = build_model(config.model)
    shared = {"encoder", "decoder", *MASKS, *(f"{mask}_sigmoid" for mask in MASKS)}
    if config.model.vote_schema and config.model.vote_schema == finetuning.base.model.vote_schema:
        shared.add(POOLED_HEADS["votes"])
    sources = {layer.name: layer for layer in base.layers}
    for layer in model.layers:
        if layer.name in shared & sources.keys():
            layer.set_weights(sources[layer.name].get_weights())
    return model


def run_stages(finetuning: Finetuning) -> keras.Model:
    """Train stage by stage, and leave the best network, its history and its scores in the run folder.

    Returns:
        The fine-tuned model, uncompiled, as saved in the run folder.

    Raises:
        ValueError: the weights of the base do not fit its configuration.
        FloatingPointError: the loss became NaN or infinite.
    """
    config, recipe = finetuning.run, finetuning.recipe
    if (config.log_dir / WEIGHTS_NAME).is_file() and not (config.log_dir / "head").is_dir():
        logger.info("%s: the fine-tuning is finished, and its checkpoints were deleted; nothing to do.", config.log_dir)
        return read_run(config.log_dir).load_model()
    model = begin(finetuning)
    histories = {"head": _train_head(model, replace(config, log_dir=config.log_dir / "head"))}
    kept = "head"
    if recipe.n_blocks:
        stage = replace(config, log_dir=config.log_dir / "blocks", learning_rate=recipe.blocks_learning_rate)
        histories["blocks"] = _train_blocks(model, stage, recipe.n_blocks, recipe.layer_decay)
        lowest = {name: epoch["val_loss"] for name, epochs in histories.items() if (epoch := best_epoch(epochs))}
        kept = min(lowest, key=lambda name: lowest[name])
    best = build_model(config.model)  # uncompiled, with all layers trainable
    if kept == "blocks":
        Checkpoints(stage.log_dir / "checkpoints", stage.patience).restore_best(best)
    else:
        best.set_weights(model.get_weights())
    finish_model(best, config, finetuning.base)
    history = pd.DataFrame([{"stage": name} | epoch for name, epochs in histories.items() for epoch in epochs])
    write_atomically(config.log_dir / HISTORY_NAME, history.to_csv(index=False))
    _report(best, config, history, kept, cast(Mapping[str, float], best_epoch(histories[kept])))
    return best


def _train_head(model: keras.Model, config: RunConfig) -> list[dict]:
    """Train the heads on the frozen encoder, and leave the best weights in the model; returns the history."""
    checkpoints = Checkpoints(config.log_dir / "checkpoints", config.patience)
    logger.info("Head stage: learns %s; the encoder is frozen.", ", ".join(config.model.tasks))
    model.get_layer("encoder").trainable = False
    trainee = model if config.model.masks else _pooled_head(model)
    compile_model(trainee, config)
    if not checkpoints.finished(config.epochs):
        if config.model.masks:
            fit(trainee, config, checkpoints)
        else:
            _fit_on_features(trainee, model, config, checkpoints)
    checkpoints.restore_best(trainee)
    return checkpoints.history


def _train_blocks(model: keras.Model, config: RunConfig, n_blocks: int, layer_decay: float) -> list[dict]:
    """Train the last blocks of the encoder and the heads, and restore the model; returns the history."""
    checkpoints = Checkpoints(config.log_dir / "checkpoints", config.patience)
    logger.info("Blocks stage: the last blocks of the encoder (at most %d) learn too.", n_blocks)
    if not checkpoints.finished(config.epochs):
        before = model.get_weights()
        factors = unfreeze(model, n_blocks, layer_decay)
        compile_model(model, config, factors)
        fit(model, config, checkpoints)
        model.set_weights(before)
    return checkpoints.history


def _pooled_head(model: keras.Model) -> keras.Model:
    """Model from pooled features to the outputs of the heads, which it shares with the whole model."""
    features = keras.Input(model.get_layer("features").output.shape[1:])
    heads = {task: model.get_layer(name) for task, name in POOLED_HEADS.items() if task in model.output}
    return keras.Model(features, {task: head(features) for task, head in heads.items()})


def _fit_on_features(head: keras.Model, model: keras.Model, config: RunConfig, checkpoints: Checkpoints) -> None:
    """Compute the features of some views of each galaxy once, and train the head on them."""
    encode = _graph(keras.Model(model.input, model.get_layer("features").output))
    training, validation = batches(config, range(VIEWS))
    n_galaxies = galaxies_in(config.train_records)
    n_batches = -(-n_galaxies // config.batch_size)
    affordable = FEATURE_BYTES // (4 * config.batch_size * head.input_shape[-1])
    n_seen = min(VIEWS * n_batches, max(1, affordable))
    logger.info("The head learns from %.3g random views of each of %d galaxies.", n_seen / n_batches, n_galaxies)
    with shards_checked_on_error(config):
        views = _features(encode, islice(training, n_seen), n_seen)
        seen = _features(encode, validation, None)
    epochs, first = range(checkpoints.epochs_done, config.epochs), checkpoints.steps_done
    n_steps = -(-len(views[0]) // config.batch_size), -(-len(seen[0]) // config.batch_size)

    def make_batches(share: Share) -> tuple[tf.data.Dataset, tf.data.Dataset]:
        validation = tf.data.Dataset.from_tensor_slices(seen).batch(config.batch_size)
        return _shuffled(views, config.batch_size, config.seed, epochs).skip(first), validation

    fit_batches(head, config, checkpoints, make_batches, n_steps)


def _shuffled(arrays: Any, batch_size: int, seed: int, epochs: range) -> tf.data.Dataset:
    """Batches of the rows of arrays, epoch after epoch. The order depends only on the seed and on the epoch."""
    tensors = tf.nest.map_structure(tf.convert_to_tensor, arrays)
    n_rows = len(tf.nest.flatten(tensors)[0])

    def epoch_batches(epoch: tf.Tensor) -> tf.data.Dataset:
        order = tf.random.experimental.stateless_shuffle(tf.range(n_rows), tf.stack([seed, epoch]))
        rows = tf.data.Dataset.from_tensor_slices(order).batch(batch_size)
        return rows.map(lambda chosen: tf.nest.map_structure(lambda array: tf.gather(array, chosen), tensors))

    return tf.data.Dataset.range(epochs.start, epochs.stop).flat_map(epoch_batches).prefetch(1)


def _features(encode: Callable, batches: Iterable, n_batches: int | None) -> Any:
    """Arrays of pooled features, shape (galaxies, features), targets and weights."""
    parts = []
    for images, targets, weights in Progress(batches, desc="features", total=n_batches, unit="batch", leave=False):
        parts.append(tf.nest.map_structure(np.asarray, (encode(images), targets, weights)))
    return tf.nest.map_structure(lambda *arrays: np.concatenate(arrays), *parts)


def _report(model: keras.Model, config: RunConfig, history: pd.DataFrame, kept: str, best: Mapping[str, float]) -> None:
    """Write `validation.json`, and the plots if matplotlib is installed."""
    of_epoch = {name.removeprefix("val_"): value for name, value in best.items() if name.startswith("val_")}
    validation = _validate(model, config)
    scores, in_words = validation_scores(config.model, validation)
    stored = {"stage": kept, "epoch": int(best["epoch"])} | of_epoch | scores
    write_atomically(config.log_dir / VALIDATION_NAME, json.dumps(stored, indent=1) + "\n")
    logger.info("Best epoch: %d (%s stage). Scores: %s.", best["epoch"], kept, config.log_dir / VALIDATION_NAME)
    logger.info("On the validation galaxies, with intervals of probability %.0f %%:", 100 * INTERVAL_LEVEL)
    for words in in_words:
        logger.info("  %s", words)
    if not is_installed("matplotlib"):
        logger.info("No plots: matplotlib is not installed; pip install 'zoobot3d_tf[plots]'.")
        return
    from zoobot3d_tf.finetuning.plots import draw_plots

    draw_plots(config.model, history, kept, validation, config.log_dir)


def _validate(model: keras.Model, config: RunConfig) -> Validation:
    """Predictions for the validation galaxies that have votes, the label or masks."""
    _, galaxies = batches(config, range(0))
    predict = _graph(model)
    if config.model.masks:
        return Validation(np.empty((0, 0)), np.empty((0, 0)), _overlaps(predict, galaxies, config.model.masks))
    (task,) = config.model.tasks
    parts = [(predict(images)[task], targets[task], weights[task]) for images, targets, weights in galaxies]
    predicted, known, weights = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return Validation(predicted[weights > 0], known[weights > 0])


def _overlaps(predict: Callable, galaxies: Iterable, masks: Iterable[str]) -> dict[str, np.ndarray]:
    """Pixels in intersection and union of each galaxy whose mask is known, (galaxies, 2), by name of the mask."""
    overlaps: dict[str, list[np.ndarray]] = {mask: [] for mask in masks}
    for images, targets, weights in galaxies:
        outputs = predict(images)
        for mask, of_batches in overlaps.items():
            predicted, true = np.asarray(mask_fraction(outputs[mask]))[..., 0], np.asarray(targets[mask])[..., 0]
            counts = np.stack(overlap(predicted, true, np), axis=1)
            of_batches.append(counts[np.asarray(weights[mask]) > 0])
    return {mask: np.concatenate(of_batches) for mask, of_batches in overlaps.items()}


def _graph(model: keras.Model) -> tf.types.experimental.GenericFunction:
    """Function that runs the model in inference, traced once for batches of any length."""
    return tf.function(lambda images: model(images, training=False), [tf.TensorSpec(model.input.shape, tf.float32)])
