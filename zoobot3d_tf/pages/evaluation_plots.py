"""The plots of the page of an evaluation."""

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from zoobot3d_tf.evaluation.calibration import Curve
from zoobot3d_tf.evaluation.labels import LabelScores
from zoobot3d_tf.evaluation.masks import mask_reliability
from zoobot3d_tf.evaluation.plots import Draw, Words, draw_confusion, draw_curves, draw_histogram, draw_losses, save
from zoobot3d_tf.evaluation.scores import MaskResults, Scores, VoteResults
from zoobot3d_tf.evaluation.votes import ALL
from zoobot3d_tf.images.masks import MASK_TITLES
from zoobot3d_tf.labels import Label

MIN_CLEAR = 10
"""Smallest number of galaxies with confident volunteers for which a confusion matrix is drawn."""

_Plots = Iterator[tuple[str, Draw]]


def draw_plots(
    scores: Scores, label: Label | None, histories: Mapping[str, pd.DataFrame], folder: Path
) -> dict[str, list[str]]:
    """Draw all plots of an evaluation, and write them as PDF.

    Args:
        scores: scores to draw.
        label: label of the evaluation, if there is one.
        histories: history of each run by its name.
        folder: folder of the PDF files, which is made if it is missing.

    Returns:
        `<svg>` elements by section: "calibration", "confusion", "masks", "label", "losses". Sections without a plot are
        absent.
    """
    sections: dict[str, list[tuple[str, Draw]]] = {}
    if scores.votes is not None:
        sections["calibration"] = list(_calibration(scores.votes))
        sections["confusion"] = list(_confusion(scores.votes))
    sections["masks"] = [_mask(name, results) for name, results in scores.masks.items()]
    if scores.label is not None and label is not None:
        sections["label"] = list(_label(label, scores.label))
    sections["losses"] = [("losses", partial(draw_losses, histories=histories))] if histories else []
    folder.mkdir(parents=True, exist_ok=True)
    return {
        section: [save(draw, folder / f"{name}.pdf") for name, draw in plots]
        for section, plots in sections.items()
        if plots
    }


def _calibration(votes: VoteResults) -> _Plots:
    axes = ("stated probability of an interval", "share of votes inside")
    curves = {name: _points(curve) for name, curve in votes.coverage.items()}
    yield "coverage", partial(draw_curves, curves={ALL: curves.pop(ALL)}, words=Words("Intervals of votes", *axes))
    if len(curves) > 1:
        without_ends = {name: points[:2] for name, points in curves.items()}
        words = Words("Intervals of votes, by question", *axes)
        yield "coverage_by_question", partial(draw_curves, curves=without_ends, words=words)
    densities = votes.pit[ALL] / max(votes.pit[ALL].sum(), 1) * len(votes.pit[ALL])
    words = Words("Place of the votes in their prediction", "probability integral transform", "density")
    yield "pit", partial(draw_histogram, heights={ALL: densities}, words=words)
    words = Words("Vote fractions", "predicted vote fraction", "mean observed vote fraction")
    yield "reliability", partial(draw_curves, curves={ALL: _points(votes.reliability)}, words=words)
    found = votes.deviation[ALL]
    deviations = {
        "observed": [found.at, found.observed, found.low, found.high],
        "predicted": [found.at, found.predicted],
    }
    words = Words("Deviations of vote fractions", "deviation from the prediction", "share of smaller deviations")
    yield "deviation", partial(draw_curves, curves=deviations, words=words, diagonal=False)


def _confusion(votes: VoteResults) -> _Plots:
    for question in votes.errors.schema.questions:
        matrix = votes.errors.confusion(question)
        if matrix.sum() >= MIN_CLEAR:
            title = f"{question.text}: {matrix.sum():,} galaxies"
            words = Words(title, "likeliest predicted answer", "answer of confident volunteers")
            names = [answer.label for answer in question.answers]
            yield f"confusion_{question.text}", partial(draw_confusion, matrix=matrix, names=names, words=words)


def _mask(name: str, results: MaskResults) -> tuple[str, Draw]:
    table = results.table
    predicted, observed, _ = mask_reliability(table.pixels.sum(axis=0), table.observed.sum(axis=0))
    title = f"Pixels of {MASK_TITLES[name]}, {len(table):,} galaxies"
    words = Words(title, "predicted fraction of volunteers", "mean observed fraction")
    return f"{name}_reliability", partial(draw_curves, curves={ALL: [predicted, observed]}, words=words)


def _label(label: Label, found: LabelScores) -> _Plots:
    if found.confusion is not None:
        words = Words(f"{found.n_galaxies:,} galaxies", f"predicted {label.column}", f"true {label.column}")
        names = label.class_names
        yield "label_confusion", partial(draw_confusion, matrix=found.confusion, names=names, words=words)
    if (curve := found.reliability) is not None:
        points = [curve.predicted, curve.observed, curve.low, curve.high]
        words = Words(f"Probabilities of {label.column}", "stated probability", "share that came true")
        yield "label_reliability", partial(draw_curves, curves={ALL: points}, words=words)


def _points(curve: Curve) -> list[np.ndarray]:
    return [curve.predicted, curve.observed, curve.low, curve.high]
