"""Parameters of a simulated galaxy and its observation. Both its image and its volunteers' outlines follow from them.

Lengths are in arcsec, surface brightnesses in AB mag per square arcsec in r. Angles in the plane of a disc are in
radians from its major axis. Position angles are in degrees from north through east; in images, north is up and east is
left.
"""

from dataclasses import dataclass

import numpy as np

from zoobot3d_tf.simulation.display import GALAXY_ZOO_DECALS, Display

NATIVE_PIXSCALE = 0.262
"""Pixel scale of the coadded images of the Legacy Surveys, arcsec per pixel. Their pixels are called native here."""
IMAGE_SIZE = 424
"""Height and width of a Galaxy Zoo cutout, in pixels."""


@dataclass(frozen=True)
class Colour:
    """Colours g - r and r - z in AB magnitudes."""

    g_r: float
    r_z: float

    def ratios(self) -> np.ndarray:
        """Ratios of the fluxes in g, r, z to the flux in r, shape (3,)."""
        return 10 ** (0.4 * np.array([-self.g_r, 0.0, self.r_z]))


@dataclass(frozen=True)
class Bulge:
    """Sersic profile: a bulge, or a whole elliptical galaxy.

    Attributes:
        half_light_radius: effective radius along the major axis, arcsec.
        sersic_index: index of the profile.
        mu_e: surface brightness at the effective radius, mag per square arcsec.
        axis_ratio: minor axis divided by major axis, on the sky.
        colour: colours.
        boxiness: exponent of the isophotes; 2 gives ellipses, larger values boxes.
    """

    half_light_radius: float
    sersic_index: float
    mu_e: float
    axis_ratio: float
    colour: Colour
    boxiness: float = 2.0


@dataclass(frozen=True)
class Disc:
    """Exponential disc.

    Attributes:
        scale_length: scale length, arcsec.
        mu_0: central surface brightness if seen face-on, mag per square arcsec.
        colour: colours.
        clumpiness: standard deviation of the logarithm of the brightness of patches.
        lopsidedness: relative excess of light on one side, and deficit on the other, beyond three scale lengths.
        dust: optical depth of the dust lane in g; applies to edge-on discs only.
    """

    scale_length: float
    mu_0: float
    colour: Colour
    clumpiness: float = 0.0
    lopsidedness: float = 0.0
    dust: float = 0.0


@dataclass(frozen=True)
class Arm:
    """Logarithmic spiral arm, r = r_start exp(theta tan(pitch)).

    Attributes:
        phase: azimuth of its start, radians.
        pitch: pitch angle, degrees.
        winds: +1 or -1, the direction in which the azimuth grows outwards.
        r_start: radius of its start in the plane of the disc, arcsec.
        r_end: radius of its end, arcsec.
        width: standard deviation across the ridge at the geometric mean of `r_start` and `r_end`, arcsec.
        contrast: light of the arm on its ridge, divided by the light of the disc there.
        kink: amplitude of the deviation from a logarithmic spiral, radians of azimuth.
    """

    phase: float
    pitch: float
    winds: int
    r_start: float
    r_end: float
    width: float
    contrast: float
    kink: float = 0.0

    def azimuth(self, log_radius: np.ndarray) -> np.ndarray:
        """Azimuth of the ridge in radians, at the natural logarithm of a radius in arcsec."""
        turns = log_radius - np.float32(np.log(self.r_start))
        winding = np.float32(self.winds / np.tan(np.radians(self.pitch)))
        return np.float32(self.phase) + winding * turns + np.float32(self.kink) * np.sin(5 * turns)

    def width_at(self, radius: np.ndarray) -> np.ndarray:
        """Standard deviation across the ridge at a radius, both in arcsec. Arms become broader outwards."""
        return self.width * np.sqrt(radius / np.sqrt(self.r_start * self.r_end))

    def at(self, share: float | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Radius in arcsec and azimuth in radians of points on the ridge. Share 0 is the start, and share 1 the end."""
        log_radius = np.log(self.r_start) + np.asarray(share) * np.log(self.r_end / self.r_start)
        return np.exp(log_radius), self.azimuth(log_radius)


@dataclass(frozen=True)
class Bar:
    """Bar of nearly constant surface brightness.

    Attributes:
        half_length: half of its length in the plane of the disc, arcsec.
        half_width: half of its width, arcsec.
        azimuth: direction of its long axis, radians.
        contrast: light at its centre, divided by the light of the disc at half of `half_length`.
    """

    half_length: float
    half_width: float
    azimuth: float
    contrast: float


@dataclass(frozen=True)
class Ring:
    """Circular ring in the plane of the disc.

    Attributes:
        radius: radius, arcsec.
        width: standard deviation across the ring, arcsec.
        contrast: light of the ring on its ridge, divided by the light of the disc there.
        gap: largest share of the light of the disc that is missing inside the ring, 0 to 1.
        edge: share of the light of the disc that is missing beyond the ring, 0 to 1.
    """

    radius: float
    width: float
    contrast: float
    gap: float = 0.0
    edge: float = 0.0


@dataclass(frozen=True)
class Galaxy:
    """One galaxy, with its companions.

    Attributes:
        kind: one of `population.KIND_SHARES`.
        inclination: inclination of the disc, degrees; 0 is face-on.
        position_angle: position angle of the major axis, degrees.
        bulge: bulge, or the whole of an elliptical galaxy.
        disc: disc. Bars, rings and arms need one.
        bar: bar.
        ring: ring.
        arms: spiral arms, or tidal tails.
        companions: galaxies that interact with this one.
        centre: position of the centre, right of and below the centre of the image, arcsec.
    """

    kind: str
    inclination: float
    position_angle: float
    bulge: Bulge | None = None
    disc: Disc | None = None
    bar: Bar | None = None
    ring: Ring | None = None
    arms: tuple[Arm, ...] = ()
    companions: tuple["Galaxy", ...] = ()
    centre: tuple[float, float] = (0.0, 0.0)

    def axes(self) -> np.ndarray:
        """Unit vectors (right, down) of the major and the minor axis on the sky, shape (2, 2)."""
        angle = np.radians(self.position_angle)
        return np.array([[-np.sin(angle), -np.cos(angle)], [np.cos(angle), -np.sin(angle)]])

    def to_sky(self, radius: np.ndarray, azimuth: np.ndarray) -> np.ndarray:
        """Project points of the plane of the disc on the sky.

        Args:
            radius: radii in the plane of the disc, arcsec.
            azimuth: azimuths in the plane of the disc, radians, same shape.

        Returns:
            Positions right of and below the centre of the image, arcsec, shape (..., 2).
        """
        major, minor = self.axes()
        along = (radius * np.cos(azimuth))[..., None] * major
        across = (radius * np.sin(azimuth) * np.cos(np.radians(self.inclination)))[..., None] * minor
        return along + across + np.array(self.centre)

    def bar_position_angle(self) -> float | None:
        """Position angle of the bar on the sky, 0 to 180 degrees; None without a bar."""
        if self.bar is None:
            return None
        right, down = self.to_sky(np.array(1.0), np.array(self.bar.azimuth)) - np.array(self.centre)
        return float(np.degrees(np.arctan2(-right, -down)) % 180)


@dataclass(frozen=True)
class Scene:
    """A galaxy and its observation.

    Attributes:
        galaxy: the galaxy.
        n_native: height and width of the cutout in native pixels, before it is resampled to `IMAGE_SIZE`.
        seeing: full width at half maximum of the point-spread function in g, r, z, arcsec.
        sky_noise: standard deviation of the sky in g, r, z, nanomaggies per native pixel.
        defect: one of `looks.DEFECTS`, or None.
        look: name of the look of the survey.
        sky_residual: sky that remains after its subtraction in g, r, z, nanomaggies per native pixel.
        detector_pixscale: pixel scale of the detector, arcsec per pixel. Its pixels have the noise of the sky.
        z_share: share of z in the reddest band, 0 to 1; the remainder is r. The third values of `seeing`, `sky_noise`
            and `sky_residual` are those of this band.
        display: how the image is shown.
    """

    galaxy: Galaxy
    n_native: int
    seeing: tuple[float, float, float]
    sky_noise: tuple[float, float, float]
    defect: str | None = None
    look: str = "decals"
    sky_residual: tuple[float, float, float] = (0.0, 0.0, 0.0)
    detector_pixscale: float = NATIVE_PIXSCALE
    z_share: float = 1.0
    display: Display = GALAXY_ZOO_DECALS

    @property
    def pixscale(self) -> float:
        """Pixel scale of the resampled image, arcsec per pixel."""
        return self.n_native * NATIVE_PIXSCALE / IMAGE_SIZE

    def to_pixels(self, sky: np.ndarray) -> np.ndarray:
        """Convert positions as `Galaxy.to_sky` returns them to [x, y] in pixels. The centre of the first pixel is 0."""
        return sky / self.pixscale + (IMAGE_SIZE - 1) / 2


def nanomaggies(mu: float | np.ndarray) -> float | np.ndarray:
    """Convert a surface brightness in mag per square arcsec to nanomaggies per native pixel."""
    return NATIVE_PIXSCALE**2 * 10 ** (0.4 * (22.5 - mu))
