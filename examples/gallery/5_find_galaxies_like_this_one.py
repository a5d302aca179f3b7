"""
Find galaxies like this one
===========================

The *features* of a galaxy are numbers that the encoder computes from its image; galaxies that look alike have similar
features. As a test with a known answer, each of the twelve real galaxies is also turned by 90, 180 and 270 degrees:
its nearest neighbours should be itself.
"""

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
from PIL import Image

from zoobot3d_tf.inference.inputs import galaxies_in_folder
from zoobot3d_tf.pages.thumbnails import draw_neighbours
from zoobot3d_tf.representations.compress import compress
from zoobot3d_tf.representations.features import write_features
from zoobot3d_tf.representations.neighbours import write_neighbours

work = Path(tempfile.mkdtemp())
(work / "images").mkdir()
for path in Path("../galaxies").glob("*.jpg"):
    for angle in (0, 90, 180, 270):
        Image.open(path).rotate(angle).save(work / "images" / f"{path.stem}-{angle}.png")

# %%
# The features are compressed to their principal components, in which neighbours are searched. The commands are
# ``zoobot3d representations``, ``zoobot3d compress`` and ``zoobot3d neighbours``.

features = write_features(galaxies_in_folder(work / "images"), "shipped", work / "features.parquet")
components = compress(features, work / "components.parquet", n_components=20)
ids = sorted(path.stem for path in (work / "images").iterdir())
found = write_neighbours(components, ids, work / "neighbours.csv", k=5)

nearest = found[found["rank"] == 1]
is_itself = nearest["id_str"].str.rsplit("-", n=1).str[0] == nearest["neighbour"].str.rsplit("-", n=1).str[0]
print(f"The nearest neighbour is the same galaxy in {is_itself.mean():.0%} of the cases (by chance: {3 / 47:.0%}).")

# %%
# The galaxy on the left, and its neighbours with their distances:

shown = [name for name in ids if name.endswith("-0")][:4]
sheet = draw_neighbours(work / "neighbours.png", components, found[found["id_str"].isin(shown)])
figure, axis = plt.subplots(figsize=(8, 6), layout="constrained")
axis.imshow(Image.open(sheet))
axis.axis("off")

# %%
# :doc:`Representations <../representations>` says more, also how to find unusual galaxies and how to draw a map.
