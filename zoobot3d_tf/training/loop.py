"""The training loop on one machine."""

import logging

import keras

from zoobot3d_tf.training.assemble import (
    batches,
    cosine,
    dropout_seeds,
    reporters,
    shards_checked_on_error,
    steps_per_epoch,
)
from zoobot3d_tf.training.checkpoints import Checkpoints, StopOnNaN
from zoobot3d_tf.training.progress import EpochLines
from zoobot3d_tf.training.run_config import RunConfig

logger = logging.getLogger(__name__)


def fit(model: keras.Model, config: RunConfig, checkpoints: Checkpoints) -> None:
    """Train a compiled model on the shards of a run with `keras.Model.fit`, from its last checkpoint.

    Args:
        model: compiled model. It is trained in place.
        config: configuration of the run.
        checkpoints: checkpoints of the run. They are written after each epoch.

    Raises:
        FloatingPointError: the loss became NaN or infinite.
        ValueError: a shard is damaged.
    """
    training, validation = batches(config, range(checkpoints.epochs_done, config.epochs))
    checkpoints.restore(model)
    logger.info(
        "The model has %s parameters. Training starts at epoch %d of %d.",
        f"{model.count_params():,}",
        checkpoints.epochs_done + 1,
        config.epochs,
    )
    with shards_checked_on_error(config):
        model.fit(
            training,
            steps_per_epoch=steps_per_epoch(config),
            validation_data=validation,
            initial_epoch=checkpoints.epochs_done,
            epochs=config.epochs,
            callbacks=[
                cosine(config.learning_rate, config.epochs),
                dropout_seeds(model, config.seed),
                StopOnNaN(),
                checkpoints,
                EpochLines(),
                *reporters(config, validation),
            ],
            shuffle=False,  # the dataset is shuffled already
            verbose=0,
        )
