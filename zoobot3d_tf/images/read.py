"""Reading and checking of images and masks from files.

The format of a file is recognised by its content, not by its suffix. A file is refused if something would have to be
guessed, such as the stretch of 16-bit pixels, the colour behind transparent pixels, or the band of a FITS image. The
size is checked in the header, so that a file with far too many pixels is refused before it is decoded.
"""

import io
import json
import warnings
from collections.abc import Mapping
from typing import BinaryIO

import numpy as np
from PIL import ExifTags, Image, ImageOps, TiffImagePlugin

from zoobot3d_tf.files import PathLike
from zoobot3d_tf.images.fits_cutouts import is_fits, read_fits_cutout
from zoobot3d_tf.images.image_file import MAX_SIDE, MIN_SIDE, ImageError, check_sides, open_image_file, read_content
from zoobot3d_tf.images.masks import MASKS, Marks, check_marks, counts_from_marks, is_enclosed
from zoobot3d_tf.images.stretch import DEFAULT_STRETCH

__all__ = [
    "MAX_SIDE",
    "MIN_SIDE",
    "ImageError",
    "from_pillow",
    "is_blank",
    "read_image",
    "read_known_masks",
    "read_marks",
    "read_mask",
    "read_own_marks",
    "read_picture",
    "resize_counts",
    "resize_image",
    "turn_upright",
]

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_LENGTH_OF_START = 16
_SHARD_SUFFIX = ".tfrecord"
# Modes with one way to convert them to RGB: bilevel, greyscale, palette, and the same with transparency.
_PLAIN_MODES = ("1", "L", "LA", "P", "RGB", "RGBA")
_TIFF_BITS_PER_SAMPLE = 258
# Marks of fifteen volunteers have 0.1 MB.
_MAX_MARKS_BYTES = 2**24
# A progressive JPEG has about ten scans. With thousands, a small file takes minutes.
_MAX_JPEG_SCANS = 64
_JPEG_SCAN = b"\xff\xda"


def read_image(path: PathLike, stretch: str = DEFAULT_STRETCH) -> np.ndarray:
    """Read a galaxy image from a PNG, JPEG or TIFF, or from a FITS cutout in one to four of the bands g, r, i, z.

    Greyscale and palette images are converted to RGB, and images are turned as their EXIF orientation says.

    A FITS cutout has the shape [bands, H, W], or [H, W] for one band, or its bands are in extensions of their own. It
    may be compressed by gzip or bzip2, or in extensions (.fits.fz). Its header names the bands as `BANDS`, such as
    "grz"; for one band, also as `BAND`, `FILTER` or in `EXTNAME`. Three bands without names are g, r, z. Extensions of
    weights, errors and masks are passed over. Fluxes are in nanomaggies, or converted from the unit in `BUNIT`. The
    cutout is converted to colours (see `to_rgb`), and its rows are reversed, since the first row of a FITS image is the
    bottom row. Three planes of 8 bits without names are red, green and blue.

    Args:
        path: path of the file. Its suffix has no influence.
        stretch: colour stretch of FITS cutouts, see `to_rgb`.

    Returns:
        uint8 (H, W, 3), possibly read-only. Row 0 is the top row.

    Raises:
        ImageError: the file does not exist, is damaged, or is not a PNG, JPEG, TIFF or FITS file; the image is CMYK,
            16-bit or partly transparent, has a side shorter than `MIN_SIDE` or longer than `MAX_SIDE`, or the same
            value in all pixels; a FITS band is unknown, has the same value in all pixels, or is in an unknown unit.
        OSError, MemoryError: the machine cannot read the file.
    """
    with open_image_file(path) as file:
        start = file.read(_LENGTH_OF_START)
        image = read_fits_cutout(path, stretch) if is_fits(start) else _decode(path, start + read_content(path, file))
        if is_blank(image):
            raise ImageError(f"{path}: the image is empty: every pixel has the same value")
        return image


def from_pillow(image: Image.Image, name: str) -> np.ndarray:
    """Convert an image of Pillow to the array that `read_image` reads from a file of it.

    Args:
        image: image, which is not changed.
        name: name of the image for messages.

    Returns:
        uint8 (H, W, 3), possibly read-only. Row 0 is the top row.

    Raises:
        ImageError: the image is CMYK, 16-bit or partly transparent, or has a side shorter than `MIN_SIDE` or longer
            than `MAX_SIDE`.
    """
    check_sides(name, image.height, image.width)
    return _to_rgb(name, image.copy())


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


def read_mask(path: PathLike, shape: tuple[int, int], n_volunteers: int) -> np.ndarray:
    """Read a mask: the number of volunteers who enclosed each pixel.

    Args:
        path: path of an 8-bit greyscale PNG of counts.
        shape: height and width of the image of the galaxy, in pixels. The mask must have the same.
        n_volunteers: number of volunteers who were asked to draw.

    Returns:
        Counts from 0 to `n_volunteers`, uint8 (H, W). Row 0 is the top row. If `n_volunteers` is 1, 255 counts as 1.

    Raises:
        ImageError: the file does not exist, is damaged or is not an 8-bit greyscale PNG; the mask has another size than
            the image, or a count larger than `n_volunteers`.
        OSError, MemoryError: the machine cannot read the file.

    Warns:
        UserWarning: the largest count is 1 of several volunteers, as in a mask of yes and no.
    """
    with open_image_file(path) as file:
        content = read_content(path, file)
        if _png_depth_and_colour(content) != (8, 0):
            raise ImageError(f"{path}: a mask must be an 8-bit greyscale PNG of counts")
        with Image.open(io.BytesIO(content), formats=("PNG",)) as image:
            check_sides(path, image.height, image.width)
            turn_upright(image)
            if (image.height, image.width) != tuple(shape):
                raise ImageError(
                    f"{path}: the mask must have the height and width of its image, {shape[0]} x {shape[1]} pixels; "
                    f"the mask has {image.height} x {image.width}"
                )
            counts = np.array(image)
    highest = int(counts.max())
    if highest == 255 and n_volunteers < 255 and not ((counts > 0) & (counts < 255)).any():
        if n_volunteers == 1:
            return counts // 255
        raise ImageError(
            f"{path}: the pixels of a mask must be counts from 0 to n_volunteers, {n_volunteers}; they are 0 and 255; "
            "for a mask of yes and no, set n_volunteers to 1"
        )
    if highest > n_volunteers:
        raise ImageError(
            f"{path}: the pixels of a mask must be counts from 0 to n_volunteers, {n_volunteers}; "
            f"the largest is {highest}"
        )
    if highest == 1 and not is_enclosed(1 / n_volunteers):
        warnings.warn(
            f"some masks hold 0 and 1 only, which means 1 of {n_volunteers} volunteers, below the threshold of a mask; "
            "if they mean yes and no, set n_volunteers to 1",
            stacklevel=2,
        )
    return counts


def read_marks(path: PathLike, shape: tuple[int, int], n_volunteers: int) -> dict[str, np.ndarray]:
    """Read the marks of volunteers, and count the volunteers who marked each pixel.

    Args:
        path: path of the file; see `read_own_marks`.
        shape: height and width of the image of the galaxy, in pixels.
        n_volunteers: number of volunteers who were asked to draw.

    Returns:
        Counts by the name of the mask, uint8 (H, W) each. Row 0 is the top row.

    Raises:
        ImageError: as in `read_own_marks`.
        OSError, MemoryError: the machine cannot read the file.
    """
    with open_image_file(path) as file:
        counts = {}
        for name, marks in _read_json_marks(path, file, n_volunteers).items():
            try:
                counts[name] = counts_from_marks(marks, shape)
            except ValueError as error:
                raise ImageError(f"{path}: {name}: {error}") from None
        return counts


def read_own_marks(path: PathLike, n_volunteers: int) -> dict[str, Marks]:
    """Read what each volunteer drew.

    Args:
        path: path of a JSON file `{"spiral_mask": [volunteer] -> list of components, "bar_mask": ...}`. A component is
            a closed outline, `[[x, y], ...]`, or a line, `{"line": [[x, y], ...], "width": pixels}`, in pixels of the
            image, with x to the right and y down. A name is absent if nobody was asked to draw this mask. A volunteer
            who drew nothing has an empty list.
        n_volunteers: number of volunteers who were asked to draw.

    Returns:
        Marks by the name of the mask.

    Raises:
        ImageError: the file does not exist or has another form, a component is wrong, or the number of volunteers in it
            is not `n_volunteers`.
        OSError, MemoryError: the machine cannot read the file.
    """
    with open_image_file(path) as file:
        named = _read_json_marks(path, file, n_volunteers)
        for name, marks in named.items():
            try:
                check_marks(marks)
            except ValueError as error:
                raise ImageError(f"{path}: {name}: {error}") from None
        return named


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


def turn_upright(image: Image.Image) -> None:
    """Turn or mirror an image in place as its EXIF orientation says, as every viewer does.

    Args:
        image: image of Pillow. Its pixels are read.
    """
    image.load()  # a PNG may give the orientation after its pixels
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # damaged metadata, which viewers ignore
        return
    if orientation != 1:
        ImageOps.exif_transpose(image, in_place=True)


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


def _decode(path: PathLike, content: bytes) -> np.ndarray:
    """Decode the content of a PNG, JPEG or TIFF file."""
    if not content:
        raise ImageError(f"{path}: the file is empty")
    if _png_depth_and_colour(content)[0] == 16:
        raise _of_16_bits(path)
    with Image.open(io.BytesIO(content), formats=("PNG", "JPEG", "TIFF")) as image:
        check_sides(path, image.height, image.width)
        if isinstance(image, TiffImagePlugin.TiffImageFile):
            _check_tiff(path, image)
        elif image.info.get("progressive") and (n_scans := content.count(_JPEG_SCAN)) > _MAX_JPEG_SCANS:
            raise ImageError(f"{path}: a JPEG must have at most {_MAX_JPEG_SCANS} scans; it has {n_scans}")
        return _to_rgb(path, image)


def _to_rgb(name: PathLike, image: Image.Image) -> np.ndarray:
    """Convert an image of Pillow to uint8 (H, W, 3). It is turned upright in place."""
    if image.mode not in _PLAIN_MODES:
        raise ImageError(f"{name}: the image has the colour mode {image.mode}; save it as 8-bit RGB or greyscale")
    if image.has_transparency_data and image.convert("RGBA").getchannel("A").getextrema() != (255, 255):
        raise ImageError(f"{name}: the image has transparent pixels; save it without transparency")
    turn_upright(image)
    # Avoid copies, of half a millisecond each: `convert` copies even an RGB image, and `np.array` copies twice.
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def _check_tiff(path: PathLike, image: TiffImagePlugin.TiffImageFile) -> None:
    # Pillow converts 16-bit RGB to 8-bit RGB without a warning.
    if image.mode == "RGB" and max(image.tag_v2.get(_TIFF_BITS_PER_SAMPLE, (8,))) > 8:
        raise _of_16_bits(path)
    try:
        image.seek(1)
    except EOFError:
        return
    raise ImageError(f"{path}: the TIFF file must have one image; it has several")


def _of_16_bits(path: PathLike) -> ImageError:
    return ImageError(
        f"{path}: the image has 16 bits per channel, and the stretch to 8 bits is unknown; save it as 8-bit"
    )


def _png_depth_and_colour(content: bytes) -> tuple[int | None, int | None]:
    """Read bits per channel and colour type of a PNG from its content; (None, None) for other files.

    Pillow does not give these values. It converts 16-bit RGB to 8-bit RGB without a warning.
    """
    if not content.startswith(_PNG_SIGNATURE) or len(content) < 26:
        return None, None
    return content[24], content[25]


def _resize_central_square(image: Image.Image, size: int) -> Image.Image:
    side = min(image.size)
    # If the difference of the sides is odd, only a box with fractions of pixels keeps the centre.
    left, top = (image.width - side) / 2, (image.height - side) / 2
    return image.resize((size, size), Image.Resampling.BILINEAR, box=(left, top, left + side, top + side))


def _read_json_marks(path: PathLike, file: BinaryIO, n_volunteers: int) -> dict[str, Marks]:
    """Read marks by the name of the mask. Their components are not checked."""
    content = file.read(_MAX_MARKS_BYTES + 1)
    if len(content) > _MAX_MARKS_BYTES:
        raise ImageError(f"{path}: a file of marks must have at most {_MAX_MARKS_BYTES} bytes")
    marks = json.loads(content)
    names = [name for name in MASKS if name in marks] if isinstance(marks, dict) else []
    if not names or not all(isinstance(marks[name], list) for name in names):
        raise ImageError(f"{path}: marks must be a JSON object with the lists spiral_mask, bar_mask or both")
    for name in names:
        if len(marks[name]) != n_volunteers:
            raise ImageError(
                f"{path}: {name} must have one list per volunteer, also for those who drew nothing: n_volunteers "
                f"of the galaxy is {n_volunteers}; the number of lists is {len(marks[name])}"
            )
    return {name: marks[name] for name in names}
