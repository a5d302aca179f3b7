"""
Masks on the sky, and on a data cube
====================================

FITS cutouts have a world coordinate system (WCS), and the predicted masks receive it. A mask can therefore be laid
over other data of the galaxy, such as a data cube of MaNGA, which has a spectrum for each pixel. The
galaxy is simulated, so that its cutout is made here; yours come from a survey.
"""

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from astropy.io import fits
from astropy.wcs import WCS
from astropy.wcs.utils import pixel_to_pixel
from scipy.ndimage import map_coordinates

from zoobot3d_tf import load_predictions, predict
from zoobot3d_tf.images.wcs import wcs_at
from zoobot3d_tf.simulation.survey import simulate_galaxy

work = Path(tempfile.mkdtemp())
(work / "cutouts").mkdir()

# %%
# The cutout
# ----------
# A FITS cutout has the shape (bands, rows, columns), with rows from south to north, and names its bands.

galaxy = simulate_galaxy(seed=0, index=119)
bands = galaxy.bands[:, ::-1]
header = wcs_at(galaxy.ra, galaxy.dec, galaxy.truth.pixscale, bands.shape[1:]).to_header()
header["BANDS"] = "grz"
fits.PrimaryHDU(bands, header).writeto(work / "cutouts" / "galaxy.fits")

# %%
# The masks
# ---------
# The table has measurements on them, in units of the sky where the image has a WCS.

predict(
    work / "cutouts",
    "shipped",
    work / "predictions.csv",
    file_format="fits",
    masks_dir=work / "masks",
    mask_format="fits",
)
measured = load_predictions(work / "predictions.csv").table
measured[["id_str", "pixscale", "spiral_area_px", "spiral_area_arcsec2", "spiral_coverage"]].round(2)

# %%

with fits.open(work / "masks" / "galaxy_masks.fits") as hdus:
    arms, mask_wcs = hdus["SPIRAL"].data, WCS(hdus["SPIRAL"].header)

# %%
# The cube
# --------
# A cube like those of MaNGA has pixels of 0.5 arcsec; its two axes on the sky are ``WCS(header).celestial``. For each
# pixel of the cube, ``pixel_to_pixel`` finds the place in the mask, where it is interpolated.

side = 72
cube_wcs = wcs_at(galaxy.ra, galaxy.dec, 0.5, (side, side))


def on_cube(image):
    """Values of an image on the grid of the cube, (side, side); 0 outside the image."""
    rows, columns = np.mgrid[:side, :side]
    x, y = pixel_to_pixel(cube_wcs, mask_wcs, columns, rows)
    return map_coordinates(image, [y, x], order=1)


arms_on_cube = on_cube(arms)

# %%
# The spectra of this cube are invented: starlight, and a line of hydrogen that is brighter where the simulation has
# arms.

rng = np.random.default_rng(0)
wavelength = np.linspace(6500, 6620, 60)
line = np.exp(-0.5 * ((wavelength - 6563) / 4) ** 2)
light = on_cube(bands[1]).clip(0)
true_arms = on_cube(galaxy.spiral_counts[::-1] / 15)
cube = light * (1 + 2 * true_arms * line[:, None, None])
cube += rng.normal(0, 0.1 * light.max(), cube.shape)

# %%
# The mean spectrum of the arms beside that of the rest of the galaxy:

in_arms = arms_on_cube >= 3 / 15  # 3 of 15 volunteers would enclose the pixel
elsewhere = ~in_arms & (light > np.median(light[in_arms]) / 2)

figure = plt.figure(figsize=(11, 3.4), layout="constrained")
sky = figure.add_subplot(1, 3, 1, projection=mask_wcs)
sky.imshow(galaxy.image[::-1], origin="lower")
sky.contour(arms, levels=[3 / 15], colors="deepskyblue")
middle = (0.3 * len(arms), 0.7 * len(arms))
sky.set(xlabel="right ascension", ylabel="declination", title="cutout", xlim=middle, ylim=middle)
grid = figure.add_subplot(1, 3, 2)
grid.imshow(arms_on_cube, origin="lower", cmap="gray")
grid.set(title="fraction of volunteers, on the cube", xlabel="pixels of 0.5 arcsec")
spectra = figure.add_subplot(1, 3, 3)
for name, where in (("arms", in_arms), ("elsewhere", elsewhere)):
    spectra.plot(wavelength, cube[:, where].sum(axis=1) / light[where].sum(), label=name)
spectra.set(xlabel="wavelength [Å]", ylabel="flux / starlight", title="mean spectra")
spectra.legend()

# %%
# :doc:`Conventions <../conventions>` says which FITS cutouts are read, and how pixels are counted.
