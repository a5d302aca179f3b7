"""Images and masks at the door: files that may hold anything in, arrays of one known kind out.

Content decides, not the suffix. Whatever would have to be guessed at (the stretch of 16-bit pixels, the colour behind
transparent ones, the band of a single plane) is refused, and sizes are checked on the header, so that a decompression
bomb costs nothing.
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
MAX_SIDE = 8192
FITS_SIGNATURE = b"SIMPLE  ="
GZIP_SIGNATURE = b"\x1f\x8b"

# A FITS file in gzip unpacks in memory. The largest cutout has four bands of float32.
_MAX_INFLATED_BYTES = 4 * 4 * MAX_SIDE**2
# Which bands a FITS cutout holds, or the one.
_BAND_KEYWORDS = ("BANDS", "BAND", "FILTER")
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# Modes that become RGB without a choice to make: bilevel, greyscale, palette, and each of them with transparency.
_PLAIN_MODES = ("1", "L", "LA", "P", "RGB", "RGBA")


class ImageError(ValueError):
    """A file cannot serve as an image or a mask; the message names the file and the reason."""


def read_image(path: PathLike, stretch: str = DEFAULT_STRETCH) -> np.ndarray:
    """Read a galaxy image from a PNG or JPEG, or from a FITS cutout in one to four of the bands g, r, i, z.

    Greyscale and palette images become RGB. A FITS cutout, be it in gzip or compressed in an extension (.fits.fz), is
    coloured (by default as Galaxy Zoo DECaLS volunteers saw it) and turned upside down, since its first row is the
    bottom one. It is [bands, H, W], or [H, W] of one band; BANDS in its header says which ("grz"), for one band also
    BAND or FILTER. Three bands without a word are g, r, z.

    Args:
        path: the file; its suffix does not matter.
        stretch: of a FITS cutout's fluxes; see `to_rgb`.

    Returns:
        uint8 (H, W, 3), row 0 at the top; perhaps not to be written to.

    Raises:
        ImageError: the file is missing, damaged, of another kind, CMYK, 16-bit or partly transparent; it has a side
            shorter than 16 or longer than 8192 pixels, a FITS band that is unknown or without any flux, or only pixels
            of one colour.
    """
    with _naming_file(path):
        with _open(path) as file:
            header = file.read(32)
            if header.startswith((FITS_SIGNATURE, GZIP_SIGNATURE)):
                image = _read_fits_cutout(path, stretch)
            else:
                image = _read_picture(path, file, header)
        if is_blank(image):
            raise ImageError(f"{path}: holds nothing: every pixel is the same")
        return image


def is_blank(image: np.ndarray) -> bool:
    """Whether all pixels of an image (H, W, 3) are the same: black, white, or any one colour."""
    return bool((image[0] == image[0, 0]).all() and (image == image[0, 0]).all())


@contextmanager
def open_fits_image(path: PathLike) -> Iterator[Any]:
    """Open a FITS file, plain or in gzip, at its picture: the first HDU that holds an image, compressed or not.

    Args:
        path: the file.

    Yields:
        Its HDU; the pixels are read when they are asked for.

    Raises:
        ImageError: the file is damaged, of another kind, holds no image, or inflates to more than any cutout needs.
    """
    from astropy.io import fits

    with _naming_file(path), _open(path) as file:
        is_plain = file.read(len(GZIP_SIGNATURE)) != GZIP_SIGNATURE
        with fits.open(path if is_plain else _inflate(path)) as hdus:
            picture = next((hdu for hdu in hdus if hdu.is_image and len(hdu.shape) > 1), None)
            if picture is None:
                raise ImageError(f"{path}: a FITS file without an image")
            yield picture


def read_mask(path: PathLike, shape: tuple[int, int], n_volunteers: int) -> np.ndarray:
    """Read a mask: how many volunteers enclosed each pixel.

    Args:
        path: an 8-bit greyscale PNG of counts.
        shape: height and width of the galaxy's image, which the mask must share.
        n_volunteers: how many volunteers were asked.

    Returns:
        Counts in 0..n_volunteers, uint8 (H, W), row 0 at the top.

    Raises:
        ImageError: the file is missing, damaged or of another kind, has another size than the image, or holds a count
            above n_volunteers.
    """
    with _naming_file(path):
        with _open(path) as file:
            if _png_depth_and_colour(file.read(32)) != (8, 0):
                raise ImageError(f"{path}: a mask must be an 8-bit greyscale PNG of counts")
        with Image.open(path, formats=("PNG",)) as image:
            if (image.height, image.width) != tuple(shape):
                raise ImageError(
                    f"{path}: the mask is {image.height} x {image.width} pixels (height x width), "
                    f"its image {shape[0]} x {shape[1]}; they must share one grid"
                )
            counts = np.array(image)
    if counts.max() > n_volunteers:
        raise ImageError(
            f"{path}: holds the count {counts.max()}, but n_volunteers is {n_volunteers}; "
            "a mask holds counts 0..n_volunteers, neither fractions nor 0..255"
        )
    return counts


def read_marks(path: PathLike, shape: tuple[int, int], n_volunteers: int) -> dict[str, np.ndarray]:
    """Read volunteers' marks and count how many of them enclosed each pixel.

    Args:
        path: JSON `{"spiral_mask": [volunteer][component][vertex] -> [x, y], "bar_mask": ...}` in pixels of the image,
            x to the right, y down. Either name may be absent: nobody was asked. A volunteer who drew nothing is `[]`.
        shape: height and width of the galaxy's image.
        n_volunteers: how many volunteers were asked.

    Returns:
        Counts for each name present, uint8 (H, W), row 0 at the top.

    Raises:
        ImageError: the file is missing or not of this form, or lists another number of volunteers.
    """
    with _naming_file(path):
        with _open(path) as file:
            marks = json.load(file)
        names = [name for name in MASKS if name in marks] if isinstance(marks, dict) else []
        if not names or not all(isinstance(marks[name], list) for name in names):
            raise ImageError(f"{path}: marks must be a JSON object of lists: spiral_mask, bar_mask or both")
        counts = {}
        for name in names:
            if len(marks[name]) != n_volunteers:
                raise ImageError(
                    f"{path}: {name} has the marks of {len(marks[name])} volunteers, but n_volunteers is {n_volunteers}"
                )
            counts[name] = counts_from_marks(marks[name], shape)
        return counts


def read_known_masks(
    mask_locs: Mapping[str, PathLike], marks_loc: PathLike, shape: tuple[int, int], n_volunteers: int
) -> dict[str, np.ndarray]:
    """Read all masks that are known of a galaxy. A mask file takes precedence over the marks.

    Args:
        mask_locs: file of each mask by name, `spiral_mask` or `bar_mask`; '' where there is none.
        marks_loc: file of the volunteers' marks; '' if there is none.
        shape: height and width of the galaxy's image.
        n_volunteers: number of volunteers who were asked.

    Returns:
        Counts of volunteers by the mask's name, uint8 (H, W) each. A mask that nobody was asked for is absent.

    Raises:
        ImageError: as `read_mask` and `read_marks`.
    """
    counts = {name: read_mask(loc, shape, n_volunteers) for name, loc in mask_locs.items() if loc}
    if marks_loc and len(counts) < len(MASKS):
        counts = read_marks(marks_loc, shape, n_volunteers) | counts
    return counts


def resize_image(image: np.ndarray, size: int) -> np.ndarray:
    """Resize the central square of an image, bilinear with antialiasing.

    Training and prediction both use this function, and `resize_counts` shares its grid.

    Args:
        image: uint8 (H, W, 3).
        size: height and width wanted, in pixels.

    Returns:
        uint8 (size, size, 3), not to be written to.
    """
    return np.asarray(_resize_central_square(Image.fromarray(image), size))


def resize_counts(counts: np.ndarray, size: int) -> np.ndarray:
    """Resize the central square of a mask on the grid of `resize_image`, rounding to whole counts.

    Args:
        counts: uint8 (H, W).
        size: height and width wanted, in pixels.

    Returns:
        uint8 (size, size).
    """
    resized = _resize_central_square(Image.fromarray(counts.astype(np.float32)), size)
    return np.rint(np.asarray(resized)).astype(np.uint8)


@contextmanager
def _naming_file(path: PathLike) -> Iterator[None]:
    """Turn whatever goes wrong inside into an ImageError that names the file."""
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
        raise ImageError(f"{path}: more pixels than an image of {MAX_SIDE} x {MAX_SIDE} may have") from None
    except Exception as error:  # damaged files make decoders raise errors of nearly every kind
        raise ImageError(f"{path}: cannot be read: {' '.join(str(error).split())}") from error


def _open(path: PathLike) -> BinaryIO:
    # Opening a pipe would wait for somebody to write to it.
    if os.path.exists(path) and not os.path.isfile(path):
        raise ImageError(f"{path}: a folder, a pipe or a device, not a file")
    return open(path, "rb")


def _inflate(path: PathLike) -> BinaryIO:
    from isal import igzip

    with igzip.open(path) as file:
        content = file.read(_MAX_INFLATED_BYTES + 1)
    if len(content) > _MAX_INFLATED_BYTES:
        raise ImageError(f"{path}: inflates to more than {_MAX_INFLATED_BYTES} bytes, which no cutout needs")
    if not content.startswith(FITS_SIGNATURE):
        raise UnidentifiedImageError
    return io.BytesIO(content)


def _read_picture(path: PathLike, file: BinaryIO, header: bytes) -> np.ndarray:
    """Pixels of a PNG or JPEG file that begins with this header."""
    if not header:
        raise ImageError(f"{path}: not a PNG, JPEG or FITS file: it is empty")
    if _png_depth_and_colour(header)[0] == 16:
        raise ImageError(f"{path}: 16 bits a channel, and the right stretch to 8 bits is unknown; save it as 8-bit")
    file.seek(0)
    with Image.open(file, formats=("PNG", "JPEG")) as image:
        _check_sides(path, image.height, image.width)
        if image.mode not in _PLAIN_MODES:
            raise ImageError(f"{path}: colour mode {image.mode}; save it as 8-bit RGB or greyscale")
        if image.has_transparency_data and image.convert("RGBA").getchannel("A").getextrema() != (255, 255):
            raise ImageError(f"{path}: has transparent pixels; save it without transparency")
        # Each copy of an image costs half a millisecond: `convert` makes one of RGB too, and `np.array` two.
        return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def _png_depth_and_colour(header: bytes) -> tuple[int | None, int | None]:
    """Bits a channel and colour type of a PNG; Pillow does not tell, and makes 16-bit RGB 8-bit without a word."""
    if not header.startswith(_PNG_SIGNATURE) or len(header) < 26:
        return None, None
    return header[24], header[25]


def _check_sides(path: PathLike, height: int, width: int) -> None:
    if min(height, width) < MIN_SIDE or max(height, width) > MAX_SIDE:
        raise ImageError(
            f"{path}: {height} x {width} pixels (height x width); each side must have {MIN_SIDE} to {MAX_SIDE}"
        )


def _read_fits_cutout(path: PathLike, stretch: str) -> np.ndarray:
    with open_fits_image(path) as hdu:
        bands = _bands_of(path, hdu)
        _check_sides(path, *hdu.shape[-2:])
        fluxes = np.reshape(hdu.data, (len(bands), *hdu.shape[-2:]))
        unseen = [band for band, plane in zip(bands, fluxes, strict=True) if not np.isfinite(plane).any()]
        if unseen:
            raise ImageError(f"{path}: no pixel in {', '.join(unseen)} is a finite number")
        return np.ascontiguousarray(to_rgb(fluxes, bands, stretch)[::-1])


def _bands_of(path: PathLike, hdu: Any) -> str:
    n_bands = {2: 1, 3: hdu.shape[0]}.get(len(hdu.shape))
    unnamed = "grz" if n_bands == 3 else ""
    bands = next((str(hdu.header[name]).strip() for name in _BAND_KEYWORDS if name in hdu.header), unnamed)
    if len(bands) != n_bands:
        raise ImageError(
            f"{path}: holds an array {list(hdu.shape)} of bands {bands!r}; a FITS cutout is [bands, H, W], or [H, W] "
            "of one band, and BANDS in its header names them, such as grz"
        )
    return bands


def _resize_central_square(image: Image.Image, size: int) -> Image.Image:
    side = min(image.size)
    # A box of fractional pixels keeps the centre where it was when the difference of the sides is odd.
    left, top = (image.width - side) / 2, (image.height - side) / 2
    return image.resize((size, size), Image.Resampling.BILINEAR, box=(left, top, left + side, top + side))


_SHARD_SUFFIX = ".tfrecord"


def read_picture(file_loc: str, stretch: str) -> np.ndarray:
    """The image of a galaxy to look at, uint8 (H, W, 3).

    Raises:
        ImageError: it cannot be read, or is inside a shard.
    """
    if file_loc.endswith(_SHARD_SUFFIX):
        raise ImageError(f"{file_loc}: images inside shards are not shown")
    return read_image(file_loc, stretch)
