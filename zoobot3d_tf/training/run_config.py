"""The configuration of a training run, as data."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path

from zoobot3d_tf.data.framing import Framing
from zoobot3d_tf.files import path_of
from zoobot3d_tf.models.config import TASKS, ModelConfig
from zoobot3d_tf.runs.encoder_weights import EncoderWeights
from zoobot3d_tf.runs.run_folder import FORMAT_VERSION
from zoobot3d_tf.shards.manifest import by_folder
from zoobot3d_tf.version import __version__

MASK_LOSS_NAMES = ("l1", "mse", "cross-entropy", "beta-binomial")
"""Names of the losses of masks; see `training.losses`."""

MAX_SEED = 2**32 - 1
"""Largest random seed that NumPy takes."""

# Typical losses per galaxy are 35 for votes; 0.02 for spiral arms and 0.003 for a bar, because most pixels are sky; and
# 1 for a label. The factors bring the tasks to a similar weight, or the encoder would learn from the votes only.
DEFAULT_LOSS_WEIGHTS = {"votes": 1.0, "spiral_mask": 300.0, "bar_mask": 600.0, "label": 10.0}
"""Factor of the loss of each task."""


@dataclass(frozen=True)
class RunConfig:
    """Configuration of one training run.

    Attributes:
        model: configuration of the model.
        framing: sizes of stored images, crop and network input.
        log_dir: run folder.
        train_records: TFRecord files to train on, of one or more shard folders.
        eval_records: TFRecord files to validate on, of one or more shard folders.
        epochs: largest number of epochs.
        batch_size: number of galaxies per step.
        mask_loss: name of the loss of the masks, one of `MASK_LOSS_NAMES`.
        loss_weights: factor of the loss of each task, above 0.
        learning_rate: initial learning rate of AdamW. It decreases to zero along a cosine over all epochs.
        weight_decay: weight decay of AdamW.
        patience: number of epochs without a lower validation loss after which training stops.
        seed: random seed of initial weights, order, augmentation and dropout, from 0 to `MAX_SEED`.
        checkpoint_minutes: time between two checkpoints within an epoch. It does not change what is learned.
        mixed_precision: whether to compute in bfloat16, which is faster on GPUs and slower on CPUs.
        distributed: whether to train on all GPUs of this machine or, in a cluster, of several machines; see
            `training.devices`.
        encoder_weights: initial weights of the encoder; random if None.
        galaxies_per_epoch: number of galaxies per epoch of each shard folder in `train_records`, in the order of their
            first files. If empty, an epoch is one pass over all training galaxies.
        masked_times: how often a galaxy with a mask is used for each use of a galaxy without one.
        photometry: whether the augmentation changes brightness, colour, sharpness and noise too.
        alternating: whether each batch has galaxies of one shard folder, and batches of the folders alternate, instead
            of batches in which all folders are mixed.
        wandb: whether to log to Weights & Biases too (extra `[wandb]`).

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
    mask_loss: str = "cross-entropy"  # l1 learns the median, which is an empty mask for thin structures
    loss_weights: Mapping[str, float] = field(default_factory=lambda: dict(DEFAULT_LOSS_WEIGHTS))
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    patience: int = 10
    seed: int = 0
    checkpoint_minutes: float = 10.0
    mixed_precision: bool = False
    distributed: bool = False
    encoder_weights: EncoderWeights | None = None
    galaxies_per_epoch: tuple[int, ...] = ()
    masked_times: int = 1
    photometry: bool = False
    alternating: bool = False
    wandb: bool = False

    def __post_init__(self) -> None:
        if self.model.image_size != self.framing.final_size:
            raise ValueError(
                f"the image_size of the model must be the final_size of the framing; received {self.model.image_size} "
                f"and {self.framing.final_size} pixels"
            )
        for name in ("train_records", "eval_records"):
            if not getattr(self, name):
                raise ValueError(f"{name} must name .tfrecord files; received none")
        for name in ("epochs", "batch_size", "patience", "masked_times"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1; received {getattr(self, name)}")
        n_folders = len(by_folder(self.train_records))
        if self.galaxies_per_epoch and len(self.galaxies_per_epoch) != n_folders:
            raise ValueError(
                f"galaxies_per_epoch must have one number for each of the {n_folders} folders of shards; received "
                f"{len(self.galaxies_per_epoch)}"
            )
        if min(self.galaxies_per_epoch, default=1) < 1:
            raise ValueError(f"galaxies_per_epoch must be at least 1; received {min(self.galaxies_per_epoch)}")
        if self.alternating and any(number % self.batch_size for number in self.galaxies_per_epoch or (1,)):
            raise ValueError(
                f"alternating=True needs galaxies_per_epoch, as multiples of the batch size {self.batch_size}; "
                f"received {', '.join(map(str, self.galaxies_per_epoch)) or 'none'}"
            )
        if not 0 <= self.checkpoint_minutes < math.inf:
            raise ValueError(f"checkpoint_minutes must be a number of at least 0; received {self.checkpoint_minutes}")
        if not 0 < self.learning_rate < math.inf:
            raise ValueError(f"learning_rate must be a number above 0; received {self.learning_rate}")
        if not 0 <= self.weight_decay < math.inf:
            raise ValueError(f"weight_decay must be a number of at least 0; received {self.weight_decay}")
        if not 0 <= self.seed <= MAX_SEED:
            raise ValueError(f"seed must be from 0 to {MAX_SEED}; received {self.seed}")
        if self.mask_loss not in MASK_LOSS_NAMES:
            raise ValueError(f"mask_loss must be one of {', '.join(MASK_LOSS_NAMES)}; received {self.mask_loss!r}")
        if unknown := set(self.loss_weights) - set(TASKS):
            raise ValueError(
                f"loss_weights must name tasks of {', '.join(TASKS)}; received {', '.join(sorted(unknown))}"
            )
        for name, weight in self.loss_weights.items():
            if not 0 < weight < math.inf:
                raise ValueError(
                    f"loss_weights must be above 0; received {weight} for {name}: to leave out a task, omit it in tasks"
                )

    def to_dict(self) -> dict:
        """Convert to the content of `config.json`, except for the stretch, which only the shards know.

        The content is sufficient to rebuild the model, to repeat the run, and to frame images for predictions.
        """
        names = ("mask_loss", "learning_rate", "weight_decay", "patience", "seed", "batch_size", "epochs")
        training = {name: getattr(self, name) for name in names}
        # Runs that were begun before there were labels have no weight for them, and must still be continued.
        weights = {name: weight for name, weight in self.loss_weights.items() if self.model.label or name != "label"}
        training |= {"loss_weights": weights, "mixed_precision": self.mixed_precision}
        # Likewise, runs that were begun before these settings existed have their defaults.
        newer = {
            name: getattr(self, name) for name in ("galaxies_per_epoch", "masked_times", "photometry", "alternating")
        }
        training |= {name: value for name, value in newer.items() if value != getattr(RunConfig, name)}
        training["encoder_weights"] = self.encoder_weights and self.encoder_weights.to_dict()
        training |= {name: [Path(p).name for p in getattr(self, name)] for name in ("train_records", "eval_records")}
        training |= {"train_dirs": _folders(self.train_records), "eval_dirs": _folders(self.eval_records)}
        packages = ("tensorflow", "keras", "tensorflow-probability", "numpy")
        return {
            "format_version": FORMAT_VERSION,
            "model": self.model.to_dict(),
            "framing": asdict(self.framing),
            "training": training,
            "versions": {"zoobot3d_tf": __version__} | {name: version(name) for name in packages},
        }


def _folders(records: Sequence[str]) -> list[str]:
    """Absolute paths of the folders of TFRecord files, in the order of the first file of each."""
    return list(dict.fromkeys(str(path_of(path).absolute().parent) for path in records))
