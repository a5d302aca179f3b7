"""Options of a fine-tuning, and one fine-tuning with everything that its stages need."""

from dataclasses import asdict, dataclass

from zoobot3d_tf.files import sha256_of
from zoobot3d_tf.labels import LABEL_KINDS
from zoobot3d_tf.runs.run_folder import TrainedRun
from zoobot3d_tf.shards.manifest import Manifest
from zoobot3d_tf.training.run_config import MAX_SEED, RunConfig

FINETUNE_TASKS = (*LABEL_KINDS, "counts", "masks")
"""Tasks of fine-tuning: kinds of labels, votes and masks."""


@dataclass(frozen=True)
class Recipe:
    """Options of a fine-tuning.

    Attributes:
        n_blocks: number of the encoder's last blocks that are trained in a second stage; all if there are fewer. With 0
            there is no second stage.
        layer_decay: factor of the learning rate from each block to the block below it; 1 is the same rate for all.
        learning_rate: initial learning rate of the new head. It decreases to zero along a cosine, as in training.
        blocks_learning_rate: initial learning rate of the second stage.
        epochs: largest number of epochs per stage.
        patience: number of epochs without a lower validation loss after which a stage ends.
        batch_size: number of galaxies per step.
        seed: random seed of initial weights, order and augmentation.

    Raises:
        ValueError: a value is out of range.
    """

    n_blocks: int = 0
    layer_decay: float = 1.0
    learning_rate: float = 1e-3
    blocks_learning_rate: float = 1e-4
    epochs: int = 50
    patience: int = 10
    batch_size: int = 32
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.seed <= MAX_SEED:
            raise ValueError(f"seed must be from 0 to {MAX_SEED}; received {self.seed}")
        for name, lowest in (("n_blocks", 0), ("epochs", 1), ("patience", 1), ("batch_size", 1)):
            if getattr(self, name) < lowest:
                raise ValueError(f"{name} must be at least {lowest}; received {getattr(self, name)}")
        for name in ("learning_rate", "blocks_learning_rate"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ValueError(f"{name} must be a positive number; received {getattr(self, name)}")
        if not 0 < self.layer_decay <= 1:
            raise ValueError(f"layer_decay must be above 0 and at most 1; received {self.layer_decay}")


@dataclass(frozen=True)
class Finetuning:
    """One fine-tuning, with everything that its stages need.

    Attributes:
        base: run of the trained network.
        base_name: name of the base, as the user gave it.
        run: configuration of the new run, with the settings of the first stage.
        recipe: options of the training.
    """

    base: TrainedRun
    base_name: str
    run: RunConfig
    recipe: Recipe

    def to_dict(self, manifest: Manifest) -> dict:
        """Convert to the content of `config.json`: as of every run, and under `training` the base and the recipe.

        Args:
            manifest: manifest of the shards of the run.
        """
        config = self.run.to_dict()
        config["training"] |= asdict(self.recipe) | {
            "base": self.base_name,
            "base_sha256": sha256_of(self.base.weights_loc),
            "stages": ["head", "blocks"][: 1 + (self.recipe.n_blocks > 0)],
        }
        shards = {
            "train": manifest.content_hash(self.run.train_records),
            "eval": manifest.content_hash(self.run.eval_records),
        }
        return config | {"stretch": self.base.stretch, "shards": shards}
