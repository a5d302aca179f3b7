"""Pretraining: the loss, the views, the files for timm, continuation, and errors."""

import json
from pathlib import Path

import cv2
import keras
import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file, save_file

from zoobot3d_tf.cli import main
from zoobot3d_tf.data.framing import Framing, central_affine, random_affine, warp
from zoobot3d_tf.files import one_owner
from zoobot3d_tf.models import build, weights
from zoobot3d_tf.models.timm_encoder import build_timm_encoder
from zoobot3d_tf.models.weights import load_timm_encoder
from zoobot3d_tf.pretraining import views
from zoobot3d_tf.pretraining.pretrain import pretrain
from zoobot3d_tf.pretraining.train import write_timm_tensors
from zoobot3d_tf.pretraining.vicreg import rank, spread, vicreg_loss
from zoobot3d_tf.pretraining.views import random_view, view_pairs
from zoobot3d_tf.training.progress import EpochLines

N_IMAGES = 12
FRAMING = Framing(48, 36, 32)
QUICK = {"resize_size": 32, "epochs": 2, "batch_size": 4, "learning_rate": 0.01}


def tiny_timm_encoder(name: str, channels: int, image_size: int | None = None) -> keras.Model:
    """Three layers of the names of timm, in place of a network whose first step takes half a minute."""
    image = keras.Input((image_size, image_size, channels))
    x = keras.layers.Conv2D(8, 3, 4, "same", use_bias=False, name="conv_stem")(image)
    x = keras.layers.BatchNormalization(momentum=0.9, name="bn1")(x)
    x = keras.layers.DepthwiseConv2D(3, use_bias=False, name="blocks.0.0.conv_dw")(x)
    top = keras.layers.Conv2D(16, 1, activation="relu", name="conv_head")(x)
    return keras.Model(image, {"top": top}, name="encoder")


@pytest.fixture
def tiny(monkeypatch):
    for module in (build, weights):
        monkeypatch.setattr(module, "build_timm_encoder", tiny_timm_encoder)


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    """Coloured discs of 48 px."""
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:48, :48] - 23.5
    for i in range(N_IMAGES):
        disc = np.exp(-np.hypot(x * rng.uniform(0.5, 2), y) / rng.uniform(3, 9))[..., None]
        image = 200 * disc * rng.uniform(0.3, 1, 3) + rng.normal(20, 3, (48, 48, 3))
        cv2.imwrite(str(folder / f"{i:02}.png"), np.clip(image, 0, 255).astype(np.uint8))
    return folder


def embeddings(*views_of_galaxies) -> np.ndarray:
    return np.array(views_of_galaxies, np.float32).transpose(1, 0, 2)


POINTS = [[1, 0], [-1, 0]]  # the second number is the same for all galaxies
LINE = [[1, 1], [-1, -1]]  # both numbers say the same
CROSS = [[2, 0], [-2, 0], [0, 2], [0, -2]]


@pytest.mark.parametrize(
    ("first", "second", "loss"),
    [
        (CROSS, CROSS, 0.0),
        (CROSS, np.add(CROSS, [1, 0]), 25 / 2),  # the mean square difference of two numbers, one of which differs by 1
        (POINTS, POINTS, 25 * 0.99 / 2),  # one of two standard deviations is 0.01, the root of epsilon
        (LINE, LINE, 2 * 2**2 * 2 / 2),  # for each of two views, two covariances of 2; divided by two numbers
    ],
)
def test_loss_of_vicreg_has_the_value_calculated_by_hand(first, second, loss):
    assert float(vicreg_loss(None, embeddings(first, second))) == pytest.approx(loss, abs=1e-4)


@pytest.mark.parametrize(
    ("points", "std", "directions"),
    [(CROSS, np.sqrt(8 / 3), 2), (LINE, np.sqrt(2), 1), (POINTS, np.sqrt(2) / 2, 1), ([[3, 3], [3, 3]], 0, 0)],
)
def test_spread_and_rank_show_a_collapse(points, std, directions):
    z = embeddings(points, points)
    assert float(spread(None, z)) == pytest.approx(std, abs=1e-4)
    assert float(rank(None, z)) == pytest.approx(directions, abs=1e-4)


def test_a_view_that_changes_nothing_else_is_that_of_training(monkeypatch):
    for name, neutral in (("ZOOM", 1.0), ("BRIGHTNESS", 1.0), ("NOISE", 0.0), ("BLURRED", 0.0), ("GREY", 0.0)):
        monkeypatch.setattr(views, name, neutral)
    image = np.random.default_rng(1).integers(0, 256, (48, 48, 3), np.uint8)
    expected = warp(image, random_affine(FRAMING, np.random.default_rng(2)), 32)
    np.testing.assert_array_equal(random_view(image, FRAMING, np.random.default_rng(2)), expected)


def test_a_zoomed_view_magnifies_about_the_centre_and_is_brighter(monkeypatch):
    class Highest:
        """Random numbers at their highest."""

        def uniform(self, low=0.0, high=1.0):
            return high

        def standard_normal(self, shape, dtype):
            return np.zeros(shape, dtype)

    monkeypatch.setattr(views, "random_affine", lambda framing, rng: central_affine(framing))
    monkeypatch.setattr(views, "ZOOM", 2.0)
    monkeypatch.setattr(views, "BRIGHTNESS", 1.5)
    image = np.zeros((48, 48, 3), np.uint8)
    image[20:28, 20:28] = 100
    view = random_view(image, Framing(48, 32, 32), Highest())
    assert view.max() == 150
    np.testing.assert_array_equal(np.flatnonzero(view[16, :, 0] > 75), np.arange(8, 24))


def test_each_galaxy_is_seen_once_per_epoch_in_two_views_and_another_order(monkeypatch):
    monkeypatch.setattr(views, "random_view", lambda image, framing, rng: image)
    stored = np.arange(9, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8)
    numbers = [view_pairs(stored, FRAMING, 4, seed=5, step=step)[..., 0, 0, 0] for step in range(4)]
    assert all((pairs[:, 0] == pairs[:, 1]).all() for pairs in numbers)
    epochs = [np.concatenate(numbers[:2])[:, 0].tolist(), np.concatenate(numbers[2:])[:, 0].tolist()]
    assert all(len(set(epoch)) == 8 for epoch in epochs)  # two batches of four; the ninth waits
    assert epochs[0] != epochs[1]


def test_views_depend_on_seed_and_step_only():
    stored = np.random.default_rng(0).integers(0, 256, (8, 48, 48, 3), np.uint8)
    first = view_pairs(stored, FRAMING, 4, seed=1, step=3)
    np.testing.assert_array_equal(first, view_pairs(stored, FRAMING, 4, seed=1, step=3))
    assert (first[:, 0] != first[:, 1]).any()
    assert (first != view_pairs(stored, FRAMING, 4, seed=2, step=3)).any()


@pytest.mark.parametrize(("name", "channels"), [("tf_efficientnet_b0", 1), ("tf_efficientnet_lite0", 3)])
def test_tensors_written_for_timm_are_read_again(tmp_path, name, channels):
    encoder = build_timm_encoder(name, channels)
    write_timm_tensors(encoder, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"architecture": name}))
    assert load_file(tmp_path / "model.safetensors")["conv_stem.weight"].shape == (32, channels, 3, 3)
    for read, written in zip(load_timm_encoder(tmp_path, channels).weights, encoder.weights, strict=True):
        np.testing.assert_array_equal(read, written)


def test_tensors_of_timm_are_written_unchanged(reference, tmp_path):
    source = reference / "reference" / "golden" / "timm" / "efficientnet_b0"
    write_timm_tensors(load_timm_encoder(source), tmp_path / "model.safetensors")
    stored, written = load_file(source / "model.safetensors"), load_file(tmp_path / "model.safetensors")
    assert set(stored) - set(written) <= {name for name in stored if name.endswith("num_batches_tracked")}
    for name, tensor in written.items():
        np.testing.assert_array_equal(tensor, stored[name])


def test_pretraining_leaves_an_encoder_of_one_band_and_lists_bad_images(tiny, images, tmp_path, caplog):
    more = tmp_path / "more"
    more.mkdir()
    (more / "bad.png").write_bytes(b"no image")
    out = pretrain([images, more], tmp_path / "out", **QUICK)
    failed = pd.read_csv(out / "failed.csv")
    assert failed["id_str"].tolist() == ["bad"]
    assert pd.read_csv(out / "history.csv")[["loss", "spread", "rank"]].shape == (2, 3)
    config = json.loads((out / "config.json").read_text())
    assert config["model_args"]["in_chans"] == config["pretrained_cfg"]["input_size"][0] == 1
    assert load_timm_encoder(out, channels=1).get_layer("conv_stem").kernel.shape == (3, 3, 1, 8)
    assert not list(out.glob("images-*"))
    before = (out / "model.safetensors").stat().st_mtime_ns
    caplog.set_level("INFO")
    pretrain([images, more], tmp_path / "out", **QUICK)
    assert "is finished" in caplog.text
    assert (out / "model.safetensors").stat().st_mtime_ns == before


def test_an_interrupted_pretraining_continues_as_if_it_had_not_been(tiny, images, tmp_path, monkeypatch):
    def interrupt(self, epoch, logs=None):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(EpochLines, "on_epoch_end", interrupt)
        with pytest.raises(KeyboardInterrupt):
            pretrain([images], tmp_path / "killed", color=True, **QUICK)
    assert not (tmp_path / "killed" / "model.safetensors").exists()
    with pytest.raises(ValueError, match=r"learning_rate was 0\.01, now 0\.1"):
        pretrain([images], tmp_path / "killed", color=True, **QUICK | {"learning_rate": 0.1})
    killed, whole = (
        load_file(pretrain([images], tmp_path / name, color=True, **QUICK) / "model.safetensors")
        for name in ("killed", "whole")
    )
    assert len(pd.read_csv(tmp_path / "killed" / "history.csv")) == 2
    for name, tensor in whole.items():
        np.testing.assert_allclose(killed[name], tensor, rtol=1e-4, atol=1e-5)


def test_pretraining_starts_from_weights_that_an_earlier_one_wrote(tiny, images, tmp_path):
    first = pretrain([images], tmp_path / "first", color=True, **QUICK)
    still = QUICK | {"epochs": 1, "learning_rate": 1e-12}
    second = pretrain([images], tmp_path / "second", encoder_weights=str(first), color=True, **still)
    tensors = [load_file(folder / "model.safetensors")["conv_stem.weight"] for folder in (first, second)]
    np.testing.assert_allclose(*tensors, atol=1e-6)


def test_a_loss_that_is_not_finite_stops_the_pretraining(tiny, images, tmp_path):
    with pytest.raises(FloatingPointError, match="epoch 1"):
        pretrain([images], tmp_path / "out", **QUICK | {"learning_rate": 1e30})


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"encoder": "EfficientNetB0"}, "encoder must be one of timm: .*received 'EfficientNetB0'"),
        ({"batch_size": 13}, "batch_size must be at most the number of images, 12; is 13"),
        ({"batch_size": 1}, "batch_size must be at least 2; received 1"),
        ({"resize_size": 50}, "image_size must be a multiple of 32"),
        ({"max_failed": 2.0}, "max_failed must be a fraction"),
        ({"learning_rate": 0.0}, "learning_rate must be a positive number"),
    ],
)
def test_bad_arguments_are_named(images, tmp_path, options, words):
    with pytest.raises(ValueError, match=words):
        pretrain([images], tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_a_folder_with_other_weights_or_another_owner_is_refused(images, tmp_path):
    save_file({"x": np.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=r"already holds model\.safetensors"):
        pretrain([images], tmp_path, **QUICK)
    with one_owner(tmp_path), pytest.raises(BlockingIOError, match=str(tmp_path)):
        pretrain([images], tmp_path, **QUICK)


def test_a_missing_folder_is_named_at_the_command_line(tmp_path, capsys):
    assert main(["pretrain", str(tmp_path / "none"), "--save-dir", str(tmp_path / "out")]) == 2
    assert f"{tmp_path / 'none'}: no such folder" in capsys.readouterr().err
