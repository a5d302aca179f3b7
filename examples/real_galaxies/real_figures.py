"""The figures that say how good predictions are on real galaxies.

All functions take labels of test galaxies, and the predictions of several models for the same galaxies. Predictions are
tables with the columns `<answer>_fraction` of `zoobot3d predict`, by the name of the model.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from zoobot3d_tf.catalogs.training_catalog import read_training_catalog
from zoobot3d_tf.evaluation.bootstrap import Score, bootstrap_score, ratio_score
from zoobot3d_tf.evaluation.ceilings import group_ceilings
from zoobot3d_tf.evaluation.labels import Ranking
from zoobot3d_tf.evaluation.masks import THRESHOLD_NAMES, MaskSums, MaskTable, mask_values, smoothed_brightness
from zoobot3d_tf.evaluation.pairs import Pairs, read_pairs
from zoobot3d_tf.evaluation.votes import CLEAR_SHARE, CLEAR_VOTES, clear_answers, noise_floor
from zoobot3d_tf.images.masks import MASK_TITLES
from zoobot3d_tf.schemas import Schema, get_schema

ANSWERS = pd.read_csv(Path(__file__).with_name("answers.csv"), dtype=str, keep_default_na=False)
"""Answers that the figures know, with their columns in predictions and votes, and their texts on galaxyzoo.org."""
QUESTIONS = pd.read_csv(Path(__file__).with_name("questions.csv"), dtype=str).set_index("text")["question"]
"""Questions by their texts on galaxyzoo.org."""

GAINS = {
    "featured": ("smooth-or-featured", "featured"),
    "smooth": ("smooth-or-featured", "smooth"),
    "edge-on": ("disk-edge-on", "yes"),
    "spiral": ("has-spiral-arms", "yes"),
    "bar": ("bar", "yes"),
    "round": ("how-rounded", "round"),
}
"""Answers whose vote fractions are scored, by the name of the figure."""
CLEAR_QUESTIONS = ("smooth-or-featured", "disk-edge-on", "has-spiral-arms", "bar", "how-rounded")
RING_SHARE, NO_RING_SHARE = 0.5, 0.1
"""Share of the votes on the odd feature from which a galaxy has a ring, and below which it has none."""
RING_VOTES = 3
"""Smallest number of volunteers who saw an odd feature, for a galaxy to have a ring."""
SPIRALS = ("spiral-clockwise", "spiral-anticlockwise", "spiral-edge-on")

Tables = Mapping[str, pd.DataFrame]


@dataclass(frozen=True)
class Figure:
    """One figure of several models.

    Attributes:
        name: what is measured.
        n_galaxies: number of galaxies (or images) that are scored.
        scores: scores by the name of the model; models that do not predict what is needed are absent.
        baseline: score of the baseline; NaN if there is none.
        baseline_name: what the baseline does.
        human: score of the volunteers, or of the true fractions; NaN if it is not known.
        human_name: what that score is.
        percent: whether the scores are shown in percent.
    """

    name: str
    n_galaxies: int
    scores: Mapping[str, Score]
    baseline: float
    baseline_name: str
    human: float = float("nan")
    human_name: str = ""
    percent: bool = False


def predicted_fraction(table: pd.DataFrame, question: str, answer: str) -> np.ndarray | None:
    """Find the predicted vote fraction of an answer, whichever tree was predicted.

    Args:
        table: predictions.
        question: question of `ANSWERS`.
        answer: its answer.

    Returns:
        Fractions, float, shape (galaxies,); None if the tree of the predictions has no such answer.
    """
    for alternative in _row(question, answer)["predicted"].split("|"):
        columns = [f"{column}_fraction" for column in alternative.split("+")]
        if set(columns) <= set(table.columns):
            return table[columns].to_numpy(float).sum(axis=1)
    return None


def vote_figures(labels: pd.DataFrame, training: pd.DataFrame, tables: Tables) -> list[Figure]:
    """Score vote fractions of Galaxy Zoo 2: the gain over always predicting the mean.

    The error is the mean absolute difference of predicted and observed vote fractions. Galaxies are weighted by their
    number of votes on the question: the fractions of questions that reached one or two volunteers are noise, and no
    limit needs to be chosen. The gain is 1 - error / error of the mean. The mean is that of the votes on the training
    galaxies. The gain of the true fractions is estimated with `noise_floor`.

    Args:
        labels: votes in the tree `gz2_ortho`, one row per test galaxy.
        training: votes of training galaxies.
        tables: predictions of the test galaxies.

    Returns:
        One figure per answer of `GAINS`, and their mean.
    """
    schema = get_schema("gz2_ortho")
    floors = noise_floor(labels[schema.label_cols].to_numpy(float), schema)
    weights, errors_of_mean, floor_errors = [], [], []
    errors: dict[str, list[np.ndarray]] = {model: [] for model in tables}
    for question, answer in GAINS.values():
        columns, number = gz2_columns(question), gz2_column(question, answer)
        votes, n_votes = labels[number].to_numpy(float), labels[columns].to_numpy(float).sum(axis=1)
        observed = votes / np.maximum(n_votes, 1)
        mean = _ratio(training[number].sum(), training[columns].to_numpy().sum())
        weights.append(n_votes)
        errors_of_mean.append(n_votes * np.abs(observed - mean))
        floor_errors.append(n_votes * np.nan_to_num(floors[:, schema.label_cols.index(number)]))
        for model, table in tables.items():
            fraction = predicted_fraction(table, question, answer)
            if fraction is not None:
                errors[model].append(n_votes * np.abs(observed - fraction))
    names = [*(f"{name}: gain over the mean" for name in GAINS), "mean gain of these answers"]
    parts = [*([i] for i in range(len(GAINS))), list(range(len(GAINS)))]
    complete = {model: error for model, error in errors.items() if len(error) == len(GAINS)}
    return [
        Figure(
            name,
            int((np.array(weights)[part].sum(axis=0) > 0).sum()),
            {
                model: bootstrap_score(lambda rows, e=error, p=part: mean_gain(e, errors_of_mean, p, rows), len(labels))
                for model, error in complete.items()
            },
            0.0,
            "the mean of the training galaxies",
            mean_gain(floor_errors, errors_of_mean, part),
            "the true fractions",
            percent=True,
        )
        for name, part in zip(names, parts, strict=True)
    ]


def mean_gain(
    errors: Sequence[np.ndarray],
    errors_of_mean: Sequence[np.ndarray],
    answers: Sequence[int],
    rows: np.ndarray | slice = slice(None),
) -> float:
    """Compute the mean over answers of 1 - error / error of the mean.

    Args:
        errors: weighted errors of each galaxy, one array (galaxies,) per answer.
        errors_of_mean: weighted errors of always predicting the mean, likewise.
        answers: indices of the answers.
        rows: indices of the galaxies.
    """
    gains = [1 - _ratio(errors[i][rows].sum(), errors_of_mean[i][rows].sum()) for i in answers]
    return float(np.mean(gains))


def clear_figures(labels: pd.DataFrame, training: pd.DataFrame, tables: Tables) -> list[Figure]:
    """Score answers where volunteers agree: how often the answer with the highest fraction is theirs.

    A galaxy counts if at least `CLEAR_VOTES` volunteers were asked and at least `CLEAR_SHARE` of them gave one answer.

    Args:
        labels: votes in the tree `gz2_ortho`, one row per test galaxy.
        training: votes of training galaxies.
        tables: predictions of the test galaxies.

    Returns:
        One figure per question of `CLEAR_QUESTIONS` that has a clear galaxy.
    """
    figures = []
    for question in CLEAR_QUESTIONS:
        answers = answers_of(question)
        known, share = clear_answers(labels[gz2_columns(question)].to_numpy(float))
        clear = known >= 0
        if not clear.any():
            continue
        known, share = known[clear], share[clear]
        usual, _ = clear_answers(training[gz2_columns(question)].to_numpy(float))
        usual = usual[usual >= 0]
        commonest = np.bincount(usual, minlength=len(answers)).argmax() if len(usual) else -1
        scores = {}
        for model, table in tables.items():
            chosen = likeliest(table[clear], question, answers)
            if chosen is not None:
                scores[model] = share_of_hits(chosen == known)
        figures.append(
            Figure(
                f"{question}: right where {CLEAR_SHARE:.0%} of at least {CLEAR_VOTES} volunteers agree",
                int(clear.sum()),
                scores,
                float(np.mean(known == commonest)) if commonest >= 0 else float("nan"),
                "the commonest answer of the training galaxies",
                float(share.mean()),
                "one volunteer",
                percent=True,
            )
        )
    return figures


def example_figures(labels: pd.DataFrame, tables: Tables) -> list[Figure]:
    """Score the images that the makers of Galaxy Zoo chose to illustrate an answer.

    An example is right if the illustrated answer has the highest predicted fraction of the answers of its question. An
    image may illustrate answers of several questions. Questions that one of the models does not predict are left out.

    Args:
        labels: `survey`, `question` and `answer` (texts) of each example, indexed by the image; an image may repeat.
        tables: predictions of the images.

    Returns:
        One figure for all examples and one per survey. The baseline gives the commonest answer of each question.
    """
    images, image_of = np.unique(labels.index, return_inverse=True)
    known = pd.DataFrame(
        {
            "survey": labels["survey"].to_numpy(),
            "question": labels["question"].map(QUESTIONS).to_numpy(),
            "image": image_of,
        }
    )
    known["answer"] = [
        _answer_of(question, text) for question, text in zip(known["question"], labels["answer"], strict=True)
    ]
    known = known[known["answer"] != ""]
    right: dict[str, np.ndarray] = {model: np.zeros(len(known), bool) for model in tables}
    is_scored = np.zeros(len(known), bool)
    for question in known["question"].unique():
        rows = (known["question"] == question).to_numpy()
        answers = answers_of(question)
        chosen = {model: likeliest(table.loc[images], question, answers) for model, table in tables.items()}
        if any(answer is None for answer in chosen.values()):
            continue
        is_scored |= rows
        for model, answer in chosen.items():
            right[model][rows] = np.array(answers)[answer[known["image"][rows]]] == known["answer"][rows]
    figures = []
    for survey in ("all", *known["survey"][is_scored].unique()):
        rows = is_scored & ((known["survey"] == survey).to_numpy() | (survey == "all"))
        if not rows.any():
            continue
        part = known[rows]
        commonest = part.groupby("question")["answer"].agg(lambda answers: answers.value_counts().iloc[0])
        n_of_image = np.bincount(part["image"], minlength=len(images))
        figures.append(
            Figure(
                f"answers illustrated, {'all surveys' if survey == 'all' else survey}: right",
                int((n_of_image > 0).sum()),
                {
                    model: _share_by_image(hits[rows], part["image"].to_numpy(), n_of_image)
                    for model, hits in right.items()
                },
                commonest.sum() / len(part),
                "the commonest answer of each question",
                percent=True,
            )
        )
    return figures


def class_figures(labels: pd.DataFrame, tables: Tables) -> list[Figure]:
    """Score classes of Galaxy Zoo 1: does the fraction `featured` separate spirals from ellipticals?

    Args:
        labels: `gz1_class` of each test galaxy.
        tables: predictions of the test galaxies.

    Returns:
        The area under the ROC curve for all spirals, and for each class of `SPIRALS`, against ellipticals.
    """
    classes = labels["gz1_class"].to_numpy()
    groups = {"spirals": SPIRALS} | {name: (name,) for name in SPIRALS}
    featured = {model: predicted_fraction(table, *GAINS["featured"]) for model, table in tables.items()}
    figures = [
        _auc_figure(
            f"{name} against ellipticals: AUC of featured",
            np.isin(classes, group),
            classes == "elliptical",
            featured,
        )
        for name, group in groups.items()
    ]
    return [figure for figure in figures if figure is not None]


def decals_vote_figures(labels: pd.DataFrame, training: pd.DataFrame, tables: Tables) -> list[Figure]:
    """Score vote fractions of DECaLS: the mean absolute error over the answers smooth, featured and artifact.

    Args:
        labels: votes on `smooth-or-featured` with the columns of the tree `decals`, one row per test galaxy.
        training: votes of training galaxies.
        tables: predictions of the test galaxies.

    Returns:
        One figure.
    """
    question = "smooth-or-featured"
    answers = answers_of(question)
    columns = [_row(question, answer)["predicted"] for answer in answers]
    schema = Schema({question: [column.removeprefix(question) for column in columns]}, {question: None}, "decals")
    votes = labels[columns].to_numpy(float)
    observed = votes / votes.sum(axis=1, keepdims=True)
    known = training[columns].to_numpy(float)
    means = (known / known.sum(axis=1, keepdims=True)).mean(axis=0)
    scores = {}
    for model, table in tables.items():
        fractions = [predicted_fraction(table, question, answer) for answer in answers]
        if all(fraction is not None for fraction in fractions):
            error = np.abs(np.stack(fractions, axis=1) - observed).mean(axis=1)
            scores[model] = ratio_score(error)
    return [
        Figure(
            "smooth, featured and artifact: mean error of fractions (low is good)",
            len(labels),
            scores,
            float(np.abs(observed - means).mean()),
            "the mean of the training galaxies",
            float(np.nanmean(noise_floor(votes, schema))),
            "the true fractions",
        )
    ]


def gz2_ring_figures(labels: pd.DataFrame, tables: Tables) -> list[Figure]:
    """Score rings of Galaxy Zoo 2. Of volunteers who saw an odd feature, more than `RING_SHARE` said that it is a ring.

    Args:
        labels: `odd_ring_fraction`, the share of rings among the odd features; and `odd_yes_votes`, the number of
            volunteers who saw one.
        tables: predictions of the test galaxies.

    Returns:
        The area under the ROC curve, against galaxies with less than `NO_RING_SHARE`; nothing if no model predicts
        rings.
    """
    share, n_votes = (pd.to_numeric(labels[name]).fillna(0) for name in ("odd_ring_fraction", "odd_yes_votes"))
    has_ring = ((share > RING_SHARE) & (n_votes >= RING_VOTES)).to_numpy()
    return _ring_figures(has_ring, (share < NO_RING_SHARE).to_numpy(), tables)


def decals_ring_figures(labels: pd.DataFrame, tables: Tables) -> list[Figure]:
    """Score rings of DECaLS.

    Args:
        labels: `ring`, 0 or 1.
        tables: predictions of the test galaxies.

    Returns:
        The area under the ROC curve; nothing if no model predicts rings.
    """
    has_ring = labels["ring"].to_numpy(int) == 1
    return _ring_figures(has_ring, ~has_ring, tables)


def mask_figures(
    predictions: Mapping[str, Path], catalog_loc: Path, second_group_loc: Path | None, is_test: Callable[[str], bool]
) -> list[Figure]:
    """Score masks of arms and bars: the intersection over union where a fifth of the volunteers drew.

    Pixels are summed over galaxies. The baseline is `brightness_baseline`. The human score is that of a second group of
    volunteers, for the galaxies that were drawn twice.

    Args:
        predictions: tables of predictions with masks, by model.
        catalog_loc: catalogue with the masks of volunteers.
        second_group_loc: catalogue with the masks of the second group; None if there is none.
        is_test: whether the galaxy with an id is to be scored.

    Returns:
        One figure per mask that is known and predicted. Galaxies that one of the tables lacks are left out.
    """
    pairs = {
        model: read_pairs(loc, catalog_loc, None, missing_questions_unasked=True) for model, loc in predictions.items()
    }
    in_all = set.intersection(*(set(pair.catalog["id_str"]) for pair in pairs.values()))
    scored = sorted(id_str for id_str in in_all if is_test(id_str))
    human = _human_tables(catalog_loc, second_group_loc, set(scored)) if second_group_loc else {}
    figures = []
    iou = f"iou_{THRESHOLD_NAMES[0]}"
    for mask, title in MASK_TITLES.items():
        found = {model: _mask_table(pair, mask, scored) for model, pair in pairs.items()}
        tables = {model: table for model, table in found.items() if table is not None}
        if not tables:
            continue
        truth = next(iter(tables.values()))
        figures.append(
            Figure(
                f"{title}: IoU where a fifth of the volunteers drew",
                len(truth),
                {model: ratio_score(table.intersection[:, 0], table.union[:, 0]) for model, table in tables.items()},
                float(mask_values(truth)[f"brightness_{iou}"]),
                "brightness",
                float(mask_values(human[mask])[iou]) if mask in human else float("nan"),
                f"a second group of volunteers, {len(human[mask])} galaxies" if mask in human else "",
            )
        )
    return figures


def share_of_hits(hits: np.ndarray) -> Score:
    """Score answers by the share of those that are right, bool (galaxies,)."""
    return ratio_score(hits)


def likeliest(table: pd.DataFrame, question: str, answers: Sequence[str]) -> np.ndarray | None:
    """Find the answer with the highest predicted fraction.

    Args:
        table: predictions.
        question: question of `ANSWERS`.
        answers: its answers.

    Returns:
        Indices of the answers, shape (galaxies,). Answers that the tree of the predictions lacks are never chosen. None
        if it has fewer than two of them.
    """
    fractions = [predicted_fraction(table, question, answer) for answer in answers]
    if sum(fraction is not None for fraction in fractions) < 2:
        return None
    columns = [np.full(len(table), -1.0) if fraction is None else fraction for fraction in fractions]
    return np.stack(columns, axis=1).argmax(axis=1)


def answers_of(question: str) -> list[str]:
    """Answers of a question, in the order of `ANSWERS`."""
    return list(ANSWERS.loc[ANSWERS["question"] == question, "answer"])


def gz2_column(question: str, answer: str) -> str:
    """Column of the votes for an answer in the tree `gz2_ortho`."""
    return _row(question, answer)["gz2"]


def gz2_columns(question: str) -> list[str]:
    """Columns of the votes for all answers of a question in the tree `gz2_ortho`."""
    return [gz2_column(question, answer) for answer in answers_of(question)]


def _row(question: str, answer: str) -> pd.Series:
    return ANSWERS[(ANSWERS["question"] == question) & (ANSWERS["answer"] == answer)].iloc[0]


def _answer_of(question: str, text: str) -> str:
    """Answer with a text on galaxyzoo.org; '' if the question or the answer is not in `ANSWERS`."""
    rows = ANSWERS[ANSWERS["question"] == question]
    return next((row.answer for row in rows.itertuples() if text in row.texts.split("|")), "")


def _share_by_image(hits: np.ndarray, image_of: np.ndarray, n_of_image: np.ndarray) -> Score:
    """Share of hits, with an interval over images, since the examples of one image are not independent."""
    hits_of_image = np.bincount(image_of, hits, len(n_of_image))
    used = n_of_image > 0
    return ratio_score(hits_of_image[used], n_of_image[used])


def _ring_figures(has_ring: np.ndarray, has_none: np.ndarray, tables: Tables) -> list[Figure]:
    rings = {model: predicted_fraction(table, "ring", "yes") for model, table in tables.items()}
    figure = _auc_figure("rings against no rings: AUC of ring", has_ring, has_none, rings)
    return [figure] if figure is not None and figure.scores else []


def _auc_figure(
    name: str, is_positive: np.ndarray, is_negative: np.ndarray, fractions: Mapping[str, np.ndarray | None]
) -> Figure | None:
    """AUC of predicted fractions; None if there are no galaxies of one kind."""
    if not is_positive.any() or not is_negative.any():
        return None
    used = is_positive | is_negative
    positive = is_positive[used]
    scores = {}
    for model, fraction in fractions.items():
        if fraction is not None:
            scores[model] = bootstrap_score(Ranking.of(fraction[used], positive).auc, len(positive))
    return Figure(name, int(used.sum()), scores, 0.5, "chance")


def _mask_table(pairs: Pairs, mask: str, scored: Sequence[str]) -> MaskTable | None:
    """Sums over the pixels of each galaxy; None if no galaxy has this mask."""
    sums = MaskSums()
    places = pd.Series(np.arange(len(pairs.catalog)), index=pairs.catalog["id_str"])
    for id_str in scored:
        pictures = pairs.read_pictures(places[id_str])
        if mask in pictures.predicted and mask in pictures.true:
            sums.add(pictures.predicted[mask], pictures.true[mask], smoothed_brightness(pictures.image), id_str)
    return sums.table() if sums.n_galaxies else None


def _human_tables(catalog_loc: Path, second_loc: Path, scored: set[str]) -> dict[str, MaskTable]:
    """Masks of a second group of volunteers, compared with those of the first, by mask."""
    first, second = (read_training_catalog(loc, None, labels=("masks",)) for loc in (catalog_loc, second_loc))
    return group_ceilings(first[first["id_str"].isin(scored)], second).tables


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole else float("nan")
