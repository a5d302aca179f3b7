"""Stretches of the user's own: their files, their texts, and pixels calculated by hand."""

import json

import numpy as np
import pytest
from astropy.io import fits
from astropy.visualization import make_lupton_rgb

from zoobot3d_tf.cli import main
from zoobot3d_tf.images.image_file import ImageError
from zoobot3d_tf.images.read import read_image
from zoobot3d_tf.images.rgb import grz_to_rgb, to_rgb
from zoobot3d_tf.images.stretch import BAND_SCALES, check_stretch, read_stretch, white_flux
from zoobot3d_tf.shards.manifest import read_manifest
from zoobot3d_tf.shards.options import ShardOptions
from zoobot3d_tf.shards.write import create_shards

FLUXES = np.random.default_rng(0).normal(0.05, 0.05, (4, 16, 20)).astype(np.float32)
"""In g, r, i, z."""


@pytest.fixture
def text_of(tmp_path):
    def read(content: str) -> str:
        (tmp_path / "mine.yaml").write_text(content)
        return read_stretch(tmp_path / "mine.yaml")

    return read


def test_pixels_of_a_separate_stretch_calculated_by_hand(text_of):
    stretch = text_of("{method: galaxy-zoo, scales: {g: 0.01, r: 0.02, z: 0.04}, faint: 0, bright: 10, desaturate: no}")
    fluxes = np.array([0.01, 0.04, 0.2]).reshape(3, 1, 1)  # 1, 2 and 5 scales
    expected = 255 * np.arcsinh([5, 2, 1]) / np.arcsinh(10)
    np.testing.assert_array_equal(to_rgb(fluxes, "grz", stretch)[0, 0], expected.astype(int))


def test_a_joint_stretch_is_that_of_astropy(text_of):
    stretch = text_of("{method: lupton, scales: {r: 0.01}, faint: 0.5, linear_range: 3, softening: 12}")
    g, r, i = FLUXES[0] / BAND_SCALES["g"], FLUXES[1] / 0.01, FLUXES[2] / BAND_SCALES["i"]
    expected = make_lupton_rgb(i, r, g, minimum=0.5, stretch=3, Q=12)
    np.testing.assert_allclose(to_rgb(FLUXES[:3], "gri", stretch).astype(int), expected, atol=1)


def test_bands_of_red_green_and_blue_can_be_chosen(text_of):
    chosen = text_of("{method: galaxy-zoo, bands: zig}")
    np.testing.assert_array_equal(to_rgb(FLUXES, "griz", chosen), to_rgb(FLUXES[[0, 2, 3]], "giz"))
    with pytest.raises(ValueError, match=r"red, green and blue from z, i, g; the image has g, r, z"):
        to_rgb(FLUXES[[0, 1, 3]], "grz", chosen)


def test_without_desaturation_noise_keeps_its_colours(text_of):
    noise = np.random.default_rng(1).normal(0, 0.005, (3, 50, 50))
    colourful, grey = (
        to_rgb(noise, "grz", s).astype(int) for s in (text_of("{method: galaxy-zoo, desaturate: no}"), "galaxy-zoo")
    )
    assert np.ptp(colourful, axis=2).mean() > 2 * np.ptp(grey, axis=2).mean()


def test_equal_stretches_have_equal_texts(text_of):
    assert text_of("method: galaxy-zoo") == "galaxy-zoo"
    assert text_of("{method: lupton, softening: 8, scales: {g: 0.008}}") == "lupton"
    first = text_of("{method: lupton, softening: 12, scales: {r: 1e-2, g: 0.008}}")
    assert first == text_of("{scales: {r: 0.01}, softening: 12.0, method: lupton}")
    check_stretch(first)
    assert json.loads(first) == {"method": "lupton", "scales": {"r": 0.01}, "softening": 12.0}


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ("faint: 1", "method must be one of galaxy-zoo, lupton; received nothing"),
        ("method: log", "method .*'log'"),
        ("{method: lupton, bright: 3}", "unknown key 'bright'; the nearest is"),
        ("{method: galaxy-zoo, faint: 3, bright: 3}", "faint must be below bright"),
        ("{method: galaxy-zoo, bright: .inf}", "faint must be below bright"),
        ("{method: galaxy-zoo, bands: grw}", "bands must be those of red, green and blue.*'grw'"),
        ("{method: galaxy-zoo, scales: {u: 1}}", "one of g, r, i, z; received 'u'"),
        ("{method: galaxy-zoo, scales: {g: 0}}", "flux of g must be a number above 0; received 0"),
        ("{method: lupton, softening: 0}", "softening must be a number above 0"),
        ("{method: lupton, linear_range: .nan}", "linear_range must be a number above 0"),
        ("{method: lupton, faint: .nan}", "faint must be a number"),
        ("- lupton", "'key: value' entries"),
    ],
)
def test_wrong_files_are_refused_with_their_name(text_of, content, match):
    with pytest.raises(ValueError, match=rf"mine\.yaml: .*{match}"):
        text_of(content)


@pytest.mark.parametrize(
    "value", ["log", "[1]", '{"method": "log"}', '{"method": "lupton", "Q": 3}', 3, None, "[" * 9999]
)
def test_wrong_texts_are_refused(value):
    with pytest.raises(ValueError, match=r"stretch must be|method must be|unknown key"):
        check_stretch(value)


def test_an_unknown_name_and_a_missing_file_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"galaxy-zoo, lupton, or a file .*'log'"):
        read_stretch("log")
    with pytest.raises(FileNotFoundError):
        read_stretch(tmp_path / "missing.yaml")


@pytest.mark.parametrize("softening", [0.1, 8, 40])
def test_white_is_where_pixels_reach_their_largest_value(text_of, softening):
    stretch = text_of(f"{{method: lupton, softening: {softening}}}")
    limits = np.array([white_flux(band, stretch) for band in "grz"]).reshape(3, 1, 1)
    below, above = (to_rgb(factor * limits, "grz", stretch).max() for factor in (0.9, 1.01))
    assert (below < 255, above) == (True, 255)


def test_the_stretch_of_a_file_travels_from_fits_cutouts_into_shards(tmp_path):
    (tmp_path / "mine.yaml").write_text("{method: galaxy-zoo, bands: irg, bright: 100}")
    header = fits.Header({"BANDS": "griz"})
    rows = ["id_str,file_loc,size"]
    for name in ("a", "b", "c", "d"):
        fits.writeto(tmp_path / f"{name}.fits", FLUXES, header)
        rows.append(f"{name},{name}.fits,{len(rows)}")
    (tmp_path / "catalog.csv").write_text("\n".join(rows))
    options = ShardOptions(
        img_size=16,
        eval_size=1,
        split_seed=0,
        label_col="size",
        label_kind="regression",
        stretch=read_stretch(tmp_path / "mine.yaml"),
    )
    create_shards(tmp_path / "catalog.csv", tmp_path / "shards", None, options)
    stretch = read_manifest(tmp_path / "shards").stretch
    assert json.loads(stretch) == {"method": "galaxy-zoo", "bands": "irg", "bright": 100}
    expected = to_rgb(FLUXES, "griz", stretch)[::-1]
    np.testing.assert_array_equal(read_image(tmp_path / "a.fits", stretch), expected)
    assert (expected != grz_to_rgb(FLUXES[[0, 1, 3]])[::-1]).any()


def test_a_cutout_without_the_bands_of_the_stretch_is_an_error_of_this_image(tmp_path, text_of):
    fits.writeto(tmp_path / "a.fits", FLUXES[:3], fits.Header({"BANDS": "grz"}))
    with pytest.raises(ImageError, match=r"a\.fits: the stretch makes red, green and blue from i, r, g"):
        read_image(tmp_path / "a.fits", text_of("{method: lupton, bands: irg}"))


def test_a_missing_file_is_an_error_of_the_option(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["predict", str(tmp_path), "--stretch", str(tmp_path / "missing.yaml")])
    assert "--stretch" in (text := capsys.readouterr().err)
    assert "missing.yaml" in text
