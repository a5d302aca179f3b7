"""Galaxies like no other, the oddest first.

A galaxy is as odd as the way to its tenth-nearest neighbour in the space of compressed features is long (Ramaswamy et
al. 2000, doi:10.1145/335191.335437). Ten, so that a handful of the same oddity are still found.
"""

import numpy as np
import pandas as pd

from zoobot3d_tf.files import PathLike
from zoobot3d_tf.representations.vectors import IDENTITY, VectorTable, check_other_table, open_vectors, sample_rows
from zoobot3d_tf.tables.formats import check_writable, write_table

N_NEIGHBOURS = 10
# Neighbours are sought among so many galaxies, drawn at random where there are more: of ten million, each with each
# would take years, and how long the way is to the others changes little with how many others there are.
N_REFERENCE = 20_000


def write_anomalies(components_loc: PathLike, out: PathLike, *, seed: int = 0) -> pd.DataFrame:
    """Rank the galaxies of a table by how odd they are, and write the ranking to a table.

    Args:
        components_loc: as `compress` leaves it.
        out: table to write, CSV, Parquet, FITS or ECSV; see `rank_anomalies`.
        seed: of the sample of galaxies that the others are compared with, in a table of more than `N_REFERENCE`.

    Returns:
        The rows of the table written.

    Raises:
        ValueError: the table has too few galaxies, or is damaged, or a name has the wrong suffix.
        OSError: a file is missing or cannot be written.
    """
    check_writable(out)
    check_other_table(out, components_loc)
    ranked = rank_anomalies(open_vectors(components_loc, "component"), seed)
    write_table(ranked, out)
    return ranked


def rank_anomalies(table: VectorTable, seed: int = 0) -> pd.DataFrame:
    """All galaxies of a table, the oddest first.

    Args:
        table: of vectors.
        seed: see `write_anomalies`.

    Returns:
        `rank`, from 1; `id_str`; `distance`, Euclidean, to the tenth-nearest other galaxy; `file_loc`.

    Raises:
        ValueError: there are too few galaxies to have ten neighbours.
    """
    from sklearn.neighbors import NearestNeighbors

    if table.n_galaxies <= N_NEIGHBOURS:
        raise ValueError(
            f"{table.path}: has {table.n_galaxies} galaxies; to be odd among others takes {N_NEIGHBOURS + 1} at least"
        )
    chosen = sample_rows(table.n_galaxies, N_REFERENCE, seed)
    reference = np.concatenate([vectors for _, vectors in table.pieces(chosen)])
    place = np.full(table.n_galaxies, -1)  # in the reference
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
