"""Models with the framing in front: they see what the commands see, and give masks on the grid of the image."""

import json
from zipfile import ZipFile

import numpy as np
import pytest
from PIL import Image
from prediction_runs import make_run
from test_export import FORMATS, run_keras, run_litert, run_openvino, run_saved_model, small_network

from zoobot3d_tf.data.framing import Framing, warp_to_image
from zoobot3d_tf.inference.source_images import frame_images
from zoobot3d_tf.runs.export import export_model
from zoobot3d_tf.runs.framed_model import build_framed_model
from zoobot3d_tf.runs.run_folder import TrainedRun, read_run

SIZES = (64, 48, 32)  # of the stored image, the crop and the input of the network
LARGEST = 0.0003
"""Largest difference of vote fractions of real galaxies from those of the command without dropout."""


def picture(height, width):
    """Smooth noise, as galaxies are smooth."""
    pixels = np.random.default_rng(height).integers(0, 256, (height // 4, width // 4, 3), np.uint8)
    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC))


def red_network(size):
    """A network whose mask is its input's red band; `pixels` are its whole input."""
    import keras

    image = keras.Input((size, size, 3), name="image")
    return keras.Model(image, {"pixels": image * 1.0, "bar_mask": image[..., :1] / 255.0})


@pytest.mark.parametrize("sizes", [SIZES, (64, 64, 64), (65, 48, 32), (80, 60, 20)], ids=str)
@pytest.mark.parametrize("shape", [(64, 64), (101, 150), (40, 33), (24, 20)], ids=str)
def test_the_network_sees_the_pixels_of_the_command(sizes, shape):
    framing = Framing(*sizes)
    image = picture(*shape)
    outputs = build_framed_model(red_network(sizes[2]), framing, ("bar_mask",))(image[None].astype(np.float32))
    pixels = np.asarray(outputs["pixels"])[0]
    assert np.abs(pixels - frame_images([image], framing, 1)[0].astype(int)).max() <= 1  # level, both are rounded
    masks = warp_to_image(pixels[..., 0] / 255, framing, shape)
    received = np.asarray(outputs["bar_mask"])[0, ..., 0]
    assert received.shape == shape
    # At the edge, masks that shrink are the mean of an area here, and of some points there.
    np.testing.assert_allclose(received, masks, atol=0.08)
    assert np.abs(received - masks).mean() < 0.02


READERS = {"keras": run_keras, "saved_model": run_saved_model, "openvino": run_openvino, "litert": run_litert}


@pytest.mark.parametrize(
    "format", ["keras", *(pytest.param(name, marks=pytest.mark.slow) for name in READERS if name != "keras")]
)
def test_exported_models_take_images_of_any_size(monkeypatch, tmp_path, format):
    run = read_run(make_run(tmp_path / "run", sizes=SIZES))
    network = small_network(run.model)
    monkeypatch.setattr(TrainedRun, "load_model", lambda run: network)
    path = export_model(run.folder, tmp_path / f"model{FORMATS[format]}", format, framing=True)
    for shape in ((70, 91), (50, 40)):
        image = picture(*shape)
        outputs = READERS[format](path, image[None].astype(np.float32))
        framed = network(frame_images([image], run.framing, 1).astype(np.float32), training=False)
        np.testing.assert_allclose(outputs["votes"], framed["votes"], rtol=0.05)
        mask = warp_to_image(np.asarray(framed["bar_mask"])[0, ..., 0], run.framing, shape)
        np.testing.assert_allclose(np.asarray(outputs["bar_mask"])[0, ..., 0], mask, atol=0.03)

    description = json.loads((tmp_path / f"{path.name}.json").read_text())
    assert description["input"]["shape"] == ["galaxies", "H", "W", 3]
    assert description["outputs"]["bar_mask"]["shape"] == ["galaxies", "H", "W", 1]
    assert "any height" in description["framing"]["how"]
    if format == "keras":
        with ZipFile(path) as archive:
            assert json.loads(archive.read("description.json")) == description


@pytest.mark.slow
def test_vote_fractions_of_real_galaxies_are_those_of_the_command(reference, tmp_path):
    from zoobot3d_tf import load_run

    run = load_run("shipped")
    files = sorted((reference / "data" / "decals" / "png").iterdir())[:20]
    images = np.stack([np.asarray(Image.open(file).convert("RGB")) for file in files])
    expected = run.predict(images, n_samples=1, engine="tf", no_calibration=True)
    outputs = run_keras(
        export_model("shipped", tmp_path / "model.keras", "keras", framing=True), images.astype(np.float32)
    )
    votes = np.asarray(outputs["votes"])
    fractions = votes / run.model.schema.repeat_by_question(run.model.schema.sum_by_question(votes))
    names = [f"{answer}_fraction" for answer in run.model.schema.label_cols]
    table = np.stack([expected.table[name] for name in names], axis=1)
    assert np.abs(fractions - table).max() < LARGEST
    for name, masks in expected.masks.items():
        assert np.abs(np.asarray(outputs[name])[..., 0] - masks).max() < 0.005
