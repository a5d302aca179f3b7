"""Simulated galaxies: images, outlines and votes follow from the same parameters, and resemble real ones."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from zoobot3d_tf.files import one_owner
from zoobot3d_tf.images.masks import counts_from_marks
from zoobot3d_tf.schemas import get_schema
from zoobot3d_tf.simulation.field import add_defect
from zoobot3d_tf.simulation.galaxies import IMAGE_SIZE, Arm, Bar, Bulge, Colour, Disc, Galaxy, Ring, Scene
from zoobot3d_tf.simulation.light import galaxy_light
from zoobot3d_tf.simulation.population import KIND_SHARES, sample_scene
from zoobot3d_tf.simulation.render import render
from zoobot3d_tf.simulation.survey import simulate_galaxy, simulate_survey
from zoobot3d_tf.simulation.visibility import arms_visibility, bar_visibility, bulge_fraction, ring_visibility
from zoobot3d_tf.simulation.volunteers import draw_marks
from zoobot3d_tf.simulation.votes import answer_leanings, draw_votes

SHAPE = (IMAGE_SIZE, IMAGE_SIZE)
N_SURVEY = 24


def a_scene(**changes) -> Scene:
    """A large, bright galaxy, nearly face-on, with two clear arms and a clear bar."""
    disc = Disc(scale_length=5.0, mu_0=20.0, colour=Colour(0.6, 0.3), clumpiness=0.1)
    arms = tuple(Arm(0.5 + np.pi * k, 20.0, 1, r_start=6.0, r_end=18.0, width=1.0, contrast=3.0) for k in (0, 1))
    galaxy = Galaxy("spiral", 30.0, 70.0, disc=disc, bar=Bar(6.0, 1.8, 0.5, 3.0), arms=arms)
    noise = (0.0022, 0.0035, 0.0100)
    return Scene(replace(galaxy, **changes), n_native=400, seeing=(1.3, 1.2, 1.1), sky_noise=noise)


def position_angle(weights: np.ndarray) -> float:
    """Position angle in degrees, from north (up) through east (left), of the second moments of an image."""
    down, right = np.mgrid[: weights.shape[0], : weights.shape[1]].astype(float)
    right -= np.average(right, weights=weights)
    down -= np.average(down, weights=weights)
    xx, yy, xy = (np.average(moment, weights=weights) for moment in (right**2, down**2, right * down))
    angle = 0.5 * np.arctan2(2 * xy, xx - yy)
    return float(np.degrees(np.arctan2(-np.cos(angle), -np.sin(angle))) % 180)


def between_axes(a: float, b: float) -> float:
    return abs((a - b + 90) % 180 - 90)


@pytest.fixture(scope="module")
def sample():
    return [simulate_galaxy(11, index) for index in range(36)]


@pytest.fixture(scope="module")
def survey(tmp_path_factory):
    return simulate_survey(tmp_path_factory.mktemp("survey") / "new", N_SURVEY, seed=5).parent


def test_galaxy_depends_on_seed_and_index_only(sample):
    again = simulate_galaxy(11, 7)
    np.testing.assert_array_equal(again.image, sample[7].image)
    np.testing.assert_array_equal(again.bands, sample[7].bands)
    assert (again.truth, again.marks, again.votes) == (sample[7].truth, sample[7].marks, sample[7].votes)
    assert (again.image != simulate_galaxy(12, 7).image).any()


def test_population_has_the_expected_distributions():
    scenes = [sample_scene(np.random.default_rng([3, index])) for index in range(2000)]
    kinds = pd.Series([scene.galaxy.kind for scene in scenes])
    for kind, share in KIND_SHARES.items():
        assert (kinds == kind).mean() == pytest.approx(share, abs=4 * np.sqrt(share * (1 - share) / 2000))
    spirals = [scene.galaxy for scene in scenes if scene.galaxy.kind == "spiral"]
    assert np.mean([galaxy.bar is not None for galaxy in spirals]) == pytest.approx(0.5, abs=0.07)
    assert {len(galaxy.arms) for galaxy in spirals} == {1, 2, 3, 4, 5, 6}
    assert {arm.winds for galaxy in spirals for arm in galaxy.arms} == {-1, 1}
    pitch = [arm.pitch for galaxy in spirals for arm in galaxy.arms]
    assert np.mean(pitch) == pytest.approx(19, abs=1.5)
    assert np.std(pitch) == pytest.approx(7, abs=1.5)
    assert {scene.defect for scene in scenes} == {None, "trail", "bleed", "lost-band", "edge"}
    assert all(0.099 < scene.pixscale < 0.51 for scene in scenes)


def test_images_are_as_bright_as_real_ones(reference, sample):
    files = sorted((reference / "data" / "decals" / "images").glob("*.jpg"))[::6]
    real = [np.asarray(Image.open(file).convert("RGB")) for file in files]
    simulated = [galaxy.image for galaxy in sample if galaxy.truth.defect is None]
    bounds = {
        "sky": (lambda image: np.median(image[:40]), 2),
        "mean": (lambda image: image.mean(), 4),
        "centre": (lambda image: image[207:217, 207:217].mean(), 30),
        "contrast": (lambda image: image.mean(axis=2).std(), 6),
        "speckle": (lambda image: np.diff(image[:40].mean(axis=2), axis=1).std(), 3),
    }
    for name, (measure, tolerance) in bounds.items():
        medians = [np.median([measure(image) for image in images]) for images in (real, simulated)]
        assert medians[0] == pytest.approx(medians[1], abs=tolerance), name


@pytest.mark.parametrize("angle", [0.0, 25.0, 70.0, 160.0])
def test_disc_lies_in_the_middle_along_its_position_angle(angle):
    scene = a_scene(inclination=60.0, position_angle=angle, bar=None, arms=(), disc=Disc(5.0, 20.0, Colour(0.6, 0.3)))
    light = galaxy_light(scene.galaxy, 300, np.random.default_rng(0))[1]
    assert between_axes(position_angle(light), angle) < 0.5
    row, column = (np.arange(300) @ light.sum(axis) / light.sum() for axis in (1, 0))
    assert (row, column) == pytest.approx((149.5, 149.5), abs=0.1)


def test_blur_and_resampling_keep_place_and_surface_brightness():
    scene = a_scene(bar=None, arms=(), inclination=0.0)
    light = galaxy_light(scene.galaxy, scene.n_native, np.random.default_rng(4))[1]
    r_band = render(scene, np.random.default_rng(4))[1]
    # The seeing does not change the median of an annulus at two scale lengths, and neighbours hardly do.
    for image, pixscale in ((light, 0.262), (r_band, scene.pixscale)):
        y, x = np.mgrid[: len(image), : len(image)] - (len(image) - 1) / 2
        ring = image[np.abs(np.hypot(x, y) * pixscale - 10.0) < 0.5]
        assert np.median(ring) == pytest.approx(0.262**2 * 10**1 * np.exp(-2), rel=0.05)


def test_bar_has_the_true_angle_in_image_and_mask():
    scene = a_scene(arms=(), inclination=0.0)
    truth = scene.galaxy.bar_position_angle()
    assert truth == pytest.approx((70.0 - np.degrees(0.5)) % 180)
    r_band = render(scene, np.random.default_rng(0))[1]
    half = int(scene.galaxy.bar.half_length / scene.pixscale)
    centre = r_band[212 - half : 212 + half, 212 - half : 212 + half]
    y, x = np.mgrid[: centre.shape[0], : centre.shape[1]] - (half - 0.5)
    inside = np.hypot(x, y) < half
    assert between_axes(position_angle(np.where(inside, centre, 0)), truth) < 4

    counts = counts_from_marks(draw_marks(scene, np.random.default_rng(0))["bar_mask"], SHAPE)
    assert between_axes(position_angle(counts), truth) < 4
    row, column = (np.arange(IMAGE_SIZE) @ counts.sum(axis) / counts.sum() for axis in (1, 0))
    assert (row, column) == pytest.approx((211.5, 211.5), abs=2)
    majority = np.argwhere(counts > 7) - 211.5
    assert np.hypot(*majority.T).max() * scene.pixscale == pytest.approx(6.0, rel=0.2)


def test_inclination_turns_the_seen_bar_towards_the_major_axis():
    scene = a_scene(inclination=60.0)
    in_plane = np.degrees(scene.galaxy.bar.azimuth)
    seen = between_axes(scene.galaxy.bar_position_angle(), scene.galaxy.position_angle)
    assert np.tan(np.radians(seen)) == pytest.approx(np.tan(np.radians(in_plane)) * 0.5)


def test_arms_are_drawn_and_shine_along_their_ridges():
    scene = a_scene(bar=None)
    r_band = render(scene, np.random.default_rng(1))[1]
    counts = counts_from_marks(draw_marks(scene, np.random.default_rng(1))["spiral_mask"], SHAPE)
    for arm in scene.galaxy.arms:
        radius, azimuth = arm.at(np.linspace(0.25, 0.7, 40))
        on, off = (
            np.rint(scene.to_pixels(scene.galaxy.to_sky(radius, azimuth + turn))).astype(int).T
            for turn in (0, np.pi / 2)
        )
        assert counts[on[1], on[0]].mean() > 9
        assert counts[off[1], off[0]].mean() < 1
        assert r_band[on[1], on[0]].mean() > 1.8 * r_band[off[1], off[0]].mean()


def test_arm_opens_by_its_pitch():
    arm = Arm(phase=0.3, pitch=20.0, winds=-1, r_start=2.0, r_end=9.0, width=0.5, contrast=1.0)
    radius, azimuth = arm.at(np.array([0.0, 1.0]))
    assert radius == pytest.approx([2.0, 9.0])
    # r = r_start exp(theta tan(pitch)), wound backwards
    assert azimuth[0] - azimuth[1] == pytest.approx(np.log(4.5) / np.tan(np.radians(20)))


def test_ring_adds_light_at_its_radius_and_removes_it_inside_and_beyond():
    ring = Ring(radius=10.0, width=1.0, contrast=1.0, gap=0.5, edge=0.8)
    disc = Disc(scale_length=5.0, mu_0=20.0, colour=Colour(0.6, 0.3))
    plain = Galaxy("disc", 60.0, 90.0, disc=disc)
    with_ring, without = (
        galaxy_light(galaxy, 301, np.random.default_rng(0))[1] for galaxy in (replace(plain, ring=ring), plain)
    )
    share = with_ring[150] / without[150]  # east to west along the major axis
    at = {radius: share[150 + round(radius / 0.262)] for radius in (0.5, 6.0, 10.0, 14.0)}
    on_ridge = 2 - 0.5 * np.exp(-2)  # two widths from the middle of the gap
    assert at == pytest.approx({0.5: 1.0, 6.0: 0.5, 10.0: on_ridge, 14.0: 0.2}, abs=0.04)
    minor = with_ring[:, 150] / without[:, 150]  # foreshortened by cos(60) = 1/2
    assert minor[150 + round(5.0 / 0.262)] == pytest.approx(on_ridge, abs=0.04)


def test_ring_is_voted_for_where_it_can_be_seen():
    ring = Ring(radius=8.0, width=1.0, contrast=1.5, gap=0.5)
    clear = a_scene(kind="disc", arms=(), ring=ring)
    tiny = a_scene(kind="disc", arms=(), ring=replace(ring, radius=0.8, width=0.1))
    assert ring_visibility(clear) > 0.7 > 0.2 > ring_visibility(tiny) > ring_visibility(a_scene()) == 0
    assert answer_leanings(clear)["ring_yes"] > 0.65
    assert answer_leanings(a_scene())["ring_yes"] == pytest.approx(0.04)


def test_fewer_volunteers_draw_structures_that_are_hard_to_see():
    clear, faint = a_scene(), a_scene(disc=replace(a_scene().galaxy.disc, mu_0=26.0))
    tilted = a_scene(inclination=78.0)
    assert arms_visibility(clear) > 0.8 > 0.4 > arms_visibility(faint)
    assert arms_visibility(tilted) < 0.5 * arms_visibility(clear)
    assert bar_visibility(faint) < bar_visibility(clear)

    def drawn(scene: Scene, kind: str) -> int:
        return sum(bool(volunteer) for volunteer in draw_marks(scene, np.random.default_rng(2), 200)[kind])

    for kind in ("spiral_mask", "bar_mask"):
        assert drawn(faint, kind) < drawn(clear, kind)


def test_volunteers_draw_no_structure_where_there_is_none(sample):
    for galaxy in sample:
        if not galaxy.truth.galaxy.arms:
            assert galaxy.spiral_counts.max() == 0
        if galaxy.truth.galaxy.bar is None:
            assert galaxy.bar_counts.max() == 0


def test_marks_are_fifteen_volunteers_and_give_the_counts(sample):
    for galaxy in sample:
        for kind, counts in (("spiral_mask", galaxy.spiral_counts), ("bar_mask", galaxy.bar_counts)):
            assert len(galaxy.marks[kind]) == 15
            assert counts.shape == SHAPE
            assert counts.max() <= 15
            np.testing.assert_array_equal(counts, counts_from_marks(galaxy.marks[kind], SHAPE))
    lengths = {len(path) for galaxy in sample for volunteer in galaxy.marks["spiral_mask"] for path in volunteer}
    assert 1 in lengths  # a stray click


def test_votes_obey_the_tree(sample):
    schema = get_schema("decals_rings")
    for galaxy in sample:
        assert list(galaxy.votes) == list(schema.label_cols)
        for question in schema.questions:
            total = sum(galaxy.votes[answer.text] for answer in question.answers)
            if question.asked_after:
                assert total == sum(galaxy.votes[parent.text] for parent in question.asked_after)
            else:
                assert 36 <= total <= 44


def test_leanings_are_probabilities_of_every_answer(sample):
    for galaxy in sample:
        leanings = answer_leanings(galaxy.truth)
        for question in get_schema("decals_rings").questions:
            weights = np.array([leanings[answer.text] for answer in question.answers])
            assert weights.sum() == pytest.approx(1)
            assert (weights >= 0).all()


def test_votes_follow_the_truth():
    def fractions(scene: Scene, question: str) -> dict[str, float]:
        many = [draw_votes(scene, np.random.default_rng(k)) for k in range(60)]
        totals = pd.DataFrame(many).filter(regex=f"^{question}_").sum()
        return (totals / totals.sum()).rename(lambda column: column.removeprefix(f"{question}_")).to_dict()

    spiral = a_scene()
    assert fractions(spiral, "smooth-or-featured")["featured-or-disk"] > 0.6
    assert fractions(spiral, "has-spiral-arms")["yes"] > 0.7
    assert fractions(spiral, "bar")["no"] < 0.4
    assert fractions(spiral, "spiral-arm-count")["2"] > 0.6
    tight = a_scene(arms=tuple(replace(arm, pitch=9.0) for arm in spiral.galaxy.arms))
    assert fractions(tight, "spiral-winding")["tight"] > 0.6 > fractions(spiral, "spiral-winding")["tight"]
    body = Bulge(5.0, 4.0, 21.5, 0.9, Colour(0.8, 0.5))
    elliptical = a_scene(kind="elliptical", bulge=body, disc=None, bar=None, arms=())
    assert fractions(elliptical, "smooth-or-featured")["smooth"] > 0.7
    assert fractions(elliptical, "how-rounded")["round"] > 0.6
    merger = a_scene(kind="merger", companions=(elliptical.galaxy,))
    assert fractions(merger, "merging")["none"] < 0.3 < fractions(spiral, "merging")["none"]


def test_bulge_fraction_of_a_profile_known_by_hand():
    # A Sersic profile of index 1 is an exponential disc: half-light radius 1.678 h, mu_e = mu_0 + 1.822.
    disc = Disc(scale_length=4.0, mu_0=20.0, colour=Colour(0.6, 0.3))
    bulge = Bulge(1.678 * 4.0, 1.0, 20.0 + 1.822, 1.0, Colour(0.6, 0.3))
    assert bulge_fraction(Galaxy("disc", 0.0, 0.0, bulge, disc)) == pytest.approx(0.5, abs=0.002)


def test_survey_has_a_training_catalogue_and_its_files(survey):
    catalog = pd.read_csv(survey / "catalog.csv")
    votes = list(get_schema("decals_rings").label_cols)
    masks = ["spiral_mask_loc", "bar_mask_loc", "marks_loc"]
    assert list(catalog.columns) == ["id_str", "file_loc", "ra", "dec", "pixscale", *votes, *masks, "n_volunteers"]
    assert list(catalog["id_str"]) == [f"sim-5-{index:06d}" for index in range(N_SURVEY)]
    for file_loc in catalog["file_loc"]:
        with Image.open(survey / file_loc) as image:
            assert (image.size, image.mode) == (SHAPE, "RGB")
    assert 0 < catalog[votes[0]].isna().sum() < N_SURVEY / 3
    assert (catalog[votes].isna().all(axis=1) == catalog[votes].isna().any(axis=1)).all()
    assert 0.3 < catalog["spiral_mask_loc"].isna().mean() < 0.9
    for row in catalog[catalog["spiral_mask_loc"].notna()].itertuples():
        marks = json.loads((survey / row.marks_loc).read_text())
        for kind, file in (("spiral_mask", row.spiral_mask_loc), ("bar_mask", row.bar_mask_loc)):
            with Image.open(survey / file) as mask:
                assert mask.mode == "L"
                counts = np.asarray(mask)
            assert counts.max() <= row.n_volunteers == 15
            np.testing.assert_array_equal(counts, counts_from_marks(marks[kind], SHAPE))
    truth = pd.read_csv(survey / "truth.csv")
    assert list(truth["id_str"]) == list(catalog["id_str"])
    assert truth["kind"].isin(KIND_SHARES).all()
    assert {"inclination", "n_arms", "pitch", "bar_half_length", "bar_position_angle"} <= set(truth.columns)


def test_files_do_not_depend_on_workers_and_number(survey, tmp_path):
    simulate_survey(tmp_path / "two", 10, seed=5, workers=2)

    def digests(folder):
        files = [path for path in folder.glob("*/*") if path.is_file()]
        return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    ours, theirs = digests(tmp_path / "two"), digests(survey)
    assert len(ours) > 10
    assert ours.items() <= theirs.items()
    for table in ("catalog.csv", "truth.csv"):
        assert (survey / table).read_text().startswith((tmp_path / "two" / table).read_text())


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_other_files_and_other_surveys_are_not_written_over(survey, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="is a folder with other files"):
        simulate_survey(tmp_path, 3)
    with pytest.raises(ValueError, match=r"notes\.txt: is a file"):
        simulate_survey(tmp_path / "notes.txt", 3)
    assert contents(tmp_path).keys() == {"notes.txt"}
    before = contents(survey)
    for settings in ({"n": N_SURVEY + 1, "seed": 5}, {"n": N_SURVEY, "seed": 6}):
        with pytest.raises(ValueError, match=rf'other settings, {{"n": {N_SURVEY}, "seed": 5, .*"n": {settings["n"]},'):
            simulate_survey(survey, **settings)
    assert contents(survey) == before


def test_a_complete_survey_is_not_written_again(survey):
    times = {path: path.stat().st_mtime_ns for path in survey.rglob("*.*")}
    assert simulate_survey(survey, N_SURVEY, seed=5) == survey / "catalog.csv"
    assert {path: path.stat().st_mtime_ns for path in survey.rglob("*.*")} == times


def test_a_survey_has_one_owner(tmp_path):
    with one_owner(tmp_path), pytest.raises(BlockingIOError, match=f"process {os.getpid()} .*is writing it"):
        simulate_survey(tmp_path, 3)


def test_a_survey_that_is_killed_goes_on_to_the_same_bytes(tmp_path, survey):
    command = [sys.executable, "-m", "zoobot3d_tf", "simulate", "--n", str(N_SURVEY), "--seed", "5", "--workers", "2"]
    command += ["--out", str(tmp_path / "new")]
    n_images, n_killed = 0, 0
    while n_images < 16:
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        while process.poll() is None and len(list(tmp_path.glob("new/images/sim*.png"))) < n_images + 2:
            time.sleep(0.001)
        process.kill()
        n_killed += process.wait() == -signal.SIGKILL
        n_images = len(list(tmp_path.glob("new/images/sim*.png")))
    assert n_killed >= 3
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.glob("new/images/sim*.png")}
    subprocess.run(command, check=True, capture_output=True)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert contents(tmp_path / "new") == contents(survey)


def test_a_survey_that_was_killed_at_its_very_beginning_goes_on(tmp_path):
    for name in (".lock", ".partial-simulation.json"):
        (tmp_path / name).write_text("")
    assert simulate_survey(tmp_path, 1).is_file()


def test_an_interrupted_survey_holds_only_whole_files(tmp_path, monkeypatch, survey):
    whole = {path.name: path.read_bytes() for path in survey.rglob("*") if path.is_file()}
    save, n_saved = Image.Image.save, 0

    def save_five_and_a_half(image, path, **options):
        nonlocal n_saved
        n_saved += 1
        save(image, path, **options)
        if n_saved == 6:
            path.write_bytes(path.read_bytes()[:100])
            raise KeyboardInterrupt

    monkeypatch.setattr(Image.Image, "save", save_five_and_a_half)
    with pytest.raises(KeyboardInterrupt):
        simulate_survey(tmp_path / "new", N_SURVEY, seed=5)
    written = [path for path in (tmp_path / "new").rglob("*") if path.is_file()]
    assert sum(path.suffix == ".png" for path in written) == 5
    assert not [path for path in written if path.suffix == ".csv"]
    for path in written:
        assert path.read_bytes() == whole[path.name]


@pytest.mark.parametrize("wrong", [{"n": 0}, {"n": 2, "workers": 0}, {"n": 2, "seed": -1}])
def test_impossible_requests_are_refused(tmp_path, wrong):
    with pytest.raises(ValueError, match="n and workers must be >= 1 and seed >= 0; received"):
        simulate_survey(tmp_path, **wrong)


def test_impossible_galaxy_and_defect_are_refused():
    with pytest.raises(ValueError, match="seed and index must be >= 0; received seed 0, index -1"):
        simulate_galaxy(0, -1)
    with pytest.raises(ValueError, match="edge; received 'smudge'"):
        add_defect(np.zeros((3, 9, 9), np.float32), "smudge", np.random.default_rng(0))
