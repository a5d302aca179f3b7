"""Run folders with weights in half precision, which take half the space."""

from dataclasses import replace
from pathlib import Path
from shutil import copyfile

import h5py
import numpy as np

from zoobot3d_tf.files import PathLike, check_space, move_into_place, path_of, sha256_of, workspace
from zoobot3d_tf.runs.calibration import read_calibration, write_calibration
from zoobot3d_tf.runs.run_folder import (
    CALIBRATION_NAME,
    CONFIG_NAME,
    SEEN_NAME,
    WEIGHTS_NAME,
    config_for_others,
    read_run,
)


def pack_run(run: PathLike, out_dir: PathLike) -> Path:
    """Write a smaller run folder for predictions: configuration, and compressed half-precision weights.

    Kernels keep three digits of each weight. Statistics of batch normalisation remain in float32, since they take
    little space and span many orders of magnitude. A kernel with a weight too large for float16 remains in float32 too.
    The calibration, if there is one, is kept, since the predictions hardly change; it names the packed weights. So are
    the names of the galaxies that the run has seen.

    Args:
        run: run folder of a finished run, as `read_run` takes it.
        out_dir: folder to fill, which is made if it is missing.

    Returns:
        Absolute path of the folder.

    Raises:
        ValueError: the run is unfinished or damaged, or its calibration is damaged or of other weights.
        OSError: `run` is not a run folder, or `out_dir` holds a run or cannot be written.
    """
    out_dir = path_of(out_dir).absolute()
    trained = read_run(run)
    if (out_dir / CONFIG_NAME).exists() or (out_dir / WEIGHTS_NAME).exists():
        raise FileExistsError(f"{out_dir}: already holds a run; choose another out_dir")
    calibration = read_calibration(trained)
    trained.load_model()  # raises an error if the weights do not fit the configuration
    with workspace(out_dir) as folder:
        check_space(folder / WEIGHTS_NAME, trained.weights_loc.stat().st_size)
        with h5py.File(trained.weights_loc) as weights, h5py.File(folder / WEIGHTS_NAME, "w") as packed:
            _pack(weights, packed)
        (folder / CONFIG_NAME).write_text(config_for_others(trained))
        names = [WEIGHTS_NAME, CONFIG_NAME]
        if calibration is not None:
            write_calibration(folder, replace(calibration, weights_sha256=sha256_of(folder / WEIGHTS_NAME)))
            names.insert(0, CALIBRATION_NAME)
        if (trained.folder / SEEN_NAME).is_file():
            copyfile(trained.folder / SEEN_NAME, folder / SEEN_NAME)
            names.insert(0, SEEN_NAME)
        out_dir.mkdir(exist_ok=True)
        for name in names:  # a folder is a run folder once it has config.json
            move_into_place(folder / name, out_dir / name)
    return out_dir


def _pack(group: h5py.Group, packed: h5py.Group) -> None:
    packed.attrs.update(group.attrs)
    for name, item in group.items():
        if isinstance(item, h5py.Group):
            _pack(item, packed.create_group(name))
            continue
        values = item[()]
        if values.dtype == np.float32 and values.ndim > 1:
            with np.errstate(over="ignore"):
                halved = values.astype(np.float16)
            values = halved if np.isfinite(halved).all() else values
        # For small tensors, the index of a compressed dataset takes more space than compression saves.
        compression = "gzip" if values.size > 1000 else None
        packed.create_dataset(name, data=values, compression=compression).attrs.update(item.attrs)
