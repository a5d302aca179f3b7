"""How well a person could see a structure, 0 (not at all) to 1: what inclination, seeing and noise leave of it."""

import numpy as np
from scipy import special

from zoobot3d_tf.simulation.galaxies import NATIVE_PIXSCALE, Arm, Disc, Galaxy, Scene, nanomaggies

SIGMA_PER_FWHM = 1 / 2.355
HALF_SEEN_CONTRAST = 0.5
"""Contrast with the disc at which half of the people notice a structure."""
HALF_SEEN_SIGNAL = 8.0
"""Signal-to-noise ratio at which half of the people notice a structure."""


def arms_visibility(scene: Scene) -> float:
    """Visibility of a galaxy's two clearest arms together; 0 for a galaxy without arms."""
    disc, arms = scene.galaxy.disc, scene.galaxy.arms
    if disc is None or not arms:
        return 0.0
    each = sorted((_arm_visibility(scene, disc, arm) for arm in arms), reverse=True)
    return float(np.mean(each[:2]))


def bar_visibility(scene: Scene) -> float:
    """Visibility of a galaxy's bar; 0 for a galaxy without one."""
    galaxy = scene.galaxy
    if galaxy.bar is None or galaxy.disc is None:
        return 0.0
    bar = galaxy.bar
    ends = galaxy.to_sky(np.array([bar.half_length, 0.0]), np.array([bar.azimuth, 0.0]))
    seen_length = float(np.linalg.norm(ends[0] - ends[1]))
    disc_below = nanomaggies(galaxy.disc.mu_0) * np.exp(-bar.half_length / 2 / galaxy.disc.scale_length)
    signal = bar.contrast * disc_below * np.sqrt(2 * seen_length * bar.half_width) / NATIVE_PIXSCALE
    blurred = bar.contrast * _kept(bar.half_width / 2, scene)
    # Seen end on, or no longer than the seeing disc and the bulge, a bar is part of the bulge.
    bulge_diameter = 2 * galaxy.bulge.half_light_radius if galaxy.bulge else 0.0
    resolved = _half_at(seen_length / np.hypot(scene.seeing[1], bulge_diameter), 1.0)
    return _half_at(blurred, HALF_SEEN_CONTRAST) * _half_at(signal / scene.sky_noise[1], HALF_SEEN_SIGNAL) * resolved


def ring_visibility(scene: Scene) -> float:
    """Visibility of a galaxy's ring; 0 for a galaxy without one."""
    disc, ring = scene.galaxy.disc, scene.galaxy.ring
    if disc is None or ring is None:
        return 0.0
    flux = ring.contrast * nanomaggies(disc.mu_0) * np.exp(-ring.radius / disc.scale_length)
    signal = flux / scene.sky_noise[1] * 2 * ring.width / NATIVE_PIXSCALE
    # A ring stands out by what it adds, and by what is missing inside and beyond.
    contrast = 0.7 * ring.contrast + 0.4 * (ring.gap + ring.edge)
    foreshortening = np.cos(np.radians(scene.galaxy.inclination))
    blurred = contrast * _kept(ring.width * (1 + foreshortening) / 2, scene)
    resolved = _half_at(ring.radius * foreshortening / scene.seeing[1], 1.8)
    return _half_at(blurred, HALF_SEEN_CONTRAST) * _half_at(signal, HALF_SEEN_SIGNAL) * resolved


def bulge_fraction(galaxy: Galaxy) -> float:
    """Share of a galaxy's r-band light in its bulge."""
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
    # Where a disc leans away its arms crowd together; the minor axis is foreshortened, the major axis is not.
    seen_width = arm.width * (1 + np.cos(inclination)) / 2
    blurred = arm.contrast * _kept(seen_width, scene)
    faces_us = np.clip((np.cos(inclination) - 0.15) / 0.35, 0, 1)
    return float(_half_at(blurred, HALF_SEEN_CONTRAST) * _half_at(signal, HALF_SEEN_SIGNAL) * faces_us)


def _kept(width: float, scene: Scene) -> float:
    """Share of the contrast of a ridge, of that standard deviation in arcsec, that the seeing leaves."""
    return width / np.hypot(width, scene.seeing[1] * SIGMA_PER_FWHM)


def _half_at(value: float, half: float) -> float:
    """Rise from 0 to 1 with a value, through 1/2 at `half`."""
    return float(value**2 / (value**2 + half**2))
