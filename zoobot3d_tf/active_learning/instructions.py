"""What an experiment asks, and how it trains and chooses: three objects that are saved as JSON, and read again.

`Instructions` says how active learning runs: how many galaxies are asked about per iteration, and where all data are.
`TrainCallableFactory` and `AcquisitionCallableFactory` hold the arguments that are the same in each iteration. Their
method `get` returns a function of the others. Paths are stored relative to the folder of the files, so that an
experiment can be moved to another machine.

The names are those of the first Zoobot (Walmsley et al. 2020, arXiv:1905.07424).
"""

import inspect
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pandas as pd
import pyarrow.parquet as pq

from zoobot3d_tf.active_learning.database import DATABASE_NAME
from zoobot3d_tf.active_learning.definition import HIDDEN_NAME, SCHEMA_NAME, UNLABELLED_NAME
from zoobot3d_tf.active_learning.options import MASK_ENTROPY, RANKINGS, AcquisitionOptions
from zoobot3d_tf.active_learning.oracles import Imperfections, Oracle, SimulatedOracle
from zoobot3d_tf.active_learning.panoptes import PanoptesOptions, PanoptesOracle
from zoobot3d_tf.active_learning.ranking import rank_galaxies
from zoobot3d_tf.files import PathLike, path_of, read_json_object, write_atomically
from zoobot3d_tf.models.config import ModelConfig
from zoobot3d_tf.runs.run_folder import read_run
from zoobot3d_tf.schemas import Schema, load_schema
from zoobot3d_tf.tables.columns import shorten
from zoobot3d_tf.tables.formats import read_table
from zoobot3d_tf.training.run_config import RunConfig
from zoobot3d_tf.training.trainer import train
from zoobot3d_tf.training.training_config import config_from_folders, get_run_config

if TYPE_CHECKING:
    import keras

    from zoobot3d_tf.training.checkpoints import Checkpoints

INSTRUCTIONS_NAME = "instructions.json"
TRAIN_NAME = "train_callable.json"
ACQUISITION_NAME = "acquisition_callable.json"

CHOICES = tuple(name for name in RANKINGS if name != MASK_ENTROPY)
"""Acquisition functions that can choose galaxies: those of votes, since votes are what is asked for."""

_TEST_SUBJECTS, _TEST_SAMPLES, _TEST_EPOCHS = 10, 3, 2

_Stored = TypeVar("_Stored")


@dataclass(frozen=True)
class Instructions:
    """How active learning runs.

    Attributes:
        catalog_dir: folder of the catalogues, see `definition.define_experiment`.
        experiment_dir: folder of the experiment: its shards, its database, and the journal of its oracle.
        subjects_per_iter: number of galaxies that each iteration asks about.
        n_samples: number of dropout samples per galaxy, at least 2: they show how unsure the model is.
        seed: random seed. Iteration n trains and draws with seed + n.
        imperfections: how a simulated oracle differs from the hidden votes.
        panoptes: where volunteers of Zooniverse are asked; None for a simulated oracle.

    Raises:
        ValueError: a number is too small.
    """

    catalog_dir: Path
    experiment_dir: Path
    subjects_per_iter: int = 100
    n_samples: int = 10
    seed: int = 0
    imperfections: Imperfections = field(default_factory=Imperfections)
    panoptes: PanoptesOptions | None = None

    def __post_init__(self) -> None:
        for name, least in (("subjects_per_iter", 1), ("n_samples", 2), ("seed", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}; received {getattr(self, name)}")
        for name in ("catalog_dir", "experiment_dir"):
            object.__setattr__(self, name, Path(os.path.abspath(path_of(getattr(self, name)))))

    @property
    def shard_dir(self) -> Path:
        """Shards of the experiment, which grow."""
        return self.experiment_dir / "shards"

    @property
    def db_loc(self) -> Path:
        """Database of the experiment."""
        return self.experiment_dir / DATABASE_NAME

    @property
    def schema(self) -> Schema:
        """Decision tree of the votes."""
        return load_schema(self.catalog_dir / SCHEMA_NAME)

    def use_test_mode(self) -> "Instructions":
        """Change the instructions to very short iterations, to see whether everything works."""
        return replace(
            self,
            subjects_per_iter=min(self.subjects_per_iter, _TEST_SUBJECTS),
            n_samples=min(self.n_samples, _TEST_SAMPLES),
        )

    def get_oracle(self) -> Oracle:
        """Make the oracle that is asked.

        Raises:
            FileNotFoundError: it is simulated, but the catalogues hide no votes; or its file of tasks does not exist.
            ValueError: the hidden votes are faulty, or the options of Panoptes do not fit the tree.
            PermissionError: there are no credentials for Zooniverse.
            ImportError: the extra `[active]` is not installed.
        """
        folder = self.experiment_dir / "oracle"
        if self.panoptes is not None:
            return PanoptesOracle(self.panoptes, self.schema, folder)
        hidden = self.catalog_dir / HIDDEN_NAME
        if not hidden.is_file():
            raise FileNotFoundError(
                f"{hidden}: no such file, so that no answers can be simulated; give the folder simulation_context of "
                "`zoobot3d al define` as catalog_dir, or ask volunteers with panoptes"
            )
        return SimulatedOracle(read_table(hidden), self.schema, folder, self.imperfections)

    def galaxies_to_ask(self, ids: list[str]) -> pd.DataFrame:
        """Read rows of the unlabelled catalogue, in the order of the ids, with absolute paths of the images.

        Raises:
            FileNotFoundError: the catalogue does not exist.
            ValueError: the catalogue cannot be read, or has changed.
        """
        path = self.catalog_dir / UNLABELLED_NAME
        table = read_table(path).set_index("id_str")
        if missing := [id_str for id_str in ids if id_str not in table.index]:
            raise ValueError(f"{path}: must not change during an experiment; it lacks {shorten(missing)}")
        table = table.loc[ids].reset_index()
        return table.assign(file_loc=[os.path.join(self.catalog_dir, loc) for loc in table["file_loc"]])

    def save(self, folder: PathLike) -> None:
        """Write `instructions.json` to a folder, which is made if it is missing."""
        home = path_of(folder).absolute()
        stored = asdict(self) | {
            "catalog_dir": _relative(self.catalog_dir, home),
            "experiment_dir": _relative(self.experiment_dir, home),
        }
        if self.panoptes is not None:
            stored["panoptes"]["tasks_loc"] = _relative(Path(self.panoptes.tasks_loc), home)
        _save(stored, home / INSTRUCTIONS_NAME)

    @classmethod
    def load(cls, folder: PathLike) -> "Instructions":
        """Read `instructions.json`.

        Raises:
            FileNotFoundError: the folder has no instructions.
            ValueError: the file is damaged, or has impossible values.
        """
        home = path_of(folder).absolute()

        def make(stored: dict[str, Any]) -> "Instructions":
            places = {name: _absolute(stored[name], home) for name in ("catalog_dir", "experiment_dir")}
            panoptes = stored["panoptes"]
            if panoptes is not None:
                panoptes = panoptes | {
                    "tasks_loc": str(_absolute(panoptes["tasks_loc"], home)),
                    "metadata": tuple(panoptes["metadata"]),
                }
                panoptes = PanoptesOptions(**panoptes)
            imperfections = Imperfections(**stored["imperfections"])
            return cls(**stored | places | {"imperfections": imperfections, "panoptes": panoptes})

        return _load(home / INSTRUCTIONS_NAME, make)


TrainCallable = Callable[[Path, Path, int, Path | None], None]
"""Train a run: from the shard folder, the run folder to fill or continue, a random seed, and the run of the iteration
before, if there is one."""


@dataclass(frozen=True)
class TrainCallableFactory:
    """How a model is trained in each iteration.

    Attributes:
        epochs: largest number of epochs per iteration.
        batch_size: number of galaxies per step.
        resize_size: height and width of the input of the network, in pixels.
        crop_size: height and width of the central part that the network sees, in pixels of the stored images; by
            default three quarters of their size.
        tasks: tasks to learn.
        warm_start: whether training goes on from the weights of the iteration before. If not, each iteration trains
            from scratch.
        settings: other arguments of `training_config.get_run_config`, such as `learning_rate`.

    Raises:
        ValueError: `settings` has an unknown name, or one that each iteration decides.
    """

    epochs: int = 50
    batch_size: int = 64
    resize_size: int = ModelConfig.image_size
    crop_size: int | None = None
    tasks: tuple[str, ...] = ("votes",)
    warm_start: bool = True
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        known = {one.name for one in fields(RunConfig)} | set(inspect.signature(get_run_config).parameters)
        fixed = {one.name for one in fields(self)} | set(inspect.signature(config_from_folders).parameters)
        fixed |= {
            "initial_size",
            "final_size",
            "log_dir",
            "train_records",
            "eval_records",
            "model",
            "framing",
            "schema",
        }
        if unknown := set(self.settings) - known | (set(self.settings) & (fixed | {"seed"})):
            raise ValueError(
                f"settings must be other arguments of training, such as learning_rate; received {min(unknown)}"
            )

    def use_test_mode(self) -> "TrainCallableFactory":
        """Change the number of epochs to very few, to see whether everything works."""
        return replace(self, epochs=min(self.epochs, _TEST_EPOCHS))

    def get(self) -> TrainCallable:
        """Return the function that trains."""
        return partial(_train, self)

    def save(self, folder: PathLike) -> None:
        """Write `train_callable.json` to a folder, which is made if it is missing."""
        _save(asdict(self), path_of(folder) / TRAIN_NAME)

    @classmethod
    def load(cls, folder: PathLike) -> "TrainCallableFactory":
        """Read `train_callable.json`; errors as of `Instructions.load`."""
        return _load(path_of(folder) / TRAIN_NAME, lambda stored: cls(**stored | {"tasks": tuple(stored["tasks"])}))


AcquisitionCallable = Callable[[Path, int, int, Path | None], pd.DataFrame]
"""Choose galaxies: from a table of predictions, their number, a random seed, and a table of features, if the choice
needs one. Returns a table as `ranking.rank_galaxies` does."""


@dataclass(frozen=True)
class AcquisitionCallableFactory:
    """How the galaxies to ask about are chosen in each iteration.

    Attributes:
        name: acquisition function, one of `CHOICES`.
        diverse: whether the galaxies of an iteration are to differ from each other; see `acquisition.choose`.
        options: options of the acquisition function. Each iteration has its own seed.

    Raises:
        ValueError: there is no such acquisition function.
    """

    name: str = "mutual-information"
    diverse: bool = False
    options: AcquisitionOptions = field(default_factory=AcquisitionOptions)

    def __post_init__(self) -> None:
        if self.name not in CHOICES:
            raise ValueError(f"acquisition must be one of {', '.join(CHOICES)}; received {self.name!r}")

    def get(self) -> AcquisitionCallable:
        """Return the function that chooses."""
        return partial(_choose, self)

    def save(self, folder: PathLike) -> None:
        """Write `acquisition_callable.json` to a folder, which is made if it is missing."""
        _save(asdict(self), path_of(folder) / ACQUISITION_NAME)

    @classmethod
    def load(cls, folder: PathLike) -> "AcquisitionCallableFactory":
        """Read `acquisition_callable.json`; errors as of `Instructions.load`."""

        def make(stored: dict[str, Any]) -> "AcquisitionCallableFactory":
            return cls(**stored | {"options": AcquisitionOptions(**stored["options"])})

        return _load(path_of(folder) / ACQUISITION_NAME, make)


def _train(factory: TrainCallableFactory, shard_dir: Path, run_dir: Path, seed: int, previous_run: Path | None) -> None:
    start = previous_run if factory.warm_start else None
    settings = dict(factory.settings)
    if start is not None:
        # The run before determines the encoder too, so that the first weights are not needed again.
        settings.pop("encoder_pixels", None)
        settings["encoder_weights"] = str(start)
    config = config_from_folders(
        shard_dir / "train_shards",
        shard_dir / "eval_shards",
        run_dir,
        crop_size=factory.crop_size,
        resize_size=factory.resize_size,
        epochs=factory.epochs,
        batch_size=factory.batch_size,
        tasks=factory.tasks,
        seed=seed,
        **settings,
    )

    def from_previous(model: "keras.Model", config: RunConfig, checkpoints: "Checkpoints") -> None:
        from zoobot3d_tf.training.loop import fit

        if start is not None and not checkpoints.has_begun:
            model.set_weights(read_run(start).load_model().get_weights())
        fit(model, config, checkpoints)

    train(config, from_previous)


def _choose(
    factory: AcquisitionCallableFactory, predictions: Path, n: int, seed: int, features: Path | None
) -> pd.DataFrame:
    n = min(n, pq.read_metadata(predictions).num_rows)
    options = replace(factory.options, seed=seed)
    return rank_galaxies(predictions, factory.name, n, features_loc=features, options=options)


def _relative(path: Path, home: Path) -> str:
    return Path(os.path.relpath(path_of(path).absolute(), home)).as_posix()


def _absolute(stored: str, home: Path) -> Path:
    return Path(os.path.normpath(home / stored))


def _save(stored: Mapping[str, Any], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(stored, indent=1) + "\n")


def _load(path: Path, make: Callable[[dict[str, Any]], _Stored]) -> _Stored:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; `zoobot3d al create-instructions` writes it")
    stored = read_json_object(path, "the settings of an experiment")
    try:
        return make(stored)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{path}: cannot be used as the settings of an experiment: {error}") from error
