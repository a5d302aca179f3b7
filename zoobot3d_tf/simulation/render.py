"""Images of simulated galaxies in g, r and z or i, with seeing, neighbours, noise and defects.

Light is drawn on native pixels, observed on the pixels of the detector, and then resampled. The cutouts of Galaxy Zoo
were made in the same way, which correlates their noise.
"""

import numpy as np
from PIL import Image
from scipy import fft, ndimage

from zoobot3d_tf.simulation.field import add_defect, add_distant_galaxies, add_stars
from zoobot3d_tf.simulation.galaxies import IMAGE_SIZE, NATIVE_PIXSCALE, Scene
from zoobot3d_tf.simulation.light import galaxy_light
from zoobot3d_tf.simulation.profiles import moffat

PHOTONS_PER_NANOMAGGY = 1600.0
"""About the number in a coadd of three exposures. It gives the photon noise of bright pixels."""
NEIGHBOUR_NOISE = 0.13
"""Weight of the noise of the neighbours in a pixel. The correlation of adjacent pixels is 1/4, as in DECaLS DR5."""


def render(scene: Scene, rng: np.random.Generator) -> np.ndarray:
    """Draw the image that the archive of a survey would deliver.

    Args:
        scene: galaxy and conditions of the observation.
        rng: random generator of all that the scene does not fix: patches, neighbours, noise and defects.

    Returns:
        Fluxes in g, r and the reddest band, float32 (3, 424, 424), with north up and east left. The unit is nanomaggies
        per native pixel, although the pixels of the image have another size.
    """
    bands = galaxy_light(scene.galaxy, scene.n_native, rng)
    galaxy_r = bands[1:2].copy() if scene.display.hides_neighbours else None
    add_distant_galaxies(bands, rng)
    bands = _blur(bands, scene.seeing)
    add_stars(bands, scene.seeing, rng)
    bands[2] = np.float32(scene.z_share) * bands[2] + np.float32(1 - scene.z_share) * bands[1]
    neighbours = None if galaxy_r is None else _neighbours(bands[1], _blur(galaxy_r, scene.seeing[1:2])[0], scene)
    n_detector = round(scene.n_native * NATIVE_PIXSCALE / scene.detector_pixscale)
    bands = _resized(bands, n_detector, Image.Resampling.BOX)
    bands += _noise(bands, scene, rng) + np.array(scene.sky_residual, dtype=np.float32)[:, None, None]
    if scene.defect is not None:
        add_defect(bands, scene.defect, rng)
    if neighbours is not None:
        bands[:, _resized(neighbours[None], n_detector, Image.Resampling.NEAREST)[0]] = 0
    return _resized(bands, IMAGE_SIZE, Image.Resampling.LANCZOS)


def _neighbours(band: np.ndarray, galaxy: np.ndarray, scene: Scene) -> np.ndarray:
    """Where neighbours that can be detected are brighter than the galaxy; bool (n, n).

    Args:
        band: fluxes in r of everything, without noise, shape (n, n).
        galaxy: fluxes in r of the galaxy, with its companions, shape (n, n).
        scene: gives the noise.
    """
    light = band - galaxy
    regions, n_regions = ndimage.label((light > scene.sky_noise[1]) & (light > galaxy))
    peaks = ndimage.maximum(light, regions, np.arange(n_regions + 1))
    return (peaks > 3 * scene.sky_noise[1])[regions] & (regions > 0)


def _resized(bands: np.ndarray, n: int, method: Image.Resampling) -> np.ndarray:
    """Resample each band to n x n pixels. The outer edges of the image stay in place."""
    if bands.shape[1] == n:
        return bands
    return np.stack([np.asarray(Image.fromarray(band).resize((n, n), method)) for band in bands])


def _blur(bands: np.ndarray, seeing: tuple[float, ...]) -> np.ndarray:
    """Convolve each band with a Moffat profile of its seeing."""
    n = bands.shape[1]
    reach = min(n // 2, 24)
    size = fft.next_fast_len(n + reach, real=True)
    offset = np.arange(-reach, reach + 1) * NATIVE_PIXSCALE
    squared = (offset[:, None] ** 2 + offset**2).astype(np.float32)
    blurred = np.empty_like(bands)
    for band, fwhm in enumerate(seeing):
        kernel = moffat(squared, fwhm)
        transform = fft.rfft2(bands[band], (size, size)) * fft.rfft2(kernel / kernel.sum(), (size, size))
        blurred[band] = fft.irfft2(transform, (size, size))[reach : reach + n, reach : reach + n]
    return blurred


def _noise(bands: np.ndarray, scene: Scene, rng: np.random.Generator) -> np.ndarray:
    """Noise of the sky and of photons on the pixels of the detector, in nanomaggies per native pixel."""
    n = bands.shape[1]
    side = np.float32(NEIGHBOUR_NOISE)
    noise = rng.standard_normal((3, n + 2, n + 2), dtype=np.float32)
    noise = noise[:, 1:-1] + side * (noise[:, :-2] + noise[:, 2:])
    noise = noise[:, :, 1:-1] + side * (noise[:, :, :-2] + noise[:, :, 2:])
    sky_variance = np.square(scene.sky_noise).astype(np.float32)[:, None, None]
    variance = sky_variance + np.maximum(bands, 0) / np.float32(PHOTONS_PER_NANOMAGGY)
    # Surface brightness that is averaged over larger pixels has less noise.
    averaging = np.float32(NATIVE_PIXSCALE / scene.detector_pixscale)
    return averaging * noise * np.sqrt(variance) / (1 + 2 * side**2)
