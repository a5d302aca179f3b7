"""Training of one run, from shards to a run folder that predictions can use."""

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from zoobot3d_tf.extras import require
from zoobot3d_tf.files import one_owner
from zoobot3d_tf.runs.run_folder import write_config
from zoobot3d_tf.shards.manifest import Manifest, check_shards
from zoobot3d_tf.training.run_config import RunConfig

if TYPE_CHECKING:
    import keras

    from zoobot3d_tf.training.checkpoints import Checkpoints

    Loop = Callable[[keras.Model, RunConfig, Checkpoints], None]

logger = logging.getLogger(__name__)


def train(config: RunConfig, loop: "Loop | None" = None) -> "keras.Model":
    """Train the model of a run, and leave the best weights in the run folder.

    Args:
        config: configuration of the run.
        loop: training loop. It trains the compiled model on the shards of the run from the last checkpoint, and calls
            the checkpoints after each epoch. By default `loop.fit`, which calls `keras.Model.fit`.

    Returns:
        The best model, in float32 and uncompiled.

    Raises:
        ValueError: the shards do not fit the configuration or each other, or the run folder holds another run.
        FloatingPointError: the loss became NaN or infinite.
        BlockingIOError: another process trains this run.
    """
    with one_owner(config.log_dir):
        check_run(config)

        # TensorFlow takes seconds to import, and is not needed for the checks.
        from zoobot3d_tf.training.assemble import initial_model
        from zoobot3d_tf.training.checkpoints import Checkpoints
        from zoobot3d_tf.training.finish import finish_run
        from zoobot3d_tf.training.loop import fit

        checkpoints = Checkpoints(config.log_dir / "checkpoints", config.patience)
        if not checkpoints.finished(config.epochs):
            model = initial_model(config, checkpoints.epochs_done)
            (loop or fit)(model, config, checkpoints)
        return finish_run(config, checkpoints)


def check_run(config: RunConfig) -> None:
    """Check the shards and the extras that a run needs, and write its configuration to the run folder.

    Args:
        config: configuration of the run.

    Raises:
        ValueError: the shards do not fit the configuration or each other, have no galaxies for a task, or the run
            folder holds another run.
        OSError: shards are missing, or the run folder cannot be written.
        ImportError: the configuration asks for Weights & Biases, and wandb is not installed.
    """
    if config.wandb:
        require("wandb", "wandb=True")
    training, validation = (
        check_shards(records, config.model.schema, config.framing.initial_size, label=config.model.label)
        for records in (config.train_records, config.eval_records)
    )
    if training.stretch != validation.stretch:
        raise ValueError(
            f"the images in {training.folder} have the stretch {training.stretch!r}, the images in {validation.folder} "
            f"the stretch {validation.stretch!r}; make both with the same stretch"
        )
    _check_tasks(config, training, validation)
    shards = {
        "train": training.content_hash(config.train_records),
        "eval": validation.content_hash(config.eval_records),
    }
    write_config(config.log_dir, config.to_dict() | {"stretch": training.stretch, "shards": shards})


def _check_tasks(config: RunConfig, training: Manifest, validation: Manifest) -> None:
    """Check that there are galaxies for each task to train on, and warn of tasks that cannot be validated."""
    without = [task for task in config.model.tasks if not validation.count_in(config.eval_records, f"with_{task}")]
    for task in config.model.tasks:
        if not training.count_in(config.train_records, f"with_{task}"):
            raise ValueError(f"{training.folder}: no training galaxy has labels for {task}; omit it in tasks")
    if len(without) == len(config.model.tasks):
        raise ValueError(f"{validation.folder}: no validation galaxy has labels for {', '.join(without)}")
    for task in without:
        logger.warning("%s: no validation galaxy has labels for %s; it is not validated.", validation.folder, task)
