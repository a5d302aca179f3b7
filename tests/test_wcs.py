"""WCS of images: FITS files count rows from the bottom, arrays from the top."""

import gzip

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS
from PIL import Image

from zoobot3d_tf.images.read import ImageError
from zoobot3d_tf.images.wcs import pixel_of_sky, pixscale_of, read_wcs, sky_of_pixel, wcs_at

HEIGHT, WIDTH = 41, 30
ROTATED = {
    "CTYPE1": "RA---TAN",
    "CTYPE2": "DEC--TAN",
    "CRVAL1": 150.0,
    "CRVAL2": 60.0,
    "CRPIX1": 12.3,
    "CRPIX2": 30.7,
    "CD1_1": -0.6e-4,
    "CD1_2": 0.35e-4,
    "CD2_1": 0.4e-4,
    "CD2_2": 0.65e-4,
}


def write_cutout(path, cards):
    fits.PrimaryHDU(np.zeros((3, HEIGHT, WIDTH), np.float32), fits.Header(cards)).writeto(path)
    return path


# Known positions


def test_an_image_without_a_header_has_north_at_the_top_and_east_at_the_left():
    wcs = wcs_at(150.0, 0.0, 0.5, (HEIGHT, WIDTH))
    middle_x, middle_y = (WIDTH - 1) / 2, (HEIGHT - 1) / 2
    np.testing.assert_allclose(sky_of_pixel(wcs, middle_x, middle_y, HEIGHT), (150, 0), atol=1e-10)
    ra, dec = sky_of_pixel(wcs, [middle_x, middle_x - 10], [middle_y - 10, middle_y], HEIGHT)
    np.testing.assert_allclose(3600 * (ra - 150), [0, 5], atol=1e-6)  # ten columns to the left: 5 arcsec east
    np.testing.assert_allclose(3600 * dec, [5, 0], atol=1e-6)  # ten rows further up: 5 arcsec north


def test_the_top_row_of_an_array_is_the_last_row_of_the_fits_file(tmp_path):
    wcs = read_wcs(write_cutout(tmp_path / "cutout.fits", ROTATED))
    ra, dec = sky_of_pixel(wcs, [0, 7.5], [0, 33], HEIGHT)
    # FITS counts from 1, and from the bottom: the top left pixel is (1, HEIGHT).
    expected = WCS(fits.Header(ROTATED)).all_pix2world([1, 8.5], [HEIGHT, HEIGHT - 33], 1)
    np.testing.assert_allclose((ra, dec), expected, atol=1e-10)
    np.testing.assert_allclose(pixel_of_sky(wcs, ra, dec, HEIGHT), ([0, 7.5], [0, 33]), atol=1e-6)


def test_pixscale_is_the_geometric_mean_of_both_axes():
    assert pixscale_of(wcs_at(10, 20, 0.262, (10, 10))) == pytest.approx(0.262)
    oblong = WCS(fits.Header(ROTATED | {"CD1_1": -0.2 / 3600, "CD1_2": 0.0, "CD2_1": 0.0, "CD2_2": 0.45 / 3600}))
    assert pixscale_of(oblong) == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("name", "centre"), [("example_a", (359.9950161, 0.7017529)), ("example_b", (0.0043669, 0.5413208))]
)
def test_real_cutouts_have_their_galaxy_in_the_centre(reference, name, centre):
    path = reference / "reference" / "golden" / "decals_rgb" / f"{name}.fits"
    wcs, height = read_wcs(path), fits.getheader(path)["NAXIS2"]
    np.testing.assert_allclose(sky_of_pixel(wcs, (height - 1) / 2, (height - 1) / 2, height), centre, atol=1e-7)
    assert pixscale_of(wcs) == pytest.approx(0.262)
    above = sky_of_pixel(wcs, (height - 1) / 2, 0, height)
    assert 3600 * (above[1] - centre[1]) == pytest.approx((height - 1) / 2 * 0.262, abs=1e-3)


# Kinds of files


def test_the_wcs_is_found_in_gzip_and_in_an_extension(tmp_path):
    plain = read_wcs(write_cutout(tmp_path / "plain.fits", ROTATED))
    hdus = [fits.PrimaryHDU(), fits.ImageHDU(np.zeros((HEIGHT, WIDTH), np.float32), fits.Header(ROTATED))]
    fits.HDUList(hdus).writeto(tmp_path / "extension.fits")
    (tmp_path / "zipped.fits").write_bytes(gzip.compress((tmp_path / "plain.fits").read_bytes()))
    for name in ("zipped", "extension"):
        wcs = read_wcs(tmp_path / f"{name}.fits")
        np.testing.assert_array_equal(sky_of_pixel(wcs, 3, 4, HEIGHT), sky_of_pixel(plain, 3, 4, HEIGHT))


@pytest.mark.parametrize("frame", ["icrs", "fk4", "galactic"])
def test_positions_are_icrs_for_every_frame_of_the_header(frame):
    names = ("GLON-TAN", "GLAT-TAN") if frame == "galactic" else ("RA---TAN", "DEC--TAN")
    cards = ROTATED | {"CTYPE1": names[0], "CTYPE2": names[1], "CRPIX1": 1.0, "CRPIX2": float(HEIGHT)}
    if frame == "fk4":
        cards |= {"RADESYS": "FK4", "EQUINOX": 1950.0}
    expected = SkyCoord(150, 60, unit="deg", frame=frame).icrs
    ra, dec = sky_of_pixel(WCS(fits.Header(cards)), 0, 0, HEIGHT)
    assert expected.separation(SkyCoord(ra, dec, unit="deg")).arcsec < 1e-3


def test_declination_may_be_the_first_axis():
    cards = ROTATED | {"CTYPE1": "DEC--TAN", "CTYPE2": "RA---TAN", "CRVAL1": 60.0, "CRVAL2": 150.0}
    wcs = WCS(fits.Header(cards | {"CRPIX1": 1.0, "CRPIX2": float(HEIGHT)}))
    np.testing.assert_allclose(sky_of_pixel(wcs, 0, 0, HEIGHT), (150, 60), atol=1e-10)
    assert pixscale_of(wcs) == pytest.approx(pixscale_of(WCS(fits.Header(ROTATED))))


def test_files_without_a_celestial_wcs_give_none(tmp_path):
    Image.new("RGB", (20, 20)).save(tmp_path / "galaxy.png")
    assert read_wcs(tmp_path / "galaxy.png") is None
    assert read_wcs(write_cutout(tmp_path / "cutout.fits", {})) is None


# Bad input


@pytest.mark.parametrize(
    "changed",
    [
        {"CTYPE1": "RA---XYZ", "CTYPE2": "DEC--XYZ"},
        {"CTYPE2": "DEC--SIN"},
        {"CD1_1": 0.0, "CD1_2": 0.0, "CD2_1": 0.0, "CD2_2": 0.0},
        {"CD1_1": 0.65e-4, "CD1_2": 0.65e-4, "CD2_1": 0.65e-4},
        {"CRVAL2": 1e300},
    ],
)
def test_a_damaged_wcs_is_an_error_that_names_the_file(tmp_path, changed):
    with pytest.raises(ImageError, match=r"cutout\.fits: its WCS (cannot be read: .+|gives no finite)"):
        read_wcs(write_cutout(tmp_path / "cutout.fits", ROTATED | changed))


def test_a_file_that_cannot_be_read_is_an_error_that_names_it(tmp_path):
    with pytest.raises(ImageError, match=r"nowhere\.fits: no such file"):
        read_wcs(tmp_path / "nowhere.fits")
    (tmp_path / "short.fits").write_bytes(b"SIMPLE  =                    T")
    with pytest.raises(ImageError, match=r"short\.fits"):
        read_wcs(tmp_path / "short.fits")


@pytest.mark.parametrize(
    "position", [(np.nan, 0, 0.3), (10, 91, 0.3), (10, np.nan, 0.3), (10, 20, 0), (10, 20, np.nan)]
)
def test_an_impossible_position_is_refused(position):
    with pytest.raises(ValueError, match=r"ra must be finite.* received ra "):
        wcs_at(*position, (10, 10))
