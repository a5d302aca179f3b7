"""Plot of a sweep: the scores of the trials over each option that was searched."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from zoobot3d_tf.files import whole_file
from zoobot3d_tf.tuning.sweep_config import Space

_COLUMNS = 3


def draw_sweep(results: pd.DataFrame, space: Space, paths: list[Path]) -> None:
    """Draw one plot per option, with a point per trial. The best trial is a star.

    Args:
        results: trials with a score, the best first; see `result_table`.
        space: options that were searched.
        paths: files to write; the suffix gives the format.
    """
    names = [*space.ranges, *space.choices]
    n_rows = -(-len(names) // _COLUMNS)
    figure = Figure(figsize=(4 * _COLUMNS, 3.2 * n_rows), dpi=150, layout="constrained")
    all_axes = figure.subplots(n_rows, _COLUMNS, squeeze=False, sharey=True).ravel()
    scores = results["score"].to_numpy()
    for axes, name in zip(all_axes, names, strict=False):
        if name in space.choices:
            known = list(space.choices[name])
            # Points of one choice side by side, or they would hide each other.
            shifts = np.linspace(-0.15, 0.15, len(results)) if len(results) > 1 else [0.0]
            x = np.array([known.index(str(value)) for value in results[name]]) + shifts
            axes.set_xticks(range(len(known)), known, fontsize=8, rotation=15)
        else:
            x = results[name].to_numpy(float)
            axes.set_xscale("log" if space.ranges[name].log else "linear")
        axes.scatter(x, scores, s=18, color="#0072b2")
        axes.scatter(x[:1], scores[:1], s=90, marker="*", color="#d55e00", zorder=3)
        axes.set_xlabel(name)
        axes.spines[["top", "right"]].set_visible(False)
    for axes in all_axes[len(names) :]:
        axes.set_axis_off()
    for axes in all_axes[::_COLUMNS]:
        axes.set_ylabel("score (low is good)")
    for path in paths:
        with whole_file(path) as unfinished:
            figure.savefig(unfinished, format=path.suffix.removeprefix("."))
