"""Weights of a whole model in an HDF5 file, as Keras saves them."""

import math
import warnings
from pathlib import Path

import h5py
import keras

from zoobot3d_tf.files import check_space, whole_file


def save_weights(model: keras.Model, path: Path) -> None:
    """Save the weights of a model to a file that is complete or absent.

    Args:
        model: model to save. If it is compiled, the state of its optimiser is saved too.
        path: path of the file `*.weights.h5`. It is replaced if it exists.

    Raises:
        OSError: the file cannot be written, for example because the disk is full. The error names it.
    """
    optimizer = getattr(model, "optimizer", None)
    variables = [*model.variables, *(optimizer.variables if optimizer else ())]
    n_bytes = sum(math.prod(variable.shape) * (8 if "64" in variable.dtype else 4) for variable in variables)
    with whole_file(path) as partial:
        check_space(path, n_bytes + 2**13 * len(variables) + 2**20)  # the numbers, and indices
        model.save_weights(partial)


def load_weights(model: keras.Model, path: Path) -> None:
    """Load weights that Keras saved, into a model of the same configuration.

    Only numbers are read from the file, so that the file of a stranger cannot execute code.

    Args:
        model: model to fill. If it is compiled, the file may also hold the state of its optimiser.
        path: path of the file `*.weights.h5`.

    Raises:
        ValueError: the file is damaged or does not fit the model. The error names the file, and the first array that
            cannot be read.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # one per layer, before the error that says the same
            model.load_weights(path)
    except Exception as error:  # HDF5 and Keras raise errors of many types on damaged files
        if damage := _find_damage(path):
            raise ValueError(f"{path}: the file is damaged: {damage}; copy it again, or train again") from error
        reason = " ".join(str(error).partition("\nList of objects")[0].split())  # Keras lists all layers
        raise ValueError(f"{path}: does not fit the model: {reason}") from error


def _find_damage(path: Path) -> str | None:
    """Find the first array of an HDF5 file that cannot be read, in words; None if all can be read."""
    try:
        with h5py.File(path) as file:
            pending = [file.name]
            while pending:
                name = pending.pop()
                try:
                    item = file[name]
                    if isinstance(item, h5py.Group):
                        pending += [f"{name.rstrip('/')}/{child}" for child in item]
                    else:
                        item[()]
                except Exception:
                    return f"{name} cannot be read"
    except Exception:
        return "it is not a complete HDF5 file"
    return None
