"""The run folder: what training leaves behind and predictions start from."""

import json
import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from zoobot3d_tf.data.framing import Framing
from zoobot3d_tf.files import PathLike, write_atomically
from zoobot3d_tf.images.rgb import DEFAULT_STRETCH, check_stretch
from zoobot3d_tf.models.config import ModelConfig
from zoobot3d_tf.schemas import Schema

CONFIG_NAME = "config.json"
MODEL_NAME = "model.keras"
WEIGHTS_NAME = "model.weights.h5"
HISTORY_NAME = "history.csv"
FORMAT_VERSION = 1
# What runs that do not say it were trained with.
_OLD_SETTINGS = {"stretch": DEFAULT_STRETCH}


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
    def weights_loc(self) -> Path:
        """The file of the weights.

        Raises:
            ValueError: there is none.
        """
        weights = self.folder / WEIGHTS_NAME
        if not weights.is_file():
            raise ValueError(f"{self.folder}: no {WEIGHTS_NAME}; the run is unfinished, run train_model.py on it again")
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
        folder: the run folder, or `hf://owner/name` of one that others published; see `hub.from_hub`.

    Raises:
        OSError: there is none, or it cannot be downloaded.
        ValueError: it is damaged, or of another format version.
    """
    if os.fspath(folder).startswith("hf:"):
        from zoobot3d_tf.hub import from_hub

        folder = from_hub(folder)
    folder = Path(folder).absolute()
    path = folder / CONFIG_NAME
    if not path.is_file():
        raise FileNotFoundError(f"{folder} is not a run folder: it has no {CONFIG_NAME}; train_model.py makes one")
    try:
        stored = _OLD_SETTINGS | json.loads(path.read_text(encoding="utf-8"))
        if stored["format_version"] != FORMAT_VERSION:
            raise ValueError(f"format version {stored['format_version']}; this version reads {FORMAT_VERSION}")
        model = stored["model"]
        model |= {"schema": Schema.from_dict(model["schema"]), "tasks": tuple(model["tasks"])}
        check_stretch(stored["stretch"])
        framing = Framing(**stored["framing"])
        return TrainedRun(folder, ModelConfig(**model), framing, stored["versions"], stored["stretch"])
    except KeyError as error:
        raise ValueError(f"{path} cannot be used: it does not say {error}") from error
    except (AttributeError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} cannot be used: {error}") from error


def write_config(folder: Path, config: Mapping) -> None:
    """Writes `config.json`; a folder that already holds another run is refused.

    Only the number of epochs may differ: more of them continue a run.

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
    """Settings that differ, as `name: old, now new`; versions and epochs may differ."""
    found = []
    for name in sorted(set(old) | set(new)):
        label = f"{prefix}{name}"
        a, b = old.get(name), new.get(name)
        if label in ("versions", "training.epochs") or a == b:
            continue
        if isinstance(a, Mapping) and isinstance(b, Mapping) and name != "schema":
            found += _differences(a, b, f"{label}.")
        else:
            found.append(label if name == "schema" else f"{label} was {a}, now {b}")
    return found
