"""Objects besides the galaxy in a cutout, distant galaxies and foreground stars, and defects of the exposures."""

import numpy as np

from zoobot3d_tf.simulation.galaxies import NATIVE_PIXSCALE
from zoobot3d_tf.simulation.profiles import add_blobs, moffat

GALAXY_DENSITY = 0.0050
"""Number of distant galaxies brighter than `FAINTEST` per square arcsec, about that at high galactic latitude."""
STAR_DENSITY = 0.0008
"""Number of stars brighter than `FAINTEST` per square arcsec, about that at high galactic latitude."""
FAINTEST = 0.12
"""Lowest flux of these objects in r, in nanomaggies: 24.8 mag."""


def add_distant_galaxies(bands: np.ndarray, rng: np.random.Generator) -> None:
    """Add small galaxies at random positions, in place.

    Args:
        bands: g, r, z in nanomaggies per native pixel, float32 (3, n, n).
        rng: random generator of the galaxies.
    """
    n = bands.shape[1]
    k = rng.poisson(GALAXY_DENSITY * (n * NATIVE_PIXSCALE) ** 2)
    flux = np.minimum(FAINTEST * rng.pareto(0.85, k) + FAINTEST, 60)
    add_blobs(
        bands,
        centres=rng.uniform(0, n, (k, 2)),
        fluxes=flux[:, None] * _ratios(rng.normal(0.85, 0.40, k), rng.normal(0.60, 0.30, k)),
        sizes=0.30 * (flux / FAINTEST) ** 0.22 * rng.lognormal(0, 0.3, k) / NATIVE_PIXSCALE,
        axis_ratios=rng.uniform(0.3, 1, k),
        angles=rng.uniform(0, np.pi, k),
    )


def add_stars(bands: np.ndarray, seeing: tuple[float, float, float], rng: np.random.Generator) -> None:
    """Add stars at random positions, in place. The brightest stars have halos and diffraction spikes.

    Args:
        bands: g, r, z in nanomaggies per native pixel, float32 (3, n, n).
        seeing: full width at half maximum of the point-spread function in g, r, z, in arcsec.
        rng: random generator of the stars.
    """
    n = bands.shape[1]
    k = rng.poisson(STAR_DENSITY * (n * NATIVE_PIXSCALE) ** 2)
    flux = np.minimum(FAINTEST * rng.pareto(0.48, k) + FAINTEST, 20_000)
    redness = rng.beta(1.6, 1.0, k)
    fluxes = flux[:, None] * _ratios(0.3 + 1.1 * redness, 0.05 + 1.4 * redness**2)
    for centre, star in zip(rng.uniform(0, n, (k, 2)), fluxes, strict=True):
        _add_star(bands, centre, star, seeing)


def add_defect(bands: np.ndarray, defect: str, rng: np.random.Generator) -> None:
    """Add a defect of the exposures, in place.

    Args:
        bands: g, r, z in nanomaggies per native pixel, float32 (3, n, n).
        defect: "trail" of a satellite in one band; "bleed" of a bright star, a saturated column; "lost-band", where
            one band is zero in a part of the image; or "edge" of the survey, beyond which all bands are zero.
        rng: random generator of the position, angle and strength.

    Raises:
        ValueError: the defect is unknown.
    """
    n = bands.shape[1]
    y, x = np.mgrid[:n, :n].astype(np.float32)
    angle = rng.uniform(0, np.pi)
    signed = (x - n / 2) * np.float32(np.cos(angle)) + (y - n / 2) * np.float32(np.sin(angle))
    if defect == "trail":
        # The bands are exposed at different times, so that a satellite crosses one band only.
        distance = signed - np.float32(rng.uniform(-0.12, 0.12) * n)
        bands[rng.integers(3)] += np.float32(rng.uniform(0.1, 1.0)) * np.exp(-0.5 * (distance / 2.5) ** 2)
    elif defect == "bleed":
        centre = n / 2 + rng.uniform(-0.2, 0.2, 2) * n
        _add_star(bands, centre, rng.uniform(2e4, 2e5) * np.array([0.6, 1.0, 1.4]), (1.5, 1.5, 1.5))
        column = slice(max(0, int(centre[0]) - 2), int(centre[0]) + 2)
        fading = np.exp(-np.abs(y[:, column] - np.float32(centre[1])) / n)
        bands[:, :, column] += np.array([0.5, 4.0, 3.0], dtype=np.float32)[:, None, None] * fading
    elif defect == "lost-band":
        lost = signed > rng.uniform(-0.5, 0.1) * n
        bands[rng.integers(3), lost] = 0
    elif defect == "edge":
        bands[:, signed > rng.uniform(-0.02, 0.08) * n] = 0
    else:
        raise ValueError(f"defect must be trail, bleed, lost-band or edge; received {defect!r}")


def _add_star(bands: np.ndarray, centre: np.ndarray, flux: np.ndarray, seeing: tuple[float, float, float]) -> None:
    """Add a star: a Moffat core and, if the star is bright (r < 17), a halo of scattered light and spikes."""
    n = bands.shape[1]
    reach = int(np.clip(8 * flux[1] ** 0.35, 8, n))
    left, right = np.clip([int(centre[0]) - reach, int(centre[0]) + reach + 1], 0, n)
    top, bottom = np.clip([int(centre[1]) - reach, int(centre[1]) + reach + 1], 0, n)
    dx = (np.arange(left, right) - centre[0]).astype(np.float32) * np.float32(NATIVE_PIXSCALE)
    dy = ((np.arange(top, bottom) - centre[1]).astype(np.float32) * np.float32(NATIVE_PIXSCALE))[:, None]
    squared = dx**2 + dy**2
    window = bands[:, top:bottom, left:right]
    for band, fwhm in enumerate(seeing):
        peak = flux[band] * 0.44 * (NATIVE_PIXSCALE / fwhm) ** 2 * 2
        window[band] += np.float32(peak) * moffat(squared, fwhm)
    if flux[1] > 150:
        halo = 4e-5 / (1 + squared / 4)
        # The vanes that support DECam make spikes at 45 degrees to north.
        across = np.minimum(np.abs(dx - dy), np.abs(dx + dy))
        halo += 4e-5 * np.exp(-across / np.float32(0.5)) / (1 + squared / 30) ** 0.75
        window += flux[:, None, None].astype(np.float32) * halo


def _ratios(g_r: np.ndarray, r_z: np.ndarray) -> np.ndarray:
    """Ratios of the fluxes in g, r, z to the flux in r, shape (k, 3), from colours in magnitudes, shape (k,)."""
    return 10 ** (0.4 * np.stack([-g_r, np.zeros_like(g_r), r_z], axis=1))
