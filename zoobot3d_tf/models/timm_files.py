"""Files of encoders as timm and Zoobot publish them: found, and their settings read, without TensorFlow."""

import json
import logging
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoobot3d_tf.files import PathLike
from zoobot3d_tf.hub_files import download, is_on_hub, repository_name
from zoobot3d_tf.models.config import TIMM_ENCODERS

logger = logging.getLogger(__name__)

_CONFIG_NAME = "config.json"
SAFETENSORS_NAME = "model.safetensors"
_TORCH_NAME = "pytorch_model.bin"
# Published from timm's own settings, Zoobot's encoders name ImageNet's mean and deviation, which they do not want.
_ZOOBOT = re.compile(r"zoobot-encoder|models--mwalmsley--")
# Arguments with which timm makes the same encoder.
_HARMLESS_ARGUMENTS = {"num_classes", "in_chans", "global_pool", "drop_rate", "drop_path_rate"}


@dataclass(frozen=True)
class TimmWeights:
    """What `config.json` says of an encoder, and where its tensors are.

    Attributes:
        name: as the user gave it.
        path: the file of the tensors.
        architecture: one of `TIMM_ENCODERS`.
        pixel_mean: of red, green and blue in 0..1, as `ModelConfig` has it.
        pixel_std: likewise.
    """

    name: str
    path: Path
    architecture: str
    pixel_mean: tuple[float, ...]
    pixel_std: tuple[float, ...]

    @property
    def settings(self) -> dict[str, Any]:
        """What `ModelConfig` must say of an encoder so that these weights fit."""
        return {"encoder": self.architecture, "pixel_mean": self.pixel_mean, "pixel_std": self.pixel_std}


def find_timm_weights(path_or_name: PathLike) -> TimmWeights:
    """Reads `config.json` and finds the tensors, in a folder or on the hub.

    Args:
        path_or_name: as for `models.weights.load_timm_encoder`.

    Raises:
        ValueError: the configuration is damaged, or of an encoder that is not known here.
        OSError: a file is missing, or the repository cannot be had.
        ImportError: huggingface_hub is needed but not installed.
    """
    name = str(path_or_name)
    folder = _download(repository_name(name)) if is_on_hub(name) else Path(name)
    config_loc = folder / _CONFIG_NAME
    if not config_loc.is_file():
        raise FileNotFoundError(f"{name}: holds no {_CONFIG_NAME}; timm's weights are a folder with one")
    paths = [folder / file for file in (SAFETENSORS_NAME, _TORCH_NAME) if (folder / file).is_file()]
    if not paths:
        raise FileNotFoundError(f"{name}: holds neither {SAFETENSORS_NAME} nor {_TORCH_NAME}")
    try:
        config = json.loads(config_loc.read_text(encoding="utf-8"))
        architecture, arguments = config["architecture"], config.get("model_args") or {}
        pixels = config.get("pretrained_cfg", config)  # before timm 0.9 they stood side by side
        mean, std = (tuple(map(float, pixels.get(key, default))) for key, default in (("mean", [0]), ("std", [1])))
        unknown = sorted(set(arguments) - _HARMLESS_ARGUMENTS)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{config_loc}: is not a configuration as timm writes it: {error!r}") from error
    if architecture not in TIMM_ENCODERS:
        raise ValueError(f"{config_loc}: its architecture is {architecture!r}; known are {', '.join(TIMM_ENCODERS)}")
    if unknown:
        raise ValueError(f"{config_loc}: the encoder was altered by {', '.join(unknown)}, which is not known here")
    if _ZOOBOT.search(str(folder.resolve())):  # the hub's cache names owner and repository
        mean, std = (0.0,), (1.0,)
    if {len(mean), len(std)} - {1, 3} or not all(map(math.isfinite, mean + std)) or min(std) <= 0:
        raise ValueError(f"{config_loc}: mean {mean} and std {std} are not those of one or three bands")
    weights = TimmWeights(name, paths[0], architecture, *(n * 3 if len(n) == 1 else n for n in (mean, std)))
    logger.info("%s: %s, pixels (0..1 - %s) / %s", name, architecture, weights.pixel_mean, weights.pixel_std)
    return weights


def _download(repository: str) -> Path:
    """Folder of a repository of the hub, with its configuration and its tensors, both of one commit."""
    folder = download(repository, _CONFIG_NAME).parent
    try:
        download(repository, SAFETENSORS_NAME, revision=folder.name)
    except OSError:  # older repositories have the other file only
        download(repository, _TORCH_NAME, revision=folder.name)
    return folder
