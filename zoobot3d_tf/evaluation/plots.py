"""Plots of an evaluation, for the page (SVG) and for papers (PDF)."""

import io
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Words:
    """Title of a plot, and words of its axes."""

    title: str
    x: str
    y: str


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
    logging.getLogger("fontTools").setLevel(logging.WARNING)  # it tells how it shortens the fonts of PDF files
    # Text that stays text can be searched, and edited in a paper. The salt makes equal plots equal files.
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": pdf.stem, "pdf.fonttype": 42}):
        with whole_file(pdf) as partial:
            figure.savefig(partial, format="pdf", metadata={"CreationDate": None})
        svg = io.StringIO()
        figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
    content = svg.getvalue()
    return content[content.index("<svg") :]


def draw_curves(
    figure: Figure, curves: Mapping[str, Sequence[np.ndarray]], words: Words, diagonal: bool = True
) -> None:
    """Draw curves of values in 0..1, such as observed against predicted ones.

    Args:
        figure: figure to draw into.
        curves: by name, the values of both axes, and optionally the lower and the upper ends of the intervals of the
            second, each of shape (points,). The name is shown if there are several.
        words: words of the plot.
        diagonal: whether both axes have the range 0..1, and the diagonal is drawn, where both are equal.
    """
    axes = figure.add_subplot()
    if diagonal:
        axes.plot((0, 1), (0, 1), color="0.7", linewidth=1, linestyle="--")
        axes.set(xlim=(-0.02, 1.02))
    for colour, (name, (places, values, *ends)) in zip(_colours(len(curves)), curves.items(), strict=True):
        axes.plot(places, values, "o-", color=colour, markersize=3.5, linewidth=1.2, label=name)
        if ends:
            low, high = ends
            axes.fill_between(places, low, high, color=colour, alpha=0.2, linewidth=0)
    axes.set(ylim=(-0.02, 1.02))
    _finish(axes, words, len(curves))


def draw_histogram(figure: Figure, heights: Mapping[str, np.ndarray], words: Words) -> None:
    """Draw histograms of values in 0..1, as densities, with the line 1 of a uniform distribution.

    Args:
        figure: figure to draw into.
        heights: densities by name, each of shape (bins,), for bins of equal width.
        words: words of the plot.
    """
    axes = figure.add_subplot()
    axes.axhline(1, color="0.7", linewidth=1, linestyle="--")
    for colour, (name, values) in zip(_colours(len(heights)), heights.items(), strict=True):
        axes.stairs(values, np.linspace(0, 1, len(values) + 1), color=colour, label=name, fill=len(heights) == 1)
    axes.set(xlim=(0, 1), ylim=(0, None))
    _finish(axes, words, len(heights))


def draw_confusion(figure: Figure, matrix: np.ndarray, names: Sequence[str], words: Words) -> None:
    """Draw a confusion matrix, coloured by the share of each row.

    Args:
        figure: figure to draw into.
        matrix: numbers of galaxies, shape (classes, classes): true classes in rows, predicted classes in columns.
        names: names of the classes.
        words: words of the plot.
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
            text = f"{matrix[row, column]:,}\n{share[row, column]:.0%}"
            axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=8)
    axes.set(xlabel=words.x, ylabel=words.y)
    axes.set_title(words.title, fontsize=10)


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
    _finish(axes, Words("Loss of each epoch", "epoch", "loss"), 2)


def _colours(number: int) -> list[str]:
    return [COLOURS[place % len(COLOURS)] for place in range(number)]


def _finish(axes: Axes, words: Words, n_curves: int) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.set(xlabel=words.x, ylabel=words.y)
    axes.set_title(words.title, fontsize=10)
    if n_curves > 1:
        axes.legend(frameon=False, fontsize=8)
