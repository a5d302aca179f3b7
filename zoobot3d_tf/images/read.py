"""Reading and checking of images and masks from files.

The format of a file is recognised by its content, not by its suffix. A file is refused if something would have to be
guessed, such as the stretch of 16-bit pixels, the colour behind transparent pixels, or the band of a FITS image. The
size is checked in the header, so that a file with far too many pixels is refused before it is decoded.
"""

import io
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from zoobot3d_tf.files import PathLike
from zoobot3d_tf.images.masks import MASKS, counts_from_marks
from zoobot3d_tf.images.rgb import DEFAULT_STRETCH, to_rgb

MIN_SIDE = 16
"""Smallest height and width of an image, in pixels."""
MAX_SIDE = 8192
"""Largest height and width of an image, in pixels."""
FITS_SIGNATURE = b"SIMPLE  ="
GZIP_SIGNATURE = b"\x1f\x8b"

# FITS files in gzip are decompressed in memory. The largest cutout has four bands of float32.
_MAX_BYTES = 4 * 4 * MAX_SIDE**2
# Keywords for the bands of a FITS cutout.
_BAND_KEYWORDS = ("BANDS", "BAND", "FILTER")
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_SHARD_SUFFIX = ".tfrecord"
# Modes with one way to convert them to RGB: bilevel, greyscale, palette, and the same with transparency.
_PLAIN_MODES = ("1", "L", "LA", "P", "RGB", "RGBA")


class ImageError(ValueError):
    """A file cannot be used as an image or a mask. The message names the file and the reason."""


def read_image(path: PathLike, stretch: str = DEFAULT_STRETCH) -> np.ndarray:
    """Read a galaxy image from a PNG or JPEG, or from a FITS cutout in one to four of the bands g, r, i, z.

    Greyscale and palette images are converted to RGB. A FITS cutout has the shape [bands, H, W], or [H, W] for one
    band, and may be compressed by gzip or in an extension (.fits.fz). Its header names the bands as `BANDS`, such as
    "grz"; for one band, also as `BAND` or `FILTER`. Three bands without names are g, r, z. The cutout is converted to
    colours (see `to_rgb`), and its rows are reversed, since the first row of a FITS image is the bottom row.

    Args:
        path: path of the file. Its suffix has no influence.
        stretch: colour stretch of FITS cutouts, see `to_rgb`.

    Returns:
        uint8 (H, W, 3), possibly read-only. Row 0 is the top row.

    Raises:
        ImageError: the file does not exist, is damaged, or is not a PNG, JPEG or FITS file; the image is CMYK, 16-bit
            or partly transparent, has a side shorter than `MIN_SIDE` or longer than `MAX_SIDE`, or the same value in
            all pixels; a FITS band is unknown, or has no finite pixel.
    """
    with _naming_file(path):
        with _open(path) as file:
            header = file.read(32)
            if header.startswith((FITS_SIGNATURE, GZIP_SIGNATURE)):
                image = _read_fits_cutout(path, stretch)
            else:
                image = _read_png_or_jpeg(path, file, header)
        if is_blank(image):
            raise ImageError(f"{path}: the image is empty: every pixel has the same value")
        return image


def read_picture(file_loc: str, stretch: str) -> np.ndarray:
    """Read the image of a galaxy for a page.

    Args:
        file_loc: path of the image, or of the shard that has the image.
        stretch: colour stretch of FITS cutouts, see `to_rgb`.

    Returns:
        uint8 (H, W, 3), possibly read-only. Row 0 is the top row.

    Raises:
        ImageError: the path is that of a shard, or `read_image` raises this error.
    """
    if file_loc.endswith(_SHARD_SUFFIX):
        raise ImageError(f"{file_loc}: images in shards are not shown; give a catalogue of image files instead")
    return read_image(file_loc, stretch)


def is_blank(image: np.ndarray) -> bool:
    """Whether all pixels of an image (H, W, 3) have the same colour."""
    return bool((image[0] == image[0, 0]).all() and (image == image[0, 0]).all())


@contextmanager
def open_fits_image(path: PathLike) -> Iterator[Any]:
    """Open the first image of a FITS file, which may be compressed by gzip or in an extension.

    Args:
        path: path of the file.

    Yields:
        HDU of the image. Its pixels are read when they are used.

    Raises:
        ImageError: the file does not exist, is damaged, is not a FITS file or has no image, or its decompressed size is
            larger than that of the largest cutout.
    """
    from astropy.io import fits

    with _naming_file(path), _open(path) as file:
        is_plain = file.read(len(GZIP_SIGNATURE)) != GZIP_SIGNATURE
        with fits.open(path if is_plain else _decompress(path)) as hdus:
            image = next((hdu for hdu in hdus if hdu.is_image and len(hdu.shape) > 1), None)
            if image is None:
                raise ImageError(f"{path}: the FITS file has no image")
            yield image


def read_mask(path: PathLike, shape: tuple[int, int], n_volunteers: int) -> np.ndarray:
    """Read a mask: the number of volunteers who enclosed each pixel.

    Args:
        path: path of an 8-bit greyscale PNG of counts.
        shape: height and width of the image of the galaxy, in pixels. The mask must have the same.
        n_volunteers: number of volunteers who were asked to draw.

    Returns:
        Counts from 0 to `n_volunteers`, uint8 (H, W). Row 0 is the top row.

    Raises:
        ImageError: the file does not exist, is damaged or is not an 8-bit greyscale PNG; the mask has another size than
            the image, or a count larger than `n_volunteers`.
    """
    with _naming_file(path):
        with _open(path) as file:
            if _png_depth_and_colour(file.read(32)) != (8, 0):
                raise ImageError(f"{path}: a mask must be an 8-bit greyscale PNG of counts")
        with Image.open(path, formats=("PNG",)) as image:
            if (image.height, image.width) != tuple(shape):
                raise ImageError(
                    f"{path}: the mask must have the height and width of its image, {shape[0]} x {shape[1]} pixels; "
                    f"the mask has {image.height} x {image.width}"
                )
            counts = np.array(image)
    if counts.max() > n_volunteers:
        raise ImageError(
            f"{path}: the pixels of a mask must be counts from 0 to n_volunteers, {n_volunteers}; "
            f"the largest is {counts.max()}"
        )
    return counts


def read_marks(path: PathLike, shape: tuple[int, int], n_volunteers: int) -> dict[str, np.ndarray]:
    """Read the marks of volunteers, and count the volunteers who enclosed each pixel.

    Args:
        path: path of a JSON file `{"spiral_mask": [volunteer][component][vertex] -> [x, y], "bar_mask": ...}`, in
            pixels of the image, with x to the right and y down. A name is absent if nobody was asked to draw this mask.
            A volunteer who drew nothing has an empty list.
        shape: height and width of the image of the galaxy, in pixels.
        n_volunteers: number of volunteers who were asked to draw.

    Returns:
        Counts by the name of the mask, uint8 (H, W) each. Row 0 is the top row.

    Raises:
        ImageError: the file does not exist or has another form, or the number of volunteers in it is not
            `n_volunteers`.
    """
    with _naming_file(path):
        with _open(path) as file:
            marks = json.load(file)
        names = [name for name in MASKS if name in marks] if isinstance(marks, dict) else []
        if not names or not all(isinstance(marks[name], list) for name in names):
            raise ImageError(f"{path}: marks must be a JSON object with the lists spiral_mask, bar_mask or both")
        counts = {}
        for name in names:
            if len(marks[name]) != n_volunteers:
                raise ImageError(
                    f"{path}: {name} must have one list per volunteer: n_volunteers is {n_volunteers}; "
                    f"the number of lists is {len(marks[name])}"
                )
            counts[name] = counts_from_marks(marks[name], shape)
        return counts


def read_known_masks(
    mask_locs: Mapping[str, PathLike], marks_loc: PathLike, shape: tuple[int, int], n_volunteers: int
) -> dict[str, np.ndarray]:
    """Read the known masks of a galaxy. A mask file takes precedence over the marks.

    Args:
        mask_locs: path of the file of each mask by its name, `spiral_mask` or `bar_mask`; '' if there is no file.
        marks_loc: path of the marks of the volunteers; '' if there is no file.
        shape: height and width of the image of the galaxy, in pixels.
        n_volunteers: number of volunteers who were asked to draw.

    Returns:
        Counts of volunteers by the name of the mask, uint8 (H, W) each. A mask that nobody was asked to draw is absent.

    Raises:
        ImageError: a file cannot be used; see `read_mask` and `read_marks`.
    """
    counts = {name: read_mask(loc, shape, n_volunteers) for name, loc in mask_locs.items() if loc}
    if marks_loc and len(counts) < len(MASKS):
        counts = read_marks(marks_loc, shape, n_volunteers) | counts
    return counts


def resize_image(image: np.ndarray, size: int) -> np.ndarray:
    """Resize the central square of an image, with bilinear interpolation and antialiasing.

    Training and prediction both use this function. `resize_counts` gives masks on the same pixel grid.

    Args:
        image: uint8 (H, W, 3).
        size: height and width of the result, in pixels.

    Returns:
        uint8 (size, size, 3), read-only.
    """
    return np.asarray(_resize_central_square(Image.fromarray(image), size))


def resize_counts(counts: np.ndarray, size: int) -> np.ndarray:
    """Resize the central square of a mask to the pixel grid of `resize_image`, and round to whole counts.

    Args:
        counts: number of volunteers per pixel, uint8 (H, W).
        size: height and width of the result, in pixels.

    Returns:
        uint8 (size, size).
    """
    resized = _resize_central_square(Image.fromarray(counts.astype(np.float32)), size)
    return np.rint(np.asarray(resized)).astype(np.uint8)


@contextmanager
def _naming_file(path: PathLike) -> Iterator[None]:
    """Convert all errors in the block to `ImageError` with the path of the file."""
    try:
        yield
    except ImageError:
        raise
    except FileNotFoundError:
        raise ImageError(f"{path}: no such file") from None
    except PermissionError:
        raise ImageError(f"{path}: no permission to read it") from None
    except UnidentifiedImageError:
        raise ImageError(f"{path}: not a PNG, JPEG or FITS file") from None
    except Image.DecompressionBombError:
        raise ImageError(f"{path}: the image has more pixels than {MAX_SIDE} x {MAX_SIDE}, the largest size") from None
    except Exception as error:  # damaged files make decoders raise errors of nearly every kind
        raise ImageError(f"{path}: cannot be read: {' '.join(str(error).split())}") from error


def _open(path: PathLike) -> BinaryIO:
    # Opening a pipe would wait until another process writes to it.
    if os.path.exists(path) and not os.path.isfile(path):
        raise ImageError(f"{path}: must be a file; it is a folder, a pipe or a device")
    return open(path, "rb")


def _decompress(path: PathLike) -> BinaryIO:
    from isal import igzip

    with igzip.open(path) as file:
        content = file.read(_MAX_BYTES + 1)
    if len(content) > _MAX_BYTES:
        raise ImageError(f"{path}: a FITS file must have at most {_MAX_BYTES} bytes after decompression")
    if not content.startswith(FITS_SIGNATURE):
        raise UnidentifiedImageError
    return io.BytesIO(content)


def _read_png_or_jpeg(path: PathLike, file: BinaryIO, header: bytes) -> np.ndarray:
    """Read a PNG or JPEG file whose first bytes are `header`."""
    if not header:
        raise ImageError(f"{path}: the file is empty")
    if _png_depth_and_colour(header)[0] == 16:
        raise ImageError(
            f"{path}: the image has 16 bits per channel, and the stretch to 8 bits is unknown; save it as 8-bit"
        )
    file.seek(0)
    with Image.open(file, formats=("PNG", "JPEG")) as image:
        _check_sides(path, image.height, image.width)
        if image.mode not in _PLAIN_MODES:
            raise ImageError(f"{path}: the image has the colour mode {image.mode}; save it as 8-bit RGB or greyscale")
        if image.has_transparency_data and image.convert("RGBA").getchannel("A").getextrema() != (255, 255):
            raise ImageError(f"{path}: the image has transparent pixels; save it without transparency")
        # Avoid copies, of half a millisecond each: `convert` copies even an RGB image, and `np.array` copies twice.
        return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def _png_depth_and_colour(header: bytes) -> tuple[int | None, int | None]:
    """Read bits per channel and colour type of a PNG from its header; (None, None) for other files.

    Pillow does not give these values. It converts 16-bit RGB to 8-bit RGB without a warning.
    """
    if not header.startswith(_PNG_SIGNATURE) or len(header) < 26:
        return None, None
    return header[24], header[25]


def _check_sides(path: PathLike, height: int, width: int) -> None:
    if min(height, width) < MIN_SIDE or max(height, width) > MAX_SIDE:
        raise ImageError(
            f"{path}: height and width must be from {MIN_SIDE} to {MAX_SIDE} pixels; the image has {height} x {width}"
        )


def _read_fits_cutout(path: PathLike, stretch: str) -> np.ndarray:
    with open_fits_image(path) as hdu:
        bands = _bands_of(path, hdu)
        _check_sides(path, *hdu.shape[-2:])
        fluxes = np.reshape(hdu.data, (len(bands), *hdu.shape[-2:]))
        missing = [band for band, plane in zip(bands, fluxes, strict=True) if not np.isfinite(plane).any()]
        if missing:
            raise ImageError(f"{path}: bands without a finite pixel: {', '.join(missing)}")
        return np.ascontiguousarray(to_rgb(fluxes, bands, stretch)[::-1])


def _bands_of(path: PathLike, hdu: Any) -> str:
    n_bands = {2: 1, 3: hdu.shape[0]}.get(len(hdu.shape))
    unnamed = "grz" if n_bands == 3 else ""
    bands = next((str(hdu.header[name]).strip() for name in _BAND_KEYWORDS if name in hdu.header), unnamed)
    if len(bands) != n_bands:
        raise ImageError(
            f"{path}: a FITS cutout must have the shape [bands, H, W], or [H, W] for one band, and its header must "
            f"name the bands as BANDS, such as grz; the image has the shape {list(hdu.shape)} and the bands {bands!r}"
        )
    return bands


def _resize_central_square(image: Image.Image, size: int) -> Image.Image:
    side = min(image.size)
    # If the difference of the sides is odd, only a box with fractions of pixels keeps the centre.
    left, top = (image.width - side) / 2, (image.height - side) / 2
    return image.resize((size, size), Image.Resampling.BILINEAR, box=(left, top, left + side, top + side))
