"""The options of cutouts from the Legacy Surveys, checked. The command line reads its defaults from here."""

from dataclasses import dataclass

from zoobot3d_tf.images.read import MIN_SIDE
from zoobot3d_tf.images.rgb import DEFAULT_STRETCH, check_bands, check_stretch

BASE_URL = "https://www.legacysurvey.org/viewer/fits-cutout"
MAX_SIZE = 512
"""Largest height and width in pixels; the service makes larger images smaller without notice."""
MIN_PIXSCALE = 0.1
"""Smallest pixel scale in arcsec per pixel that zoobot-3d asks for, however small the galaxy."""
CENTERS = ("manga", "desi")
IMAGE_FORMATS = ("png", "jpg")


@dataclass(frozen=True)
class CutoutOptions:
    """What all cutouts of a folder share.

    Attributes:
        survey: the service's name of the layer.
        size: height and width of the cutouts, in pixels.
        pixscale: pixel scale, in arcsec per pixel.
        pixscale_col: column with a pixel scale for each galaxy instead, such as zoobot-3d's `est_dr5_pixscale`. Values
            below `MIN_PIXSCALE` are raised to it.
        bands: bands to download, three or more, such as "grz" or "griz"; see `images.rgb.to_rgb`.
        center_on: position of the centre: None for `ra`, `dec`; "manga" for `wcs_ra`, `wcs_dec` (or `ra_manga`,
            `dec_manga`), the centre of the masks of Galaxy Zoo: 3D; "desi" for `ra_desi`, `dec_desi`.
        stretch: stretch of the colour images, see `images.rgb.to_rgb`.
        image_format: format of the colour images, one of `IMAGE_FORMATS`.

    Raises:
        ValueError: a value is impossible.
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
