"""The end of a training: the trained model is written to the run folder."""

import keras

from zoobot3d_tf.files import whole_file
from zoobot3d_tf.models.heads import restore_class_shares
from zoobot3d_tf.runs.run_folder import MODEL_NAME, WEIGHTS_NAME
from zoobot3d_tf.training.run_config import RunConfig


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
        with whole_file(config.log_dir / name) as partial:
            save(partial)
