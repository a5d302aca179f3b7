"""Pictures of fluxes: the three stretches, their colours, and the compression."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from zoobot3d_tf.images.rgb import grz_to_rgb
from zoobot3d_tf.simulation.display import JOINT_GAINS, Display


def uniform_bands(*levels: float) -> np.ndarray:
    """Bands of 16 x 16 pixels, each with one value."""
    return np.repeat(np.array(levels, np.float32), 256).reshape(3, 16, 16)


def noisy_bands() -> np.ndarray:
    return np.random.default_rng(0).normal(0.02, 0.02, (3, 32, 32)).astype(np.float32)


def test_the_default_is_the_picture_of_galaxy_zoo_decals():
    np.testing.assert_array_equal(Display().picture(noisy_bands()), grz_to_rgb(noisy_bands()))


def test_joint_stretch_of_a_flux_known_by_hand():
    grey = np.array([1 / gain for gain in JOINT_GAINS])
    display = Display("joint", softening=np.sinh(2.0))
    # The mean 1 is white. At sinh(1) / sinh(2) the arcsinh is 1, half of that of white.
    for mean, level in ((1.0, 255), (np.sinh(1.0) / np.sinh(2.0), 127), (0.0, 0), (-0.3, 0), (50.0, 255)):
        picture = display.picture(uniform_bands(*(grey * mean)))
        assert picture.shape == (16, 16, 3)
        assert abs(picture.astype(int) - level).max() <= 1


def test_joint_stretch_keeps_the_ratios_of_bands():
    g, r, i = (share / gain for share, gain in zip((0.05, 0.1, 0.2), JOINT_GAINS, strict=True))
    red, green, blue = Display("joint", softening=10).picture(uniform_bands(g, r, i))[0, 0].astype(int)
    assert red / green == pytest.approx(2, abs=0.05)
    assert green / blue == pytest.approx(2, abs=0.05)


def test_brightness_and_tint_are_factors_of_the_fluxes():
    bands = noisy_bands()
    np.testing.assert_array_equal(
        Display("joint", softening=9, brightness=2, tint=2).picture(bands),
        Display("joint", softening=9).picture(bands * np.array([1, 2, 4], np.float32)[:, None, None]),
    )


def test_single_band_stretch_of_a_ramp_known_by_hand():
    ramp = np.broadcast_to(np.linspace(-3, 7, 101, dtype=np.float32), (3, 101, 101)) * np.float32(0.01)
    picture = Display("single-band").picture(ramp.copy())
    assert (picture == picture[:, :, :1]).all()
    # arcsinh(10 x) / arcsinh(10): 0, arcsinh(1) / 2.998, 1
    assert picture[0, [0, 10, 100], 0].tolist() == [0, 74, 255]


def test_a_saturation_of_zero_is_grey_and_a_larger_one_colourful():
    bands = uniform_bands(0.02, 0.05, 0.2)
    spans = [np.ptp(Display(saturation=level).picture(bands)[0, 0].astype(int)) for level in (0.0, 0.5, 1.0, 1.4)]
    assert spans[0] == 0
    assert spans == sorted(set(spans))


def test_jpeg_quality_gives_what_a_file_of_that_quality_holds():
    file = BytesIO()
    Image.fromarray(Display().picture(noisy_bands())).save(file, "JPEG", quality=80)
    np.testing.assert_array_equal(Display(jpeg_quality=80).picture(noisy_bands()), np.asarray(Image.open(file)))


def test_an_unknown_stretch_is_refused():
    with pytest.raises(ValueError, match="galaxy-zoo, joint or single-band; received 'log'"):
        Display("log").picture(noisy_bands())
