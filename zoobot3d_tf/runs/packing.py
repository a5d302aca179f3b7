"""A run folder in half the space: the configuration, and the weights in half precision."""

from pathlib import Path
from shutil import copyfile
from tempfile import TemporaryDirectory

import h5py
import numpy as np

from zoobot3d_tf.files import PathLike
from zoobot3d_tf.runs.run_folder import CONFIG_NAME, WEIGHTS_NAME, read_run


def pack_run(run: PathLike, out_dir: PathLike) -> Path:
    """Writes what predictions need of a run, small: its `config.json`, and its weights in half precision, compressed.

    Such a folder is a run folder like any other, of half the size. Kernels keep three digits of each weight; the
    statistics of batch normalisation, which take hardly any space and span many magnitudes, stay as they are, and so
    does a kernel with a weight too large for float16.

    Args:
        run: the folder of a finished run.
        out_dir: folder to fill, made if it is missing.

    Returns:
        The folder.

    Raises:
        ValueError: the run is unfinished or damaged.
        OSError: there is no run folder, the folder holds a run already, or it cannot be written.
    """
    out_dir = Path(out_dir).absolute()
    trained = read_run(run)
    trained.load_model()  # what is packed must fit its configuration
    if (out_dir / CONFIG_NAME).exists() or (out_dir / WEIGHTS_NAME).exists():
        raise FileExistsError(f"{out_dir}: holds a run already; choose another folder")
    out_dir.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".partial-", dir=out_dir) as folder:
        with h5py.File(trained.weights_loc) as weights, h5py.File(Path(folder, WEIGHTS_NAME), "w") as packed:
            _pack(weights, packed)
        copyfile(trained.folder / CONFIG_NAME, Path(folder, CONFIG_NAME))
        for name in (WEIGHTS_NAME, CONFIG_NAME):  # without the second it is no run yet
            Path(folder, name).replace(out_dir / name)
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
        # The index of a compressed tensor takes more than compression saves where there are few values.
        compression = "gzip" if values.size > 1000 else None
        packed.create_dataset(name, data=values, compression=compression).attrs.update(item.attrs)
