"""The rectangle that a model of production sees: its form, its pixels, and errors."""

import json

import numpy as np
import pytest

from zoobot3d_tf.active_learning.fixed_crop import FixedCrop
from zoobot3d_tf.images.read import ImageError

BOX = {"lower_left_x": 10, "lower_left_y": 4, "upper_right_x": 40, "upper_right_y": 24}


def test_columns_come_from_x_and_rows_from_the_top():
    rows, columns = np.mgrid[:60, :50]
    image = np.stack([rows, columns, rows], axis=-1)
    crop = FixedCrop.from_json(json.dumps(BOX)).cut(image, "image")
    assert crop.shape == (20, 30, 3)
    assert list(crop[0, 0]) == [4, 10, 4]
    assert list(crop[-1, -1]) == [23, 39, 23]


def test_json_is_read_and_written():
    crop = FixedCrop.from_json(json.dumps(BOX | {"lower_left_x": 10.0}))
    assert json.loads(crop.to_json()) == BOX


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "must be a JSON object with lower_left_x"),
        ("[0, 0, 224, 224]", "must be a JSON object"),
        (json.dumps({"lower_left_x": 0}), "must be a JSON object"),
        (json.dumps(BOX | {"lower_left_y": -1}), "lower_left_y of fixed_crop .* received -1"),
        (json.dumps(BOX | {"lower_left_y": 0.5}), "whole number of pixels.*received 0.5"),
        (json.dumps(BOX | {"lower_left_y": "0"}), "whole number of pixels.*received 0"),
        (json.dumps(BOX | {"upper_right_x": 12}), "at least 16 pixels wide and high; received columns 10 to 12"),
    ],
)
def test_other_rectangles_are_refused(text, words):
    with pytest.raises(ValueError, match=words):
        FixedCrop.from_json(text)


def test_a_smaller_image_is_an_error_of_that_image():
    with pytest.raises(ImageError, match=r"a.png: the image must have at least 24 x 40 pixels .* it has 24 x 39"):
        FixedCrop(**BOX).cut(np.zeros((24, 39, 3), np.uint8), "a.png")
