"""Light profiles: Sersic profiles, Moffat profiles of stars, and small exponential discs."""

import numpy as np
from scipy import special

from zoobot3d_tf.simulation.galaxies import NATIVE_PIXSCALE, Bulge, nanomaggies

SOFTENING = 0.5 * NATIVE_PIXSCALE
"""Softening length of Sersic profiles, arcsec. It approximates the average over the central pixel."""
MOFFAT_BETA = 3.0
"""Exponent of the Moffat profile of stars."""


def sersic(bulge: Bulge, along: np.ndarray, across: np.ndarray) -> np.ndarray:
    """Compute a Sersic profile.

    Args:
        bulge: parameters of the profile.
        along: coordinates along the major axis on the sky, arcsec.
        across: coordinates along the minor axis on the sky, arcsec, same shape.

    Returns:
        Fluxes in r, in nanomaggies per native pixel, same shape.
    """
    c = bulge.boxiness
    if c == 2:
        log_radius = 0.5 * np.log(along**2 + (across / np.float32(bulge.axis_ratio)) ** 2 + np.float32(SOFTENING**2))
    else:
        distance = np.abs(along) ** c + np.abs(across / bulge.axis_ratio) ** c + SOFTENING**c
        log_radius = np.log(distance.astype(np.float32)) / np.float32(c)
    b = np.float32(special.gammaincinv(2 * bulge.sersic_index, 0.5))
    shape = np.exp((log_radius - np.float32(np.log(bulge.half_light_radius))) / np.float32(bulge.sersic_index))
    return np.float32(nanomaggies(bulge.mu_e)) * np.exp(b * (1 - shape))


def moffat(squared_distance: np.ndarray, fwhm: float, beta: float = MOFFAT_BETA) -> np.ndarray:
    """Compute a Moffat profile.

    Args:
        squared_distance: squares of the distances from the centre, in the square of the unit of `fwhm`.
        fwhm: full width at half maximum.
        beta: exponent.

    Returns:
        Profile, same shape, 1 in the centre.
    """
    core = fwhm / (2 * np.sqrt(2 ** (1 / beta) - 1))
    return (1 + squared_distance / core**2) ** -beta


def add_blobs(
    bands: np.ndarray,
    centres: np.ndarray,
    fluxes: np.ndarray,
    sizes: np.ndarray,
    axis_ratios: np.ndarray,
    angles: np.ndarray,
) -> None:
    """Add small exponential discs in place. Each is cut off at seven scale lengths.

    Args:
        bands: fluxes in g, r, z, shape (3, n, n).
        centres: [x, y] in pixels of `bands`, shape (k, 2). They may be outside the image.
        fluxes: total fluxes in g, r, z, in the unit of `bands`, shape (k, 3).
        sizes: scale lengths in pixels, shape (k,).
        axis_ratios: minor axes divided by major axes, shape (k,).
        angles: angles of the major axes from the x axis towards the y axis, radians, shape (k,).
    """
    n = bands.shape[1]
    reach = np.ceil(7 * sizes).astype(int)
    for (x, y), flux, size, q, angle, r in zip(centres, fluxes, sizes, axis_ratios, angles, reach, strict=True):
        left, right = max(0, int(x) - r), min(n, int(x) + r + 1)
        top, bottom = max(0, int(y) - r), min(n, int(y) + r + 1)
        if left >= right or top >= bottom:
            continue
        dx = np.arange(left, right, dtype=np.float32) - np.float32(x)
        dy = (np.arange(top, bottom, dtype=np.float32) - np.float32(y))[:, None]
        cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
        squared = (dx * cos + dy * sin) ** 2 + ((dy * cos - dx * sin) / np.float32(q)) ** 2 + np.float32(0.1)
        stamp = np.exp(-np.sqrt(squared) / np.float32(size)) / np.float32(2 * np.pi * size**2 * q)
        bands[:, top:bottom, left:right] += flux[:, None, None].astype(np.float32) * stamp
