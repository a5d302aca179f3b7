"""Run folders: the files that training writes and predictions read."""

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoobot3d_tf.data.framing import Framing
from zoobot3d_tf.files import PathLike, path_of, read_json_object, write_atomically
from zoobot3d_tf.hub_files import is_on_hub
from zoobot3d_tf.images.stretch import DEFAULT_STRETCH, check_stretch
from zoobot3d_tf.labels import Label
from zoobot3d_tf.models.config import ModelConfig
from zoobot3d_tf.models.model_folder import CONFIG_NAME, ModelFolder, open_model_folder
from zoobot3d_tf.schemas import Schema

if TYPE_CHECKING:
    import keras
    import pandas as pd

MODEL_NAME = "model.keras"
WEIGHTS_NAME = "model.weights.h5"
HISTORY_NAME = "history.csv"
SEEN_NAME = "galaxies.parquet"
CALIBRATION_NAME = "calibration.json"
FORMAT_VERSION = 1
SHIPPED = "shipped"
"""Name of the run that comes with the package, in place of a run folder."""
SHIPPED_FOLDER = Path(str(resources.files("zoobot3d_tf") / "shipped"))
SHIPPED_NOTE = "small general weights, trained on real galaxies of SDSS and DECaLS and on simulated galaxies"
# Settings of runs that were written before `config.json` had them.
_OLD_SETTINGS = {"stretch": DEFAULT_STRETCH}
# Settings that may change when a run is continued.
_FREE = (
    "versions",
    "training.epochs",
    "training.encoder_weights.source",
    "training.train_dirs",
    "training.eval_dirs",
)


@dataclass(frozen=True)
class TrainedRun:
    """A run folder as predictions need it.

    Attributes:
        folder: absolute path of the run folder.
        model: configuration of the model.
        framing: sizes of stored images, crop and network input.
        versions: versions of the packages that trained the model.
        stretch: stretch that turns the fluxes of FITS cutouts into colours, see `images.rgb.to_rgb`.
    """

    folder: Path
    model: ModelConfig
    framing: Framing
    versions: Mapping[str, str]
    stretch: str

    @classmethod
    def from_folder(cls, folder: ModelFolder) -> "TrainedRun":
        """Read the configuration of a run. If it is on the hub, download weights, calibration and galaxies seen too.

        Args:
            folder: folder with the `config.json` of a run.

        Raises:
            ValueError: the configuration is damaged, of another program, or of another format version.
            OSError: the weights are not on the hub, or the hub cannot be reached.
        """
        try:
            stored = _OLD_SETTINGS | folder.config
            if stored["format_version"] != FORMAT_VERSION:
                raise ValueError(f"format version {stored['format_version']}; this version reads {FORMAT_VERSION}")
            model = stored["model"]
            schema, label = model["schema"], model.get("label")
            model = model | {
                "schema": None if schema is None else Schema.from_dict(schema),
                "tasks": tuple(model["tasks"]),
                "label": None if label is None else Label.from_dict(label),
            }
            check_stretch(stored["stretch"])
            framing = Framing(**stored["framing"])
            run = cls(folder.path, ModelConfig(**model), framing, stored["versions"], stored["stretch"])
        except KeyError as error:
            raise ValueError(
                f"{folder.config_name} cannot be used as the configuration of a run: it has no {error}"
            ) from error
        except (AttributeError, TypeError, ValueError, RecursionError) as error:
            raise ValueError(f"{folder.config_name} cannot be used as the configuration of a run: {error}") from error
        # These come before the weights, so that a commit whose weights are in the cache needs no network.
        if folder.repository is not None and not (folder.path / WEIGHTS_NAME).is_file():
            for name in (CALIBRATION_NAME, SEEN_NAME):
                with suppress(FileNotFoundError):  # many runs have none
                    folder.fetch(name)
            folder.fetch(WEIGHTS_NAME)
        return run

    @property
    def note(self) -> str | None:
        """Warning that accompanies all predictions with these weights; None for weights of the user."""
        return SHIPPED_NOTE if self.folder == SHIPPED_FOLDER else None

    @property
    def weights_loc(self) -> Path:
        """Path of the file of the weights.

        Raises:
            ValueError: the file is missing.
        """
        weights = self.folder / WEIGHTS_NAME
        if not weights.is_file():
            raise ValueError(
                f"{self.folder}: has no {WEIGHTS_NAME}, since the run is unfinished; repeat its `zoobot3d train`"
            )
        return weights

    @property
    def framing_in_words(self) -> str:
        """Instructions to make the network's input from an image without this package."""
        sizes = self.framing
        return (
            f"resize the central square of an image to {sizes.initial_size} pixels, take its central "
            f"{sizes.crop_size} pixels, and resize these to {sizes.final_size} pixels, bilinearly and with the outer "
            "edges in place"
        )

    def load_model(self) -> "keras.Model":
        """Build the model and load its weights.

        Only numbers are read from the file, so that the run of a stranger cannot execute code.

        Returns:
            The trained model, uncompiled.

        Raises:
            ValueError: the weights are missing or damaged, or do not fit the configuration.
        """
        from zoobot3d_tf.models import build_model
        from zoobot3d_tf.models.weights_file import load_weights

        weights = self.weights_loc
        model = build_model(self.model)
        load_weights(model, weights)
        return model


def read_run(folder: PathLike) -> TrainedRun:
    """Read the configuration of a run folder.

    Args:
        folder: path of the run folder; or `hf://owner/name`, or `hf://owner/name@revision`, for a run on the hub, whose
            configuration and weights are downloaded; or `SHIPPED` for the run that comes with the package. A folder of
            that name is `./shipped`, or a `Path`.

    Raises:
        OSError: the folder is not a run folder, the repository does not exist, or the hub cannot be reached.
        ValueError: the configuration is damaged, or of another format version.
        ImportError: the run is on the hub, and huggingface_hub is not installed.
    """
    source = SHIPPED_FOLDER if folder == SHIPPED else folder
    return TrainedRun.from_folder(open_model_folder(source, "a run folder", "`zoobot3d train` makes run folders"))


def names_of_runs(runs: Sequence[PathLike]) -> list[str]:
    """Names that tell runs apart: the shortest ends of their paths that differ, such as `a/masked` and `b/masked`.

    Args:
        runs: run folders, as `read_run` takes them.

    Raises:
        ValueError: a run is given twice.
    """
    places = [Path(os.path.abspath(path_of(run))).parts for run in runs]
    lengths = [1] * len(places)
    while True:
        names = ["/".join(parts[-length:]) for parts, length in zip(places, lengths, strict=True)]
        is_repeated = [names.count(name) > 1 for name in names]
        if not any(is_repeated):
            return names
        for place in places:
            if places.count(place) > 1:
                raise ValueError(f"{Path(*place)} is given twice; give each run once")
        lengths = [length + repeated for length, repeated in zip(lengths, is_repeated, strict=True)]


def read_histories(runs: Sequence[PathLike]) -> "dict[str, pd.DataFrame]":
    """Read the losses and metrics of each epoch of runs.

    Args:
        runs: run folders, as `read_run` takes them.

    Returns:
        Table of each run by its name (see `names_of_runs`), for the runs that have a history.
    """
    import pandas as pd

    histories = {name: read_run(run).folder / HISTORY_NAME for name, run in zip(names_of_runs(runs), runs, strict=True)}
    return {name: pd.read_csv(path) for name, path in histories.items() if path.is_file()}


def write_config(folder: Path, config: Mapping[str, Any]) -> None:
    """Write `config.json`, unless the folder holds another run.

    To continue a run, only the number of epochs, the versions of packages, and the paths of shards and of the encoder's
    first weights may change. A run that has saved no weights is replaced.

    Args:
        folder: path of the run folder, which is made if it is missing.
        config: content of `config.json`, as `RunConfig.to_dict` makes it, with the stretch and the hash of the shards.

    Raises:
        ValueError: the folder holds a run with other settings, which the error names, or a damaged `config.json`.
        OSError: the folder cannot be written.
    """
    path = folder / CONFIG_NAME
    new = json.loads(json.dumps(config))
    if path.is_file() and any(folder.rglob("*.weights.h5")):
        old = _OLD_SETTINGS | {"shards": new.get("shards")} | open_model_folder(folder, "a run folder", "").config
        if differing := _differences(old, new):
            raise ValueError(
                f"{folder}: already holds a run with other settings ({'; '.join(differing[:4])}); choose another "
                "folder, or repeat the settings to continue the run"
            )
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(new, indent=2) + "\n")


def config_for_others(run: TrainedRun) -> str:
    """Content of the `config.json` of a run, as it is published: with the last part of each path only."""
    config = read_json_object(run.folder / CONFIG_NAME, "configuration of a run")
    training = config.get("training", {})
    for name in ("train_dirs", "eval_dirs"):
        if name in training:
            training[name] = [Path(folder).name for folder in training[name]]
    weights = training.get("encoder_weights")
    if weights and not is_on_hub(weights["source"]):
        weights["source"] = Path(weights["source"]).name
    return json.dumps(config, indent=2) + "\n"


def _differences(old: Mapping, new: Mapping, prefix: str = "") -> list[str]:
    """Settings that differ, except those in `_FREE`, as `name was old, now new`."""
    found = []
    for name in sorted(set(old) | set(new)):
        label = f"{prefix}{name}"
        a, b = old.get(name), new.get(name)
        if label in _FREE or a == b:
            continue
        if isinstance(a, Mapping) and isinstance(b, Mapping) and name != "schema":
            found += _differences(a, b, f"{label}.")
        else:
            found.append(label if name == "schema" else f"{label} was {a}, now {b}")
    return found
