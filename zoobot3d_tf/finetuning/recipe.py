"""The options of a fine-tuning, checked."""

from dataclasses import asdict, dataclass

from zoobot3d_tf.files import sha256_of
from zoobot3d_tf.labels import LABEL_KINDS
from zoobot3d_tf.runs.run_folder import TrainedRun
from zoobot3d_tf.training.run_config import RunConfig

FINETUNE_TASKS = (*LABEL_KINDS, "counts", "masks")


@dataclass(frozen=True)
class Recipe:
    """How to fine-tune.

    Attributes:
        n_blocks: so many of the encoder's last blocks, or all, learn too, in a second stage; with 0 there is none.
        layer_decay: factor of the learning rate from each block to the one below it; 1 is one rate for all.
        learning_rate: of the new head at the start; it falls along a cosine, as in all training.
        blocks_learning_rate: likewise, of the second stage.
        epochs: at most so many in each stage.
        patience: epochs without a lower validation loss before a stage ends.
        batch_size: galaxies a step.
        seed: of initial weights, order and augmentation.

    Raises:
        ValueError: a value is impossible.
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
        for name, lowest in (("n_blocks", 0), ("seed", 0), ("epochs", 1), ("patience", 1), ("batch_size", 1)):
            if getattr(self, name) < lowest:
                raise ValueError(f"{name} must be at least {lowest}; received {getattr(self, name)}")
        for name in ("learning_rate", "blocks_learning_rate"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ValueError(f"{name} must be a positive number; received {getattr(self, name)}")
        if not 0 < self.layer_decay <= 1:
            raise ValueError(f"layer_decay must be above 0 and at most 1; received {self.layer_decay}")


@dataclass(frozen=True)
class Finetuning:
    """One fine-tuning, checked: what its stages need to know.

    Attributes:
        base: the run whose network it begins with.
        base_name: as the user named it.
        run: model, framing, folder and shards, with the settings of the first stage.
        recipe: how to train.
    """

    base: TrainedRun
    base_name: str
    run: RunConfig
    recipe: Recipe

    def to_dict(self) -> dict:
        """As stored in `config.json`: that of any run, and under `training` what this one began with."""
        config = self.run.to_dict()
        config["training"] |= asdict(self.recipe) | {
            "base": self.base_name,
            "base_sha256": sha256_of(self.base.weights_loc),
            "stages": ["head", "blocks"][: 1 + (self.recipe.n_blocks > 0)],
        }
        return config | {"stretch": self.base.stretch}
