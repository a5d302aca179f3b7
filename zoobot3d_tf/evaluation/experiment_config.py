"""The configuration of the experiment `joint-vs-single`: what is compared, on which galaxies, and with what budget."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from zoobot3d_tf.catalogs.selection import hash_share
from zoobot3d_tf.files import PathLike, path_of, sha256_of
from zoobot3d_tf.images.masks import MASKS
from zoobot3d_tf.models.config import ModelConfig
from zoobot3d_tf.settings_files import built, check_known, read_yaml
from zoobot3d_tf.training.run_config import MASK_LOSS_NAMES, RunConfig

LEARNS = ("votes", "masks")
"""What a variant can learn."""
NATURAL = "natural"
"""Share of masked galaxies in batches that is their share of the training galaxies: nothing is oversampled."""
PARTS = ("training", "validation", "scored")
"""Parts of the galaxies. Those of `validation` choose the best epoch of a training."""


@dataclass(frozen=True)
class VoteGalaxies:
    """Galaxies with votes.

    Attributes:
        catalog: path of the catalogue. Masks in it are not read.
        schema: decision tree: a name, or a .yaml or .json file.
        image_root: folder that relative paths in the catalogue start from; by default the folder of the catalogue.
    """

    catalog: str
    schema: str
    image_root: str | None = None


@dataclass(frozen=True)
class MaskedGalaxies:
    """Galaxies with masks, in the same catalogue as those with votes or in another one.

    Attributes:
        catalog: path of the catalogue.
        tasks: masks to learn, of `MASKS`. A galaxy counts as masked if its row names all of them, or marks.
        with_votes: whether the catalogue also has votes of these galaxies, on the same decision tree, to learn from.
        image_root: folder that relative paths in the catalogue start from; by default the folder of the catalogue.
    """

    catalog: str
    tasks: tuple[str, ...] = MASKS
    with_votes: bool = False
    image_root: str | None = None

    def __post_init__(self) -> None:
        if not self.tasks or (unknown := [task for task in self.tasks if task not in MASKS]):
            raise ValueError(f"tasks must be of {', '.join(MASKS)}; received {', '.join(unknown) or 'none'}")


@dataclass(frozen=True)
class Budget:
    """Settings that all trainings share, see `zoobot3d train`. Each sees `epochs` times `galaxies_per_epoch` images.

    Attributes:
        img_size: height and width of the images in the shards, in pixels.
        crop_size: height and width of the central part that the network sees, in pixels of the shards.
        resize_size: height and width of the network's input, in pixels.
        epochs: number of epochs. None is left out; the best one is kept.
        galaxies_per_epoch: number of images per epoch.
        batch_size: number of images per step.
        encoder: name of the encoder.
        color: whether the network sees colours.
        learning_rate: initial learning rate.
        mask_loss: name of the loss of masks.
    """

    img_size: int
    crop_size: int
    resize_size: int
    epochs: int
    galaxies_per_epoch: int
    batch_size: int = 32
    encoder: str = ModelConfig.encoder
    color: bool = ModelConfig.color
    learning_rate: float = RunConfig.learning_rate
    mask_loss: str = RunConfig.mask_loss

    def __post_init__(self) -> None:
        for name in ("epochs", "galaxies_per_epoch", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1; received {getattr(self, name)}")
        if self.mask_loss not in MASK_LOSS_NAMES:
            raise ValueError(f"mask_loss must be one of {', '.join(MASK_LOSS_NAMES)}; received {self.mask_loss!r}")


@dataclass(frozen=True)
class Variant:
    """One of the ways of training that are compared.

    Attributes:
        learns: what it learns, of `LEARNS`.
        encoder_weights: initial weights of the encoder, as `zoobot3d train` takes them; random if None.
        after: name of another variant, whose encoder of the same seed and fold gives the initial weights.
        masked_share: share of the images of an epoch that are of masked galaxies, if votes are learned too; or
            `NATURAL`.
        alternating: whether batches have either galaxies of the catalogue of votes or of that of masks, in turn.
        loss_weights: factors of the losses by task, in place of the defaults.
        sizes: numbers of masked galaxies, if not all sizes of the experiment.
    """

    learns: tuple[str, ...]
    encoder_weights: str | None = None
    after: str | None = None
    masked_share: float | str = 0.5
    alternating: bool = False
    loss_weights: Mapping[str, float] = field(default_factory=dict)
    sizes: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not self.learns or (unknown := [name for name in self.learns if name not in LEARNS]):
            raise ValueError(f"learns must be of {', '.join(LEARNS)}; received {', '.join(unknown) or 'none'}")
        if self.masked_share != NATURAL and not (
            isinstance(self.masked_share, float | int) and 0 < self.masked_share < 1
        ):
            raise ValueError(f"masked_share must be between 0 and 1, or {NATURAL}; received {self.masked_share}")
        if self.alternating and set(self.learns) != set(LEARNS):
            raise ValueError("alternating needs a variant that learns votes and masks")
        if self.encoder_weights and self.after:
            raise ValueError("encoder_weights and after both give the first weights of the encoder; keep one of them")
        if self.sizes and not self.learns_masks:
            raise ValueError("sizes are numbers of masked galaxies; a variant that learns no masks must not have them")

    @property
    def learns_votes(self) -> bool:
        """Whether it learns votes."""
        return "votes" in self.learns

    @property
    def learns_masks(self) -> bool:
        """Whether it learns masks."""
        return "masks" in self.learns


@dataclass(frozen=True)
class Experiment:
    """The experiment: trainings of all variants for all sizes, seeds and folds.

    Attributes:
        votes: galaxies with votes. All that are not held back are used in each training that learns votes.
        masks: galaxies with masks.
        sizes: numbers of masked galaxies to learn from.
        budget: settings that all trainings share.
        variants: ways of training by name.
        seeds: number of random seeds, counted from 0. A seed chooses the masked galaxies, the initial weights, the
            order and the augmentation.
        folds: number of parts into which a hash of `id_str` divides the galaxies.
        scored_folds: number of these parts that are held back and scored, one after the other; all if None.
        validation_share: share of the other galaxies that choose the best epoch.
        comparisons: pairs of variants whose difference is tested.

    Raises:
        ValueError: values contradict each other or are out of range.
    """

    votes: VoteGalaxies
    masks: MaskedGalaxies
    sizes: tuple[int, ...]
    budget: Budget
    variants: Mapping[str, Variant]
    seeds: int = 3
    folds: int = 5
    scored_folds: int | None = None
    validation_share: float = 0.1
    comparisons: tuple[tuple[str, ...], ...] = ()

    def __post_init__(self) -> None:
        for name, lowest in {"seeds": 1, "folds": 2, "scored_folds": 1}.items():
            if (value := getattr(self, name)) is not None and value < lowest:
                raise ValueError(f"{name} must be at least {lowest}; received {value}")
        if self.n_scored > self.folds:
            raise ValueError(f"scored_folds must be at most folds, {self.folds}; received {self.scored_folds}")
        if not 0 < self.validation_share < 1:
            raise ValueError(f"validation_share must be between 0 and 1; received {self.validation_share}")
        if not self.sizes or list(self.sizes) != sorted(set(self.sizes)) or self.sizes[0] < 1:
            raise ValueError(f"sizes must be whole numbers above 0 that increase; received {list(self.sizes)}")
        if not self.variants:
            raise ValueError("variants must name at least one way of training; received none")
        for name, variant in self.variants.items():
            self._check_variant(name, variant)
        for pair in self.comparisons:
            if len(pair) != 2:
                raise ValueError(f"comparisons must be pairs of variants; received {list(pair)}")
            for name in pair:
                check_known(f"comparisons {list(pair)}", name, self.variants, "unknown variant")

    def _check_variant(self, name: str, variant: Variant) -> None:
        where = f"variants.{name}"
        if "/" in name or name.startswith("."):
            raise ValueError(f"{where}: the name of a variant names files; it must not have / or begin with a dot")
        if strange := [size for size in variant.sizes if size not in self.sizes]:
            raise ValueError(f"{where}.sizes must be of the sizes {list(self.sizes)}; received {strange}")
        if variant.after:
            check_known(f"{where}.after", variant.after, self.variants, "unknown variant")
            earlier = self.variants[variant.after]
            if earlier.learns_masks:
                raise ValueError(f"{where}.after must name a variant that learns votes alone; received {variant.after}")
        if variant.alternating:
            n_votes, n_masked = self.images_per_epoch(variant, 0, 0)
            if n_votes % self.budget.batch_size or n_masked % self.budget.batch_size:
                raise ValueError(
                    f"{where}: alternating batches of {self.budget.batch_size} need multiples of it per epoch; "
                    f"received {n_votes} galaxies with votes and {n_masked} with masks"
                )

    @property
    def n_scored(self) -> int:
        """Number of folds that are scored."""
        return self.scored_folds or self.folds

    def sizes_of(self, variant: Variant) -> tuple[int | None, ...]:
        """Numbers of masked galaxies that a variant is trained on; one None if it learns no masks."""
        return (variant.sizes or self.sizes) if variant.learns_masks else (None,)

    def images_per_epoch(self, variant: Variant, n_votes: int, n_masked: int) -> tuple[int, int]:
        """Divide the images of an epoch of a variant that learns both.

        Args:
            variant: the variant.
            n_votes: number of training galaxies in the catalogue of votes.
            n_masked: number of masked training galaxies.

        Returns:
            Number of images from the catalogue of votes, and number of images of masked galaxies, at least 1 each.
        """
        n_images, share = self.budget.galaxies_per_epoch, variant.masked_share
        if isinstance(share, str):
            share = n_masked / max(n_votes + n_masked, 1)
        masked = min(max(round(n_images * share), 1), n_images - 1)
        return n_images - masked, masked

    def part_of(self, id_str: str, fold: int) -> str:
        """Part of a galaxy, one of `PARTS`, when a fold is scored. It depends on nothing but the id."""
        # Other hashes than that of shards and catalogues, which would be correlated with the folds.
        if int(hash_share(f"fold of {id_str}") * self.folds) == fold:
            return "scored"
        return "validation" if hash_share(f"validation of {id_str}") < self.validation_share else "training"

    def to_dict(self) -> dict[str, Any]:
        """Convert to plain values, with absolute paths and the SHA-256 of the catalogues."""
        content = json.loads(json.dumps(asdict(self)))
        for name in ("votes", "masks"):
            path = path_of(content[name]["catalog"]).absolute()
            content[name] |= {"catalog": str(path), "sha256": sha256_of(path)}
        return content


def read_experiment(path: PathLike) -> Experiment:
    """Read the configuration of an experiment from a YAML file.

    The keys are the attributes of `Experiment`, and of the classes that it has. Relative paths start from the folder
    in which the command is run.

    Raises:
        FileNotFoundError: the file or a catalogue does not exist.
        ValueError: the file is not YAML, a key is unknown or missing, or a value is impossible. The error names the
            file and the key, and for an unknown key the nearest one.
    """
    path = path_of(path)
    content = read_yaml(path)
    try:
        experiment = built(Experiment, content)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    for name, galaxies in {"votes": experiment.votes, "masks": experiment.masks}.items():
        if not path_of(galaxies.catalog).is_file():
            raise FileNotFoundError(f"{path}: {name}.catalog: {galaxies.catalog}: no such file")
    return experiment


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Settings that differ between two experiments, in words, except those that may change.

    Seeds, sizes, variants, comparisons and the number of scored folds may be added or left out: finished trainings stay
    valid.

    Args:
        old: settings as `Experiment.to_dict` returns them.
        new: other settings.
    """
    free = ("seeds", "sizes", "comparisons", "scored_folds")
    found = []
    for name in sorted(set(old) | set(new)):
        if name == "variants":
            shared = old[name].keys() & new[name].keys()
            pairs = {f"variants.{key}": (old[name][key], new[name][key]) for key in sorted(shared)}
        else:
            pairs = {} if name in free else {name: (old.get(name), new.get(name))}
        for label, (a, b) in pairs.items():
            if isinstance(a, Mapping) and isinstance(b, Mapping):
                keys = sorted((a.keys() | b.keys()) - {"sizes"})
                found += [
                    f"{label}.{key} was {a.get(key)}, now {b.get(key)}" for key in keys if a.get(key) != b.get(key)
                ]
            elif a != b:
                found.append(f"{label} was {a}, now {b}")
    return found
