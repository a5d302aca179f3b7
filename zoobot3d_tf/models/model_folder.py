"""Folders that hold a model: `config.json` and the files beside it, on disk or on the Hugging Face hub."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoobot3d_tf.files import PathLike, path_of
from zoobot3d_tf.hub_files import download, is_on_hub, repository_of

CONFIG_NAME = "config.json"


@dataclass(frozen=True)
class ModelFolder:
    """A folder whose `config.json` has been read.

    Attributes:
        name: name of the folder as the user gave it, a path or `hf://owner/name`.
        path: absolute path of the folder. For a repository of the hub, the folder of one commit in the cache.
        repository: name of the repository, `owner/name`; None for a folder on disk.
        config: content of `config.json`.
    """

    name: str
    path: Path
    repository: str | None
    config: dict[str, Any]

    @property
    def config_name(self) -> str:
        """Name of `config.json`, for errors: its path, or its place on the hub."""
        return _config_name(self.path, self.repository)

    def fetch(self, filename: str) -> Path:
        """Path of a file of the folder; the file is downloaded from the hub, from the commit of `config.json`.

        Raises:
            OSError: the file does not exist on the hub, or the hub cannot be reached. A path on disk is not checked.
        """
        if self.repository is None:
            return self.path / filename
        return download(self.repository, filename, revision=self.path.name)


def open_model_folder(source: PathLike, kind: str, remedy: str) -> ModelFolder:
    """Find a folder and read its `config.json`, whichever program wrote it.

    Args:
        source: path of the folder, or `hf://owner/name` for a repository of the hub, with or without `@revision`.
        kind: kind of folder that is expected, for the error, such as "a run folder".
        remedy: advice for the user if there is no `config.json`, for the error.

    Raises:
        FileNotFoundError: the folder has no `config.json`.
        ValueError: `config.json` is damaged, or `source` is not the name of a repository.
        OSError: the repository does not exist, or the hub cannot be reached.
        ImportError: the folder is on the hub, and huggingface_hub is not installed.
    """
    repository, revision = repository_of(source) if is_on_hub(source) else (None, None)
    folder = path_of(source).absolute() if repository is None else download(repository, CONFIG_NAME, revision).parent
    path = folder / CONFIG_NAME
    if not path.is_file():
        raise FileNotFoundError(f"{source} is not {kind}: it has no {CONFIG_NAME}; {remedy}")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{_config_name(folder, repository)} cannot be used: {error}") from error
    if not isinstance(config, dict):
        raise ValueError(f"{_config_name(folder, repository)} cannot be used: it is not a JSON object")
    return ModelFolder(str(source), folder, repository, config)


def _config_name(folder: Path, repository: str | None) -> str:
    return str(folder / CONFIG_NAME) if repository is None else f"hf://{repository}/{CONFIG_NAME}"
