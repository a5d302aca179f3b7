"""Images of simulated galaxies in g, r, z, with seeing, neighbours, noise and defects.

Everything is drawn on the native pixels of the survey, and then resampled. The cutouts of Galaxy Zoo were made in the
same way, which correlates their noise.
"""

import numpy as np
from PIL import Image
from scipy import fft

from zoobot3d_tf.simulation.field import add_defect, add_distant_galaxies, add_stars
from zoobot3d_tf.simulation.galaxies import IMAGE_SIZE, NATIVE_PIXSCALE, Scene
from zoobot3d_tf.simulation.light import galaxy_light
from zoobot3d_tf.simulation.profiles import moffat

PHOTONS_PER_NANOMAGGY = 1600.0
"""About the number in a coadd of three exposures. It gives the photon noise of bright pixels."""
NEIGHBOUR_NOISE = 0.13
"""Weight of the noise of the neighbours in a pixel. The correlation of adjacent pixels is 1/4, as in DECaLS DR5."""
SKY_RESIDUAL = (-0.00025, -0.0005, -0.0006)
"""Mean of the sky in g, r, z, nanomaggies per native pixel. It is negative: the survey subtracts slightly too much."""


def render(scene: Scene, rng: np.random.Generator) -> np.ndarray:
    """Draw the image that the archive of a survey would deliver.

    Args:
        scene: galaxy and conditions of the observation.
        rng: random generator of all that the scene does not fix: patches, neighbours, noise and defects.

    Returns:
        Fluxes in g, r, z, float32 (3, 424, 424), with north up and east left. The unit is nanomaggies per native pixel,
        although the pixels of the image have another size.
    """
    bands = galaxy_light(scene.galaxy, scene.n_native, rng)
    add_distant_galaxies(bands, rng)
    bands = _blur(bands, scene.seeing)
    add_stars(bands, scene.seeing, rng)
    bands += _noise(bands, scene.sky_noise, rng) + np.array(SKY_RESIDUAL, dtype=np.float32)[:, None, None]
    if scene.defect is not None:
        add_defect(bands, scene.defect, rng)
    size = (IMAGE_SIZE, IMAGE_SIZE)
    return np.stack([np.asarray(Image.fromarray(band).resize(size, Image.Resampling.LANCZOS)) for band in bands])


def _blur(bands: np.ndarray, seeing: tuple[float, float, float]) -> np.ndarray:
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


def _noise(bands: np.ndarray, sky_noise: tuple[float, float, float], rng: np.random.Generator) -> np.ndarray:
    """Noise of the sky and of the photons of the objects, in nanomaggies per native pixel."""
    n = bands.shape[1]
    side = np.float32(NEIGHBOUR_NOISE)
    noise = rng.standard_normal((3, n + 2, n + 2), dtype=np.float32)
    noise = noise[:, 1:-1] + side * (noise[:, :-2] + noise[:, 2:])
    noise = noise[:, :, 1:-1] + side * (noise[:, :, :-2] + noise[:, :, 2:])
    sky_variance = np.square(sky_noise).astype(np.float32)[:, None, None]
    variance = sky_variance + np.maximum(bands, 0) / np.float32(PHOTONS_PER_NANOMAGGY)
    return noise * np.sqrt(variance) / (1 + 2 * side**2)
