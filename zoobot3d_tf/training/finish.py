"""The end of a training: the best model is written to the run folder."""

import logging

import keras

from zoobot3d_tf.files import whole_file
from zoobot3d_tf.models.build import build_model
from zoobot3d_tf.models.heads import restore_class_shares
from zoobot3d_tf.models.weights_file import save_weights
from zoobot3d_tf.runs.run_folder import MODEL_NAME, WEIGHTS_NAME, read_run
from zoobot3d_tf.training.checkpoints import Checkpoints
from zoobot3d_tf.training.run_config import RunConfig

logger = logging.getLogger(__name__)


def finish_run(config: RunConfig, checkpoints: Checkpoints) -> keras.Model:
    """Load the weights of the best epoch and write the model to the run folder.

    If the run was finished before and its checkpoints were deleted, the model is only loaded.

    Returns:
        The model as written, in float32 and uncompiled.

    Raises:
        FloatingPointError: the validation loss was never a finite number.
        FileNotFoundError: the weights of the best epoch are missing.
    """
    if not checkpoints.best_path.is_file() and (config.log_dir / WEIGHTS_NAME).is_file():
        logger.info("%s: the run is finished, and its checkpoints were deleted; nothing to do.", config.log_dir)
        return read_run(config.log_dir).load_model()
    model = build_model(config.model)
    checkpoints.restore_best(model)
    finish_model(model, config)
    return model


def finish_model(model: keras.Model, config: RunConfig) -> None:
    """Write `model.keras` and `model.weights.h5` of a trained model, which plain Keras can load.

    Args:
        model: trained model, in float32 and uncompiled. The class weighting of a label is undone in place, so that the
            probabilities match the class frequencies of the training set.
        config: configuration of the run.
    """
    label = config.model.label
    if label is not None and label.counts:
        restore_class_shares(model, label)
    with whole_file(config.log_dir / MODEL_NAME) as partial:
        model.save(partial)
    save_weights(model, config.log_dir / WEIGHTS_NAME)
