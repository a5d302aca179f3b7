"""What a simulated galaxy is: its geometry, its light and how it was observed. Images and outlines both follow from it.

Lengths are arcsec and surface brightnesses r-band AB mag per square arcsec. Angles in the plane of a disc are radians,
counted from its major axis; the position angle is degrees from north through east, north up and east left.
"""

from dataclasses import dataclass

import numpy as np

NATIVE_PIXSCALE = 0.262
"""Pixel of the Legacy Surveys' coadds, arcsec."""
IMAGE_SIZE = 424
"""Pixels on a side of a Galaxy Zoo cutout."""


@dataclass(frozen=True)
class Colour:
    """Colours in AB magnitudes."""

    g_r: float
    r_z: float

    def ratios(self) -> np.ndarray:
        """Flux in g, r, z relative to r."""
        return 10 ** (0.4 * np.array([-self.g_r, 0.0, self.r_z]))


@dataclass(frozen=True)
class Bulge:
    """Sersic profile: a bulge, or a whole elliptical. `boxiness` 2 is an ellipse, more is boxy."""

    half_light_radius: float
    sersic_index: float
    mu_e: float
    axis_ratio: float
    colour: Colour
    boxiness: float = 2.0


@dataclass(frozen=True)
class Disc:
    """Exponential disc, `mu_0` its central surface brightness seen face-on.

    `clumpiness` is the rms of its patches, `lopsidedness` its one-sided excess of light, `dust` the optical depth in g
    of the lane across it, which only edge-on discs show.
    """

    scale_length: float
    mu_0: float
    colour: Colour
    clumpiness: float = 0.0
    lopsidedness: float = 0.0
    dust: float = 0.0


@dataclass(frozen=True)
class Arm:
    """Logarithmic spiral arm, r = r_start exp(theta tan(pitch)), wavering by `kink` radians about that line.

    `winds` is +1 or -1: the sense in which the azimuth grows outwards. `width` is the standard deviation of the arm
    across its ridge, half way along it, `contrast` its light on the ridge relative to the disc below.
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
        """Azimuth of the ridge at the logarithm of a radius, in the plane of the disc."""
        turns = log_radius - np.float32(np.log(self.r_start))
        winding = np.float32(self.winds / np.tan(np.radians(self.pitch)))
        return np.float32(self.phase) + winding * turns + np.float32(self.kink) * np.sin(5 * turns)

    def width_at(self, radius: np.ndarray) -> np.ndarray:
        """Standard deviation across the ridge: arms broaden outwards."""
        return self.width * np.sqrt(radius / np.sqrt(self.r_start * self.r_end))

    def at(self, share: float | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Radius and azimuth of points on the ridge, by their share 0..1 of its length."""
        log_radius = np.log(self.r_start) + np.asarray(share) * np.log(self.r_end / self.r_start)
        return np.exp(log_radius), self.azimuth(log_radius)


@dataclass(frozen=True)
class Bar:
    """Flat bar: half its length, half its width, its azimuth in the disc and its light relative to the disc."""

    half_length: float
    half_width: float
    azimuth: float
    contrast: float


@dataclass(frozen=True)
class Ring:
    """Ring in the disc: its radius, the standard deviation across it, its light relative to the disc.

    `gap` is the share of the disc's light that is missing inside it, `edge` that beyond it.
    """

    radius: float
    width: float
    contrast: float
    gap: float = 0.0
    edge: float = 0.0


@dataclass(frozen=True)
class Galaxy:
    """One galaxy, with its companions. `centre` is right and down of the middle of the image."""

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
        """Unit vectors (right, down) along the major axis on the sky and, 90 degrees on, the minor axis: (2, 2)."""
        angle = np.radians(self.position_angle)
        return np.array([[-np.sin(angle), -np.cos(angle)], [np.cos(angle), -np.sin(angle)]])

    def to_sky(self, radius: np.ndarray, azimuth: np.ndarray) -> np.ndarray:
        """Points of the disc's plane as (right, down) of the middle of the image, arcsec, shape (..., 2)."""
        major, minor = self.axes()
        along = (radius * np.cos(azimuth))[..., None] * major
        across = (radius * np.sin(azimuth) * np.cos(np.radians(self.inclination)))[..., None] * minor
        return along + across + np.array(self.centre)

    def bar_position_angle(self) -> float | None:
        """Degrees from north through east, 0..180, of the bar as it is seen; None without a bar."""
        if self.bar is None:
            return None
        right, down = self.to_sky(np.array(1.0), np.array(self.bar.azimuth)) - np.array(self.centre)
        return float(np.degrees(np.arctan2(-right, -down)) % 180)


@dataclass(frozen=True)
class Scene:
    """A galaxy as it was observed.

    `n_native` is the cutout's side in native pixels, `seeing` the full width at half maximum and `sky_noise` the
    standard deviation in nanomaggies per native pixel, both in g, r, z.
    """

    galaxy: Galaxy
    n_native: int
    seeing: tuple[float, float, float]
    sky_noise: tuple[float, float, float]
    defect: str | None = None

    @property
    def pixscale(self) -> float:
        """Arcsec per pixel of the image."""
        return self.n_native * NATIVE_PIXSCALE / IMAGE_SIZE

    def to_pixels(self, sky: np.ndarray) -> np.ndarray:
        """Positions in arcsec (right, down) of the middle as [x, y] of the image, the first pixel's centre at 0."""
        return sky / self.pixscale + (IMAGE_SIZE - 1) / 2


def nanomaggies(mu: float | np.ndarray) -> float | np.ndarray:
    """Flux in one native pixel of a surface brightness."""
    return NATIVE_PIXSCALE**2 * 10 ** (0.4 * (22.5 - mu))
