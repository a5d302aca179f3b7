"""Whether this machine has a GPU that TensorFlow can use."""

import ctypes
import logging
import os
from functools import cache

from zoobot3d_tf.extras import is_installed
from zoobot3d_tf.machine import available_cores

# TensorFlow computes on NVIDIA's GPUs through this library of the driver.
_NVIDIA_DRIVER = "libcuda.so.1"
# The file of AMD's driver.
_AMD_DEVICE = "/dev/kfd"
# The folder beside TensorFlow that packages for other GPUs, such as tensorflow-metal, install.
_PLUGINS = "tensorflow-plugins"

log = logging.getLogger(__name__)


def may_have_gpu() -> bool:
    """Whether TensorFlow might find a GPU. It is not imported. Without a driver or a plugin there surely is no GPU."""
    try:
        ctypes.CDLL(_NVIDIA_DRIVER)
    except OSError:
        return os.path.exists(_AMD_DEVICE) or is_installed(_PLUGINS)
    return True


@cache
def has_gpu() -> bool:
    """Whether TensorFlow can use a GPU. If not, the first call logs it.

    TensorFlow is only imported if there may be a GPU.
    """
    if may_have_gpu():
        import tensorflow as tf

        if tf.config.list_physical_devices("GPU"):
            return True
    cores = available_cores()
    log.info("no GPU found, computing on %d core%s", cores, "s" if cores > 1 else "")
    return False
