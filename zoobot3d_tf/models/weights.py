"""Loading of published weights: encoders of Zoobot, timm and Keras, and checkpoints of the original Zoobot."""

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

_KERAS_STEM = "stem_conv"
_TIMEOUT = 30  # seconds without a byte, after which a download is given up
# The last layer of a classifier, and a counter that PyTorch needs for another kind of moving average.
_UNUSED_TENSOR = re.compile(r"(classifier|_fc|head\.fc)\.|.*\.num_batches_tracked$")
# Layers of EfficientNet-PyTorch, which numbers the blocks of all stages together.
_PYTORCH_LAYER = re.compile(r"(?:_blocks\.(\d+)\.)?(_\w+)\.(\w+)$")
_PYTORCH_STEM = "_conv_stem.weight"
_BLOCK = re.compile(r"blocks\.\d+\.\d+")
_PYTORCH_ENDS = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2"}
_PYTORCH_INVERTED = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
_PYTORCH_SEPARABLE = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
_LAYER_SCALE = ".gamma"  # end of the names of the layer scales of ConvNeXt, in timm and here
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
# Tensors of a checkpoint that are not part of the network: optimiser, step, and random states of the augmentation.
_TRAINING_STATE = re.compile(
    rf".*/\.OPTIMIZER_SLOT/|optimizer/|layer-\d+/_rng/|(step|save_counter){_VALUE}$|{_OBJECT_GRAPH}$"
)


def load_timm_encoder(weights: TimmWeights | PathLike, channels: int = 3) -> keras.Model:
    """Build an encoder with weights of Zoobot or timm.

    Args:
        weights: weights found by `find_timm_weights`, or the folder or `hf://owner/name` to find them in.
        channels: number of bands of the images, 3 or 1. For one band, the first convolution of weights for three bands
            is summed over the bands, as in timm.

    Returns:
        Model from images (B, H, W, channels) of any size to the dict `P1`..`P5` and `top`, see `build_timm_encoder`.
        The images must be in the range that the weights expect, see `encoder_settings`.

    Raises:
        ValueError: the encoder is unknown, or tensors are damaged, missing, left over or of another shape. The error
            names the first ones.
        OSError: a file is missing, the repository does not exist, or the hub cannot be reached.
        ImportError: the weights are on the hub, and huggingface_hub is not installed.
    """
    if channels not in (1, 3):
        raise ValueError(f"channels must be 1 or 3; received {channels}")
    weights = _found(weights)
    encoder = build_timm_encoder(weights.architecture, channels)
    _load_timm_tensors(encoder, weights)
    return encoder


def encoder_settings(weights: TimmWeights | PathLike) -> dict[str, Any]:
    """Arguments of `ModelConfig` for a model that can take weights of Zoobot or timm.

    Weights of Zoobot, which are known by the name of their folder or repository, expect pixels in 0..1. Other weights
    expect the mean and standard deviation in their `config.json`.

    Args:
        weights: weights as in `load_timm_encoder`.

    Returns:
        Values of `encoder`, `pixel_mean` and `pixel_std`.

    Raises:
        ValueError: the encoder is unknown.
        OSError: a file is missing, the repository does not exist, or the hub cannot be reached.
        ImportError: the weights are on the hub, and huggingface_hub is not installed.
    """
    return _found(weights).settings


def load_encoder_weights(model: keras.Model, config: ModelConfig, weights: TimmWeights | PathLike) -> None:
    """Load weights of Zoobot or timm into the encoder of a model.

    Args:
        model: model made by `build_model(config)`.
        config: configuration made with `encoder_settings(weights)`.
        weights: weights as in `load_timm_encoder`.

    Raises:
        ValueError: the configuration has another encoder or another range of pixels, or the weights do not fit.
        OSError: a file is missing, the repository does not exist, or the hub cannot be reached.
        ImportError: the weights are on the hub, and huggingface_hub is not installed.
    """
    weights = _found(weights)
    for name, wanted in weights.settings.items():
        received = getattr(config, name)
        if received != wanted:
            raise ValueError(f"{name} must be {wanted} for the weights {weights.name}; received {received}")
    _load_timm_tensors(model.get_layer("encoder"), weights)


def fetch_imagenet_encoder(name: str) -> tuple[keras.Model, Path]:
    """Build an encoder of Keras with its weights for ImageNet, which are downloaded once.

    Args:
        name: name of the encoder, one of `KERAS_ENCODERS`.

    Returns:
        Model from colour images (B, 64, 64, 3) in 0..255 to the top of the encoder, and path of the file of its
        weights.

    Raises:
        OSError: the weights cannot be downloaded.
    """
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_TIMEOUT)  # Keras itself has no timeout
    try:
        model = getattr(keras.applications, name)(include_top=False, weights="imagenet", input_shape=(64, 64, 3))
    except Exception as error:  # Keras has no class of its own for failed downloads
        raise OSError(
            f"imagenet: the weights of Keras for {name} cannot be downloaded: {' '.join(str(error).split())}; "
            "give a folder of other weights or hf://owner/name, or train without encoder_weights"
        ) from error
    finally:
        socket.setdefaulttimeout(timeout)
    return model, Path(keras.utils.get_file(f"{model.name}_notop.h5", origin="", cache_subdir="models"))


def load_imagenet_weights(model: keras.Model, name: str) -> None:
    """Load Keras's own weights for ImageNet into the encoder of a model.

    The activations are then those of Keras's encoder; for a greyscale model, those of an image with three equal bands.
    Where Keras scales pixels differently (version 2, and greyscale), the first convolution and its normalisation
    compensate for the difference, except at the padding of the lower and right edge.

    Args:
        model: model made by `build_model`.
        name: name of its encoder, one of `KERAS_ENCODERS`.

    Raises:
        OSError: the weights cannot be downloaded.
    """
    keras_encoder, _ = fetch_imagenet_encoder(name)
    encoder = model.get_layer("encoder")
    for layer in keras_encoder.layers:
        if layer.weights and not isinstance(layer, keras.layers.Normalization) and layer.name != _KERAS_STEM:
            encoder.get_layer(layer.name).set_weights(layer.get_weights())
    _fit_keras_stem(encoder, keras_encoder)


def load_zoobot_tf_checkpoint(model: keras.Model, path: PathLike) -> None:
    """Load a TensorFlow checkpoint of the original Zoobot (Galaxy Zoo DECaLS, 2021), with its vote head.

    That network is `build_model(ModelConfig(get_schema("decals"), tasks=("votes",)))`: an EfficientNetB0 of one band in
    0..1, pooling, and a dense layer with 34 concentrations, 1 + 100 sigmoid(x).

    Args:
        model: greyscale model with Keras's `EfficientNetB0`, and a vote head with the answers of the checkpoint.
        path: path of the checkpoint, with or without `.index`. The `.data-...` files must be beside it.

    Raises:
        ValueError: the model is of another kind, or tensors are missing, left over, misnamed or of another shape. The
            error names the first ones.
        OSError: a file is missing or damaged.

    Walmsley et al. 2022 (arXiv 2102.08414). The layout is that of Zoobot v0.0.2, `zoobot/estimators/define_model.py`.
    """
    prefix = str(path).removesuffix(".index")
    if not Path(f"{prefix}.index").is_file():
        raise FileNotFoundError(f"{prefix}.index: no such checkpoint; give its path without .index or .data-...")
    targets = _zoobot_tf_targets(model)
    try:
        reader = tf.train.load_checkpoint(prefix)
        shapes = {key: tuple(shape) for key, shape in reader.get_variable_to_shape_map().items()}
        network = {key: shape for key, shape in shapes.items() if not _TRAINING_STATE.match(key)}
        _check_tensors(prefix, "the network", {key: tuple(v.shape) for key, (_, v) in targets.items()}, network)
        _check_tensor_names(prefix, {key: name for key, (name, _) in targets.items()}, reader)
        values = {key: _checked(prefix, key, reader.get_tensor(key)) for key in targets}
    except (tf.errors.OpError, RuntimeError, DecodeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise OSError(f"{prefix}: the checkpoint cannot be read; is its .data-... file beside it? {reason}") from error
    for key, (_, variable) in targets.items():
        variable.assign(values[key])


def _found(weights: TimmWeights | PathLike) -> TimmWeights:
    return weights if isinstance(weights, TimmWeights) else find_timm_weights(weights)


def _load_timm_tensors(encoder: keras.Model, weights: TimmWeights) -> None:
    tensors = {key: value for key, value in _read_tensors(weights.path).items() if not _UNUSED_TENSOR.match(key)}
    if _PYTORCH_STEM in tensors:
        blocks = list(dict.fromkeys(match[0] for layer in encoder.layers if (match := _BLOCK.match(layer.name))))
        tensors = {_timm_name(key, blocks): value for key, value in tensors.items()}
    targets = timm_targets(encoder)
    shapes = {key: timm_values(*target).shape for key, target in targets.items()}
    stem_key = next(iter(targets))  # layers are listed from the image on
    stem = tensors.get(stem_key)
    if stem is not None and stem.ndim == 4 and stem.shape[1] != shapes[stem_key][1]:
        if stem.shape[1] == 1:
            raise ValueError(f"{weights.path}: has weights for one band; use channels=1, or a model with color=False")
        if stem.shape[1] == 3:
            tensors[stem_key] = stem.sum(axis=1, keepdims=True)
    received = {key: value.shape for key, value in tensors.items()}
    _check_tensors(weights.path, f"the encoder {weights.architecture}", shapes, received)
    values = {key: _checked(weights.path, key, tensors[key]) for key in targets}
    for key, (variable, axes) in targets.items():
        variable.assign(values[key].transpose(axes).reshape(variable.shape))


def _timm_name(key: str, blocks: Sequence[str]) -> str:
    """Name in timm of a tensor of EfficientNet-PyTorch; unknown names are kept.

    Args:
        key: name of the tensor, such as `_blocks.1._bn0.bias`.
        blocks: names of all blocks in timm, in their order.
    """
    match = _PYTORCH_LAYER.match(key)
    if match is None or int(match[1] or 0) >= len(blocks):
        return key
    number, layer, tensor = match.groups()
    if number is None:
        return f"{_PYTORCH_ENDS.get(layer, layer)}.{tensor}"
    block = blocks[int(number)]
    names = _PYTORCH_SEPARABLE if block.startswith("blocks.0.") else _PYTORCH_INVERTED
    return f"{block}.{names.get(layer, layer)}.{tensor}"


def timm_targets(encoder: keras.Model) -> dict[str, tuple[keras.Variable, tuple[int, ...]]]:
    """Find the variable of each tensor of timm, and the order of the axes of the tensor in the variable.

    Args:
        encoder: encoder made by `build_timm_encoder`.

    Returns:
        Variable and axes by the name of the tensor: the variable is `tensor.transpose(axes)`, except that the layer
        scale of ConvNeXt has one axis in timm, and is the kernel of a depthwise convolution here.
    """
    targets: dict[str, tuple[keras.Variable, tuple[int, ...]]] = {}
    for layer in encoder.layers:
        if layer.name.endswith(_LAYER_SCALE):
            targets[layer.name] = layer.kernel, (0,)
            continue
        for variable in layer.weights:
            axes = _kernel_axes(layer) if variable.name == "kernel" else (0,)
            targets[f"{layer.name}.{_TIMM_NAMES[variable.name]}"] = variable, axes
    return targets


def timm_values(variable: keras.Variable, axes: Sequence[int]) -> np.ndarray:
    """Values of a variable in the shape of the tensor of timm.

    Args:
        variable: variable of `timm_targets`.
        axes: order of the axes of the tensor in the variable.
    """
    values = np.asarray(variable)
    return values.ravel() if len(axes) == 1 else values.transpose(np.argsort(axes))


def _kernel_axes(layer: keras.layers.Layer) -> tuple[int, ...]:
    if isinstance(layer, keras.layers.Dense):
        return 1, 0  # from (out, in)
    # From (out, in, height, width).
    return (2, 3, 0, 1) if isinstance(layer, keras.layers.DepthwiseConv2D) else (2, 3, 1, 0)


def _fit_keras_stem(encoder: keras.Model, keras_encoder: keras.Model) -> None:
    """Set the first convolution so that its output is that of Keras's encoder, which scales pixels differently.

    The convolution of Keras's encoder gets scale * pixel + offset in each band. Scale and offset differ between
    versions of Keras; they are therefore measured, on a black and a white image.
    """
    seen = keras.Model(keras_encoder.input, keras_encoder.get_layer(_KERAS_STEM).input)
    middle = keras_encoder.input.shape[1] // 2
    black, white = (np.asarray(seen(np.full((1, *keras_encoder.input.shape[1:]), x, np.float32)))[0] for x in (0, 255))
    scale, offset = (white - black)[middle, middle].astype(float) / 255, black[middle, middle].astype(float)
    our_scale, our_offset = _set_pixel_range(encoder, scale, offset)
    (kernel,) = keras_encoder.get_layer(_KERAS_STEM).get_weights()
    ratio = scale / our_scale
    missing = np.einsum("hwcf,c->f", kernel, offset - ratio * our_offset)  # constant over the image
    kernel = kernel * ratio[:, None]
    stem, norm = encoder.get_layer(_KERAS_STEM), encoder.get_layer("stem_bn")
    stem.set_weights([kernel if stem.kernel.shape[2] == 3 else kernel.sum(axis=2, keepdims=True)])
    norm.moving_mean.assign(norm.moving_mean - missing)


def _set_pixel_range(encoder: keras.Model, scale: np.ndarray, offset: np.ndarray) -> tuple[Any, Any]:
    """Set the normalisation of the encoder, if it has one.

    Returns:
        Scale and offset of the pixels that the first convolution of the encoder gets.
    """
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
    """Name and variable of each tensor of the checkpoint, by its key.

    The checkpoint numbers the layers that have weights in the order of Keras, which is still the same.
    """
    try:
        encoder, head = model.get_layer("encoder"), model.get_layer("vote_head").get_layer("sigmoid")
        encoder.get_layer("stem_conv")
    except ValueError as error:
        raise ValueError(
            "model must have a vote head and the encoder EfficientNetB0 for a checkpoint of the original Zoobot"
        ) from error
    # The layer that scales pixels to 0..1 is not part of the checkpoint.
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
    """Raise an error unless the object graph of the checkpoint has the expected names of tensors."""
    graph = TrackableObjectGraph.FromString(reader.get_tensor(_OBJECT_GRAPH))
    names = {each.checkpoint_key: each.full_name for node in graph.nodes for each in node.attributes}
    wrong = [f"{key} is {names[key]}, not {name}" for key, name in expected.items() if names.get(key, name) != name]
    if wrong:
        raise ValueError(f"{source}: has layers of another network: {_first(wrong)}")


def _check_tensors(
    source: PathLike, network: str, expected: Mapping[str, tuple[int, ...]], received: Mapping[str, tuple[int, ...]]
) -> None:
    """Raise an error unless names and shapes are the expected ones."""
    common = [key for key in expected if key in received]
    problems = {
        "missing": [key for key in expected if key not in received],
        "left over": [key for key in received if key not in expected],
        "of another shape": [
            f"{key} {received[key]}, not {expected[key]}" for key in common if received[key] != expected[key]
        ],
    }
    if reasons := [f"{len(keys)} {problem} ({_first(keys)})" for problem, keys in problems.items() if keys]:
        raise ValueError(f"{source}: does not fit {network} of {len(expected)} tensors: {', '.join(reasons)}")


def _first(items: Sequence[str], n: int = 3) -> str:
    return ", ".join(items[:n]) + (", ..." if len(items) > n else "")


def _checked(source: PathLike, key: str, values: np.ndarray) -> np.ndarray:
    if values.dtype.kind in "OSU":
        raise ValueError(f"{source}: {key} must hold numbers; holds text")
    values = values.astype(np.float32)
    if not np.isfinite(values).all():
        raise ValueError(f"{source}: {key} holds numbers that are not finite; download the file again")
    return values


def _read_tensors(path: Path) -> dict[str, np.ndarray]:
    if path.name != SAFETENSORS_NAME:
        return read_torch_tensors(path)
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return load_file(path)
    except (SafetensorError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: is damaged, or is not a safetensors file: {error}") from error
