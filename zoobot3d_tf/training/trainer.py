"""The training loop: one run, from shards to a run folder that predictions can use."""

import logging
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from zoobot3d_tf.data.dataset import evaluation_batches, training_batches
from zoobot3d_tf.files import partial_path
from zoobot3d_tf.models import build_model
from zoobot3d_tf.shards.manifest import galaxies_in
from zoobot3d_tf.training.checkpoints import Checkpoints, StopOnNaN
from zoobot3d_tf.training.losses import MASK_LOSSES, votes_loss
from zoobot3d_tf.training.metrics import compiled_metrics
from zoobot3d_tf.training.panels import MaskPanels
from zoobot3d_tf.training.progress import EpochLines
from zoobot3d_tf.training.run_folder import MODEL_NAME, WEIGHTS_NAME
from zoobot3d_tf.training.training_config import RunConfig

logger = logging.getLogger(__name__)


def train(config: RunConfig) -> keras.Model:
    """The work behind `RunConfig.run_estimator`, which has checked the shards and written `config.json`."""
    schema, framing, tasks = config.model.schema, config.framing, config.model.tasks
    checkpoints = Checkpoints(config.log_dir / "checkpoints", config.patience)
    if checkpoints.epochs_done < config.epochs and not checkpoints.exhausted:
        # A continued run must not repeat the order and the augmentations of its first epochs.
        seed = config.seed + checkpoints.epochs_done
        keras.utils.set_random_seed(seed)
        n_answers = len(schema.label_cols)
        training = training_batches(config.train_records, n_answers, framing, config.batch_size, tasks, seed)
        validation = evaluation_batches(config.eval_records, n_answers, framing, config.batch_size, tasks)
        steps = -(-galaxies_in(config.train_records) // config.batch_size)
        with _strategy(config).scope():
            model = compiled_model(config)
        checkpoints.restore(model)
        logger.info("%d parameters; epoch %d of %d", model.count_params(), checkpoints.epochs_done + 1, config.epochs)
        model.fit(
            training.apply(tf.data.experimental.assert_cardinality(steps)),
            validation_data=validation,
            initial_epoch=checkpoints.epochs_done,
            epochs=config.epochs,
            callbacks=[_cosine(config), StopOnNaN(), checkpoints, EpochLines(), *_reporters(config, validation)],
            shuffle=False,  # the dataset is shuffled already
            verbose=0,
        )
    return _save_best(config, checkpoints.best_path)


def compiled_model(config: RunConfig) -> keras.Model:
    """The model of a run with its losses, metrics and optimiser, in the precision that the run asks for."""
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16" if config.mixed_precision else "float32")
    try:
        model = build_model(config.model)
    finally:
        keras.config.set_dtype_policy(policy)
    losses = {name: MASK_LOSSES[config.mask_loss] for name in config.model.masks}
    if "votes" in config.model.tasks:
        losses["votes"] = votes_loss(config.model.schema)
    model.compile(
        optimizer=keras.optimizers.AdamW(config.learning_rate, weight_decay=config.weight_decay),
        loss=losses,
        loss_weights={name: config.loss_weights[name] for name in losses},
        weighted_metrics=compiled_metrics(config.model.schema, config.model.tasks),
        jit_compile="auto" if tf.config.list_physical_devices("GPU") else False,  # XLA is ten times slower on a CPU
    )
    model.optimizer.build(model.trainable_variables)  # a checkpoint can be restored, and the step is traced once
    return model


def _cosine(config: RunConfig) -> keras.callbacks.Callback:
    """Lowers the rate epoch by epoch; a schedule inside the optimiser is traced anew for each of 200 variables."""
    rates = config.learning_rate * 0.5 * (1 + np.cos(np.pi * np.arange(config.epochs) / config.epochs))
    return keras.callbacks.LearningRateScheduler(lambda epoch: float(rates[epoch]))


def _strategy(config: RunConfig) -> tf.distribute.Strategy:
    return tf.distribute.MirroredStrategy() if config.distributed else tf.distribute.get_strategy()


def _reporters(config: RunConfig, validation: tf.data.Dataset) -> list[keras.callbacks.Callback]:
    folder = config.log_dir / "tensorboard"
    reporters: list[keras.callbacks.Callback] = [keras.callbacks.TensorBoard(folder, write_graph=False)]
    if config.model.masks:
        reporters.append(MaskPanels(folder, validation))
    if config.wandb:
        import wandb
        from wandb.integration.keras import WandbMetricsLogger

        wandb.init(project="zoobot3d_tf", dir=config.log_dir, config=config.to_dict())
        reporters.append(WandbMetricsLogger())
    return reporters


def _save_best(config: RunConfig, best: Path) -> keras.Model:
    """Writes the best weights as a model in float32 and without a compiled loss, which plain Keras could not load."""
    model = build_model(config.model)
    model.load_weights(best)
    for name, save in ((MODEL_NAME, model.save), (WEIGHTS_NAME, model.save_weights)):
        partial = partial_path(config.log_dir / name)
        save(partial)
        partial.replace(config.log_dir / name)
    return model
