"""The population of simulated galaxies: distributions of kinds, shapes and colours, and their observation."""

from dataclasses import replace

import numpy as np

from zoobot3d_tf.simulation.display import Display
from zoobot3d_tf.simulation.galaxies import (
    IMAGE_SIZE,
    NATIVE_PIXSCALE,
    Arm,
    Bar,
    Bulge,
    Colour,
    Disc,
    Galaxy,
    Ring,
    Scene,
)
from zoobot3d_tf.simulation.looks import DECALS, Look

KIND_SHARES = {
    "spiral": 0.40,
    "disc": 0.15,
    "edge-on": 0.11,
    "elliptical": 0.20,
    "irregular": 0.05,
    "merger": 0.06,
    "artifact": 0.03,
}
"""Share of each kind in the population."""


def sample_scene(rng: np.random.Generator, look: Look = DECALS) -> Scene:
    """Draw a galaxy from the population, and the conditions of its observation from the look of a survey."""
    kind = str(rng.choice(list(KIND_SHARES), p=list(KIND_SHARES.values())))
    size = look.size.draw(rng)
    galaxy = _SAMPLERS[kind](rng, size)
    pixscale = np.clip(size * look.framing.draw(rng), *look.pixscale_limits)
    depth = look.depth.draw(rng)
    seeing_r = look.seeing.draw(rng)
    defect = str(rng.choice(look.defects)) if kind == "artifact" else None
    sky_noise = _each_band(look.sky_noise, depth)
    residuals = np.array(look.sky_residual) + look.sky_scatter * np.array(sky_noise) * rng.standard_normal(3)
    return Scene(
        galaxy=galaxy,
        n_native=round(pixscale * IMAGE_SIZE / NATIVE_PIXSCALE),
        seeing=_each_band(look.seeing_ratios, seeing_r),
        sky_noise=sky_noise,
        defect=defect,
        look=look.name,
        sky_residual=tuple(residuals.tolist()),
        detector_pixscale=look.detector_pixscale.draw(rng),
        z_share=look.z_share.draw(rng),
        display=Display(
            stretch=str(rng.choice(look.stretches)),
            brightness=look.brightness.draw(rng),
            softening=look.softening.draw(rng),
            tint=look.tint.draw(rng),
            saturation=look.saturation.draw(rng),
            jpeg_quality=None if look.jpeg_quality is None else round(look.jpeg_quality.draw(rng)),
        ),
    )


def _each_band(values: tuple[float, float, float], factor: float) -> tuple[float, float, float]:
    first, second, third = values
    return (first * factor, second * factor, third * factor)


def _spiral(rng: np.random.Generator, size: float) -> Galaxy:
    galaxy, disc = _disc_galaxy(rng, size, "spiral", late=rng.random(), barred=rng.random() < 0.5)
    # The ring of a barred spiral is at the ends of the bar, and the arms start at the ring.
    ring = _ring(rng, disc, galaxy.bar) if rng.random() < (0.3 if galaxy.bar else 0.1) else None
    return replace(galaxy, ring=ring, arms=_arms(rng, disc, galaxy.bar, ring))


def _armless_disc(rng: np.random.Generator, size: float) -> Galaxy:
    """A disc without arms (S0). 65 % have a ring, 50 % a bar."""
    galaxy, disc = _disc_galaxy(rng, size, "disc", late=0.5 * rng.random(), barred=rng.random() < 0.5)
    return galaxy if rng.random() < 0.35 else replace(galaxy, ring=_ring(rng, disc, galaxy.bar))


def _irregular(rng: np.random.Generator, size: float) -> Galaxy:
    """A faint blue dwarf: a clumpy, lopsided disc without bulge and arms; 30 % have a bar."""
    galaxy, disc = _disc_galaxy(rng, 0.8 * size, "irregular", late=1.0, barred=rng.random() < 0.3)
    clumpy = replace(
        disc,
        mu_0=disc.mu_0 + rng.uniform(0, 0.8),
        clumpiness=rng.uniform(0.5, 0.9),
        lopsidedness=rng.uniform(0.3, 0.9),
    )
    return replace(galaxy, bulge=None, disc=clumpy)


def _ring(rng: np.random.Generator, disc: Disc, bar: Bar | None) -> Ring:
    """A ring with less light inside it and often a sharp outer edge. If there is a bar, the ring encloses it."""
    h = disc.scale_length
    return Ring(
        radius=bar.half_length * rng.uniform(1.0, 1.4) if bar else h * rng.uniform(1.0, 2.4),
        width=h * rng.uniform(0.15, 0.3),
        contrast=rng.lognormal(np.log(0.8), 0.4),
        gap=rng.uniform(0, 0.7),
        edge=rng.uniform(0, 0.9),
    )


def _disc_galaxy(rng: np.random.Generator, size: float, kind: str, late: float, barred: bool) -> tuple[Galaxy, Disc]:
    """A disc with its bulge, and its bar if `barred`. `late` is 0 (early types) to 1 (blue, with faint bulges)."""
    # `size` is the half-light radius, which is 1.68 scale lengths for an exponential disc.
    h = size / 1.68
    # If the orientation is random, cos(i) is uniform. Discs above about 75 degrees have the kind edge-on.
    inclination = float(np.degrees(np.arccos(rng.uniform(0.28, 1.0))))
    # Freeman's law (1970) in r; discs of late types are fainter.
    disc = Disc(
        scale_length=h,
        mu_0=rng.normal(20.6 + 0.9 * late, 0.45),
        colour=Colour(0.76 - 0.34 * late + rng.normal(0, 0.04), 0.45 - 0.25 * late + rng.normal(0, 0.04)),
        clumpiness=0.10 + 0.40 * late,
        lopsidedness=abs(rng.normal(0, 0.12)),
    )
    bulge = Bulge(
        half_light_radius=h * rng.uniform(0.15, 0.40),
        sersic_index=rng.uniform(1.4, 3.5) - 0.8 * late,
        mu_e=disc.mu_0 - rng.normal(1.4 - 1.4 * late, 0.5),
        axis_ratio=0.5 * (rng.uniform(0.7, 1) + np.cos(np.radians(inclination))),
        colour=Colour(0.84 - 0.2 * late + rng.normal(0, 0.03), 0.50 - 0.12 * late + rng.normal(0, 0.03)),
    )
    bar = _bar(rng, h) if barred else None
    return Galaxy(kind, inclination, rng.uniform(0, 180), bulge, disc, bar), disc


def _arms(rng: np.random.Generator, disc: Disc, bar: Bar | None, ring: Ring | None = None) -> tuple[Arm, ...]:
    # Pitch angles of disc galaxies in the local Universe: mean 19, scatter 7 degrees (Hart et al. 2017; Yu & Ho 2018).
    pitch = float(np.clip(rng.normal(19, 7), 7, 40))
    n_arms = int(rng.choice([1, 2, 3, 4, 5, 6], p=[0.05, 0.53, 0.17, 0.12, 0.07, 0.06]))
    winds = int(rng.choice([-1, 1]))
    h = disc.scale_length
    contrast = rng.lognormal(np.log(1.4), 0.65) * (1 if n_arms < 4 else 0.8)
    # Arms start at the ring, else at the ends of the bar.
    r_start = bar.half_length * 0.95 if bar else h * rng.uniform(0.35, 0.8)
    if ring:
        r_start = ring.radius
    phase = bar.azimuth if bar else rng.uniform(0, 2 * np.pi)
    return tuple(
        Arm(
            phase=phase + 2 * np.pi * k / n_arms + rng.normal(0, 0.12),
            pitch=float(np.clip(pitch * rng.lognormal(0, 0.10), 6, 45)),
            winds=winds,
            r_start=r_start * rng.lognormal(0, 0.08),
            r_end=max(h * rng.uniform(2.6, 4.6), 1.8 * r_start),
            width=h * rng.uniform(0.13, 0.26) * min(1.0, (3 / n_arms) ** 0.5),
            contrast=contrast * rng.lognormal(0, 0.25),
            kink=rng.normal(0, 0.10),
        )
        for k in range(n_arms)
    )


def _bar(rng: np.random.Generator, h: float) -> Bar:
    # The half-length of bars is about 1.0 scale lengths, 1.3 in early and 0.6 in late types, and the axis ratio 0.2 to
    # 0.5 (Erwin 2005).
    half_length = h * float(np.clip(rng.lognormal(np.log(1.1), 0.28), 0.45, 2.2))
    half_width = half_length * rng.uniform(0.18, 0.38)
    return Bar(half_length, half_width, azimuth=rng.uniform(0, np.pi), contrast=rng.lognormal(np.log(2.6), 0.5))


def _edge_on(rng: np.random.Generator, size: float) -> Galaxy:
    h = 0.9 * size
    old = rng.random()
    disc = Disc(
        h,
        mu_0=rng.normal(20.4, 0.5),
        colour=Colour(0.45 + 0.35 * old, 0.2 + 0.35 * old),
        clumpiness=0.05 + 0.2 * (1 - old),
        dust=max(0.0, rng.normal(0.3, 0.4)),
    )
    bulge = None
    if rng.random() < 0.72:
        bulge = Bulge(
            half_light_radius=h * rng.uniform(0.18, 0.5),
            sersic_index=rng.uniform(1.0, 3.0),
            mu_e=disc.mu_0 - rng.normal(0.4, 0.5),
            axis_ratio=rng.uniform(0.55, 0.9),
            colour=Colour(0.82, 0.48),
            boxiness=rng.uniform(3.2, 4.5) if rng.random() < 0.2 else 2.0,
        )
    return Galaxy("edge-on", rng.uniform(83, 90), rng.uniform(0, 180), bulge, disc)


def _elliptical(rng: np.random.Generator, size: float) -> Galaxy:
    axis_ratio = float(np.clip(rng.normal(0.76, 0.17), 0.28, 1.0))
    bulge = Bulge(
        half_light_radius=0.7 * size,
        sersic_index=float(np.clip(rng.normal(3.6, 1.1), 1.2, 6.0)),
        mu_e=rng.normal(22.0, 0.6),
        axis_ratio=axis_ratio,
        colour=Colour(rng.normal(0.82, 0.05), rng.normal(0.50, 0.05)),
    )
    return Galaxy("elliptical", float(np.degrees(np.arccos(axis_ratio))), rng.uniform(0, 180), bulge)


def _merger(rng: np.random.Generator, size: float) -> Galaxy:
    main, disc = _disc_galaxy(rng, size, "merger", late=rng.random(), barred=False)
    h = disc.scale_length
    phase, winds = rng.uniform(0, 2 * np.pi), int(rng.choice([-1, 1]))
    tails = tuple(
        Arm(
            phase=phase + np.pi * k + rng.normal(0, 0.3),
            pitch=rng.uniform(28, 50),
            winds=winds,
            r_start=1.5 * h,
            r_end=h * rng.uniform(4, 7.5),
            width=h * rng.uniform(0.3, 0.6),
            contrast=rng.uniform(2.0, 5.0),
        )
        for k in range(int(rng.integers(1, 3)))
    )
    arms = _arms(rng, disc, bar=None)[:1] if rng.random() < 0.6 else ()
    sampler = _elliptical if rng.random() < 0.35 else _armless_disc
    direction, distance = rng.uniform(0, 2 * np.pi), h * rng.uniform(1.2, 4.5)
    companion = replace(
        sampler(rng, size * rng.uniform(0.35, 0.9)),
        centre=(distance * np.cos(direction), distance * np.sin(direction)),
    )
    disturbed = replace(disc, lopsidedness=rng.uniform(0.3, 0.8), clumpiness=disc.clumpiness + 0.15)
    return replace(main, disc=disturbed, arms=arms + tails, companions=(companion,))


def _artifact(rng: np.random.Generator, size: float) -> Galaxy:
    sampler = _elliptical if rng.random() < 0.6 else _armless_disc
    return replace(sampler(rng, 0.6 * size), kind="artifact")


_SAMPLERS = {
    "spiral": _spiral,
    "disc": _armless_disc,
    "edge-on": _edge_on,
    "elliptical": _elliptical,
    "irregular": _irregular,
    "merger": _merger,
    "artifact": _artifact,
}
