"""The end of a training: the best model is written to the run folder."""

import logging
from collections.abc import Sequence

import keras
import pandas as pd

from zoobot3d_tf.files import whole_file
from zoobot3d_tf.models.build import build_model
from zoobot3d_tf.models.heads import restore_class_shares
from zoobot3d_tf.models.weights_file import save_weights
from zoobot3d_tf.runs.run_folder import MODEL_NAME, WEIGHTS_NAME, TrainedRun, read_run
from zoobot3d_tf.runs.seen import write_seen
from zoobot3d_tf.shards.read import read_votes
from zoobot3d_tf.training.assemble import surveys_in
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
    model = best_model(config, checkpoints)
    found = config.encoder_weights and config.encoder_weights.found
    finish_model(model, config, found if isinstance(found, TrainedRun) else None)
    return model


def best_model(config: RunConfig, checkpoints: Checkpoints) -> keras.Model:
    """Build the model with the weights of the best epoch, in float32 and uncompiled; errors as of `finish_run`."""
    model = build_model(config.model)
    checkpoints.restore_best(model)
    return model


def finish_model(model: keras.Model, config: RunConfig, start: TrainedRun | None) -> None:
    """Write `model.keras` and `model.weights.h5` of a trained model, which plain Keras can load, and what it has seen.

    Args:
        model: trained model, in float32 and uncompiled. The class weighting of a label is undone in place, so that the
            probabilities match the class frequencies of the training set.
        config: configuration of the run.
        start: run that the training began with, if any.
    """
    label = config.model.label
    if label is not None and label.counts:
        restore_class_shares(model, label)
    with whole_file(config.log_dir / MODEL_NAME) as partial:
        model.save(partial)
    training, validation = (_galaxies(records, config) for records in (config.train_records, config.eval_records))
    write_seen(config.log_dir, training, validation["id_str"], start.folder if start else None)
    save_weights(model, config.log_dir / WEIGHTS_NAME)


def _galaxies(records: Sequence[str], config: RunConfig) -> pd.DataFrame:
    """Names of the galaxies in shards, and their votes on the decision tree of the run."""
    tables = []
    for survey in surveys_in(records, config):
        ids, votes = read_votes(survey.paths)
        tables.append(pd.DataFrame(votes @ survey.to_tree, columns=list(config.model.label_cols)))
        tables[-1].insert(0, "id_str", ids)
    return pd.concat(tables, ignore_index=True)
