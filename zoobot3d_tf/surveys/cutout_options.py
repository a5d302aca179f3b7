"""Options of cutouts from the Legacy Surveys. The command line reads choices and defaults from this module."""

from dataclasses import dataclass

from zoobot3d_tf.images.read import MIN_SIDE
from zoobot3d_tf.images.rgb import check_bands
from zoobot3d_tf.images.stretch import DEFAULT_STRETCH, check_stretch

BASE_URL = "https://www.legacysurvey.org/viewer/fits-cutout"
"""Address of the cutout service of the Legacy Surveys."""
MAX_SIZE = 512
"""Largest height and width of a cutout, in pixels. The service shrinks larger cutouts without notice."""
MIN_PIXSCALE = 0.1
"""Smallest pixel scale that a column of pixel scales can request, in arcsec per pixel, as in zoobot-3d."""
CENTERS = ("manga", "desi")
"""Choices for the centre of the cutouts beside `ra`, `dec`; see `CutoutOptions`."""
IMAGE_FORMATS = ("png", "jpg")
"""Formats of the colour images."""


@dataclass(frozen=True)
class CutoutOptions:
    """Options that all cutouts in a folder share.

    Attributes:
        survey: name of the layer of the cutout service.
        size: height and width of the cutouts, in pixels.
        pixscale: pixel scale of the cutouts, in arcsec per pixel.
        pixscale_col: name of a column that gives the pixel scale of each galaxy, in arcsec per pixel, instead of
            `pixscale`; such as `est_dr5_pixscale` of zoobot-3d. Values below `MIN_PIXSCALE` are raised to it.
        bands: names of the bands, three or more, such as "grz" or "griz"; see `images.rgb.to_rgb`.
        center_on: columns with the centre of the cutouts. None: `ra`, `dec`. "manga": `wcs_ra`, `wcs_dec`, the centre
            of the masks of Galaxy Zoo: 3D, or `ra_manga`, `dec_manga`. "desi": `ra_desi`, `dec_desi`.
        stretch: stretch of the colour images, see `images.rgb.to_rgb`.
        image_format: format of the colour images, one of `IMAGE_FORMATS`.

    Raises:
        ValueError: an option is out of range or not among its choices.
    """

    survey: str = "ls-dr10"
    size: int = 424
    pixscale: float = 0.262
    pixscale_col: str | None = None
    bands: str = "grz"
    center_on: str | None = None
    stretch: str = DEFAULT_STRETCH
    image_format: str = "png"

    def __post_init__(self) -> None:
        if not MIN_SIDE <= self.size <= MAX_SIZE:
            raise ValueError(
                f"size must be from {MIN_SIDE} to {MAX_SIZE} pixels, the limit of the service; received {self.size}"
            )
        if not 0 < self.pixscale < float("inf"):
            raise ValueError(f"pixscale must be above 0 arcsec per pixel; received {self.pixscale}")
        if self.center_on not in (None, *CENTERS):
            raise ValueError(f"center_on must be {' or '.join(CENTERS)}, or omitted; received {self.center_on!r}")
        if self.image_format not in IMAGE_FORMATS:
            raise ValueError(f"image_format must be {' or '.join(IMAGE_FORMATS)}; received {self.image_format!r}")
        check_bands(self.bands)
        check_stretch(self.stretch)


DEFAULT_OPTIONS = CutoutOptions()
