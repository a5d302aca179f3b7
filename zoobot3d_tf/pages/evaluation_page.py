"""The page of an evaluation: scores in words and tables, calibration, and galaxies with their predictions."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from zoobot3d_tf.catalogs.selection import hash_share
from zoobot3d_tf.evaluation.bootstrap import Score
from zoobot3d_tf.evaluation.evaluate import Evaluation, of_each_galaxy
from zoobot3d_tf.evaluation.labels import LabelScores
from zoobot3d_tf.evaluation.masks import THRESHOLD_NAMES, mask_iou
from zoobot3d_tf.evaluation.pairs import Pairs
from zoobot3d_tf.evaluation.scores import ONE_VOLUNTEER, SECOND_GROUP, MaskResults, VoteResults
from zoobot3d_tf.evaluation.votes import ALL, CLEAR_SHARE, CLEAR_VOTES
from zoobot3d_tf.evaluation.words import in_words
from zoobot3d_tf.files import write_atomically
from zoobot3d_tf.images.masks import MASK_TITLES, MASKS, THRESHOLD_IN_WORDS, is_enclosed
from zoobot3d_tf.images.overlay import draw_masks
from zoobot3d_tf.images.read import ImageError
from zoobot3d_tf.labels import Label, prediction_in_words
from zoobot3d_tf.pages import html
from zoobot3d_tf.pages.evaluation_plots import draw_plots

# A question is drawn if at least this fraction of volunteers is expected to be asked. Other questions are only named.
_LIKELY = 0.5

_ABOUT_ERRORS = f"""
Error: mean absolute difference of predicted and observed vote fractions, over the answers of questions that were asked.
Gain: how much smaller it is than for always predicting the mean. Noise floor: the error that predictions of the true
fractions would have, because the fractions of few volunteers scatter. The second line of a number is its
{html.INTERVAL} interval over galaxies."""

_ABOUT_LIKELIHOOD = f"""
Intervals: how often the number of votes lies in its predicted {html.INTERVAL} interval. Likelihood: negative logarithm
of the probability of the votes, per galaxy; low is good. Clear answers: galaxies where at least {CLEAR_SHARE:.0%} of at
least {CLEAR_VOTES} volunteers agree, how often the likeliest predicted answer is theirs, and how often the commonest
answer and one of the volunteers is."""

_ABOUT_UNCERTAINTY = """
Standard deviations of vote fractions. More volunteers would settle the first, more or better training the second. The
third is the spread of galaxies that look alike to the network. Stated in total should be equal to observed in total."""

_ABOUT_MASKS = """
IoU: number of pixels that both enclose, divided by the number that at least one encloses, summed over galaxies; at 3, 5
and 8 of 15 volunteers. Average precision: of pixels ranked by the predicted fraction. Outlines: mean distance of the
outlines in pixels. Brightness: IoU of all pixels above one brightness of the smoothed image, the best one for these
galaxies. One volunteer: IoU with the other volunteers. Second group: IoU of other volunteers who drew the same
galaxies."""

_ABOUT_GALAXIES = f"""
The best and the worst of their kind, and galaxies drawn at random. The colour of a mask is stronger where more
volunteers enclose a pixel. The outline encloses the pixels that at least {THRESHOLD_IN_WORDS} enclose."""


def write_page(
    evaluation: Evaluation, folder: Path, title: str, histories: Mapping[str, pd.DataFrame], n_galaxies: int
) -> Path:
    """Write `index.html` and the plots of an evaluation, as PDF, to a folder.

    The page needs no other file and no internet.

    Args:
        evaluation: scores, and the galaxies to show.
        folder: folder of the page. The plots go to `figures/`.
        title: title of the page.
        histories: `history.csv` by name of the run.
        n_galaxies: largest number of galaxies to show.

    Returns:
        Path of the page.

    Raises:
        OSError: the folder cannot be written.
    """
    scores, label = evaluation.scores, evaluation.pairs.label
    plots = draw_plots(scores, label, histories, folder / "figures")
    content = [
        f"<header>{html.heading(title)}{html.note(_provenance(evaluation))}</header>",
        *(html.note(note) for note in evaluation.notes),
        html.tiles(_headlines(evaluation)),
        html.sentences(in_words(scores, label)),
    ]
    if scores.votes is not None:
        content += _vote_section(scores.votes)
        content += _plot_section("Calibration", plots.get("calibration"))
        content += _uncertainty_section(scores.votes)
        content += _plot_section("Confident volunteers and predictions", plots.get("confusion"))
    if scores.masks:
        content += [*_mask_section(scores.masks), *_plots(plots.get("masks"))]
    if scores.label is not None:
        content += [*_label_section(scores.label), *_plots(plots.get("label"))]
    content += _plot_section("Training", plots.get("losses"))
    content += _galaxy_section(evaluation, n_galaxies)
    page = folder / "index.html"
    write_atomically(page, html.page(title, content))
    return page


def _provenance(evaluation: Evaluation) -> str:
    """Number of scored galaxies, and of galaxies left out with the reasons."""
    left_out = [f"{number:,} {reason}" for reason, number in evaluation.scores.left_out.items()]
    return (
        f"{evaluation.scores.n_galaxies:,} galaxies" + (f"; left out: {'; '.join(left_out)}" if left_out else "") + "."
    )


def _headlines(evaluation: Evaluation) -> list[tuple[str, str, str]]:
    scores, lowest = evaluation.scores, THRESHOLD_NAMES[0]
    figures = [
        (
            f"Overlap of masks: {MASK_TITLES[name]}",
            _number(mask.scores[f"iou_{lowest}"].value, ".2f"),
            f"a brightness threshold reaches {_number(mask.scores[f'brightness_iou_{lowest}'].value, '.2f')}",
        )
        for name, mask in scores.masks.items()
    ]
    if scores.votes is not None:
        votes = scores.votes.numbers[ALL]
        figures += [
            ("Error of vote fractions", f"{votes.mae:.3f}", f"always predicting the mean: {votes.mean_mae:.3f}"),
            (f"Votes in {html.INTERVAL} intervals", f"{votes.coverage:.0%}", f"should be {html.INTERVAL}"),
        ]
    return figures


def _vote_section(votes: VoteResults) -> list[str]:
    errors, others = [], []
    for name, number in votes.numbers.items():
        score = votes.estimates[name]
        question = "all answers" if name == ALL else _words(name)
        errors.append(
            [
                question,
                f"{number.n_galaxies:,}",
                _text(score["mae"], ".3f"),
                _text(score["gain"], "+.0%"),
                _number(number.mean_mae, ".3f"),
                _number(number.uniform_mae, ".3f"),
                _number(number.noise_floor, ".3f"),
            ]
        )
        others.append(
            [
                question,
                _text(score["coverage"], ".0%"),
                _text(score["nll"], ".2f"),
                _number(number.mean_nll, ".2f"),
                f"{number.n_clear:,}",
                _text(score["accuracy"], ".0%"),
                _number(number.mean_accuracy, ".0%"),
                _number(number.volunteer_accuracy, ".0%"),
            ]
        )
    of_errors = ["question", "galaxies", "error", "gain", "predicting the mean", "equal fractions", "noise floor"]
    of_others = ["question", f"in {html.INTERVAL} intervals", "likelihood", "of the mean", "clear answers"]
    of_others += ["right", "commonest answer", "one volunteer"]
    return [
        html.heading("Votes", level=2),
        html.table(of_errors, errors[:-1], total=errors[-1]),
        html.note(_ABOUT_ERRORS),
        html.table(of_others, others[:-1], total=others[-1]),
        html.note(_ABOUT_LIKELIHOOD),
    ]


def _uncertainty_section(votes: VoteResults) -> list[str]:
    if not votes.uncertainty:
        return []
    parts = ["volunteers", "training", "neither", "total", "observed_total"]
    header = ["question", "volunteers", "training", "neither", "stated in total", "observed in total"]
    rows = [
        [_words(question), *(_number(np.sqrt(max(scores[part].value, 0)), ".3f") for part in parts)]
        for question, scores in votes.uncertainty.items()
    ]
    return [
        html.heading("Where the uncertainty comes from", 2),
        html.table(header, rows),
        html.note(_ABOUT_UNCERTAINTY),
    ]


def _mask_section(masks: Mapping[str, MaskResults]) -> list[str]:
    whose = [name for name in (ONE_VOLUNTEER, SECOND_GROUP) if any(name in mask.ceilings for mask in masks.values())]
    header = ["mask", "galaxies", "volunteers", "IoU", "average precision", "outlines", "brightness", *whose]
    rows = []
    for name, mask in masks.items():
        for threshold in THRESHOLD_NAMES:
            ceilings = [mask.ceilings.get(one, {}).get(f"iou_{threshold}") for one in whose]
            rows.append(
                [
                    MASK_TITLES[name],
                    f"{len(mask.table):,}",
                    threshold.replace("of", " of "),
                    _text(mask.scores[f"iou_{threshold}"], ".2f"),
                    _text(mask.scores[f"average_precision_{threshold}"], ".2f"),
                    _text(mask.scores[f"distance_{threshold}"], ".1f"),
                    _number(mask.scores[f"brightness_iou_{threshold}"].value, ".2f"),
                    *(_text(score, ".2f") if score else "–" for score in ceilings),
                ]
            )
    return [html.heading("Masks", level=2), html.table(header, rows), html.note(_ABOUT_MASKS)]


def _label_section(label: LabelScores) -> list[str]:
    rows = [
        [
            f"{_words(line.name)} {line.of_class}".strip(),
            f"{line.n_galaxies:,}",
            _text(line.score, ".3f"),
            f"{line.baseline:.3f} ({line.baseline_name})" if line.baseline_name else "–",
        ]
        for line in label.lines
    ]
    return [html.heading("Label", level=2), html.table(["score", "galaxies", "value", "baseline"], rows)]


def _plot_section(title: str, plots: Sequence[str] | None) -> list[str]:
    return [html.heading(title, level=2), *_plots(plots)] if plots else []


def _plots(plots: Sequence[str] | None) -> list[str]:
    return [html.plots(plots)] if plots else []


def _galaxy_section(evaluation: Evaluation, n_galaxies: int) -> list[str]:
    pairs = evaluation.pairs
    chosen = _choose_galaxies(evaluation, n_galaxies)
    cards = []
    for index, remark in chosen:
        try:
            cards.append(_card(pairs, index, remark))
        except ImageError:
            continue  # already counted by the scores
    about = html.note(f"{len(cards):,} of {len(pairs.catalog):,} galaxies.{_ABOUT_GALAXIES}")
    return [html.heading("Galaxies", level=2), about, html.key(), *cards]


def _choose_galaxies(evaluation: Evaluation, n_galaxies: int) -> list[tuple[int, str]]:
    """Indices of the galaxies to show and why: the best, random ones and the worst, by masks and by votes."""
    table = of_each_galaxy(evaluation)
    qualities = {f"{MASK_TITLES[name]} IoU": table[f"{name}_iou"] for name in evaluation.scores.masks}
    if "fraction_error" in table:
        qualities["error of vote fractions"] = table["fraction_error"]
    by_chance = table["id_str"].map(hash_share).sort_values().index
    n_of_each = max(1, n_galaxies // (3 * max(len(qualities), 1)))
    chosen: dict[int, str] = {}
    for name, quality in qualities.items():
        order = quality.dropna().sort_values(ascending="error" in name).index.tolist()
        random = [index for index in by_chance if index in order and index not in chosen]
        for why, indices in (("best", order), ("random", random), ("worst", order[::-1])):
            for index in indices[:n_of_each]:
                chosen.setdefault(index, f"{why}, {name} {quality[index]:.2f}")
    if not qualities:  # a label alone
        chosen = dict.fromkeys(by_chance[:n_galaxies].tolist(), "random")
    return list(chosen.items())[:n_galaxies]


def _card(pairs: Pairs, index: int, remark: str) -> str:
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
    if pairs.label is not None:
        questions.insert(0, html.question(_words(pairs.label.column), _label_remark(pairs, pairs.label, index), []))
    return html.card(f"{pairs.catalog['id_str'].iloc[index]}: {remark}", figures, questions, unlikely)


def _label_remark(pairs: Pairs, label: Label, index: int) -> str:
    known = pairs.known_label[index]
    if np.isnan(known):
        truth = "unknown"
    else:
        truth = label.class_names[int(known)] if label.class_names else f"{known:.4g}"
    return f"predicted: {prediction_in_words(label, pairs.predicted_label[index])}; catalogue: {truth}"


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


def _text(score: Score, form: str) -> str:
    """A score, and its interval in a second line."""
    if np.isnan(score.value):
        return "–"
    return f"{score.value:{form}}\n{score.low:{form}}\u00a0to\u00a0{score.high:{form}}"


def _number(value: float, form: str) -> str:
    return "–" if np.isnan(value) else format(value, form)
