"""The light of a simulated galaxy, from its geometry."""

import numpy as np
from PIL import Image

from zoobot3d_tf.simulation.galaxies import NATIVE_PIXSCALE, Arm, Bar, Colour, Disc, Galaxy, Ring, nanomaggies
from zoobot3d_tf.simulation.profiles import add_blobs, sersic

YOUNG = Colour(0.25, 0.05)
"""Star-forming regions, bluer than the disc they lie in."""
ARM_TINT = np.array([1.12, 1.0, 0.94])
"""Light of arms in g, r, z relative to the disc's: arms are bluer."""
BAR_TINT = np.array([0.95, 1.0, 1.04])
EXTINCTION = np.array([1.0, 0.7, 0.4])
"""Optical depth of dust in g, r, z, relative to g."""
PATCH_SIZE = 0.3
"""Coherence of a disc's patches in scale lengths."""


def galaxy_light(galaxy: Galaxy, n: int, rng: np.random.Generator) -> np.ndarray:
    """Surface brightness of a galaxy and its companions, without blur or noise.

    Args:
        galaxy: the truth.
        n: side of the image in native pixels.
        rng: draws the patches of discs and the knots in arms.

    Returns:
        g, r, z in nanomaggies per pixel, float32 (3, n, n).
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
    """Light of an arm relative to the disc below, at points of the disc's plane."""
    away = (azimuth - arm.azimuth(log_radius)) * np.float32(1 / (2 * np.pi))
    away -= np.rint(away)
    away *= radius * np.float32(2 * np.pi * np.sin(np.radians(arm.pitch))) / arm.width_at(radius)
    profile = np.exp(-0.5 * away**2)
    # Arms fade in and out over a fifth of their length, counted in log radius as their ridges are.
    share = (log_radius - np.float32(np.log(arm.r_start))) * np.float32(1 / np.log(arm.r_end / arm.r_start))
    profile *= np.clip(np.minimum(share + 0.1, 1.1 - share) * 5, 0, 1)
    return np.float32(arm.contrast) * profile


def ring_profile(ring: Ring, radius: np.ndarray) -> np.ndarray:
    """Light of a ring relative to the disc below, at radii in the disc's plane."""
    away = (radius - np.float32(ring.radius)) / np.float32(ring.width)
    return np.float32(ring.contrast) * np.exp(-0.5 * away**2)


def ring_gap(ring: Ring, radius: np.ndarray) -> np.ndarray:
    """Share of the disc's light that a ring leaves: least at 3/5 of its radius, and beyond it."""
    share = radius / np.float32(ring.radius)
    inside = np.exp(-0.5 * ((share - np.float32(0.6)) / np.float32(0.2)) ** 2)
    outside = np.clip((radius - np.float32(ring.radius)) / np.float32(2 * ring.width), 0, 1)
    return (1 - np.float32(ring.gap) * inside) * (1 - np.float32(ring.edge) * outside)


def bar_profile(bar: Bar, along: np.ndarray, across: np.ndarray) -> np.ndarray:
    """Light of a bar relative to its centre, at points of the disc's plane: flat, boxy and sharply ended."""
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
        # Bars are flat: the disc half way along sets the light of the whole bar.
        level = galaxy.bar.contrast * nanomaggies(disc.mu_0) * np.exp(-galaxy.bar.half_length / 2 / disc.scale_length)
        _add(bands, np.float32(level) * bar_profile(galaxy.bar, along, across), disc.colour.ratios() * BAR_TINT)
    _add_knots(bands, galaxy, disc, rng)


def _add_edge_on_disc(
    bands: np.ndarray, galaxy: Galaxy, disc: Disc, along: np.ndarray, across: np.ndarray, rng: np.random.Generator
) -> None:
    # Scale heights are about an eighth of the scale length (Kregel et al. 2002); what is left of the disc's face adds.
    height = np.float32(disc.scale_length * (0.12 + 0.6 * np.cos(np.radians(galaxy.inclination))))
    distance = np.abs(along) / np.float32(disc.scale_length)
    vertical = 1 / np.cosh(np.clip(across / height, -40, 40))
    light = np.float32(nanomaggies(disc.mu_0)) * np.exp(-(distance**1.2)) * vertical
    light *= np.exp(_random_field(len(along), disc.scale_length, rng) * np.float32(disc.clumpiness))
    lane = np.exp(-0.5 * (across / (np.float32(0.35) * height) + np.float32(rng.normal(0, 0.4))) ** 2 - 0.3 * distance)
    for band, ratio, extinction in zip(bands, disc.colour.ratios(), EXTINCTION, strict=True):
        band += np.float32(ratio) * light * np.exp(-np.float32(disc.dust * extinction) * lane)


def _add_knots(bands: np.ndarray, galaxy: Galaxy, disc: Disc, rng: np.random.Generator) -> None:
    """Star-forming regions along the arms, or anywhere in a clumpy disc without arms."""
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
    """Smooth random field of about unit variance over an image of n native pixels a side."""
    n_coarse = int(np.clip(n * NATIVE_PIXSCALE / (PATCH_SIZE * scale_length), 8, n))
    coarse = Image.fromarray(rng.standard_normal((n_coarse, n_coarse), dtype=np.float32))
    return np.asarray(coarse.resize((n, n), Image.Resampling.BICUBIC))


def _add(bands: np.ndarray, light: np.ndarray, ratios: np.ndarray) -> None:
    for band, ratio in zip(bands, ratios, strict=True):
        band += np.float32(ratio) * light
