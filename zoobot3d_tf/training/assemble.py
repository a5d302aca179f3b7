"""What a training loop needs: batches, the compiled model, callbacks."""

import keras
import numpy as np
import tensorflow as tf

from zoobot3d_tf.data.dataset import evaluation_batches, training_batches
from zoobot3d_tf.models import build_model
from zoobot3d_tf.training.losses import MASK_LOSSES, label_loss, votes_loss
from zoobot3d_tf.training.metrics import compiled_metrics
from zoobot3d_tf.training.panels import MaskPanels
from zoobot3d_tf.training.run_config import RunConfig


def batches(config: RunConfig, seed: int) -> tuple[tf.data.Dataset, tf.data.Dataset]:
    """Batches of a run to train and to validate on."""
    model, weights = config.model, () if config.model.label is None else config.model.label.class_weights
    common = (len(model.label_cols), config.framing, config.batch_size, model.tasks)
    with_volunteers = model.mask_head == "beta-binomial"  # its loss is one of counts, not of fractions
    training = training_batches(config.train_records, *common, seed, weights, with_volunteers)
    return training, evaluation_batches(config.eval_records, *common, weights, with_volunteers)


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


def strategy(config: RunConfig) -> tf.distribute.Strategy:
    """The model is mirrored on all local GPUs, or stays on one device."""
    return tf.distribute.MirroredStrategy() if config.distributed else tf.distribute.get_strategy()


def reporters(config: RunConfig, validation: tf.data.Dataset) -> list[keras.callbacks.Callback]:
    """Callbacks that log a run: TensorBoard, pictures of masks, Weights & Biases."""
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
