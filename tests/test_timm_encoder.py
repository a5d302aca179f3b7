"""EfficientNet of timm: its levels, padding and pixel range, separately and in a model."""

import json
import zlib
from functools import cache

import keras
import numpy as np
import pytest
from prediction_runs import DECALS, make_run

from zoobot3d_tf.models import ModelConfig, build_model
from zoobot3d_tf.models.timm_encoder import build_timm_encoder
from zoobot3d_tf.runs.run_folder import read_run, write_config
from zoobot3d_tf.training.training_config import get_run_config

TASKS = ("votes", "spiral_mask", "bar_mask")


@cache
def any_size(name: str) -> keras.Model:
    return build_timm_encoder(name, 1)


def test_each_level_has_half_the_size_of_the_previous_one():
    levels = any_size("efficientnet_b0")(np.zeros((1, 64, 96, 1), np.float32))
    assert {name: tuple(level.shape[1:]) for name, level in levels.items()} == {
        "P1": (32, 48, 16),
        "P2": (16, 24, 24),
        "P3": (8, 12, 40),
        "P4": (4, 6, 112),
        "P5": (2, 3, 320),
        "top": (2, 3, 1280),
    }


@pytest.mark.parametrize(
    ("name", "channels", "parameters"),
    [  # counted by timm 1.0, without moving statistics
        ("efficientnet_b0", (16, 24, 40, 112, 320, 1280), 4_007_548),
        ("tf_efficientnet_b3", (24, 32, 48, 136, 384, 1536), 10_696_232),
        ("tf_efficientnetv2_b3", (16, 40, 56, 136, 232, 1536), 12_821_406),
        ("tf_efficientnetv2_s", (24, 48, 64, 160, 256, 1280), 20_177_488),
        ("tf_efficientnet_lite2", (16, 24, 48, 120, 352, 1280), 4_811_072),
        ("tf_efficientnet_lite4", (24, 32, 56, 160, 448, 1280), 11_725_568),
    ],
)
def test_channels_and_parameters_are_those_of_timm(name, channels, parameters):
    encoder = build_timm_encoder(name, 3)
    assert tuple(level.shape[-1] for level in encoder.output.values()) == channels
    assert sum(int(np.prod(weight.shape)) for weight in encoder.trainable_weights) == parameters


@pytest.mark.parametrize("name", ["efficientnet_b0", "tf_efficientnet_b0"])
def test_odd_sizes_are_rounded_up(name):
    levels = any_size(name)(np.zeros((1, 33, 66, 1), np.float32))
    assert [tuple(levels[f"P{n}"].shape[1:3]) for n in range(1, 6)] == [(17, 33), (9, 17), (5, 9), (3, 5), (2, 3)]


@pytest.mark.parametrize(
    ("name", "first_row", "epsilon"), [("efficientnet_b0", -1, 1e-5), ("tf_efficientnet_b0", 0, 1e-3)]
)
def test_only_the_variant_of_tensorflow_pads_even_sizes_at_the_end_only(name, first_row, epsilon):
    encoder = any_size(name)
    stem = encoder.get_layer("conv_stem")
    kernel = np.zeros(stem.kernel.shape, np.float32)
    kernel[0, 0] = 1  # each output is the pixel under the first corner of the kernel
    stem.kernel.assign(kernel)
    image = np.arange(64, dtype=np.float32).reshape(1, 8, 8, 1) + 1
    seen = np.asarray(keras.Model(encoder.input, stem.output)(image))[0, ..., 0]
    padded = np.pad(image[0, ..., 0], 1)
    np.testing.assert_array_equal(seen, padded[first_row + 1 :: 2, first_row + 1 :: 2][:4, :4])
    assert encoder.get_layer("bn1").epsilon == epsilon


def values_of(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Values of a tensor, which follow from its name and shape in timm."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    if len(shape) == 4:
        return rng.normal(0, np.prod(shape[1:]) ** -0.5, shape)
    return rng.uniform(0.5, 2.5, shape) if name.endswith((".weight", ".running_var")) else rng.normal(0, 0.1, shape)


def give_values(encoder: keras.Model) -> None:
    for layer in encoder.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            names = ("weight", "bias", "running_mean", "running_var")
            layer.set_weights([values_of(f"{layer.name}.{name}", layer.gamma.shape) for name in names])
        elif layer.weights:
            order = (3, 2, 0, 1)
            if isinstance(layer, keras.layers.DepthwiseConv2D):
                order = (2, 3, 0, 1)
            shape = tuple(layer.kernel.shape[axis] for axis in order)
            layer.set_weights([values_of(f"{layer.name}.weight", shape).transpose(np.argsort(order))])


@pytest.mark.parametrize(
    ("name", "means", "deviations"),
    [  # of timm 1.0, in float64
        (
            "efficientnet_lite0",
            (0.62065, -0.44249, -0.34476, -0.25937, -0.15379, 1.21517),
            (2.22773, 2.71749, 3.00912, 3.80802, 2.74209, 1.79611),
        ),
        (
            "tf_efficientnet_lite1",
            (0.63757, 0.06107, -0.66474, -0.19928, -0.11582, 1.23608),
            (2.23279, 3.49674, 3.73398, 4.77336, 2.75449, 1.82028),
        ),
    ],
)
def test_activations_of_lite_are_those_of_timm_at_an_odd_size(name, means, deviations):
    encoder = build_timm_encoder(name, 3)
    give_values(encoder)
    image = np.random.default_rng(0).normal(size=(1, 97, 130, 3)).astype(np.float32)
    levels = [np.asarray(level) for level in encoder(image, training=False).values()]
    assert levels[-1].max() == 6  # of ReLU6
    np.testing.assert_allclose([level.mean() for level in levels], means, atol=1e-4)
    np.testing.assert_allclose([level.std() for level in levels], deviations, atol=1e-4)


def test_an_unknown_name_is_refused_with_the_known_names():
    with pytest.raises(ValueError, match=r"efficientnet_b0, .*'efficientnet_b9'"):
        build_timm_encoder("efficientnet_b9", 3)


def config(**settings) -> ModelConfig:
    return ModelConfig(**{"schema": DECALS, "image_size": 32, "encoder": "tf_efficientnet_b0", **settings})


@pytest.fixture(scope="module")
def model() -> keras.Model:
    keras.utils.set_random_seed(0)
    return build_model(config(color=True))


def test_model_has_standard_layers_and_is_restored_from_both_files(model, tmp_path):
    assert {type(layer).__module__.split(".")[0] for layer in model._flatten_layers()} == {"keras"}
    images = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3)).astype(np.float32)
    model.save(tmp_path / "model.keras")
    model.save_weights(tmp_path / "model.weights.h5")
    rebuilt = build_model(config(color=True))
    rebuilt.load_weights(tmp_path / "model.weights.h5")
    expected = model(images, training=False)
    assert set(expected) == set(TASKS)
    for other in (keras.saving.load_model(tmp_path / "model.keras"), rebuilt):
        outputs = other(images, training=False)
        for name in TASKS:
            np.testing.assert_allclose(outputs[name], expected[name], rtol=1e-5)


def encoder_input(model: keras.Model, pixel: tuple[float, float, float]) -> np.ndarray:
    """Pixel that the encoder gets for an image of one colour."""
    image = np.broadcast_to(np.array(pixel, np.float32), (1, 32, 32, 3))
    return np.asarray(keras.Model(model.input, model.get_layer("normalised").output)(image))[0, 5, 7]


def test_the_encoder_gets_pixels_in_the_range_of_the_configuration(model):
    np.testing.assert_allclose(encoder_input(model, (0, 51, 255)), [0, 0.2, 1], atol=1e-6)
    half = build_model(config(color=True, tasks=("votes",), pixel_mean=(0.5, 0.2, 0), pixel_std=(0.5, 1, 2)))
    np.testing.assert_allclose(encoder_input(half, (0, 51, 255)), [-1, 0, 0.5], atol=1e-6)


def test_one_band_uses_the_mean_of_the_three_settings():
    grey = build_model(config(tasks=("votes",), pixel_mean=(0.1, 0.2, 0.3), pixel_std=(0.4, 0.5, 0.6)))
    np.testing.assert_allclose(encoder_input(grey, (51, 102, 153)), [(0.4 - 0.2) / 0.5], atol=1e-6)


def test_the_pixel_range_is_read_from_the_run(tmp_path):
    make_run(tmp_path)
    stored = json.loads((tmp_path / "config.json").read_text())
    imagenet = {"pixel_mean": [0.485, 0.456, 0.406], "pixel_std": [0.229, 0.224, 0.225]}
    stored["model"] |= {"encoder": "efficientnet_b0", **imagenet}
    (tmp_path / "config.json").write_text(json.dumps(stored))
    model = read_run(tmp_path).model
    assert model.encoder == "efficientnet_b0"
    assert (model.pixel_mean, model.pixel_std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def test_a_run_without_a_pixel_range_is_read_and_continued(tmp_path):
    make_run(tmp_path)
    path = tmp_path / "config.json"
    stored = json.loads(path.read_text())
    for name in ("pixel_mean", "pixel_std"):
        del stored["model"][name]
    path.write_text(json.dumps(stored))
    assert read_run(tmp_path).model.pixel_mean is None
    settings = {"train_records": ["train"], "eval_records": ["eval"], "epochs": 2, "batch_size": 4}
    more = get_run_config(64, 32, 48, tmp_path, schema=DECALS, tasks=TASKS, **settings).to_dict()
    write_config(tmp_path, more | {"stretch": "galaxy-zoo"})
    assert json.loads(path.read_text())["training"]["epochs"] == 2


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"encoder": "EfficientNetB0", "pixel_mean": (0, 0, 0)}, "^pixel_mean .*EfficientNetB0"),
        ({"pixel_mean": (0.5,)}, r"^pixel_mean .*three.*\(0\.5,\)$"),
        ({"pixel_mean": (0.5, 0.5, float("nan"))}, "^pixel_mean .*three.*nan"),
        ({"pixel_std": (0.5, 0.5, 0)}, r"^pixel_std must be above 0; received \(0\.5, 0\.5, 0\.0\)$"),
    ],
)
def test_impossible_ranges_are_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        config(**settings)


def test_by_default_the_range_is_that_of_zoobot():
    assert (config().pixel_mean, config().pixel_std) == ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
