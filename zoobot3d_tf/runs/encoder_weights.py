"""Initial weights of an encoder: of Zoobot or timm, of another run, or for ImageNet.

The weights are found, and the settings that they need are read, without TensorFlow.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from zoobot3d_tf.files import sha256_of
from zoobot3d_tf.models.config import TIMM_ENCODERS, ModelConfig
from zoobot3d_tf.models.model_folder import open_model_folder
from zoobot3d_tf.models.timm_files import IMAGENET_LITE0, TimmWeights, find_lite0_weights
from zoobot3d_tf.runs.run_folder import SHIPPED, TrainedRun, read_run

if TYPE_CHECKING:
    import keras

IMAGENET = "imagenet"
"""Name of Keras's own weights for ImageNet, in place of a folder."""


@dataclass(frozen=True)
class EncoderWeights:
    """Weights from which the training of an encoder starts.

    Attributes:
        source: name of the weights as the user gave it.
        encoder: name of the encoder, one of `models.config.ENCODERS`.
        found: weights of timm or Zoobot, or the run that holds the encoder; None for Keras's own weights.
    """

    source: str
    encoder: str
    found: TimmWeights | TrainedRun | None

    @property
    def settings(self) -> dict[str, Any]:
        """Arguments of `ModelConfig` for a model whose encoder can take these weights."""
        if isinstance(self.found, TrainedRun):
            return {name: getattr(self.found.model, name) for name in ("encoder", "color", "pixel_mean", "pixel_std")}
        return {"encoder": self.encoder} if self.found is None else self.found.settings

    def to_dict(self) -> dict[str, str]:
        """Convert to the entry of `config.json`: the source, and the SHA-256 of the file.

        Keras's own weights are downloaded.

        Raises:
            OSError: the weights cannot be read or downloaded.
        """
        if isinstance(self.found, TrainedRun):
            path = self.found.weights_loc
        elif self.found is not None:
            path = self.found.path
        else:
            from zoobot3d_tf.models.weights import fetch_imagenet_encoder

            _, path = fetch_imagenet_encoder(self.encoder)
        return {"source": self.source, "sha256": sha256_of(path)}

    def load(self, model: "keras.Model", config: ModelConfig) -> None:
        """Load the weights into the encoder of a model.

        Args:
            model: model made by `build_model(config)`.
            config: configuration with these `settings`.

        Raises:
            ValueError: the weights are damaged, or do not fit the model.
            OSError: the weights cannot be read or downloaded.
        """
        from zoobot3d_tf.models.weights import load_encoder_weights, load_imagenet_weights

        if isinstance(self.found, TrainedRun):
            model.get_layer("encoder").set_weights(self.found.load_model().get_layer("encoder").get_weights())
        elif self.found is not None:
            load_encoder_weights(model, config, self.found)
        else:
            load_imagenet_weights(model, self.encoder)


def find_encoder_weights(source: str, asked: Mapping[str, Any], pixels: str | None = None) -> EncoderWeights:
    """Find initial weights for an encoder.

    Args:
        source: folder of weights of timm or Zoobot, run folder, `hf://owner/name` of either, `SHIPPED`, `IMAGENET`, or
            `IMAGENET_LITE0`.
        asked: values of `encoder` and `color` that the user wants; None where the weights decide.
        pixels: range of pixels that weights of timm or Zoobot expect, see `TimmWeights.from_folder`.

    Raises:
        ValueError: the weights are damaged, of an unknown encoder, or need other values of `encoder`, `color` or
            `pixels`.
        OSError: the weights do not exist, or the hub cannot be reached.
        ImportError: the weights are on the hub, and huggingface_hub is not installed, or they are `IMAGENET_LITE0`, and
            its package is not.
    """
    superfluous = f"encoder_pixels must be left out for the weights {source}; received {pixels!r}"
    if pixels and source in (SHIPPED, IMAGENET, IMAGENET_LITE0):
        raise ValueError(superfluous)
    if source == IMAGENET:
        encoder = asked["encoder"] or ModelConfig.encoder
        if encoder in TIMM_ENCODERS:
            raise ValueError(
                f"{IMAGENET}: Keras has no weights for the encoder {encoder} of timm; give a folder of its weights, "
                f"hf://owner/name, or {IMAGENET_LITE0} for its encoder"
            )
        return EncoderWeights(source, encoder, None)
    found = _find(source, pixels)
    if pixels and isinstance(found, TrainedRun):
        raise ValueError(superfluous)
    encoder = found.model.encoder if isinstance(found, TrainedRun) else found.architecture
    weights = EncoderWeights(source, encoder, found)
    for name, value in weights.settings.items():
        if asked.get(name) not in (None, value):
            raise ValueError(f"{name} must be {value} for the weights {source}, or left out; received {asked[name]}")
    return weights


def _find(source: str, pixels: str | None) -> TimmWeights | TrainedRun:
    if source == SHIPPED:
        return read_run(SHIPPED)
    if source == IMAGENET_LITE0:
        return find_lite0_weights()
    kind = "a folder of weights of timm or Zoobot, nor a run folder"
    remedy = f"give such a folder, hf://owner/name of one, {SHIPPED}, {IMAGENET}, or {IMAGENET_LITE0}"
    folder = open_model_folder(source, kind, remedy)
    if "architecture" in folder.config:
        return TimmWeights.from_folder(folder, pixels)
    return TrainedRun.from_folder(folder)
