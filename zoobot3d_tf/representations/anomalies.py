"""Anomalies: galaxies ranked by their distance from all others.

The score of a galaxy is the distance to its tenth-nearest neighbour in the space of compressed features (Ramaswamy et
al. 2000, doi:10.1145/335191.335437). With ten neighbours, a small group of similar unusual galaxies is still found.
"""

import numpy as np
import pandas as pd

from zoobot3d_tf.files import PathLike
from zoobot3d_tf.representations.vectors import IDENTITY, VectorTable, check_other_table, open_vectors, sample_rows
from zoobot3d_tf.tables.formats import check_writable, write_table

N_NEIGHBOURS = 10
"""The distance to this neighbour is the score."""

N_REFERENCE = 20_000
"""Largest number of reference galaxies, among which neighbours are searched.

The time grows with the square of the number of galaxies, and would be years for ten million. The ranking depends little
on the number of reference galaxies.
"""


def write_anomalies(components_loc: PathLike, out: PathLike, *, seed: int = 0) -> pd.DataFrame:
    """Rank the galaxies of a table, the most unusual first, and write the ranking to a table.

    Args:
        components_loc: table of components that `compress` wrote.
        out: table to write: CSV, Parquet, FITS or ECSV.
        seed: random seed that selects the reference galaxies from tables of more than `N_REFERENCE` galaxies.

    Returns:
        The rows written; see `rank_anomalies`.

    Raises:
        ValueError: the table has too few galaxies or is damaged, or `out` has another suffix.
        OSError: a file does not exist or cannot be written.
    """
    check_writable(out)
    check_other_table(out, components_loc)
    ranked = rank_anomalies(open_vectors(components_loc, "component"), seed)
    write_table(ranked, out)
    return ranked


def rank_anomalies(table: VectorTable, seed: int = 0) -> pd.DataFrame:
    """Rank the galaxies of a table, the most unusual first.

    Args:
        table: table of components.
        seed: random seed that selects the reference galaxies from tables of more than `N_REFERENCE` galaxies.

    Returns:
        One row per galaxy: `rank`, from 1; `id_str`; `distance`, the Euclidean distance to the tenth-nearest other
        galaxy; `file_loc`.

    Raises:
        ValueError: there are too few galaxies for ten neighbours.
    """
    from sklearn.neighbors import NearestNeighbors

    if table.n_galaxies <= N_NEIGHBOURS:
        raise ValueError(
            f"{table.path}: has {table.n_galaxies} galaxies; a ranking of anomalies needs at least {N_NEIGHBOURS + 1}"
        )
    chosen = sample_rows(table.n_galaxies, N_REFERENCE, seed)
    reference = np.concatenate([vectors for _, vectors in table.pieces(chosen)])
    place = np.full(table.n_galaxies, -1)  # index of each galaxy in the reference, -1 outside it
    place[chosen] = np.arange(len(chosen))
    neighbours = NearestNeighbors(n_neighbors=N_NEIGHBOURS + 1, algorithm="brute").fit(reference)
    found, first = [], 0
    for others, vectors in table.pieces():
        distances, places = neighbours.kneighbors(vectors)
        own = place[first : first + len(vectors), None]
        first += len(vectors)
        distances = np.sort(np.where(places == own, np.inf, distances), axis=1)
        found.append(others.select(IDENTITY).to_pandas().assign(distance=distances[:, N_NEIGHBOURS - 1]))
    ranked = pd.concat(found).sort_values("distance", ascending=False, kind="stable", ignore_index=True)
    ranked.insert(0, "rank", np.arange(1, len(ranked) + 1))
    return ranked[["rank", "id_str", "distance", "file_loc"]]
