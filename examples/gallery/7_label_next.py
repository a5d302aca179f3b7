"""
Label next
==========

Volunteers cannot look at every galaxy. Active learning asks them about the galaxies whose votes would teach the
network most: here the twelve real galaxies are ranked by *mutual information*, what the next votes would tell about
which of the network's predictions is right. On the command line, this is ``zoobot3d al rank predictions.hdf5 --by
mutual-information --n 12``.
"""

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt

from zoobot3d_tf import predict
from zoobot3d_tf.active_learning.ranking import rank_galaxies

work = Path(tempfile.mkdtemp())

# %%
# The network predicts each galaxy 15 times, each time with other features switched off (dropout). HDF5 tables
# hold all of these samples.

predict("../galaxies", "shipped", work / "predictions.hdf5", file_format="jpg", n_samples=15)
ranked = rank_galaxies(work / "predictions.hdf5", "mutual-information", 12)
ranked[["rank", "id_str", "score"]].round(4)

# %%
# The first galaxies are those to ask about; the last ones would teach little.

figure, axes = plt.subplots(3, 4, figsize=(8, 6.6), layout="constrained")
for axis, galaxy in zip(axes.flat, ranked.itertuples(), strict=True):
    axis.imshow(plt.imread(f"../galaxies/{galaxy.id_str}.jpg"))
    axis.set_title(f"{galaxy.rank}: {galaxy.score:.3f} nat", fontsize=10)
    axis.axis("off")

# %%
# :doc:`Active learning <../active_learning>` describes the whole loop, with a simulation that shows how much it
# helps.
