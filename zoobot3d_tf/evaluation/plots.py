"""Plots of an evaluation, for the page (SVG) and for papers (PDF)."""

import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from zoobot3d_tf.files import whole_file

COLOURS = ("#4c78a8", "#e45756", "#54a24b", "#f58518", "#b279a2", "#72b7b2", "#9d755d", "#bab0ac")
"""Colours of several runs in one plot, in order."""

Draw = Callable[[Figure], None]


def save(draw: Draw, pdf: Path, size: tuple[float, float] = (4.5, 4.0)) -> str:
    """Draw a plot, write it as PDF, and return it as SVG.

    Args:
        draw: function that draws into a figure.
        pdf: file to write.
        size: width and height in inches.

    Returns:
        The `<svg>` element, for a page.
    """
    figure = Figure(figsize=size, layout="constrained")
    draw(figure)
    # Text that stays text can be searched, and edited in a paper. The salt makes equal plots equal files.
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": pdf.stem, "pdf.fonttype": 42}):
        with whole_file(pdf) as partial:
            figure.savefig(partial, format="pdf", metadata={"CreationDate": None})
        svg = io.StringIO()
        figure.savefig(svg, format="svg", metadata={"Date": None})
    content = svg.getvalue()
    return content[content.index("<svg") :]


def draw_curves(figure: Figure, curves: Mapping[str, Sequence[np.ndarray]], x: str, y: str, title: str) -> None:
    """Draw observed against predicted values, with the diagonal where both are equal.

    Args:
        figure: figure to draw into.
        curves: by name, the predicted values, the observed values, and optionally the lower and the upper ends of their
            intervals, each of shape (points,). The name is shown if there are several.
        x: words of the horizontal axis.
        y: words of the vertical axis.
        title: title of the plot.
    """
    axes = figure.add_subplot()
    axes.plot((0, 1), (0, 1), color="0.7", linewidth=1, linestyle="--")
    for colour, (name, (predicted, observed, *ends)) in zip(_colours(len(curves)), curves.items(), strict=True):
        axes.plot(predicted, observed, "o-", color=colour, markersize=3.5, linewidth=1.2, label=name)
        if ends:
            low, high = ends
            axes.fill_between(predicted, low, high, color=colour, alpha=0.2, linewidth=0)
    axes.set(xlabel=x, ylabel=y, xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    _finish(axes, title, len(curves))


def draw_histogram(figure: Figure, heights: Mapping[str, np.ndarray], x: str, title: str) -> None:
    """Draw histograms of values in 0..1, as densities, with the line 1 of a uniform distribution.

    Args:
        figure: figure to draw into.
        heights: densities by name, each of shape (bins,), for bins of equal width.
        x: words of the horizontal axis.
        title: title of the plot.
    """
    axes = figure.add_subplot()
    axes.axhline(1, color="0.7", linewidth=1, linestyle="--")
    for colour, (name, values) in zip(_colours(len(heights)), heights.items(), strict=True):
        axes.stairs(values, np.linspace(0, 1, len(values) + 1), color=colour, label=name, fill=len(heights) == 1)
    axes.set(xlabel=x, ylabel="density", xlim=(0, 1), ylim=(0, None))
    _finish(axes, title, len(heights))


def draw_confusion(figure: Figure, matrix: np.ndarray, names: Sequence[str], x: str, y: str, title: str) -> None:
    """Draw a confusion matrix, coloured by the share of each row.

    Args:
        figure: figure to draw into.
        matrix: numbers of galaxies, shape (classes, classes): true classes in rows, predicted classes in columns.
        names: names of the classes.
        x: words of the predicted classes.
        y: words of the true classes.
        title: title of the plot.
    """
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    axes = figure.add_subplot()
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    places = np.arange(len(names))
    is_long = max(map(len, names)) * len(names) > 30
    axes.set_xticks(places, names, rotation=90 if is_long else 0)
    axes.set_yticks(places, names)
    if len(names) <= 12:
        for row, column in np.ndindex(matrix.shape):
            colour = "white" if share[row, column] > 0.5 else "black"
            words = f"{matrix[row, column]:,}\n{share[row, column]:.0%}"
            axes.text(column, row, words, ha="center", va="center", color=colour, fontsize=8)
    axes.set(xlabel=x, ylabel=y)
    axes.set_title(title, fontsize=10)


def draw_losses(figure: Figure, histories: Mapping[str, pd.DataFrame]) -> None:
    """Draw the training and the validation loss of each epoch.

    Args:
        figure: figure to draw into.
        histories: `history.csv` by name of the run, with the columns `loss` and `val_loss`.
    """
    axes = figure.add_subplot()
    for colour, (name, history) in zip(_colours(len(histories)), histories.items(), strict=True):
        epochs = np.arange(1, len(history) + 1)
        axes.plot(epochs, history["loss"], color=colour, linewidth=1, linestyle=":", label=f"{name}: training")
        axes.plot(epochs, history["val_loss"], color=colour, label=f"{name}: validation")
    axes.set(xlabel="epoch", ylabel="loss")
    _finish(axes, "Loss of each epoch", 2)


def _colours(number: int) -> list[str]:
    return [COLOURS[place % len(COLOURS)] for place in range(number)]


def _finish(axes: Axes, title: str, n_curves: int) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(title, fontsize=10)
    if n_curves > 1:
        axes.legend(frameon=False, fontsize=8)
