"""Fit linear models to the features of an encoder, as a baseline for trained models on real galaxies.

python examples/real_galaxies/linear.py data/real features --test test_ids.csv --out predictions/linear

The folder of features holds tables of `zoobot3d representations` named `gz2.parquet`, and, if wanted, `gz1.parquet`,
`examples.parquet` and `decals.parquet`. The vote fractions of Galaxy Zoo 2 and the ring tags of DECaLS (a vote of one
volunteer) are fitted by ridge regression, on the galaxies that are not test galaxies. The output folder receives tables
of predictions for all galaxies that have features; `score.py` scores them like those of any other model.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from real_figures import ANSWERS, gz2_columns
from score import read_labels, read_test_ids
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from zoobot3d_tf.representations.vectors import open_vectors
from zoobot3d_tf.tables.formats import write_table

ALPHAS = np.logspace(0, 6, 13)
"""Strengths of the ridge penalty to choose from, for standardised features."""


def main() -> None:
    """Read the arguments, fit, and write the tables of predictions."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with the labels of gz2")
    parser.add_argument("features", type=Path, help="folder with tables of features")
    parser.add_argument(
        "--test",
        type=Path,
        required=True,
        help="test galaxies, which are not fitted: a text file with one id_str per line, a table with the column "
        "id_str, or a catalogue whose column split says test",
    )
    parser.add_argument("--decals", type=Path, help="folder with the labels of DECaLS (default: decals beside DATA)")
    parser.add_argument("--out", type=Path, required=True, help="output folder")
    args = parser.parse_args()
    try:
        predict_sets(
            args.data / "gz2" / "vote_catalog.csv",
            (args.decals or args.data.parent / "decals") / "ring_catalog.csv",
            args.features,
            read_test_ids(args.test),
            args.out,
        )
    except (ValueError, OSError) as error:
        sys.exit(f"linear.py: {error}")


def predict_sets(votes_loc: Path, rings_loc: Path, folder: Path, test_ids: set[str], out: Path) -> None:
    """Fit the training galaxies, and predict all galaxies that have features.

    Args:
        votes_loc: catalogue of Galaxy Zoo 2.
        rings_loc: catalogue with ring tags. Without features of DECaLS, rings are not predicted.
        folder: folder with tables of features.
        test_ids: ids of galaxies that are not fitted.
        out: output folder.

    Raises:
        FileNotFoundError: there are no features of Galaxy Zoo 2, or no labels.
        ValueError: a table cannot be read, or no galaxy is left to fit.
    """
    features = {path.stem: read_features(path) for path in sorted(folder.glob("*.parquet"))}
    if "gz2" not in features:
        raise FileNotFoundError(f"{folder}: has no table gz2.parquet of features")
    labels, known = _training(votes_loc, features["gz2"], test_ids)
    fractions: dict[str, dict[str, np.ndarray]] = {name: {} for name in features}

    def fit(question: str, known: np.ndarray, votes: np.ndarray) -> None:
        """Fit one question, and predict it for all galaxies."""
        if not votes.any():
            raise ValueError(f"no training galaxy has votes on '{question}'; fewer galaxies must be test galaxies")
        model = fit_fractions(known, votes)
        for name, table in features.items():
            predicted = as_fractions(model.predict(table.to_numpy()))
            fractions[name] |= dict(zip(_columns(question), predicted.T, strict=True))

    for question in ANSWERS.loc[ANSWERS["gz2"] != "", "question"].unique():
        fit(question, known, labels[gz2_columns(question)].to_numpy(float))
    if "decals" in features and rings_loc.is_file():
        labels, known = _training(rings_loc, features["decals"], test_ids)
        is_ring = labels["ring"].to_numpy(float)
        fit("ring", known, np.stack([is_ring, 1 - is_ring], axis=1))
    out.mkdir(parents=True, exist_ok=True)
    for name, table in features.items():
        columns = {f"{column}_fraction": fraction for column, fraction in fractions[name].items()}
        write_table(pd.DataFrame({"id_str": table.index, **columns}), out / f"{name}.csv")
    print(f"predictions of {', '.join(features)} written to {out}")


def fit_fractions(features: np.ndarray, votes: np.ndarray) -> Pipeline:
    """Fit the vote fractions of one question by ridge regression.

    Galaxies are weighted by their number of votes, as in the scores. Leave-one-out errors choose the penalty.

    Args:
        features: features of the training galaxies, shape (galaxies, features).
        votes: numbers of votes, not all zero, shape (galaxies, answers).

    Returns:
        Model whose `predict` turns features into fractions, shape (galaxies, answers), not yet limited to 0..1.
    """
    n_votes = votes.sum(axis=1)
    asked = n_votes > 0
    model = make_pipeline(StandardScaler(), RidgeCV(ALPHAS))
    observed = votes[asked] / n_votes[asked, None]
    return model.fit(features[asked], observed, ridgecv__sample_weight=n_votes[asked])


def as_fractions(predicted: np.ndarray) -> np.ndarray:
    """Limit predictions to 0..1, and divide them by their sum over the answers, shape (galaxies, answers)."""
    limited = np.clip(predicted, 0, 1)
    total = limited.sum(axis=1, keepdims=True)
    return np.where(total > 0, limited / np.where(total > 0, total, 1), 1 / predicted.shape[1])


def read_features(path: Path) -> pd.DataFrame:
    """Read a table of features into memory, one row per galaxy, indexed by `id_str`."""
    table = open_vectors(path, "feature")
    pieces = [pd.DataFrame(vectors, index=known["id_str"].to_pylist()) for known, vectors in table.pieces()]
    return pd.concat(pieces)


def _training(labels_loc: Path, features: pd.DataFrame, test_ids: set[str]) -> tuple[pd.DataFrame, np.ndarray]:
    """Labels and features of the galaxies that have both and are not test galaxies."""
    labels = read_labels(labels_loc)
    labels = labels[labels.index.isin(features.index) & ~labels.index.isin(list(test_ids))]
    if labels.empty:
        raise ValueError(
            f"{labels_loc}: none of its galaxies has features and is not a test galaxy; "
            f"the first id_str of the features is {features.index[0]!r}"
        )
    return labels, features.loc[labels.index].to_numpy()


def _columns(question: str) -> list[str]:
    """Columns of the answers in predictions, in the first tree that has one column per answer."""
    predicted = ANSWERS.loc[ANSWERS["question"] == question, "predicted"]
    return [next(column for column in text.split("|") if "+" not in column) for text in predicted]


if __name__ == "__main__":
    main()
