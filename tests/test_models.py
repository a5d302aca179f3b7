"""The model: its shapes, its file, dropout samples and gradients."""

import subprocess
import sys
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

from zoobot3d_tf.models import ModelConfig, build_model
from zoobot3d_tf.models.config import VOLUNTEER_TASKS
from zoobot3d_tf.models.decoder import build_decoder
from zoobot3d_tf.models.encoder import build_encoder
from zoobot3d_tf.schemas import get_schema
from zoobot3d_tf.training.losses import MASK_LOSSES, votes_loss

DECALS = get_schema("decals")


def small(**settings) -> ModelConfig:
    return ModelConfig(schema=DECALS, image_size=64, **settings)


@pytest.fixture(scope="module")
def model() -> keras.Model:
    keras.utils.set_random_seed(0)
    return build_model(small())


@pytest.fixture(scope="module")
def colour_votes() -> keras.Model:
    return build_model(small(color=True, tasks=("votes",)))


@pytest.fixture(scope="module")
def one_mask() -> keras.Model:
    return build_model(small(tasks=("spiral_mask",), mask_head="beta-binomial"))


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 255, (3, 64, 64, 3)).astype(np.float32)


def outputs_of(model: keras.Model, images: np.ndarray) -> dict[str, np.ndarray]:
    return {name: np.asarray(output) for name, output in model(images, training=False).items()}


def test_levels_of_the_encoder(model):
    shapes = {name: tuple(level.shape[1:]) for name, level in model.get_layer("encoder").output.items()}
    assert shapes == {
        "P1": (32, 32, 16),
        "P2": (16, 16, 24),
        "P3": (8, 8, 40),
        "P4": (4, 4, 112),
        "P5": (2, 2, 320),
        "top": (2, 2, 1280),
    }


def test_levels_of_version_two_are_the_last_blocks_of_each_size():
    channels = {name: level.shape[-1] for name, level in build_encoder("EfficientNetV2B0", 64, 3).output.items()}
    assert channels == {"P1": 16, "P2": 32, "P3": 48, "P4": 112, "P5": 192, "top": 1280}


def test_the_decoder_has_the_widths_of_the_configuration():
    levels = {f"P{n}": keras.Input((64 >> n, 64 >> n, 8)) for n in range(1, 6)}
    decoder = build_decoder(SimpleNamespace(output=levels), (12, 10, 8, 6))
    assert [layer.filters for layer in decoder.layers if isinstance(layer, keras.layers.Conv2D)] == [12, 10, 8, 6]
    assert decoder.output.shape == (None, 64, 64, 6)


def test_outputs_are_a_dict_within_their_ranges(model, images):
    outputs = outputs_of(model, images)
    assert {name: output.shape for name, output in outputs.items()} == {
        "votes": (3, 34),
        "spiral_mask": (3, 64, 64, 1),
        "bar_mask": (3, 64, 64, 1),
    }
    assert (outputs["votes"] >= 1).all()
    assert (outputs["votes"] <= 101).all()
    assert (outputs["spiral_mask"] >= 0).all()
    assert (outputs["spiral_mask"] <= 1).all()


def test_only_a_colour_model_depends_on_colour(model, colour_votes, images):
    swapped = images[..., ::-1]
    votes, votes_swapped = (outputs_of(model, x)["votes"] for x in (images, swapped))
    np.testing.assert_allclose(votes, votes_swapped, rtol=1e-4)
    # An untrained head would hide differences between features.
    features = keras.Model(colour_votes.input, colour_votes.get_layer("features").output)
    seen, seen_swapped = (np.asarray(features(x, training=False)) for x in (images, swapped))
    assert np.abs(seen - seen_swapped).max() > 0.1 * np.abs(seen).max()


def test_tasks_choose_the_outputs(colour_votes, one_mask):
    assert set(one_mask.output) == {"spiral_mask"}
    assert not {"features", "vote_head"} & {layer.name for layer in one_mask.layers}
    assert set(colour_votes.output) == {"votes"}
    assert "decoder" not in [layer.name for layer in colour_votes.layers]


def test_beta_binomial_head_gives_two_concentrations(one_mask, images):
    masks = outputs_of(one_mask, images)
    assert masks["spiral_mask"].shape == (3, 64, 64, 2)
    assert masks["spiral_mask"].min() >= 1


def test_vote_head_alone_gives_the_votes_of_the_model_and_samples_dropout(model, images):
    head = model.get_layer("vote_head")
    features = keras.Model(model.input, model.get_layer("features").output)(images, training=False)
    np.testing.assert_allclose(head(features, training=False), model(images, training=False)["votes"], rtol=1e-5)
    features = np.ones((1, 1280), np.float32)
    assert not np.allclose(head(features, training=True), head(features, training=True))


def test_model_file_opens_in_plain_keras_with_the_same_numbers(model, images, tmp_path):
    model.save(tmp_path / "model.keras")
    model.save_weights(tmp_path / "model.weights.h5")
    np.save(tmp_path / "images.npy", images)
    code = (
        "import sys; sys.modules['zoobot3d_tf'] = None\n"  # an import raises an error, as if it were not installed
        "import keras, numpy as np\n"
        "model = keras.saving.load_model('model.keras')\n"
        "np.savez('outputs.npz', **model(np.load('images.npy'), training=False))"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True)
    elsewhere = np.load(tmp_path / "outputs.npz")
    rebuilt = build_model(small())
    rebuilt.load_weights(tmp_path / "model.weights.h5")
    expected = outputs_of(model, images)
    for outputs in (elsewhere, outputs_of(rebuilt, images)):
        for name in expected:
            np.testing.assert_allclose(outputs[name], expected[name], rtol=1e-5)


def gradients(model: keras.Model, images: np.ndarray, weights: dict[str, float]) -> dict[str, float]:
    """Largest gradient in each part of the model, for a batch with these weights of the tasks."""
    model.compile(loss={"votes": votes_loss(DECALS), "spiral_mask": MASK_LOSSES["l1"], "bar_mask": MASK_LOSSES["l1"]})
    rng = np.random.default_rng(1)
    targets = {"votes": rng.integers(0, 9, (3, 34)).astype(np.float32)}
    targets |= {name: rng.uniform(size=(3, 64, 64, 1)).astype(np.float32) for name in ("spiral_mask", "bar_mask")}
    with tf.GradientTape() as tape:
        outputs = model(images, training=True)
        loss = model.compute_loss(
            images, targets, outputs, {name: tf.fill((3,), weights[name]) for name in VOLUNTEER_TASKS}
        )
    assert np.isfinite(loss)
    found = tape.gradient(loss, model.trainable_variables, unconnected_gradients="zero")
    largest: dict[str, float] = {}
    for variable, gradient in zip(model.trainable_variables, found, strict=True):
        part = variable.path.split("/")[0]
        largest[part] = max(largest.get(part, 0.0), float(tf.reduce_max(tf.abs(gradient))))
    return largest


def test_a_batch_without_masks_has_no_gradient_in_decoder_and_mask_heads(model, images):
    largest = gradients(model, images, {"votes": 1.0, "spiral_mask": 0.0, "bar_mask": 0.0})
    still = {part for part in largest if part not in ("vote_head", "sigmoid") and largest[part] == 0}
    assert largest[vote_part(largest)] > 0
    assert {"spiral_mask", "bar_mask"} <= still
    assert all(largest[part] == 0 for part in largest if part.startswith("P"))


def test_a_batch_without_votes_has_no_gradient_in_the_vote_head(model, images):
    largest = gradients(model, images, {"votes": 0.0, "spiral_mask": 1.0, "bar_mask": 1.0})
    assert largest[vote_part(largest)] == 0
    assert largest["spiral_mask"] > 0
    assert largest["bar_mask"] > 0


def vote_part(largest: dict[str, float]) -> str:
    return next(part for part in largest if part in ("vote_head", "sigmoid"))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"image_size": 100}, r"image_size .* 32 .*100.* 96"),
        ({"encoder": "ResNet50"}, "^encoder .*EfficientNetB0.*'ResNet50'"),
        ({"tasks": ("rings",)}, "^tasks .*votes.*label; received rings$"),
        ({"tasks": ()}, "^tasks .*received none$"),
        ({"tasks": ("votes", "rings")}, "^tasks .*received votes, rings$"),
        ({"dropout": 1.0}, r"^dropout .* 1\.0$"),
        ({"mask_head": "softmax"}, "^mask_head .*fraction, beta-binomial.*'softmax'"),
    ],
)
def test_impossible_configurations_are_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        ModelConfig(**{"schema": DECALS, **settings})
