"""Scores of `starts.py`: those of one fold, and their table."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd
from real_figures import mask_figures, vote_figures
from score import join, read_labels

from zoobot3d_tf.tables.formats import read_table

COLUMNS = ("start", "fold", "gain", "iou", "minutes")
"""Columns of starts.csv. `gain` is the mean gain over the mean vote, `iou` that of spiral arms, both 0 to 1 if good."""
BESIDE = {
    "baselines": "baselines: the mean vote; brightness",
    "volunteers": "volunteers: the true fractions; a second group",
}
"""Titles of the rows beside the starts."""


def score_fold(
    predicted_loc: Path, catalogs: Path, test: pd.Series, training: pd.Series, drawn: set[str]
) -> dict[str, tuple[float, float]]:
    """Score the predictions of one start on one fold.

    Args:
        predicted_loc: table of predictions with masks.
        catalogs: folder with gz2.csv, builder.csv and second_group.csv.
        test: ids of galaxies with votes in the fold.
        training: ids of galaxies with votes outside of it, whose mean vote is the baseline.
        drawn: ids that may be in the fold, of galaxies with masks.

    Returns:
        Mean gain of vote fractions, and IoU of spiral arms where a fifth of the volunteers drew: of the `start`, and of
        the `baselines` and `volunteers` (see `vote_figures` and `mask_figures`).
    """
    predicted = read_table(predicted_loc)
    # A model of Galaxy Zoo 2 alone has the names of its tree, not those that the figures know.
    plain = {column: column.replace("-gz2", "") for column in predicted if "-gz2" in column}
    predicted = predicted.rename(columns={old: new for old, new in plain.items() if new not in predicted})
    votes = read_labels(catalogs / "gz2.csv")
    labels, tables = join(votes.loc[test], {"start": predicted})
    gain = vote_figures(labels, votes.loc[training], tables)[-1]
    groups = (catalogs / "builder.csv", catalogs / "second_group.csv")
    arms, *_ = mask_figures({"start": predicted_loc}, *groups, drawn.__contains__)
    return {
        "start": (gain.scores["start"].value, arms.scores["start"].value),
        "baselines": (gain.baseline, arms.baseline),
        "volunteers": (gain.human, arms.human),
    }


def markdown(table: pd.DataFrame, titles: Mapping[str, str]) -> str:
    """Write the table of starts.md.

    Args:
        table: rows of starts.csv.
        titles: titles of the starts, in the order of the rows.

    Returns:
        One row per start: means over the folds, with the lowest and the highest value in parentheses.
    """
    lines = ["| start | folds | Galaxy Zoo 2, mean gain | arms, IoU | minutes of training |", "|---" * 5 + "|"]
    for name, title in {**titles, **BESIDE}.items():
        rows = table[table["start"] == name]
        if rows.empty:
            continue
        gain, iou = (values.agg(["mean", "min", "max"]) for values in (100 * rows["gain"], rows["iou"]))
        minutes = "" if rows["minutes"].isna().all() else f"{rows['minutes'].mean():.1f}"
        cells = ["{:.0f} % ({:.0f} to {:.0f})".format(*gain), "{:.3f} ({:.3f} to {:.3f})".format(*iou), minutes]
        lines.append(f"| {title} | {len(rows)} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
