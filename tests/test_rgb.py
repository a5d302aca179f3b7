"""Colour images, compared with published images of Galaxy Zoo DECaLS and with pixels calculated by hand."""

import re

import numpy as np
import pytest
from astropy.io import fits
from PIL import Image

from zoobot3d_tf.images import rgb as rgb_module
from zoobot3d_tf.images.rgb import check_bands, grz_to_rgb, to_rgb
from zoobot3d_tf.images.stretch import BAND_SCALES

LIMITS = (-0.5, 300)


@pytest.fixture(scope="module")
def decals_rgb(reference):
    return reference / "reference" / "golden" / "decals_rgb"


@pytest.mark.parametrize("name", ["example_a", "example_b"])
def test_bytes_agree_with_published_images(decals_rgb, name):
    expected = np.asarray(Image.open(decals_rgb / f"{name}_fits_to_png.png")).astype(int)
    rgb = grz_to_rgb(fits.getdata(decals_rgb / f"{name}.fits"))
    assert rgb.dtype == np.uint8
    difference = np.abs(rgb - expected)
    assert difference.max() <= 1
    assert (difference > 0).mean() <= 2e-5


def scaled(bands):
    """Planes in the order z, r, g, in units of the scale of each band."""
    return rgb_module._scaled(np.asarray(bands, np.float32)[::-1], [BAND_SCALES[name] for name in "zrg"])


def stretched_image(bands):
    return rgb_module._to_image(rgb_module._stretched(scaled(bands), *LIMITS))


def test_floats_agree_with_published_function(decals_rgb):
    bands = fits.getdata(decals_rgb / "example_b.fits")
    published = np.load(decals_rgb / "example_b_float.npz")
    np.testing.assert_allclose(stretched_image(bands), published["arcsinh_only"], atol=3e-7)
    desaturated = rgb_module._desaturated(rgb_module._stretched(scaled(bands), *LIMITS))
    np.testing.assert_allclose(rgb_module._to_image(desaturated), published["std"], atol=3e-7)
    linear = (scaled(bands) + np.float32(1)) / np.float32(101)  # limits -1 and 100
    linear_image = rgb_module._to_image(rgb_module._desaturated(linear))
    np.testing.assert_allclose(linear_image, published["linear_desaturated"], atol=3e-7)


def test_bands_keep_their_colour():
    for band, plane in ((0, 2), (1, 1), (2, 0)):
        bands = np.zeros((3, 4, 5))
        bands[band] = 0.1
        rgb = stretched_image(bands)
        assert rgb.shape == (4, 5, 3)
        assert (rgb.argmax(axis=2) == plane).all()


def test_pixels_calculated_by_hand():
    # Dark sky: arcsinh(0.5) / (arcsinh(0.5) + arcsinh(300)) of 255. Equal bands are grey, and stay grey.
    sky = 255 * np.arcsinh(0.5) / (np.arcsinh(0.5) + np.arcsinh(300))
    assert stretched_image(np.zeros((3, 2, 2))) * 255 == pytest.approx(sky, abs=1e-4)
    bright = np.array([0.008, 0.014, 0.019])[:, None, None] * np.array([[1e4, -1e4]])
    np.testing.assert_array_equal(grz_to_rgb(bright), [[[255] * 3, [0] * 3]])


def test_missing_pixels_look_like_empty_sky():
    bands = np.zeros((3, 2, 2))
    bands[:, 0, 0] = np.nan
    np.testing.assert_array_equal(grz_to_rgb(bands), grz_to_rgb(np.zeros((3, 2, 2))))


def test_input_is_not_changed():
    bands = np.full((3, 2, 2), 0.5, dtype=np.float32)
    grz_to_rgb(bands)
    assert (bands == 0.5).all()


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 3), (2, 4, 5)])
def test_wrong_shape_is_refused(shape):
    with pytest.raises(ValueError, match=rf"bands .*\(3, H, W\).*g, r, z.*{re.escape(str(shape))}"):
        grz_to_rgb(np.zeros(shape))


def fluxes(**scaled) -> np.ndarray:
    """Fluxes of one pixel per band, from values in units of the band's scale: shape (bands, 1, 1)."""
    return np.array([[[BAND_SCALES[name] * flux]] for name, flux in scaled.items()])


def test_order_of_bands_does_not_matter():
    bands = np.random.default_rng(0).normal(0.02, 0.02, (3, 4, 5))
    np.testing.assert_array_equal(to_rgb(bands[::-1], "zrg"), grz_to_rgb(bands))


@pytest.mark.parametrize(
    ("given", "same_as"),
    [
        ({"g": 1, "r": 2, "i": 3}, {"g": 1, "r": 2, "z": 3}),
        ({"r": 1, "i": 2, "z": 3}, {"g": 1, "r": 2, "z": 3}),
        ({"g": 1, "r": 2, "i": 5, "z": 7}, {"g": 1, "r": 3.5, "z": 7}),
        ({"r": 1, "z": 5}, {"g": 1, "r": 3, "z": 5}),
        ({"i": 2}, {"g": 2, "r": 2, "z": 2}),
    ],
)
@pytest.mark.parametrize("stretch", ["galaxy-zoo", "lupton"])
def test_reddest_band_is_red_bluest_blue_and_the_mean_of_the_others_green(given, same_as, stretch):
    rgb = to_rgb(fluxes(**given), "".join(given), stretch)
    np.testing.assert_allclose(rgb, to_rgb(fluxes(**same_as), "grz", stretch), atol=1)  # bytes are truncated


def test_lupton_stretch_keeps_colour_where_galaxy_zoo_saturates_to_white():
    # Lupton et al. 2004 with stretch 5 and softening 8: each band times f(I) / I with I their mean, and
    # f = 25.5 arcsinh(8 I / 5) / arcsinh(0.8). A pixel that exceeds 255 is scaled down as a whole.
    intensity = 35 / 3
    factor = 25.5 * np.arcsinh(8 * intensity / 5) / np.arcsinh(0.8) / intensity
    faint, bright = (to_rgb(fluxes(g=5 * k, r=10 * k, z=20 * k), stretch="lupton") for k in (1, 1000))
    np.testing.assert_allclose(faint[0, 0], factor * np.array([20, 10, 5]), atol=1)
    np.testing.assert_allclose(bright[0, 0], [255, 127.5, 63.75], atol=1)
    assert (grz_to_rgb(fluxes(g=5000, r=10000, z=20000)) == 255).all()


@pytest.mark.parametrize("names", ["grw", "grr", "u", ""])
def test_unknown_bands_are_refused(names):
    with pytest.raises(ValueError, match=f"bands .*one or more of g, r, i, z.*'{names}'"):
        to_rgb(np.zeros((len(names), 4, 5)), names)


def test_colours_need_three_bands():
    check_bands("gri")
    with pytest.raises(ValueError, match=r"bands .*three or more of g, r, i, z.*'gr'"):
        check_bands("gr")


@pytest.mark.parametrize("stretch", ["galaxy-zoo", "lupton"])
def test_codes_of_missing_fluxes_do_not_overflow(stretch):
    bands = np.zeros((3, 1, 4))
    bands[:, 0] = [-1e30, 1e30, -np.inf, np.inf]
    with np.errstate(all="raise"):
        rgb = to_rgb(bands, stretch=stretch)[0]
    np.testing.assert_array_equal(rgb.max(axis=1), [0, 255, 0, 255])


def test_unknown_stretch_is_refused():
    with pytest.raises(ValueError, match=r"stretch .*galaxy-zoo, lupton.*'log'"):
        to_rgb(np.zeros((3, 4, 5)), stretch="log")
