"""The stages of a fine-tuning: a new head on a frozen encoder, then the encoder's last blocks."""

import json
import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import chain, islice, repeat

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from tqdm import tqdm

from zoobot3d_tf.files import write_atomically
from zoobot3d_tf.finetuning.recipe import Finetuning
from zoobot3d_tf.finetuning.scores import Validation, validation_scores
from zoobot3d_tf.images.masks import MASKS
from zoobot3d_tf.models import build_model
from zoobot3d_tf.models.heads import POOLED_HEADS
from zoobot3d_tf.runs.run_folder import HISTORY_NAME
from zoobot3d_tf.shards.manifest import galaxies_in
from zoobot3d_tf.training.assemble import batches, compile_model, cosine
from zoobot3d_tf.training.checkpoints import Checkpoints, StopOnNaN
from zoobot3d_tf.training.finish import finish_model
from zoobot3d_tf.training.loop import fit
from zoobot3d_tf.training.progress import EpochLines
from zoobot3d_tf.training.run_config import RunConfig

logger = logging.getLogger(__name__)

VALIDATION_NAME = "validation.json"
# Of each galaxy, from which the head learns; more of them cost a pass of the encoder each.
VIEWS = 8
# What their features may take; of a larger catalogue fewer views are taken.
FEATURE_BYTES = 2**30

_BLOCK = re.compile(r"(block\d+[a-z]+)_|(blocks\.\d+\.\d+)\.")


def begin(finetuning: Finetuning) -> keras.Model:
    """The network before its first step: that of the base, with new heads.

    Raises:
        ValueError: the base's weights do not fit its configuration.
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
    """Trains stage by stage, and leaves the best network, its history and its scores in the run folder."""
    config, recipe, model = finetuning.run, finetuning.recipe, begin(finetuning)
    histories = {"head": _train_head(model, replace(config, log_dir=config.log_dir / "head"))}
    kept = "head"
    if recipe.n_blocks:
        stage = replace(config, log_dir=config.log_dir / "blocks", learning_rate=recipe.blocks_learning_rate)
        histories["blocks"] = _train_blocks(model, stage, recipe.n_blocks, recipe.layer_decay)
        kept = min(histories, key=lambda name: min(epoch["val_loss"] for epoch in histories[name]))
    best = build_model(config.model)  # neither compiled nor frozen
    if kept == "blocks":
        best.load_weights(Checkpoints(stage.log_dir / "checkpoints", stage.patience).best_path)
    else:
        best.set_weights(model.get_weights())
    finish_model(best, config)
    history = pd.DataFrame([{"stage": name} | epoch for name, epochs in histories.items() for epoch in epochs])
    write_atomically(config.log_dir / HISTORY_NAME, history.to_csv(index=False))
    _report(best, config, history, kept)
    return best


def encoder_blocks(encoder: keras.Model) -> list[list[keras.layers.Layer]]:
    """Layers of an encoder from its input to its output: the stem, each block, and what follows the last one."""
    groups: list[list[keras.layers.Layer]] = [[]]
    last = ""
    for layer in encoder.layers:
        match = _BLOCK.match(layer.name)
        name = (match[1] or match[2]) if match else "top" if last else ""
        if name != last:
            groups.append([])
            last = name
        groups[-1].append(layer)
    return groups


class LayerDecayAdamW(keras.optimizers.Adam):
    """AdamW with a rate of its own for each variable: `learning_rate` times its factor.

    The decay of the weights follows that rate too, which is why it is not Keras's own: that knows one rate.

    Args:
        learning_rate: of variables with the factor 1.
        decay: share of a variable that a step takes away, over the rate, as `weight_decay` of `AdamW`.
        factors: by the path of the variable; 1 where it is not named.
    """

    def __init__(self, learning_rate: float, decay: float, factors: Mapping[str, float]) -> None:
        super().__init__(learning_rate)
        self.decay = decay
        self.factors = factors

    def build(self, variables: list[keras.Variable]) -> None:
        """Also puts the factors in the order of the variables."""
        self.ordered_factors = [self.factors.get(variable.path, 1.0) for variable in variables]
        super().build(variables)

    def update_step(self, gradient, variable, learning_rate) -> None:
        """One variable's step."""
        rate = learning_rate * self.ordered_factors[self._get_variable_index(variable)]
        self.assign_sub(variable, variable * self.decay * rate)
        super().update_step(gradient, variable, rate)


def _train_head(model: keras.Model, config: RunConfig) -> list[dict]:
    """Trains what is new while the encoder stays as it is; leaves the best of it in the model."""
    checkpoints = Checkpoints(config.log_dir / "checkpoints", config.patience)
    logger.info("stage head: %s, the encoder stays as it is", ", ".join(config.model.tasks))
    model.get_layer("encoder").trainable = False
    trainee = model if config.model.masks else _pooled_head(model)
    compile_model(trainee, config, keras.optimizers.AdamW(config.learning_rate, weight_decay=config.weight_decay))
    if not checkpoints.finished(config.epochs):
        keras.utils.set_random_seed(config.seed + checkpoints.epochs_done)
        if config.model.masks:
            fit(trainee, config, checkpoints)
        else:
            _fit_on_features(trainee, model, config, checkpoints)
    trainee.load_weights(checkpoints.best_path)
    return checkpoints.history


def _train_blocks(model: keras.Model, config: RunConfig, n_blocks: int, layer_decay: float) -> list[dict]:
    """Trains the last blocks of the encoder with the heads; leaves the model as it was."""
    checkpoints = Checkpoints(config.log_dir / "checkpoints", config.patience)
    logger.info("stage blocks: up to %d of the encoder's last blocks learn too", n_blocks)
    if not checkpoints.finished(config.epochs):
        before = model.get_weights()
        keras.utils.set_random_seed(config.seed + checkpoints.epochs_done)
        factors = unfreeze(model, n_blocks, layer_decay)
        compile_model(model, config, LayerDecayAdamW(config.learning_rate, config.weight_decay, factors))
        fit(model, config, checkpoints)
        model.set_weights(before)
    return checkpoints.history


def unfreeze(model: keras.Model, n_blocks: int, layer_decay: float = 1.0) -> dict[str, float]:
    """Lets the last blocks of the encoder learn, its top convolution and the heads; batch statistics stay as they are.

    Args:
        model: as `build_model` makes it.
        n_blocks: so many blocks, from the last one.
        layer_decay: factor of the learning rate from each block to the one below; the top and the heads have 1.

    Returns:
        Factors of the learning rate, by the path of the variable.
    """
    encoder = model.get_layer("encoder")
    encoder.trainable = True
    *below, top = encoder_blocks(encoder)
    for layer in top:
        layer.trainable = any(name in model.output for name in POOLED_HEADS)  # masks are not drawn from it
    factors: dict[str, float] = {}
    for depth, block in enumerate(reversed(below), start=1):
        for layer in block:
            layer.trainable = depth <= n_blocks
            factors |= {variable.path: layer_decay**depth for variable in layer.trainable_variables}
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False
    return factors


def _pooled_head(model: keras.Model) -> keras.Model:
    """The head on the pooled features, alone; its layer is the model's own."""
    features = keras.Input(model.get_layer("features").output.shape[1:])
    heads = {task: model.get_layer(name) for task, name in POOLED_HEADS.items() if task in model.output}
    return keras.Model(features, {task: head(features) for task, head in heads.items()})


def _fit_on_features(head: keras.Model, model: keras.Model, config: RunConfig, checkpoints: Checkpoints) -> None:
    """Computes what the encoder sees in some views of each galaxy once, and trains the head on that."""
    encode = _graph(keras.Model(model.input, model.get_layer("features").output))
    training, validation = batches(config, config.seed)
    n_galaxies = galaxies_in(config.train_records)
    n_batches = -(-n_galaxies // config.batch_size)
    affordable = FEATURE_BYTES // (4 * config.batch_size * head.input_shape[-1])
    n_seen = min(VIEWS * n_batches, max(1, affordable))
    logger.info("features of %d galaxies in %.3g random views each", n_galaxies, n_seen / n_batches)
    views = islice(chain.from_iterable(repeat(training)), n_seen)
    features, targets, weights = _features(encode, views, n_seen)
    seen = _features(encode, validation, None)
    checkpoints.restore(head)
    head.fit(
        features,
        targets,
        sample_weight=weights,
        batch_size=config.batch_size,
        validation_data=seen,
        validation_batch_size=config.batch_size,
        initial_epoch=checkpoints.epochs_done,
        epochs=config.epochs,
        callbacks=[cosine(config), StopOnNaN(), checkpoints, EpochLines()],
        verbose=0,
    )


def _features(encode, batches: Iterable, n_batches: int | None):
    """Pooled features (galaxies, features), with targets and weights, as arrays."""
    parts = []
    for images, targets, weights in tqdm(
        batches, desc="features", total=n_batches, unit="batch", leave=False, disable=None
    ):
        parts.append(tf.nest.map_structure(np.asarray, (encode(images), targets, weights)))
    return tf.nest.map_structure(lambda *arrays: np.concatenate(arrays), *parts)


def _report(model: keras.Model, config: RunConfig, history: pd.DataFrame, kept: str) -> None:
    """Writes `validation.json`, and the plots if they can be drawn."""
    best = history[history["stage"] == kept].sort_values("val_loss", kind="stable").iloc[0]
    of_epoch = {name.removeprefix("val_"): float(best[name]) for name in best.index if name.startswith("val_")}
    validation = _validate(model, config)
    scores = {"stage": kept, "epoch": int(best["epoch"])} | of_epoch | validation_scores(config.model, validation)
    write_atomically(config.log_dir / VALIDATION_NAME, json.dumps(scores, indent=1) + "\n")
    logger.info("kept is epoch %d of stage %s; its scores stand in %s", best["epoch"], kept, VALIDATION_NAME)
    try:
        from zoobot3d_tf.finetuning.plots import draw_plots
    except ImportError as error:
        logger.info("%s", error)
    else:
        draw_plots(config.model, history, kept, validation, config.log_dir)


def _validate(model: keras.Model, config: RunConfig) -> Validation:
    """What the network says of the validation galaxies that have the label; of masks, nothing."""
    if config.model.masks:
        return Validation(np.empty((0, 0)), np.empty((0, 0)))
    (task,) = config.model.tasks
    _, galaxies = batches(config, config.seed)
    predict = _graph(model)
    parts = [(predict(images)[task], targets[task], weights[task]) for images, targets, weights in galaxies]
    predicted, known, weights = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return Validation(predicted[weights > 0], known[weights > 0])


def _graph(model: keras.Model) -> tf.types.experimental.GenericFunction:
    """The model in inference, traced once for batches of any length."""
    return tf.function(lambda images: model(images, training=False), [tf.TensorSpec(model.input.shape, tf.float32)])
