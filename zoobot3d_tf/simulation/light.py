"""Surface brightness of a simulated galaxy, from its parameters."""

import numpy as np
from PIL import Image

from zoobot3d_tf.simulation.galaxies import NATIVE_PIXSCALE, Arm, Bar, Colour, Disc, Galaxy, Ring, nanomaggies
from zoobot3d_tf.simulation.profiles import add_blobs, sersic

YOUNG = Colour(0.25, 0.05)
"""Colour of star-forming regions, which are bluer than their disc."""
ARM_TINT = np.array([1.12, 1.0, 0.94])
"""Factors in g, r, z from the colour of the disc to that of the arms, which are bluer."""
BAR_TINT = np.array([0.95, 1.0, 1.04])
"""Factors in g, r, z from the colour of the disc to that of the bar, which is redder."""
EXTINCTION = np.array([1.0, 0.7, 0.4])
"""Ratios of the optical depths of dust in g, r, z to that in g."""
PATCH_SIZE = 0.3
"""Size of the patches of a disc, in scale lengths."""


def galaxy_light(galaxy: Galaxy, n: int, rng: np.random.Generator) -> np.ndarray:
    """Draw a galaxy and its companions, without blur and noise.

    Args:
        galaxy: parameters of the galaxy.
        n: height and width of the image, in native pixels.
        rng: random generator of the patches of discs and the star-forming regions.

    Returns:
        Fluxes in g, r, z, in nanomaggies per native pixel, float32 (3, n, n).
    """
    axis = ((np.arange(n) - (n - 1) / 2) * NATIVE_PIXSCALE).astype(np.float32)
    right, down = np.meshgrid(axis - np.float32(galaxy.centre[0]), axis - np.float32(galaxy.centre[1]))
    major, minor = galaxy.axes().astype(np.float32)
    along = right * major[0] + down * major[1]
    across = right * minor[0] + down * minor[1]
    bands = np.zeros((3, n, n), dtype=np.float32)
    if galaxy.disc is not None:
        draw = _add_edge_on_disc if galaxy.kind == "edge-on" else _add_inclined_disc
        draw(bands, galaxy, galaxy.disc, along, across, rng)
    if galaxy.bulge is not None:
        _add(bands, sersic(galaxy.bulge, along, across), galaxy.bulge.colour.ratios())
    for companion in galaxy.companions:
        bands += galaxy_light(companion, n, rng)
    return bands


def arm_profile(arm: Arm, radius: np.ndarray, azimuth: np.ndarray, log_radius: np.ndarray) -> np.ndarray:
    """Compute the light of an arm, divided by the light of the disc at the same points.

    Args:
        arm: parameters of the arm.
        radius: radii in the plane of the disc, arcsec.
        azimuth: azimuths in the plane of the disc, radians, same shape.
        log_radius: natural logarithms of the radii.

    Returns:
        Ratios, same shape.
    """
    away = (azimuth - arm.azimuth(log_radius)) * np.float32(1 / (2 * np.pi))
    away -= np.rint(away)
    away *= radius * np.float32(2 * np.pi * np.sin(np.radians(arm.pitch))) / arm.width_at(radius)
    profile = np.exp(-0.5 * away**2)
    # The light of an arm rises and falls over a fifth of its length, which is measured in log radius.
    share = (log_radius - np.float32(np.log(arm.r_start))) * np.float32(1 / np.log(arm.r_end / arm.r_start))
    profile *= np.clip(np.minimum(share + 0.1, 1.1 - share) * 5, 0, 1)
    return np.float32(arm.contrast) * profile


def ring_profile(ring: Ring, radius: np.ndarray) -> np.ndarray:
    """Light of a ring divided by the light of the disc, at radii in the plane of the disc, in arcsec."""
    away = (radius - np.float32(ring.radius)) / np.float32(ring.width)
    return np.float32(ring.contrast) * np.exp(-0.5 * away**2)


def ring_gap(ring: Ring, radius: np.ndarray) -> np.ndarray:
    """Share of the light of the disc that remains inside and beyond a ring, at radii in arcsec.

    Inside the ring, the share is lowest at 3/5 of its radius.
    """
    share = radius / np.float32(ring.radius)
    inside = np.exp(-0.5 * ((share - np.float32(0.6)) / np.float32(0.2)) ** 2)
    outside = np.clip((radius - np.float32(ring.radius)) / np.float32(2 * ring.width), 0, 1)
    return (1 - np.float32(ring.gap) * inside) * (1 - np.float32(ring.edge) * outside)


def bar_profile(bar: Bar, along: np.ndarray, across: np.ndarray) -> np.ndarray:
    """Compute the light of a bar, divided by its central light. Bars are flat and boxy, with sharp ends.

    Args:
        bar: parameters of the bar.
        along: coordinates along the major axis, in the plane of the disc, arcsec.
        across: coordinates across it, arcsec, same shape.

    Returns:
        Ratios, same shape.
    """
    cos, sin = np.float32(np.cos(bar.azimuth)), np.float32(np.sin(bar.azimuth))
    x = np.abs(along * cos + across * sin) / np.float32(bar.half_length)
    y = np.abs(across * cos - along * sin) / np.float32(bar.half_width)
    return np.maximum(1 - x**3 - y**2, 0)


def _add_inclined_disc(
    bands: np.ndarray, galaxy: Galaxy, disc: Disc, along: np.ndarray, across: np.ndarray, rng: np.random.Generator
) -> None:
    across = across / np.float32(np.cos(np.radians(galaxy.inclination)))
    radius = np.hypot(along, across) + np.float32(1e-3)
    azimuth = np.arctan2(across, along)
    light = np.float32(nanomaggies(disc.mu_0)) * np.exp(-radius / np.float32(disc.scale_length))
    if disc.lopsidedness:
        reach = np.minimum(radius / np.float32(3 * disc.scale_length), 1)
        light *= 1 + np.float32(disc.lopsidedness) * reach * np.cos(azimuth - np.float32(rng.uniform(0, 2 * np.pi)))
    patches = np.exp(_random_field(len(along), disc.scale_length, rng) * np.float32(disc.clumpiness))
    old = np.sqrt(patches)
    if galaxy.ring is not None:
        old = old * ring_gap(galaxy.ring, radius) + patches * ring_profile(galaxy.ring, radius)
    _add(bands, light * old, disc.colour.ratios())
    if galaxy.arms:
        log_radius = np.log(radius)
        young = sum(arm_profile(arm, radius, azimuth, log_radius) for arm in galaxy.arms)
        _add(bands, light * patches * young, disc.colour.ratios() * ARM_TINT)
    if galaxy.bar is not None:
        # The light of a bar is relative to that of the disc at half the half-length of the bar.
        level = galaxy.bar.contrast * nanomaggies(disc.mu_0) * np.exp(-galaxy.bar.half_length / 2 / disc.scale_length)
        _add(bands, np.float32(level) * bar_profile(galaxy.bar, along, across), disc.colour.ratios() * BAR_TINT)
    _add_knots(bands, galaxy, disc, rng)


def _add_edge_on_disc(
    bands: np.ndarray, galaxy: Galaxy, disc: Disc, along: np.ndarray, across: np.ndarray, rng: np.random.Generator
) -> None:
    # The scale height is about an eighth of the scale length (Kregel et al. 2002). The projected disc is thicker if the
    # inclination is below 90 degrees.
    height = np.float32(disc.scale_length * (0.12 + 0.6 * np.cos(np.radians(galaxy.inclination))))
    distance = np.abs(along) / np.float32(disc.scale_length)
    vertical = 1 / np.cosh(np.clip(across / height, -40, 40))
    light = np.float32(nanomaggies(disc.mu_0)) * np.exp(-(distance**1.2)) * vertical
    light *= np.exp(_random_field(len(along), disc.scale_length, rng) * np.float32(disc.clumpiness))
    lane = np.exp(-0.5 * (across / (np.float32(0.35) * height) + np.float32(rng.normal(0, 0.4))) ** 2 - 0.3 * distance)
    for band, ratio, extinction in zip(bands, disc.colour.ratios(), EXTINCTION, strict=True):
        band += np.float32(ratio) * light * np.exp(-np.float32(disc.dust * extinction) * lane)


def _add_knots(bands: np.ndarray, galaxy: Galaxy, disc: Disc, rng: np.random.Generator) -> None:
    """Add star-forming regions, along the arms or, in a disc without arms, anywhere."""
    k = rng.poisson(150 * disc.clumpiness**1.5)
    if galaxy.arms:
        share = rng.uniform(0, 1, k)
        positions = [galaxy.arms[a].at(s) for a, s in zip(rng.integers(len(galaxy.arms), size=k), share, strict=True)]
        radius, azimuth = np.array(positions).reshape(k, 2).T
        radius = np.abs(radius + rng.normal(0, 0.1 * disc.scale_length, k))
    else:
        radius, azimuth = disc.scale_length * rng.gamma(2, 0.6, k), rng.uniform(0, 2 * np.pi, k)
    local = nanomaggies(disc.mu_0) * np.exp(-radius / disc.scale_length)
    sizes = np.clip(disc.scale_length * rng.lognormal(np.log(0.035), 0.4, k), 0.1, 0.8) / NATIVE_PIXSCALE
    flux = local * 2 * np.pi * sizes**2 * rng.lognormal(np.log(1.2), 0.7, k)
    add_blobs(
        bands,
        centres=galaxy.to_sky(radius, azimuth) / NATIVE_PIXSCALE + (len(bands[0]) - 1) / 2,
        fluxes=flux[:, None] * YOUNG.ratios(),
        sizes=sizes,
        axis_ratios=np.ones(k),
        angles=np.zeros(k),
    )


def _random_field(n: int, scale_length: float, rng: np.random.Generator) -> np.ndarray:
    """Smooth random field of about unit variance, shape (n, n), on native pixels."""
    n_coarse = int(np.clip(n * NATIVE_PIXSCALE / (PATCH_SIZE * scale_length), 8, n))
    coarse = Image.fromarray(rng.standard_normal((n_coarse, n_coarse), dtype=np.float32))
    return np.asarray(coarse.resize((n, n), Image.Resampling.BICUBIC))


def _add(bands: np.ndarray, light: np.ndarray, ratios: np.ndarray) -> None:
    """Add light in r, shape (n, n), to all bands, with its flux ratios in g, r, z."""
    for band, ratio in zip(bands, ratios, strict=True):
        band += np.float32(ratio) * light
