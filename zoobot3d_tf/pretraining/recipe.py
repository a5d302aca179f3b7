"""Options of a pretraining, and one pretraining with everything that its training needs."""

from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

from zoobot3d_tf.data.framing import Framing
from zoobot3d_tf.models.config import CONVNEXT_ENCODERS, ModelConfig
from zoobot3d_tf.runs.encoder_weights import EncoderWeights
from zoobot3d_tf.training.run_config import MAX_SEED
from zoobot3d_tf.version import __version__

DEFAULT_ENCODER = "tf_efficientnet_b0"


@dataclass(frozen=True)
class Recipe:
    """Options of the training.

    Attributes:
        epochs: number of passes over the images.
        batch_size: number of galaxies per step; each is seen in two views. At least 2, since the loss compares
            galaxies.
        learning_rate: initial learning rate of AdamW. It decreases to zero along a cosine over all epochs.
        weight_decay: weight decay of AdamW.
        seed: random seed of initial weights, order and views, from 0 to `MAX_SEED`.

    Raises:
        ValueError: a value is out of range.
    """

    epochs: int = 50
    batch_size: int = 64
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.seed <= MAX_SEED:
            raise ValueError(f"seed must be from 0 to {MAX_SEED}; received {self.seed}")
        for name, lowest in (("epochs", 1), ("batch_size", 2)):
            if getattr(self, name) < lowest:
                raise ValueError(f"{name} must be at least {lowest}; received {getattr(self, name)}")
        if not 0 < self.learning_rate < float("inf"):
            raise ValueError(f"learning_rate must be a positive number; received {self.learning_rate}")
        if not 0 <= self.weight_decay < float("inf"):
            raise ValueError(f"weight_decay must be a number of at least 0; received {self.weight_decay}")


@dataclass(frozen=True)
class Pretraining:
    """One pretraining.

    Attributes:
        model: configuration of the model of which only the encoder is used; its encoder is one of timm.
        framing: sizes of the images in pixels, before and after cropping and resizing.
        stretch: colour stretch of FITS cutouts, see `images.rgb.to_rgb`.
        save_dir: folder to fill.
        encoder_weights: initial weights of the encoder; random if None.
        recipe: options of the training.
    """

    model: ModelConfig
    framing: Framing
    stretch: str
    save_dir: Path
    encoder_weights: EncoderWeights | None
    recipe: Recipe

    def to_dict(self, images: str) -> dict:
        """Convert to the content of `config.json`: that of timm, and what is needed to repeat the pretraining.

        Args:
            images: hash of the images, see `inference.inputs.fingerprint`.
        """
        channels, size = 3 if self.model.color else 1, self.framing.final_size
        mean, std = self.model.pixel_mean or (), self.model.pixel_std or ()
        if not self.model.color:  # the mean of the bands, as the model scales them
            mean, std = (sum(mean) / 3,), (sum(std) / 3,)
        is_convnext = self.model.encoder in CONVNEXT_ENCODERS
        first, classifier = ("stem.0", "head.fc") if is_convnext else ("conv_stem", "classifier")
        weights = self.encoder_weights and self.encoder_weights.to_dict()
        return {
            "architecture": self.model.encoder,
            "num_classes": 0,
            "model_args": {"num_classes": 0, "in_chans": channels},
            "pretrained_cfg": {
                "input_size": [channels, size, size],
                "interpolation": "bilinear",
                "mean": list(mean),
                "std": list(std),
                "num_classes": 0,
                "first_conv": first,
                "classifier": classifier,
            },
            "training": {"method": "VICReg", **asdict(self.recipe), "encoder_weights": weights, "images": images},
            "framing": asdict(self.framing),
            "stretch": self.stretch,
            "versions": {"zoobot3d_tf": __version__}
            | {name: version(name) for name in ("tensorflow", "keras", "numpy")},
        }
