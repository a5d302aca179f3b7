"""Masks in shards: every way in which a PNG is decoded gives the same pixels, and damage is refused."""

import cv2
import numpy as np
import pytest

from zoobot3d_tf.shards import record
from zoobot3d_tf.shards.record import decode, encode_mask

FLAT = np.zeros((300, 170), np.uint8)
FLAT[100:200, 50:90] = 12
NOISY = np.random.default_rng(0).integers(0, 16, FLAT.shape, np.uint8)
"""A mask whose data are too long for one block."""


def with_filters(counts: np.ndarray) -> bytes:
    return cv2.imencode(".png", counts, [cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_PAETH])[1].tobytes()


@pytest.mark.parametrize("counts", [FLAT, NOISY], ids=["flat", "noisy"])
@pytest.mark.parametrize("encode", [encode_mask, with_filters])
def test_masks_survive_exactly(counts, encode):
    np.testing.assert_array_equal(decode(encode(counts)), counts)


def test_opencv_decodes_only_what_the_quick_way_cannot():
    np.testing.assert_array_equal(record._decode_unfiltered(encode_mask(FLAT)), FLAT)
    for other in (encode_mask(NOISY), with_filters(FLAT), with_filters(NOISY)):
        assert record._decode_unfiltered(other) is None


def test_no_damage_of_one_byte_changes_pixels_silently():
    mask = np.zeros((40, 50), np.uint8)
    mask[10:20, 5:30] = 9
    whole = encode_mask(mask)
    for place in range(len(whole)):
        damaged = whole[:place] + bytes([whole[place] ^ 0x11]) + whole[place + 1 :]
        try:
            pixels = decode(damaged)
        except ValueError:
            continue
        np.testing.assert_array_equal(pixels, mask, err_msg=str(place))


def test_a_header_that_announces_more_pixels_than_there_are_is_refused():
    whole = encode_mask(np.zeros((40, 50), np.uint8))
    huge = whole[:16] + (2**31 - 1).to_bytes(4, "big") * 2 + whole[24:]
    with pytest.raises(ValueError, match="cannot be decoded"):
        decode(huge)
