"""FITS cutouts: which extensions are the image, names of bands, units, and limits checked before the pixels."""

import bz2
import gzip

import numpy as np
import pytest
from astropy.io import fits

from zoobot3d_tf.images import fits_cutouts
from zoobot3d_tf.images.fits_cutouts import parse_bands
from zoobot3d_tf.images.image_file import ImageError
from zoobot3d_tf.images.read import read_image
from zoobot3d_tf.images.rgb import to_rgb
from zoobot3d_tf.images.wcs import wcs_at

FLUXES = np.random.default_rng(0).normal(0.05, 0.05, (3, 32, 20)).astype(np.float32)
G, R, Z = FLUXES
NOISE = np.random.default_rng(1).uniform(1, 1000, (32, 20)).astype(np.float32)


def image(pixels, name=None, **header):
    return fits.ImageHDU(pixels, fits.Header(header), name=name)


def write(path, *hdus, primary=None):
    fits.HDUList([primary or fits.PrimaryHDU(), *hdus]).writeto(path)
    return path


# Extensions

TABLE = fits.BinTableHDU.from_columns([fits.Column("a", "E", array=[1.0])])
LAYOUTS = {
    "named by EXTNAME": [image(G, "g"), image(R, "r"), image(Z, "z")],
    "named by FILTER": [image(G, FILTER="g"), image(R, FILTER="r"), image(Z, FILTER="z")],
    "in another order": [image(Z, "IMAGE_Z"), image(G, "IMAGE_G"), image(R, "IMAGE_R")],
    "image and invvar": [
        hdu
        for band, plane in zip("grz", FLUXES, strict=True)
        for hdu in (image(plane, f"IMAGE_{band}"), image(NOISE, f"INVVAR_{band}"))
    ],
    "kinds of the Legacy Surveys": [
        hdu
        for band, plane in zip("grz", FLUXES, strict=True)
        for hdu in (image(plane, BAND=band, IMAGETYP="image"), image(NOISE, BAND=band, IMAGETYP="invvar"))
    ],
    "SCI of each band": [
        hdu
        for band, plane in zip("grz", FLUXES, strict=True)
        for hdu in (image(NOISE, "WHT", FILTER=band), image(plane, "SCI", FILTER=band), image(NOISE, "DQ", FILTER=band))
    ],
    "compressed": [
        fits.CompImageHDU(plane, fits.Header({"FILTER": band}), compression_type="GZIP_1", quantize_level=0)
        for band, plane in zip("grz", FLUXES, strict=True)
    ],
    "cube, then its weights": [
        image(FLUXES, BANDS="grz", IMAGETYP="IMAGE"),
        image(FLUXES[::-1], "INVVAR", BANDS="grz"),
    ],
    "cube between a table and masks": [TABLE, image(NOISE, "MASK"), image(FLUXES, "SCI"), image(NOISE, "MASKBITS")],
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_bands_in_extensions_make_one_image_in_colour(tmp_path, layout):
    path = write(tmp_path / "galaxy.fits", *LAYOUTS[layout])
    np.testing.assert_array_equal(read_image(path), to_rgb(FLUXES)[::-1])


def test_the_primary_image_may_be_one_of_the_bands(tmp_path):
    primary = fits.PrimaryHDU(G, fits.Header({"FILTER": "g"}))
    path = write(tmp_path / "galaxy.fits", image(R, "r"), image(Z, "z"), primary=primary)
    np.testing.assert_array_equal(read_image(path), to_rgb(FLUXES)[::-1])


@pytest.mark.parametrize(
    "name", ["WHT", "DQ", "ERR", "INVVAR", "MASK", "wht", "VAR_POISSON", "SCI_ERR", "IMAGE_MASK", "R_WEIGHT", "STAT"]
)
def test_planes_that_are_no_image_are_passed_over(tmp_path, name):
    path = write(tmp_path / "galaxy.fits", image(NOISE, name, FILTER="r"), image(R, "SCI", FILTER="r"))
    np.testing.assert_array_equal(read_image(path), to_rgb(R[None], "r")[::-1])


def test_an_extension_inherits_its_filter_from_an_empty_primary_header(tmp_path):
    primary = fits.PrimaryHDU(header=fits.Header({"FILTER": "r", "BUNIT": "uJy"}))
    path = write(tmp_path / "galaxy.fits", image(R * 3.631, "SCI"), image(NOISE, "WHT"), primary=primary)
    np.testing.assert_allclose(read_image(path).astype(int), to_rgb(R[None], "r")[::-1], atol=1)


def test_of_two_images_of_a_band_the_one_named_science_is_taken(tmp_path):
    path = write(tmp_path / "galaxy.fits", image(NOISE, "FOO", FILTER="r"), image(R, "SCI", FILTER="r"))
    np.testing.assert_array_equal(read_image(path), to_rgb(R[None], "r")[::-1])


@pytest.mark.parametrize(
    ("hdus", "reasons"),
    [
        ([image(G, "g"), image(R, "r"), image(Z, "FOO")], ["1 (G)", "2 (R)", "3 (FOO)"]),
        ([image(G), image(R), image(Z)], ["1 (without a name)", "3 (without a name)"]),
        ([image(G), image(R, FILTER="r")], ["1 (without a name)", "2 (without a name)"]),
        ([image(G, "chip1", FILTER="r"), image(R, "chip2", FILTER="r")], ["1 (CHIP1)", "2 (CHIP2)", "bands 'r'"]),
        ([image(G, "g"), image(R[:, :18], "r")], ["one size", "32 x 20", "32 x 18"]),
        ([image(NOISE, "WHT"), image(NOISE, "DQ")], ["no image"]),
        ([image(G, "g"), image(R, "u"), image(Z, "z")], ["2 (U)"]),
        ([image(np.stack([FLUXES] * 2), "SCI")], ["[2, 3, 32, 20]"]),
    ],
)
def test_extensions_that_are_not_understood_are_refused_by_name(tmp_path, hdus, reasons):
    path = write(tmp_path / "galaxy.fits", *hdus)
    with pytest.raises(ImageError, match=r"galaxy\.fits: ") as refusal:
        read_image(path)
    for reason in reasons:
        assert reason in str(refusal.value)


def test_bands_on_different_pixel_grids_are_refused(tmp_path):
    wcs = wcs_at(150.0, 2.0, 0.262, (32, 20))
    shifted = wcs_at(150.0, 2.0 + 3 * 0.262 / 3600, 0.262, (32, 20))
    hdus = [
        fits.ImageHDU(plane, w.to_header(), name=band)
        for band, plane, w in zip("gr", FLUXES[:2], (wcs, wcs), strict=True)
    ]
    assert read_image(write(tmp_path / "same.fits", *hdus)).shape == (32, 20, 3)
    hdus[1].header.update(shifted.to_header())
    with pytest.raises(ImageError, match=r"pixel grid.* 3\.0 pixels"):
        read_image(write(tmp_path / "shifted.fits", *hdus))


@pytest.mark.filterwarnings("ignore::astropy.utils.exceptions.AstropyWarning")
def test_a_damaged_extension_is_not_passed_over(tmp_path):
    path = write(tmp_path / "galaxy.fits", image(G, "g"), image(R, "r"), image(Z, "z"))
    content = bytearray(path.read_bytes())
    start = content.rindex(b"XTENSION")
    content[start + 80 : start + 88] = b"\xff" * 8
    path.write_bytes(content)
    with pytest.raises(ImageError, match=r"galaxy\.fits: "):
        read_image(path)


# Names of bands


@pytest.mark.parametrize(
    ("text", "bands"),
    [
        ("r", "r"),
        ("R", "r"),
        ("r DECam SDSS c0002 6415.0 1480.0", "r"),
        ("z DECam SDSS c0004 9260.0 1520.0", "z"),
        ("g,r,z", "grz"),
        ("g, r, i, z", "griz"),
        ("g r z", "grz"),
        ("GRZ", "grz"),
        ("HSC-R", "r"),
        ("g.00000", "g"),
        ("r_SDSS", "r"),
        ("SDSS r'", "r"),
        ("IMAGE_G", "g"),
        ("F606W", ""),
        ("u", ""),
        ("Cousins R", ""),
        ("g or r", ""),
        ("", ""),
    ],
)
def test_filter_names_are_understood_or_not(text, bands):
    assert parse_bands(text) == bands


@pytest.mark.parametrize(
    ("keyword", "name"), [("FILTER", "R"), ("FILTER", "r DECam SDSS c0002 6415.0 1480.0"), ("FILTERX", "r")]
)
def test_filters_of_surveys_name_the_band(tmp_path, keyword, name):
    fits.PrimaryHDU(R, fits.Header({keyword: name})).writeto(tmp_path / "galaxy.fits")
    np.testing.assert_array_equal(read_image(tmp_path / "galaxy.fits"), to_rgb(R[None], "r")[::-1])


@pytest.mark.parametrize("shape", [(1, 3, 32, 20), (3, 1, 32, 20), (1, 1, 3, 32, 20)])
def test_axes_of_one_pixel_are_ignored(tmp_path, shape):
    fits.PrimaryHDU(FLUXES.reshape(shape), fits.Header({"BANDS": "g,r,z"})).writeto(tmp_path / "galaxy.fits")
    np.testing.assert_array_equal(read_image(tmp_path / "galaxy.fits"), to_rgb(FLUXES)[::-1])


def test_an_unknown_filter_is_refused_with_the_keyword_to_write(tmp_path):
    fits.PrimaryHDU(R, fits.Header({"FILTER": "F606W"})).writeto(tmp_path / "galaxy.fits")
    with pytest.raises(ImageError, match=r"BANDS, such as grz.*'F606W'"):
        read_image(tmp_path / "galaxy.fits")


# Pixels and units


@pytest.mark.parametrize("value", [0, 0.02, -1])
@pytest.mark.parametrize("has_gap", [False, True])
def test_a_band_of_one_value_is_refused(tmp_path, value, has_gap):
    fluxes = FLUXES.copy()
    fluxes[1] = value
    if has_gap:
        fluxes[1, :4] = np.nan
    fits.PrimaryHDU(fluxes, fits.Header({"BANDS": "grz"})).writeto(tmp_path / "galaxy.fits")
    with pytest.raises(ImageError, match=r"galaxy\.fits: .*same value in r$"):
        read_image(tmp_path / "galaxy.fits")


@pytest.mark.parametrize(
    ("unit", "nanomaggies"),
    [
        ("nanomaggy", 1),
        ("nanomaggies", 1),
        ("nanomaggies/pixel", 1),
        ("nanomaggies per pixel", 1),
        ("nMgy", 1),
        ("nmgy pix-1", 1),
        ("Jy", 1e9 / 3631),
        ("Jy/pix", 1e9 / 3631),
        ("mJy", 1e6 / 3631),
        ("uJy", 1e3 / 3631),
        ("microJy", 1e3 / 3631),
        ("µJy", 1e3 / 3631),
        ("nJy", 1 / 3631),
        ("nJy/pixel", 1 / 3631),
        ("maggies", 1e9),
    ],
)
def test_units_of_flux_are_converted_to_nanomaggies(unit, nanomaggies):
    assert fits_cutouts._factor_of_unit(unit) == pytest.approx(nanomaggies, rel=2e-4)


def test_a_cutout_in_microjansky_is_that_in_nanomaggies(tmp_path):
    header = fits.Header({"BANDS": "grz", "BUNIT": "uJy"})
    fits.PrimaryHDU(FLUXES * np.float32(3.631), header).writeto(tmp_path / "galaxy.fits")
    np.testing.assert_allclose(read_image(tmp_path / "galaxy.fits").astype(int), to_rgb(FLUXES)[::-1], atol=1)


@pytest.mark.parametrize("unit", ["mag", "ADU", "electrons", "electron/s", "counts", "DN", "MJy/sr", "Jy/beam", "K"])
def test_other_units_are_refused_by_name(tmp_path, unit):
    fits.PrimaryHDU(FLUXES, fits.Header({"BANDS": "grz", "BUNIT": unit})).writeto(tmp_path / "galaxy.fits")
    with pytest.raises(ImageError, match=f"BUNIT. is '{unit}'.*nanomaggies"):
        read_image(tmp_path / "galaxy.fits")


def test_fluxes_that_saturate_everywhere_are_refused(tmp_path):
    fits.PrimaryHDU(FLUXES * 500 + 1000, fits.Header({"BANDS": "grz"})).writeto(tmp_path / "galaxy.fits")
    with pytest.raises(ImageError, match=r"white.*unit"):
        read_image(tmp_path / "galaxy.fits")


def test_a_bright_galaxy_in_a_dark_sky_is_read(tmp_path):
    fluxes = FLUXES.copy()
    fluxes[:, 10:20, 5:15] = 100
    fits.PrimaryHDU(fluxes, fits.Header({"BANDS": "grz"})).writeto(tmp_path / "galaxy.fits")
    assert (read_image(tmp_path / "galaxy.fits") == 255).all(axis=2).sum() >= 100


def test_bytes_in_three_planes_are_a_picture(tmp_path):
    planes = np.random.default_rng(0).integers(0, 256, (3, 32, 20), dtype=np.uint8)
    fits.PrimaryHDU(planes).writeto(tmp_path / "galaxy.fits")
    np.testing.assert_array_equal(read_image(tmp_path / "galaxy.fits"), np.moveaxis(planes, 0, 2)[::-1])
    fits.PrimaryHDU(planes, fits.Header({"BANDS": "grz"})).writeto(tmp_path / "bands.fits")
    with pytest.raises(ImageError, match="8 bits"):
        read_image(tmp_path / "bands.fits")


# Limits, and other forms of files


def test_bzip2_is_read(tmp_path):
    path = write(tmp_path / "galaxy.fits", image(FLUXES, BANDS="grz"))
    (tmp_path / "galaxy.fits.bz2").write_bytes(bz2.compress(path.read_bytes()))
    np.testing.assert_array_equal(read_image(tmp_path / "galaxy.fits.bz2"), read_image(path))
    (tmp_path / "cut.fits.bz2").write_bytes(bz2.compress(path.read_bytes())[:-40])
    with pytest.raises(ImageError, match=r"cut\.fits\.bz2: cannot be read"):
        read_image(tmp_path / "cut.fits.bz2")


def test_bands_are_checked_before_the_pixels(tmp_path, monkeypatch):
    hdu = fits.CompImageHDU(np.zeros((8, 32, 20), np.float32), compression_type="RICE_1")
    path = write(tmp_path / "galaxy.fits.fz", hdu)
    monkeypatch.setattr(fits.CompImageHDU, "data", property(lambda self: pytest.fail("the pixels were read")))
    with pytest.raises(ImageError, match=r"\[8, 32, 20\]"):
        read_image(path)


@pytest.mark.parametrize(
    ("limit", "value", "reason"),
    [
        ("_MAX_VALUES", 3 * 32 * 20 - 1, "at most 1919; it is 1920"),
        ("_MAX_TILES", 95, "at most 95 tiles; it has 96"),
        ("_MAX_EXTENSIONS", 1, "at most 1 extensions"),
    ],
)
def test_limits_are_checked_before_the_pixels(tmp_path, monkeypatch, limit, value, reason):
    hdu = fits.CompImageHDU(FLUXES, fits.Header({"BANDS": "grz"}), compression_type="GZIP_1", tile_shape=(1, 1, 20))
    path = write(tmp_path / "galaxy.fits.fz", hdu)
    assert read_image(path).shape == (32, 20, 3)
    monkeypatch.setattr(fits_cutouts, limit, value)
    monkeypatch.setattr(fits.CompImageHDU, "data", property(lambda self: pytest.fail("the pixels were read")))
    with pytest.raises(ImageError, match=reason):
        read_image(path)


def test_a_tile_that_inflates_to_more_than_its_pixels_is_not_inflated(tmp_path, monkeypatch):
    hdu = fits.CompImageHDU(np.zeros((3, 32, 20), np.float32), compression_type="GZIP_1", tile_shape=(3, 32, 20))
    content = write(tmp_path / "galaxy.fits.fz", hdu).read_bytes()
    bomb = gzip.compress(bytes(10**6))
    start = content.index(b"\x1f\x8b\x08")
    (tmp_path / "galaxy.fits.fz").write_bytes(content[:start] + bomb + bytes(-(start + len(bomb)) % 2880))
    monkeypatch.setattr(fits.CompImageHDU, "data", property(lambda self: pytest.fail("the pixels were read")))
    with pytest.raises(ImageError, match=r"galaxy\.fits\.fz: .*more bytes than its pixels"):
        read_image(tmp_path / "galaxy.fits.fz")


@pytest.mark.parametrize("has_extension", [False, True])
def test_a_header_without_an_end_is_not_parsed(tmp_path, has_extension):
    path = write(tmp_path / "galaxy.fits", *[image(R, "r")] * has_extension)
    content = path.read_bytes()
    end = content.rindex(b"END" + b" " * 77)
    path.write_bytes(content[:end] + b"COMMENT ".ljust(80) * (2**20 // 80 + 100))
    with pytest.raises(ImageError, match="header must have at most 1048576 bytes"):
        read_image(path)
