"""Where an image lies on the sky.

A WCS here is that of the FITS file, whose rows are counted from the bottom, unless it is said to be of an array. Arrays
have row 0 at the top, and pixel centres at whole numbers (docs/conventions.md): `sky_of_pixel`, `pixel_of_sky` and
`flip_rows` go between the two.
"""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from zoobot3d_tf.files import PathLike
from zoobot3d_tf.images.read import FITS_SIGNATURE, GZIP_SIGNATURE, ImageError, open_fits_image

if TYPE_CHECKING:
    from astropy.wcs import WCS


def read_wcs(path: PathLike) -> "WCS | None":
    """Read the WCS of a FITS cutout from its header.

    Args:
        path: the file; content decides, not the suffix.

    Returns:
        The WCS of its last two axes, or None where the file is no FITS file or says nothing about the sky.

    Raises:
        ImageError: the file cannot be read, or its WCS is damaged: a mask in the wrong place is worse than none.
    """
    from astropy.wcs import WCS

    try:
        with open(path, "rb") as file:
            signature = file.read(len(FITS_SIGNATURE))
    except OSError as error:
        raise ImageError(f"{path}: cannot be read: {error.strerror}") from error
    if not signature.startswith((FITS_SIGNATURE, GZIP_SIGNATURE)):
        return None
    with open_fits_image(path) as hdu:
        header, (height, width) = hdu.header, hdu.shape[-2:]
    try:
        wcs = WCS(header, naxis=2)
        if not wcs.has_celestial:
            return None
        ra, dec = sky_of_pixel(wcs, (width - 1) / 2, (height - 1) / 2, height)
        is_usable = np.isfinite(ra + dec) and 0 < pixscale_of(wcs) < np.inf
    except Exception as error:  # damaged headers make astropy raise errors of nearly every kind
        raise ImageError(f"{path}: its WCS cannot be read: {' '.join(str(error).split())}") from error
    if not is_usable:
        raise ImageError(f"{path}: its WCS gives the middle of the image no place on the sky")
    return wcs


def wcs_at(ra: float, dec: float, pixscale: float, shape: tuple[int, int]) -> "WCS":
    """The WCS of an image with north up and east left, in tangent projection.

    Args:
        ra: right ascension of the image's centre, degrees, ICRS.
        dec: its declination, degrees.
        pixscale: arcsec per pixel.
        shape: height and width.

    Raises:
        ValueError: the position is not on the sky, or the scale is not positive.
    """
    if not (np.isfinite(ra) and -90 <= dec <= 90 and 0 < pixscale < np.inf):
        raise ValueError(f"no place on the sky: ra {ra}, dec {dec} degrees, pixscale {pixscale} arcsec per pixel")
    height, width = shape
    wcs = north_up_wcs(ra, dec, pixscale, crpix=((width + 1) / 2, (height + 1) / 2))
    wcs.wcs.cdelt = [-pixscale / 3600, pixscale / 3600]  # its rows count from the bottom, about the same centre
    return wcs


def north_up_wcs(ra: float, dec: float, pixscale: float, crpix: tuple[float, float]) -> "WCS":
    """The sky under an array with north up and east left: row 0 north, column 0 east, in tangent projection.

    Args:
        ra: right ascension of the reference pixel, degrees, ICRS.
        dec: its declination, degrees.
        pixscale: arcsec per pixel.
        crpix: (x, y) of the reference pixel as FITS counts, from 1; the centre of n pixels is (n + 1) / 2.
    """
    from astropy.wcs import WCS

    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [ra, dec]
    wcs.wcs.crpix = crpix
    wcs.wcs.cdelt = [-pixscale / 3600, -pixscale / 3600]
    wcs.wcs.radesys = "ICRS"
    return wcs


def flip_rows(wcs: "WCS", height: int) -> "WCS":
    """The celestial WCS of an image turned upside down, as PNGs of FITS images are.

    Args:
        wcs: of the image before.
        height: its rows.
    """
    from astropy.wcs import WCS

    header = wcs.celestial.to_header()
    header["CRPIX2"] = height + 1 - header.get("CRPIX2", 0.0)
    header["PC1_2"] = -header.get("PC1_2", 0.0)
    header["PC2_2"] = -header.get("PC2_2", 1.0)
    return WCS(header)


def pixscale_of(wcs: "WCS") -> float:
    """Arcsec per pixel: the geometric mean where the axes differ."""
    return float(np.sqrt(np.abs(np.linalg.det(wcs.pixel_scale_matrix)))) * 3600


def sky_of_pixel(wcs: "WCS", x: ArrayLike, y: ArrayLike, height: int) -> tuple[np.ndarray, np.ndarray]:
    """Where pixels of an array lie on the sky.

    Args:
        wcs: of its FITS file.
        x: columns.
        y: rows, from the top.
        height: of the image, pixels.

    Returns:
        Right ascension and declination, degrees, ICRS.
    """
    position = wcs.pixel_to_world(x, height - 1 - np.asarray(y)).icrs
    return position.ra.deg, position.dec.deg


def pixel_of_sky(wcs: "WCS", ra: ArrayLike, dec: ArrayLike, height: int) -> tuple[np.ndarray, np.ndarray]:
    """Which pixels of an array see these positions; the reverse of `sky_of_pixel`.

    Args:
        wcs: of its FITS file.
        ra: right ascension, degrees, ICRS.
        dec: declination, degrees.
        height: of the image, pixels.

    Returns:
        x and y: columns, and rows from the top.
    """
    from astropy.coordinates import SkyCoord

    x, y = wcs.world_to_pixel(SkyCoord(ra, dec, unit="deg"))
    return x, height - 1 - y
