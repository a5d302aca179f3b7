"""The tables of the experiment `joint-vs-single`: scores with intervals, and paired tests of their differences.

One training is one draw of the random seed, and the scored galaxies are draws from the sky. The bootstrap draws both:
galaxies with replacement, and of the seeds as many as there are, with replacement. All variants receive the same draws,
so that the difference of two variants is a paired difference by galaxy and by seed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from zoobot3d_tf.evaluation.bootstrap import N_RESAMPLES
from zoobot3d_tf.evaluation.experiment_scores import SCORES, terms_of
from zoobot3d_tf.predictions.results import INTERVAL_LEVEL

Key = tuple[str, int | None]
"""A variant, and its number of masked galaxies; None if it learns no masks."""


@dataclass(frozen=True)
class Resampled:
    """A score, and its values for random test sets and seeds.

    Attributes:
        value: the score: the mean over seeds.
        draws: its values for random test sets and seeds, shape (n_resamples,).
        ids: ids of the galaxies, sorted.
        n_seeds: number of seeds.
    """

    value: float
    draws: np.ndarray
    ids: list[str]
    n_seeds: int


def resample(
    top: np.ndarray, bottom: np.ndarray, n_resamples: int = N_RESAMPLES, seed: int = 0
) -> tuple[float, np.ndarray]:
    """Compute a ratio of sums over galaxies, averaged over seeds, and the same for random test sets and seeds.

    Args:
        top: numerator of each galaxy, shape (seeds, galaxies).
        bottom: denominator of each galaxy, same shape.
        n_resamples: number of draws.
        seed: seed of the draws. Equal shapes and seeds give equal draws.

    Returns:
        The score, and its draws, shape (n_resamples,). A draw is NaN if its denominator is 0.
    """
    n_seeds, n_galaxies = top.shape
    rng = np.random.default_rng(seed)
    times = rng.multinomial(n_galaxies, np.full(n_galaxies, 1 / n_galaxies), n_resamples)
    chosen = rng.integers(n_seeds, size=(n_resamples, n_seeds))
    by_seed = _ratio(times @ top.T, times @ bottom.T)  # (n_resamples, seeds)
    draws = np.take_along_axis(by_seed, chosen, axis=1).mean(axis=1)
    return float(_ratio(top.sum(axis=1), bottom.sum(axis=1)).mean()), draws


def interval(draws: np.ndarray, level: float = INTERVAL_LEVEL) -> tuple[float, float]:
    """Compute the central interval of draws, without those that are NaN; NaN if there is none."""
    draws = draws[np.isfinite(draws)]
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2]) if len(draws) else (np.nan, np.nan)
    return float(low), float(high)


def p_value(differences: np.ndarray) -> float:
    """Compute the two-sided p-value of the hypothesis that a difference is 0, from its bootstrap draws.

    This is twice the smaller share of the draws on one side of 0 (Efron & Tibshirani 1993, An Introduction to the
    Bootstrap, chapter 15). One is added to both numbers, so that it is never 0 (Davison & Hinkley 1997, equation 4.11).

    Args:
        differences: draws of the difference, shape (n_resamples,).
    """
    differences = differences[np.isfinite(differences)]
    fewer = min((differences <= 0).sum(), (differences >= 0).sum())
    return min(1.0, 2 * (int(fewer) + 1) / (len(differences) + 1))


def resample_all(tables: Mapping[Key, Sequence[pd.DataFrame]]) -> dict[tuple[Key, str], Resampled]:
    """Resample each score of each variant.

    Args:
        tables: by variant and size, one table of galaxies per seed; see `score_galaxies`.

    Returns:
        Resampled scores, by variant and size, and by name of the score, in the order of `SCORES`.
    """
    found = {}
    for score in SCORES:
        for key, of_seeds in tables.items():
            top, bottom, ids = terms_of(of_seeds, score)
            if ids:
                found[key, score] = Resampled(*resample(top, bottom), ids, len(of_seeds))
    return found


def score_table(resampled: Mapping[tuple[Key, str], Resampled]) -> pd.DataFrame:
    """Make the table of scores, one row per score, variant and size.

    Returns:
        Columns `score`, `variant`, `size` (of masked galaxies, missing if none are learned from), `value`, `low` and
        `high` (ends of the interval of level `INTERVAL_LEVEL`), `n_galaxies` and `n_seeds`.
    """
    rows = [
        (score, variant, size, one.value, *interval(one.draws), len(one.ids), one.n_seeds)
        for ((variant, size), score), one in resampled.items()
    ]
    table = pd.DataFrame(rows, columns=["score", "variant", "size", "value", "low", "high", "n_galaxies", "n_seeds"])
    return table.astype({"size": "Int64"})


def comparison_table(resampled: Mapping[tuple[Key, str], Resampled], pairs: Sequence[tuple[str, ...]]) -> pd.DataFrame:
    """Make the table of paired tests, one row per score, pair and size.

    Args:
        resampled: scores of `resample_all`.
        pairs: pairs of variants. A variant that learns no masks is compared with the other at all sizes.

    Returns:
        Columns `score`, `variant`, `reference`, `size`, `difference` (variant minus reference), `low`, `high`, `p`
        and `better`: the variant whose score is better, empty if the interval of the difference has 0.

    Raises:
        ValueError: two variants were scored on different galaxies or numbers of seeds.
    """
    columns = ["score", "variant", "reference", "size", "difference", "low", "high", "p", "better"]
    rows = []
    for score in SCORES:
        for variant, reference in pairs:
            sizes = {size for (name, size), of in resampled if of == score and name in (variant, reference)}
            for size in sorted(sizes, key=lambda size: -1 if size is None else size):
                one, other = (_at(resampled, name, size, score) for name in (variant, reference))
                if one is None or other is None or (size is None and len(sizes) > 1):
                    continue
                if one.ids != other.ids or one.n_seeds != other.n_seeds:
                    raise ValueError(f"{variant} and {reference} were not scored on the same galaxies and seeds")
                differences = one.draws - other.draws
                low, high = interval(differences)
                better = ""
                if low > 0 or high < 0:
                    better = variant if (low > 0) == SCORES[score].high_is_good else reference
                difference = one.value - other.value
                rows.append((score, variant, reference, size, difference, low, high, p_value(differences), better))
    return pd.DataFrame(rows, columns=columns).astype({"size": "Int64"})


def markdown(scores: pd.DataFrame, comparisons: pd.DataFrame) -> str:
    """Write both tables in Markdown: one table per score, with sizes as rows and variants as columns, and the tests."""
    lines = []
    level = f"{100 * INTERVAL_LEVEL:.0f} % interval"
    for name, rows in scores.groupby("score", sort=False):
        variants = list(rows["variant"].unique())
        score = SCORES[str(name)]
        good = "high" if score.high_is_good else "low"
        lines += [f"**{score.title}** ({good} values are good; {level} over galaxies and seeds in parentheses)", ""]
        lines += ["| masked galaxies | " + " | ".join(variants) + " |", "|---" * (1 + len(variants)) + "|"]
        sizes = sorted(rows["size"].dropna().unique())
        for size in sizes or [None]:
            cells = [_cell(rows, variant, size) for variant in variants]
            lines.append(f"| {'–' if size is None else f'{size:,}'} | " + " | ".join(cells) + " |")
        n_galaxies, n_seeds = rows["n_galaxies"].iloc[0], rows["n_seeds"].max()
        lines += ["", f"{n_galaxies:,} scored galaxies; seeds: {n_seeds}.", ""]
    if len(comparisons):
        head = ["score", "masked galaxies", "compared", "difference", level, "p", "better"]
        lines += ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
        for row in comparisons.to_dict("records"):
            size = "–" if pd.isna(row["size"]) else f"{row['size']:,}"
            cells = [SCORES[row["score"]].title, size, f"{row['variant']} − {row['reference']}"]
            cells += [f"{row['difference']:+.3f}", f"{row['low']:+.3f} to {row['high']:+.3f}", f"{row['p']:.3f}"]
            lines.append(f"| {' | '.join([*cells, row['better'] or 'undecided'])} |")
    return "\n".join(lines).rstrip() + "\n"


def _at(resampled: Mapping[tuple[Key, str], Resampled], name: str, size: int | None, score: str) -> Resampled | None:
    """A score at a size, or that of a variant which learns no masks."""
    return resampled.get(((name, size), score)) or resampled.get(((name, None), score))


def _cell(rows: pd.DataFrame, variant: str, size: int | None) -> str:
    of_variant = rows[rows["variant"] == variant]
    found = of_variant[of_variant["size"].isna() | (of_variant["size"] == (-1 if size is None else size)).fillna(False)]
    return "" if found.empty else "{value:.3f} ({low:.3f} to {high:.3f})".format(**found.iloc[0])


def _ratio(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    return np.divide(top, bottom, out=np.full(np.shape(top), np.nan), where=bottom > 0)
