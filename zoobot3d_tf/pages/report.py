"""The report: one page with the scores of predictions, and galaxies with predicted and true masks and votes."""

from pathlib import Path

import numpy as np

from zoobot3d_tf.evaluation.masks import MaskScores, mask_iou
from zoobot3d_tf.evaluation.pairs import Pairs, read_pairs
from zoobot3d_tf.evaluation.scores import Scores, score_pairs
from zoobot3d_tf.evaluation.votes import VoteScores
from zoobot3d_tf.files import PathLike, path_of, write_atomically
from zoobot3d_tf.images.masks import MASK_TITLES, MASKS, is_enclosed
from zoobot3d_tf.images.overlay import draw_masks
from zoobot3d_tf.images.read import ImageError
from zoobot3d_tf.inference.metadata import read_metadata
from zoobot3d_tf.pages import html
from zoobot3d_tf.schemas import Schema

# A question is drawn if at least this fraction of volunteers is expected to be asked. Other questions are only named.
_LIKELY = 0.5

_ABOUT_MASKS = f"""
Overlap (IoU, intersection over union): the number of pixels that both the model and the volunteers enclose, divided by
the number of pixels that the model or the volunteers enclose, summed over all galaxies; 1 is perfect. A pixel is
enclosed if at least {html.THRESHOLD} enclose it. Brightness threshold: the IoU of a mask of all pixels above one
brightness of the smoothed image; the threshold is the best one for the scored galaxies. Error: the mean absolute
difference between the predicted and the observed fraction of volunteers, per pixel. Most pixels are empty sky, so
compare the error with the error of a blank mask."""

_ABOUT_VOTES = f"""
Error: the mean absolute difference between the predicted and the observed vote fraction, over the answers of all
questions that were asked. Predicting the mean: the error if the mean fractions of the scored galaxies are predicted for
every galaxy. Gain: how much smaller the error of the model is. Noise floor: the error that predictions of the true
fractions would have, because the fractions of few volunteers scatter; no model can be expected to have a smaller error.
Intervals: how often the number of votes lies in its predicted {html.INTERVAL} interval. The best value is
{html.INTERVAL}. If it is larger, the intervals are too wide; if it is smaller, they are too narrow."""

_ABOUT_GALAXIES = f""".
They are chosen in the order of the catalogue, galaxies with known masks first; the choice does not depend on the
predictions. Galaxies with the largest masks of volunteers are shown first. The colour of a mask is stronger where more
volunteers enclose a pixel. The outline encloses the pixels that at least {html.THRESHOLD} enclose."""


def write_report(
    predictions_path: PathLike,
    catalog_path: PathLike,
    schema: Schema | None,
    out: PathLike,
    n_galaxies: int = 24,
    title: str = "Predicted Galaxy Zoo votes and masks",
    image_root: PathLike | None = None,
    missing_questions_unasked: bool = False,
) -> Path:
    """Write the scores, and some galaxies with their predictions, to one HTML page.

    The page needs no other file and no internet. Galaxies are chosen in the order of the catalogue, galaxies with
    known masks first; the choice does not depend on the predictions.

    Args:
        predictions_path: table of predictions: CSV, Parquet or HDF5.
        catalog_path: labelled catalogue of the same galaxies.
        schema: decision tree; None for the tree in the metadata of the predictions.
        out: page to write, .html. Its folder is made if it is missing.
        n_galaxies: largest number of galaxies to show.
        title: title of the page.
        image_root: folder that relative paths in the catalogue start from; by default the folder of the catalogue.
        missing_questions_unasked: accept a catalogue without the columns of some questions: nobody was asked these
            questions.

    Returns:
        Path of the page.

    Raises:
        FileNotFoundError: a table does not exist.
        ValueError: the suffix of the page is not .html or .htm, or as in `evaluation.pairs.read_pairs`.
        OSError: the page cannot be written.
    """
    out = html.check_page(out)
    pairs = read_pairs(predictions_path, catalog_path, schema, image_root, missing_questions_unasked)
    scores = score_pairs(pairs)
    provenance = _provenance(scores, read_metadata(path_of(predictions_path)).get("note"))
    shown = _choose_galaxies(pairs, n_galaxies)
    content = [
        f"<header>{html.heading(title)}{html.note(provenance)}</header>",
        html.tiles(_headlines(scores)),
        *_mask_section(scores.masks),
        *_vote_section(scores.votes),
        html.heading("Galaxies", level=2),
        html.note(f"{len(shown):,} of {scores.n_galaxies:,} galaxies{_ABOUT_GALAXIES}"),
        html.key(),
        *(_card(pairs, index) for index in shown),
    ]
    write_atomically(out, html.page(title, content))
    return out


def _choose_galaxies(pairs: Pairs, n_galaxies: int) -> list[int]:
    """Indices of the galaxies to show, ordered by the number of pixels that volunteers enclosed."""
    drawn: dict[int, int] = {}
    for index in np.lexsort([~pairs.catalog["has_votes"].to_numpy(), -pairs.comparable_masks()]):
        if len(drawn) == n_galaxies:
            break
        try:
            masks = pairs.read_pictures(index).true.values()
        except ImageError:
            continue  # already counted by the scores
        drawn[int(index)] = sum(int(np.count_nonzero(is_enclosed(mask))) for mask in masks)
    return sorted(drawn, key=lambda index: -drawn[index])


def _provenance(scores: Scores, note: str | None) -> str:
    """Number of scored galaxies, of galaxies left out and why, and the note of the network."""
    unreadable = {"with an image or mask that cannot be read": scores.n_unreadable} if scores.n_unreadable else {}
    left_out = [f"{number:,} {reason}" for reason, number in (scores.left_out | unreadable).items()]
    galaxies = f"{scores.n_galaxies:,} galaxies" + (f"; left out: {', '.join(left_out)}" if left_out else "") + "."
    return f"{galaxies} Predicted with {note}." if note else galaxies


def _headlines(scores: Scores) -> list[tuple[str, str, str]]:
    figures = [
        (
            f"Overlap of masks: {MASK_TITLES[name]}",
            _number(mask.iou, ".2f"),
            f"intersection over union; a brightness threshold reaches {_number(mask.brightness_iou, '.2f')}",
        )
        for name, mask in scores.masks.items()
    ]
    if votes := scores.votes.get("all"):
        gain, times_floor = _number(votes.gain, ".0%"), _number(votes.times_floor, ".2f")
        figures += [
            (
                "Error of vote fractions",
                f"{votes.mae:.3f}",
                f"gain of {gain} compared with always predicting the mean; {times_floor} times the noise floor",
            ),
            (
                f"Votes in {html.INTERVAL} intervals",
                f"{votes.coverage:.0%}",
                "intervals of the number of votes, which include the scatter of few volunteers",
            ),
        ]
    return figures


def _mask_section(masks: dict[str, MaskScores]) -> list[str]:
    if not masks:
        return []
    header = ["mask", "galaxies", "overlap (IoU)", "brightness threshold", "error", "error of a blank mask"]
    rows = [
        [
            MASK_TITLES[name],
            f"{mask.n_galaxies:,}",
            _number(mask.iou, ".3f"),
            _number(mask.brightness_iou, ".3f"),
            f"{mask.mae:.4f}",
            f"{mask.blank_mae:.4f}",
        ]
        for name, mask in masks.items()
    ]
    return [html.heading("Masks", level=2), html.table(header, rows), html.note(_ABOUT_MASKS)]


def _vote_section(votes: dict[str, VoteScores]) -> list[str]:
    if not votes:
        return []
    header = ["question", "galaxies", "error", "predicting the mean", "gain", "noise floor"]
    header += [f"votes in {html.INTERVAL} intervals"]
    rows = [
        [
            "all answers" if name == "all" else _words(name),
            f"{score.n_galaxies:,}",
            f"{score.mae:.3f}",
            f"{score.mean_mae:.3f}",
            _number(score.gain, "+.0%"),
            f"{score.noise_floor:.3f}",
            f"{score.coverage:.0%}",
        ]
        for name, score in votes.items()
    ]
    return [
        html.heading("Votes", level=2),
        html.table(header, rows[:-1], total=rows[-1]),
        html.note(_ABOUT_VOTES),
    ]


def _card(pairs: Pairs, index: int) -> str:
    pictures = pairs.read_pictures(index)
    figures = [html.figure(pictures.image, "image")]
    if pairs.predicted_masks:
        overlaps = [
            f"{MASK_TITLES[name]} IoU {iou:.2f}"
            for name in MASKS
            if name in pictures.predicted
            and name in pictures.true
            and not np.isnan(iou := mask_iou([pictures.predicted[name]], [pictures.true[name]]))
        ]
        figures += [
            html.figure(_overlay(pictures.image, pictures.predicted), "predicted masks", ", ".join(overlaps)),
            html.figure(_overlay(pictures.image, pictures.true), "volunteers’ masks", _drawn(pictures.true)),
        ]
    questions, unlikely = _questions(pairs, index)
    return html.card(pairs.catalog["id_str"].iloc[index], figures, questions, unlikely)


def _overlay(image: np.ndarray, masks: dict[str, np.ndarray]) -> np.ndarray | None:
    return draw_masks(image, masks.get("spiral_mask"), masks.get("bar_mask")) if masks else None


def _drawn(true: dict[str, np.ndarray]) -> str:
    blank = [MASK_TITLES[name] for name, mask in true.items() if not is_enclosed(mask).any()]
    return f"no {' and no '.join(blank)}" if blank else ""


def _questions(pairs: Pairs, index: int) -> tuple[list[str], str]:
    """Likely questions with one bar per answer, and a line that names the other questions."""
    predicted = pairs.predicted_votes
    if predicted is None or pairs.schema is None:
        return [], ""
    votes = pairs.votes[index]
    drawn, unlikely = [], []
    for question, part, asked in zip(pairs.schema.questions, pairs.schema.slices, predicted.asked[index], strict=True):
        n_asked = int(votes[part].sum())
        if asked < _LIKELY:
            unlikely.append(f"{_words(question.text)} ({asked:.0%})")
            continue
        remark = f"{n_asked} volunteers" if n_asked else "not asked"
        bars = [
            html.Bar(
                label=_words(answer.label),
                fraction=predicted.fraction[index, answer.index],
                low=predicted.low[index, answer.index],
                high=predicted.high[index, answer.index],
                n_votes=votes[answer.index],
                n_asked=n_asked,
            )
            for answer in question.answers
        ]
        drawn.append(html.question(_words(question.text), remark, bars))
    return drawn, f"Unlikely to be asked: {', '.join(unlikely)}" if unlikely else ""


def _words(name: str) -> str:
    return name.replace("-", " ").replace("_", " ")


def _number(value: float, form: str) -> str:
    return "–" if np.isnan(value) else format(value, form)
