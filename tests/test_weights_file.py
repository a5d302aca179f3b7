"""Weights in HDF5 files: damaged files are named, with the first array that cannot be read."""

from contextlib import suppress

import h5py
import keras
import numpy as np
import pytest

from zoobot3d_tf.models.weights_file import load_weights


def make_model(width: int) -> keras.Model:
    return keras.Sequential([keras.Input((3,)), keras.layers.Dense(width, name="first")])


@pytest.fixture
def saved(tmp_path):
    """A file of weights, and the model that it is of."""
    model = make_model(4)
    model.save_weights(tmp_path / "a.weights.h5")
    return tmp_path / "a.weights.h5", model


def test_weights_are_loaded(saved):
    path, model = saved
    other = make_model(4)
    load_weights(other, path)
    np.testing.assert_array_equal(other.get_weights()[0], model.get_weights()[0])


def test_weights_of_another_model_do_not_fit(saved):
    with pytest.raises(ValueError, match=r"a\.weights\.h5: does not fit the model: .*\(3, 5\)"):
        load_weights(make_model(5), saved[0])


@pytest.mark.parametrize("damage", ["cut", "text", "empty"])
def test_a_file_that_is_no_hdf5_file_is_named(saved, damage):
    path, model = saved
    content = path.read_bytes()
    path.write_bytes({"cut": content[: len(content) // 2], "text": b"no weights", "empty": b""}[damage])
    with pytest.raises(ValueError, match=r"a\.weights\.h5: the file is damaged: it is not a complete HDF5 file"):
        load_weights(model, path)


def test_the_first_array_that_cannot_be_read_is_named(tmp_path, saved):
    path, model = saved
    with h5py.File(path, "r+") as file:
        name = "layers/dense/vars/0" if "layers/dense" in file else next(n for n in names_in(file) if n.endswith("/0"))
        values = file[name][()]
        del file[name]
        file.create_dataset(name, data=values, compression="gzip")
    content = path.read_bytes()
    start = content.index(b"\x78\x5e") if b"\x78\x5e" in content else content.index(b"\x78\x9c")
    path.write_bytes(content[:start] + b"\xff" * 8 + content[start + 8 :])
    with pytest.raises(ValueError, match=rf"a\.weights\.h5: the file is damaged: /{name} cannot be read"):
        load_weights(model, path)


def names_in(file: h5py.File) -> list[str]:
    names: list[str] = []
    file.visit(names.append)
    return names


def test_no_flipped_byte_causes_an_error_of_another_kind(saved):
    path, model = saved
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    for position in rng.choice(len(content), 150, replace=False):
        damaged = bytearray(content)
        damaged[position] ^= 0xFF
        path.write_bytes(damaged)
        with suppress(ValueError):
            load_weights(model, path)
