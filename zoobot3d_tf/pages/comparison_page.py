"""The page that compares runs: one table, one plot, and the masks of all side by side."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from zoobot3d_tf.catalogs.selection import hash_share
from zoobot3d_tf.evaluation.bootstrap import Score
from zoobot3d_tf.evaluation.comparison import Comparison, Row
from zoobot3d_tf.evaluation.evaluate import Evaluation
from zoobot3d_tf.evaluation.masks import THRESHOLD_NAMES
from zoobot3d_tf.evaluation.plots import COLOURS, save
from zoobot3d_tf.evaluation.votes import ALL
from zoobot3d_tf.files import write_atomically
from zoobot3d_tf.images.masks import MASK_TITLES, MASKS, THRESHOLD_IN_WORDS
from zoobot3d_tf.images.overlay import draw_masks
from zoobot3d_tf.images.read import ImageError
from zoobot3d_tf.pages import html
from zoobot3d_tf.predictions.mask_files import read_mask_file

_SCORES = {
    "mae": "error",
    "nll": "likelihood",
    "accuracy": "accuracy",
    "coverage": f"votes in {html.INTERVAL} intervals",
    "average_precision": "average precision",
    "iou": "IoU",
}
_MOST_NAMED = 4  # scores in one sentence
_ABOUT = f"""
Differences are from the first run, with their {html.INTERVAL} intervals over galaxies in the second line; the same
galaxies are drawn for both runs. "Better" and "worse" are written where the interval does not include 0."""


def write_comparison(
    comparison: Comparison,
    evaluations: Mapping[str, Evaluation],
    folder: Path,
    n_galaxies: int,
    other_masks: Mapping[str, Path],
) -> Path:
    """Write `index.html`, `comparison.csv` and the plot of a comparison to a folder.

    Args:
        comparison: scores of the runs on the same galaxies.
        evaluations: evaluations by name of the run.
        folder: folder of the page.
        n_galaxies: number of galaxies whose masks are shown, drawn at random from those with masks.
        other_masks: folders of masks of other methods by name. Files are named `<id_str>_spiral_mask.png` and
            `<id_str>_bar_mask.png`, 8-bit, 255 where the method is sure.

    Returns:
        Path of the page.

    Raises:
        OSError: the folder cannot be written.
    """
    first, *others = evaluations
    n_scored = next(iter(evaluations.values())).scores.n_galaxies
    notes = list(dict.fromkeys([*comparison.notes, *(note for e in evaluations.values() for note in e.notes)]))
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    rows = [row for row in comparison.rows if _is_main(row)]
    height = 1.2 + 0.28 * len(rows)
    plot = save(partial(_draw, rows=rows, others=others), folder / "figures" / "differences.pdf", (7.5, height))
    title = f"Comparison of {', '.join(evaluations)}"
    content = [
        f"<header>{html.heading(title)}{html.note(_provenance(evaluations, n_scored))}</header>",
        *map(html.note, notes),
        html.sentences([_deciding(comparison, name, first) for name in others]),
        html.plot(plot),
        html.heading("Scores", level=2),
        _table(comparison, list(evaluations)),
        html.note(_ABOUT),
        *_masks(evaluations, n_galaxies, other_masks),
    ]
    page = folder / "index.html"
    write_atomically(page, html.page(title, content))
    return page


def _provenance(evaluations: Mapping[str, Evaluation], n_scored: int) -> str:
    reasons = {reason: n for evaluation in evaluations.values() for reason, n in evaluation.scores.left_out.items()}
    left_out = "; ".join(f"{number:,} {reason}" for reason, number in reasons.items())
    return f"{n_scored:,} galaxies, the same for all runs" + (f"; left out: {left_out}." if left_out else ".")


def _deciding(comparison: Comparison, name: str, first: str) -> str:
    """Say whether a run differs from the first one, in agreement with the verdicts of the table."""
    row, decided = comparison.deciding(name), comparison.decided(name)
    if row is not None:
        return f"{name} differs most clearly from {first} in {_in_words(row, name, first)}."
    alike = f"{name} and {first} do not differ by more than the choice of galaxies explains"
    if not decided:
        return f"{alike}, in any score."
    found = "; ".join(_in_words(row, name, first) for row in decided[:_MOST_NAMED])
    more = f"; and {len(decided) - _MOST_NAMED} more scores of the table" if len(decided) > _MOST_NAMED else ""
    return (
        f"{alike}, in the scores that count most (errors of questions, IoU of masks at {THRESHOLD_IN_WORDS}). They "
        f"differ in other scores: {found}{more}."
    )


def _in_words(row: Row, name: str, first: str) -> str:
    better = "better" if row.is_better(name) else "worse"
    values = f"{row.scores[name].value:.3f} instead of {row.scores[first].value:.3f}"
    return f"{_name(row)}, where {name} is {better}, {values}"


def _draw(figure: Figure, rows: Sequence[Row], others: Sequence[str]) -> None:
    axes = figure.add_subplot()
    places = np.arange(len(rows))[::-1]
    axes.axvline(0, color="0.7", linewidth=1)
    for number, name in enumerate(others):
        shift = (number + 0.5) / len(others) - 0.5
        found = [row.differences[name] for row in rows]
        middle = np.array([one.value for one in found])
        ends = np.abs(np.array([[one.value - one.low, one.high - one.value] for one in found]).T)
        colour = COLOURS[(number + 1) % len(COLOURS)]
        axes.errorbar(middle, places - 0.6 * shift, xerr=ends, fmt="o", color=colour, markersize=4, label=name)
    axes.set_yticks(places, [_name(row) for row in rows], fontsize=8)
    axes.set_xlabel("difference from the first run")
    axes.legend(frameon=False, fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)


def _table(comparison: Comparison, names: Sequence[str]) -> str:
    first, *others = names
    deciding = [comparison.deciding(name) for name in others]
    header = ["score", "galaxies", *names, *(f"{name} − {first}" for name in others)]
    rows = []
    for row in comparison.rows:
        marked = " ◀" if row in deciding else ""
        values = [_text(row.scores[name], signed=False) for name in names]
        differences = [_text(row.differences[name], signed=True) + _verdict(row, name) for name in others]
        rows.append([_name(row) + marked, f"{row.n_galaxies:,}", *values, *differences])
    return html.table(header, rows)


def _verdict(row: Row, name: str) -> str:
    better = row.is_better(name)
    return "" if better is None else "\nbetter" if better else "\nworse"


def _masks(evaluations: Mapping[str, Evaluation], n_galaxies: int, other_masks: Mapping[str, Path]) -> list[str]:
    """Image, volunteers, and the masks of each run and of other methods, of galaxies drawn at random."""
    pairs = {name: evaluation.pairs for name, evaluation in evaluations.items() if evaluation.scores.masks}
    if not pairs:
        return []
    first = next(iter(pairs.values()))
    with_masks = first.comparable_masks().nonzero()[0].tolist()
    drawn = sorted(with_masks, key=lambda index: hash_share(first.catalog["id_str"][index]))
    cards = []
    for index in drawn[:n_galaxies]:
        id_str = first.catalog["id_str"][index]
        try:
            pictures = {name: one.read_pictures(index) for name, one in pairs.items()}
            others = {name: _read_masks(place, id_str) for name, place in other_masks.items()}
        except ImageError:
            continue  # already counted by the scores
        image, true = next(iter(pictures.values())).image, next(iter(pictures.values())).true
        shown = {"volunteers": true} | {name: one.predicted for name, one in pictures.items()} | others
        figures = [html.figure(image, "image")]
        for name, masks in shown.items():
            overlay = draw_masks(image, masks.get("spiral_mask"), masks.get("bar_mask")) if masks else None
            figures.append(html.figure(overlay, name))
        cards.append(html.card(id_str, figures, [], ""))
    about = html.note(f"{len(cards):,} galaxies, drawn at random from {len(drawn):,} with masks.")
    return [html.heading("Masks", level=2), about, html.key(), *cards]


def _read_masks(folder: Path, id_str: str) -> dict[str, np.ndarray]:
    paths = {mask: folder / f"{id_str}_{mask}.png" for mask in MASKS}
    return {mask: read_mask_file(str(path)) for mask, path in paths.items() if path.is_file()}


def _is_main(row: Row) -> bool:
    """Whether a row is drawn: errors of the questions, and the overlap of masks; all scores of a label."""
    return row.of == "label" or (row.score == "mae" if row.of == "votes" else row.score.startswith("iou"))


def _name(row: Row) -> str:
    threshold = next((name for name in THRESHOLD_NAMES if row.score.endswith(name)), "")
    score = row.score.removesuffix(f"_{threshold}")
    words = _SCORES.get(score, score.replace("_", " "))
    if row.of in MASK_TITLES:
        return f"{MASK_TITLES[row.of]}: {words}" + (f" at {threshold.replace('of', ' of ')}" if threshold else "")
    part = "all answers" if row.part == ALL else row.part.replace("-", " ")
    return words if row.of == "label" else f"{part}: {words}"


def _text(score: Score, signed: bool) -> str:
    if np.isnan(score.value):
        return "–"
    form = "+.3f" if signed else ".3f"
    return f"{score.value:{form}}\n{score.low:{form}}\u00a0to\u00a0{score.high:{form}}"
