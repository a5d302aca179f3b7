"""The experiment `joint-vs-single`: does learning votes and masks together beat learning one alone?

Each training is a process of its own, `zoobot3d train`, one after the other. Finished trainings are kept, and an
interrupted one continues after its last epoch.
"""

import json
import logging
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd

from zoobot3d_tf.catalogs.selection import hash_share
from zoobot3d_tf.catalogs.training_catalog import MASK_COLUMNS, read_training_catalog
from zoobot3d_tf.evaluation.experiment_config import (
    PARTS,
    Experiment,
    Variant,
    differences,
    read_experiment,
)
from zoobot3d_tf.evaluation.experiment_scores import score_galaxies
from zoobot3d_tf.evaluation.experiment_table import Key, comparison_table, markdown, resample_all, score_table
from zoobot3d_tf.extras import is_installed
from zoobot3d_tf.files import PathLike, one_owner, path_of, read_json_object, write_atomically
from zoobot3d_tf.progress import Progress
from zoobot3d_tf.schemas import load_schema
from zoobot3d_tf.shards.manifest import MANIFEST_NAME
from zoobot3d_tf.shards.options import ShardOptions
from zoobot3d_tf.shards.write import create_shards
from zoobot3d_tf.tables.formats import read_table, write_table

SETTINGS_NAME = "settings.json"
SCORED_NAME = "scored_galaxies.csv"
"""Table of the scored galaxies in the folder of a finished training."""
# Shards are made of a training and an evaluation part; these are the values of the column `split` for both.
_SPLITS = ("train", "val")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Training:
    """One training of the experiment.

    Attributes:
        fold: number of the fold that is held back and scored.
        seed: random seed.
        variant: name of the variant.
        size: number of masked galaxies; None if the variant learns no masks.
    """

    fold: int
    seed: int
    variant: str
    size: int | None

    @property
    def path(self) -> Path:
        """Path of its run folder in the folder of the experiment."""
        folder = Path(f"fold{self.fold}", f"seed{self.seed}", self.variant)
        return folder if self.size is None else folder / f"{self.size}-masked"


def compare_joint_and_single(config_path: PathLike, out: PathLike) -> str:
    """Train and score all variants of an experiment, and write its tables and learning curves.

    The folder receives `scores.csv`, `comparisons.csv`, `results.md`, `learning_curves.png` and `.pdf` (if matplotlib
    is installed), `settings.json`, `log.txt`, catalogues, shards and runs. To continue an interrupted experiment, or
    to add seeds, sizes or variants, call this again; finished trainings are kept. Their checkpoints are removed.

    Args:
        config_path: YAML file, see `read_experiment`.
        out: folder to fill, or to continue.

    Returns:
        The text of `results.md`.

    Raises:
        ValueError: the configuration or a catalogue has an error, there are too few galaxies, the folder has an
            experiment with other settings, or a training failed.
        BlockingIOError: another process writes the folder.
        OSError: a file cannot be read or written.
    """
    experiment, out = read_experiment(config_path), path_of(out).absolute()
    galaxies = Galaxies(experiment)
    galaxies.check_numbers()
    with one_owner(out):
        claim_folder(experiment, out)
        trainings = plan(experiment)
        todo = [training for training in trainings if not (out / training.path / SCORED_NAME).is_file()]
        log.info("%d of %d trainings are finished", len(trainings) - len(todo), len(trainings))
        for training in (bar := Progress(todo, unit="training")):
            bar.set_description(str(training.path))
            train_and_score(experiment, galaxies, training, out)
        return write_results(experiment, out)


def claim_folder(experiment: Experiment, out: Path) -> None:
    """Write the settings to the folder, unless it has an experiment with other settings.

    Raises:
        ValueError: the settings differ from those in the folder, apart from those that may change; see `differences`.
    """
    path, new = out / SETTINGS_NAME, experiment.to_dict()
    if path.is_file() and (found := differences(read_json_object(path, "settings of an experiment"), new)):
        raise ValueError(
            f"{out}: has an experiment with other settings ({'; '.join(found[:4])}); repeat its settings to continue "
            "it, or choose another folder"
        )
    write_atomically(path, json.dumps(new, indent=1) + "\n")


def plan(experiment: Experiment) -> list[Training]:
    """List all trainings in their order. Variants that learn votes alone come first: others may begin after them."""
    return [
        Training(fold, seed, name, size)
        for fold in range(experiment.n_scored)
        for seed in range(experiment.seeds)
        for name, variant in sorted(experiment.variants.items(), key=lambda item: item[1].learns_masks)
        for size in experiment.sizes_of(variant)
    ]


class Galaxies:
    """The galaxies of both catalogues, and their shards.

    Args:
        experiment: the experiment.

    Raises:
        FileNotFoundError: a catalogue does not exist.
        ValueError: a catalogue has an error, or the decision tree is unknown.
    """

    def __init__(self, experiment: Experiment) -> None:
        self.experiment = experiment
        self.schema = load_schema(experiment.votes.schema)

    @cached_property
    def tables(self) -> dict[str, pd.DataFrame]:
        """Galaxies with votes, without their masks, and galaxies with masks."""
        votes, masks = self.experiment.votes, self.experiment.masks
        voted = read_training_catalog(votes.catalog, self.schema, votes.image_root, labels=("votes",))
        schema = self.schema if masks.with_votes else None
        masked = read_training_catalog(masks.catalog, schema, masks.image_root)
        is_masked = masked["marks_loc"] != ""
        is_masked |= (masked[[f"{task}_loc" for task in masks.tasks]] != "").all(axis=1)
        voted, masked = voted[voted["has_votes"]], masked[is_masked]
        return {
            "votes": voted.drop(columns=["has_votes", "n_volunteers", *MASK_COLUMNS]),
            "masks": masked.drop(columns="has_votes"),
        }

    def part(self, kind: str, part: str, fold: int) -> pd.DataFrame:
        """Galaxies of a catalogue, "votes" or "masks", in one of `PARTS`."""
        table = self.tables[kind]
        return table[[self.experiment.part_of(id_str, fold) == part for id_str in table["id_str"]]]

    def check_numbers(self) -> None:
        """Check that there are galaxies in each part of each fold, and enough of them with masks.

        Raises:
            ValueError: a part is empty, or a size exceeds the number of masked training galaxies.
        """
        places = {"votes": self.experiment.votes.catalog, "masks": self.experiment.masks.catalog}
        for fold in range(self.experiment.n_scored):
            for kind, catalog in places.items():
                for part in PARTS:
                    if self.part(kind, part, fold).empty:
                        raise ValueError(
                            f"{catalog}: of its {len(self.tables[kind])} galaxies with {kind}, none is in the part "
                            f"{part!r} of fold {fold}; change folds or validation_share, or use more galaxies"
                        )
            n_masked = len(self.part("masks", "training", fold))
            if n_masked < (largest := self.experiment.sizes[-1]):
                raise ValueError(
                    f"sizes must be at most {n_masked}, the number of masked training galaxies when fold {fold} is "
                    f"scored; received {largest}"
                )

    def training_shards(self, kind: str, fold: int, out: Path, size: int | None = None, seed: int = 0) -> Path:
        """Make shards to train and validate on, unless they exist; return their folder.

        Args:
            kind: "votes" or "masks".
            fold: fold that is left out.
            out: folder of the experiment.
            size: number of masked galaxies to train on; all if None.
            seed: seed that chooses them.
        """
        training = self.part(kind, "training", fold)
        name = kind
        if size is not None:
            # A larger subset of a seed contains the smaller ones.
            order = training["id_str"].map(lambda id_str: hash_share(f"seed {seed} of {id_str}")).sort_values()
            training, name = training.loc[order.index[:size]], f"{kind}-{size}-seed{seed}"
        return self._shards(kind, training, self.part(kind, "validation", fold), out / f"fold{fold}" / "shards" / name)

    def scored_shards(self, kind: str, fold: int, out: Path) -> Path:
        """Make shards whose evaluation part is the scored galaxies, unless they exist; return their folder."""
        # Shards need a training part, which nothing is trained on here.
        validation, scored = (self.part(kind, part, fold) for part in ("validation", "scored"))
        return self._shards(kind, validation, scored, out / f"fold{fold}" / "shards" / f"{kind}-scored")

    def _shards(self, kind: str, training: pd.DataFrame, evaluation: pd.DataFrame, folder: Path) -> Path:
        if (folder / MANIFEST_NAME).is_file():
            return folder
        parts = [part.assign(split=split) for part, split in zip((training, evaluation), _SPLITS, strict=True)]
        catalog = folder.with_name(f"{folder.name}.csv")
        folder.parent.mkdir(parents=True, exist_ok=True)
        write_table(pd.concat(parts), catalog)
        schema = self.schema if kind == "votes" or self.experiment.masks.with_votes else None
        options = ShardOptions(img_size=self.experiment.budget.img_size, resume=True)
        create_shards(catalog, folder, schema, options)
        return folder


def train_and_score(experiment: Experiment, galaxies: Galaxies, training: Training, out: Path) -> None:
    """Do one training in a process of its own, and write the table of the scored galaxies to its run folder.

    Raises:
        ValueError: the training failed.
        OSError: a file cannot be written.
    """
    run, kinds = out / training.path, experiment.variants[training.variant].learns
    sets = {}
    for kind in kinds:
        size = training.size if kind == "masks" else None
        sets[kind] = galaxies.training_shards(kind, training.fold, out, size, training.seed)
    n_votes = len(galaxies.part("votes", "training", training.fold))
    run_command(out / "log.txt", *train_command(experiment, training, sets, n_votes, out))
    scored = {kind: galaxies.scored_shards(kind, training.fold, out) for kind in kinds}

    import keras
    import tensorflow as tf

    # Trainings need the memory of the GPU, which TensorFlow would reserve for this process.
    with suppress(RuntimeError):  # this process has already used the GPU
        tf.config.set_visible_devices([], "GPU")
    table = score_galaxies(run, scored, experiment.budget.batch_size)
    keras.utils.clear_session()
    write_table(table, run / SCORED_NAME)
    shutil.rmtree(run / "checkpoints", ignore_errors=True)


def train_command(
    experiment: Experiment, training: Training, sets: Mapping[str, Path], n_votes: int, out: Path
) -> list[object]:
    """Make the command of a training.

    Args:
        experiment: the experiment.
        training: the training.
        sets: shard folders of what it learns, "votes" or "masks" or both.
        n_votes: number of training galaxies in the catalogue of votes.
        out: folder of the experiment.

    Returns:
        Words of the command, after `zoobot3d`.
    """
    variant, budget = experiment.variants[training.variant], experiment.budget
    numbers = dict.fromkeys(sets, budget.galaxies_per_epoch)
    if training.size is not None and variant.learns_votes:
        numbers = dict(
            zip(("votes", "masks"), experiment.images_per_epoch(variant, n_votes, training.size), strict=True)
        )
    tasks = ["votes"] * variant.learns_votes + list(experiment.masks.tasks) * variant.learns_masks
    words: list[object] = ["train", "--experiment-dir", out / training.path]
    words += ["--train-dir", *(folder / "train_shards" for folder in sets.values())]
    words += ["--eval-dir", *(folder / "eval_shards" for folder in sets.values())]
    words += ["--galaxies-per-epoch", ",".join(str(numbers[kind]) for kind in sets), "--tasks", ",".join(tasks)]
    words += ["--epochs", budget.epochs, "--patience", budget.epochs, "--seed", training.seed]
    for name in ("crop_size", "resize_size", "batch_size", "encoder", "learning_rate", "mask_loss"):
        words += [f"--{name.replace('_', '-')}", getattr(budget, name)]
    words += ["--color"] * budget.color + ["--alternating"] * variant.alternating
    if factors := {task: factor for task, factor in variant.loss_weights.items() if task in tasks}:
        words += ["--loss-weights", ",".join(f"{task}={factor}" for task, factor in factors.items())]
    if weights := _first_weights(variant, training, out):
        words += ["--encoder-weights", weights]
    return words


def run_command(log_path: Path, *command: object) -> None:
    """Run a command of this package in a process of its own.

    Args:
        log_path: file to which its messages are appended.
        *command: words after `zoobot3d`.

    Raises:
        ValueError: the command failed. The error has its words and its last message.
    """
    words = [str(word) for word in command]
    with log_path.open("a") as file:
        process = subprocess.run([sys.executable, "-m", "zoobot3d_tf", *words], stdout=file, stderr=file)
    if process.returncode:
        *_, last = ["", *log_path.read_text(errors="replace").splitlines()]
        raise ValueError(
            f"zoobot3d {words[0]} failed: {last} (the command was zoobot3d {' '.join(words)}; more in {log_path})"
        )


def write_results(experiment: Experiment, out: Path) -> str:
    """Write the tables and the learning curves of a finished experiment; return the text of `results.md`."""
    resampled = resample_all(read_scored(experiment, out))
    scores, comparisons = score_table(resampled), comparison_table(resampled, experiment.comparisons)
    write_table(scores, out / "scores.csv")
    write_table(comparisons, out / "comparisons.csv")
    text = markdown(scores, comparisons)
    write_atomically(out / "results.md", text)
    if is_installed("matplotlib"):
        from zoobot3d_tf.evaluation.experiment_plots import draw_learning_curves

        draw_learning_curves(scores, [out / f"learning_curves.{suffix}" for suffix in ("png", "pdf")])
    else:
        log.warning("No learning curves are drawn, since matplotlib is not installed: pip install 'zoobot3d_tf[plots]'")
    return text


def read_scored(experiment: Experiment, out: Path) -> dict[Key, list[pd.DataFrame]]:
    """Read the scored galaxies by variant and size: one table per seed, with the galaxies of all folds."""
    return {
        (name, size): [_of_all_folds(experiment, out, seed, name, size) for seed in range(experiment.seeds)]
        for name, variant in experiment.variants.items()
        for size in experiment.sizes_of(variant)
    }


def _of_all_folds(experiment: Experiment, out: Path, seed: int, name: str, size: int | None) -> pd.DataFrame:
    folders: Sequence[Path] = [out / Training(fold, seed, name, size).path for fold in range(experiment.n_scored)]
    return pd.concat([read_table(folder / SCORED_NAME) for folder in folders], ignore_index=True)


def _first_weights(variant: Variant, training: Training, out: Path) -> str | Path | None:
    if variant.after:
        return out / Training(training.fold, training.seed, variant.after, None).path
    return variant.encoder_weights
