"""Weights from elsewhere: encoders of Zoobot, timm and Keras, and the original Zoobot's TensorFlow checkpoints."""

import re
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow.core.protobuf.trackable_object_graph_pb2 import TrackableObjectGraph

from zoobot3d_tf.files import PathLike
from zoobot3d_tf.models.config import ModelConfig
from zoobot3d_tf.models.timm_encoder import build_timm_encoder
from zoobot3d_tf.models.timm_files import SAFETENSORS_NAME, TimmWeights, find_timm_weights
from zoobot3d_tf.models.torch_file import read_torch_tensors

_STEM = "conv_stem.weight"
_KERAS_STEM = "stem_conv"
# Seconds without a byte before a download is given up.
_PATIENCE = 30
# A classifier's last layer, and a counter that PyTorch needs for another kind of moving average.
_UNUSED_TENSOR = re.compile(r"classifier\.|.*\.num_batches_tracked$")
_TIMM_NAMES = {
    "kernel": "weight",
    "bias": "bias",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}

_VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"
_OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
_ENCODER_KEY = "layer_with_weights-0/layer_with_weights-0/layer_with_weights-"
_HEAD_KEY = "layer_with_weights-1/"
# What training needs beside the network: optimiser, step, and the random states of the augmentation.
_TRAINING_STATE = re.compile(
    rf".*/\.OPTIMIZER_SLOT/|optimizer/|layer-\d+/_rng/|(step|save_counter){_VALUE}$|{_OBJECT_GRAPH}$"
)


def load_timm_encoder(path_or_name: PathLike, channels: int = 3) -> keras.Model:
    """Encoder with weights of Zoobot or timm.

    Args:
        path_or_name: folder with `config.json` and `model.safetensors` (or `pytorch_model.bin`) as timm writes them for
            the Hugging Face hub, or `hf://owner/name` for a repository there (extra `[hub]`).
        channels: 3, or 1: the stem of weights for three bands is then summed over them, as timm does.

    Returns:
        Model from images (B, H, W, channels) of any size to a dict: `P1`..`P5` and `top`, see `build_timm_encoder`. The
        images are in the range that the weights expect, which `encoder_settings` tells.

    Raises:
        ValueError: the weights are of another architecture, partial, foreign or damaged; the sentence names the first
            tensors that do not fit.
        OSError: a file is missing, or the repository cannot be had.
        ImportError: huggingface_hub is needed but not installed.
    """
    if channels not in (1, 3):
        raise ValueError(f"channels must be 1 or 3; received {channels}")
    weights = find_timm_weights(path_or_name)
    encoder = build_timm_encoder(weights.architecture, channels)
    _load_timm_tensors(encoder, weights)
    return encoder


def encoder_settings(path_or_name: PathLike) -> dict[str, Any]:
    """What `ModelConfig` must say of an encoder so that these weights fit: `encoder`, `pixel_mean` and `pixel_std`.

    Weights of Zoobot, known by their repository's or folder's name, expect 0..1; others what their `config.json` says.

    Args:
        path_or_name: as for `load_timm_encoder`, like the errors.
    """
    return find_timm_weights(path_or_name).settings


def load_encoder_weights(model: keras.Model, config: ModelConfig, path_or_name: PathLike) -> None:
    """Loads weights of Zoobot or timm into the encoder of a model.

    Args:
        model: as `build_model(config)` makes it.
        config: made with `encoder_settings(path_or_name)`.
        path_or_name: as for `load_timm_encoder`, like the errors.

    Raises:
        ValueError: also, if the configuration names another encoder or another range of pixels.
    """
    weights = find_timm_weights(path_or_name)
    for name, wanted in weights.settings.items():
        if getattr(config, name) != wanted:
            raise ValueError(f"{weights.name}: needs a model with {name} {wanted}; it has {getattr(config, name)}")
    _load_timm_tensors(model.get_layer("encoder"), weights)


def fetch_imagenet_encoder(name: str) -> tuple[keras.Model, Path]:
    """Keras's own encoder, its weights learned on ImageNet.

    Args:
        name: one of `KERAS_ENCODERS`.

    Returns:
        The model, from colour images (B, 64, 64, 3) in 0..255 to its top, and the file of its weights, which Keras
        fetches unless it has it.

    Raises:
        OSError: it cannot be fetched.
    """
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_PATIENCE)  # Keras would wait for ever
    try:
        model = getattr(keras.applications, name)(include_top=False, weights="imagenet", input_shape=(64, 64, 3))
    except Exception as error:  # Keras raises no narrower one
        raise OSError(
            f"imagenet: Keras's weights of {name} cannot be had: {' '.join(str(error).split())}; "
            "name a folder or hf://owner/name of others, or leave out the encoder's weights"
        ) from error
    finally:
        socket.setdefaulttimeout(timeout)
    return model, Path(keras.utils.get_file(f"{model.name}_notop.h5", origin="", cache_subdir="models"))


def load_imagenet_weights(model: keras.Model, name: str) -> None:
    """Loads Keras's own weights, learned on ImageNet, into the encoder of a model.

    The activations are then those of Keras's encoder, which in greyscale sees the same grey three times. Where the
    range of its pixels and of ours differ (version 2, and greyscale), the stem takes up the difference, all but what
    its padding sees, at the lower and the right edge.

    Args:
        model: as `build_model` makes it.
        name: its encoder, one of `KERAS_ENCODERS`.

    Raises:
        OSError: the weights cannot be fetched.
    """
    theirs, _ = fetch_imagenet_encoder(name)
    encoder = model.get_layer("encoder")
    for layer in theirs.layers:
        if layer.weights and not isinstance(layer, keras.layers.Normalization) and layer.name != _KERAS_STEM:
            encoder.get_layer(layer.name).set_weights(layer.get_weights())
    _fit_keras_stem(encoder, theirs)


def load_zoobot_tf_checkpoint(model: keras.Model, path: PathLike) -> None:
    """Loads a checkpoint of the original Zoobot in TensorFlow (Galaxy Zoo DECaLS, 2021), head included.

    That network is `build_model(ModelConfig(get_schema("decals"), tasks=("votes",)))`: an EfficientNetB0 of one band in
    0..1, pooled, and a dense layer whose 34 concentrations are 1 + 100 sigmoid(.), as here.

    Args:
        model: with `EfficientNetB0` of Keras, in greyscale, and a vote head of as many answers as the checkpoint's.
        path: the checkpoint, with or without `.index`, beside its `.data-...` files.

    Raises:
        ValueError: the model is of another kind, or a tensor is missing, left over, misnamed or of another shape; the
            sentence names the first ones.
        OSError: a file is missing or damaged.

    Walmsley et al. 2022 (arXiv 2102.08414); layout as in Zoobot v0.0.2, `zoobot/estimators/define_model.py`.
    """
    prefix = str(path).removesuffix(".index")
    if not Path(f"{prefix}.index").is_file():
        raise FileNotFoundError(f"{prefix}.index: no such checkpoint; name it without .index or .data-...")
    targets = _zoobot_tf_targets(model)
    try:
        reader = tf.train.load_checkpoint(prefix)
        shapes = {key: tuple(shape) for key, shape in reader.get_variable_to_shape_map().items()}
        network = {key: shape for key, shape in shapes.items() if not _TRAINING_STATE.match(key)}
        _check_tensors(prefix, {key: tuple(v.shape) for key, (_, v) in targets.items()}, network)
        _check_tensor_names(prefix, {key: name for key, (name, _) in targets.items()}, reader)
        values = {key: _checked(prefix, key, reader.get_tensor(key)) for key in targets}
    except (tf.errors.OpError, RuntimeError, DecodeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise OSError(f"{prefix}: the checkpoint cannot be read, is its .data-... file beside it? {reason}") from error
    for key, (_, variable) in targets.items():
        variable.assign(values[key])


def _load_timm_tensors(encoder: keras.Model, weights: TimmWeights) -> None:
    tensors = {key: value for key, value in _read_tensors(weights.path).items() if not _UNUSED_TENSOR.match(key)}
    targets = _timm_targets(encoder)
    shapes = {
        key: tuple(variable.shape[axis] for axis in np.argsort(axes)) for key, (variable, axes) in targets.items()
    }
    stem = tensors.get(_STEM)
    if stem is not None and stem.ndim == 4 and stem.shape[1] != shapes[_STEM][1]:
        if stem.shape[1] == 1:
            raise ValueError(f"{weights.path}: weights for one band; they fit channels=1, or a model without color")
        if stem.shape[1] == 3:
            tensors[_STEM] = stem.sum(axis=1, keepdims=True)
    _check_tensors(weights.path, shapes, {key: value.shape for key, value in tensors.items()})
    values = {key: _checked(weights.path, key, tensors[key]) for key in targets}
    for key, (variable, axes) in targets.items():
        variable.assign(values[key].transpose(axes))


def _timm_targets(encoder: keras.Model) -> dict[str, tuple[keras.Variable, tuple[int, ...]]]:
    """For each tensor of timm's file its variable, and how to transpose the tensor for it."""
    targets: dict[str, tuple[keras.Variable, tuple[int, ...]]] = {}
    for layer in encoder.layers:
        is_depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
        kernel_axes = (2, 3, 0, 1) if is_depthwise else (2, 3, 1, 0)  # from (out, in, height, width)
        for variable in layer.weights:
            axes = kernel_axes if variable.name == "kernel" else (0,)
            targets[f"{layer.name}.{_TIMM_NAMES[variable.name]}"] = variable, axes
    return targets


def _fit_keras_stem(encoder: keras.Model, theirs: keras.Model) -> None:
    """Gives our stem the kernel that makes of our pixels what theirs makes of its own.

    Theirs sees scale x pixel + offset of each band. What Keras does to pixels differs between its versions, so it is
    measured, on a black image and a white one.
    """
    seen = keras.Model(theirs.input, theirs.get_layer(_KERAS_STEM).input)
    middle = theirs.input.shape[1] // 2
    black, white = (np.asarray(seen(np.full((1, *theirs.input.shape[1:]), x, np.float32)))[0] for x in (0, 255))
    scale, offset = (white - black)[middle, middle].astype(float) / 255, black[middle, middle].astype(float)
    our_scale, our_offset = _set_our_pixels(encoder, scale, offset)
    (kernel,) = theirs.get_layer(_KERAS_STEM).get_weights()
    ratio = scale / our_scale
    missing = np.einsum("hwcf,c->f", kernel, offset - ratio * our_offset)  # from every pixel of the convolution
    kernel = kernel * ratio[:, None]
    stem, norm = encoder.get_layer(_KERAS_STEM), encoder.get_layer("stem_bn")
    stem.set_weights([kernel if stem.kernel.shape[2] == 3 else kernel.sum(axis=2, keepdims=True)])
    norm.moving_mean.assign(norm.moving_mean - missing)


def _set_our_pixels(encoder: keras.Model, scale: np.ndarray, offset: np.ndarray) -> tuple[Any, Any]:
    """Sets our normalisation, if the encoder has one, and returns scale and offset of the pixels that its stem sees."""
    layers = {type(layer): layer for layer in encoder.layers}
    normalisation = layers.get(keras.layers.Normalization)
    if normalisation is None:
        rescaling = layers[keras.layers.Rescaling]
        return rescaling.scale, rescaling.offset
    std = 1 / (255 * scale)
    mean = -offset * std
    if normalisation.get_weights()[0].size == 1:
        mean, std = mean.mean(keepdims=True), std.mean(keepdims=True)
    normalisation.set_weights([mean, std**2, *normalisation.get_weights()[2:]])
    normalisation.finalize_state()
    return 1 / (255 * std), -mean / std


def _zoobot_tf_targets(model: keras.Model) -> dict[str, tuple[str, keras.Variable]]:
    """For each tensor of the checkpoint the name that it has there, and its variable.

    The checkpoint counts the layers with weights in the order of Keras, which has not changed since.
    """
    try:
        encoder, head = model.get_layer("encoder"), model.get_layer("vote_head").get_layer("sigmoid")
        encoder.get_layer("stem_conv")
    except ValueError as error:
        raise ValueError("the original Zoobot fits a model of votes with Keras's EfficientNetB0") from error
    # The range of pixels, 0..1, is no part of the checkpoint.
    layers = [layer for layer in encoder.layers if layer.weights and not isinstance(layer, keras.layers.Normalization)]
    targets = {}
    for i, layer in enumerate(layers):
        is_depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
        for variable in layer.weights:
            name = "depthwise_kernel" if is_depthwise else variable.name
            targets[f"{_ENCODER_KEY}{i}/{name}{_VALUE}"] = f"{layer.name}/{name}", variable
    for variable in head.weights:
        targets[f"{_HEAD_KEY}{variable.name}{_VALUE}"] = f"dense/{variable.name}", variable
    return targets


def _check_tensor_names(source: PathLike, expected: Mapping[str, str], reader: Any) -> None:
    """Compares the names that the checkpoint's object graph gives its tensors."""
    graph = TrackableObjectGraph.FromString(reader.get_tensor(_OBJECT_GRAPH))
    names = {each.checkpoint_key: each.full_name for node in graph.nodes for each in node.attributes}
    wrong = [f"{key} is {names[key]}, not {name}" for key, name in expected.items() if names.get(key, name) != name]
    if wrong:
        raise ValueError(f"{source}: layers of another network: {_first(wrong)}")


def _check_tensors(
    source: PathLike, expected: Mapping[str, tuple[int, ...]], received: Mapping[str, tuple[int, ...]]
) -> None:
    """Raises unless both have the same names and shapes."""
    common = [key for key in expected if key in received]
    problems = {
        "missing": [key for key in expected if key not in received],
        "left over": [key for key in received if key not in expected],
        "of another shape": [
            f"{key} {received[key]}, not {expected[key]}" for key in common if received[key] != expected[key]
        ],
    }
    if said := [f"{len(keys)} {problem} ({_first(keys)})" for problem, keys in problems.items() if keys]:
        raise ValueError(f"{source}: does not fit the network of {len(expected)} tensors: {', '.join(said)}")


def _first(items: Sequence[str], n: int = 3) -> str:
    return ", ".join(items[:n]) + (", ..." if len(items) > n else "")


def _checked(source: PathLike, key: str, values: np.ndarray) -> np.ndarray:
    if values.dtype.kind in "OSU":
        raise ValueError(f"{source}: {key} holds text, not numbers")
    values = values.astype(np.float32)
    if not np.isfinite(values).all():
        raise ValueError(f"{source}: {key} holds numbers that are not finite; get the file again")
    return values


def _read_tensors(path: Path) -> dict[str, np.ndarray]:
    if path.name != SAFETENSORS_NAME:
        return read_torch_tensors(path)
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return load_file(path)
    except (SafetensorError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: is damaged, or no safetensors file: {error}") from error
