"""The training loop: steps on one or more devices, validation after each epoch, and checkpoints."""

import logging
import signal
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import tensorflow as tf

from zoobot3d_tf.data.dataset import Share
from zoobot3d_tf.gpu import has_gpu
from zoobot3d_tf.machine import end_requested
from zoobot3d_tf.shards.manifest import galaxies_in
from zoobot3d_tf.training.assemble import (
    batches,
    cosine,
    reporters,
    seed_dropout,
    shards_checked_on_error,
    steps_per_epoch,
)
from zoobot3d_tf.training.checkpoints import Checkpoints, StopOnNaN
from zoobot3d_tf.training.devices import share_of
from zoobot3d_tf.training.fused_normalization import fuse_normalization
from zoobot3d_tf.training.metrics import LOSS, Sums, results, sums_of_batch, zero_sums
from zoobot3d_tf.training.progress import EpochLines
from zoobot3d_tf.training.run_config import RunConfig

logger = logging.getLogger(__name__)

Step = Callable[[tuple, Sums, tf.Tensor], tuple[Sums, tf.Tensor]]
"""Function of a batch, the sums of the metrics so far, and whether this process is to end (1) or not (0). It returns
the sums with those of the batch, and the number of processes that are to end."""


def fit(model: keras.Model, config: RunConfig, checkpoints: Checkpoints) -> None:
    """Train a model on the shards of a run, from its last checkpoint.

    Args:
        model: compiled model. It is trained in place, on the devices of the strategy in whose scope it was built.
        config: configuration of the run.
        checkpoints: checkpoints of the run. They are written after each epoch, and in between if epochs are long.

    Raises:
        FloatingPointError: the loss became NaN or infinite.
        SystemExit: the process received SIGTERM, and a checkpoint was written.
        ValueError: a shard is damaged.
    """
    logger.info(
        "The model has %s parameters. Training starts at epoch %d of %d%s.",
        f"{model.count_params():,}",
        checkpoints.epochs_done + 1,
        config.epochs,
        f", after step {checkpoints.steps_done}" if checkpoints.steps_done else "",
    )
    epochs, first_batch = range(checkpoints.epochs_done, config.epochs), checkpoints.steps_done
    n_validation_steps = -(-galaxies_in(config.eval_records) // config.batch_size)
    with shards_checked_on_error(config):
        fit_batches(
            model,
            config,
            checkpoints,
            lambda share: batches(config, epochs, first_batch, share),
            (steps_per_epoch(config), n_validation_steps),
            reporters(config, batches(config, range(0))[1]) if checkpoints.writes else (),
        )


def fit_batches(
    model: keras.Model,
    config: RunConfig,
    checkpoints: Checkpoints,
    make_batches: Callable[[Share], tuple[tf.data.Dataset, tf.data.Dataset]],
    n_steps: tuple[int, int],
    reporters: Sequence[keras.callbacks.Callback] = (),
) -> None:
    """Train a model on batches, from its last checkpoint; see `fit`.

    Args:
        model: compiled model.
        config: configuration of the run.
        checkpoints: checkpoints of the run.
        make_batches: function from the share of this process in each batch to the batches to train on, of all steps to
            come, and the batches to validate on.
        n_steps: number of batches per epoch to train on, and to validate on.
        reporters: callbacks that log the run.
    """
    strategy = model.distribute_strategy
    datasets = [
        strategy.distribute_datasets_from_function(
            lambda context, part=part: make_batches(share_of(strategy, context))[part]
        )
        for part in (0, 1)
    ]
    checkpoints.restore(model)
    callbacks = keras.callbacks.CallbackList(
        [cosine(config.learning_rate, config.epochs), StopOnNaN(), checkpoints, EpochLines(), *reporters],
        model=model,
        epochs=config.epochs,
        steps=n_steps[0],
    )
    train = make_step(model, config, datasets[0].element_spec, is_training=True)
    check = make_step(model, config, datasets[1].element_spec, is_training=False)
    training, zeros = iter(datasets[0]), zero_sums(model, config.model)
    model.stop_training = False
    callbacks.on_train_begin()
    for epoch in range(checkpoints.epochs_done, config.epochs):
        callbacks.on_epoch_begin(epoch)
        seed_dropout(model, config.seed, epoch, checkpoints.steps_done)
        logs = results(_train_epoch(train, training, checkpoints, callbacks, zeros, n_steps[0]))
        sums, validation = zeros, iter(datasets[1])
        for _ in range(n_steps[1]):
            sums, _ = check(next(validation), sums, tf.zeros([]))
        callbacks.on_epoch_end(epoch, logs | {f"val_{name}": value for name, value in results(sums).items()})
        if model.stop_training:
            break
    callbacks.on_train_end()
    _wait_for_all(strategy)


def _wait_for_all(strategy: tf.distribute.Strategy) -> None:
    """Wait until all processes are here: none reads the best weights, or ends, before they are written."""

    @tf.function
    def meet() -> tf.Tensor:
        return strategy.run(lambda: _total(strategy, 1.0))

    if strategy.num_replicas_in_sync > 1:
        meet()


def _total(strategy: tf.distribute.Strategy, values: Any) -> Any:
    """Sum values over all devices, on one of them.

    With one device they are the sum. TensorFlow would keep the graph for ever, since `all_reduce` registers a gradient
    function: 90 MB per training in a process that trains often, as a simulation of active learning does.
    """
    if strategy.num_replicas_in_sync == 1:
        return values
    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, values)


def _train_epoch(
    train: Step,
    training: Iterator[tuple],
    checkpoints: Checkpoints,
    callbacks: keras.callbacks.CallbackList,
    zeros: Sums,
    n_steps: int,
) -> Sums:
    """Do the steps of an epoch that are left; return the sums of the metrics over all of its steps."""
    sums = zeros | {name: tf.constant(value, tf.float64) for name, value in checkpoints.sums.items()}
    n_ending = tf.zeros([])
    with end_requested() as requested:
        for number in range(checkpoints.steps_done, n_steps):
            # What is read is of the step before: to wait for this one would leave the devices idle.
            before, must_end = sums, n_ending > 0
            sums, n_ending = train(next(training), before, tf.constant(float(requested())))
            must_save = must_end or checkpoints.due()
            # A checkpoint waits for this step, whose loss must be a number.
            callbacks.on_train_batch_end(number, results({LOSS: (sums if must_save else before)[LOSS]}))
            if must_save:
                checkpoints.save_within_epoch(number + 1, sums)
            if must_end:
                logger.info(
                    "Training ended after step %d, as the system asked. Repeat the command to continue.", number + 1
                )
                raise SystemExit(128 + signal.SIGTERM)
    return sums


def make_step(model: keras.Model, config: RunConfig, batch_spec: Any, is_training: bool) -> Step:
    """Make the function of one step on all devices, which is traced at its first call.

    Args:
        model: compiled model.
        config: configuration of the run, for the loss and its factors.
        batch_spec: shapes and types of the batches, as `element_spec` of a dataset.
        is_training: whether to train, or only to compute loss and metrics.
    """
    strategy, variables = model.distribute_strategy, model.trainable_variables
    if not has_gpu():
        fuse_normalization(model)

    def forward(images: tf.Tensor, targets: dict, weights: dict, weight_of_part: tf.Tensor | float = 1.0) -> Sums:
        outputs = model(images, training=is_training)
        sums = sums_of_batch(config.model, config.mask_loss, config.loss_weights, outputs, targets, weights)
        return {name: value * tf.cast(weight_of_part, value.dtype) for name, value in sums.items()}

    def on_device(batch: tuple, ending: tf.Tensor) -> tuple[Sums, tf.Tensor]:
        ending = tf.identity(ending)  # a value of this device, which can be summed over devices
        if not is_training:
            return forward(*batch), ending
        with tf.GradientTape() as tape:
            sums = forward(*batch)
            loss, n_galaxies = tf.unstack(tf.cast(sums[LOSS], tf.float32))
        gradients = tape.gradient(loss, variables)
        learned = [variable for variable, gradient in zip(variables, gradients, strict=True) if gradient is not None]
        # Parts of a batch may have different numbers of galaxies: the mean is over those of all parts.
        *totals, n_galaxies = _total(strategy, [*(one for one in gradients if one is not None), n_galaxies])
        model.optimizer.apply([total / n_galaxies for total in totals], learned)
        return sums, ending

    # One graph for batches of all sizes: another graph for the last batch of an epoch, which is smaller, would round
    # differently, and a run that goes on there would differ from a run without interruption.
    sums_spec = tf.nest.map_structure(tf.type_spec_from_value, zero_sums(model, config.model))
    signature = (batch_spec, sums_spec, tf.TensorSpec([]))

    # XLA is ten times slower on a CPU, and does not know the sums over several devices.
    @tf.function(input_signature=signature, jit_compile=has_gpu() and strategy.num_replicas_in_sync == 1)
    def step(batch: tuple, sums: Sums, ending: tf.Tensor) -> tuple[Sums, tf.Tensor]:
        of_devices = strategy.run(on_device, args=(batch, ending))
        of_batch, n_ending = tf.nest.map_structure(
            lambda value: strategy.reduce(tf.distribute.ReduceOp.SUM, value, axis=None), of_devices
        )
        return {name: sums[name] + value for name, value in of_batch.items()}, n_ending

    return step
