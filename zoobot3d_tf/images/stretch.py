"""Colour stretches: the settings that turn the fluxes of bands into red, green and blue.

A stretch travels as text, through shards, runs and predictions: one of the names in `STRETCHES`, or, for a stretch of
the user's own, the JSON text that `read_stretch` makes of its file. Equal stretches have equal texts.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from typing import Any

from zoobot3d_tf.files import YAML_SUFFIXES, PathLike, path_of
from zoobot3d_tf.settings_files import built, read_yaml, shown

# The divisor of a band sets its weight in the colour image. Galaxy Zoo has no i band. The images of the Legacy Surveys
# (`sdss_rgb` of legacypipe) give r, i, z the weights 3.4, 3.0, 2.2. From our r, i would be 0.016; from our z, 0.014.
BAND_SCALES = {"g": 0.008, "r": 0.014, "i": 0.015, "z": 0.019}
"""Flux in nanomaggies by which each band is divided, from blue to red."""
DEFAULT_STRETCH = "galaxy-zoo"
STRETCHES = (DEFAULT_STRETCH, "lupton")


@dataclass(frozen=True)
class Stretch:
    """What all stretches have: the colours of the bands, and their scales.

    Attributes:
        bands: bands of red, green and blue, such as "irg". Empty: the reddest band is red, the bluest blue, and the
            mean of the others green.
        scales: flux in nanomaggies per pixel of 0.262 arcsec by which a band is divided. The smaller, the brighter the
            band. Bands that are not given have the scale in `BAND_SCALES`.

    Raises:
        ValueError: a band is unknown, or a number cannot be used.
    """

    bands: str = ""
    scales: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.bands and (len(self.bands) != 3 or not set(self.bands) <= set(BAND_SCALES)):
            raise ValueError(
                f"bands must be those of red, green and blue, of {', '.join(BAND_SCALES)}, such as irg; "
                f"received {self.bands!r}"
            )
        for name, scale in self.scales.items():
            if name not in BAND_SCALES:
                raise ValueError(f"scales: band must be one of {', '.join(BAND_SCALES)}; received {name!r}")
            if not 0 < scale < math.inf:
                raise ValueError(f"scales: the flux of {name} must be a number above 0; received {scale}")

    def scale(self, band: str) -> float:
        """Flux in nanomaggies by which a band is divided."""
        return self.scales.get(band, BAND_SCALES[band])


@dataclass(frozen=True)
class SeparateStretch(Stretch):
    """An arcsinh of each band by itself: bright pixels fade to white. The defaults are those of Galaxy Zoo DECaLS.

    Attributes:
        faint: scaled flux, that is, flux divided by the scale of its band, that becomes 0.
        bright: scaled flux that becomes 255.
        desaturate: whether pixels that have one colour only, such as those of noisy sky, become grey.
    """

    faint: float = -0.5
    bright: float = 300.0
    desaturate: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not -math.inf < self.faint < self.bright < math.inf:
            raise ValueError(f"faint must be below bright, as in -0.5 and 300; received {self.faint} and {self.bright}")

    @property
    def white(self) -> float:
        """Scaled flux from which a pixel is white."""
        return self.bright


@dataclass(frozen=True)
class JointStretch(Stretch):
    """One arcsinh of all bands: bright pixels keep their colour (Lupton et al. 2004, PASP 116, 133).

    Attributes:
        faint: scaled flux that becomes 0; `minimum` of `astropy.visualization.make_lupton_rgb`.
        linear_range: scaled flux up to which the stretch is nearly linear; `stretch` of `make_lupton_rgb`.
        softening: strength of the arcsinh beyond; `Q` of `make_lupton_rgb`.
    """

    faint: float = 0.0
    linear_range: float = 5.0
    softening: float = 8.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not -math.inf < self.faint < math.inf:
            raise ValueError(f"faint must be a number; received {self.faint}")
        for name, limit in (("linear_range", math.inf), ("softening", 1e10)):  # the limit of astropy
            if not 0 < getattr(self, name) < limit:
                raise ValueError(f"{name} must be a number above 0 and below {limit:g}; received {getattr(self, name)}")

    @property
    def white(self) -> float:
        """Scaled flux from which a grey pixel is white: astropy's formula of the arcsinh, solved for 1."""
        tenth = math.asinh(self.softening / 10)
        return self.faint + self.linear_range / self.softening * math.sinh(min(10 * tenth, 700))


_METHODS: dict[str, type[SeparateStretch] | type[JointStretch]] = dict(
    zip(STRETCHES, (SeparateStretch, JointStretch), strict=True)
)


def read_stretch(name_or_path: PathLike) -> str:
    """Read a stretch that a user gave.

    Args:
        name_or_path: one of `STRETCHES`, or the path of a `.yaml`, `.yml` or `.json` file. The file has `method`, one
            of `STRETCHES`, and any attributes of `SeparateStretch` ("galaxy-zoo") or `JointStretch` ("lupton").

    Returns:
        The text of the stretch.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: there is no such stretch, or an entry of the file cannot be used.
    """
    path = path_of(name_or_path)
    if str(name_or_path) in STRETCHES:
        return str(name_or_path)
    if path.suffix.lower() not in YAML_SUFFIXES:
        raise ValueError(
            f"stretch must be {', '.join(STRETCHES)}, or a file {' or '.join(YAML_SUFFIXES)}; received "
            f"{str(name_or_path)!r}"
        )
    content = read_yaml(path)
    try:
        settings = _from_entries(content)
        return _text_of(content["method"], settings)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def stretch_of(text: str) -> SeparateStretch | JointStretch:
    """Get the settings of a stretch from its text.

    Raises:
        ValueError: the text is no stretch.
    """
    if not isinstance(text, str):
        raise ValueError(_wrong(text))
    return _parsed(text)


def check_stretch(text: str) -> None:
    """Check that a text is a stretch.

    Raises:
        ValueError: it is none.
    """
    stretch_of(text)


def white_flux(band: str, stretch: str) -> float:
    """Flux per pixel, in nanomaggies, from which a band has its largest value in a colour image."""
    settings = stretch_of(stretch)
    return settings.scale(band) * settings.white


@lru_cache(maxsize=16)
def _parsed(text: str) -> SeparateStretch | JointStretch:
    if text in STRETCHES:
        return _METHODS[text]()
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, Mapping):
        raise ValueError(_wrong(text))
    return _from_entries(content)


def _wrong(value: Any) -> str:
    return f"stretch must be one of {', '.join(STRETCHES)}, or the JSON text of a stretch; received {value!r}"


def _from_entries(content: Mapping[str, Any]) -> SeparateStretch | JointStretch:
    method = content.get("method")
    if not isinstance(method, str) or method not in _METHODS:
        raise ValueError(f"method must be one of {', '.join(STRETCHES)}; received {shown(method)}")
    return built(_METHODS[method], {key: value for key, value in content.items() if key != "method"})


def _text_of(method: str, stretch: SeparateStretch | JointStretch) -> str:
    """Write a stretch as text: its method if all its settings are defaults, else JSON of those that are not."""
    default = asdict(_METHODS[method]())
    scales = {name: flux for name, flux in stretch.scales.items() if flux != BAND_SCALES[name]}
    settings = asdict(stretch) | {"scales": scales}
    changed = {key: value for key, value in settings.items() if value != default[key]}
    return json.dumps({"method": method, **changed}, sort_keys=True) if changed else method
