"""
Is it calibrated?
=================

A 90 % interval should hold the votes of nine galaxies in ten. Whether it does is measured on galaxies with votes; if
not, one factor per question corrects it. Simulated galaxies have the votes here. On the command line, this is
``zoobot3d evaluate`` and ``zoobot3d calibrate``.
"""

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from zoobot3d_tf import get_schema, predict
from zoobot3d_tf.evaluation.calibration import coverage_curve, fit_scales, place_votes, scaled
from zoobot3d_tf.evaluation.pairs import read_pairs
from zoobot3d_tf.simulation.survey import simulate_survey

work = Path(tempfile.mkdtemp())
catalog = simulate_survey(work / "survey", n=120, seed=3)
predict(work / "survey" / "images", "shipped", work / "predictions.hdf5", no_calibration=True)

# %%
# The weights come with a calibration, which is left out here to see the network alone. Predictions and votes are
# joined by the names of the galaxies, and the votes are counted in the tree of the network.

pairs = read_pairs(work / "predictions.hdf5", catalog, get_schema("decals_rings"))
concentrations = pairs.predicted_votes.concentrations  # (galaxies, answers, samples)
first = np.arange(len(pairs.catalog)) % 2 == 0

# %%
# The factors are fitted to one half of the galaxies, and tested on the other. A factor below 1 says that the network
# was too sure.

factors = fit_scales(concentrations[first], pairs.votes[first], pairs.schema)
for question, factor in zip(pairs.schema.questions, factors, strict=True):
    print(f"{question.text:20} {factor:.2f}")

# %%

figure, axis = plt.subplots(figsize=(4.8, 4.4), layout="constrained")
axis.plot([0, 1], [0, 1], color="grey", linestyle="dotted", label="as promised")
mended = scaled(concentrations, factors, pairs.schema)
for name, values in (("network", concentrations), ("with factors", mended)):
    curve = coverage_curve(place_votes(values[~first], pairs.votes[~first], pairs.schema))
    axis.plot(curve.at, curve.observed, label=f"{name}: error {curve.error:.3f}")
    axis.fill_between(curve.at, curve.low, curve.high, alpha=0.2)
axis.set(xlabel="probability of the interval", ylabel="share of the votes inside", aspect="equal")
axis.legend()

# %%
# The bands are 90 % intervals over galaxies. Below the dotted line, the intervals are too narrow. :doc:`Evaluation
# <../evaluation>` explains the curve.
