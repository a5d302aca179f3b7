"""Learning curves of the experiment `joint-vs-single`: each score over the number of masked galaxies."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from zoobot3d_tf.evaluation.experiment_scores import SCORES
from zoobot3d_tf.files import whole_file

# Okabe & Ito's colours, which colour-blind readers can tell apart.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
_COLUMNS = 2


def draw_learning_curves(scores: pd.DataFrame, paths: list[Path]) -> None:
    """Draw one plot per score, with the interval of each point.

    Variants that learn no masks are horizontal bands: they do not depend on the number of masked galaxies.

    Args:
        scores: table of `experiment_table.score_table`.
        paths: files to write; the suffix gives the format.
    """
    names = list(scores["score"].unique())
    n_rows = -(-len(names) // _COLUMNS)
    figure = Figure(figsize=(5 * _COLUMNS, 3.4 * n_rows + 0.5), dpi=150, layout="constrained")
    all_axes = figure.subplots(n_rows, _COLUMNS, squeeze=False).ravel()
    variants = list(scores["variant"].unique())
    for axes, name in zip(all_axes, names, strict=False):
        _draw(axes, scores[scores["score"] == name], variants)
        axes.set_title(SCORES[name].title, fontsize=10)
    for axes in all_axes[len(names) :]:
        axes.set_axis_off()
    shown = {
        label: handle for axes in all_axes for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(shown.values(), shown.keys(), loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    for path in paths:
        with whole_file(path) as unfinished:
            figure.savefig(unfinished, format=path.suffix.removeprefix("."))


def _draw(axes: Axes, rows: pd.DataFrame, variants: list[str]) -> None:
    sizes = sorted(rows["size"].dropna().astype(int).unique())
    for number, variant in enumerate(variants):
        found = rows[rows["variant"] == variant]
        colour = _COLOURS[number % len(_COLOURS)]
        constant = found[found["size"].isna()]
        for value, low, high in constant[["value", "low", "high"]].to_numpy():
            axes.axhline(value, color=colour, linewidth=1.2, linestyle="--", label=variant)
            axes.axhspan(low, high, color=colour, alpha=0.12, linewidth=0)
        curve = found.dropna(subset="size").sort_values("size")
        if len(curve):
            # Points of one size side by side, or their bars would hide each other.
            x = curve["size"].to_numpy(float) * 1.04 ** (number - (len(variants) - 1) / 2)
            bars = np.array([curve["value"] - curve["low"], curve["high"] - curve["value"]]).clip(0)
            axes.errorbar(
                x, curve["value"], bars, fmt="o-", color=colour, capsize=2, linewidth=1.2, markersize=4, label=variant
            )
    axes.set_xscale("log")
    axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("masked galaxies to learn from")
    axes.spines[["top", "right"]].set_visible(False)
