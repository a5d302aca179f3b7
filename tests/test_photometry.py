"""Random photometry: what it changes, and what it leaves."""

import numpy as np
import pytest
from scipy import ndimage

from zoobot3d_tf.data import photometry
from zoobot3d_tf.data.photometry import random_photometry


def galaxy(size: int = 64, sky: float = 20.0, height: float = 160.0) -> np.ndarray:
    y, x = np.mgrid[:size, :size] - np.array([30.0, 36.0])[:, None, None]
    light = sky + height * np.exp(-(x**2 + y**2) / 60)
    return np.rint(light[..., None] * [1.0, 0.9, 0.7]).astype(np.uint8)


@pytest.fixture
def unchanged(monkeypatch):
    """Ranges that leave an image as it is."""
    for name, value in {"GAMMA": 1, "GAIN": 1, "SKY": 0, "COLOUR": 1, "SHARE_BLURRED": 0, "NOISE": 0}.items():
        monkeypatch.setattr(photometry, name, value)
    return monkeypatch


class Fixed:
    """Random numbers that are all the same share of their range."""

    def __init__(self, share: float):
        self.share = share

    def uniform(self, low=0.0, high=1.0, size=None):
        value = low + self.share * (high - low)
        return value if size is None else np.full(size, value)

    def standard_normal(self, shape, dtype):
        return np.zeros(shape, dtype)


def test_without_ranges_only_the_colour_fades(unchanged):
    image = galaxy()
    np.testing.assert_array_equal(random_photometry(image, Fixed(0.0)), image)
    grey = random_photometry(image, Fixed(1.0))
    np.testing.assert_allclose(grey, np.repeat(image.mean(axis=2, keepdims=True), 3, axis=2), atol=0.51)


def test_gain_sky_and_stretch_do_what_they_say(unchanged):
    flat = np.full((8, 8, 3), 64, np.uint8)
    unchanged.setattr(photometry, "GAIN", 1.5)
    assert (random_photometry(flat, Fixed(1.0)) == 96).all()
    assert (random_photometry(flat, Fixed(0.0)) == 43).all()  # 64 / 1.5
    unchanged.setattr(photometry, "GAIN", 1)
    unchanged.setattr(photometry, "SKY", 10)
    assert (random_photometry(flat, Fixed(1.0)) == 74).all()
    unchanged.setattr(photometry, "SKY", 0)
    unchanged.setattr(photometry, "GAMMA", 2)
    assert (random_photometry(flat, Fixed(1.0)) == 16).all()  # 255 (64/255)**2


def test_noise_has_its_standard_deviation(unchanged):
    unchanged.setattr(photometry, "NOISE", 8)
    flat = np.full((200, 200, 3), 128, np.uint8)
    rng = np.random.default_rng(0)
    spreads = [random_photometry(flat, rng).std() for _ in range(50)]
    assert 6 < max(spreads) < 8.5
    assert min(spreads) < 0.6


def test_the_galaxy_stays_where_it_is():
    rng = np.random.default_rng(1)
    for _ in range(20):
        image = random_photometry(galaxy(), rng).astype(float).mean(axis=2)
        light = np.clip(image - np.median(image) - 25, 0, None)
        np.testing.assert_allclose(ndimage.center_of_mass(light), (30, 36), atol=0.5)


def test_the_same_numbers_give_the_same_image():
    one, other = (random_photometry(galaxy(), np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(one, other)
    assert one.dtype == np.uint8
    assert one.shape == (64, 64, 3)
