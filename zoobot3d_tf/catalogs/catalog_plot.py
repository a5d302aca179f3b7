"""Plot of a training catalogue: positions of the galaxies, and numbers of votes."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from zoobot3d_tf.catalogs.training_catalog import has_mask, read_training_catalog
from zoobot3d_tf.files import PathLike, check_output, path_of, whole_file
from zoobot3d_tf.schemas import Question, Schema

_BLUE, _RED = "#4c78a8", "#e45756"


def plot_catalog(catalog_loc: PathLike, schema: Schema, out: PathLike) -> Path:
    """Plot a map of the galaxies, above a histogram of the number of volunteers per galaxy.

    Right ascension increases to the left. The histogram has one line per question that is asked first: a campaign has
    one or two of them.

    Args:
        catalog_loc: path of the training catalogue; see `read_training_catalog`.
        schema: decision tree of the votes.
        out: path of the PNG. It is replaced if it exists, and its folder is made if it is missing.

    Returns:
        Path of the PNG.

    Raises:
        FileNotFoundError: the catalogue does not exist.
        ValueError: the catalogue cannot be read, or the name of `out` does not end in `.png`.
        OSError: `out` cannot be written.
    """
    out = path_of(out)
    check_output(out, "plot", (".png",))
    catalog = read_training_catalog(catalog_loc, schema, missing_questions_unasked=True)
    figure = Figure(figsize=(8, 7.5), dpi=150, layout=ConstrainedLayoutEngine(h_pad=0.1))
    _plot_sky(figure.add_subplot(2, 1, 1, projection="mollweide"), catalog)
    _plot_votes(figure.add_subplot(2, 1, 2), catalog, schema)
    with whole_file(out) as partial:
        figure.savefig(partial)
    return out


def _plot_sky(axes: Axes, catalog: pd.DataFrame) -> None:
    placed = catalog[catalog[["ra", "dec"]].notna().all(axis=1)]
    masked = has_mask(placed)
    size = np.clip(2e4 / max(len(placed), 1), 0.5, 10)
    for galaxies, label, colour, scale in (
        (placed[~masked], "votes only", _BLUE, 1),
        (placed[masked], "masks", _RED, 3),
    ):
        if len(galaxies):
            axes.scatter(*_on_map(galaxies), scale * size, colour, linewidths=0)
            axes.scatter([], [], 25, colour, linewidths=0, label=f"{label}: {len(galaxies):,}")
            axes.legend(loc="lower right", bbox_to_anchor=(1.0, -0.1), frameon=False, fontsize=9)
    _draw_grid(axes)
    n_unplaced = len(catalog) - len(placed)
    note = f", {n_unplaced:,} without a position" if n_unplaced else ""
    axes.set_title(f"{len(catalog):,} galaxies{note}", fontsize=11, pad=10)


def _on_map(positions: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    """Convert positions to coordinates in radians on the map, where 180 degrees is the centre and 0 the right edge."""
    return np.radians(180 - positions["ra"]), np.radians(positions["dec"])


def _draw_grid(axes: Axes) -> None:
    meridians = pd.DataFrame({"ra": np.arange(60, 360, 60), "dec": -67})
    axes.set_xticks(_on_map(meridians)[0], [""] * len(meridians))
    axes.set_yticks(np.radians(np.arange(-60, 90, 30)))
    axes.tick_params(labelsize=8, colors="0.4")
    axes.grid(color="0.85", linewidth=0.6)
    axes.set_axisbelow(True)
    # Matplotlib would place the labels on the equator, where galaxies hide them.
    for ra, x, y in zip(meridians["ra"], *_on_map(meridians), strict=True):
        axes.text(x, y, f"{ra}°", ha="center", va="center", size=8, color="0.4")


def _plot_votes(axes: Axes, catalog: pd.DataFrame, schema: Schema) -> None:
    first_questions = [question for question in schema.questions if not question.asked_after]
    volunteers = {question.text: _count_volunteers(catalog, question) for question in first_questions}
    most = max(counts.max() for counts in volunteers.values())
    edges = np.arange(0.5, most + 2, max(1, most // 80)).tolist()
    for question, counts in volunteers.items():
        asked = counts[counts > 0]
        if len(asked):
            axes.hist(asked, edges, histtype="step", linewidth=1.4, label=f"{question}: {len(asked):,}")
            axes.legend(frameon=False, fontsize=9)
    axes.set_xlabel("volunteers who answered")
    axes.set_ylabel("galaxies")
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.set_xlim(0, edges[-1])
    axes.spines[["top", "right"]].set_visible(False)


def _count_volunteers(catalog: pd.DataFrame, question: Question) -> pd.Series:
    return catalog[[answer.text for answer in question.answers]].sum(axis=1)
