"""
Your own colours
================

FITS cutouts hold fluxes. The *stretch* makes colour images from them, for people and for networks. Here are three
galaxies with the two stretches that are built in, and with two others. The galaxies are simulated, with the noise of
DECaLS; replace ``bands`` by those of your cutouts.
"""

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt

from zoobot3d_tf.images.rgb import to_rgb
from zoobot3d_tf.images.stretch import read_stretch
from zoobot3d_tf.simulation.survey import simulate_galaxy

work = Path(tempfile.mkdtemp())
galaxies = [simulate_galaxy(seed=0, index=index) for index in (119, 4, 57)]

# %%
# The file
# --------
# A file names the method, and what differs from its defaults. ``galaxy-zoo`` stretches each band by itself, so that
# bright pixels fade to white, as volunteers of Galaxy Zoo DECaLS saw them. A smaller ``bright`` and a higher ``faint``
# give more contrast; smaller ``scales`` make a band brighter.

(work / "contrast.yaml").write_text("""
method: galaxy-zoo
faint: 0
bright: 60
scales: {g: 0.007}
""")
read_stretch(work / "contrast.yaml")

# %%
# ``lupton`` stretches all bands together, so that bright pixels keep their colours (`Lupton et al. 2004
# <https://doi.org/10.1086/382245>`_). A smaller ``linear_range`` shows fainter arms.

(work / "faint_arms.yaml").write_text("""
method: lupton
linear_range: 1.5
softening: 12
""")
read_stretch(work / "faint_arms.yaml")

# %%
# The galaxies
# ------------

names = ("galaxy-zoo", "lupton", work / "contrast.yaml", work / "faint_arms.yaml")
figure, axes = plt.subplots(3, len(names), figsize=(8, 6.3), layout="constrained")
for row, galaxy in zip(axes, galaxies, strict=True):
    for axis, name in zip(row, names, strict=True):
        axis.imshow(to_rgb(galaxy.bands, "grz", read_stretch(name)))
        axis.axis("off")
for axis, name in zip(axes[0], names, strict=True):
    axis.set_title(Path(name).name)

# %%
# For a network
# -------------
# Give the file when shards are made: ``zoobot3d shards ... --stretch contrast.yaml``. The shards store its settings,
# training copies them to the run, and predictions of FITS cutouts use them. A network expects the stretch of its
# training: with another one, which needs ``--force``, its predictions cannot be trusted.
