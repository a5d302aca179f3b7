"""Plots of a fine-tuning: the learning curve, and predictions for the validation galaxies."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from zoobot3d_tf.evaluation.calibration import Curve, reliability_curve
from zoobot3d_tf.evaluation.labels import confusion, label_curve, stated_probability
from zoobot3d_tf.evaluation.plots import COLOURS, Words, draw_confusion
from zoobot3d_tf.files import whole_file
from zoobot3d_tf.finetuning.scores import Validation
from zoobot3d_tf.labels import Label
from zoobot3d_tf.models.config import ModelConfig
from zoobot3d_tf.schemas import Schema, vote_fractions

_BLUE, _RED, *_ = COLOURS
# The learning curve shows the loss, and the first of these metrics that the history has.
_METRICS = {
    "auc": "area under the ROC curve",
    "accuracy": "accuracy",
    "fraction_mae": "mean error of vote fractions",
    "iou": "overlap of masks (IoU)",
    "spiral_mask_iou": "overlap of spiral masks (IoU)",
    "mae": "mean error",
}


def draw_plots(
    model: ModelConfig, history: pd.DataFrame, kept: str, validation: Validation, folder: Path
) -> list[Path]:
    """Draw the plots of a fine-tuning.

    Args:
        model: configuration of the fine-tuned network.
        history: losses and metrics, one row per epoch, with the column `stage`.
        kept: name of the stage with the lowest validation loss.
        validation: predictions for the validation galaxies.
        folder: folder of the PNG files.

    Returns:
        Paths of the files: `learning_curve.png`, and by task `calibration.png`, `confusion_matrix.png` or
        `predicted_vs_true.png`.
    """
    plots: dict[str, Callable[[Figure], None]] = {"learning_curve": partial(_learning_curve, history, kept)}
    if model.vote_schema is not None:
        plots["calibration"] = partial(_vote_calibration, model.vote_schema, validation)
    elif model.label is not None and model.label.kind == "regression":
        plots["predicted_vs_true"] = partial(_predicted_vs_true, model.label, validation)
    elif model.label is not None:
        plots["confusion_matrix"] = partial(_confusion_matrix, model.label, validation)
        if model.label.kind == "binary":
            plots["calibration"] = partial(_label_calibration, model.label, validation)
    return [_save(draw, folder / f"{name}.png") for name, draw in plots.items()]


def _save(draw: Callable[[Figure], None], path: Path) -> Path:
    figure = Figure(figsize=(6, 5), dpi=150, layout="constrained")
    draw(figure)
    with whole_file(path) as unfinished:
        figure.savefig(unfinished)
    return path


def _learning_curve(history: pd.DataFrame, kept: str, figure: Figure) -> None:
    metric = next((name for name in _METRICS if f"val_{name}" in history), None)
    rows = {"loss": "loss"} | ({metric: _METRICS[metric]} if metric else {})
    figure.set_size_inches(7, 2.8 * len(rows))
    epochs = np.arange(1, len(history) + 1)
    can_be_best = (history["stage"] == kept) & np.isfinite(history["val_loss"])
    best = int(np.argmin(history["val_loss"].where(can_be_best, np.inf)))
    all_axes = figure.subplots(len(rows), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (name, words) in zip(all_axes, rows.items(), strict=True):
        for stage, shown in history.groupby("stage", sort=False):
            at = epochs[history["stage"] == stage]
            axes.plot(at, shown[name], color=_BLUE, label="training" if at[0] == 1 else None)
            axes.plot(at, shown[f"val_{name}"], color=_RED, label="validation" if at[0] == 1 else None)
            if at[0] > 1:
                axes.axvline(at[0] - 0.5, color="0.8", linewidth=0.8)
        axes.plot(epochs[best], history[f"val_{name}"].iloc[best], "o", color=_RED, label=f"best epoch ({kept} stage)")
        axes.set_ylabel(words)
        _plain(axes)
    all_axes[0].legend(frameon=False, fontsize=9)
    all_axes[-1].set_xlabel("epoch")
    for stage in history["stage"].unique():
        middle = epochs[history["stage"] == stage].mean()
        all_axes[0].text(middle, 1.02, f"{stage} stage", transform=all_axes[0].get_xaxis_transform(), ha="center")


def _confusion_matrix(label: Label, validation: Validation, figure: Figure) -> None:
    matrix = confusion(label, validation.predicted, validation.known[:, 0])
    title = f"{matrix.sum():,} validation galaxies; percentages per true class"
    words = Words(title, f"predicted {label.column}", f"true {label.column}")
    draw_confusion(figure, matrix, label.class_names, words)


def _label_calibration(label: Label, validation: Validation, figure: Figure) -> None:
    curve = label_curve(*stated_probability(validation.predicted, validation.known[:, 0]))
    _draw_calibration(figure, curve, f"predicted probability of {label.column}", f"observed share of {label.column}")
    figure.axes[0].set_title(f"{len(validation.known):,} validation galaxies", fontsize=10)


def _vote_calibration(schema: Schema, validation: Validation, figure: Figure) -> None:
    observed = vote_fractions(validation.known, schema)
    curve = reliability_curve(vote_fractions(validation.predicted, schema), observed)
    _draw_calibration(figure, curve, "predicted vote fraction", "mean observed vote fraction")
    figure.axes[0].set_title(f"{len(observed):,} validation galaxies, all answers", fontsize=10)


def _draw_calibration(figure: Figure, curve: Curve, x: str, y: str) -> None:
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    above.plot((0, 1), (0, 1), color="0.7", linewidth=1, linestyle="--")
    above.plot(curve.predicted, curve.observed, "o-", color=_BLUE)
    above.vlines(curve.predicted, curve.low, curve.high, color=_BLUE, linewidth=1)
    above.set_ylabel(y)
    above.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03))
    below.bar(curve.predicted, curve.numbers, width=0.06, color=_BLUE)
    for place, number in zip(curve.predicted, curve.numbers, strict=True):
        below.annotate(f"{number:,.0f}", (place, number), ha="center", va="bottom", fontsize=7)
    below.margins(y=0.25)
    below.set_xlabel(x)
    below.set_ylabel("number")
    _plain(above)
    _plain(below)


def _predicted_vs_true(label: Label, validation: Validation, figure: Figure) -> None:
    true, predicted = validation.known[:, 0], validation.predicted[:, 0]
    axes = figure.add_subplot()
    ends = (float(min(true.min(), predicted.min())), float(max(true.max(), predicted.max())))
    axes.plot(ends, ends, color="0.7", linewidth=1, linestyle="--")
    axes.scatter(true, predicted, np.clip(2e4 / len(true), 2, 25), _BLUE, linewidths=0, alpha=0.6)
    axes.set_xlabel(f"true {label.column}")
    axes.set_ylabel(f"predicted {label.column}")
    axes.set_title(f"{len(true):,} validation galaxies", fontsize=10)
    _plain(axes)


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
