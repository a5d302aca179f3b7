"""Galaxies like no other, the oddest first.

A galaxy is as odd as the way to its tenth-nearest neighbour in the space of compressed features is long (Ramaswamy et
al. 2000, doi:10.1145/335191.335437). Ten, so that a handful of the same oddity are still found.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from zoobot3d_tf.files import PathLike
from zoobot3d_tf.pages.thumbnails import Picture, check_sheet, write_sheet
from zoobot3d_tf.representations.vectors import IDENTITY, VectorTable, check_other_table, open_vectors, sample_rows
from zoobot3d_tf.tables.formats import check_writable, write_table

N_NEIGHBOURS = 10
# Neighbours are sought among so many galaxies, drawn at random where there are more: of ten million, each with each
# would take years, and how long the way is to the others changes little with how many others there are.
N_REFERENCE = 20_000
_COLUMNS, _ROWS = 8, 5


def write_anomalies(components_loc: PathLike, out: PathLike, *, picture: PathLike | None = None, seed: int = 0) -> Path:
    """Ranks the galaxies of a table by how odd they are.

    Args:
        components_loc: as `compress` leaves it.
        out: table to write, CSV, Parquet, FITS or ECSV; see `rank_anomalies`.
        picture: PNG to write: the oddest forty, with their ranks and distances.
        seed: of the sample of galaxies that the others are compared with, in a table of more than `N_REFERENCE`.

    Returns:
        Path of the table.

    Raises:
        ValueError: the table has too few galaxies, or is damaged, or a name has the wrong suffix.
        OSError: a file is missing or cannot be written.
    """
    check_writable(out)
    check_other_table(out, components_loc)
    if picture is not None:
        check_sheet(picture, _COLUMNS * _ROWS)
    table = open_vectors(components_loc, "component")
    ranked = rank_anomalies(table, seed)
    if picture is not None:
        first = ranked.head(_COLUMNS * _ROWS)
        places = zip(first["file_loc"], first["id_str"], first["rank"], first["distance"], strict=True)
        oddest = [Picture(file_loc, name, f"{rank}: {distance:#.3g}") for file_loc, name, rank, distance in places]
        rows = [oddest[i : i + _COLUMNS] for i in range(0, len(oddest), _COLUMNS)]
        write_sheet(picture, rows, table.stretch)
    return write_table(ranked, out)


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
