"""Light profiles: Sersic bodies, Moffat stars, and small blobs stamped into an image."""

import numpy as np
from scipy import special

from zoobot3d_tf.simulation.galaxies import NATIVE_PIXSCALE, Bulge, nanomaggies

# The light of a cuspy profile is averaged over its central pixel.
SOFTENING = 0.5 * NATIVE_PIXSCALE
MOFFAT_BETA = 3.0


def sersic(bulge: Bulge, along: np.ndarray, across: np.ndarray) -> np.ndarray:
    """Sersic profile at coordinates along its axes (arcsec), in r-band nanomaggies per native pixel."""
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
    """Moffat profile, 1 in the centre, at squared distances in units of those of `fwhm`."""
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
    """Add small exponential discs in place, each within a window of seven scale lengths.

    Args:
        bands: g, r, z, shape (3, n, n).
        centres: [x, y] in pixels of `bands`, shape (k, 2); may lie outside.
        fluxes: total flux of each in g, r and z, shape (k, 3).
        sizes: scale lengths in pixels, shape (k,).
        axis_ratios: minor over major axis, shape (k,).
        angles: of the major axis, radians, shape (k,).
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
