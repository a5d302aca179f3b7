"""Measurements on masks: shapes with known measurements, then bars of simulated galaxies as volunteers drew them."""

import math

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from zoobot3d_tf.images.masks import counts_from_marks
from zoobot3d_tf.images.wcs import wcs_at
from zoobot3d_tf.predictions.measurements import COLUMNS, measure
from zoobot3d_tf.simulation.population import sample_scene
from zoobot3d_tf.simulation.visibility import bar_visibility
from zoobot3d_tf.simulation.volunteers import draw_marks

SIZE = 160


def bar_shape(kind, length, width, angle, x=80.0, y=75.0):
    """A rectangle or an ellipse: all volunteers inside, none outside. For the angle see docs/conventions.md."""
    rows, columns = np.indices((SIZE, SIZE))
    right, up = columns - x, y - rows
    cos, sin = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    along, across = (right * cos + up * sin) / (length / 2), (up * cos - right * sin) / (width / 2)
    inside = np.maximum(abs(along), abs(across)) <= 1 if kind == "rectangle" else np.hypot(along, across) <= 1
    return inside.astype(np.float32)


def measure_bar(mask, wcs=None, pixscale=np.nan):
    return measure({"bar_mask": mask}, wcs, pixscale)


def measure_arms(enclosed):
    return measure({"spiral_mask": np.asarray(enclosed, np.float32)}, None, np.nan)


def difference(angle, other):
    """Difference between directions, which repeat after 180 degrees."""
    return abs((angle - other + 90) % 180 - 90)


# Bars


def test_a_bar_of_a_few_pixels_is_measured_by_hand():
    mask = np.zeros((20, 30), np.float32)
    mask[7:9, 4:14] = 1
    values = measure_bar(mask, pixscale=0.5)
    assert values["bar_area_px"] == 20
    assert values["bar_area_arcsec2"] == 5
    assert values["bar_length_px"] == 9.5  # nine pixels between centres, plus half a pixel
    assert values["bar_length_arcsec"] == 4.75
    assert values["bar_angle"] == 0
    assert measure_bar(mask.T)["bar_angle"] == pytest.approx(90)
    diagonal = measure_bar(np.eye(20, 30, dtype=np.float32))
    assert diagonal["bar_angle"] == pytest.approx(135)  # from the top left to the bottom right
    assert diagonal["bar_length_px"] == pytest.approx(19 * math.sqrt(2) + 0.5)


@pytest.mark.parametrize("kind", ["rectangle", "ellipse"])
def test_rectangles_and_ellipses_give_their_length_to_a_pixel_and_their_angle_to_a_degree(kind):
    rng = np.random.default_rng(0)
    errors = []
    for angle in [0, 45, 90, 135, *rng.uniform(0, 180, 100)]:
        length, (x, y) = rng.uniform(40, 110), rng.uniform(78, 82, 2)
        width = length * rng.uniform(0.2, 0.5)
        values = measure_bar(bar_shape(kind, length, width, angle, x, y))
        assert difference(values["bar_angle"], angle) < 1
        assert values["bar_area_px"] == pytest.approx(
            width * length * (1 if kind == "rectangle" else np.pi / 4), rel=0.06
        )
        errors.append(values["bar_length_px"] - length)
    assert np.percentile(np.abs(errors), 95) < 1
    assert abs(np.mean(errors)) < 0.5


def test_a_ragged_outline_hardly_turns_or_lengthens_a_bar():
    rng = np.random.default_rng(0)
    for angle in (10, 60, 117):
        ragged = bar_shape("rectangle", 80, 20 + rng.normal(0, 4, (SIZE, SIZE)), angle)
        values = measure_bar(ragged)
        assert difference(values["bar_angle"], angle) < 2
        assert values["bar_length_px"] == pytest.approx(80, abs=1.5)


def test_a_bar_is_the_largest_piece_of_its_mask():
    bar = bar_shape("ellipse", 60, 20, 30)
    expected = measure_bar(bar)
    bar[:12, :12] = 1
    bar[-3:, -3:] = 1
    assert measure_bar(bar) == pytest.approx(expected, nan_ok=True)


def test_a_pixel_belongs_from_three_of_fifteen_volunteers_on():
    mask = np.zeros((20, 20), np.float32)
    mask[4] = 2 / 15
    mask[5] = np.float32(3) / 15
    values = measure({"spiral_mask": mask, "bar_mask": mask}, None, np.nan)
    assert values["bar_area_px"] == values["spiral_area_px"] == 20


def test_a_single_pixel_is_a_bar_too():
    mask = np.zeros((20, 20), np.float32)
    mask[3, 4] = 1
    values = measure_bar(mask, wcs_at(10, 20, 0.3, (20, 20)), 0.3)
    assert (values["bar_area_px"], values["bar_length_px"]) == (1, 0.5)


# On the sky


@pytest.mark.parametrize("angle", [0.0, 20.0, 90.0, 135.0])
def test_with_north_up_and_east_left_a_position_angle_is_counted_from_the_top_to_the_left(angle):
    wcs = wcs_at(359.9999, -70, 0.3, (SIZE, SIZE))
    values = measure_bar(bar_shape("ellipse", 90, 20, angle), wcs, 0.3)
    assert difference(values["bar_pa"], angle - 90) < 0.5
    assert 0 <= values["bar_pa"] <= 180


@pytest.mark.parametrize("turn", [0.0, 30.0, 200.0])
@pytest.mark.parametrize("east", ["left", "right"])
def test_a_position_angle_follows_a_turned_or_mirrored_image(turn, east):
    """North lies `turn` degrees clockwise of the top; east is 90 degrees on from it, on either side."""
    cos, sin = np.cos(np.radians(turn)), np.sin(np.radians(turn))
    to_north, to_left = np.array([sin, cos]), np.array([-cos, sin])  # (right, up)
    to_east = to_left if east == "left" else -to_left
    matrix = np.array([to_east, to_north]) * 0.3 / 3600  # (right, up) to (east, north)
    header = {
        "CTYPE1": "RA---TAN",
        "CTYPE2": "DEC--TAN",
        "CRVAL1": 40.0,
        "CRVAL2": 50.0,
        "CRPIX1": 80.0,
        "CRPIX2": 80.0,
    }
    wcs = WCS(fits.Header(header | {f"CD{i}_{j}": matrix[i - 1, j - 1] for i in (1, 2) for j in (1, 2)}))
    position_angle = 25.0
    right, up = to_north * np.cos(np.radians(position_angle)) + to_east * np.sin(np.radians(position_angle))
    values = measure_bar(bar_shape("ellipse", 90, 20, np.degrees(np.arctan2(up, right))), wcs, 0.3)
    assert difference(values["bar_pa"], position_angle) < 0.5


def test_without_a_scale_there_are_pixels_and_without_a_wcs_no_position_angle():
    mask = bar_shape("ellipse", 60, 20, 30)
    values = measure({"bar_mask": mask, "spiral_mask": mask}, None, np.nan)
    unknown = {name for name, value in values.items() if np.isnan(value)}
    assert unknown == {"pixscale", "spiral_area_arcsec2", "bar_area_arcsec2", "bar_length_arcsec", "bar_pa"}


# Arms


def test_coverage_is_the_share_of_the_hull_that_lies_in_arms():
    frame = np.zeros((20, 30), bool)
    frame[2:13, 5:16] = True
    assert measure_arms(frame)["spiral_coverage"] == 1
    frame[5:10, 8:13] = False  # 5 x 5 of 11 x 11 pixels are not in an arm
    values = measure_arms(frame)
    assert values["spiral_coverage"] == pytest.approx(96 / 121)
    assert values["spiral_area_px"] == 96


@pytest.mark.parametrize("pixels", [[(3, 4)], [(3, 4), (3, 5), (3, 6)], [(3, 4), (4, 5), (5, 6)]])
def test_what_is_its_own_hull_covers_it(pixels):
    frame = np.zeros((20, 30), bool)
    frame[tuple(np.transpose(pixels))] = True
    assert measure_arms(frame)["spiral_coverage"] == 1
    disc = np.hypot(*(np.indices((61, 61)) - 30)) < 25.3
    assert measure_arms(disc)["spiral_coverage"] == 1


def test_two_pixels_apart_cover_their_share_of_the_line_between_them():
    frame = np.zeros((20, 30), bool)
    frame[3, 4] = frame[9, 13] = True  # 6 rows and 9 columns apart: the line crosses two more pixel centres
    assert measure_arms(frame)["spiral_coverage"] == pytest.approx(2 / 4)


@pytest.mark.parametrize("axis_ratio", [0.8, 0.5, 0.3])
def test_coverage_does_not_depend_on_inclination(axis_ratio):
    def arms(axis_ratio):
        rows, columns = np.indices((401, 401)) - 200
        radius, azimuth = np.hypot(columns, rows / axis_ratio), np.arctan2(rows / axis_ratio, columns)
        return (np.cos(2 * azimuth - 4 * np.log(radius + 1)) > 0.5) & (radius > 30) & (radius < 190)

    face_on, inclined = (measure_arms(arms(ratio))["spiral_coverage"] for ratio in (1, axis_ratio))
    assert 0.2 < face_on < 0.5
    assert inclined == pytest.approx(face_on, rel=0.02)


# Whole galaxies


def test_nothing_drawn_has_no_area_and_nothing_else():
    empty = np.zeros((20, 30), np.float32)
    values = measure({"spiral_mask": empty, "bar_mask": empty}, wcs_at(10, 20, 0.3, (20, 30)), 0.3)
    known = {name: value for name, value in values.items() if not np.isnan(value)}
    areas = ("spiral_area_px", "spiral_area_arcsec2", "bar_area_px", "bar_area_arcsec2")
    assert known == dict.fromkeys(areas, 0) | {"pixscale": 0.3}


@pytest.mark.parametrize("predicted", ["spiral_mask", "bar_mask"])
def test_a_mask_that_was_not_predicted_has_no_numbers(predicted):
    values = measure({predicted: bar_shape("ellipse", 60, 20, 30)}, wcs_at(10, 20, 0.3, (SIZE, SIZE)), 0.3)
    assert list(values) == list(COLUMNS)
    assert all(type(value) is float for value in values.values())
    known = {name for name, value in values.items() if not np.isnan(value)}
    assert known == {name for name in COLUMNS if name.startswith((predicted.split("_")[0], "pixscale"))}


def test_bars_of_simulated_galaxies_are_measured_as_volunteers_drew_them():
    ratios, turns = [], []
    for index in range(500):
        rng = np.random.default_rng([1, index])
        scene = sample_scene(rng)
        galaxy = scene.galaxy
        # A broad bar that is strongly foreshortened has another direction than its ridge.
        if galaxy.bar is None or galaxy.inclination > 30 or bar_visibility(scene) < 0.5:
            continue
        counts = counts_from_marks(draw_marks(scene, rng)["bar_mask"], (424, 424))
        values = measure_bar(counts / np.float32(15), wcs_at(10, 20, scene.pixscale, counts.shape), scene.pixscale)
        end = galaxy.to_sky(np.array(galaxy.bar.half_length), np.array(galaxy.bar.azimuth)) - galaxy.centre
        ratios.append(values["bar_length_arcsec"] / (2 * np.hypot(*end)))
        turns.append(difference(values["bar_pa"], galaxy.bar_position_angle()))
    assert len(ratios) > 10
    # The area that at least three of fifteen enclosed is a tenth longer than the bar.
    assert 1.0 < np.median(ratios) < 1.2
    assert np.std(ratios) < 0.1
    assert np.median(turns) < 2
