"""How surveys observe galaxies and show them: ranges from which the observation of each galaxy is drawn."""

from dataclasses import dataclass

import numpy as np

from zoobot3d_tf.simulation.galaxies import NATIVE_PIXSCALE

DEFECTS = ("trail", "bleed", "lost-band", "edge")
"""Defects of artefacts, see `field.add_defect`."""


@dataclass(frozen=True)
class LogNormal:
    """A log-normal distribution between limits.

    Attributes:
        median: median.
        scatter: standard deviation of the natural logarithm.
        low: lowest value; smaller ones become it.
        high: highest value; larger ones become it.
    """

    median: float
    scatter: float
    low: float = 0.0
    high: float = np.inf

    def draw(self, rng: np.random.Generator) -> float:
        """Draw one value."""
        return float(np.clip(rng.lognormal(np.log(self.median), self.scatter), self.low, self.high))


@dataclass(frozen=True)
class Uniform:
    """A uniform distribution from `low` to `high`."""

    low: float
    high: float

    def draw(self, rng: np.random.Generator) -> float:
        """Draw one value."""
        return float(rng.uniform(self.low, self.high))


Spread = LogNormal | Uniform
ONE = Uniform(1, 1)


@dataclass(frozen=True)
class Look:
    """Look of the images of a survey.

    The seeing and the sky are given for g, r and the reddest band. Fluxes are in nanomaggies per native pixel.

    Attributes:
        name: name in the table of true values.
        size: half-light radius of the galaxies, arcsec.
        framing: pixel scale of the image in arcsec per pixel, divided by the half-light radius in arcsec.
        pixscale_limits: lowest and highest pixel scale of the image, arcsec per pixel.
        seeing: full width at half maximum of the point-spread function in r, arcsec.
        seeing_ratios: seeing in each band, divided by that in r.
        sky_noise: standard deviation of the sky in each band at a depth of 1.
        depth: factor of the noise.
        sky_residual: mean of the sky that remains after its subtraction.
        sky_scatter: standard deviation of the sky that remains, divided by the noise. It differs between bands.
        detector_pixscale: pixel scale of the detector, arcsec per pixel.
        z_share: share of z in the reddest band, the remainder is r. 1 gives z, and 0.55 the fluxes of i.
        stretches: stretches of `display.Display`, each with the same probability.
        brightness: of `display.Display`, like the following.
        softening: see there.
        tint: see there.
        saturation: see there.
        jpeg_quality: see there; None without compression.
        defects: defects of artefacts. A defect of one band cannot be seen in a picture of another band.
    """

    name: str
    size: Spread
    framing: Spread
    pixscale_limits: tuple[float, float]
    seeing: Spread
    seeing_ratios: tuple[float, float, float]
    sky_noise: tuple[float, float, float]
    depth: Spread
    sky_residual: tuple[float, float, float]
    sky_scatter: float
    detector_pixscale: Spread
    z_share: Spread
    stretches: tuple[str, ...]
    brightness: Spread = ONE
    softening: Spread = ONE
    tint: Spread = ONE
    saturation: Spread = ONE
    jpeg_quality: Spread | None = None
    defects: tuple[str, ...] = DEFECTS


DECALS = Look(
    name="decals",
    size=LogNormal(7.0, 0.40, 2.5, 17.0),
    # In cutouts of Galaxy Zoo the Petrosian half-light radius covers 25 pixels or more. Measured radii have a scatter.
    framing=LogNormal(0.031, 0.28),
    pixscale_limits=(0.1, 0.5),
    # The median seeing of the DECam Legacy Survey is 1.29, 1.18 and 1.11 arcsec in g, r, z (Dey et al. 2019).
    seeing=LogNormal(1.25, 0.12),
    seeing_ratios=(1.09, 1.0, 0.94),
    # The medians were measured on cutouts of DECaLS DR5.
    sky_noise=(0.0022, 0.0035, 0.0100),
    depth=LogNormal(1.15, 0.22),
    # It is negative: the survey subtracts slightly too much.
    sky_residual=(-0.00025, -0.0005, -0.0006),
    sky_scatter=0.0,
    detector_pixscale=Uniform(NATIVE_PIXSCALE, NATIVE_PIXSCALE),
    z_share=ONE,
    stretches=("galaxy-zoo",),
)
"""Galaxy Zoo DECaLS (Walmsley et al. 2022)."""

SDSS = Look(
    name="sdss",
    size=LogNormal(6.0, 0.38, 1.8, 14.0),
    framing=LogNormal(0.0200, 0.24),
    pixscale_limits=(0.06, 0.5),
    # The median seeing of SDSS is 1.44, 1.32 and 1.26 arcsec in g, r, i (Ahn et al. 2012).
    seeing=LogNormal(1.32, 0.10),
    seeing_ratios=(1.09, 1.0, 0.95),
    # A sky of 21.9, 20.9 and 20.2 mag per square arcsec in g, r, i, in exposures of 54 s with a telescope of 2.5 m.
    sky_noise=(0.010, 0.016, 0.023),
    depth=LogNormal(1.0, 0.12),
    sky_residual=(0.0005, 0.0005, 0.001),
    sky_scatter=0.15,
    detector_pixscale=Uniform(0.396, 0.396),
    z_share=Uniform(0.55, 0.55),
    stretches=("joint",),
    brightness=LogNormal(0.33, 0.12),
    softening=LogNormal(42.0, 0.15),
    tint=LogNormal(1.0, 0.04),
    saturation=Uniform(1.0, 1.2),
    jpeg_quality=Uniform(72, 90),
)
"""Galaxy Zoo 2: colour pictures of SDSS in g, r, i (Willett et al. 2013)."""

SINGLE_BAND = Look(
    name="single-band",
    size=LogNormal(10.0, 0.40, 3.0, 22.0),
    framing=LogNormal(0.0105, 0.12),
    pixscale_limits=(0.08, 0.5),
    seeing=LogNormal(1.32, 0.12),
    seeing_ratios=SDSS.seeing_ratios,
    sky_noise=SDSS.sky_noise,
    depth=LogNormal(1.6, 0.12),
    sky_residual=(0.004, 0.004, 0.004),
    sky_scatter=0.3,
    detector_pixscale=SDSS.detector_pixscale,
    z_share=SDSS.z_share,
    stretches=("single-band",),
    jpeg_quality=Uniform(85, 95),
    defects=("bleed", "edge"),
)
"""Galaxy Builder: grey pictures of SDSS in r (Lingard et al. 2020)."""

ANY = Look(
    name="any",
    size=LogNormal(5.5, 0.45, 1.8, 17.0),
    framing=LogNormal(0.024, 0.40),
    pixscale_limits=(0.06, 0.5),
    seeing=Uniform(0.9, 1.8),
    seeing_ratios=DECALS.seeing_ratios,
    sky_noise=(0.0055, 0.008, 0.016),
    depth=LogNormal(1.0, 0.6, 0.3, 3.5),
    sky_residual=(0.001, 0.001, 0.001),
    sky_scatter=0.5,
    detector_pixscale=Uniform(0.2, 0.4),
    z_share=Uniform(0.5, 1.0),
    stretches=("galaxy-zoo", "joint", "joint"),
    brightness=LogNormal(0.6, 0.5, 0.2, 1.8),
    softening=LogNormal(15.0, 0.5, 4.0, 60.0),
    tint=LogNormal(1.0, 0.12),
    saturation=Uniform(0.0, 1.4),
    jpeg_quality=Uniform(65, 95),
)
"""No survey: the ranges cover those of the others, in any combination, so that no combination becomes a hint."""

SURVEYS: dict[str, dict[Look, float]] = {
    "decals": {DECALS: 1.0},
    "sdss": {SDSS: 1.0},
    "single-band": {SINGLE_BAND: 1.0},
    "mixed": {DECALS: 0.25, SDSS: 0.35, SINGLE_BAND: 0.20, ANY: 0.20},
}
"""Looks of the images of each simulated survey, with their shares."""
DEFAULT_SURVEY = "decals"


def check_survey(survey: str) -> None:
    """Check that a simulated survey has this name.

    Raises:
        ValueError: the survey is unknown.
    """
    if survey not in SURVEYS:
        raise ValueError(f"survey must be one of {', '.join(SURVEYS)}; received {survey!r}")


def draw_look(survey: str, rng: np.random.Generator) -> Look:
    """Draw one of the looks of a simulated survey.

    Args:
        survey: one of `SURVEYS`.
        rng: random generator of the look.

    Returns:
        The look.

    Raises:
        ValueError: the survey is unknown.
    """
    check_survey(survey)
    looks = SURVEYS[survey]
    return list(looks)[rng.choice(len(looks), p=list(looks.values()))]
