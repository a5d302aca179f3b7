"""Looks of surveys: what is drawn stays in its ranges, is recorded, and resembles real images."""

import importlib.util
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from zoobot3d_tf.simulation.galaxies import Colour, Disc, Galaxy, Scene
from zoobot3d_tf.simulation.looks import ANY, DECALS, SDSS, SINGLE_BAND, SURVEYS, LogNormal, Uniform, draw_look
from zoobot3d_tf.simulation.population import sample_scene
from zoobot3d_tf.simulation.render import render
from zoobot3d_tf.simulation.survey import simulate_galaxy, simulate_survey

_SCRIPT = Path(__file__).resolve().parents[1] / "examples" / "compare_skies.py"
_spec = importlib.util.spec_from_file_location("compare_skies", _SCRIPT)
compare_skies = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(compare_skies)


def an_empty_scene(**changes) -> Scene:
    """Sky without a galaxy."""
    faint = Galaxy("disc", 0.0, 0.0, disc=Disc(5.0, 40.0, Colour(0.6, 0.3)))
    return Scene(faint, n_native=400, seeing=(1.3, 1.2, 1.1), sky_noise=(0.01, 0.01, 0.01), **changes)


def test_spreads_stay_in_their_limits():
    rng = np.random.default_rng(0)
    drawn = [LogNormal(2.0, 0.5, low=1.0, high=3.0).draw(rng) for _ in range(400)]
    assert (min(drawn), max(drawn)) == (1.0, 3.0)
    assert np.median(drawn) == pytest.approx(2.0, rel=0.1)
    assert LogNormal(2.0, 0.0).draw(rng) == pytest.approx(2.0)
    assert 3 <= Uniform(3, 4).draw(rng) <= 4


def test_looks_are_drawn_with_their_shares():
    rng = np.random.default_rng(1)
    names = pd.Series([draw_look("mixed", rng).name for _ in range(2000)])
    for look, share in SURVEYS["mixed"].items():
        assert (names == look.name).mean() == pytest.approx(share, abs=0.04)
    assert {draw_look("sdss", rng) for _ in range(5)} == {SDSS}


def test_shares_of_looks_add_to_one():
    for survey, looks in SURVEYS.items():
        assert sum(looks.values()) == pytest.approx(1), survey


def test_what_is_drawn_lies_in_the_ranges_of_the_look():
    scenes = [sample_scene(np.random.default_rng([4, k]), ANY) for k in range(200)]
    assert {scene.display.stretch for scene in scenes} == set(ANY.stretches)
    assert all(ANY.detector_pixscale.low <= scene.detector_pixscale <= ANY.detector_pixscale.high for scene in scenes)
    assert all(ANY.z_share.low <= scene.z_share <= ANY.z_share.high for scene in scenes)
    assert all(ANY.brightness.low <= scene.display.brightness <= ANY.brightness.high for scene in scenes)
    assert all(ANY.pixscale_limits[0] * 0.99 < scene.pixscale < ANY.pixscale_limits[1] * 1.01 for scene in scenes)
    assert len({scene.sky_residual for scene in scenes}) == len({scene.display for scene in scenes}) == 200


def test_decals_has_one_display_and_one_sky():
    scenes = [sample_scene(np.random.default_rng([4, k])) for k in range(20)]
    assert {scene.look for scene in scenes} == {"decals"}
    assert len({scene.display for scene in scenes}) == 1
    assert {scene.sky_residual for scene in scenes} == {DECALS.sky_residual}


def test_a_defect_can_be_seen_in_a_grey_picture():
    scenes = [sample_scene(np.random.default_rng([5, k]), SINGLE_BAND) for k in range(400)]
    assert {scene.defect for scene in scenes} == {None, "bleed", "edge"}


def test_larger_pixels_of_the_detector_have_less_noise_per_area():
    # Pixels four times as large average over 16 times the area. Every 40th pixel of the image is of another pixel of
    # the detector; brighter ones are neighbours.
    levels = [
        render(an_empty_scene(detector_pixscale=pixscale), np.random.default_rng(0))[1] for pixscale in (0.262, 1.048)
    ]
    fine, coarse = (np.std(level[::40, ::40][np.abs(level[::40, ::40]) < 0.05]) for level in levels)
    assert coarse == pytest.approx(fine / 4, rel=0.35)


def test_the_reddest_band_is_a_mixture_of_r_and_z():
    scene = sample_scene(np.random.default_rng(2), DECALS)
    z, i = (
        render(Scene(scene.galaxy, 300, (1.2, 1.2, 1.2), (0.0, 0.0, 0.0), z_share=share), np.random.default_rng(3))
        for share in (1.0, 0.5)
    )
    centre = (slice(None), slice(202, 222), slice(202, 222))
    g, r, red = z[centre].mean(axis=(1, 2))
    assert i[centre].mean(axis=(1, 2)) == pytest.approx([g, r, (r + red) / 2], rel=0.02)


def test_neighbours_are_masked_in_single_band_pictures():
    scene = simulate_galaxy(0, 0, "single-band").truth
    disc = Galaxy("disc", 0.0, 0.0, disc=Disc(8.0, 20.0, Colour(0.6, 0.3)))
    scene = Scene(disc, 500, scene.seeing, (0.004, 0.004, 0.004), sky_residual=(0.01,) * 3, display=scene.display)
    peaks = []
    for seed in range(8):
        bands = render(scene, np.random.default_rng(seed))
        peaks.append(np.hypot(*(np.array(np.unravel_index(bands[1].argmax(), bands[1].shape)) - 211.5)))
    assert max(peaks) < 60
    assert (np.abs(bands[1]) < 1e-4).sum() > 20


def test_a_mixed_survey_records_what_was_drawn(tmp_path):
    folder = simulate_survey(tmp_path / "mixed", 16, seed=1, survey="mixed").parent
    truth = pd.read_csv(folder / "truth.csv")
    assert truth["look"].nunique() > 2
    for row in truth.itertuples():
        scene = simulate_galaxy(1, row.Index, "mixed").truth
        assert (row.look, row.stretch) == (scene.look, scene.display.stretch)
        assert row.detector_pixscale == pytest.approx(scene.detector_pixscale, abs=1e-6)
        assert row.sky_noise_r == pytest.approx(scene.sky_noise[1], abs=1e-6)
        assert row.sky_residual_z == pytest.approx(scene.sky_residual[2], abs=1e-6)
        assert row.brightness == pytest.approx(scene.display.brightness, abs=1e-6)
    image = np.asarray(Image.open(folder / "images" / "sim-1-000003.png"))
    np.testing.assert_array_equal(image, simulate_galaxy(1, 3, "mixed").image)


def test_a_survey_of_another_look_is_not_continued(tmp_path):
    simulate_survey(tmp_path / "new", 1, survey="sdss")
    with pytest.raises(ValueError, match=r'holds a survey with other settings, .*"survey": "sdss"'):
        simulate_survey(tmp_path / "new", 1)


def test_unknown_surveys_are_refused(tmp_path):
    for simulate in (lambda: simulate_survey(tmp_path / "new", 1, survey="hst"), lambda: simulate_galaxy(0, 0, "hst")):
        with pytest.raises(ValueError, match="decals, sdss, single-band, mixed; received 'hst'"):
            simulate()
    assert not (tmp_path / "new").exists()


def test_measurements_of_a_disc_known_by_hand():
    # A uniform disc of radius 100 pixels, red on a sky of 20, on an image of 848 pixels: half of its light is within
    # 100 / sqrt(2) pixels.
    y, x = np.indices((848, 848)) - 423.5
    image = np.full((848, 848, 3), 20, np.uint8)
    image[np.hypot(x, y) < 100] = (170, 120, 70)
    measured = compare_skies.measure(Image.fromarray(image))
    assert (measured["sky"], measured["noise"]) == (20, 0)
    assert measured["size"] == pytest.approx(100 / np.sqrt(2) / 848, rel=0.03)
    assert measured["peak"] == pytest.approx(100)
    assert (measured["red"], measured["blue"]) == pytest.approx((1.5, 0.5), abs=0.01)


def test_noise_of_an_image_without_a_galaxy():
    noise = np.random.default_rng(0).normal(100, 10, (212, 212, 1)).repeat(3, axis=2)
    measured = compare_skies.measure(Image.fromarray(noise.round().astype(np.uint8)))
    # The standard deviation of differences is sqrt(2) times that of the pixels.
    assert measured["noise"] == pytest.approx(10 * np.sqrt(2), rel=0.1)
    assert compare_skies.measure(Image.new("RGB", (300, 300)))["size"] is np.nan


@pytest.mark.parametrize(("survey", "folder"), [("sdss", "gz2"), ("single-band", "galaxy_builder")])
def test_pictures_resemble_those_of_the_survey(reference, survey, folder):
    files = reference / "data" / "real" / folder / "images"
    if not files.exists():
        pytest.skip(f"no reference images at {files}")
    real = compare_skies.measure_folder(files, at_most=40)
    images = [simulate_galaxy(3, index, survey).image for index in range(40)]
    simulated = pd.DataFrame([compare_skies.measure(Image.fromarray(image)) for image in images])
    bounds = {"sky": 16, "noise": 4, "size": 0.03, "peak": 35, "red": 0.15, "blue": 0.15}
    for name, tolerance in bounds.items():
        assert simulated[name].median() == pytest.approx(real[name].median(), abs=tolerance), name
