"""The configuration of a training run, as data."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path

from zoobot3d_tf import __version__
from zoobot3d_tf.data.framing import Framing
from zoobot3d_tf.models.config import TASKS, ModelConfig
from zoobot3d_tf.runs.encoder_weights import EncoderWeights
from zoobot3d_tf.runs.run_folder import FORMAT_VERSION

MASK_LOSS_NAMES = ("l1", "mse", "cross-entropy", "beta-binomial")

# A galaxy's votes cost about 35; its pixels about 0.02 for arms and 0.003 for a bar, since most are sky; its label
# about 1, a cross-entropy or a squared error in units of the scatter. Without these factors the encoder would hear the
# votes alone.
DEFAULT_LOSS_WEIGHTS = {"votes": 1.0, "spiral_mask": 300.0, "bar_mask": 600.0, "label": 10.0}


@dataclass(frozen=True)
class RunConfig:
    """One training run.

    Attributes:
        model: what to train.
        framing: sizes of stored images, of the crop, and of the network's input.
        log_dir: the run folder.
        train_records: TFRecord files to train on.
        eval_records: TFRecord files to validate on.
        epochs: at most so many passes over the training galaxies.
        batch_size: galaxies a step.
        mask_loss: one of `MASK_LOSS_NAMES`.
        loss_weights: factor of each task's loss.
        learning_rate: of AdamW at the start; it falls to zero along a cosine over all epochs.
        weight_decay: of AdamW.
        patience: epochs without a lower validation loss before stopping early.
        seed: of initial weights, order and augmentation.
        mixed_precision: compute in float16 where the device gains from it (GPUs).
        distributed: mirror the model on all local GPUs.
        encoder_weights: what the encoder begins with; None begins at random.
        wandb: also log to Weights & Biases (extra `[wandb]`).

    Raises:
        ValueError: values contradict each other or are out of range.
    """

    model: ModelConfig
    framing: Framing
    log_dir: Path
    train_records: tuple[str, ...]
    eval_records: tuple[str, ...]
    epochs: int
    batch_size: int
    mask_loss: str = "l1"
    loss_weights: Mapping[str, float] = field(default_factory=lambda: dict(DEFAULT_LOSS_WEIGHTS))
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    patience: int = 10
    seed: int = 0
    mixed_precision: bool = False
    distributed: bool = False
    encoder_weights: EncoderWeights | None = None
    wandb: bool = False

    def __post_init__(self) -> None:
        if self.model.image_size != self.framing.final_size:
            raise ValueError(f"the model takes {self.model.image_size} px; the framing gives {self.framing.final_size}")
        for name in ("train_records", "eval_records"):
            if not getattr(self, name):
                raise ValueError(f"{name} is empty; it must name .tfrecord files")
        for name in ("epochs", "batch_size", "patience"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1; received {getattr(self, name)}")
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate must be positive; received {self.learning_rate}")
        if self.mask_loss not in MASK_LOSS_NAMES:
            raise ValueError(f"mask loss must be one of {', '.join(MASK_LOSS_NAMES)}; received {self.mask_loss!r}")
        if unknown := set(self.loss_weights) - set(TASKS):
            raise ValueError(f"loss weights name unknown tasks {sorted(unknown)}; known are {', '.join(TASKS)}")

    def to_dict(self) -> dict:
        """As stored in `config.json`: all that rebuilds the model, repeats the run, and frames images to predict.

        The shards add their stretch to it.
        """
        schema, label = self.model.schema, self.model.label
        model = asdict(self.model) | {
            "schema": schema and schema.to_dict(),
            "tasks": list(self.model.tasks),
            "label": label and label.to_dict(),
        }
        names = ("mask_loss", "learning_rate", "weight_decay", "patience", "seed", "batch_size", "epochs")
        training = {name: getattr(self, name) for name in names}
        # That of a label only where there is one: runs begun before there were labels are continued.
        weights = {name: weight for name, weight in self.loss_weights.items() if label or name != "label"}
        training |= {"loss_weights": weights, "mixed_precision": self.mixed_precision}
        training["encoder_weights"] = self.encoder_weights and self.encoder_weights.to_dict()
        training |= {name: [Path(p).name for p in getattr(self, name)] for name in ("train_records", "eval_records")}
        packages = ("tensorflow", "keras", "tensorflow-probability", "numpy")
        return {
            "format_version": FORMAT_VERSION,
            "model": model,
            "framing": asdict(self.framing),
            "training": training,
            "versions": {"zoobot3d_tf": __version__} | {name: version(name) for name in packages},
        }
