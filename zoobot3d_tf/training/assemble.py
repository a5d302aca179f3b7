"""The parts of a training loop: batches, compiled model, learning rate and loggers."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from zoobot3d_tf.common_tree import conversion
from zoobot3d_tf.data.dataset import Survey, evaluation_batches, training_batches
from zoobot3d_tf.files import path_of
from zoobot3d_tf.images.masks import MASKS
from zoobot3d_tf.models.build import build_model
from zoobot3d_tf.shards.manifest import by_folder, check_shards, galaxies_in, read_manifest
from zoobot3d_tf.shards.read import iterate_records
from zoobot3d_tf.training.losses import MASK_LOSSES, label_loss, votes_loss
from zoobot3d_tf.training.metrics import compiled_metrics
from zoobot3d_tf.training.panels import MaskPanels
from zoobot3d_tf.training.run_config import RunConfig


def batches(config: RunConfig, epochs: range) -> tuple[tf.data.Dataset, tf.data.Dataset]:
    """Read the shards of a run as batches.

    Args:
        config: configuration of the run.
        epochs: numbers of the epochs to train, from 0.

    Returns:
        Batches to train on, of all these epochs, and batches to validate on; for their form see `data.dataset`.
    """
    model, label = config.model, config.model.label
    settings: dict[str, Any] = {
        "framing": config.framing,
        "batch_size": config.batch_size,
        "tasks": model.tasks,
        "class_weights": () if label is None else label.class_weights,
        "with_volunteers": model.mask_head == "beta-binomial",  # the likelihood of counts, not of fractions
    }
    training = training_batches(
        training_surveys(config),
        seed=config.seed,
        epochs=epochs,
        photometry=config.photometry,
        alternating=config.alternating,
        **settings,
    )
    validation = evaluation_batches(surveys_in(config.eval_records, config), **settings)
    # Keras warns that data ran out if it does not know the number of batches.
    n_batches = -(-galaxies_in(config.eval_records) // config.batch_size)
    return training, validation.apply(tf.data.experimental.assert_cardinality(n_batches))


def training_surveys(config: RunConfig) -> list[Survey]:
    """Find the surveys that a run is trained on, with their numbers of galaxies per epoch."""
    surveys = surveys_in(config.train_records, config)
    if len(surveys) == 1 and config.masked_times == 1 and not config.galaxies_per_epoch:
        return surveys  # one pass, which needs no number
    numbers = config.galaxies_per_epoch or [_uses(survey, config.masked_times) for survey in surveys]
    return [
        replace(survey, per_epoch=number, masked_times=config.masked_times)
        for survey, number in zip(surveys, numbers, strict=True)
    ]


def steps_per_epoch(config: RunConfig) -> int:
    """Count the training batches of an epoch."""
    surveys = training_surveys(config)
    n_galaxies = sum(survey.per_epoch or galaxies_in(survey.paths) for survey in surveys)
    return -(-n_galaxies // config.batch_size)


def surveys_in(records: Sequence[str], config: RunConfig) -> list[Survey]:
    """Sort TFRecord files by survey, with the conversion of its votes to the decision tree of the run."""
    surveys = []
    for folder, paths in by_folder(records).items():
        schema, tree = read_manifest(folder).schema, config.model.schema
        if tree is None or schema is None:
            to_tree = np.zeros((0 if schema is None else len(schema.answers), len(config.model.label_cols)))
        else:
            to_tree = conversion(schema, tree)
        surveys.append(Survey(paths, to_tree))
    return surveys


def _uses(survey: Survey, masked_times: int) -> int:
    """Number of galaxies in one pass over a survey, with the galaxies that have masks counted repeatedly."""
    manifest = read_manifest(path_of(survey.paths[0]).parent)
    n_masked = max(manifest.count_in(survey.paths, f"with_{mask}") for mask in MASKS)
    return manifest.count_in(survey.paths) + (masked_times - 1) * n_masked


@contextmanager
def shards_checked_on_error(config: RunConfig) -> Iterator[None]:
    """Look for a damaged shard if TensorFlow raises an error in the block, which does not name the file.

    Args:
        config: configuration of the run whose batches the block reads.

    Raises:
        ValueError: a shard is damaged. The error names it.
    """
    try:
        yield
    except tf.errors.OpError:
        for paths in (*by_folder(config.train_records).values(), *by_folder(config.eval_records).values()):
            check_shards(paths, verify_hash=True)
            for _ in iterate_records(paths):  # raises an error if a record cannot be decoded
                pass
        raise


def initial_model(config: RunConfig, epochs_done: int = 0) -> keras.Model:
    """Build the compiled model of a run as it is before a training loop.

    Args:
        config: configuration of the run.
        epochs_done: number of epochs trained before an interruption. The weights of the last epoch are loaded by the
            loop, see `Checkpoints.restore`.
    """
    keras.utils.set_random_seed(config.seed)
    with strategy(config).scope():
        model = compiled_model(config)
    if config.encoder_weights and not epochs_done:
        config.encoder_weights.load(model, config.model)
    return model


def compiled_model(config: RunConfig) -> keras.Model:
    """Build the model of a run with random weights, in the precision of the run, and compile it with AdamW."""
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16" if config.mixed_precision else "float32")
    try:
        model = build_model(config.model)
    finally:
        keras.config.set_dtype_policy(policy)
    compile_model(model, config, keras.optimizers.AdamW(config.learning_rate, weight_decay=config.weight_decay))
    return model


def compile_model(model: keras.Model, config: RunConfig, optimizer: keras.optimizers.Optimizer) -> None:
    """Compile a model with the losses and metrics of the tasks of a run."""
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
    # Checkpoints need the variables of the optimiser, and the training step is then traced only once.
    model.optimizer.build(model.trainable_variables)


def cosine(learning_rate: float, epochs: int) -> keras.callbacks.Callback:
    """Make the callback that lowers the learning rate to zero along a cosine, epoch by epoch."""
    # A schedule inside the optimiser would be traced again for each of 200 variables.
    rates = learning_rate * 0.5 * (1 + np.cos(np.pi * np.arange(epochs) / epochs))
    return keras.callbacks.LearningRateScheduler(lambda epoch: float(rates[epoch]))


def dropout_seeds(model: keras.Model, seed: int) -> keras.callbacks.Callback:
    """Make the callback that seeds the dropout of each epoch by the number of the epoch.

    A run that continues after an interruption then drops the same units as a run without one.

    Args:
        model: model that is trained.
        seed: random seed of the run.
    """
    states = [variable for variable in model.variables if variable.name == "seed_generator_state"]

    def set_states(epoch: int, logs: object) -> None:
        rng = np.random.default_rng((seed, epoch))
        for state in states:
            state.assign(rng.integers(2**31, size=state.shape))

    return keras.callbacks.LambdaCallback(on_epoch_begin=set_states)


def strategy(config: RunConfig) -> tf.distribute.Strategy:
    """Choose the distribution: the model on all local GPUs, or on one device."""
    return tf.distribute.MirroredStrategy() if config.distributed else tf.distribute.get_strategy()


def reporters(config: RunConfig, validation: tf.data.Dataset) -> list[keras.callbacks.Callback]:
    """Make the callbacks that log a run: TensorBoard, panels of masks, Weights & Biases.

    Args:
        config: configuration of the run.
        validation: batches to validate on, from which the panels take their galaxies.

    Raises:
        ImportError: the configuration asks for Weights & Biases, and wandb is not installed.
    """
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
