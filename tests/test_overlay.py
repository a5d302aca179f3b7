"""Drawing masks over images: which pixels are coloured, and which are not changed."""

import numpy as np
import pytest

from zoobot3d_tf.images.masks import is_enclosed
from zoobot3d_tf.images.overlay import BAR_COLOUR, SPIRAL_COLOUR, draw_masks


@pytest.fixture
def image():
    return np.full((40, 30, 3), 50, np.uint8)


def square(value):
    fraction = np.zeros((40, 30), np.float32)
    fraction[10:30, 5:25] = value
    return fraction


def test_without_masks_the_image_is_as_it_was(image):
    blank = np.zeros((40, 30))
    np.testing.assert_array_equal(draw_masks(image, None, None), image)
    np.testing.assert_array_equal(draw_masks(image, blank, blank), image)


def test_fill_grows_with_agreement_and_the_image_is_left_alone(image):
    all_agree, half_agree = (draw_masks(image, square(value), None)[20, 15] for value in (1.0, 0.5))
    np.testing.assert_allclose(all_agree, 50 + 0.45 * (np.array(SPIRAL_COLOUR) - 50), atol=0.5)
    np.testing.assert_allclose(half_agree, 50 + 0.225 * (np.array(SPIRAL_COLOUR) - 50), atol=0.5)
    assert (image == 50).all()


def test_outline_runs_along_the_edge_from_3_of_15(image):
    drawn = draw_masks(image, None, square(3 / 15))
    edge, inside = drawn[10, 15].astype(int), drawn[20, 15].astype(int)
    assert np.abs(edge - BAR_COLOUR).max() < 60
    assert np.abs(inside - BAR_COLOUR).max() > 100
    below = draw_masks(image, None, square(2 / 15))
    np.testing.assert_array_equal(below[10, 15], below[20, 15])


def test_the_bar_lies_on_top(image):
    fraction = square(1.0)
    over_spiral = draw_masks(image, fraction, fraction)[20, 15].astype(int)
    assert np.abs(over_spiral - BAR_COLOUR).sum() < np.abs(over_spiral - SPIRAL_COLOUR).sum()


def test_3_of_15_is_enclosed_however_it_is_stored():
    for three in (np.float32(3) / np.float32(15), np.float32(51) / np.float32(255), 0.2):
        assert is_enclosed(np.array([three, 2 / 15])).tolist() == [True, False]


def test_wrong_shapes_are_refused(image):
    with pytest.raises(ValueError, match=r"shape of the image, \(40, 30\); received \(30, 40\)"):
        draw_masks(image, square(1.0).T, None)
    with pytest.raises(ValueError, match=r"uint8 of shape \(H, W, 3\); received float64 of shape \(40, 30, 3\)"):
        draw_masks(image / 255, None, None)
