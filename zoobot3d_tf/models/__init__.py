"""The model: encoder, decoder, heads, and the configuration that builds them.

from zoobot3d_tf.models import ModelConfig, build_model
"""

from zoobot3d_tf.models.config import ModelConfig

__all__ = ["ModelConfig", "build_model"]


def __getattr__(name: str):
    """Imports `build_model`, and Keras with it, on first use: a configuration alone is checked in an instant."""
    if name == "build_model":
        from zoobot3d_tf.models.build import build_model

        return build_model
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
