"""One file that holds a trained model, for programs that copy a model as a file.

It is a ZIP archive, without compression, of `config.json` and the weights of a run folder.
"""

import json
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zoobot3d_tf.files import PathLike, path_of, read_json_object, whole_file, workspace
from zoobot3d_tf.models.model_folder import CONFIG_NAME
from zoobot3d_tf.runs.run_folder import WEIGHTS_NAME, read_run

_MEMBERS = (CONFIG_NAME, WEIGHTS_NAME)
# Time of the files in the archive, always the same, so that the same run gives the same bytes.
_DATE = (1980, 1, 1, 0, 0, 0)


def write_checkpoint(run: PathLike, path: PathLike, settings: Mapping[str, Any] | None = None) -> Path:
    """Write the model of a finished run to one file.

    Args:
        run: run folder, as `read_run` takes it.
        path: file to write. It is replaced if it exists.
        settings: further entries of `config.json`, which `read_run` ignores.

    Returns:
        Absolute path of the file.

    Raises:
        ValueError: the run is unfinished or damaged.
        OSError: `run` is not a run folder, or the file cannot be written.
    """
    path = path_of(path).absolute()
    weights = read_run(run).weights_loc
    config = read_json_object(weights.with_name(CONFIG_NAME), "configuration of a run") | dict(settings or {})
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as partial, zipfile.ZipFile(partial, "w") as archive:
        archive.writestr(zipfile.ZipInfo(CONFIG_NAME, _DATE), json.dumps(config, indent=2) + "\n")
        member = zipfile.ZipInfo(WEIGHTS_NAME, _DATE)
        with weights.open("rb") as read, archive.open(member, "w", force_zip64=True) as write:
            shutil.copyfileobj(read, write, 2**20)
    return path


def unpack_checkpoint(path: PathLike, folder: PathLike) -> Path:
    """Make the run folder that a file holds.

    Args:
        path: file written by `write_checkpoint`.
        folder: folder to fill, which is made if it is missing. Files in it are replaced.

    Returns:
        Absolute path of the folder, which `read_run` reads.

    Raises:
        ValueError: the file is damaged, or is not such a file.
        OSError: the file does not exist, or the folder cannot be written.
    """
    path, folder = path_of(path), path_of(folder).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with zipfile.ZipFile(path) as archive, workspace(folder / "run") as made:
            members = {member.filename: member for member in archive.infolist()}
            # Without compression, the content cannot be larger than the file.
            if set(members) != set(_MEMBERS) or any(member.compress_type for member in members.values()):
                raise zipfile.BadZipFile(f"it must hold {' and '.join(_MEMBERS)} without compression, and nothing else")
            for name in _MEMBERS:
                with archive.open(name) as read, (made / name).open("wb") as write:
                    shutil.copyfileobj(read, write, 2**20)
            for name in reversed(_MEMBERS):  # a folder is a run folder once it has config.json
                (made / name).replace(folder / name)
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError) as error:
        raise ValueError(f"{path}: cannot be read as a checkpoint of zoobot3d_tf: {error}") from error
    return folder
