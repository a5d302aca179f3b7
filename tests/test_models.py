"""The model: its shapes, its file, and how dropout is sampled."""

import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from zoobot3d_tf.models import ModelConfig, build_model
from zoobot3d_tf.models.config import VOLUNTEER_TASKS
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
def images() -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 255, (3, 64, 64, 3)).astype(np.float32)


def test_levels_of_the_encoder():
    shapes = {name: tuple(level.shape[1:]) for name, level in build_encoder("EfficientNetB0", 224, 1).output.items()}
    assert shapes == {
        "P1": (112, 112, 16),
        "P2": (56, 56, 24),
        "P3": (28, 28, 40),
        "P4": (14, 14, 112),
        "P5": (7, 7, 320),
        "top": (7, 7, 1280),
    }


def test_levels_of_version_two_are_read_after_the_last_block_of_each_size():
    channels = {name: level.shape[-1] for name, level in build_encoder("EfficientNetV2B0", 64, 3).output.items()}
    assert channels == {"P1": 16, "P2": 32, "P3": 48, "P4": 112, "P5": 192, "top": 1280}


def test_outputs_are_a_dict_within_their_ranges(model, images):
    outputs = model.predict(images, verbose=0)
    assert {name: output.shape for name, output in outputs.items()} == {
        "votes": (3, 34),
        "spiral_mask": (3, 64, 64, 1),
        "bar_mask": (3, 64, 64, 1),
    }
    assert (outputs["votes"] >= 1).all()
    assert (outputs["votes"] <= 101).all()
    assert (outputs["spiral_mask"] >= 0).all()
    assert (outputs["spiral_mask"] <= 1).all()


def test_greyscale_model_does_not_see_colour_and_colour_model_does(model, images):
    swapped = images[..., ::-1]
    np.testing.assert_allclose(
        model.predict(images, verbose=0)["votes"], model.predict(swapped, verbose=0)["votes"], rtol=1e-4
    )
    coloured = build_model(small(color=True, tasks=("votes",)))
    features = keras.Model(coloured.input, coloured.get_layer("features").output)  # an untrained head would hide them
    seen, seen_swapped = (features.predict(x, verbose=0) for x in (images, swapped))
    assert np.abs(seen - seen_swapped).max() > 0.1 * np.abs(seen).max()


def test_tasks_choose_the_outputs():
    assert set(build_model(small(tasks=("bar_mask",))).output) == {"bar_mask"}
    votes_only = build_model(small(tasks=("votes",)))
    assert set(votes_only.output) == {"votes"}
    assert "decoder" not in [layer.name for layer in votes_only.layers]


def test_beta_binomial_head_gives_two_concentrations(images):
    masks = build_model(small(tasks=("spiral_mask",), mask_head="beta-binomial")).predict(images, verbose=0)
    assert masks["spiral_mask"].shape == (3, 64, 64, 2)
    assert masks["spiral_mask"].min() >= 1


def test_vote_head_alone_gives_the_model_s_votes_and_samples_dropout(model, images):
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
        "import sys; sys.modules['zoobot3d_tf'] = None\n"  # importing it would fail, as where it is not installed
        "import keras, numpy as np\n"
        "model = keras.saving.load_model('model.keras')\n"
        "np.savez('outputs.npz', **model.predict(np.load('images.npy'), verbose=0))"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True)
    elsewhere = np.load(tmp_path / "outputs.npz")
    rebuilt = build_model(small())
    rebuilt.load_weights(tmp_path / "model.weights.h5")
    for outputs in (elsewhere, rebuilt.predict(images, verbose=0)):
        for name, expected in model.predict(images, verbose=0).items():
            np.testing.assert_allclose(outputs[name], expected, rtol=1e-5)


def gradients(model: keras.Model, images: np.ndarray, weights: dict[str, float]) -> dict[str, float]:
    """Largest gradient in each part of the model for a batch whose tasks weigh so much."""
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


def test_a_batch_without_masks_moves_neither_decoder_nor_mask_heads(model, images):
    largest = gradients(model, images, {"votes": 1.0, "spiral_mask": 0.0, "bar_mask": 0.0})
    still = {part for part in largest if part not in ("vote_head", "sigmoid") and largest[part] == 0}
    assert largest[vote_part(largest)] > 0
    assert {"spiral_mask", "bar_mask"} <= still
    assert all(largest[part] == 0 for part in largest if part.startswith("P"))


def test_a_batch_without_votes_does_not_move_the_vote_head(model, images):
    largest = gradients(model, images, {"votes": 0.0, "spiral_mask": 1.0, "bar_mask": 1.0})
    assert largest[vote_part(largest)] == 0
    assert largest["spiral_mask"] > 0
    assert largest["bar_mask"] > 0


def vote_part(largest: dict[str, float]) -> str:
    return next(part for part in largest if part in ("vote_head", "sigmoid"))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"image_size": 100}, "multiple of 32 pixels; received 100, try 96"),
        ({"encoder": "ResNet50"}, "unknown encoder 'ResNet50'"),
        ({"tasks": ("rings",)}, "tasks must be one or more of"),
        ({"tasks": ("votes", "rings")}, "tasks must be one or more of"),
        ({"dropout": 1.0}, r"dropout must be in \[0, 1\)"),
        ({"mask_head": "softmax"}, "mask head must be one of"),
    ],
)
def test_impossible_configurations_are_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        ModelConfig(**{"schema": DECALS, **settings})
