"""How the fluxes of an image are shown: the stretch, its brightness and colours, and the compression of the picture."""

from dataclasses import dataclass
from io import BytesIO

import numpy as np
from PIL import Image, ImageEnhance

from zoobot3d_tf.images.rgb import grz_to_rgb

JOINT_GAINS = (1.55, 1.0, 0.95)
"""Weights of g, r, i in pictures of SDSS. They make an old galaxy yellow, as there, and a star-forming disc white."""
SINGLE_BAND_SOFTENING = 10.0
"""Softening of the pictures of Galaxy Builder (Lingard et al. 2020)."""


@dataclass(frozen=True)
class Display:
    """From fluxes to a picture. The defaults are those of Galaxy Zoo DECaLS.

    Attributes:
        stretch: "galaxy-zoo" for a separate arcsinh of each band, as in Galaxy Zoo DECaLS; "joint" for one arcsinh of
            all bands (Lupton et al. 2004), as in SDSS; "single-band" for a grey picture of r between its faintest and
            its brightest pixel, with masked neighbours, as in Galaxy Builder.
        brightness: factor of the fluxes.
        softening: ratio of the flux that becomes white to the flux where the arcsinh turns from linear to logarithmic.
            Only for the stretch "joint".
        tint: factor of the reddest band, and divisor of g.
        saturation: strength of the colours; 0 is grey, 1 leaves them.
        jpeg_quality: quality of the JPEG compression, 1 to 95; None without compression.
    """

    stretch: str = "galaxy-zoo"
    brightness: float = 1.0
    softening: float = 1.0
    tint: float = 1.0
    saturation: float = 1.0
    jpeg_quality: int | None = None

    @property
    def hides_neighbours(self) -> bool:
        """Whether neighbours of the galaxy are masked, so that the brightest pixel is one of the galaxy."""
        return self.stretch == "single-band"

    def picture(self, bands: np.ndarray) -> np.ndarray:
        """Make the picture of an image.

        Args:
            bands: fluxes in g, r and the reddest band, in nanomaggies per native pixel, float32 (3, H, W).

        Returns:
            uint8 (H, W, 3): red, green and blue.

        Raises:
            ValueError: the stretch is unknown.
        """
        gains = np.array([1 / self.tint, 1, self.tint]) * self.brightness
        bands = bands * gains.astype(np.float32)[:, None, None]
        if self.stretch == "galaxy-zoo":
            rgb = grz_to_rgb(bands)
        elif self.stretch == "joint":
            rgb = _joint(bands, self.softening)
        elif self.stretch == "single-band":
            rgb = _single_band(bands[1])
        else:
            raise ValueError(f"stretch must be galaxy-zoo, joint or single-band; received {self.stretch!r}")
        image = ImageEnhance.Color(Image.fromarray(rgb)).enhance(self.saturation)
        if self.jpeg_quality is not None:
            file = BytesIO()
            image.save(file, "JPEG", quality=self.jpeg_quality)
            image = Image.open(file)
        return np.asarray(image)


GALAXY_ZOO_DECALS = Display()
"""Galaxy Zoo DECaLS (Walmsley et al. 2022)."""


def _joint(bands: np.ndarray, softening: float) -> np.ndarray:
    """One arcsinh of the mean of all bands, which keeps colours, except beyond white. A mean flux of 1 is white."""
    planes = np.maximum(bands[::-1] * np.array(JOINT_GAINS[::-1], dtype=np.float32)[:, None, None], 0)
    mean = planes.mean(axis=0) + np.float32(1e-9)
    planes *= np.arcsinh(np.float32(softening) * mean) / mean * np.float32(1 / np.arcsinh(softening))
    return (np.moveaxis(np.minimum(planes, 1), 0, -1) * 255).astype(np.uint8)


def _single_band(band: np.ndarray) -> np.ndarray:
    """Grey picture between the faintest and the brightest pixel."""
    low, high = float(band.min()), float(band.max())
    share = (band - np.float32(low)) * np.float32(SINGLE_BAND_SOFTENING / max(high - low, 1e-9))
    grey = np.arcsinh(share) * np.float32(255 / np.arcsinh(SINGLE_BAND_SOFTENING))
    return np.repeat(grey.astype(np.uint8)[:, :, None], 3, axis=2)
