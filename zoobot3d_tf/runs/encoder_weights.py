"""What an encoder knows before the first epoch: weights of Zoobot or timm, of another run, or Keras's of ImageNet.

They are found, and what they ask of the model is known, before TensorFlow is imported.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoobot3d_tf.files import sha256_of
from zoobot3d_tf.hub_files import download, is_on_hub, repository_name
from zoobot3d_tf.models.config import TIMM_ENCODERS, ModelConfig
from zoobot3d_tf.models.timm_files import TimmWeights, find_timm_weights
from zoobot3d_tf.runs.run_folder import CONFIG_NAME, SHIPPED, TrainedRun, read_run

IMAGENET = "imagenet"
"""In place of a folder: Keras's own weights."""


@dataclass(frozen=True)
class EncoderWeights:
    """Weights that an encoder begins with.

    Attributes:
        source: as the user named them.
        encoder: one of `models.config.ENCODERS`.
        found: where they are; None for Keras's own, which Keras fetches.
    """

    source: str
    encoder: str
    found: TimmWeights | TrainedRun | None

    @property
    def settings(self) -> dict[str, Any]:
        """What `ModelConfig` must say so that they fit."""
        if isinstance(self.found, TrainedRun):
            return {name: getattr(self.found.model, name) for name in ("encoder", "color", "pixel_mean", "pixel_std")}
        return {"encoder": self.encoder} if self.found is None else self.found.settings

    def to_dict(self) -> dict[str, str]:
        """As stored in `config.json`; Keras's own are fetched for their hash.

        Raises:
            OSError: they cannot be read or fetched.
        """
        if isinstance(self.found, TrainedRun):
            path = self.found.weights_loc
        elif self.found is not None:
            path = self.found.path
        else:
            from zoobot3d_tf.models.weights import fetch_imagenet_encoder

            _, path = fetch_imagenet_encoder(self.encoder)
        return {"source": self.source, "sha256": sha256_of(path)}

    def load(self, model, config: ModelConfig) -> None:
        """Loads them into the encoder of a `keras.Model`.

        Args:
            model: as `build_model(config)` makes it.
            config: with these `settings`.

        Raises:
            ValueError: they are damaged, or do not fit.
            OSError: they cannot be read or fetched.
        """
        from zoobot3d_tf.models.weights import load_encoder_weights, load_imagenet_weights

        if isinstance(self.found, TrainedRun):
            model.get_layer("encoder").set_weights(self.found.load_model().get_layer("encoder").get_weights())
        elif self.found is not None:
            load_encoder_weights(model, config, self.found.path.parent)
        else:
            load_imagenet_weights(model, self.encoder)


def find_encoder_weights(source: str, asked: Mapping[str, Any]) -> EncoderWeights:
    """Finds weights for an encoder.

    Args:
        source: a folder of timm's or Zoobot's weights, a run folder, `hf://owner/name` of either, `SHIPPED`, or
            `IMAGENET`.
        asked: `encoder` and `color` as the user wants them, None where they are left to the weights.

    Raises:
        ValueError: the weights are of another encoder than asked for, or not known here.
        OSError: there are none, or the hub does not have them.
        ImportError: huggingface_hub is needed but not installed.
    """
    if source == IMAGENET:
        encoder = asked["encoder"] or ModelConfig.encoder
        if encoder in TIMM_ENCODERS:
            raise ValueError(
                f"imagenet: Keras has no weights for timm's {encoder}; name a folder or hf://owner/name that has"
            )
        return EncoderWeights(source, encoder, None)
    found = read_run(source) if _is_run(source) else find_timm_weights(source)
    encoder = found.model.encoder if isinstance(found, TrainedRun) else found.architecture
    weights = EncoderWeights(source, encoder, found)
    for name, value in weights.settings.items():
        if asked.get(name) not in (None, value):
            raise ValueError(f"{source}: these weights need {name} {value}; received {asked[name]}, leave out {name}")
    return weights


def _is_run(source: str) -> bool:
    """Whether it is a run's `config.json` there, and not timm's."""
    if source == SHIPPED:
        return True
    path = download(repository_name(source), CONFIG_NAME) if is_on_hub(source) else Path(source, CONFIG_NAME)
    if not path.is_file():
        raise FileNotFoundError(
            f"{source}: holds no {CONFIG_NAME}; name a folder of timm's or Zoobot's weights, a run folder, "
            f"hf://owner/name of either, {SHIPPED}, or {IMAGENET}"
        )
    try:
        return "architecture" not in json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"{path} cannot be used: {error}") from error
