"""The training loop: one run, from shards to a run folder that predictions can use."""

import keras

from zoobot3d_tf.models import build_model
from zoobot3d_tf.training.assemble import compiled_model, strategy
from zoobot3d_tf.training.checkpoints import Checkpoints
from zoobot3d_tf.training.finish import finish_model
from zoobot3d_tf.training.loop import fit
from zoobot3d_tf.training.run_config import RunConfig


def train(config: RunConfig) -> keras.Model:
    """The work behind `RunConfig.run_estimator`, which has checked the shards and written `config.json`."""
    checkpoints = Checkpoints(config.log_dir / "checkpoints", config.patience)
    if not checkpoints.finished(config.epochs):
        # A continued run must not repeat the order and the augmentations of its first epochs.
        keras.utils.set_random_seed(config.seed + checkpoints.epochs_done)
        with strategy(config).scope():
            model = compiled_model(config)
        if config.encoder_weights and not checkpoints.epochs_done:
            config.encoder_weights.load(model, config.model)
        fit(model, config, checkpoints)
    best = build_model(config.model)
    best.load_weights(checkpoints.best_path)
    finish_model(best, config)
    return best
