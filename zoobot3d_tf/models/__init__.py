"""The model: its configuration, encoder, decoder and heads, and the loading of published weights.

Usage:
    from zoobot3d_tf.models import ModelConfig, build_model
"""

from typing import Any

from zoobot3d_tf.models.config import ModelConfig

__all__ = ["ModelConfig", "build_model"]


def __getattr__(name: str) -> Any:
    """Import `build_model`, and Keras with it, on first use, so that a configuration is checked without Keras."""
    if name == "build_model":
        from zoobot3d_tf.models.build import build_model

        return build_model
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
