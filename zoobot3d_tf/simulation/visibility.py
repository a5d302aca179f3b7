"""Visibility of structures, from 0 (invisible) to 1. It depends on contrast, inclination, seeing and noise."""

import numpy as np
from scipy import special

from zoobot3d_tf.simulation.galaxies import NATIVE_PIXSCALE, Arm, Disc, Galaxy, Scene, nanomaggies

SIGMA_PER_FWHM = 1 / 2.355
"""Standard deviation of a Gaussian divided by its full width at half maximum."""
HALF_SEEN_CONTRAST = 0.5
"""Contrast with the disc at which the visibility is 1/2."""
HALF_SEEN_SIGNAL = 8.0
"""Signal-to-noise ratio at which the visibility is 1/2."""


def arms_visibility(scene: Scene) -> float:
    """Mean visibility of the two most visible arms; 0 without arms."""
    disc, arms = scene.galaxy.disc, scene.galaxy.arms
    if disc is None or not arms:
        return 0.0
    each = sorted((_arm_visibility(scene, disc, arm) for arm in arms), reverse=True)
    return float(np.mean(each[:2]))


def bar_visibility(scene: Scene) -> float:
    """Visibility of the bar; 0 without a bar."""
    galaxy = scene.galaxy
    if galaxy.bar is None or galaxy.disc is None:
        return 0.0
    bar = galaxy.bar
    ends = galaxy.to_sky(np.array([bar.half_length, 0.0]), np.array([bar.azimuth, 0.0]))
    seen_length = float(np.linalg.norm(ends[0] - ends[1]))
    disc_below = nanomaggies(galaxy.disc.mu_0) * np.exp(-bar.half_length / 2 / galaxy.disc.scale_length)
    signal = bar.contrast * disc_below * np.sqrt(2 * seen_length * bar.half_width) / NATIVE_PIXSCALE
    blurred = bar.contrast * _share_after_seeing(bar.half_width / 2, scene)
    # A bar that is seen end on, or is not longer than the seeing and the bulge, cannot be distinguished from the bulge.
    bulge_diameter = 2 * galaxy.bulge.half_light_radius if galaxy.bulge else 0.0
    resolved = _rise(seen_length / np.hypot(scene.seeing[1], bulge_diameter), 1.0)
    return _rise(blurred, HALF_SEEN_CONTRAST) * _rise(signal / scene.sky_noise[1], HALF_SEEN_SIGNAL) * resolved


def ring_visibility(scene: Scene) -> float:
    """Visibility of the ring; 0 without a ring."""
    disc, ring = scene.galaxy.disc, scene.galaxy.ring
    if disc is None or ring is None:
        return 0.0
    flux = ring.contrast * nanomaggies(disc.mu_0) * np.exp(-ring.radius / disc.scale_length)
    signal = flux / scene.sky_noise[1] * 2 * ring.width / NATIVE_PIXSCALE
    # The contrast is due to the light of the ring, and to the light that is missing inside and beyond it.
    contrast = 0.7 * ring.contrast + 0.4 * (ring.gap + ring.edge)
    foreshortening = np.cos(np.radians(scene.galaxy.inclination))
    blurred = contrast * _share_after_seeing(ring.width * (1 + foreshortening) / 2, scene)
    resolved = _rise(ring.radius * foreshortening / scene.seeing[1], 1.8)
    return _rise(blurred, HALF_SEEN_CONTRAST) * _rise(signal, HALF_SEEN_SIGNAL) * resolved


def bulge_fraction(galaxy: Galaxy) -> float:
    """Flux of the bulge divided by the flux of bulge and disc, in r; 0 without a bulge, 1 without a disc."""
    if galaxy.bulge is None:
        return 0.0
    bulge, disc = galaxy.bulge, galaxy.disc
    n = bulge.sersic_index
    b = special.gammaincinv(2 * n, 0.5)
    spread = 2 * np.pi * n * np.exp(b) * b ** (-2 * n) * special.gamma(2 * n)
    in_bulge = spread * bulge.half_light_radius**2 * bulge.axis_ratio * nanomaggies(bulge.mu_e)
    if disc is None:
        return 1.0
    face = max(np.cos(np.radians(galaxy.inclination)), 0.15)
    in_disc = 2 * np.pi * disc.scale_length**2 * nanomaggies(disc.mu_0) * face
    return float(in_bulge / (in_bulge + in_disc))


def _arm_visibility(scene: Scene, disc: Disc, arm: Arm) -> float:
    inclination = np.radians(scene.galaxy.inclination)
    radius = np.sqrt(arm.r_start * arm.r_end)
    flux = arm.contrast * nanomaggies(disc.mu_0) * np.exp(-radius / disc.scale_length)
    signal = flux / scene.sky_noise[1] * 2 * arm.width / NATIVE_PIXSCALE
    # Inclination makes arms narrower along the minor axis, and not along the major axis. This is the mean of both.
    seen_width = arm.width * (1 + np.cos(inclination)) / 2
    blurred = arm.contrast * _share_after_seeing(seen_width, scene)
    faces_us = np.clip((np.cos(inclination) - 0.15) / 0.35, 0, 1)
    return float(_rise(blurred, HALF_SEEN_CONTRAST) * _rise(signal, HALF_SEEN_SIGNAL) * faces_us)


def _share_after_seeing(width: float, scene: Scene) -> float:
    """Share of the contrast of a ridge that remains after the seeing. `width` is its standard deviation, arcsec."""
    return width / np.hypot(width, scene.seeing[1] * SIGMA_PER_FWHM)


def _rise(value: float, half: float) -> float:
    """Function that rises from 0 to 1 with the value, and is 1/2 at `half`."""
    return float(value**2 / (value**2 + half**2))
