"""Predictions in memory: equal to those of files, in every form of input, and short when printed."""

from pathlib import Path

import astropy.units as u
import numpy as np
import pandas as pd
import pytest
from astropy.table import Table
from PIL import Image
from prediction_runs import DECALS, RedNetwork, make_run

import zoobot3d_tf
from zoobot3d_tf.predictions import loaded_run, predict_part
from zoobot3d_tf.predictions.loaded_run import load_run
from zoobot3d_tf.predictions.mask_files import read_mask_file
from zoobot3d_tf.predictions.predict_on_images import predict
from zoobot3d_tf.predictions.prediction_tables import load_predictions
from zoobot3d_tf.runs.run_folder import TrainedRun

N = 6


class CountedNetwork(RedNetwork):
    """`RedNetwork`, which counts how often it is built."""

    built = 0

    def __init__(self, *arguments):
        CountedNetwork.built += 1
        super().__init__(*arguments)


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setattr(loaded_run, "Network", CountedNetwork)
    monkeypatch.setattr(predict_part, "Network", RedNetwork)
    CountedNetwork.built = 0
    return load_run(make_run(tmp_path / "run"))


@pytest.fixture
def images():
    """Images (N, H, W, 3) whose blue band is their column, so that a flip would show."""
    pixels = np.random.default_rng(0).integers(0, 256, (N, 60, 80, 3), np.uint8)
    pixels[..., 2] = np.arange(80)
    return pixels


def save(folder: Path, images, suffix=".png") -> Path:
    folder.mkdir()
    for number, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{number}{suffix}")
    return folder


def check_equal(predicted, expected):
    for name in expected.table.colnames:
        if name != "file_loc":
            np.testing.assert_array_equal(predicted.table[name], expected.table[name], err_msg=name)
    for name, masks in expected.masks.items():
        for received, mask in zip(predicted.masks[name], masks, strict=True):
            np.testing.assert_array_equal(received, mask)


def test_numbers_are_those_of_the_same_images_in_files(run, images, tmp_path):
    options = {"n_samples": 3, "samples": True, "masks_dir": tmp_path / "m"}
    table = predict(save(tmp_path / "images", images), run.folder, tmp_path / "t.parquet", **options)
    expected = load_predictions(table)
    predicted = run.predict(images, n_samples=3)
    assert list(predicted.table["id_str"]) == list("012345")
    missing = {"ra", "dec", "file_loc", "spiral_mask_loc", "bar_mask_loc"}
    assert missing == {name for name in expected.table if "_concentration_" not in name} - set(predicted.table.colnames)
    for name in predicted.table.colnames:
        values = predicted.table[name]
        np.testing.assert_array_equal(getattr(values, "value", values), expected.table[name], err_msg=name)
    np.testing.assert_array_equal(predicted.concentrations, expected.concentrations)
    for name in ("spiral_mask", "bar_mask"):
        assert predicted.masks[name].shape == (N, 60, 80)
        files = [read_mask_file(loc) for loc in expected.table[f"{name}_loc"]]
        np.testing.assert_array_equal(predicted.masks[name], files)


@pytest.mark.parametrize(
    "form", ["float", "int", "list", "pillow", "folder", "paths", "astropy", "pandas", "one array", "one path"]
)
def test_every_form_of_input_gives_the_same(run, images, tmp_path, form):
    folder = save(tmp_path / "images", images)
    paths = sorted(folder.iterdir())
    one = form.startswith("one")
    inputs = {
        "float": images + np.float32(0.25),
        "int": images.astype(np.int64),
        "list": list(images),
        "pillow": [Image.open(path) for path in paths],
        "folder": str(folder),
        "paths": paths,
        "astropy": Table({"ID_STR": np.arange(N), "file_loc": [str(path) for path in paths]}),
        "pandas": pd.DataFrame({"file_loc": paths}, index=range(10, 10 + N)),
        "one array": images[0],
        "one path": paths[0],
    }
    if form == "float":
        inputs["float"] = np.minimum(inputs["float"], 255)
    expected = run.predict(images[:1] if one else images, n_samples=2)
    check_equal(run.predict(inputs[form], n_samples=2), expected)


def test_table_with_positions_gives_sky_units(run, images, tmp_path):
    folder = save(tmp_path / "images", images[:2])
    table = Table({"id_str": ["a", "b"], "file_loc": [str(folder / "0.png"), str(folder / "1.png")]})
    table["ra"], table["dec"] = [10.0, 20.0] * u.deg, [-5.0, 60.0] * u.deg
    table["pixscale"] = [0.00437, 0.00437] * u.arcmin
    predicted = run.predict(table)
    assert predicted.table.colnames[:3] == ["id_str", "ra", "dec"]
    assert predicted.table["ra"].unit == u.deg
    np.testing.assert_allclose(predicted.table["pixscale"].to_value("arcsec/pix"), 0.2622, rtol=1e-5)
    areas = predicted.measurements["spiral_area_px"].value * 0.2622**2
    np.testing.assert_allclose(predicted.measurements["spiral_area_arcsec2"].to_value("arcsec2"), areas, rtol=1e-4)


def test_images_of_several_sizes_keep_their_grids(run, images):
    predicted = run.predict([images[0], images[1][:, :61], Image.fromarray(images[2][:33])])
    assert [mask.shape for mask in predicted.masks["bar_mask"]] == [(60, 80), (60, 61), (33, 80)]


def test_network_is_built_once_per_choice_of_options(run, images):
    for _ in range(2):
        run.predict(images[0])
    assert CountedNetwork.built == 1
    run.predict(images[0], n_samples=1)
    assert CountedNetwork.built == 2


def test_ids_name_the_galaxies(run, images, tmp_path):
    assert list(run.predict(images[:2], ids=["a", "b"]).table["id_str"]) == ["a", "b"]
    folder = save(tmp_path / "images", images[:2])
    assert list(run.predict(folder, ids=["a", "b"]).table["id_str"]) == ["a", "b"]


def test_images_that_cannot_be_used_are_named_and_left_out(run, images, tmp_path):
    images[1] = 7
    predicted = run.predict(images)
    assert list(predicted.table["id_str"]) == list("02345")
    assert predicted.masks["bar_mask"].shape == (N - 1, 60, 80)
    assert [failure.id_str for failure in predicted.failures] == ["1"]
    folder = save(tmp_path / "images", images[2:4])
    (folder / "0.png").write_bytes(b"no image")
    predicted = run.predict(folder)
    assert predicted.failures[0].file_loc == str(folder / "0.png")
    with pytest.raises(ValueError, match=r"none of the 1 images .*image 0: .*empty"):
        run.predict(images[1])


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        (np.zeros((60, 80)), ValueError, r"\(H, W, 3\).*received \(60, 80\)"),
        (np.zeros((3, 60, 80)), ValueError, r"image 0: .*\(H, W, 3\).*received \(3, 60, 80\)"),
        (np.zeros((2, 3, 60, 80)), ValueError, r"\(H, W, 3\).*received \(3, 60, 80\)"),
        (np.zeros((8, 8, 3)), ValueError, r"16 to 8192 pixels.* 8 x 8"),
        (np.full((60, 80, 3), 300.0), ValueError, "0 to 255; they are from 300 to 300"),
        (np.full((60, 80, 3), np.nan), ValueError, "0 to 255; they are from nan"),
        (np.full((60, 80, 3), -1), ValueError, "0 to 255; they are from -1"),
        (np.full((60, 80, 3), 0.5), ValueError, "multiply by 255"),
        (np.full((60, 80, 3), "a"), ValueError, "must be numbers"),
        (Image.new("CMYK", (60, 80)), ValueError, "image 0: .*CMYK"),
        ([], ValueError, "at least one image"),
        (None, TypeError, "NoneType"),
        ("no_such_folder", FileNotFoundError, "no_such_folder"),
        (pd.DataFrame({"path": ["a.png"]}), ValueError, "images: .*file_loc"),
    ],
)
def test_wrong_images_are_refused_in_one_sentence(run, given, error, words):
    with pytest.raises(error, match=words) as caught:
        run.predict(given)
    assert "\n" not in str(caught.value)
    assert CountedNetwork.built == 0


@pytest.mark.parametrize(
    ("ids", "error", "words"),
    [
        (["a"], ValueError, "each of the 2 images; received 1"),
        (["a", "a"], ValueError, "'a' is repeated"),
        (["a", "=b"], ValueError, "'=b' begins with"),
        ("ab", TypeError, "list of text"),
        ([1, 2], TypeError, "list of text"),
    ],
)
def test_wrong_ids_are_refused(run, images, ids, error, words):
    with pytest.raises(error, match=words):
        run.predict(images[:2], ids=ids)


def test_what_is_printed_is_short_and_notebooks_show_pictures(run, images):
    assert isinstance(run, TrainedRun)
    predicted = run.predict(np.concatenate([images] * 3), ids=[f"<{n}>" for n in range(3 * N)])
    assert repr(run) == "<LoadedRun 'run': votes of 34 answers (decals), spiral_mask, bar_mask>"
    assert repr(predicted) == "<PredictedImages: 18 by 'run': votes of 34 answers, spiral_mask, bar_mask>"
    page = predicted._repr_html_()
    assert page.count("<img ") == 12
    assert "and 6 more" in page
    assert "&lt;0&gt;" in page
    assert "<0>" not in page
    answer = predicted.table["most_likely"][0].split(";")[0]
    assert f"{answer}: {predicted.table[f'{answer}_fraction'][0]:.0%}" in page


def test_runs_without_masks_or_without_votes(tmp_path, images, monkeypatch):
    monkeypatch.setattr(loaded_run, "Network", RedNetwork)
    predicted = load_run(make_run(tmp_path / "votes", tasks=("votes",))).predict(images)
    assert predicted.masks == {}
    assert predicted.measurements.colnames == ["id_str"]
    assert predicted.table.colnames[-1] == "most_likely"
    assert predicted.schema == DECALS
    assert "<img " in predicted._repr_html_()


def test_load_run_of_the_package_knows_the_shipped_run():
    run = zoobot3d_tf.load_run("shipped")
    assert run.framing.final_size == 192
    assert run.weights_loc.is_file()


def test_user_images_are_not_changed(run, images, tmp_path):
    image = Image.fromarray(images[0])
    exif = image.getexif()
    exif[0x0112] = 3  # upside down
    image.save(tmp_path / "turned.jpg", exif=exif)
    opened = Image.open(tmp_path / "turned.jpg")
    before = np.asarray(opened).copy()
    turned = run.predict(opened)
    np.testing.assert_array_equal(np.asarray(opened), before)
    check_equal(run.predict(tmp_path / "turned.jpg", ids=["0"]), turned)


def test_one_image_is_a_folder_of_one(run, images, tmp_path):
    """The Python function too, whose default format is PNG as in Zoobot."""
    Image.fromarray(images[0]).save(tmp_path / "one.jpg")
    table = predict(tmp_path / "one.jpg", run.folder, tmp_path / "t.csv")
    assert list(load_predictions(table).table.id_str) == ["one"]
