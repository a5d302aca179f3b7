"""The parts of a training loop: batches, compiled model, learning rate and loggers."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from zoobot3d_tf.common_tree import conversion
from zoobot3d_tf.data.dataset import WHOLE, Share, Survey, evaluation_batches, training_batches
from zoobot3d_tf.files import path_of
from zoobot3d_tf.images.masks import MASKS
from zoobot3d_tf.models.build import build_model
from zoobot3d_tf.quiet_tensorflow import drop_onednn_remark
from zoobot3d_tf.shards.manifest import by_folder, check_shards, galaxies_in, read_manifest
from zoobot3d_tf.shards.read import iterate_records
from zoobot3d_tf.training.devices import choose_strategy, synchronise
from zoobot3d_tf.training.optimizer import FusedAdamW
from zoobot3d_tf.training.panels import MaskPanels, to_tensorboard, to_wandb
from zoobot3d_tf.training.run_config import RunConfig


def batches(
    config: RunConfig, epochs: range, first_batch: int = 0, share: Share = WHOLE
) -> tuple[tf.data.Dataset, tf.data.Dataset]:
    """Read the shards of a run as batches.

    Args:
        config: configuration of the run.
        epochs: numbers of the epochs to train, from 0.
        first_batch: number of batches of the first of these epochs to leave out.
        share: parts of each batch to make.

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
        "share": share,
    }
    training = training_batches(
        training_surveys(config),
        seed=config.seed,
        epochs=epochs,
        first_batch=first_batch,
        photometry=config.photometry,
        alternating=config.alternating,
        **settings,
    )
    return training, evaluation_batches(surveys_in(config.eval_records, config), **settings)


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


def initial_model(config: RunConfig, has_begun: bool = False) -> keras.Model:
    """Build the compiled model of a run as it is before a training loop.

    Args:
        config: configuration of the run.
        has_begun: whether the run was interrupted. The loop loads its weights, see `Checkpoints.restore`.
    """
    strategy = choose_strategy(config.distributed)
    keras.utils.set_random_seed(config.seed)
    with strategy.scope():
        model = compiled_model(config)
    if strategy.num_replicas_in_sync > 1:
        synchronise(model)
    if config.encoder_weights and not has_begun:
        config.encoder_weights.load(model, config.model)
    return model


def compiled_model(config: RunConfig) -> keras.Model:
    """Build the model of a run with random weights, in the precision of the run, with its optimiser."""
    drop_onednn_remark()
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16" if config.mixed_precision else "float32")
    try:
        model = build_model(config.model)
    finally:
        keras.config.set_dtype_policy(policy)
    compile_model(model, config)
    return model


def compile_model(model: keras.Model, config: RunConfig, factors: Mapping[str, float] | None = None) -> None:
    """Give a model its optimiser, whose state checkpoints need.

    Args:
        model: model.
        config: configuration of the run, with learning rate and weight decay.
        factors: factors of the learning rate, see `FusedAdamW`.
    """
    model.compile(FusedAdamW(config.learning_rate, config.weight_decay, factors))
    model.optimizer.build(model.trainable_variables)


def cosine(learning_rate: float, epochs: int) -> keras.callbacks.Callback:
    """Make the callback that lowers the learning rate to zero along a cosine, epoch by epoch."""
    # A schedule inside the optimiser would be traced again for each of 200 variables.
    rates = learning_rate * 0.5 * (1 + np.cos(np.pi * np.arange(epochs) / epochs))
    return keras.callbacks.LearningRateScheduler(lambda epoch: float(rates[epoch]))


def seed_dropout(model: keras.Model, seed: int, epoch: int, step: int) -> None:
    """Seed the dropout of a model by the number of the epoch and of the step.

    A run that continues after an interruption then drops the same units as a run without one.

    Args:
        model: model that is trained.
        seed: random seed of the run.
        epoch: number of the epoch.
        step: number of steps of the epoch that are done.
    """
    states = [variable for variable in model.variables if variable.name == "seed_generator_state"]
    for place, variable in enumerate(states):
        # Each call adds 1 to the second number.
        first, second = np.random.default_rng((seed, epoch, place)).integers(2**30, size=2)
        variable.assign(np.array([first, second + step], variable.dtype))


def reporters(config: RunConfig, validation: tf.data.Dataset) -> list[keras.callbacks.Callback]:
    """Make the callbacks that log a run: TensorBoard, Weights & Biases, and panels of masks in both.

    Args:
        config: configuration of the run. If it asks for Weights & Biases, a `wandb_run` must be open.
        validation: batches to validate on, from which the panels take their galaxies.
    """
    folder = config.log_dir / "tensorboard"
    reporters: list[keras.callbacks.Callback] = [keras.callbacks.TensorBoard(folder, write_graph=False)]
    if config.model.masks:
        reporters.append(MaskPanels(validation, [to_tensorboard(folder), *[to_wandb] * config.wandb]))
    if config.wandb:
        from wandb.integration.keras import WandbMetricsLogger

        reporters.append(WandbMetricsLogger())  # after the panels, which belong to the same step
    return reporters


@contextmanager
def wandb_run(config: RunConfig) -> Iterator[None]:
    """Open a run of Weights & Biases during a block, and finish it, also on error.

    Raises:
        ImportError: wandb is not installed.
    """
    import wandb

    run = wandb.init(project="zoobot3d_tf", name=config.log_dir.name, dir=config.log_dir, config=config.to_dict())
    try:
        yield
    except BaseException:  # `with run` would print the traceback
        run.finish(exit_code=1)
        raise
    run.finish()
