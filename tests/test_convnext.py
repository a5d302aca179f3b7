"""ConvNeXt of timm: its tensors, its activations, and what a model, a fine-tuning and an engine make of it."""

import json
import math
import zlib

import keras
import numpy as np
import pandas as pd
import pytest
from prediction_runs import DECALS, make_run
from safetensors.numpy import load_file, save
from scipy.special import erf
from test_weights import write_encoder

from zoobot3d_tf.finetuning.blocks import encoder_blocks, unfreeze
from zoobot3d_tf.inference.engine import openvino_function, tf_function, to_openvino
from zoobot3d_tf.models import ModelConfig, build_model, convnext
from zoobot3d_tf.models.config import CONVNEXT_ENCODERS
from zoobot3d_tf.models.timm_encoder import build_timm_encoder
from zoobot3d_tf.models.traced import trace_predictions
from zoobot3d_tf.models.weights import load_timm_encoder, timm_targets, timm_values
from zoobot3d_tf.pretraining.train import write_timm_tensors
from zoobot3d_tf.representations.features import write_features
from zoobot3d_tf.runs.encoder_weights import find_encoder_weights

SMALL = ((1, 1, 2, 1), 8)
"""Blocks and channels of a network that is fast to build, in place of those of a size."""


PARAMETERS = {  # counted by timm 1.0
    "convnext_atto": 3_374_520,
    "convnext_femto": 4_832_784,
    "convnext_pico": 8_532_672,
    "convnext_nano": 14_952_560,
    "convnext_tiny": 27_820_128,
    "convnext_small": 49_454_688,
    "convnext_base": 87_566_464,
    "convnext_large": 196_230_336,
    "convnext_xlarge": 348_147_968,
}


@pytest.fixture
def small(monkeypatch):
    for size in ("nano", "tiny"):
        monkeypatch.setitem(convnext._SIZES, size, SMALL)


def timm_shapes(depths, width, convolved: bool, channels: int = 3) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tensors of timm 1.0, without a classifier."""

    def both(name: str, weight: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
        return {f"{name}.weight": weight, f"{name}.bias": weight[:1]}

    ones = (1, 1) if convolved else ()
    shapes = both("stem.0", (width, channels, 4, 4)) | both("stem.1", (width,))
    for i, depth in enumerate(depths):
        n, stage = width * 2**i, f"stages.{i}"
        if i:
            shapes |= both(f"{stage}.downsample.0", (n // 2,)) | both(f"{stage}.downsample.1", (n, n // 2, 2, 2))
        for block in (f"{stage}.blocks.{j}" for j in range(depth)):
            shapes |= {f"{block}.gamma": (n,)} | both(f"{block}.conv_dw", (n, 1, 7, 7)) | both(f"{block}.norm", (n,))
            shapes |= both(f"{block}.mlp.fc1", (4 * n, n, *ones)) | both(f"{block}.mlp.fc2", (n, 4 * n, *ones))
    return shapes | both("head.norm", (width * 8,))


def values_of(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Values of a tensor, which follow from its name and shape in timm."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    if len(shape) > 1:
        return rng.normal(0, np.prod(shape[1:]) ** -0.5, shape)
    return rng.uniform(0.5, 2.5, shape) if name.endswith((".weight", ".gamma")) else rng.normal(0, 0.1, shape)


def tensors_of(size: str, channels: int = 3) -> dict[str, np.ndarray]:
    shapes = timm_shapes(*SMALL, size == "nano", channels)
    return {name: values_of(name, shape).astype(np.float32) for name, shape in shapes.items()}


def test_sizes_have_the_parameters_of_timm():
    counted = {
        f"convnext_{size}": sum(math.prod(shape) for shape in timm_shapes(depths, width, convolved=True).values())
        for size, (depths, width) in convnext._SIZES.items()
    }
    assert counted == PARAMETERS
    assert tuple(PARAMETERS) == CONVNEXT_ENCODERS


@pytest.mark.parametrize("size", ["nano", "tiny"])
def test_tensors_are_those_of_timm(small, size):
    encoder = build_timm_encoder(f"convnext_{size}", 3)
    received = {name: timm_values(*target).shape for name, target in timm_targets(encoder).items()}
    assert received == timm_shapes(*SMALL, convolved=size == "nano")
    assert encoder.count_params() == sum(math.prod(shape) for shape in received.values())


@pytest.mark.parametrize("size", ["nano", "tiny"])
def test_activations_are_those_of_timm_at_an_odd_size(small, tmp_path, size):
    classifier = {"head.fc.weight": np.ones((10, 64), np.float32), "head.fc.bias": np.ones(10, np.float32)}
    folder = write_encoder(tmp_path, tensors_of(size) | classifier, architecture=f"convnext_{size}")
    encoder = load_timm_encoder(folder)
    image = np.random.default_rng(0).normal(size=(1, 97, 130, 3)).astype(np.float32)
    levels = {name: np.asarray(level) for name, level in encoder(image, training=False).items()}
    assert {name: level.shape[1:] for name, level in levels.items()} == {
        "P2": (24, 32, 8),
        "P3": (12, 16, 16),
        "P4": (6, 8, 32),
        "P5": (3, 4, 64),
        "top": (1, 1, 64),
    }
    # Of timm 1.0, in float64.
    means, deviations = (
        (-0.03663, -0.07599, 0.09103, -0.15446, -0.0592),
        (1.78253, 2.37067, 2.84298, 2.51609, 1.77978),
    )
    np.testing.assert_allclose([level.mean() for level in levels.values()], means, atol=1e-4)
    np.testing.assert_allclose([level.std() for level in levels.values()], deviations, atol=1e-4)


def normalised(x: np.ndarray, tensors: dict[str, np.ndarray], name: str) -> np.ndarray:
    x = (x - x.mean(axis=-1, keepdims=True)) / np.sqrt(x.var(axis=-1, keepdims=True) + 1e-6)
    return x * tensors[f"{name}.weight"] + tensors[f"{name}.bias"]


def block(x: np.ndarray, tensors: dict[str, np.ndarray], name: str) -> np.ndarray:
    """One block, (height, width, channels), as in figure 4 of Liu et al. 2022."""
    kernel = tensors[f"{name}.conv_dw.weight"][:, 0]
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(x, ((3, 3), (3, 3), (0, 0))), (7, 7), axis=(0, 1))
    y = np.einsum("hwcij,cij->hwc", windows, kernel) + tensors[f"{name}.conv_dw.bias"]
    y = normalised(y, tensors, f"{name}.norm")
    y = y @ tensors[f"{name}.mlp.fc1.weight"].reshape(-1, x.shape[-1]).T + tensors[f"{name}.mlp.fc1.bias"]
    y = y * (1 + erf(y / np.sqrt(2))) / 2
    y = y @ tensors[f"{name}.mlp.fc2.weight"].reshape(x.shape[-1], -1).T + tensors[f"{name}.mlp.fc2.bias"]
    return x + tensors[f"{name}.gamma"] * y


def test_a_block_is_that_of_the_paper(small, tmp_path):
    tensors = tensors_of("nano")
    encoder = load_timm_encoder(write_encoder(tmp_path, tensors, architecture="convnext_nano"))
    image = np.random.default_rng(0).normal(size=(1, 39, 50, 3)).astype(np.float32)
    outputs = [encoder.get_layer("stem.1").output, encoder.output["P2"]]
    before, after = (np.asarray(x)[0] for x in keras.Model(encoder.input, outputs)(image, training=False))
    patches = image[0, :36, :48].reshape(9, 4, 12, 4, 3)
    stem = np.einsum("hiwjc,ocij->hwo", patches, tensors["stem.0.weight"]) + tensors["stem.0.bias"]
    np.testing.assert_allclose(before, normalised(stem, tensors, "stem.1"), atol=1e-4)
    np.testing.assert_allclose(after, block(before, tensors, "stages.0.blocks.0"), atol=1e-4)


@pytest.fixture(scope="module")
def model() -> keras.Model:
    """A model of votes and masks with the small network, whose blocks have an effect."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(convnext._SIZES, "nano", SMALL)
        return build()


def build() -> keras.Model:
    keras.utils.set_random_seed(0)
    model = build_model(ModelConfig(DECALS, 64, "convnext_nano"))
    for name, (variable, axes) in timm_targets(model.get_layer("encoder")).items():
        values = values_of(name, timm_values(variable, axes).shape)
        variable.assign(values.transpose(axes).reshape(variable.shape))
    return model


def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3)).astype(np.uint8)


def test_a_model_of_votes_and_masks_is_restored_with_standard_layers(model, tmp_path):
    assert {type(layer).__module__.split(".")[0] for layer in model._flatten_layers()} == {"keras"}
    outputs = model(images().astype(np.float32), training=False)
    assert outputs["votes"].shape == (2, len(DECALS.label_cols))
    assert outputs["spiral_mask"].shape == (2, 64, 64, 1)
    model.save(tmp_path / "model.keras")
    restored = keras.saving.load_model(tmp_path / "model.keras")(images().astype(np.float32), training=False)
    for name, values in outputs.items():
        np.testing.assert_allclose(restored[name], values, rtol=1e-5)


def test_features_of_the_vote_head_are_those_of_timm(model):
    pixels = images().astype(np.float32)
    top = model.get_layer("encoder")(pixels.mean(axis=-1, keepdims=True) / 255, training=False)["top"]
    features = keras.Model(model.input, model.get_layer("features").output)(pixels, training=False)
    np.testing.assert_allclose(features, np.asarray(top)[:, 0, 0], atol=1e-4)


def test_training_reaches_each_layer(small):
    model = build()
    before = [np.asarray(variable) for variable in model.trainable_variables]
    model.compile(keras.optimizers.SGD(1.0), loss="mean_squared_error", run_eagerly=True)
    targets = {name: np.zeros(output.shape[1:], np.float32)[None].repeat(2, 0) for name, output in model.output.items()}
    model.fit(images().astype(np.float32), targets, verbose=0)
    changed = [not np.array_equal(old, new) for old, new in zip(before, model.trainable_variables, strict=True)]
    assert all(changed)


def test_openvino_agrees_with_tensorflow(model):
    pytest.importorskip("openvino", reason="the extra [fast] is not installed")
    traced = trace_predictions(model, ("spiral_mask", "votes"), step=2, n_samples=1)
    inputs = images(), np.ones((2, 1, 64), np.float32)
    expected = tf_function(traced).run(*inputs)
    received = openvino_function(to_openvino(traced), "f32").run(*inputs)
    for one, other in zip(received, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_unfreezing_counts_the_blocks_of_all_stages(small):
    model = build()
    groups = encoder_blocks(model.get_layer("encoder"))
    assert len(groups) == sum(SMALL[0]) + 2
    names = [{layer.name for layer in group if layer.weights} for group in groups]
    assert names[0] == {"stem.0", "stem.1"}
    assert {"stages.3.downsample.0", "stages.3.downsample.1", "stages.3.blocks.0.gamma"} < names[-2]
    assert names[-1] == {"head.norm"}
    factors = unfreeze(model, 2, layer_decay=0.5)
    learned = {layer.name for layer in model.get_layer("encoder").layers if layer.trainable_variables}
    assert learned == names[-1] | names[-2] | names[-3]
    assert set(factors.values()) == {0.5, 0.25}


@pytest.mark.parametrize(("name", "channels"), [("convnext_nano", 3), ("greyscale-convnext_nano", 1)])
def test_encoders_of_zoobot_come_from_the_hub(small, hub, name, channels):
    tensors = tensors_of("nano", channels)
    imagenet = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
    config = json.dumps({"architecture": "convnext_nano", "num_classes": 0, "pretrained_cfg": imagenet})
    repository = f"mwalmsley/zoobot-encoder-{name}"
    hub.repositories[repository] = {"config.json": config.encode(), "model.safetensors": save(tensors)}
    found = find_encoder_weights(f"hf://{repository}", {"encoder": None, "color": None})
    pixels = {"pixel_mean": (0.0, 0.0, 0.0), "pixel_std": (1.0, 1.0, 1.0)}
    assert found.settings == {"encoder": "convnext_nano", **pixels}
    settings = ModelConfig(DECALS, 32, color=channels == 3, tasks=("votes",), **found.settings)
    model = build_model(settings)
    found.load(model, settings)
    for tensor, target in timm_targets(model.get_layer("encoder")).items():
        np.testing.assert_array_equal(timm_values(*target), tensors[tensor])
    if channels == 3:  # and the sum of the bands for a greyscale model
        stem = load_timm_encoder(f"hf://{repository}", channels=1).get_layer("stem.0").kernel
        np.testing.assert_allclose(stem[:, :, 0], tensors["stem.0.weight"].sum(axis=1).transpose(1, 2, 0), rtol=1e-5)


def test_tensors_are_written_as_timm_reads_them(small, tmp_path):
    tensors = tensors_of("tiny")
    encoder = load_timm_encoder(write_encoder(tmp_path / "first", tensors, architecture="convnext_tiny"))
    write_timm_tensors(encoder, tmp_path / "model.safetensors")
    written = load_file(tmp_path / "model.safetensors")
    assert written.keys() == tensors.keys()
    for name, values in tensors.items():
        np.testing.assert_array_equal(written[name], values)


def test_features_of_a_level_that_does_not_exist_are_refused(tmp_path):
    path = make_run(tmp_path / "run") / "config.json"
    stored = json.loads(path.read_text())
    stored["model"]["encoder"] = "convnext_nano"
    path.write_text(json.dumps(stored))
    galaxies = pd.DataFrame({"id_str": ["a"], "file_loc": ["a.png"]})
    with pytest.raises(ValueError, match=r"level must be one of top, P2, P3, P4, P5 .*convnext_nano; received 'P1'"):
        write_features(galaxies, path.parent, tmp_path / "features.parquet", level="P1")
