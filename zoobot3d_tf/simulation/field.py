"""What else is on a cutout: distant galaxies, stars of our own, and what went wrong with the exposures."""

import numpy as np

from zoobot3d_tf.simulation.galaxies import NATIVE_PIXSCALE
from zoobot3d_tf.simulation.profiles import add_blobs, moffat

# Number per square arcsec above FAINTEST, about those at high galactic latitude.
GALAXY_DENSITY = 0.0050
STAR_DENSITY = 0.0008
FAINTEST = 0.12
"""nanomaggies in r: 24.8 mag"""


def add_distant_galaxies(bands: np.ndarray, rng: np.random.Generator) -> None:
    """Scatter small galaxies over the image, in place."""
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
    """Scatter stars over the image, in place; the brightest carry wings and diffraction spikes."""
    n = bands.shape[1]
    k = rng.poisson(STAR_DENSITY * (n * NATIVE_PIXSCALE) ** 2)
    flux = np.minimum(FAINTEST * rng.pareto(0.48, k) + FAINTEST, 20_000)
    redness = rng.beta(1.6, 1.0, k)
    fluxes = flux[:, None] * _ratios(0.3 + 1.1 * redness, 0.05 + 1.4 * redness**2)
    for centre, star in zip(rng.uniform(0, n, (k, 2)), fluxes, strict=True):
        _add_star(bands, centre, star, seeing)


def add_defect(bands: np.ndarray, defect: str, rng: np.random.Generator) -> None:
    """Spoil the image in place: a satellite's "trail", a "bleed" of a bright star, a "lost-band" or an "edge"."""
    n = bands.shape[1]
    y, x = np.mgrid[:n, :n].astype(np.float32)
    angle = rng.uniform(0, np.pi)
    signed = (x - n / 2) * np.float32(np.cos(angle)) + (y - n / 2) * np.float32(np.sin(angle))
    if defect == "trail":
        # Exposures of one band are seldom those of another: a satellite crosses one of them.
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
        raise ValueError(f"unknown defect {defect!r}; known: trail, bleed, lost-band, edge")


def _add_star(bands: np.ndarray, centre: np.ndarray, flux: np.ndarray, seeing: tuple[float, float, float]) -> None:
    """A Moffat core on the aureole that scattered light makes, with spikes where it is bright (r < 17)."""
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
        aureole = 4e-5 / (1 + squared / 4)
        # DECam's spider holds its spikes at 45 degrees to the equator.
        across = np.minimum(np.abs(dx - dy), np.abs(dx + dy))
        aureole += 4e-5 * np.exp(-across / np.float32(0.5)) / (1 + squared / 30) ** 0.75
        window += flux[:, None, None].astype(np.float32) * aureole


def _ratios(g_r: np.ndarray, r_z: np.ndarray) -> np.ndarray:
    """Flux in g, r, z relative to r, shape (k, 3)."""
    return 10 ** (0.4 * np.stack([-g_r, np.zeros_like(g_r), r_z], axis=1))
