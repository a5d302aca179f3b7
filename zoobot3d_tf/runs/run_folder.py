"""The run folder: what training leaves behind and predictions start from."""

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from zoobot3d_tf.data.framing import Framing
from zoobot3d_tf.files import PathLike, write_atomically
from zoobot3d_tf.hub_files import download, is_on_hub, repository_name
from zoobot3d_tf.images.rgb import DEFAULT_STRETCH, check_stretch
from zoobot3d_tf.labels import Label
from zoobot3d_tf.models.config import ModelConfig
from zoobot3d_tf.schemas import Schema

CONFIG_NAME = "config.json"
MODEL_NAME = "model.keras"
WEIGHTS_NAME = "model.weights.h5"
HISTORY_NAME = "history.csv"
FORMAT_VERSION = 1
SHIPPED = "shipped"
"""In place of a run folder: the run that comes with the package."""
SHIPPED_FOLDER = Path(str(resources.files("zoobot3d_tf") / "shipped"))
SHIPPED_NOTE = "weights for demonstration, trained on simulated galaxies only"
# What runs that do not say it were trained with.
_OLD_SETTINGS = {"stretch": DEFAULT_STRETCH}
# What may differ when a run is continued.
_FREE = ("versions", "training.epochs", "training.encoder_weights.source")


@dataclass(frozen=True)
class TrainedRun:
    """A run folder as predictions need it.

    Attributes:
        folder: the run folder.
        model: how to build the model.
        framing: how to frame an image.
        versions: the packages that trained it.
        stretch: of the fluxes of FITS cutouts, see `to_rgb`.
    """

    folder: Path
    model: ModelConfig
    framing: Framing
    versions: Mapping[str, str]
    stretch: str

    @property
    def note(self) -> str | None:
        """What must be said of whatever these weights predict."""
        return SHIPPED_NOTE if self.folder == SHIPPED_FOLDER else None

    @property
    def weights_loc(self) -> Path:
        """The file of the weights.

        Raises:
            ValueError: there is none.
        """
        weights = self.folder / WEIGHTS_NAME
        if not weights.is_file():
            raise ValueError(
                f"{self.folder}: no {WEIGHTS_NAME}; the run is unfinished; repeat its `zoobot3d train` to finish it"
            )
        return weights

    def load_model(self):
        """The trained `keras.Model`, uncompiled.

        Built here, from the configuration; only numbers come from the file, so that a stranger's runs no code.

        Raises:
            ValueError: the weights are missing or do not fit the configuration.
        """
        from zoobot3d_tf.models import build_model

        weights = self.weights_loc
        model = build_model(self.model)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # hundreds, before the error that says the same
                model.load_weights(weights)
        except (ValueError, OSError) as error:
            reason = " ".join(str(error).partition("\nList of objects")[0].split())  # Keras lists all of the layers
            raise ValueError(f"{weights}: does not fit the model of {self.folder / CONFIG_NAME}: {reason}") from error
        return model


def read_run(folder: PathLike) -> TrainedRun:
    """Reads the `config.json` of a run folder.

    Args:
        folder: the run folder; or `hf://owner/name` of one that others published, see `hub.from_hub`; or the word
            `SHIPPED` for the run that comes with the package. A folder of that name is `./shipped`, or a `Path`.

    Raises:
        OSError: there is none, or it cannot be downloaded.
        ValueError: it is damaged, or of another format version.
        ImportError: it is on the hub, and huggingface_hub is not installed.
    """
    if is_on_hub(folder):
        return _fetch_run(repository_name(folder))
    return _read_folder(SHIPPED_FOLDER if folder == SHIPPED else Path(folder).absolute())


def _fetch_run(repository: str) -> TrainedRun:
    """Fetches the configuration, which must be that of a run, and then the weights, both of one commit."""
    folder = download(repository, CONFIG_NAME).parent
    try:
        run = _read_folder(folder)
    except ValueError as error:
        raise ValueError(f"hf://{repository} is no run of zoobot3d_tf: {error}") from error
    download(repository, WEIGHTS_NAME, revision=folder.name)
    return run


def _read_folder(folder: Path) -> TrainedRun:
    path = folder / CONFIG_NAME
    if not path.is_file():
        raise FileNotFoundError(f"{folder} is not a run folder: it has no {CONFIG_NAME}; `zoobot3d train` makes one")
    try:
        stored = _OLD_SETTINGS | json.loads(path.read_text(encoding="utf-8"))
        if stored["format_version"] != FORMAT_VERSION:
            raise ValueError(f"format version {stored['format_version']}; this version reads {FORMAT_VERSION}")
        model = stored["model"]
        model |= {
            "schema": None if model["schema"] is None else Schema.from_dict(model["schema"]),
            "tasks": tuple(model["tasks"]),
            "label": None if model.get("label") is None else Label.from_dict(model["label"]),
        }
        check_stretch(stored["stretch"])
        framing = Framing(**stored["framing"])
        return TrainedRun(folder, ModelConfig(**model), framing, stored["versions"], stored["stretch"])
    except KeyError as error:
        raise ValueError(f"{path} cannot be used: it does not say {error}") from error
    except (AttributeError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} cannot be used: {error}") from error


def write_config(folder: Path, config: Mapping) -> None:
    """Writes `config.json`; a folder that already holds another run is refused.

    Only the number of epochs may differ, more of them continue a run; and where the encoder's first weights were, if
    they are the same.

    Args:
        folder: the run folder, made if it is missing.
        config: as `RunConfig.to_dict` gives it, with the stretch of the shards.

    Raises:
        ValueError: the folder holds a run with other settings; the message names them.
    """
    path = folder / CONFIG_NAME
    new = json.loads(json.dumps(config))
    if path.is_file():
        old = _OLD_SETTINGS | json.loads(path.read_text(encoding="utf-8"))
        if differing := _differences(old, new):
            raise ValueError(
                f"{folder} already holds a run with other settings ({'; '.join(differing[:4])}): "
                "choose another folder, or the same settings to continue"
            )
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(new, indent=2) + "\n")


def _differences(old: Mapping, new: Mapping, prefix: str = "") -> list[str]:
    """Settings that differ, as `name was old, now new`, but those in `_FREE`."""
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


def framing_in_words(framing: Framing) -> str:
    """How anyone makes the network's input of an image, without this package."""
    return (
        f"resize the central square of an image to {framing.initial_size} pixels, take its central "
        f"{framing.crop_size}, and resize these to {framing.final_size}, bilinearly and with the outer edges in place"
    )
