"""The page of an active learning experiment: scores, uncertainty and numbers of each iteration, and what was asked."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from zoobot3d_tf.active_learning.database import open_database
from zoobot3d_tf.active_learning.plan import Plan
from zoobot3d_tf.active_learning.simulation import finished_iterations
from zoobot3d_tf.evaluation.plots import COLOURS, Words, save
from zoobot3d_tf.files import PathLike, path_of, write_atomically
from zoobot3d_tf.inference.source_images import read_images
from zoobot3d_tf.pages import html
from zoobot3d_tf.predictions.results import INTERVAL_LEVEL
from zoobot3d_tf.shards.manifest import read_manifest

TIMELINE_NAME = "timeline.html"
"""Name of the page in the folder of an experiment."""

_N_IMAGES = 12
_LABELS = "labelled galaxies"

_ABOUT_SCORES = f"""
All iterations are scored on the same evaluation galaxies, which also choose the best epoch of each training. Error:
mean absolute difference of predicted and observed vote fractions. Likelihood: negative logarithm of the probability of
the votes, per galaxy; low is good. Mean votes: always predicting the mean of the training galaxies. Intervals: how
often the number of votes lies in its predicted {html.INTERVAL} interval. Shaded: {html.INTERVAL} interval over
galaxies."""

_ABOUT_UNCERTAINTY = """
Mean information of the next vote about the model (mutual information, in nats, summed down the tree): what the model
does not know, and labels could tell. Asked: the galaxies of an iteration when they were chosen. Before and after: the
galaxies whose votes an iteration received, when they were asked, and after the model had learned the votes. Candidates
and evaluation galaxies are measured anew in each iteration."""

_Curves = Mapping[str, Sequence[tuple[float, float, float, float]]]


def write_timeline(instructions_dir: PathLike, n_images: int = _N_IMAGES) -> Path:
    """Write `timeline.html` and its plots, as PDF, to the folder of an experiment.

    The page needs no other file and no internet.

    Args:
        instructions_dir: folder of the settings, as `plan.create_instructions` returns it.
        n_images: largest number of galaxies to show of each iteration.

    Returns:
        Path of the page.

    Raises:
        FileNotFoundError: a file of the experiment is missing.
        ValueError: no iteration is finished, or a file is damaged.
        OSError: the page cannot be written.
    """
    plan = Plan.load(path_of(instructions_dir))
    instructions = plan.instructions
    metrics = finished_iterations(instructions)
    if not metrics:
        raise ValueError(f"{instructions.experiment_dir}: no iteration is finished; there is nothing to show")
    with open_database(instructions.db_loc) as database:
        galaxies = database.galaxies()
        answers = [database.answered_in(one["number"]) for one in metrics]
    figures = instructions.experiment_dir / "figures"
    figures.mkdir(exist_ok=True)
    title = f"Active learning: {instructions.experiment_dir.name}"
    content = [
        f"<header>{html.heading(title)}{html.note(_settings(plan))}</header>",
        html.tiles(_headlines(metrics, galaxies)),
        html.heading("Score against labels", level=2),
        html.plots([save(partial(draw_lines, **plot), figures / f"{name}.pdf") for name, plot in _scores(metrics)]),
        _score_table(metrics),
        html.note(_ABOUT_SCORES),
        html.heading("Uncertainty before and after", level=2),
        html.plots(
            [save(partial(draw_lines, **plot), figures / f"{name}.pdf") for name, plot in _uncertainty(metrics)]
        ),
        _asked_table(metrics),
        html.note(_ABOUT_UNCERTAINTY),
        html.heading("What was asked", level=2),
        *_asked(plan, metrics, galaxies, pd.concat(answers, ignore_index=True), n_images),
    ]
    page = instructions.experiment_dir / TIMELINE_NAME
    write_atomically(page, html.page(title, content))
    return page


def draw_lines(figure: Figure, curves: _Curves, words: Words, level: float | None = None) -> None:
    """Draw curves with intervals.

    Args:
        figure: figure to draw into.
        curves: by name, points of x, y, and the lower and upper ends of the interval of y; NaN where there is none.
        words: words of the plot.
        level: value of y to mark with a line; None for no line.
    """
    axes = figure.add_subplot()
    if level is not None:
        axes.axhline(level, color="0.7", linewidth=1, linestyle="--")
    for place, (name, points) in enumerate(curves.items()):
        x, y, low, high = np.array(points, np.float64).T
        colour = COLOURS[place % len(COLOURS)]
        axes.plot(x, y, "o-", color=colour, markersize=3.5, linewidth=1.2, label=name)
        axes.fill_between(x, low, high, color=colour, alpha=0.2, linewidth=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.spines[["top", "right"]].set_visible(False)
    axes.set(xlabel=words.x, ylabel=words.y)
    axes.set_title(words.title, fontsize=10)
    if len(curves) > 1:
        axes.legend(frameon=False, fontsize=8)


def _settings(plan: Plan) -> str:
    instructions, training = plan.instructions, plan.training
    who = "volunteers of Zooniverse" if instructions.panoptes else "a simulated oracle"
    start = "goes on from the iteration before" if training.warm_start else "begins from scratch in each iteration"
    diverse = ", different from each other" if plan.acquisition.diverse else ""
    return (
        f"Each iteration asks {who} about {instructions.subjects_per_iter:,} galaxies, chosen by "
        f"{plan.acquisition.name.replace('-', ' ')}{diverse}. Training {start}."
    )


def _headlines(metrics: Sequence[dict[str, Any]], galaxies: pd.DataFrame) -> list[tuple[str, str, str]]:
    first, last = metrics[0], metrics[-1]
    pool = galaxies[galaxies["split"] == "unlabelled"]
    n_asked, n_answered = pool["asked"].notna().sum(), pool["answered"].notna().sum()
    before, after = (one["scores"]["mae"]["value"] for one in (first, last))
    return [
        ("Labelled galaxies", f"{last['n_labelled']:,}", f"at the beginning: {first['n_labelled']:,}"),
        ("Error of vote fractions", _number(after), f"at the beginning: {_number(before)}"),
        ("Asked", f"{n_asked:,}", f"{n_asked / len(pool):.1%} of {len(pool):,}; answered: {n_answered:,}"),
        (
            f"Votes in {html.INTERVAL} intervals",
            _number(last["scores"]["coverage"]["value"], ".0%"),
            f"should be {html.INTERVAL}; at the beginning: {_number(first['scores']['coverage']['value'], '.0%')}",
        ),
    ]


def _scores(metrics: Sequence[dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    def curve(score: str) -> list[tuple[float, float, float, float]]:
        found = [one["scores"][score] for one in metrics]
        ends = [[np.nan if one[end] is None else one[end] for end in ("value", "low", "high")] for one in found]
        return [(one["n_labelled"], value, low, high) for one, (value, low, high) in zip(metrics, ends, strict=True)]

    def without_interval(score: str) -> list[tuple[float, float, float, float]]:
        return [(x, y, np.nan, np.nan) for x, y, _, _ in curve(score)]

    plots: list[tuple[str, dict[str, Any]]] = []
    for name, mean, text in (("mae", "mean_mae", "error of vote fractions"), ("nll", "mean_nll", "likelihood")):
        curves = {"model": curve(name), "mean votes": without_interval(mean)}
        plots.append((name, {"curves": curves, "words": Words(text.capitalize(), _LABELS, text)}))
    words = Words(f"Votes in {html.INTERVAL} intervals", _LABELS, "share of votes inside")
    plots.append(("coverage", {"curves": {"model": curve("coverage")}, "words": words, "level": INTERVAL_LEVEL}))
    return plots


def _uncertainty(metrics: Sequence[dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    axes = ("iteration", "mutual information (nats)")
    plots = []
    for name, title, groups in (
        ("answered", "Galaxies that were answered", {"answered_before": "before", "answered_after": "after"}),
        (
            "uncertainty",
            "All galaxies",
            {"asked": "asked", "candidates": "candidates", "evaluation": "evaluation galaxies"},
        ),
    ):
        known = {
            words: [
                (one["number"], value, np.nan, np.nan)
                for one in metrics
                if (value := one["information"][group]) is not None
            ]
            for group, words in groups.items()
        }
        curves = {words: points for words, points in known.items() if points}
        if curves:
            plots.append((name, {"curves": curves, "words": Words(title, *axes)}))
    return plots


def _score_table(metrics: Sequence[dict[str, Any]]) -> str:
    forms = {"mae": ".3f", "nll": ".2f", "accuracy": ".0%", "coverage": ".0%"}
    header = ["iteration", _LABELS, "error", "likelihood", "confident volunteers", f"in {html.INTERVAL} intervals"]
    rows = [
        [
            str(one["number"]),
            f"{one['n_labelled']:,}",
            *(_score(one["scores"][name], form) for name, form in forms.items()),
        ]
        for one in metrics
    ]
    return html.table(header, rows)


def _asked_table(metrics: Sequence[dict[str, Any]]) -> str:
    header = ["iteration", "answers received", "candidates", "asked", "without answer"]
    header += ["asked (nats)", "before (nats)", "after (nats)"]
    numbers = ("n_answered", "n_candidates", "n_asked", "n_waiting")
    groups = ("asked", "answered_before", "answered_after")
    rows = [
        [
            str(one["number"]),
            *(f"{one[name]:,}" for name in numbers),
            *(_number(one["information"][name], ".4f") for name in groups),
        ]
        for one in metrics
    ]
    return html.table(header, rows)


def _asked(
    plan: Plan, metrics: Sequence[dict[str, Any]], galaxies: pd.DataFrame, answers: pd.DataFrame, n_images: int
) -> list[str]:
    """Images of the first galaxies of each iteration, with their scores and what the volunteers answered."""
    instructions = plan.instructions
    stretch = read_manifest(instructions.shard_dir).stretch
    votes = answers.set_index("id_str")
    content = []
    for one in metrics:
        asked = galaxies[galaxies["asked"] == one["number"]].sort_values("rank").head(n_images)
        places = asked.assign(file_loc=[str(instructions.shard_dir / shard) for shard in asked["shard"]])
        pictures = [
            html.figure(image if isinstance(image, np.ndarray) else None, row.id_str, _remark(plan, row, votes))
            for row, image in zip(asked.itertuples(), read_images(places, stretch), strict=True)
        ]
        title = f"Iteration {one['number']}: {len(pictures)} of {one['n_asked']:,} galaxies"
        content += [html.heading(title, level=3), html.thumbnails(pictures)]
    score = plan.acquisition.name.replace("-", " ")
    words = f"The first choices of each iteration: score ({score}), and the commonest answer to the first question."
    return [html.note(words), *content]


def _remark(plan: Plan, galaxy: Any, votes: pd.DataFrame) -> str:
    """Score of a galaxy, and the commonest answer to the first question."""
    score = f"{galaxy.score:.3g}"
    if galaxy.id_str not in votes.index:
        return f"{score}; no answer yet"
    question = plan.instructions.schema.questions[0]
    counts = votes.loc[galaxy.id_str, [answer.text for answer in question.answers]].to_numpy(int)
    label = question.answers[int(counts.argmax())].label
    return f"{score}; {label.replace('-', ' ')} {counts.max()}/{counts.sum()}"


def _score(score: Mapping[str, float | None], form: str) -> str:
    if score["value"] is None:
        return "–"
    return f"{_number(score['value'], form)}\n{_number(score['low'], form)} to {_number(score['high'], form)}"


def _number(value: float | None, form: str = ".3f") -> str:
    return "–" if value is None else format(value, form)
