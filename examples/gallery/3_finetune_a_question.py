"""
Fine-tune a question
====================

The network that comes with the package learns a new question from a few labels: *how inclined is the disc?* No
decision tree asks it. The labels here are those of simulated galaxies, whose inclination is known. On the command
line, this is ``zoobot3d finetune --catalog labels.csv --label-col inclination --save-dir run``.
"""

import json
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from zoobot3d_tf import finetune, load_predictions, predict
from zoobot3d_tf.simulation.survey import simulate_survey

work = Path(tempfile.mkdtemp())
survey = simulate_survey(work / "survey", n=80, seed=7).parent
truth = pd.read_csv(survey / "truth.csv")
discs = truth[truth["kind"].isin(["spiral", "disc"])]
labels = discs[["id_str", "inclination"]].assign(file_loc="images/" + discs["id_str"] + ".png")
labels.to_csv(survey / "labels.csv", index=False)
labels.describe().round(1)

# %%
# Only the last layer is trained, on the features that the network has learned from Galaxy Zoo. A quarter of the
# galaxies is kept for validation.

finetune(survey / "labels.csv", work / "run", label_col="inclination", eval_size=0.25, split_seed=0, epochs=20)
scores = json.loads((work / "run" / "validation.json").read_text())
pd.DataFrame([{"score": name} | score for name, score in scores.items() if isinstance(score, dict)]).round(2)

# %%
# Each score has its 90 % interval, which is wide for so few galaxies, and the score of a constant answer beside it.
#
# The run folder predicts new galaxies as every other one does. Here are the real ones, from face-on to edge-on, in
# degrees. The network has not seen labels of any of them.

predict("../galaxies", work / "run", work / "predictions.csv", file_format="jpg")
inclinations = load_predictions(work / "predictions.csv").table.set_index("id_str")["inclination"].sort_values()
figure, axes = plt.subplots(3, 4, figsize=(8, 6.6), layout="constrained")
for axis, (id_str, inclination) in zip(axes.flat, inclinations.items(), strict=True):
    axis.imshow(plt.imread(f"../galaxies/{id_str}.jpg"))
    axis.set_title(f"{inclination:.0f}°", fontsize=10)
    axis.axis("off")

# %%
# :doc:`Fine-tuning <../finetuning>` says how many labels are needed, and what to do next.
