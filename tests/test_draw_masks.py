"""Masks drawn on the pixel grid of cutouts: they lie on the galaxy, and a faulty galaxy does not affect others."""

import errno
import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from PIL import Image

from zoobot3d_tf.catalogs.training_catalog import read_training_catalog
from zoobot3d_tf.images.read import read_image, read_mask
from zoobot3d_tf.schemas import get_schema
from zoobot3d_tf.surveys.draw_masks import draw_masks
from zoobot3d_tf.surveys.gz3d import mask_wcs

RA, DEC = 165.2971496582, 12.474752426147
SIZE, PIXSCALE = 128, 0.3
STAR = (330.0, 180.0)
"""Position on the grid of the masks, (x, y)."""


def around(x, y, half=12):
    return [[x - half, y - half], [x + half, y - half], [x + half, y + half], [x - half, y + half]]


def write_cutout(folder, id_str, angle=0.0, size=SIZE):
    """Write a rotated cutout, whose centre is 3 arcsec from the centre of the masks, with a star at STAR."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [RA + 3 / 3600, DEC]
    wcs.wcs.crpix = [(size + 1) / 2, (size + 1) / 2]
    cos, sin = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    wcs.wcs.cd = np.array([[-cos, sin], [sin, cos]]) * PIXSCALE / 3600
    column, row = wcs.world_to_pixel_values(*mask_wcs(RA, DEC).pixel_to_world_values(*STAR))
    y, x = np.mgrid[:size, :size]
    star = np.exp(-0.5 * ((x - column) ** 2 + (y - row) ** 2) / 2**2).astype(np.float32)
    for name in ("fits", "images"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    fits.PrimaryHDU(np.stack([star] * 3), wcs.to_header()).writeto(folder / "fits" / f"{id_str}.fits")
    Image.fromarray(read_image(folder / "fits" / f"{id_str}.fits")).save(folder / "images" / f"{id_str}.png")


def write_catalog(folder, ids, **columns):
    fixed = {"wcs_ra": RA, "wcs_dec": DEC, "cutout_ra": RA + 3 / 3600, "cutout_dec": DEC, "pixscale": PIXSCALE}
    table = pd.DataFrame({"id_str": ids, "file_loc": [f"images/{id_str}.png" for id_str in ids], **fixed} | columns)
    table.to_csv(folder / "catalog.csv", index=False)
    return folder / "catalog.csv"


def write_marks(folder, id_str, **marks):
    folder.mkdir(exist_ok=True)
    (folder / f"{id_str}.json").write_text(json.dumps(marks))


def centroid(image):
    light = image.astype(float)
    return [np.arange(len(light)) @ light.sum(axis) / light.sum() for axis in (0, 1)]


def rows_of(catalog):
    return pd.read_csv(catalog, keep_default_na=False).set_index("id_str")


@pytest.mark.parametrize(("angle", "has_fits"), [(0, True), (40, True), (0, False)])
def test_a_mask_lies_where_the_image_shows_what_was_enclosed(tmp_path, angle, has_fits):
    cutouts, marks, out = tmp_path / "cutouts", tmp_path / "marks", tmp_path / "masks"
    write_cutout(cutouts, "J1", angle)
    write_marks(marks, "J1", spiral_mask=[[around(*STAR)], []])
    if not has_fits:
        (cutouts / "fits" / "J1.fits").unlink()
    row = rows_of(draw_masks(write_catalog(cutouts, ["J1"]), marks, out)).loc["J1"]
    mask = read_mask(out / row.spiral_mask_loc, (SIZE, SIZE), n_volunteers=2)
    image = read_image(out / row.file_loc)[..., 1]
    assert centroid(mask) == pytest.approx(centroid(np.where(image > 60, image, 0)), abs=0.3)
    assert mask.max() == 1
    assert mask.sum() == pytest.approx((24 * 0.099 / PIXSCALE) ** 2, rel=0.15)


def test_missing_is_not_empty(tmp_path):
    ids = ["drawn", "blank", "only_spiral", "unasked", "no_marks"]
    for id_str in ids:
        write_cutout(tmp_path / "cutouts", id_str)
    marks, drawing = tmp_path / "marks", [around(262, 262)]
    write_marks(marks, "drawn", spiral_mask=[drawing] * 4, bar_mask=[drawing, [], drawing, []])
    write_marks(marks, "blank", spiral_mask=[[], []], bar_mask=[[], []])
    write_marks(marks, "only_spiral", spiral_mask=[drawing] * 3)
    write_marks(marks, "unasked")
    catalog = draw_masks(write_catalog(tmp_path / "cutouts", ids), marks, tmp_path / "masks", workers=2)
    rows = rows_of(catalog)
    assert list(rows["spiral_mask_loc"] != "") == [True, True, True, False, False]
    assert list(rows["bar_mask_loc"] != "") == [True, True, False, False, False]
    assert list(rows["n_volunteers"]) == ["4", "2", "3", "", ""]
    highest = [np.asarray(Image.open(catalog.parent / loc)).max() for loc in rows["spiral_mask_loc"][:3]]
    assert highest == [4, 0, 3]
    assert np.asarray(Image.open(catalog.parent / rows["bar_mask_loc"]["drawn"])).max() == 2
    assert len(list(catalog.parent.glob("*.png"))) == 5

    training = read_training_catalog(catalog, get_schema("decals"), missing_questions_unasked=True)
    assert list(training["n_volunteers"][:3]) == [4, 2, 3]
    assert read_image(training["file_loc"][4]).shape == (SIZE, SIZE, 3)


@pytest.mark.parametrize(
    ("volunteers", "n_volunteers", "highest"),
    [(None, 2, {"spiral_mask": 2, "bar_mask": 1}), ([1], 1, {"spiral_mask": 1, "bar_mask": 0})],
)
def test_both_masks_count_the_same_number_of_volunteers(tmp_path, volunteers, n_volunteers, highest):
    write_cutout(tmp_path, "J1")
    drawing = [around(262, 262)]
    write_marks(tmp_path / "marks", "J1", spiral_mask=[drawing] * 5, bar_mask=[drawing, []])
    row = rows_of(draw_masks(write_catalog(tmp_path, ["J1"]), tmp_path / "marks", tmp_path / "out", volunteers)).loc[
        "J1"
    ]
    assert row.n_volunteers == n_volunteers
    for name, count in highest.items():
        assert np.asarray(Image.open(tmp_path / "out" / row[f"{name}_loc"])).max() == count


def test_lines_are_drawn_with_their_width(tmp_path):
    write_cutout(tmp_path, "J1")
    line = {"line": [[211.5, 261.5], [311.5, 261.5]], "width": 40}
    outline = [[211.5, 241.5], [311.5, 241.5], [311.5, 281.5], [211.5, 281.5]]
    write_marks(tmp_path / "marks", "J1", spiral_mask=[[line]], bar_mask=[[outline]])
    draw_masks(write_catalog(tmp_path, ["J1"]), tmp_path / "marks", tmp_path / "out")
    arm, bar = (np.asarray(Image.open(tmp_path / "out" / f"J1_{name}.png")) > 0 for name in ("spiral_mask", "bar_mask"))
    # The line is the outline and two half discs of radius 20.
    assert (arm.sum() / bar.sum()) == pytest.approx(1 + np.pi * 20**2 / (100 * 40), rel=0.02)


def test_self_crossing_paths_are_left_out_on_request(tmp_path):
    write_cutout(tmp_path, "J1")
    write_marks(tmp_path / "marks", "J1", bar_mask=[[[[200, 200], [300, 300], [300, 200], [200, 300]]]])
    catalog = write_catalog(tmp_path, ["J1"])
    for drop, highest in ((False, 1), (True, 0)):
        draw_masks(catalog, tmp_path / "marks", tmp_path / "out", drop_self_crossing=drop)
        assert np.asarray(Image.open(tmp_path / "out" / "J1_bar_mask.png")).max() == highest


def test_a_faulty_galaxy_fails_alone(tmp_path):
    faults = {
        "broken": "cannot be read as marks",
        "listed": "JSON object",
        "flat": "spiral_mask: component 0 of volunteer 0",
        "few": "2 volunteers",
        "imageless": "no such file",
        "resized": "200 x 200",
        "web_page": "not a FITS file",
        "nowhere": "wcs_ra or wcs_dec is empty",
    }
    cutouts, marks = tmp_path / "cutouts", tmp_path / "marks"
    ids = ["good", *faults]
    for id_str in ids:
        write_cutout(cutouts, id_str)
        write_marks(marks, id_str, spiral_mask=[[around(262, 262)]] * 3)
    (marks / "broken.json").write_text('{"spiral_mask": [')
    (marks / "listed.json").write_text("[]")
    write_marks(marks, "flat", spiral_mask=[[[1, 2]], [], []])
    write_marks(marks, "few", spiral_mask=[[], []])
    (cutouts / "images" / "imageless.png").unlink()
    (cutouts / "fits" / "resized.fits").unlink()
    write_cutout(tmp_path / "other", "resized", size=200)
    (tmp_path / "other" / "fits" / "resized.fits").rename(cutouts / "fits" / "resized.fits")
    (cutouts / "fits" / "web_page.fits").write_bytes(b"<html></html>")
    catalog = write_catalog(cutouts, ids, wcs_ra=[np.nan if id_str == "nowhere" else RA for id_str in ids])
    out = tmp_path / "masks"
    assert list(rows_of(draw_masks(catalog, marks, out, volunteers=[0, 2], max_failed=1)).index) == ["good"]
    failed = pd.read_csv(out / "failed.csv").set_index("id_str")
    assert list(failed.index) == list(faults)
    for id_str, words in faults.items():
        assert words in failed["reason"][id_str], id_str

    write_catalog(cutouts, ["good"])
    draw_masks(catalog, marks, out)
    assert not (out / "failed.csv").exists()


@pytest.mark.parametrize("workers", [1, 2])
def test_too_many_faulty_galaxies_stop_the_run(tmp_path, workers):
    cutouts, marks, ids = tmp_path / "cutouts", tmp_path / "marks", [f"g{i}" for i in range(8)]
    for id_str in ids:
        write_cutout(cutouts, id_str)
        write_marks(marks, id_str, spiral_mask=[[around(262, 262)]] * 3)
    for id_str in ids[:6]:
        (marks / f"{id_str}.json").write_text("{")
    catalog, out = write_catalog(cutouts, ids), tmp_path / "masks"
    with pytest.raises(ValueError, match=r"6 of 8 galaxies .*max_failed 0\.01 .*g0\.json.*failed\.csv"):
        draw_masks(catalog, marks, out, workers=workers)
    assert list(pd.read_csv(out / "failed.csv")["id_str"]) == ids[:6]
    assert not (out / "catalog.csv").exists()
    assert list(rows_of(draw_masks(catalog, marks, out, max_failed=0.75)).index) == ids[6:]
    write_marks(marks, "g0", spiral_mask=[[around(262, 262)]] * 3)
    assert len(rows_of(draw_masks(catalog, marks, out))) == 3, "five galaxies may always fail"
    with pytest.raises(ValueError, match=r"1 of 8 galaxies .*max_failed 0 "):
        draw_masks(catalog, marks, out, max_failed=0)


def test_a_fault_of_the_disk_stops_the_run(tmp_path, monkeypatch):
    write_cutout(tmp_path, "J1")
    write_marks(tmp_path, "J1", spiral_mask=[[around(262, 262)]])

    def fail(path):
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))

    monkeypatch.setattr(Path, "read_bytes", fail)
    with pytest.raises(OSError, match=r"Input/output error: .*J1\.json"):
        draw_masks(write_catalog(tmp_path, ["J1"]), tmp_path, tmp_path / "masks")
    assert not (tmp_path / "masks" / "failed.csv").exists()


def test_a_galaxy_without_position_fails(tmp_path):
    write_cutout(tmp_path, "J1")
    (tmp_path / "fits" / "J1.fits").unlink()
    write_marks(tmp_path / "marks", "J1", spiral_mask=[[]])
    with pytest.raises(ValueError, match=r"J1.png: .*pixscale"):
        draw_masks(write_catalog(tmp_path, ["J1"], pixscale=np.nan), tmp_path / "marks", tmp_path / "out")


@pytest.mark.parametrize(
    ("ids", "columns", "words"),
    [
        (["../J1"], {}, r"id_str is '\.\./J1' in row 2"),
        (["J1", "J1"], {}, "id_str is 'J1' in row 3"),
        (["J1"], {"wcs_dec": "north"}, "wcs_dec is 'north' in row 2"),
        (["J1"], {"file_loc": ""}, "file_loc is '' in row 2"),
    ],
)
def test_catalogue_is_checked_before_anything_is_written(tmp_path, ids, columns, words):
    (tmp_path / "marks").mkdir()
    with pytest.raises(ValueError, match=words):
        draw_masks(write_catalog(tmp_path, ids, **columns), tmp_path / "marks", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_faulty_arguments_are_refused(tmp_path):
    catalog = write_catalog(tmp_path, ["J1"])
    with pytest.raises(FileNotFoundError, match="marks: no such folder"):
        draw_masks(catalog, tmp_path / "marks", tmp_path / "out")
    (tmp_path / "marks").mkdir()
    with pytest.raises(ValueError, match=r"volunteers must .*received none"):
        draw_masks(catalog, tmp_path / "marks", tmp_path / "out", volunteers=[])
    with pytest.raises(ValueError, match="would be overwritten"):
        draw_masks(catalog, tmp_path / "marks", tmp_path)
