"""The network of predictions: every engine gives the outputs of the model, and dropout samples are reproducible."""

from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
import pytest
from prediction_runs import FINAL, INITIAL, draw_galaxies

from zoobot3d_tf.data.framing import central_affine, warp
from zoobot3d_tf.images.read import read_image, resize_image
from zoobot3d_tf.runs.run_folder import TrainedRun

# Largest differences from TensorFlow in float32: relative for concentrations, absolute for masks.
VOTES, MASKS = 1e-3, 1e-3
# An untrained network magnifies the rounding of bfloat16 far more than a trained one. docs/predictions.md has figures
# of a trained one.
MEAN_OF_VOTES, CORRELATION_OF_MASKS = 0.01, 0.8


@pytest.fixture(scope="module")
def framed(small_model, tmp_path_factory):
    """Three images as the network sees them."""
    folder = draw_galaxies(tmp_path_factory.mktemp("images"), 3)
    stored = (resize_image(read_image(path), INITIAL) for path in sorted(folder.iterdir()))
    return np.stack([warp(image, central_affine(small_model.run.framing), FINAL) for image in stored])


@pytest.fixture(scope="module")
def network_of(small_model):
    """Function that makes a network of the small model. Equal networks are made once, equal graphs traced once."""
    from zoobot3d_tf.models import traced
    from zoobot3d_tf.predictions.network import Network

    trace = cache(traced.trace_predictions)

    @cache
    def make(engine="tf", precision="f32", masks=(), n_samples=5, batch_size=3):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(traced, "trace_predictions", trace)
            if not (masks and engine == "tf"):  # this network reads the weights from the run folder
                patch.setattr(TrainedRun, "load_model", lambda run: small_model)
            settings = (small_model.run, masks, n_samples, batch_size)
            return Network(*settings, seed=0, engine=engine, precision=precision)

    return make


@pytest.mark.parametrize(("engine", "precision"), [("tf", "f32"), ("openvino", "f32"), ("openvino", "bf16")])
def test_every_engine_gives_the_outputs_of_the_model(small_model, network_of, framed, engine, precision):
    pytest.importorskip("openvino", reason="the extra [fast] is not installed") if engine == "openvino" else None
    network = network_of(engine, precision, small_model.run.model.masks, n_samples=1)
    outputs = network(framed, ["a", "b", "c"])
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


def test_samples_agree_between_engines(network_of, framed):
    pytest.importorskip("openvino", reason="the extra [fast] is not installed")
    of_tf, of_openvino = (network_of(engine)(framed, ["a", "b", "c"]) for engine in ("tf", "openvino"))
    assert list(of_tf) == list(of_openvino) == ["votes"]
    assert of_tf["votes"].shape == (3, 34, 5)
    np.testing.assert_allclose(of_openvino["votes"], of_tf["votes"], rtol=1e-3)


def test_samples_are_those_of_whole_passes_and_depend_on_the_galaxy_only(small_model, network_of):
    import keras

    noise = np.random.default_rng(0).integers(0, 256, (2, FINAL, FINAL, 3), dtype=np.uint8)
    network = network_of(n_samples=1000, batch_size=2)
    votes = network(noise, ["a", "b"])["votes"]

    # The whole model with dropout on, but batch normalisation as in predictions.
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


def test_threads_share_a_network_and_get_their_own_galaxies(network_of, framed):
    pytest.importorskip("openvino", reason="the extra [fast] is not installed")
    network = network_of("openvino")
    turned = [np.roll(framed, k, axis=0) for k in range(3)]
    ids = ["a", "b", "c"]
    expected = [network(images, ids)["votes"] for images in turned]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda k: network(turned[k % 3], ids)["votes"], range(60)))
    for k, votes in enumerate(together):
        np.testing.assert_array_equal(votes, expected[k % 3])
