"""Reading of images, masks and marks: which files are accepted or refused, and the positions of the pixels."""

import gzip
import json
import os
import struct
import zlib

import numpy as np
import pytest
from astropy.io import fits
from PIL import Image

from zoobot3d_tf.images import image_file
from zoobot3d_tf.images.read import (
    ImageError,
    read_image,
    read_known_masks,
    read_marks,
    read_mask,
    read_picture,
    resize_counts,
    resize_image,
)
from zoobot3d_tf.images.rgb import grz_to_rgb, to_rgb


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (24, 20, 3), dtype=np.uint8)


def png_chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width, height, depth, colour, rows):
    """Make a PNG of a kind that Pillow cannot write."""
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + png_chunk(b"IDAT", zlib.compress(rows)) + png_chunk(b"IEND", b"")


def test_png_with_another_suffix_is_read_exactly(tmp_path, pixels):
    Image.fromarray(pixels).save(tmp_path / "galaxy.jpg", format="PNG")
    np.testing.assert_array_equal(read_image(tmp_path / "galaxy.jpg"), pixels)


def test_jpeg_is_read(tmp_path):
    pixels = np.full((24, 20, 3), (200, 100, 50), np.uint8)
    pixels[8:] = 30
    Image.fromarray(pixels).save(tmp_path / "galaxy.jpeg", quality=95, subsampling=0)
    image = read_image(str(tmp_path / "galaxy.jpeg"))
    assert image.shape == (24, 20, 3)
    assert np.abs(image.astype(int) - pixels).max() <= 2


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_adobe_deflate"])
def test_tiff_is_read_exactly(tmp_path, pixels, compression):
    Image.fromarray(pixels).save(tmp_path / "galaxy.tif", compression=compression)
    np.testing.assert_array_equal(read_image(tmp_path / "galaxy.tif"), pixels)
    Image.fromarray(pixels[..., 0]).save(tmp_path / "grey.tif", compression=compression)
    np.testing.assert_array_equal(read_image(tmp_path / "grey.tif"), np.repeat(pixels[..., :1], 3, axis=2))


# What was done to an upright image before it was stored, for each EXIF orientation.
STORED = {
    1: lambda upright: upright,
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: np.swapaxes(upright, 0, 1),
    6: lambda upright: np.rot90(upright),
    7: lambda upright: np.swapaxes(upright[::-1, ::-1], 0, 1),
    8: lambda upright: np.rot90(upright, -1),
}


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("suffix", ["jpg", "png", "tif"])
def test_images_and_masks_are_turned_upright(tmp_path, pixels, orientation, suffix):
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = np.ascontiguousarray(STORED[orientation](pixels))
    options = {"quality": 100, "subsampling": 0} if suffix == "jpg" else {}
    Image.fromarray(stored).save(tmp_path / f"galaxy.{suffix}", exif=exif, **options)
    difference = read_image(tmp_path / f"galaxy.{suffix}").astype(int) - pixels
    assert np.abs(difference).max() <= (4 if suffix == "jpg" else 0)
    if suffix == "png":
        counts = pixels[..., 0] % 16
        Image.fromarray(np.ascontiguousarray(STORED[orientation](counts))).save(tmp_path / "mask.png", exif=exif)
        np.testing.assert_array_equal(read_mask(tmp_path / "mask.png", counts.shape, 15), counts)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_damaged_metadata_do_not_cost_an_image(tmp_path, pixels):
    Image.fromarray(pixels).save(tmp_path / "galaxy.png", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff")
    np.testing.assert_array_equal(read_image(tmp_path / "galaxy.png"), pixels)


def test_greyscale_palette_and_opaque_images_become_rgb(tmp_path, pixels):
    grey = Image.fromarray(pixels[..., 0])
    grey.save(tmp_path / "grey.png")
    np.testing.assert_array_equal(read_image(tmp_path / "grey.png"), np.repeat(pixels[..., :1], 3, axis=2))

    few_colours = Image.fromarray(pixels).quantize(16)
    few_colours.save(tmp_path / "palette.png")
    np.testing.assert_array_equal(read_image(tmp_path / "palette.png"), np.array(few_colours.convert("RGB")))

    Image.fromarray(pixels).convert("RGBA").save(tmp_path / "opaque.png")
    np.testing.assert_array_equal(read_image(tmp_path / "opaque.png"), pixels)


def test_fits_cutout_is_coloured_and_turned_north_up(tmp_path):
    bands = np.zeros((3, 32, 20), np.float32)
    bands[:, 0] = 1.0  # the first row of a FITS image is its bottom one
    fits.PrimaryHDU(bands).writeto(tmp_path / "cutout.fits")
    image = read_image(tmp_path / "cutout.fits")
    np.testing.assert_array_equal(image, grz_to_rgb(bands)[::-1])
    assert image[-1].min() > image[0].max()


@pytest.mark.parametrize("bands", ["r", "gr", "gri", "griz"])
@pytest.mark.parametrize("stretch", ["galaxy-zoo", "lupton"])
def test_fits_cutout_of_other_bands_is_coloured_by_its_header(tmp_path, bands, stretch):
    fluxes = np.random.default_rng(0).normal(0.05, 0.05, (len(bands), 32, 20)).astype(np.float32)
    fits.PrimaryHDU(fluxes, fits.Header({"BANDS": bands})).writeto(tmp_path / "cutout.fits")
    image = read_image(tmp_path / "cutout.fits", stretch)
    np.testing.assert_array_equal(image, to_rgb(fluxes, bands, stretch)[::-1])


@pytest.mark.parametrize("keyword", ["BANDS", "BAND", "FILTER"])
def test_one_band_may_be_a_plane_and_makes_a_grey_image(tmp_path, keyword):
    flux = np.random.default_rng(0).normal(0.05, 0.05, (32, 20)).astype(np.float32)
    fits.PrimaryHDU(flux, fits.Header({keyword: "i"})).writeto(tmp_path / "plane.fits")
    image = read_image(tmp_path / "plane.fits")
    np.testing.assert_array_equal(image, to_rgb(flux[None], "i")[::-1])
    assert (image == image[..., :1]).all()


@pytest.mark.parametrize("form", ["gzip", "extension", "compressed extension", "whole numbers", "missing pixels"])
def test_fits_cutouts_of_other_forms_give_the_same_image(tmp_path, form):
    fluxes = np.random.default_rng(0).integers(-5, 300, (3, 32, 20)).astype(np.float32) / 1024
    fluxes[0, 3, 5] = 0
    header = fits.Header({"BANDS": "grz"})
    path = tmp_path / "galaxy.png"
    if form == "gzip":
        fits.PrimaryHDU(fluxes, header).writeto(tmp_path / "galaxy.fits")
        path.write_bytes(gzip.compress((tmp_path / "galaxy.fits").read_bytes()))
    elif form == "extension":
        table = fits.BinTableHDU.from_columns([fits.Column("a", "E", array=[1.0])])
        other = fits.ImageHDU(fluxes[:, ::-1], header)
        fits.HDUList([fits.PrimaryHDU(), table, fits.ImageHDU(fluxes, header), other]).writeto(path)
    elif form == "compressed extension":
        compressed = fits.CompImageHDU(fluxes, header, compression_type="GZIP_1", quantize_level=0)
        fits.HDUList([fits.PrimaryHDU(), compressed]).writeto(path)
    elif form == "whole numbers":
        hdu = fits.PrimaryHDU((fluxes * 1024).astype(np.int16), header)
        hdu.header["BSCALE"] = 1 / 1024
        hdu.writeto(path)
    else:
        fluxes_with_gap = fluxes.copy()
        fluxes_with_gap[0, 3, 5] = np.nan
        fits.PrimaryHDU(fluxes_with_gap, header).writeto(path)
    np.testing.assert_array_equal(read_image(path), to_rgb(fluxes)[::-1])


def test_real_fits_cutout_is_its_published_colour_image_upside_down(reference):
    folder = reference / "reference" / "golden" / "decals_rgb"
    published = read_image(folder / "example_b_fits_to_png.png")[::-1]
    difference = np.abs(read_image(folder / "example_b.fits").astype(int) - published)
    assert difference.max() <= 1
    assert (difference > 0).mean() < 1e-4


def write_missing(path, pixels):
    pass


def write_text(path, pixels):
    path.write_text("no image at all")


def write_empty(path, pixels):
    path.write_bytes(b"")


def write_folder(path, pixels):
    path.mkdir()


def write_pipe(path, pixels):
    os.mkfifo(path)


def write_dangling_link(path, pixels):
    path.symlink_to("nowhere.png")


def write_black(path, pixels):
    Image.new("RGB", (20, 24)).save(path, format="PNG")


def write_one_colour(path, pixels):
    Image.new("RGB", (20, 24), (7, 8, 9)).save(path, format="JPEG")


def write_gif(path, pixels):
    Image.fromarray(pixels).save(path, format="GIF")


def write_truncated_png(path, pixels):
    Image.fromarray(pixels).save(path, format="PNG")
    path.write_bytes(path.read_bytes()[:-400])


def write_truncated_jpeg(path, pixels):
    Image.fromarray(pixels).save(path, format="JPEG")
    path.write_bytes(path.read_bytes()[:-200])


def write_one_pixel(path, pixels):
    Image.new("RGB", (1, 1)).save(path, format="PNG")


def write_cmyk(path, pixels):
    Image.fromarray(pixels).convert("CMYK").save(path, format="JPEG")


def write_16_bit_grey(path, pixels):
    Image.fromarray(pixels[..., 0].astype(np.uint16) * 200).save(path, format="PNG")


def write_16_bit_rgb(path, pixels):
    path.write_bytes(png(20, 20, 16, 2, (b"\0" + b"\x12\x34" * 60) * 20))


def write_transparent(path, pixels):
    Image.fromarray(np.dstack([pixels, pixels[..., 0]])).save(path, format="PNG")


def write_transparent_palette(path, pixels):
    Image.fromarray(pixels).quantize(16).save(path, format="PNG", transparency=0)


def write_16_bit_tiff(path, pixels):
    pages = np.repeat(np.arange(20 * 24, dtype="<u2").reshape(24, 20, 1) * 100, 3, axis=2)
    fields = [(256, 20), (257, 24), (258, 16), (259, 1), (262, 2), (273, 122), (277, 3), (278, 24), (279, pages.nbytes)]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in fields)
    directory = struct.pack("<H", len(fields)) + entries + bytes(4)
    path.write_bytes(b"II*\0" + struct.pack("<I", 8) + directory + pages.tobytes())


def write_two_page_tiff(path, pixels):
    image = Image.fromarray(pixels)
    image.save(path, format="TIFF", save_all=True, append_images=[image])


def write_float_tiff(path, pixels):
    Image.fromarray(pixels[..., 0].astype(np.float32)).save(path, format="TIFF")


def write_many_scans(path, pixels):
    Image.fromarray(pixels).save(path, format="JPEG", progressive=True)
    content = path.read_bytes()
    first = content.index(b"\xff\xda")
    path.write_bytes(content[:-2] + content[first:-2] * 70 + content[-2:])


def write_wide(path, pixels):
    Image.new("L", (20_000, 16)).save(path, format="PNG")


def write_bomb(path, pixels):
    path.write_bytes(png(20_000, 20_000, 8, 2, b""))


def write_fits(path, fluxes, **header):
    fits.PrimaryHDU(fluxes.astype(np.float32), fits.Header(header)).writeto(path)


def write_fits_plane(path, pixels):
    write_fits(path, pixels[..., 0])


def write_fits_two_bands(path, pixels):
    write_fits(path, np.zeros((2, 32, 32)))


def write_fits_too_few_bands(path, pixels):
    write_fits(path, np.zeros((3, 32, 32)), BANDS="griz")


def write_fits_unknown_band(path, pixels):
    write_fits(path, np.zeros((3, 32, 32)), BANDS="ugr")


def write_fits_other_filter(path, pixels):
    write_fits(path, pixels[..., 0], FILTER="u")


def write_fits_nan(path, pixels):
    write_fits(path, np.full((3, 32, 32), np.nan))


def write_fits_nan_band(path, pixels):
    write_fits(path, np.where([[[True]], [[False]], [[True]]], np.moveaxis(pixels, 2, 0), np.inf))


def write_fits_flat(path, pixels):
    write_fits(path, np.full((3, 32, 32), 0.1))


def write_fits_small(path, pixels):
    write_fits(path, np.zeros((3, 15, 32)))


def write_fits_empty(path, pixels):
    fits.PrimaryHDU().writeto(path)


def write_fits_table(path, pixels):
    fits.BinTableHDU.from_columns([fits.Column("a", "E", array=[1.0])]).writeto(path)


def write_fits_truncated(path, pixels):
    write_fits(path, np.zeros((3, 64, 64)))
    path.write_bytes(path.read_bytes()[: 2880 + 5000])


def write_fits_cut_in_header(path, pixels):
    write_fits(path, np.zeros((3, 64, 64)))
    path.write_bytes(path.read_bytes()[:1000])


def write_fits_bomb(path, pixels):
    header = fits.PrimaryHDU(np.zeros((3, 32, 32), np.float32)).header
    header["NAXIS1"] = header["NAXIS2"] = 10**6
    path.write_bytes(header.tostring().encode())


def write_gzip_of_text(path, pixels):
    path.write_bytes(gzip.compress(b"no image at all"))


def write_truncated_gzip(path, pixels):
    write_fits(path, np.random.default_rng(0).normal(size=(3, 64, 64)))
    path.write_bytes(gzip.compress(path.read_bytes())[:-400])


@pytest.mark.filterwarnings("ignore::astropy.utils.exceptions.AstropyWarning")
@pytest.mark.parametrize(
    ("write", "reason"),
    [
        (write_missing, "no such file"),
        (write_text, "not a PNG, JPEG, TIFF or FITS file"),
        (write_empty, "file is empty"),
        (write_folder, "a folder, a pipe or a device"),
        (write_pipe, "a folder, a pipe or a device"),
        (write_dangling_link, "no such file"),
        (write_black, "every pixel"),
        (write_one_colour, "every pixel"),
        (write_gif, "not a PNG, JPEG, TIFF or FITS file"),
        (write_truncated_png, "cannot be read"),
        (write_truncated_jpeg, "cannot be read: image file is truncated"),
        (write_one_pixel, "16 to 8192 pixels.* 1 x 1$"),
        (write_cmyk, "CMYK"),
        (write_16_bit_grey, "16 bits"),
        (write_16_bit_rgb, "16 bits"),
        (write_transparent, "transparent"),
        (write_transparent_palette, "transparent"),
        (write_16_bit_tiff, "16 bits"),
        (write_two_page_tiff, "one image"),
        (write_float_tiff, "colour mode F"),
        (write_many_scans, "at most 64 scans"),
        (write_wide, "16 x 20000$"),
        (write_bomb, "more pixels than 8192 x 8192"),
        (write_fits_plane, r"BANDS.* \[24, 20\] .*''$"),
        (write_fits_two_bands, r"\[2, 32, 32\] .*''$"),
        (write_fits_too_few_bands, r"\[3, 32, 32\] .*'griz'$"),
        (write_fits_unknown_band, "bands .*g, r, i, z.*'ugr'"),
        (write_fits_other_filter, "bands .*g, r, i, z.*'u'"),
        (write_fits_nan, "finite pixel: g, r, z$"),
        (write_fits_nan_band, "finite pixel: r$"),
        (write_fits_flat, "every pixel"),
        (write_fits_small, "15 x 32$"),
        (write_fits_empty, "no image"),
        (write_fits_table, "no image"),
        (write_fits_truncated, "cannot be read"),
        (write_fits_cut_in_header, "cannot be read"),
        (write_fits_bomb, "1000000 x 1000000$"),
        (write_gzip_of_text, "not a PNG, JPEG, TIFF or FITS file"),
        (write_truncated_gzip, "cannot be read"),
    ],
)
def test_bad_images_are_refused_by_name_and_reason(tmp_path, pixels, write, reason):
    path = tmp_path / "galaxy.png"
    write(path, pixels)
    with pytest.raises(ImageError, match=f"galaxy.png: .*{reason}"):
        read_image(path)


def test_a_gzip_bomb_is_not_decompressed(tmp_path, pixels, monkeypatch):
    monkeypatch.setattr(image_file, "MAX_BYTES", 10**6)
    path = tmp_path / "galaxy.fits"
    write_fits(path, np.zeros((3, 400, 400)), BANDS="grz")
    path.write_bytes(gzip.compress(path.read_bytes()))
    with pytest.raises(ImageError, match=r"galaxy.fits: .* 1000000 bytes"):
        read_image(path)


def test_an_image_that_may_not_be_read_is_refused(tmp_path, pixels, monkeypatch):
    def refuse(path, mode):
        raise PermissionError(13, "Permission denied", str(path))

    Image.fromarray(pixels).save(tmp_path / "galaxy.png")
    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(ImageError, match=r"galaxy.png: no permission to read it"):
        read_image(tmp_path / "galaxy.png")


def test_mask_is_read_exactly(tmp_path):
    counts = np.arange(16 * 20, dtype=np.uint8).reshape(16, 20) % 16
    Image.fromarray(counts).save(tmp_path / "mask.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.png", (16, 20), n_volunteers=15), counts)


@pytest.mark.parametrize(
    ("mask", "suffix", "reason"),
    [
        (Image.new("L", (20, 17)), "PNG", r"16 x 20 pixels.* 17 x 20$"),
        (Image.new("L", (20, 16), 16), "PNG", r"0 to n_volunteers, 15; .* 16$"),
        (Image.new("L", (20, 16), 3), "JPEG", "must be an 8-bit greyscale PNG of counts"),
        (Image.new("RGB", (20, 16)), "PNG", "must be an 8-bit greyscale PNG of counts"),
        (Image.new("P", (20, 16)), "PNG", "must be an 8-bit greyscale PNG of counts"),
        (Image.new("1", (20, 16)), "PNG", "must be an 8-bit greyscale PNG of counts"),
        (Image.new("I;16", (20, 16)), "PNG", "must be an 8-bit greyscale PNG of counts"),
    ],
)
def test_bad_masks_are_refused(tmp_path, mask, suffix, reason):
    mask.save(tmp_path / "mask.png", format=suffix)
    with pytest.raises(ImageError, match=f"mask.png: .*{reason}"):
        read_mask(tmp_path / "mask.png", (16, 20), n_volunteers=15)


def test_masks_of_yes_and_no_are_said_with_the_remedy(tmp_path):
    yes = np.zeros((16, 20), np.uint8)
    yes[4:8, 4:8] = 1
    Image.fromarray(yes * 255).save(tmp_path / "bright.png")
    with pytest.raises(ImageError, match=r"bright\.png: .*0 and 255.* n_volunteers to 1"):
        read_mask(tmp_path / "bright.png", (16, 20), n_volunteers=15)
    np.testing.assert_array_equal(read_mask(tmp_path / "bright.png", (16, 20), n_volunteers=1), yes)
    Image.fromarray(yes).save(tmp_path / "dark.png")
    with pytest.warns(UserWarning, match=r"1 of 15 volunteers.* n_volunteers to 1"):
        counts = read_mask(tmp_path / "dark.png", (16, 20), n_volunteers=15)
    np.testing.assert_array_equal(counts, yes)


@pytest.mark.filterwarnings("error")
def test_masks_of_one_volunteer_and_masks_of_several_counts_are_read_without_a_warning(tmp_path):
    counts = np.zeros((16, 20), np.uint8)
    Image.fromarray(counts).save(tmp_path / "mask.png")
    read_mask(tmp_path / "mask.png", (16, 20), n_volunteers=15)
    counts[4:8, 4:8] = 1
    Image.fromarray(counts).save(tmp_path / "mask.png")
    read_mask(tmp_path / "mask.png", (16, 20), n_volunteers=1)
    counts[5, 5] = 2
    Image.fromarray(counts).save(tmp_path / "mask.png")
    read_mask(tmp_path / "mask.png", (16, 20), n_volunteers=15)


def test_missing_mask_file_is_refused(tmp_path):
    with pytest.raises(ImageError, match=r"mask\.png: no such file"):
        read_mask(tmp_path / "mask.png", (16, 20), n_volunteers=15)


def test_each_volunteer_counts_once(tmp_path):
    square = [[2.5, 2.5], [7.5, 2.5], [7.5, 7.5], [2.5, 7.5]]
    path = tmp_path / "marks.json"
    path.write_text(json.dumps({"spiral_mask": [[square, square], [square], []]}))
    counts = read_marks(path, (16, 20), n_volunteers=3)
    assert counts.keys() == {"spiral_mask"}
    assert counts["spiral_mask"].shape == (16, 20)
    assert counts["spiral_mask"][5, 5] == 2
    assert (counts["spiral_mask"] > 0).sum() == 25


def test_lines_and_outlines_are_read_from_one_file(tmp_path):
    square = [[2.5, 2.5], [7.5, 2.5], [7.5, 7.5], [2.5, 7.5]]
    marks = {"spiral_mask": [[square, {"line": [[12, 5], [15, 5]], "width": 1}], []]}
    (tmp_path / "marks.json").write_text(json.dumps(marks))
    counts = read_marks(tmp_path / "marks.json", (16, 20), n_volunteers=2)["spiral_mask"]
    assert counts.sum() == 25 + 4
    assert counts[5, 12:16].all()


def test_blank_marks_are_an_empty_mask_not_a_missing_one(tmp_path):
    (tmp_path / "marks.json").write_text(json.dumps({"bar_mask": [[]] * 15}))
    counts = read_marks(tmp_path / "marks.json", (16, 20), n_volunteers=15)
    assert counts.keys() == {"bar_mask"}
    assert not counts["bar_mask"].any()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "cannot be read"),
        ("[]", "JSON object .*spiral_mask, bar_mask"),
        ('{"arms": []}', "JSON object .*spiral_mask, bar_mask"),
        ('{"bar_mask": 7}', "JSON object .*spiral_mask, bar_mask"),
        ('{"bar_mask": [[], []]}', r"bar_mask .* n_volunteers .* is 3; .* 2$"),
        ('{"bar_mask": [[[[1, "a"]]], [], []]}', "bar_mask: component 0 of volunteer 0"),
        (
            '{"bar_mask": [[], [{"line": [[1, 2]], "width": 0}], []]}',
            "bar_mask: component 0 of volunteer 1 .* received 0",
        ),
    ],
)
def test_bad_marks_are_refused(tmp_path, text, reason):
    (tmp_path / "marks.json").write_text(text)
    with pytest.raises(ImageError, match=f"marks.json: .*{reason}"):
        read_marks(tmp_path / "marks.json", (16, 20), n_volunteers=3)


def test_a_mask_file_takes_precedence_over_the_marks(tmp_path):
    Image.new("L", (20, 16), 3).save(tmp_path / "spiral.png")
    square = [[2.5, 2.5], [7.5, 2.5], [7.5, 7.5], [2.5, 7.5]]
    marks = {"spiral_mask": [[square]] * 15, "bar_mask": [[square]] * 4 + [[]] * 11}
    (tmp_path / "marks.json").write_text(json.dumps(marks))
    mask_locs = {"spiral_mask": tmp_path / "spiral.png", "bar_mask": ""}
    counts = read_known_masks(mask_locs, tmp_path / "marks.json", (16, 20), 15)
    assert counts.keys() == {"spiral_mask", "bar_mask"}
    np.testing.assert_array_equal(counts["spiral_mask"], np.full((16, 20), 3))
    assert (counts["bar_mask"].max(), counts["bar_mask"].sum()) == (4, 4 * 25)


def test_a_mask_without_a_file_is_absent(tmp_path):
    Image.new("L", (20, 16), 3).save(tmp_path / "bar.png")
    assert read_known_masks({"spiral_mask": "", "bar_mask": ""}, "", (16, 20), 15) == {}
    counts = read_known_masks({"spiral_mask": "", "bar_mask": tmp_path / "bar.png"}, "", (16, 20), 15)
    assert counts.keys() == {"bar_mask"}


def test_marks_are_read_only_if_a_mask_has_no_file(tmp_path):
    Image.new("L", (20, 16), 3).save(tmp_path / "mask.png")
    both = {"spiral_mask": tmp_path / "mask.png", "bar_mask": tmp_path / "mask.png"}
    assert len(read_known_masks(both, tmp_path / "absent.json", (16, 20), 15)) == 2
    with pytest.raises(ImageError, match=r"absent\.json"):
        read_known_masks(both | {"bar_mask": ""}, tmp_path / "absent.json", (16, 20), 15)


def test_pictures_are_read_with_their_stretch(tmp_path, pixels):
    Image.fromarray(pixels).save(tmp_path / "galaxy.png")
    np.testing.assert_array_equal(read_picture(str(tmp_path / "galaxy.png"), "lupton"), pixels)
    fluxes = np.random.default_rng(0).normal(0.05, 0.05, (3, 32, 20)).astype(np.float32)
    write_fits(tmp_path / "galaxy.fits", fluxes, BANDS="grz")
    picture = read_picture(str(tmp_path / "galaxy.fits"), "lupton")
    np.testing.assert_array_equal(picture, to_rgb(fluxes, "grz", "lupton")[::-1])


def test_pictures_in_shards_are_refused(tmp_path, pixels):
    path = tmp_path / "train-00000-of-00001.tfrecord"
    Image.fromarray(pixels).save(path, format="PNG")
    with pytest.raises(ImageError, match=r"train-00000-of-00001\.tfrecord: .*shards"):
        read_picture(str(path), "galaxy-zoo")


def test_resizing_to_the_same_size_changes_nothing(pixels):
    np.testing.assert_array_equal(resize_image(pixels[:20], 20), pixels[:20])
    counts = pixels[:20, :, 0]
    np.testing.assert_array_equal(resize_counts(counts, 20), counts)


def test_resizing_crops_to_the_central_square():
    image = np.zeros((20, 40, 3), np.uint8)
    image[:, 10:30] = 90
    assert (resize_image(image, 10) == 90).mean() > 0.75
    np.testing.assert_array_equal(resize_image(image, 20), image[:, 10:30])
    np.testing.assert_array_equal(resize_counts(image[..., 0], 20), image[:, 10:30, 0])


def test_an_odd_difference_of_sides_keeps_the_centre():
    image = np.zeros((20, 21, 3), np.uint8)
    image[:, 10] = 100  # the central column: its centre must fall between the two central columns of the result
    row = resize_image(image, 20)[10, :, 0]
    np.testing.assert_array_equal(row, row[::-1])
    assert row[9] == row[10] == 50


def test_images_and_masks_are_resized_on_one_grid():
    rng = np.random.default_rng(1)
    counts = rng.integers(0, 16, (64, 81)).astype(np.uint8)
    image = np.repeat(counts[..., None] * 16, 3, axis=2)
    difference = resize_image(image, 30)[..., 0] / 16 - resize_counts(counts, 30)
    assert np.abs(difference).max() < 0.6


def test_resized_counts_are_rounded_to_the_nearest():
    counts = np.zeros((16, 16), np.uint8)
    counts[:, :8] = 15
    resized = resize_counts(counts, 32)
    np.testing.assert_array_equal(resized[0, 13:19], [15, 15, 11, 4, 0, 0])
