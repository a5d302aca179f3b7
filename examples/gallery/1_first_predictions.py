"""
First predictions
=================

Twelve real galaxies of SDSS and DECaLS are predicted with the weights that come with the package: what volunteers
would answer, and where they would draw spiral arms and bars. On the command line, this is ``zoobot3d predict
examples/galaxies --masks-dir masks --overlays``.
"""

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt

from zoobot3d_tf import load_predictions, predict

galaxies = Path("../galaxies")
work = Path(tempfile.mkdtemp())

predict(galaxies, "shipped", work / "predictions.csv", file_format="jpg", masks_dir=work / "masks", overlays=True)
predictions = load_predictions(work / "predictions.csv")

# %%
# The table has one row per galaxy. For each answer it gives the expected fraction of the volunteers, and the ends of
# its 90 % interval.

table = predictions.table.set_index("id_str")
bar = "bar_yes"
table[[f"{bar}_fraction", f"{bar}_low", f"{bar}_high", "bar_asked_p", "bar_length_px"]].round(2)

# %%
# ``bar_asked_p`` is the probability that a volunteer is asked about a bar at all: only about discs that are not
# edge-on. The fraction of an answer means little where its question is hardly asked.
#
# The overlays show where at least 3 of 15 volunteers would enclose the pixel: spiral arms in blue, bars in orange.

featured = table["smooth-or-featured_featured-or-disk_fraction"].sort_values(ascending=False)
figure, axes = plt.subplots(3, 4, figsize=(8, 6.6), layout="constrained")
for axis, (id_str, fraction) in zip(axes.flat, featured.items(), strict=True):
    axis.imshow(plt.imread(work / "masks" / f"{id_str}_overlay.png"))
    axis.set_title(f"featured: {fraction:.0%}", fontsize=10)
    axis.axis("off")

# %%
# :doc:`How good is it on real galaxies? <../real_galaxies>` says how far these numbers can be trusted.
