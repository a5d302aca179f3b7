"""Images and masks at the door: files that may hold anything in, arrays of one known kind out.

Content decides, not the suffix. Whatever would have to be guessed at (the stretch of 16-bit pixels, the colour behind
transparent ones) is refused, and sizes are checked on the header, so that a decompression bomb costs nothing.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from zoobot3d_tf.files import PathLike
from zoobot3d_tf.images.masks import MASKS, counts_from_marks
from zoobot3d_tf.images.rgb import to_rgb

MIN_SIDE = 16
MAX_SIDE = 8192
FITS_SIGNATURE = b"SIMPLE  ="

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# Modes that become RGB without a choice to make: bilevel, greyscale, palette, and each of them with transparency.
_PLAIN_MODES = ("1", "L", "LA", "P", "RGB", "RGBA")


class ImageError(ValueError):
    """A file cannot serve as an image or a mask; the message names the file and the reason."""


def read_image(path: PathLike, stretch: str = "galaxy-zoo") -> np.ndarray:
    """Read a galaxy image from a PNG or JPEG, or from a FITS cutout in three or four of the bands g, r, i, z.

    Greyscale and palette images become RGB. A FITS cutout is coloured (by default as Galaxy Zoo DECaLS volunteers saw
    it) and turned upside down, since its first row is the bottom one. Its header says in BANDS which bands it holds; if
    it does not, they are g, r, z.

    Args:
        path: the file; its suffix does not matter.
        stretch: of a FITS cutout's fluxes; see `to_rgb`.

    Returns:
        uint8 (H, W, 3), row 0 at the top.

    Raises:
        ImageError: the file is missing, damaged, of another kind, CMYK, 16-bit or partly transparent, or has a side
            shorter than 16 or longer than 8192 pixels.
    """
    with _naming_file(path):
        header = _read_header(path)
        if header.startswith(FITS_SIGNATURE):
            return _read_fits_cutout(path, stretch)
        if _png_depth_and_colour(header)[0] == 16:
            raise ImageError(f"{path}: 16 bits a channel, and the right stretch to 8 bits is unknown; save it as 8-bit")
        with Image.open(path, formats=("PNG", "JPEG")) as image:
            _check_sides(path, image.height, image.width)
            if image.mode not in _PLAIN_MODES:
                raise ImageError(f"{path}: colour mode {image.mode}; save it as 8-bit RGB or greyscale")
            if image.has_transparency_data and image.convert("RGBA").getchannel("A").getextrema() != (255, 255):
                raise ImageError(f"{path}: has transparent pixels; save it without transparency")
            return np.array(image.convert("RGB"))


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
        if _png_depth_and_colour(_read_header(path)) != (8, 0):
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
        marks = json.loads(Path(path).read_bytes())
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


def resize_image(image: np.ndarray, size: int) -> np.ndarray:
    """Resize the central square of an image, bilinear with antialiasing.

    Training and prediction both use this function, and `resize_counts` shares its grid.

    Args:
        image: uint8 (H, W, 3).
        size: height and width wanted, in pixels.

    Returns:
        uint8 (size, size, 3).
    """
    return np.array(_resize_central_square(Image.fromarray(image), size))


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
    except UnidentifiedImageError:
        raise ImageError(f"{path}: not a PNG, JPEG or FITS file") from None
    except Image.DecompressionBombError:
        raise ImageError(f"{path}: more pixels than an image of {MAX_SIDE} x {MAX_SIDE} may have") from None
    except Exception as error:  # damaged files make decoders raise errors of nearly every kind
        raise ImageError(f"{path}: cannot be read: {error}") from error


def _read_header(path: PathLike) -> bytes:
    with open(path, "rb") as file:
        return file.read(32)


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
    from astropy.io import fits

    with fits.open(path) as hdus:
        header = hdus[0].header
        axes = [header[f"NAXIS{axis}"] for axis in range(header["NAXIS"], 0, -1)]
        bands = str(header.get("BANDS", "grz")).strip()
        if len(axes) != 3 or axes[0] != len(bands):
            raise ImageError(
                f"{path}: holds an array {axes} of bands {bands!r}; a FITS cutout is [bands, H, W], such as grz"
            )
        _check_sides(path, *axes[1:])
        return np.ascontiguousarray(to_rgb(hdus[0].data, bands, stretch)[::-1])


def _resize_central_square(image: Image.Image, size: int) -> Image.Image:
    side = min(image.size)
    # A box of fractional pixels keeps the centre where it was when the difference of the sides is odd.
    left, top = (image.width - side) / 2, (image.height - side) / 2
    return image.resize((size, size), Image.Resampling.BILINEAR, box=(left, top, left + side, top + side))
