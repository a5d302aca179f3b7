"""Weights of a whole model in an HDF5 file, as Keras saves them."""

import warnings
from pathlib import Path

import h5py
import keras


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
