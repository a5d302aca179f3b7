"""The devices that compute a training step together: one, the GPUs of a machine, or several machines.

Each device has a copy of the model, and computes its part of each batch. Gradients, and the statistics of batch
normalisation, are those of the whole batch, so that the number of devices does not change what is learned.
"""

import os

import keras
import tensorflow as tf

from zoobot3d_tf.data.dataset import Share
from zoobot3d_tf.training.cluster import count_processes

PORT = 8888
"""Port at which the processes of a Slurm job find each other."""


def choose_strategy(distributed: bool) -> tf.distribute.Strategy:
    """Choose the strategy: one device; or, if distributed, the GPUs of this machine, or those of several machines.

    This is the first call of TensorFlow if there are several machines.

    Args:
        distributed: whether to use several devices.

    Raises:
        ValueError: as `count_processes`.
    """
    if not distributed:
        return tf.distribute.get_strategy()
    tf.get_logger().setLevel("WARNING")  # or it tells of each sum over devices
    if count_processes() == 1:
        return tf.distribute.MirroredStrategy()
    if "TF_CONFIG" in os.environ:
        return tf.distribute.MultiWorkerMirroredStrategy()
    n_gpus = len(tf.config.list_physical_devices("GPU"))
    resolver = tf.distribute.cluster_resolver.SlurmClusterResolver(
        port_base=PORT, gpus_per_node=n_gpus or None, tasks_per_node=None, auto_set_gpu=False
    )
    return tf.distribute.MultiWorkerMirroredStrategy(cluster_resolver=resolver)


def share_of(strategy: tf.distribute.Strategy, context: tf.distribute.InputContext) -> Share:
    """Share of this process in each batch."""
    n_parts = strategy.num_replicas_in_sync
    own = n_parts // context.num_input_pipelines
    first = own * context.input_pipeline_id
    return Share(range(first, first + own), n_parts)


def synchronise(model: keras.Model) -> None:
    """Let batch normalisation use the statistics of the whole batch, on all devices."""
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.synchronized = True
