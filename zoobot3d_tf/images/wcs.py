"""World coordinate systems (WCS) of images.

A WCS is that of a FITS file, which counts rows from the bottom, unless a docstring says that it describes an array. In
an array, row 0 is the top row, and pixel centres are whole numbers (docs/conventions.md). `sky_of_pixel`,
`pixel_of_sky` and `flip_rows` convert between the two.
"""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from zoobot3d_tf.files import PathLike
from zoobot3d_tf.images.fits_cutouts import FITS_SIGNATURE, is_fits, open_fits_images
from zoobot3d_tf.images.image_file import ImageError, open_image_file

if TYPE_CHECKING:
    from astropy.wcs import WCS


def read_wcs(path: PathLike) -> "WCS | None":
    """Read the WCS of a FITS cutout from its header.

    Args:
        path: path of the file. FITS files are recognised by their content, not by the suffix.

    Returns:
        WCS of the image axes; None if the file is not a FITS file, or its header has no celestial WCS.

    Raises:
        ImageError: the file cannot be read, or its WCS is damaged. With a damaged WCS, masks would get wrong positions.
        OSError, MemoryError: the machine cannot read the file.
    """
    from astropy.wcs import WCS

    with open_image_file(path) as file:
        if not is_fits(file.read(len(FITS_SIGNATURE))):
            return None
    with open_fits_images(path) as images:
        header, (height, width) = images[0].header, images[0].shape
    try:
        wcs = WCS(header, naxis=2)
        if not wcs.has_celestial:
            return None
        ra, dec = sky_of_pixel(wcs, (width - 1) / 2, (height - 1) / 2, height)
        is_usable = np.isfinite(ra + dec) and 0 < pixscale_of(wcs) < np.inf
    except Exception as error:  # damaged headers make astropy raise errors of nearly every kind
        raise ImageError(f"{path}: its WCS cannot be read: {' '.join(str(error).split())}") from error
    if not is_usable:
        raise ImageError(f"{path}: its WCS gives no finite position or pixel scale for the centre of the image")
    return wcs


def wcs_at(ra: float, dec: float, pixscale: float, shape: tuple[int, int]) -> "WCS":
    """Make the WCS of an image with north up and east left, in tangent projection.

    Args:
        ra: right ascension of the centre of the image, in degrees, ICRS.
        dec: declination of the centre, in degrees.
        pixscale: pixel scale, in arcsec per pixel.
        shape: height and width of the image, in pixels.

    Raises:
        ValueError: `ra` is not finite, `dec` is not from -90 to 90 degrees, or `pixscale` is not positive.
    """
    if not (np.isfinite(ra) and -90 <= dec <= 90 and 0 < pixscale < np.inf):
        raise ValueError(
            "ra must be finite, dec from -90 to 90 degrees, and pixscale above 0 arcsec per pixel; "
            f"received ra {ra}, dec {dec} and pixscale {pixscale}"
        )
    height, width = shape
    wcs = north_up_wcs(ra, dec, pixscale, crpix=((width + 1) / 2, (height + 1) / 2))
    wcs.wcs.cdelt = [-pixscale / 3600, pixscale / 3600]  # the same centre, but rows from the bottom
    return wcs


def north_up_wcs(ra: float, dec: float, pixscale: float, crpix: tuple[float, float]) -> "WCS":
    """Make the WCS of an array with north up and east left, in tangent projection.

    The WCS describes the array: row 0 is the northern edge, and column 0 the eastern edge.

    Args:
        ra: right ascension of the reference pixel, in degrees, ICRS.
        dec: declination of the reference pixel, in degrees.
        pixscale: pixel scale, in arcsec per pixel.
        crpix: position (x, y) of the reference pixel, counted from 1 as in FITS. The centre of n pixels is (n + 1) / 2.
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
    """Convert a celestial WCS to that of the image with its rows in reverse order, as in the PNG of a FITS image.

    Args:
        wcs: WCS of the image before its rows are reversed.
        height: number of rows.
    """
    from astropy.wcs import WCS

    header = wcs.celestial.to_header()
    header["CRPIX2"] = height + 1 - header.get("CRPIX2", 0.0)
    header["PC1_2"] = -header.get("PC1_2", 0.0)
    header["PC2_2"] = -header.get("PC2_2", 1.0)
    return WCS(header)


def pixscale_of(wcs: "WCS") -> float:
    """Pixel scale of a WCS, in arcsec per pixel. If the axes differ, it is the geometric mean of both."""
    return float(np.sqrt(np.abs(np.linalg.det(wcs.pixel_scale_matrix)))) * 3600


def sky_of_pixel(wcs: "WCS", x: ArrayLike, y: ArrayLike, height: int) -> tuple[np.ndarray, np.ndarray]:
    """Convert pixels of an array to positions on the sky.

    Args:
        wcs: WCS of the FITS file, whose rows the array has in reverse order.
        x: columns of the array, from 0.
        y: rows of the array, from 0 at the top.
        height: number of rows.

    Returns:
        Right ascension and declination, in degrees, ICRS, in the shape of `x` and `y`.
    """
    position = wcs.pixel_to_world(x, height - 1 - np.asarray(y)).icrs
    return position.ra.deg, position.dec.deg


def pixel_of_sky(wcs: "WCS", ra: ArrayLike, dec: ArrayLike, height: int) -> tuple[np.ndarray, np.ndarray]:
    """Convert positions on the sky to pixels of an array: the inverse of `sky_of_pixel`.

    Args:
        wcs: WCS of the FITS file, whose rows the array has in reverse order.
        ra: right ascension, in degrees, ICRS.
        dec: declination, in degrees.
        height: number of rows.

    Returns:
        Columns and rows of the array, with fractions, in the shape of `ra` and `dec`. Row 0 is the top row.
    """
    from astropy.coordinates import SkyCoord

    x, y = wcs.world_to_pixel(SkyCoord(ra, dec, unit="deg"))
    return x, height - 1 - y
