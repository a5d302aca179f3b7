"""
Your own survey
===============

A catalogue of images and votes, with a decision tree of your own, becomes *shards*: the files from which a network
learns. Simulated galaxies stand in for the survey here.
"""

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from zoobot3d_tf.images.overlay import draw_masks
from zoobot3d_tf.schemas import load_schema, tree_text
from zoobot3d_tf.shards.manifest import read_manifest
from zoobot3d_tf.shards.options import ShardOptions
from zoobot3d_tf.shards.read import iterate_records
from zoobot3d_tf.shards.write import create_shards
from zoobot3d_tf.simulation.survey import simulate_survey

work = Path(tempfile.mkdtemp())
simulated = pd.read_csv(simulate_survey(work / "survey", n=24, seed=5), dtype={"id_str": str})

# %%
# The decision tree
# -----------------
# Your volunteers answered two questions. The second one was asked of those who chose "featured".

(work / "my_survey.yaml").write_text("""
name: my-survey
questions:
  shape:
    answers: [smooth, featured, artifact]
  bar:
    answers: [strong, weak, none]
    asked_after: shape_featured
""")
schema = load_schema(work / "my_survey.yaml")
print(tree_text(schema))

# %%
# The catalogue
# -------------
# It has one row per galaxy: a name, the path of an image, the number of votes for each answer and, if volunteers
# drew, the paths of masks. An empty cell means that nobody was asked.

votes = {
    "shape_smooth": "smooth-or-featured_smooth",
    "shape_featured": "smooth-or-featured_featured-or-disk",
    "shape_artifact": "smooth-or-featured_artifact",
    "bar_strong": "bar_strong",
    "bar_weak": "bar_weak",
    "bar_none": "bar_no",
}
catalog = simulated[["id_str", "file_loc", "spiral_mask_loc", "bar_mask_loc", "n_volunteers"]].copy()
for mine, theirs in votes.items():
    catalog[mine] = simulated[theirs].astype("Int64")
catalog.to_csv(work / "survey" / "my_catalog.csv", index=False)
catalog[["id_str", *votes]].head()

# %%
# The shards
# ----------
# The catalogue is checked before anything is written. A quarter of the galaxies is kept for validation. The command
# is ``zoobot3d shards --labelled-catalog my_catalog.csv --shard-dir shards --schema my_survey.yaml --img-size 160
# --eval-size 6 --split-seed 0``.

options = ShardOptions(img_size=160, eval_size=6, split_seed=0)
create_shards(work / "survey" / "my_catalog.csv", work / "shards", schema, options)
for path in sorted((work / "shards").rglob("*.tfrecord")):
    print(path.relative_to(work))

# %%
# What a network will see of the galaxies that volunteers drew on: the image, and the pixels that they enclosed.

records = list(iterate_records(read_manifest(work / "shards").paths("train")))
drawn = [galaxy for galaxy in records if galaxy["spiral_mask"] is not None][:4]
figure, axes = plt.subplots(2, len(drawn), figsize=(8, 4.4), layout="constrained", squeeze=False)
for (above, below), galaxy in zip(axes.T, drawn, strict=True):
    fractions = (galaxy[mask] / galaxy["n_volunteers"] for mask in ("spiral_mask", "bar_mask"))
    above.imshow(galaxy["image"])
    below.imshow(draw_masks(galaxy["image"], *fractions))
    for axis in (above, below):
        axis.axis("off")
    above.set_title("featured: {:.0f} of {:.0f}".format(galaxy["votes"][1], galaxy["votes"][:3].sum()), fontsize=9)

# %%
# :doc:`Training <../training>` comes next: ``zoobot3d train --experiment-dir run --train-dir shards/train_shards
# --eval-dir shards/eval_shards``. It needs thousands of galaxies, not 24.
