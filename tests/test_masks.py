"""Masks from paths of volunteers, compared with published masks of Galaxy Zoo: 3D and with pixels counted by hand."""

import json
import time
from itertools import pairwise

import keras
import numpy as np
import pytest
from astropy.wcs import WCS

from zoobot3d_tf.images import masks
from zoobot3d_tf.images.masks import (
    align_counts,
    align_counts_wcs,
    check_marks,
    counts_from_marks,
    crosses_itself,
    is_enclosed,
    overlap,
)
from zoobot3d_tf.images.wcs import flip_rows, north_up_wcs

SQUARE = [[100, 100], [200, 100], [200, 200], [100, 200]]
GZ3D = ["gz3d_1-304336_127_14724446", "gz3d_1-379196_127_14728482"]
REFERENCE_MASKS = [(GZ3D[0], "spiral"), (GZ3D[1], "spiral"), (GZ3D[1], "bar"), ("synthetic_bar", "bar")]


@pytest.fixture(scope="module")
def golden(reference):
    return reference / "reference" / "golden"


def load_marks(golden, name, kind):
    return json.loads((golden / "gz3d_marks" / f"{name}_marks.json").read_text())[f"{kind}_mask"]


@pytest.mark.parametrize(("name", "kind"), REFERENCE_MASKS)
@pytest.mark.parametrize(("key", "drop"), [("counts_capped_all", False), ("counts_capped_simple", True)])
def test_every_pixel_agrees_with_published_masks(golden, name, kind, key, drop):
    expected = np.load(golden / "masks" / f"{name}_{kind}_native525.npz")[key]
    counts = counts_from_marks(load_marks(golden, name, kind), drop_self_crossing=drop)
    assert counts.dtype == np.uint8
    np.testing.assert_array_equal(counts, expected)


def test_awkward_shapes_agree_with_reference(golden):
    shapes = json.loads((golden / "masks" / "edge_shapes.json").read_text())
    masks = np.load(golden / "masks" / "edge_shapes.npz")
    for name, shape in shapes.items():
        assert crosses_itself(shape["vertices"]) != shape["is_simple"], name
        for drop, key in ((False, name), (True, f"{name}__simple_only")):
            counts = counts_from_marks([[shape["vertices"]]], drop_self_crossing=drop)
            np.testing.assert_array_equal(counts, masks[key], err_msg=key)


@pytest.mark.parametrize(("name", "kind"), REFERENCE_MASKS)
def test_aligned_masks_agree_with_reference(golden, name, kind):
    counts = counts_from_marks(load_marks(golden, name, kind))
    aligned = np.load(golden / "masks" / f"{name}_{kind}_aligned424.npz")
    for key in aligned.files:
        ours = align_counts(counts, 0.099, float(key.removeprefix("pixscale_")), 424)
        difference = np.abs(ours.astype(int) - aligned[key])
        assert (difference <= 1).mean() > 0.999, key


def test_real_marks_take_milliseconds(golden):
    marks = load_marks(golden, GZ3D[0], "spiral")
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        counts_from_marks(marks)
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.1  # 0.01 s on an idle core, 1 s for the published code


def test_ties_depend_on_the_direction_of_the_path():
    assert counts_from_marks([[SQUARE]]).sum() == 10_100
    assert counts_from_marks([[SQUARE[::-1]]]).sum() == 9_900


def test_row_zero_is_the_smallest_y():
    counts = counts_from_marks([[[[2.5, 0.5], [5.5, 0.5], [5.5, 2.5], [2.5, 2.5]]]], shape=(6, 9))
    assert counts.shape == (6, 9)
    assert [tuple(pixel) for pixel in np.argwhere(counts)] == [(1, 3), (1, 4), (1, 5), (2, 3), (2, 4), (2, 5)]


def test_one_volunteer_counts_once_and_each_volunteer_counts():
    overlapping = [SQUARE, [[150, 150], [250, 150], [250, 250], [150, 250]]]
    assert counts_from_marks([overlapping]).max() == 1
    assert counts_from_marks([overlapping] * 40)[120, 120] == 40


def test_a_shape_drawn_twice_in_one_path_is_empty_by_parity():
    assert counts_from_marks([[SQUARE + SQUARE]]).sum() == 0


@pytest.mark.parametrize(
    "components",
    [[], [[]], [[[281.3, 264.5]]], [[[600, 600], [700, 600], [650, 700]]], [[[-9, -9], [-1, -9], [-5, -2]]]],
)
def test_paths_that_enclose_no_pixel_count_nothing(components):
    assert counts_from_marks([components, [SQUARE]]).sum() == 10_100


def test_path_far_beyond_the_frame_covers_it():
    huge = [[-1e6, -1e6], [1e6, -1e6], [1e6, 1e6], [-1e6, 1e6]]
    assert (counts_from_marks([[huge]], shape=(7, 11)) == 1).all()


def test_agrees_with_a_point_by_point_rule_on_random_paths():
    rng = np.random.default_rng(0)
    for trial in range(30):
        # Vertices on whole and half pixels make ties common.
        path = rng.integers(-4, 28, (rng.integers(3, 9), 2)) / (1 + trial % 2)
        expected = np.zeros((20, 22), dtype=np.uint8)
        for (x0, y0), (x1, y1) in zip(path, np.roll(path, -1, axis=0), strict=True):
            for ty, tx in np.ndindex(expected.shape):
                if (y0 >= ty) != (y1 >= ty) and ((y1 - ty) * (x0 - x1) >= (x1 - tx) * (y0 - y1)) == (y1 >= ty):
                    expected[ty, tx] ^= 1
        np.testing.assert_array_equal(counts_from_marks([[path.tolist()]], shape=expected.shape), expected)


@pytest.mark.parametrize(
    ("path", "crosses"),
    [
        ([[0, 0], [4, 4], [4, 0], [0, 4]], True),  # bow-tie
        ([[0, 0], [4, 0], [4, 4], [0, 4], [0, 0]], False),  # ring
        ([[0, 0], [4, 0], [4, 4], [2, 0]], True),  # ends on its own side
        ([[0, 0], [4, 0], [2, 0], [2, 3]], True),  # retraces
        ([[0, 0], [4, 0], [6, 0], [6, 3]], False),  # straight on
        ([[0, 0], [4, 0], [4, 4], [0, 0], [-4, 4], [-4, 0], [0, 0]], True),  # ring that passes its own end
        ([[2, 0], [4, 0], [4, 4], [0, 0], [3, 0], [2, 0]], True),  # ring that retraces where it closes
        ([[1, 1], [1, 1], [1, 1]], False),
        ([], False),
    ],
)
def test_self_crossing_is_that_of_the_open_path(path, crosses):
    assert crosses_itself(path) is crosses


def drawn_line(path, width, shape=(30, 35)):
    return counts_from_marks([[{"line": path, "width": width}]], shape)


def test_a_line_marks_the_pixels_within_half_its_width():
    counts = drawn_line([[5, 10], [15, 10]], 4)
    expected = np.zeros_like(counts)
    expected[8:13, 5:16] = 1
    # The caps are half discs of radius 2.
    expected[10, [3, 4, 16, 17]] = expected[[9, 11], 4] = expected[[9, 11], 16] = 1
    np.testing.assert_array_equal(counts, expected)


@pytest.mark.parametrize("path", [[[8, 9]], [[8, 9], [8, 9]]])
def test_a_line_of_one_point_is_a_disc(path):
    counts = drawn_line(path, 2)
    assert [tuple(pixel) for pixel in np.argwhere(counts)] == [(8, 8), (9, 7), (9, 8), (9, 9), (10, 8)]


def test_lines_agree_with_the_distance_of_each_pixel():
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:30, :35]
    for trial in range(60):
        path = rng.uniform(-15, 45, (rng.integers(2, 6), 2))
        width = rng.uniform(0.1, 20)
        if trial % 2:  # whole numbers make ties common
            path, width = path.round(), float(rng.integers(1, 12))
        distance = np.full((30, 35), np.inf)
        for (x0, y0), (x1, y1) in pairwise(path):
            dx, dy = x1 - x0, y1 - y0
            along = np.clip(((x - x0) * dx + (y - y0) * dy) / max(dx**2 + dy**2, 1e-9), 0, 1)
            distance = np.minimum(distance, np.hypot(x - x0 - along * dx, y - y0 - along * dy))
        np.testing.assert_array_equal(drawn_line(path.tolist(), width), distance <= width / 2 + 1e-9)


@pytest.mark.parametrize("path", [[], [[-50, 5]], [[-9, -9], [40, -9]], [[60, 0], [60, 30]]])
def test_a_line_without_vertices_or_outside_the_frame_marks_nothing(path):
    assert not drawn_line(path, 10).any()


def test_a_line_far_beyond_the_frame_crosses_it():
    np.testing.assert_array_equal(np.unique(np.argwhere(drawn_line([[-1e6, 7], [1e6, 7]], 3))[:, 0]), [6, 7, 8])
    assert drawn_line([[10, 10]], 1e6).all()


def test_lines_and_outlines_of_one_volunteer_count_once():
    cross = {"line": [[100, 100], [200, 200], [200, 100], [100, 200]], "width": 9}
    counts = counts_from_marks([[SQUARE, cross, cross]] * 255)
    assert counts[150, 150] == counts[130, 160] == counts.max() == 255


def test_only_outlines_are_left_out_for_crossing_themselves():
    bow_tie = [[100, 100], [200, 200], [200, 100], [100, 200]]
    line = {"line": bow_tie, "width": 3}
    counts = counts_from_marks([[bow_tie, line]], drop_self_crossing=True)
    np.testing.assert_array_equal(counts, counts_from_marks([[line]]))
    assert counts.any()


@pytest.mark.parametrize(
    ("component", "reason"),
    [
        ({"line": [[1, 2]]}, 'no "width"'),
        ({"width": 3}, 'no "line"'),
        *[({"line": [[1, 2]], "width": width}, "a width above 0") for width in (0, -2, float("nan"), 1e10, "3", True)],
        ({"line": [[1, 2, 3]], "width": 3}, r"finite \[x, y\]; received \[\[1, 2, 3\]\]"),
        ({"line": [[1, float("inf")]], "width": 3}, r"finite \[x, y\]"),
        ({"line": 7, "width": 3}, r"finite \[x, y\]; received 7"),
        ({"line": [[1, 1e10]], "width": 3}, "to 1000000000 pixels"),
        ({"line": [[1, 2]] * 5001, "width": 3}, "at most 5000 vertices; it has 5001"),
    ],
)
@pytest.mark.parametrize("read", [counts_from_marks, check_marks])
def test_malformed_line_is_named(read, component, reason):
    with pytest.raises(ValueError, match=f"component 1 of volunteer 2 .*{reason}"):
        read([[], [], [SQUARE, component]])


@pytest.mark.parametrize("component", [[[1, 2, 3]], [[1, 2], [3]], [[1, None]], [[1, float("nan")]], ["ab"]])
def test_malformed_component_is_named(component):
    with pytest.raises(ValueError, match=r"component 1 of volunteer 2 must be a list of finite \[x, y\]; received"):
        counts_from_marks([[], [], [SQUARE, component]])


def test_more_than_255_volunteers_are_refused():
    with pytest.raises(ValueError, match="at most 255 volunteers; received 256"):
        counts_from_marks([[]] * 256)


@pytest.mark.parametrize("chosen", [[4], range(5, 15), [14, 0], [2, 2, 2], []])
def test_chosen_volunteers_are_counted(golden, chosen):
    marks = load_marks(golden, GZ3D[0], "spiral")
    each = [counts_from_marks([components]).astype(int) for components in marks]
    expected = sum((each[volunteer] for volunteer in chosen), np.zeros((525, 525), int))
    np.testing.assert_array_equal(counts_from_marks(marks, volunteers=chosen), expected)


@pytest.mark.parametrize("absent", [3, -1])
def test_absent_volunteer_cannot_be_chosen(absent):
    with pytest.raises(ValueError, match=f"marks of 3 volunteers, counted from 0; received the choice {absent}"):
        counts_from_marks([[SQUARE], [], []], volunteers=[0, absent])


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_a_pixel_belongs_to_a_mask_from_3_of_15_volunteers(dtype):
    counts = np.arange(16)
    expected = [False] * 3 + [True] * 13
    for fraction in (counts / 15, 1 - (15 - counts) / 15, counts * 17 / 255):
        np.testing.assert_array_equal(is_enclosed(fraction.astype(dtype)), expected)
    # 51 of 255 levels are 3 of 15 volunteers; 50 levels are fewer.
    np.testing.assert_array_equal(is_enclosed(np.array([50, 51, 52], dtype) / dtype(255)), [False, True, True])


def test_a_rounded_fraction_reaches_its_threshold():
    fraction = 1 - 12 / 15
    assert fraction < 3 / 15
    assert is_enclosed(fraction)


def test_the_threshold_of_a_mask_can_be_chosen():
    np.testing.assert_array_equal(is_enclosed(np.array([0.2, 0.49, 0.5, 0.9]), 0.5), [False, False, True, True])
    np.testing.assert_array_equal(is_enclosed(np.array([127, 128]) / 255, 0.5), [False, True])


@pytest.mark.parametrize("xp", [np, keras.ops], ids=["numpy", "keras"])
def test_overlap_counts_pixels_of_each_galaxy(xp):
    predicted = np.zeros((3, 2, 3), np.float32)
    true = np.zeros_like(predicted)
    predicted[0] = [[0.2, 0.6, 0], [0, 0, 0.1]]
    true[0] = [[0.8, 0.1, 0], [0.2, 0, 0]]
    predicted[1] = 1
    both, either = overlap(predicted, true, xp)
    np.testing.assert_array_equal(both, [1, 0, 0])
    np.testing.assert_array_equal(either, [3, 6, 0])
    both, either = overlap(predicted, true, xp, threshold=0.5)
    np.testing.assert_array_equal(both, [0, 0, 0])
    np.testing.assert_array_equal(either, [2, 6, 0])


def test_aligning_keeps_centre_and_scale():
    counts = np.zeros((525, 525), dtype=np.uint8)
    counts[212:313, 182:343] = 10  # 101 by 161 pixels about the centre
    aligned = align_counts(counts, 0.099, 0.2, 424)
    y, x = np.nonzero(aligned >= 5)
    assert (y.min() + y.max(), x.min() + x.max()) == (423, 423)
    assert y.max() - y.min() + 1 == pytest.approx(101 * 0.099 / 0.2, abs=1)
    assert x.max() - x.min() + 1 == pytest.approx(161 * 0.099 / 0.2, abs=1)
    assert aligned.max() == 10  # bicubic overshoot is clipped


@pytest.mark.parametrize("pixscale", [0.03, 0.099, 0.1, 0.262, 0.9, 30.0])
def test_aligning_is_correct_to_a_tenth_of_a_pixel(pixscale):
    y, x = np.mgrid[:525, :525]
    blob = 250 * np.exp(-0.5 * (((x - 290) ** 2 + (y - 240) ** 2) / (8 * max(pixscale / 0.099, 1)) ** 2))
    aligned = align_counts(np.rint(blob).astype(np.uint8), 0.099, pixscale, 423).astype(float)
    assert aligned.shape == (423, 423)
    if pixscale < 1:
        row, column = (np.arange(423) @ aligned.sum(axis) / aligned.sum() for axis in (1, 0))
        assert column == pytest.approx(211 + (290 - 262) * 0.099 / pixscale, abs=0.1)
        assert row == pytest.approx(211 + (240 - 262) * 0.099 / pixscale, abs=0.1)


def test_aligning_to_the_same_grid_changes_nothing():
    counts = np.random.default_rng(1).integers(0, 16, (424, 424), dtype=np.uint8)
    np.testing.assert_array_equal(align_counts(counts, 0.2, 0.2, 424), counts)


def test_aligning_refuses_impossible_scales():
    with pytest.raises(ValueError, match=r"pixscale_out .*must be positive; received 0\.1, 0 and 424"):
        align_counts(np.zeros((5, 5), np.uint8), 0.1, 0, 424)
    with pytest.raises(ValueError, match=r"shape \(H, W\); received \(5,\)"):
        align_counts(np.zeros(5, np.uint8), 0.1, 0.1, 424)


def tangent_wcs(ra, dec, pixscale, size, angle=0.0):
    """Make the WCS of a FITS cutout, whose row 0 is south, rotated by an angle in degrees about its centre."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [ra, dec]
    wcs.wcs.crpix = [(size + 1) / 2, (size + 1) / 2]
    cos, sin = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    wcs.wcs.cd = np.array([[-cos, sin], [sin, cos]]) * pixscale / 3600
    return wcs


@pytest.mark.parametrize("pixscale", [0.04, 0.099, 0.2, 0.262, 0.9])
def test_both_alignments_agree_for_equal_centre_and_axes(golden, pixscale):
    counts = counts_from_marks(load_marks(golden, GZ3D[0], "spiral"))
    grids = [north_up_wcs(359.99, 60, scale, [(size + 1) / 2] * 2) for scale, size in ((0.099, 525), (pixscale, 424))]
    difference = align_counts_wcs(counts, *grids, (424, 424)).astype(int) - align_counts(counts, 0.099, pixscale, 424)
    assert np.abs(difference).max() <= 1
    assert (difference == 0).mean() > 0.99


@pytest.mark.parametrize("angle", [0, 30, 135, -90])
@pytest.mark.parametrize("pixscale", [0.06, 0.099, 0.262, 0.5])
@pytest.mark.parametrize(("ra", "dec"), [(150.0, 2.0), (0.0005, -80.0)])
def test_a_blob_keeps_its_position_on_the_sky(ra, dec, pixscale, angle):
    east, north = 5.0, -3.0  # offset from the reference position, arcsec
    y, x = np.mgrid[:525, :525]
    width = 8 * max(1, pixscale / 0.099)
    blob = 250 * np.exp(-0.5 * ((x - 261.5 + east / 0.099) ** 2 + (y - 261.5 + north / 0.099) ** 2) / width**2)
    grid = north_up_wcs(ra, dec, 0.099, (262.5, 262.5))
    # The other image has its centre 2 arcsec east and 1 arcsec south.
    other = tangent_wcs(ra + 2 / 3600 / np.cos(np.radians(dec)), dec - 1 / 3600, pixscale, 300, angle)
    aligned = align_counts_wcs(np.rint(blob).astype(np.uint8), grid, other, (300, 300)).astype(float)
    column, row = (np.arange(300) @ aligned.sum(axis) / aligned.sum() for axis in (0, 1))
    cos, sin = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    assert column == pytest.approx(149.5 + (-cos * (east - 2) + sin * (north + 1)) / pixscale, abs=0.1)
    assert row == pytest.approx(149.5 + (sin * (east - 2) + cos * (north + 1)) / pixscale, abs=0.1)


def test_reduction_averages_unresolved_pixels():
    chequered = np.indices((400, 400)).sum(axis=0) % 2 * np.uint8(200)
    other = tangent_wcs(10, 20, 0.4, 60, angle=10)
    aligned = align_counts_wcs(chequered, tangent_wcs(10, 20, 0.1, 400), other, (60, 60))
    assert (np.abs(aligned.astype(int) - 100) <= 1).all()


@pytest.mark.parametrize(("ra", "dec"), [(10.1, 20), (190, -20), (190, 20), (100, 20)])
def test_masks_are_empty_elsewhere_on_the_sky(ra, dec):
    grid = north_up_wcs(10, 20, 0.099, (263, 263))
    aligned = align_counts_wcs(np.full((525, 525), 15, np.uint8), grid, tangent_wcs(ra, dec, 0.262, 40), (30, 40))
    assert aligned.shape == (30, 40)
    assert not aligned.any()


def test_alignment_needs_celestial_axes():
    counts, grid = np.zeros((5, 5), np.uint8), north_up_wcs(10, 20, 0.1, (3, 3))
    with pytest.raises(ValueError, match="right ascension and declination"):
        align_counts_wcs(counts, grid, WCS(naxis=2), (5, 5))
    with pytest.raises(ValueError, match=r"must be positive; received \(0, 5\)"):
        align_counts_wcs(counts, grid, grid, (0, 5))


@pytest.mark.parametrize("angle", [0, 25])
def test_flipped_rows_keep_their_position_on_the_sky(angle):
    wcs = tangent_wcs(150, 2, 0.262, 424, angle)
    cube = WCS({**dict(wcs.to_header()), "WCSAXES": 3, "CRPIX3": 1.0, "CTYPE3": "BAND"})
    x, y = np.array([0, 100, 423]), np.array([0, 7, 423])
    for unflipped in (wcs, cube):
        flipped = flip_rows(unflipped, height=424)
        sky = wcs.pixel_to_world_values(x, y)
        np.testing.assert_allclose(flipped.pixel_to_world_values(x, 423 - y), sky, rtol=0, atol=1e-9)


def test_north_is_the_first_row_and_east_the_first_column():
    wcs = north_up_wcs(150, 2, 0.1, (213, 213))
    ra, dec = wcs.pixel_to_world_values([212, 0], [0, 212])
    assert dec[0] - 2 == pytest.approx(21.2 / 3600, rel=1e-6)
    assert (ra[1] - 150) * np.cos(np.radians(2)) == pytest.approx(21.2 / 3600, rel=1e-6)


def zigzag(n):
    """A path whose edges all cross the frame without crossing each other, but whose boxes all overlap."""
    k = np.arange(n)
    return np.column_stack([k % 2 * 500 + k * 1e-4, k % 2 * 500 - k * 0.02 + 100.0])


@pytest.mark.parametrize("marks", [[[zigzag(100_000).tolist()]], [[[[1, 1]]] * 60_000], [[], [[]] * 60_000]])
def test_marks_with_far_too_many_vertices_are_refused(marks):
    with pytest.raises(ValueError, match=r"at most (5000|50000) vertices"):
        counts_from_marks(marks)
    with pytest.raises(ValueError, match=r"at most (5000|50000) vertices"):
        check_marks(marks)


def test_a_path_that_crosses_too_many_rows_is_refused():
    with pytest.raises(ValueError, match="cross rows at most 2097152 times"):
        counts_from_marks([[zigzag(5000).tolist()]], (525, 525))


def test_long_paths_are_compared_in_pieces(monkeypatch):
    path = zigzag(400)
    monkeypatch.setattr(masks, "_PAIRS_AT_ONCE", 5000)
    assert not crosses_itself(path)
    assert crosses_itself(np.vstack([path, [[250, 0], [250, 600]]]))
    for last in range(3, 400, 40):
        assert crosses_itself(np.vstack([path[:last], path[last // 2 - 1 : last // 2 + 1].mean(axis=0)]))
