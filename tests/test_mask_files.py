"""Files of masks: on the pixel grid of the image, with the right WCS, never outside their folder."""

import errno
import os
import re
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import cv2
import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS
from PIL import Image

from zoobot3d_tf.data.framing import Framing, central_affine, warp
from zoobot3d_tf.images.read import ImageError, read_image, resize_image
from zoobot3d_tf.images.wcs import pixel_of_sky, read_wcs, wcs_at
from zoobot3d_tf.predictions.mask_files import (
    MaskOrigin,
    fits_extensions,
    fits_loc,
    fits_primary,
    read_mask_file,
    to_fraction,
    to_image,
    write_fits_masks,
    write_masks,
    write_overlay,
)

ORIGIN = MaskOrigin(
    "1.2", ("0" * 64, "f" * 64), ("small general weights, trained on real galaxies of several surveys",)
)
RNG = np.random.default_rng(0)
MASKS = {name: RNG.integers(0, 256, (30, 41), dtype=np.uint8) for name in ("spiral_mask", "bar_mask")}


def test_the_header_says_what_predicted_the_masks_in_whole_words(tmp_path):
    write_fits_masks(tmp_path, "g1", MASKS, None, ORIGIN)
    header = fits.getheader(tmp_path / "g1_masks.fits")
    assert header["CREATOR"] == "zoobot3d_tf 1.2"
    assert (header["SHA_1"], header["SHA_2"]) == ORIGIN.weights
    assert abs(datetime.now(UTC).date() - date.fromisoformat(header["DATE"])) <= timedelta(days=1)
    comment = " ".join(header["COMMENT"])
    assert f"Predicted with {ORIGIN.notes[0]}." in comment
    assert "share of volunteers who would enclose a pixel, 0 to 1, of the spiral arms" in comment


# Over the image


def test_outside_the_crop_a_mask_is_zero():
    mask = to_image(np.ones((224, 224), np.float32), Framing(300, 225, 224), (400, 440))
    assert mask.shape == (400, 440)
    # The crop is the central 300 px of 400, and its edge fades over a pixel of the network.
    assert mask[:49].max() == mask[351:].max() == mask[:, :69].max() == mask[:, 371:].max() == 0
    assert mask[52:348, 72:368].min() == 255


def test_255_means_every_volunteer():
    np.testing.assert_array_equal(to_fraction(np.array([0, 51, 255], np.uint8)), np.float32([0, 0.2, 1]))


def test_png_masks_are_read_back_to_the_last_bit(tmp_path):
    locs = write_masks(tmp_path, "g1", MASKS)
    assert locs == {name: str(tmp_path / f"g1_{name}.png") for name in MASKS}
    for name, mask in MASKS.items():
        np.testing.assert_array_equal(read_mask_file(locs[name]), to_fraction(mask))
        np.testing.assert_array_equal(cv2.imread(locs[name], cv2.IMREAD_UNCHANGED), mask)


def test_an_overlay_shows_the_image_where_nothing_is_masked(tmp_path):
    image = np.full((40, 50, 3), (10, 100, 200), np.uint8)
    mask = np.zeros((40, 50), np.uint8)
    mask[10:20, 10:30] = 255
    write_overlay(tmp_path, "g1", image, {"bar_mask": mask})
    drawn = np.array(Image.open(tmp_path / "g1_overlay.png"))
    np.testing.assert_array_equal(drawn[30:], image[30:])
    assert (drawn[12:18, 12:28] != image[0, 0]).any(axis=2).all()


# On the sky

ROTATED = {
    "CTYPE1": "RA---TAN",
    "CTYPE2": "DEC--TAN",
    "CRVAL1": 0.001,
    "CRVAL2": -60.0,
    "CRPIX1": 100.25,
    "CRPIX2": 75.5,
    "CD1_1": -0.6e-4,
    "CD1_2": 0.35e-4,
    "CD2_1": 0.4e-4,
    "CD2_2": 0.65e-4,
}
FRAMINGS = [
    Framing(300, 225, 224),  # the images are upscaled, cropped, and hardly resized
    Framing(100, 100, 100),  # downscaled
    Framing(128, 90, 64),  # downscaled twice
    Framing(424, 300, 512),  # upscaled twice
]


def blob_at(shape, x, y):
    columns, rows = np.meshgrid(np.arange(shape[1]), np.arange(shape[0]))
    return np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * 8**2)).astype(np.float32)


def mask_of_a_network_that_shows_its_input(path, framing):
    image = read_image(path)
    seen = warp(resize_image(image, framing.initial_size), central_affine(framing), framing.final_size)
    return to_image(seen[..., 0] / np.float32(255), framing, image.shape[:2])


def separation_in_pixels(loc_of_mask, ra, dec):
    """Separation of a position from the centroid of a mask, read by astropy only."""
    path, extension = loc_of_mask.removesuffix("]").split("[")
    with fits.open(path) as hdus:
        fraction, wcs = hdus[extension].data, WCS(hdus[extension].header)
    rows, columns = np.indices(fraction.shape)
    centroid = wcs.pixel_to_world(*(np.average(place, weights=fraction) for place in (columns, rows)))
    pixel = np.sqrt(np.abs(np.linalg.det(wcs.pixel_scale_matrix))) * 3600
    return centroid.separation(SkyCoord(ra, dec, unit="deg")).arcsec / pixel


@pytest.mark.parametrize("framing", FRAMINGS, ids=str)
@pytest.mark.parametrize("shape", [(151, 214), (214, 151), (200, 200)])
def test_a_blob_in_a_fits_cutout_keeps_its_place_on_the_sky_to_a_tenth_of_a_pixel(tmp_path, framing, shape):
    sky = WCS(fits.Header(ROTATED))
    x, y = shape[1] / 2 + 7.3, shape[0] / 2 - 11.6  # pixel of the FITS file: y counts from the bottom
    position = sky.pixel_to_world(x, y)
    fluxes = np.stack([0.05 * blob_at(shape, x, y)] * 3)
    fits.PrimaryHDU(fluxes, fits.Header(ROTATED)).writeto(tmp_path / "cutout.fits")

    mask = mask_of_a_network_that_shows_its_input(tmp_path / "cutout.fits", framing)
    mask[mask < 30] = 0  # the empty sky after the stretch
    locs = write_fits_masks(tmp_path, "g1", {"bar_mask": mask}, read_wcs(tmp_path / "cutout.fits"), ORIGIN)
    assert separation_in_pixels(locs["bar_mask"], position.ra.deg, position.dec.deg) < 0.1


@pytest.mark.parametrize("framing", FRAMINGS, ids=str)
@pytest.mark.parametrize("shape", [(151, 214), (200, 200)])
def test_a_blob_in_a_png_keeps_its_place_on_the_sky_to_a_tenth_of_a_pixel(tmp_path, framing, shape):
    ra, dec, pixscale = 200.0, 45.0, 0.3
    # 3 arcsec east and 2 north of the centre: 10 columns to the left, 20/3 rows up.
    x, y = (shape[1] - 1) / 2 - 10, (shape[0] - 1) / 2 - 20 / 3
    Image.fromarray(np.rint(255 * blob_at(shape, x, y)).astype(np.uint8)).save(tmp_path / "galaxy.png")

    mask = mask_of_a_network_that_shows_its_input(tmp_path / "galaxy.png", framing)
    locs = write_fits_masks(tmp_path, "g1", {"spiral_mask": mask}, wcs_at(ra, dec, pixscale, shape), ORIGIN)
    expected = SkyCoord(ra, dec, unit="deg").spherical_offsets_by(3 * u.arcsec, 2 * u.arcsec)
    assert separation_in_pixels(locs["spiral_mask"], expected.ra.deg, expected.dec.deg) < 0.1


@pytest.mark.parametrize("name", ["example_a", "example_b"])
def test_masks_of_real_cutouts_lie_over_them(reference, tmp_path, name):
    path = reference / "reference" / "golden" / "decals_rgb" / f"{name}.fits"
    header, shape = fits.getheader(path), fits.getheader(path)["NAXIS2"]
    galaxy = header["CRVAL1"], header["CRVAL2"]
    wcs = read_wcs(path)
    # A position 5 arcsec north of the galaxy.
    x, y = pixel_of_sky(wcs, galaxy[0], galaxy[1] + 5 / 3600, shape)
    mask = np.rint(255 * blob_at((shape, shape), x, y)).astype(np.uint8)
    locs = write_fits_masks(tmp_path, name, {"spiral_mask": mask}, wcs, ORIGIN)
    assert separation_in_pixels(locs["spiral_mask"], galaxy[0], galaxy[1] + 5 / 3600) < 0.01
    written = WCS(fits.getheader(tmp_path / f"{name}_masks.fits", "SPIRAL"))
    corners = [[0, 0, shape - 1], [0, shape - 1, 0]]
    np.testing.assert_allclose(
        written.all_pix2world(*corners, 0), WCS(header, naxis=2).all_pix2world(*corners, 0), rtol=0, atol=1e-9
    )


def test_distortions_of_the_wcs_are_kept(tmp_path):
    distortion = {
        "A_ORDER": 2,
        "B_ORDER": 2,
        "A_2_0": 1e-4,
        "B_0_2": -2e-4,
        "CTYPE1": "RA---TAN-SIP",
        "CTYPE2": "DEC--TAN-SIP",
    }
    wcs = WCS(fits.Header(ROTATED | distortion))
    write_fits_masks(tmp_path, "g1", MASKS, wcs, ORIGIN)
    written = WCS(fits.getheader(tmp_path / "g1_masks.fits", "BAR"))
    np.testing.assert_allclose(written.all_pix2world(3, 140, 0), wcs.all_pix2world(3, 140, 0), atol=1e-9)


# FITS files


def test_a_file_of_one_galaxy_is_what_any_reader_expects(tmp_path):
    locs = write_fits_masks(tmp_path, "g1", MASKS, None, ORIGIN)
    assert locs == {"spiral_mask": f"{tmp_path}/g1_masks.fits[SPIRAL]", "bar_mask": f"{tmp_path}/g1_masks.fits[BAR]"}
    with fits.open(tmp_path / "g1_masks.fits") as hdus:
        hdus.verify("exception")
        assert [(hdu.name, hdu.ver) for hdu in hdus] == [("PRIMARY", 1), ("SPIRAL", 1), ("BAR", 1)]
        for hdu, mask in zip(hdus[1:], MASKS.values(), strict=True):
            assert isinstance(hdu, fits.CompImageHDU)
            assert hdu.header["OBJECT"] == "g1"
            assert "share of volunteers" in hdu.header.comments["BUNIT"]
            np.testing.assert_allclose(hdu.data, mask[::-1] / 255, atol=1e-7)
    for name, mask in MASKS.items():
        fraction = read_mask_file(locs[name])
        assert fraction.dtype == np.float32
        np.testing.assert_allclose(fraction, to_fraction(mask), atol=1e-7)


def test_pieces_of_many_galaxies_join_to_one_file(tmp_path):
    path = tmp_path / "masks [all].fits"
    galaxies = {
        version: {name: np.roll(mask, version, axis=1) for name, mask in MASKS.items()} for version in (1, 2, 7)
    }
    pieces = [fits_extensions(f"g{version}", masks, None, version) for version, masks in galaxies.items()]
    assert all(len(piece) % 2880 == 0 for piece in pieces)
    path.write_bytes(fits_primary(ORIGIN) + b"".join(pieces))
    for version, masks in galaxies.items():
        for name, mask in masks.items():
            fraction = read_mask_file(fits_loc(path, name, version))
            np.testing.assert_allclose(fraction, to_fraction(mask), atol=1e-7)
    with fits.open(path) as hdus:
        assert hdus["BAR", 7].header["OBJECT"] == "g7"
        np.testing.assert_allclose(hdus["BAR", 7].data[::-1], galaxies[7]["bar_mask"] / 255, atol=1e-7)
    with pytest.raises(ImageError, match=r"\[BAR,3\]: .*BAR .*3"):
        read_mask_file(fits_loc(path, "bar_mask", 3))


def test_a_file_written_anew_is_read_anew(tmp_path):
    locs = write_fits_masks(tmp_path, "g1", MASKS, None, ORIGIN)
    read_mask_file(locs["bar_mask"])
    smaller = {name: np.zeros((16, 16), np.uint8) for name in MASKS}
    write_fits_masks(tmp_path, "g1", smaller, None, ORIGIN)
    assert read_mask_file(locs["bar_mask"]).shape == (16, 16)


def test_the_same_masks_are_the_same_bytes():
    wcs = wcs_at(10, 20, 0.3, (30, 41))
    assert fits_extensions("g1", MASKS, wcs) == fits_extensions("g1", MASKS, wcs)
    assert fits_extensions("g1", MASKS, wcs) != fits_extensions("g2", MASKS, wcs)


@pytest.mark.parametrize("id_str", ["NGC 1300", "it's", "galaxie-é", "line\nbreak", "back\\slash", "long" * 40, "天"])
def test_the_header_names_any_galaxy(tmp_path, id_str):
    (tmp_path / "masks.fits").write_bytes(fits_primary(ORIGIN) + fits_extensions(id_str, MASKS, None))
    with fits.open(tmp_path / "masks.fits") as hdus:
        assert hdus["BAR"].header["OBJECT"].encode("ascii").decode("unicode_escape") == id_str
        assert hdus["BAR"].data.shape == (30, 41)


def test_an_empty_mask_is_a_mask(tmp_path):
    empty = {"spiral_mask": np.zeros((424, 424), np.uint8)}
    for locs in (write_masks(tmp_path, "g1", empty), write_fits_masks(tmp_path, "g1", empty, None, ORIGIN)):
        assert not read_mask_file(locs["spiral_mask"]).any()


# Names


def test_an_id_with_a_slash_goes_to_a_sub_folder(tmp_path):
    locs = write_masks(tmp_path, "north/deep/g1", MASKS)
    assert locs["bar_mask"] == str(tmp_path / "north/deep/g1_bar_mask.png")
    assert Path(locs["bar_mask"]).is_file()


def test_different_galaxies_never_share_a_file(tmp_path):
    # Ids that resemble the names of each other's files.
    ids = [
        "a",
        "a_spiral_mask",
        "a_bar_mask",
        "a_masks",
        "a_spiral_mask.png",
        "a_overlay",
        "b/a",
        "b/a_masks",
        "...",
        "~",
    ]
    locs = []
    for id_str in ids:
        locs += [*write_masks(tmp_path, id_str, MASKS).values()]
        locs += [write_fits_masks(tmp_path, id_str, MASKS, None, ORIGIN)["bar_mask"].removesuffix("[BAR]")]
    assert len(set(locs)) == 3 * len(ids) == sum(path.is_file() for path in tmp_path.rglob("*"))


IMPOSSIBLE_IDS = [
    "",
    ".",
    "..",
    "../g",
    "a/../../g",
    "a/..",
    "/etc/g",
    "a//g",
    "a/",
    "a/./g",
    "a\0b",
    "g" * 250,
    "天" * 90,
]


@pytest.mark.parametrize("id_str", IMPOSSIBLE_IDS)
def test_only_the_galaxy_fails_whose_id_cannot_name_a_file(tmp_path, id_str):
    folder = tmp_path / "in" / "masks"
    folder.mkdir(parents=True)
    image = np.zeros((30, 41, 3), np.uint8)
    for write in (
        lambda: write_masks(folder, id_str, MASKS),
        lambda: write_fits_masks(folder, id_str, MASKS, None, ORIGIN),
        lambda: write_overlay(folder, id_str, image, MASKS),
    ):
        with pytest.raises(ImageError, match=r"id_str .*(empty, .*NUL|more than 255 bytes)"):
            write()
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize("link", ["sub", "sub/g1_bar_mask.png", "g2_bar_mask.png"])
def test_a_symbolic_link_never_leads_out_of_the_folder(tmp_path, link):
    folder, outside = tmp_path / "masks", tmp_path / "masks_of_others"
    (folder / link).parent.mkdir(parents=True)
    outside.mkdir()
    (folder / link).symlink_to(outside / "new" if link.endswith(".png") else outside)
    with pytest.raises(ImageError, match=r"symbolic link .* of .*masks; "):
        write_masks(folder, "g2" if link.startswith("g2") else "sub/g1", {"bar_mask": MASKS["bar_mask"]})
    assert not list(outside.iterdir())


def test_the_folder_itself_may_be_a_symbolic_link(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "masks").symlink_to(tmp_path / "disk")
    write_masks(tmp_path / "masks", "g1", MASKS)
    assert (tmp_path / "disk" / "g1_bar_mask.png").is_file()


def test_only_the_galaxy_fails_whose_file_name_is_taken(tmp_path):
    (tmp_path / "g1_bar_mask.png").mkdir()
    with pytest.raises(ImageError, match=r"g1_bar_mask\.png: .*Is a directory"):
        write_masks(tmp_path, "g1", MASKS)
    (tmp_path / "sub").touch()
    with pytest.raises(ImageError, match=r"sub/g1_masks\.fits: .*File exists \(.*/sub\)"):
        write_fits_masks(tmp_path, "sub/g1", MASKS, None, ORIGIN)


def test_a_full_disk_stops_the_run(tmp_path, monkeypatch):
    def fail(path, content):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(OSError, match=r"No space left on device: '.*g1_spiral_mask\.png'"):
        write_masks(tmp_path, "g1", MASKS)


def test_an_interruption_leaves_the_mask_before_or_the_new_one(tmp_path, monkeypatch):
    write_masks(tmp_path, "g1", MASKS)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    write = Path.write_bytes

    def cut_short(path, content):
        write(path, content[: len(content) // 2])
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_bytes", cut_short)
    for make in (
        lambda: write_masks(tmp_path, "g1", MASKS),
        lambda: write_fits_masks(tmp_path, "g1", MASKS, None, ORIGIN),
        lambda: write_overlay(tmp_path, "g1", np.zeros((30, 41, 3), np.uint8), MASKS),
    ):
        with pytest.raises(KeyboardInterrupt):
            make()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


# Bad files


def write_bad(path, kind):
    """Write a damaged file of masks."""
    whole = fits_primary(ORIGIN) + fits_extensions("g1", MASKS, None)
    if kind == "cut short":
        path.write_bytes(whole[:-2880])
    elif kind == "cut in a header":
        path.write_bytes(whole[:7000])
    elif kind == "damaged":
        path.write_bytes(whole[:9000] + bytes(len(whole) - 9000))
    elif kind == "of negative size":
        path.write_bytes(whole.replace(b"NAXIS1  =                    8", b"NAXIS1  =               -99999"))
    elif kind == "text":
        path.write_text("no mask at all " * 500)
    elif kind == "no image":
        fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(name="BAR")]).writeto(path)
    elif kind == "no shares":
        fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(np.full((9, 9), 255, np.uint8), name="BAR")]).writeto(path)
    elif kind == "colour":
        Image.new("RGB", (20, 20)).save(path, format="PNG")
    elif kind == "16 bits":
        Image.fromarray(np.zeros((20, 20), np.uint16)).save(path, format="PNG")
    elif kind == "empty":
        path.touch()


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("m.fits[BAR]", "cut short"),
        ("m.fits[SPIRAL]", "cut in a header"),
        ("m.fits[SPIRAL]", "damaged"),
        ("m.fits[BAR]", "of negative size"),
        ("m.fits[BAR]", "text"),
        ("m.fits[BAR]", "empty"),
        ("m.fits[BAR]", "no image"),
        ("m.fits[BAR]", "no shares"),
        ("m.fits[BAR]", "missing"),
        ("m.png", "colour"),
        ("m.png", "16 bits"),
        ("m.png", "text"),
        ("m.png", "empty"),
        ("m.png", "missing"),
    ],
)
def test_a_bad_file_of_masks_is_an_error_that_names_it(tmp_path, name, kind):
    write_bad(tmp_path / name.partition("[")[0], kind)
    with pytest.raises(ImageError, match=r"/m\.(fits\[|png: )"):
        read_mask_file(str(tmp_path / name))


def test_errors_of_the_machine_pass_and_name_the_mask(tmp_path, monkeypatch):
    def fail(path, mode):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("builtins.open", fail)
    for name in ("m.png", "m.fits[BAR]"):
        with pytest.raises(OSError, match=re.escape(name)) as failure:
            read_mask_file(f"{tmp_path}/{name}")
        assert failure.value.errno == errno.EIO


def test_a_mask_with_far_too_many_pixels_is_refused_before_they_are_read(tmp_path):
    Image.new("L", (9000, 20)).save(tmp_path / "m.png")
    with pytest.raises(ImageError, match=r"m\.png: .* 20 x 9000$"):
        read_mask_file(str(tmp_path / "m.png"))
    mask = fits.CompImageHDU(np.zeros((20, 9000), np.uint8), name="BAR", tile_shape=(20, 9000))
    fits.HDUList([fits.PrimaryHDU(), mask]).writeto(tmp_path / "m.fits")
    with pytest.raises(ImageError, match=r"m\.fits\[BAR\]: .* 20 x 9000$"):
        read_mask_file(f"{tmp_path}/m.fits[BAR]")
