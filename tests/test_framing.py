"""Geometry of crops and augmentations, correct to a tenth of a pixel."""

import cv2
import numpy as np
import pytest
from scipy import ndimage

from zoobot3d_tf.data.framing import ASPECT, ZOOM, Framing, central_affine, random_affine, warp, warp_to_image
from zoobot3d_tf.images.read import resize_image

FRAMING = Framing(initial_size=300, crop_size=225, final_size=224)


def disc(size: int, x: float, y: float, radius: float) -> np.ndarray:
    """A disc with soft edges, whose centroid is known to a small fraction of a pixel."""
    rows, columns = np.mgrid[:size, :size]
    return np.clip(radius + 0.5 - np.hypot(columns - x, rows - y), 0, 1).astype(np.float32)


def centroid(image: np.ndarray) -> np.ndarray:
    row, column = ndimage.center_of_mass(image)
    return np.array([column, row])


def output_position(affine: np.ndarray, point: np.ndarray) -> np.ndarray:
    """Position in the output of a position in the input. The affine maps go in the opposite direction."""
    return np.linalg.solve(affine[:, :2], point - affine[:, 2])


def test_central_crop_of_whole_image_changes_nothing():
    image = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    np.testing.assert_array_equal(warp(image, central_affine(Framing(64, 64, 64)), 64), image)


def test_central_crop_without_resizing_is_a_slice():
    image = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    np.testing.assert_array_equal(warp(image, central_affine(Framing(64, 32, 32)), 32), image[16:48, 16:48])


def test_central_crop_maps_corners_of_the_crop_to_corners_of_the_output():
    affine = central_affine(Framing(300, 200, 100))
    # Pixel centres are whole numbers: the outer edge of the first output pixel lies at -0.5, of the crop at 49.5.
    np.testing.assert_allclose(affine @ [-0.5, -0.5, 1], [49.5, 49.5])
    np.testing.assert_allclose(affine @ [99.5, 99.5, 1], [249.5, 249.5])


@pytest.mark.parametrize("seed", range(20))
def test_augmented_image_and_mask_are_where_the_affine_map_puts_them(seed):
    point = np.array([171.3, 138.9])
    image = np.repeat((disc(300, *point, 12) * 200).astype(np.uint8)[..., None], 3, axis=2)
    mask = disc(300, *point, 12)
    affine = random_affine(FRAMING, np.random.default_rng(seed))
    expected = output_position(affine, point)
    image_at, mask_at = centroid(warp(image, affine, 224)[..., 0]), centroid(warp(mask, affine, 224))
    assert np.hypot(*(mask_at - expected)) < 0.05
    assert np.hypot(*(image_at - expected)) < 0.05
    assert np.hypot(*(image_at - mask_at)) < 0.05


def test_random_affines_keep_area_and_aspect_within_their_bounds_and_reflect_half():
    rng = np.random.default_rng(0)
    linear = np.array([random_affine(FRAMING, rng)[:, :2] for _ in range(2000)]) / (225 / 224)
    determinant = np.linalg.det(linear)
    singular = np.linalg.svd(linear, compute_uv=False)
    assert 0.45 < (determinant < 0).mean() < 0.55
    assert np.sqrt(np.abs(determinant)).min() >= 1 / ZOOM - 1e-6
    assert np.sqrt(np.abs(determinant)).max() <= ZOOM + 1e-6
    assert (singular[:, 0] / singular[:, 1]).max() <= ASPECT + 1e-6
    angle = np.arctan2(linear[:, 1, 0], linear[:, 0, 0])
    assert (
        np.histogram(angle, bins=8, range=(-np.pi, np.pi))[0].min() > 180
    )  # 250 are expected for equally likely directions


def test_outside_the_image_is_zero():
    affine = central_affine(Framing(32, 32, 32)).copy()
    affine[:, 2] += 100
    assert warp(np.full((32, 32), 7, np.float32), affine, 32).max() == 0


@pytest.mark.parametrize("shape", [(424, 424), (300, 421), (421, 300), (90, 97)])
def test_a_mask_returns_to_its_position_in_the_image(shape):
    height, width = shape
    side = min(shape)
    point = np.array([width / 2 + 0.17 * side, height / 2 - 0.11 * side])
    rows, columns = np.mgrid[:height, :width]
    drawn = np.clip(0.12 * side + 0.5 - np.hypot(columns - point[0], rows - point[1]), 0, 1)
    image = np.repeat(np.rint(255 * drawn).astype(np.uint8)[..., None], 3, axis=2)
    seen = warp(resize_image(image, 300), central_affine(FRAMING), 224)[..., 0].astype(np.float32)
    returned = warp_to_image(seen, FRAMING, shape)
    assert returned.shape == shape
    assert np.hypot(*(centroid(returned) - point)) < 0.05
    np.testing.assert_allclose(returned.sum(), image[..., 0].sum(), rtol=0.01)


@pytest.mark.parametrize(
    ("sizes", "words"),
    [((100, 120, 64), "crop_size 120 .* 100 pixels"), ((100, 0, 64), "at least 1 pixel.* 100, 0 and 64$")],
)
def test_impossible_sizes_are_refused(sizes, words):
    with pytest.raises(ValueError, match=words):
        Framing(*sizes)


def stripes(size: int) -> np.ndarray:
    """Stripes of one pixel, whose mean over any larger area is about 100."""
    return np.repeat(np.tile(np.array([0, 200], np.uint8), size // 2)[None, :, None], size, axis=0).repeat(3, axis=2)


@pytest.mark.parametrize("final_size", [45, 64, 75, 100, 112, 128])
def test_fine_structure_averages_out_where_the_image_shrinks(final_size):
    framing = Framing(300, 225, final_size)
    seen = warp(stripes(300), central_affine(framing), final_size).astype(int)
    assert seen.std() < 20  # up to 100 with bilinear interpolation alone
    np.testing.assert_allclose(seen.mean(), 100, atol=3)
    for seed in range(5):
        augmented = warp(stripes(300), random_affine(framing, np.random.default_rng(seed)), final_size).astype(int)
        inner = augmented[final_size // 4 : -final_size // 4, final_size // 4 : -final_size // 4]
        assert inner.std() < 25


@pytest.mark.parametrize("final_size", [50, 75, 100])
def test_an_image_that_shrinks_by_a_whole_number_is_its_mean_over_areas(final_size):
    image = np.random.default_rng(0).integers(0, 255, (300, 300, 3), dtype=np.uint8)
    factor = 300 // final_size
    means = image.reshape(final_size, factor, final_size, factor, 3).mean(axis=(1, 3))
    seen = warp(image, central_affine(Framing(300, 300, final_size)), final_size)
    np.testing.assert_allclose(seen, means, atol=1)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("final_size", [64, 112, 150])
def test_positions_are_kept_where_the_image_shrinks(seed, final_size):
    framing = Framing(300, 225, final_size)
    point = np.array([171.3, 138.9])
    affine = random_affine(framing, np.random.default_rng(seed))
    found = centroid(warp(disc(300, *point, 20), affine, final_size))
    assert np.hypot(*(found - output_position(affine, point))) < 0.05


def test_at_the_sizes_of_the_weights_an_image_is_interpolated_between_its_pixels():
    image = np.random.default_rng(0).integers(0, 255, (300, 300, 3), dtype=np.uint8)
    for seed in range(20):
        affine = random_affine(FRAMING, np.random.default_rng(seed))
        expected = cv2.warpAffine(image, affine, (224, 224), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
        np.testing.assert_array_equal(warp(image, affine, 224), expected)
