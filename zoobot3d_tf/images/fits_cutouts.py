"""FITS cutouts: which extensions are the image of the galaxy, and in which bands and units.

An extension is recognised by its name, kind and filter in the header. Fluxes are converted to nanomaggies.
"""

import bz2
import io
import re
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from PIL import UnidentifiedImageError

from zoobot3d_tf.files import PathLike
from zoobot3d_tf.images.image_file import ImageError, check_sides, open_image_file, read_content
from zoobot3d_tf.images.rgb import check_bands, to_rgb
from zoobot3d_tf.images.stretch import BAND_SCALES, white_flux

if TYPE_CHECKING:
    from astropy.io.fits import Header

FITS_SIGNATURE = b"SIMPLE  ="
GZIP_SIGNATURE = b"\x1f\x8b"
BZIP2_SIGNATURE = b"BZh"

# With these limits, and that of the size of the file, none takes more than 1 GB or ten seconds.
_MAX_VALUES = 2**25  # pixels times bands: three bands of 3344 x 3344
_MAX_EXTENSIONS = 256
_MAX_TILES = 2**16  # of a compressed image, which are decompressed one by one
_MAX_HEADER = 2**20  # bytes
_END = b"END".ljust(80)
_GZIP_MEMBER = b"\x1f\x8b\x08"
_GZIP_WBITS = 31

# Keywords for the bands of an image. FILTERX is that of the coadds of the Legacy Surveys.
_BAND_KEYWORDS = ("BANDS", "BAND", "FILTER", "FILTERX")
# Keywords for the name and the kind of an extension. The Legacy Surveys write IMAGETYP or IMTYPE.
_KIND_KEYWORDS = ("EXTNAME", "IMAGETYP", "IMTYPE")
# The name that compressed images get if they have no other.
_NO_NAME = "COMPRESSED_IMAGE"
_WORD = re.compile(r"[a-z]+")
_SCIENCE = frozenset("sci science image data flux".split())
_NO_IMAGE = frozenset(
    "wht weight weights wgt wt dq quality err error errors invvar ivar var variance stat mask masks maskbits bitmask "
    "msk flag flags flg ctx con context unc uncert uncertainty noise sigma rms std stddev exp nexp expmap exposure "
    "coverage cov depth galdepth psfdepth psfsize nobs area psf sky bkg bkgd bg background model resid residual chi "
    "segm segmap segmentation".split()
)
_OTHER_SYSTEMS = frozenset("johnson cousins bessel bessell kron harris".split())
# Largest difference between the pixel grids of the bands, in pixels.
_MAX_OFFSET = 0.5
# A share of white pixels above this in every band is no galaxy.
_MAX_WHITE = 1 / 3


@dataclass(frozen=True)
class FitsImage:
    """An image of a FITS file: one band, or several bands above each other.

    Attributes:
        number: number of its extension; 0 for the primary image.
        name: name of its extension; "" if there is none.
        hdu: its HDU. The pixels are read when they are used.
        content: bytes of its HDU.
        n_bands: number of bands.
        bands: names of the bands, such as "grz"; text of the header that was not understood; or "" if there is none.
        unit: unit of the pixels; "" if there is none.
        is_science: whether its name says that it is the image.
    """

    number: int
    name: str
    hdu: Any
    content: memoryview
    n_bands: int
    bands: str
    unit: str
    is_science: bool

    @property
    def label(self) -> str:
        """Number and name of the extension, for messages."""
        return f"{self.number} ({self.name or 'without a name'})"

    @property
    def header(self) -> "Header":
        """Header of the extension."""
        return self.hdu.header

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width, in pixels."""
        return self.hdu.shape[-2:]

    @property
    def has_bands(self) -> bool:
        """Whether the header names each band, and these bands can be used."""
        return len(self.bands) == self.n_bands and set(self.bands) <= set(BAND_SCALES)


def is_fits(start: bytes) -> bool:
    """Whether a file that begins with these bytes may be a FITS file, plain or compressed by gzip or bzip2."""
    return start.startswith((FITS_SIGNATURE, GZIP_SIGNATURE, BZIP2_SIGNATURE))


def read_fits_cutout(path: PathLike, stretch: str) -> np.ndarray:
    """Read a FITS cutout as a colour image; see `images.read.read_image`.

    Args:
        path: path of the file.
        stretch: colour stretch, see `to_rgb`.

    Returns:
        uint8 (H, W, 3). Row 0 is the top row.

    Raises:
        ImageError: the file cannot be used.
    """
    with open_fits_images(path) as images:
        if len(images) == 1 and images[0].n_bands == 3 and not images[0].bands and not _has_bytes(images[0]):
            images = [replace(images[0], bands="grz")]
        _check_images(path, images)
        if _is_picture(images[0]):
            return _read_picture(images[0])
        if any(_has_bytes(image) for image in images):
            raise ImageError(f"{path}: pixels of 8 bits are a picture, not fluxes of the bands that the header names")
        names = "".join(image.bands for image in images)
        try:
            check_bands(names, at_least=1)
        except ValueError as error:
            raise ImageError(f"{path}: {error}") from None
        _check_grids(path, images)
        factors = [_nanomaggies_per_unit(path, image.unit) for image in images]
        fluxes = np.empty((len(names), *images[0].shape), np.float32)
        first = 0
        for image, factor in zip(images, factors, strict=True):
            planes = fluxes[first : first + image.n_bands]
            planes[:] = np.reshape(image.hdu.data, planes.shape)
            if factor != 1:
                planes *= factor
            first += image.n_bands
        _check_fluxes(path, names, fluxes, stretch)
        try:
            return np.ascontiguousarray(to_rgb(fluxes, names, stretch)[::-1])
        except ValueError as error:
            raise ImageError(f"{path}: {error}") from None


@contextmanager
def open_fits_images(path: PathLike) -> Iterator[list[FitsImage]]:
    """Open the image of the galaxy in a FITS file, which may be compressed by gzip or bzip2, or in extensions.

    Extensions that are no image, such as weights and masks, are passed over. If bands are in extensions of their own,
    all are returned. Of several images of one band, the one whose name says that it is the image (SCI) is taken.

    Args:
        path: path of the file.

    Yields:
        Images of one size, in the order of the file, with different bands. A single image may be without bands. The
        pixels are not read yet.

    Raises:
        ImageError: the file does not exist, is damaged, is not a FITS file or has no image; it is not clear which
            extensions are the image; or it has too many bytes, extensions, or pixels.
        OSError, MemoryError: the machine cannot read the file.
    """
    from astropy.io import fits

    with open_image_file(path) as file:
        content = _decompressed(path, file)
        _check_header(path, content, 0)
        with fits.open(io.BytesIO(content), memmap=False) as hdus:
            yield _choose(path, list(_images_of(path, hdus, content)))


def _decompressed(path: PathLike, file: BinaryIO) -> bytes:
    start = file.read(len(FITS_SIGNATURE))
    file.seek(0)
    stream: Any = file
    if start.startswith(GZIP_SIGNATURE):
        from isal import igzip

        stream = igzip.IGzipFile(fileobj=file)
    elif start.startswith(BZIP2_SIGNATURE):
        stream = bz2.BZ2File(file)
    content = read_content(path, stream)
    if not content.startswith(FITS_SIGNATURE):
        raise UnidentifiedImageError
    return content


def _images_of(path: PathLike, hdus: Any, content: bytes) -> Iterator[FitsImage]:
    """Images of a FITS file that may be the galaxy."""
    primary = hdus[0].header if not hdus[0].shape else {}
    end = 0
    for number, hdu in enumerate(hdus):
        if number == _MAX_EXTENSIONS:
            raise ImageError(f"{path}: a FITS file must have at most {_MAX_EXTENSIONS} extensions; cut out the galaxy")
        place = hdu.fileinfo()
        start, end = end, place["datLoc"] + place["datSpan"]
        _check_header(path, content, end)
        if not hdu.is_image or len(hdu.shape) < 2:
            continue
        kinds = [str(hdu.header.get(keyword, "")) for keyword in _KIND_KEYWORDS]
        name = "" if kinds[0] == _NO_NAME else kinds[0]
        words = set(_WORD.findall(" ".join([name, *kinds[1:]]).lower()))
        if words & _NO_IMAGE:
            continue
        layers = [side for side in hdu.shape[:-2] if side > 1]
        n_bands = layers[0] if layers else 1
        yield FitsImage(
            number=number,
            name=name,
            hdu=hdu,
            content=memoryview(content)[start:end],
            n_bands=n_bands if len(layers) < 2 else 0,
            bands=_bands_of(hdu.header, name, primary, n_bands),
            unit=str(hdu.header.get("BUNIT", primary.get("BUNIT", ""))).strip(),
            is_science=bool(words & _SCIENCE),
        )
    # astropy passes over an extension whose header is damaged. A band would be missing.
    if content.startswith(b"XTENSION", end):
        raise ImageError(f"{path}: the header of extension {len(hdus)} is damaged")


def _bands_of(header: "Header", name: str, primary: Any, n_bands: int) -> str:
    """Names of the bands of an image, from its own header, the name of its extension, or the primary header."""
    own, inherited = (
        [str(cards[key]).strip() for key in _BAND_KEYWORDS if key in cards] for cards in (header, primary)
    )
    texts = [*own, name, *inherited]
    understood = [bands for text in texts if len(bands := parse_bands(text)) == n_bands]
    return understood[0] if understood else next(filter(None, [*own, *inherited]), "")


def parse_bands(text: str) -> str:
    """Read the names of bands from the header of an image.

    Args:
        text: names of bands, such as "grz" or "g, r, z"; the name of a filter, such as "r DECam SDSS c0002 6415.0";
            or the name of an extension, such as "IMAGE_R". Upper and lower case are the same.

    Returns:
        Names such as "grz"; "" if the text names no band, or it is not clear which.
    """
    letters = re.sub(r"[\s,;:/+-]+", "", text).lower()
    if letters and set(letters) <= set(BAND_SCALES):
        return letters
    words = re.findall(r"[a-z0-9]+", text.lower())
    bands = {word for word in words if word in BAND_SCALES}
    return bands.pop() if len(bands) == 1 and not _OTHER_SYSTEMS & set(words) else ""


def _choose(path: PathLike, images: list[FitsImage]) -> list[FitsImage]:
    """Choose the images of the galaxy."""
    if not images:
        raise ImageError(f"{path}: the FITS file has no image, or only images of weights, errors or masks")
    if any(image.is_science for image in images):
        images = [image for image in images if image.is_science or image.has_bands]
        twins = {image.bands for image in images if image.is_science and image.has_bands}
        images = [image for image in images if image.is_science or image.bands not in twins]
    is_first = images[0].n_bands == 3 or images[0].has_bands
    if is_first and not any(image.name for image in images) and len({(i.bands, i.hdu.shape) for i in images}) == 1:
        return images[:1]  # by custom, the image comes before its weights
    names = [name for image in images for name in image.bands]
    is_clear = all(image.has_bands for image in images) and len(set(names)) == len(names)
    if len(images) > 1 and not (is_clear and len({image.shape for image in images}) == 1):
        found = "; ".join(
            f"{image.label}, {image.shape[0]} x {image.shape[1]} pixels, bands {image.bands!r}" for image in images
        )
        raise ImageError(
            f"{path}: it is not clear which extensions are the image; they must have one size, and each must name "
            f"its band as BAND, such as r; weights and masks must be named as such (EXTNAME); found: {found}"
        )
    return images


def _check_images(path: PathLike, images: Sequence[FitsImage]) -> None:
    """Check shape, bands and size, before the pixels are read."""
    n_values = 0
    for image in images:
        if not image.n_bands or (len(image.bands) != image.n_bands and not _is_picture(image)):
            raise ImageError(
                f"{path}: a FITS cutout must have the shape [bands, H, W], or [H, W] for one band, and its header must "
                f"name the bands as BANDS, such as grz; the image has the shape {list(image.hdu.shape)} and the bands "
                f"{image.bands!r}"
            )
        check_sides(path, *image.shape)
        n_values += image.n_bands * image.shape[0] * image.shape[1]
    if n_values > _MAX_VALUES:
        raise ImageError(
            f"{path}: the number of pixels times the number of bands must be at most {_MAX_VALUES}; it is {n_values}"
        )
    for image in images:
        _check_tiles(path, image)


def _check_tiles(path: PathLike, image: FitsImage) -> None:
    """Check the tiles of a compressed image: a small tile may inflate to any size."""
    tiles = getattr(image.hdu, "compressed_data", None)
    if tiles is None:
        return
    if len(tiles) > _MAX_TILES:
        raise ImageError(f"{path}: a compressed image must have at most {_MAX_TILES} tiles; it has {len(tiles)}")
    content = bytes(image.content)
    left = 8 * image.n_bands * image.shape[0] * image.shape[1]
    start = content.find(_GZIP_MEMBER)
    while start >= 0:
        following = content.find(_GZIP_MEMBER, start + 1)
        member = content[start : following if following >= 0 else None]
        try:
            left -= len(zlib.decompressobj(_GZIP_WBITS).decompress(member, left + 1))
        except zlib.error:  # these bytes are no gzip
            pass
        if left < 0:
            raise ImageError(f"{path}: the tiles of extension {image.label} have more bytes than its pixels")
        start = following


def _check_header(path: PathLike, content: bytes, start: int) -> None:
    is_header = content.startswith((FITS_SIGNATURE, b"XTENSION"), start)
    if is_header and len(content) > start + _MAX_HEADER and content.find(_END, start, start + _MAX_HEADER) < 0:
        raise ImageError(f"{path}: a header must have at most {_MAX_HEADER} bytes")


def _is_picture(image: FitsImage) -> bool:
    """Whether an image is red, green and blue for the screen: three planes of bytes that are no bands."""
    return image.n_bands == 3 and not image.has_bands and _has_bytes(image)


def _has_bytes(image: FitsImage) -> bool:
    header = image.header
    return header["BITPIX"] == 8 and header.get("BSCALE", 1) == 1 and header.get("BZERO", 0) == 0


def _check_grids(path: PathLike, images: Sequence[FitsImage]) -> None:
    """Check that images of the same size show the same part of the sky, as far as their headers give it."""
    if len(images) == 1:
        return
    from astropy.wcs import WCS
    from astropy.wcs.utils import pixel_to_pixel

    grids = [(image, WCS(image.header, naxis=2)) for image in images]
    grids = [(image, wcs) for image, wcs in grids if wcs.has_celestial]
    height, width = images[0].shape
    corners = np.array([[0, width - 1], [0, height - 1]], dtype=float)
    for image, wcs in grids[1:]:
        offset = np.abs(pixel_to_pixel(wcs, grids[0][1], *corners) - corners).max()
        if not offset <= _MAX_OFFSET:
            raise ImageError(
                f"{path}: extensions {grids[0][0].label} and {image.label} must have the same pixel grid; "
                f"they differ by {offset:.1f} pixels"
            )


def _nanomaggies_per_unit(path: PathLike, text: str) -> float:
    try:
        return _factor_of_unit(text)
    except (ValueError, TypeError):
        raise ImageError(
            f"{path}: the unit of the pixels (BUNIT) is {text!r}; it must be nanomaggies or another unit of flux per "
            "pixel, such as Jy or uJy"
        ) from None


@lru_cache(maxsize=64)
def _factor_of_unit(text: str) -> float:
    """Number of nanomaggies in one unit of flux per pixel; 1 for no text.

    Raises:
        ValueError: this is not a unit of flux.
    """
    import astropy.units as u

    if not text:
        return 1.0
    text = re.sub(r"(?i)\s*(/|\bper\b)\s*(pixels?|pix)$|[ .]?\b(pixels?|pix)(\^|\*\*)?\(?-1\)?$", "", text.strip())
    text = re.sub(r"(?i)\b(nano|n)?\s*-?(maggies|maggie|maggy|mgy)\b", lambda m: ("n" if m[1] else "") + "mgy", text)
    text = re.sub(r"\b(micro|mu)\s*-?(?=(Jy|jansky|mgy)\b)", "u", text, flags=re.IGNORECASE)
    text = re.sub(r"(?i)jansky(s)?\b", "Jy", text)
    # A maggy is the flux of a source of AB magnitude 0.
    return float(u.Unit(text).to(u.nmgy, equivalencies=u.zero_point_flux(u.ABflux)))


def _check_fluxes(path: PathLike, names: str, fluxes: np.ndarray, stretch: str) -> None:
    """Check that every band has an image, and that they are not far too bright for nanomaggies."""
    missing, constant, white = [], [], []
    for name, plane in zip(names, fluxes, strict=True):
        low, high = float(plane.min()), float(plane.max())
        if not np.isfinite(low + high):
            finite = plane[np.isfinite(plane)]
            if not finite.size:
                missing.append(name)
                continue
            low, high = float(finite.min()), float(finite.max())
        if low == high:
            constant.append(name)
        elif high > (limit := white_flux(name, stretch)) and np.count_nonzero(plane > limit) > _MAX_WHITE * plane.size:
            white.append(name)
    if missing:
        raise ImageError(f"{path}: bands without a finite pixel: {', '.join(missing)}")
    if constant:
        raise ImageError(f"{path}: the image is empty: every pixel has the same value in {', '.join(constant)}")
    if len(white) == len(names):
        raise ImageError(
            f"{path}: more than a third of the pixels are white; are the fluxes in the wrong unit? They must be in "
            "nanomaggies, or the header must give their unit as BUNIT, such as uJy; or is the stretch too bright?"
        )


def _read_picture(image: FitsImage) -> np.ndarray:
    planes = np.reshape(image.hdu.data, (3, *image.shape))
    return np.ascontiguousarray(np.moveaxis(planes, 0, -1)[::-1])
