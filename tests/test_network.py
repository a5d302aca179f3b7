"""The network of predictions: the model's own words, whichever engine speaks them, and samples of its dropout."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from prediction_runs import FINAL, INITIAL, draw_galaxies

from zoobot3d_tf.data.framing import central_affine, warp
from zoobot3d_tf.images.read import read_image, resize_image
from zoobot3d_tf.runs.run_folder import TrainedRun

# Largest differences from TensorFlow in float32: of concentrations, as a share, and of masks.
VOTES, MASKS = 1e-3, 1e-3
# This network, never trained, magnifies the rounding of bfloat16 far more than a trained one, of which
# docs/predictions.md has the figures.
MEAN_OF_VOTES, CORRELATION_OF_MASKS = 0.01, 0.8


@pytest.fixture(scope="module")
def framed(small_model, tmp_path_factory):
    """Three images as the network sees them."""
    folder = draw_galaxies(tmp_path_factory.mktemp("images"), 3)
    stored = (resize_image(read_image(path), INITIAL) for path in sorted(folder.iterdir()))
    return np.stack([warp(image, central_affine(small_model.run.framing), FINAL) for image in stored])


def network_of(model, engine="tf", precision="f32", masks=None, n_samples=1, batch_size=3):
    from zoobot3d_tf.predictions.network import Network

    masks = model.run.model.masks if masks is None else masks
    return Network(model.run, masks, n_samples, batch_size, seed=0, engine=engine, precision=precision)


@pytest.mark.parametrize(("engine", "precision"), [("tf", "f32"), ("openvino", "f32"), ("openvino", "bf16")])
def test_every_engine_says_what_the_model_says(small_model, framed, engine, precision):
    pytest.importorskip("openvino", reason="the extra [fast] is not installed") if engine == "openvino" else None
    outputs = network_of(small_model, engine, precision)(framed, ["a", "b", "c"])
    expected = small_model(framed.astype(np.float32), training=False)
    of_votes = np.abs(outputs["votes"][..., 0] / np.asarray(expected["votes"]) - 1)
    assert of_votes.max() < VOTES if precision == "f32" else of_votes.mean() < MEAN_OF_VOTES
    for name in ("spiral_mask", "bar_mask"):
        mask, of_model = outputs[name], np.asarray(expected[name])[..., 0]
        assert of_model.std() > 0.015
        if precision == "f32":
            np.testing.assert_allclose(mask, of_model, atol=MASKS)
        else:
            assert np.corrcoef(mask.ravel(), of_model.ravel())[0, 1] > CORRELATION_OF_MASKS


def test_samples_agree_between_engines_and_without_masks(small_model, framed):
    pytest.importorskip("openvino", reason="the extra [fast] is not installed")
    of_tf, of_openvino = (
        network_of(small_model, engine, masks=(), n_samples=5)(framed, ["a", "b", "c"]) for engine in ("tf", "openvino")
    )
    assert list(of_tf) == list(of_openvino) == ["votes"]
    assert of_tf["votes"].shape == (3, 34, 5)
    np.testing.assert_allclose(of_openvino["votes"], of_tf["votes"], rtol=1e-3)


def test_samples_are_those_of_whole_passes_and_of_the_galaxy_alone(small_model, monkeypatch):
    import keras

    monkeypatch.setattr(TrainedRun, "load_model", lambda run: small_model)
    noise = np.random.default_rng(0).integers(0, 256, (2, FINAL, FINAL, 3), dtype=np.uint8)
    network = network_of(small_model, masks=(), n_samples=1000, batch_size=2)
    votes = network(noise, ["a", "b"])["votes"]

    # The model as a whole with its dropout on, but batch normalisation as in prediction.
    features = keras.Model(small_model.input, small_model.get_layer("features").output)
    passes = features(np.repeat(noise[:1].astype(np.float32), 1000, axis=0), training=False)
    keras.utils.set_random_seed(0)
    whole = np.asarray(small_model.get_layer("vote_head")(passes, training=True)).T
    spread = whole.std(axis=1)
    assert np.median(spread) > 1
    assert (np.abs(votes[0].mean(axis=1) - whole.mean(axis=1)) < 5 * np.sqrt(2 / 1000) * spread).all()
    np.testing.assert_allclose(votes[0].std(axis=1), spread, rtol=0.2)

    np.testing.assert_allclose(network(noise[::-1], ["b", "a"])["votes"][1], votes[0], rtol=1e-3)
    assert not np.allclose(network(noise, ["c", "b"])["votes"][0], votes[0])


def test_threads_share_a_network_and_get_their_own_galaxies(small_model, framed):
    pytest.importorskip("openvino", reason="the extra [fast] is not installed")
    network = network_of(small_model, "openvino", n_samples=2)
    turned = [np.roll(framed, k, axis=0) for k in range(3)]
    ids = ["a", "b", "c"]
    alone = [network(images, ids)["votes"] for images in turned]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda k: network(turned[k % 3], ids)["votes"], range(60)))
    for k, votes in enumerate(together):
        np.testing.assert_array_equal(votes, alone[k % 3])


def test_auto_takes_openvino_where_it_is_installed_and_tensorflow_where_not(monkeypatch):
    from zoobot3d_tf.predictions import network

    monkeypatch.setattr(network, "find_spec", lambda name: None)
    assert network.choose_engine("auto") == ("tf", "f32")
    with pytest.raises(ImportError, match=r"OpenVINO is not installed: pip install 'zoobot3d_tf\[fast\]'"):
        network.choose_engine("openvino")
    monkeypatch.undo()
    pytest.importorskip("openvino", reason="the extra [fast] is not installed")
    engine, precision = network.choose_engine("auto")
    assert engine == "openvino"
    assert precision in ("f32", "bf16")
    monkeypatch.setattr(network, "has_gpu", lambda: True)
    assert network.choose_engine("auto") == ("tf", "f32")
