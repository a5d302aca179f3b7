"""The training loop: one run, from shards to a run folder that predictions can use."""

import logging

import keras
import numpy as np
import tensorflow as tf

from zoobot3d_tf.data.dataset import evaluation_batches, training_batches
from zoobot3d_tf.files import partial_path
from zoobot3d_tf.models import build_model
from zoobot3d_tf.models.heads import restore_class_shares
from zoobot3d_tf.runs.run_folder import MODEL_NAME, WEIGHTS_NAME
from zoobot3d_tf.shards.manifest import galaxies_in
from zoobot3d_tf.training.checkpoints import Checkpoints, StopOnNaN
from zoobot3d_tf.training.losses import MASK_LOSSES, label_loss, votes_loss
from zoobot3d_tf.training.metrics import compiled_metrics
from zoobot3d_tf.training.panels import MaskPanels
from zoobot3d_tf.training.progress import EpochLines
from zoobot3d_tf.training.training_config import RunConfig

logger = logging.getLogger(__name__)


def train(config: RunConfig) -> keras.Model:
    """The work behind `RunConfig.run_estimator`, which has checked the shards and written `config.json`."""
    checkpoints = Checkpoints(config.log_dir / "checkpoints", config.patience)
    if not checkpoints.finished(config.epochs):
        # A continued run must not repeat the order and the augmentations of its first epochs.
        keras.utils.set_random_seed(config.seed + checkpoints.epochs_done)
        with _strategy(config).scope():
            model = compiled_model(config)
        if config.encoder_weights and not checkpoints.epochs_done:
            config.encoder_weights.load(model, config.model)
        fit(model, config, checkpoints)
    best = build_model(config.model)
    best.load_weights(checkpoints.best_path)
    finish_model(best, config)
    return best


def fit(model: keras.Model, config: RunConfig, checkpoints: Checkpoints) -> None:
    """Trains a compiled model on the shards of a run, from where its checkpoints stand."""
    training, validation = batches(config, config.seed + checkpoints.epochs_done)
    steps = -(-galaxies_in(config.train_records) // config.batch_size)
    checkpoints.restore(model)
    logger.info("%d parameters; epoch %d of %d", model.count_params(), checkpoints.epochs_done + 1, config.epochs)
    model.fit(
        training.apply(tf.data.experimental.assert_cardinality(steps)),
        validation_data=validation,
        initial_epoch=checkpoints.epochs_done,
        epochs=config.epochs,
        callbacks=[cosine(config), StopOnNaN(), checkpoints, EpochLines(), *_reporters(config, validation)],
        shuffle=False,  # the dataset is shuffled already
        verbose=0,
    )


def batches(config: RunConfig, seed: int) -> tuple[tf.data.Dataset, tf.data.Dataset]:
    """Batches of a run to train and to validate on."""
    model, weights = config.model, () if config.model.label is None else config.model.label.class_weights
    common = (len(model.label_cols), config.framing, config.batch_size, model.tasks)
    training = training_batches(config.train_records, *common, seed=seed, class_weights=weights)
    return training, evaluation_batches(config.eval_records, *common, class_weights=weights)


def compiled_model(config: RunConfig) -> keras.Model:
    """The model of a run with its losses, metrics and optimiser, in the precision that the run asks for."""
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16" if config.mixed_precision else "float32")
    try:
        model = build_model(config.model)
    finally:
        keras.config.set_dtype_policy(policy)
    compile_model(model, config, keras.optimizers.AdamW(config.learning_rate, weight_decay=config.weight_decay))
    return model


def compile_model(model: keras.Model, config: RunConfig, optimizer: keras.optimizers.Optimizer) -> None:
    """Gives a model the losses and metrics of a run's tasks."""
    losses = {name: MASK_LOSSES[config.mask_loss] for name in config.model.masks}
    if schema := config.model.vote_schema:
        losses["votes"] = votes_loss(schema)
    if config.model.label is not None:
        losses["label"] = label_loss(config.model.label)
    model.compile(
        optimizer=optimizer,
        loss=losses,
        loss_weights={name: config.loss_weights[name] for name in losses},
        weighted_metrics=compiled_metrics(config.model),
        jit_compile="auto" if tf.config.list_physical_devices("GPU") else False,  # XLA is ten times slower on a CPU
    )
    model.optimizer.build(model.trainable_variables)  # a checkpoint can be restored, and the step is traced once


def cosine(config: RunConfig) -> keras.callbacks.Callback:
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


def finish_model(model: keras.Model, config: RunConfig) -> None:
    """Writes `model.keras` and `model.weights.h5` of a trained model, as plain Keras can load it.

    Args:
        model: in float32 and uncompiled. The probabilities of a label become true of the training galaxies.
        config: of the run.
    """
    label = config.model.label
    if label is not None and label.counts:
        restore_class_shares(model, label)
    for name, save in ((MODEL_NAME, model.save), (WEIGHTS_NAME, model.save_weights)):
        partial = partial_path(config.log_dir / name)
        save(partial)
        partial.replace(config.log_dir / name)
