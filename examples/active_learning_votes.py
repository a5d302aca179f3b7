"""Measure how many votes of volunteers are saved if each vote is asked for where it tells most. No images are needed.

python examples/active_learning_votes.py panoptes_votes.csv --out votes

The table has the votes of many volunteers on one question (`--question`) for each galaxy. They are hidden, and
revealed one by one, in random order. After each vote, the fractions of a galaxy follow a Dirichlet distribution: the
prior, which is fitted to other galaxies, plus the votes so far. In each round, a strategy chooses the galaxies that
receive one more vote. The output folder receives `curves.csv` (error against votes for each strategy and seed),
`saved.md` (votes saved at equal error, mean and 95 % interval over the seeds), and `curves.png`.

This tests acquisition functions and bookkeeping. A model of images is not trained, so that the votes on a galaxy tell
nothing about other galaxies.
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.optimize import minimize
from scipy.special import entr, gammaln
from scipy.stats import t as student

from zoobot3d_tf.active_learning.acquisition import acquire, choose, fraction_above
from zoobot3d_tf.schemas import Schema
from zoobot3d_tf.tables.formats import read_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

N_FOR_PRIOR = 500
SAMPLES = 15
"""Number of samples of a network that "mutual-information" imitates, by drawing fractions from the posterior."""
SURE = 1e6
"""Sum of the concentrations of such a sample: it is sure of its fractions."""
MOST_VOTES = 30
"""Mean number of votes per galaxy at the end of a run."""
TARGETS = (5, 10, 20)
"""Errors are compared with those of the reference after this mean number of votes per galaxy."""
Strategy = Callable[[np.ndarray, np.ndarray, Schema, np.random.Generator], np.ndarray]


def at_random(posterior: np.ndarray, n_votes: np.ndarray, schema: Schema, rng: np.random.Generator) -> np.ndarray:
    """Ask about galaxies at random."""
    return rng.random(len(posterior))


def equally(posterior: np.ndarray, n_votes: np.ndarray, schema: Schema, rng: np.random.Generator) -> np.ndarray:
    """Ask about the galaxies with the fewest votes, so that all receive the same number."""
    return -n_votes + rng.random(len(posterior))


def by_entropy(posterior: np.ndarray, n_votes: np.ndarray, schema: Schema, rng: np.random.Generator) -> np.ndarray:
    """Ask where the next vote is the hardest to predict."""
    return acquire("entropy", posterior, schema)


def by_fraction(posterior: np.ndarray, n_votes: np.ndarray, schema: Schema, rng: np.random.Generator) -> np.ndarray:
    """Ask where the next vote tells most about the fractions."""
    return acquire("fraction-information", posterior, schema)


def by_samples(posterior: np.ndarray, n_votes: np.ndarray, schema: Schema, rng: np.random.Generator) -> np.ndarray:
    """Ask where the next vote tells most about which of several samples is right, as for dropout samples."""
    drawn = rng.standard_gamma(np.repeat(posterior, SAMPLES, axis=2)) + 1e-9  # none may be 0
    return acquire("mutual-information", SURE * drawn / drawn.sum(axis=1, keepdims=True), schema)


def by_majority(posterior: np.ndarray, n_votes: np.ndarray, schema: Schema, rng: np.random.Generator) -> np.ndarray:
    """Ask where it is the least certain whether most volunteers give the second answer."""
    p = fraction_above(posterior, schema, schema.label_cols[1], 0.5)
    return entr(p) + entr(1 - p)


STRATEGIES: dict[str, Strategy] = {
    "random": at_random,
    "equal": equally,
    "entropy": by_entropy,
    "fraction-information": by_fraction,
    "mutual-information": by_samples,
    "majority": by_majority,
}


def fit_prior(votes: np.ndarray) -> np.ndarray:
    """Concentrations of the Dirichlet distribution that makes the votes of some galaxies most likely."""

    def loss(log_alpha: np.ndarray) -> float:
        alpha = np.exp(log_alpha)
        total, n = alpha.sum(), votes.sum(axis=1)
        each = (gammaln(votes + alpha) - gammaln(alpha)).sum(axis=1) + gammaln(total) - gammaln(total + n)
        return -each.sum()

    return np.exp(minimize(loss, np.zeros(votes.shape[1]), method="BFGS").x)


def shuffled_votes(votes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Answers of the volunteers of each galaxy in random order, int (galaxies, most votes); -1 after the last."""
    answers = np.full((len(votes), votes.sum(axis=1).max()), -1)
    for row, counts in enumerate(votes):
        answers[row, : counts.sum()] = rng.permutation(np.repeat(np.arange(len(counts)), counts))
    return answers


def run(votes: np.ndarray, schema: Schema, strategy: Strategy, seed: int, batch: int, most: float) -> pd.DataFrame:
    """Reveal votes by a strategy.

    Args:
        votes: all votes of the galaxies, int (galaxies, answers).
        schema: decision tree, of one question.
        strategy: function that scores the galaxies from their posterior, votes so far, tree and random generator.
        seed: random seed of the galaxies of the prior and of the order of the votes. It is the same for all strategies.
        batch: number of galaxies that receive one vote per round.
        most: mean number of votes per galaxy at the end.

    Returns:
        One row per round: `votes`, the mean number per galaxy; `fraction_error`, the mean absolute error of the
        expected fractions; `majority_error`, the share of galaxies for which it is wrong whether most volunteers give
        the second answer. The truth is that of all votes.
    """
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(votes))
    prior, hidden = fit_prior(votes[order[:N_FOR_PRIOR]]), votes[order[N_FOR_PRIOR:]]
    answers, n_hidden = shuffled_votes(hidden, rng), hidden.sum(axis=1)
    truth = hidden / n_hidden[:, None]
    revealed, n_votes = np.zeros_like(hidden), np.zeros(len(hidden), int)
    rows = []
    while True:
        posterior = prior + revealed
        fraction = posterior / posterior.sum(axis=1, keepdims=True)
        wrong = (fraction[:, 1] > 0.5) != (truth[:, 1] > 0.5)
        rows.append((n_votes.mean(), np.abs(fraction - truth).mean(), wrong.mean()))
        open_rows = np.flatnonzero(n_votes < n_hidden)
        if n_votes.mean() >= most or not len(open_rows):
            return pd.DataFrame(rows, columns=["votes", "fraction_error", "majority_error"])
        scores = strategy(posterior[open_rows, :, None], n_votes[open_rows], schema, rng)
        asked = open_rows[choose(scores, min(batch, len(open_rows)))]
        revealed[asked, answers[asked, n_votes[asked]]] += 1
        n_votes[asked] += 1


def saved_share(curves: pd.DataFrame, error: str, reference: str, target: float, effort: str = "votes") -> pd.Series:
    """Share of the effort that each strategy saves: mean over the seeds, and half of the 95 % interval.

    Each strategy is compared at the error that the reference has after the effort `target`.

    Args:
        curves: rows with the columns `strategy`, `seed`, the error and the effort.
        error: column of the error, the lower the better.
        reference: strategy to compare with.
        target: effort of the reference, such as 10 votes per galaxy.
        effort: column of the effort.
    """
    shares: dict[str, list[float]] = {}
    for _, of_seed in curves.groupby("seed"):
        by_name = dict(list(of_seed.groupby("strategy")))
        # Rows with a lower error than all before. Between them the error falls, and belongs to one effort.
        records = {name: curve[curve[error].cummin().diff().fillna(-1) < 0] for name, curve in by_name.items()}
        wanted = np.interp(target, records[reference][effort], records[reference][error])
        for name, record in records.items():
            spent = np.interp(-wanted, -record[error], record[effort], right=np.nan)
            shares.setdefault(str(name), []).append(1 - spent / target)

    def text(values: list[float]) -> str:
        return "not reached" if np.isnan(values).any() else f"{interval_text(100 * np.array(values))} %"

    return pd.Series({name: text(values) for name, values in shares.items()})


def interval_text(values: np.ndarray, digits: int = 0) -> str:
    """Mean of the values of several seeds, and half of its 95 % interval (Student's t), such as "12 ± 3"."""
    half = student.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values))
    # round() and + 0 turn -0 to 0.
    return f"{round(np.mean(values), digits) + 0:.{digits}f} ± {half:.{digits}f}"


def report(curves: pd.DataFrame, out: Path) -> str:
    """Write `saved.md` and `curves.png`; return the text of the first."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    names = list(dict.fromkeys(curves["strategy"]))
    lines = []
    figure, axes = plt.subplots(1, 2, figsize=(10, 4))
    words = {"fraction_error": "mean error of the fractions", "majority_error": "wrong majorities"}
    for axis, (error, what) in zip(axes, words.items(), strict=True):
        for reference in ("random", "equal"):
            table = pd.DataFrame({f"{n} votes": saved_share(curves, error, reference, n) for n in TARGETS}).loc[names]
            lines += markdown_table(f"Votes saved at equal {what}, compared with {reference}", table)
        for name in names:
            by_round = curves[curves["strategy"] == name].groupby("round")
            mean, spread = by_round.mean(numeric_only=True), by_round[error].std()
            (line,) = axis.plot(mean["votes"], mean[error], label=name)
            low, high = mean[error] - 2 * spread, mean[error] + 2 * spread
            axis.fill_between(mean["votes"], low, high, color=line.get_color(), alpha=0.2)
        axis.set(xlabel="votes per galaxy", ylabel=what, yscale="log")
    return write_report(figure, lines, out)


def markdown_table(title: str, table: pd.DataFrame) -> list[str]:
    """Lines of a table of texts, with one row per strategy, under its title."""
    rows = [f"| {name} | " + " | ".join(row) + " |" for name, row in zip(table.index, table.to_numpy(), strict=True)]
    head = ["| strategy | " + " | ".join(table) + " |", "|---" * (len(table.columns) + 1) + "|"]
    return ["", f"{title}:", "", *head, *rows]


def write_report(figure: "Figure", lines: Sequence[str], out: Path) -> str:
    """Write the curves, with a legend, to `curves.png`, and the lines to `saved.md`; return the text of the latter."""
    figure.axes[0].legend()
    figure.tight_layout()
    figure.savefig(out / "curves.png", dpi=120)
    text = "\n".join(lines).strip() + "\n"
    (out / "saved.md").write_text(text)
    return text


def main() -> None:
    """Read the arguments, run all strategies with all seeds, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("votes_loc", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--question", default="smooth-or-featured")
    parser.add_argument("--answers", default="smooth,featured-or-disk,artifact")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=500)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    schema = Schema({args.question: [f"_{answer}" for answer in args.answers.split(",")]}, {}, args.question)
    votes = read_table(args.votes_loc)[schema.label_cols].to_numpy().astype(int)
    curves = []
    for seed in range(args.seeds):
        for name, strategy in STRATEGIES.items():
            curve = run(votes, schema, strategy, seed, args.batch, MOST_VOTES)
            curves.append(curve.assign(strategy=name, seed=seed, round=np.arange(len(curve))))
    table = pd.concat(curves)
    table.to_csv(args.out / "curves.csv", index=False)
    print(report(table, args.out))


if __name__ == "__main__":
    main()
