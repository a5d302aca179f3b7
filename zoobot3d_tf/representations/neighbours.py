"""Neighbours: the galaxies whose compressed features are nearest to a given galaxy."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pyarrow.compute as pc

from zoobot3d_tf.files import PathLike
from zoobot3d_tf.representations.vectors import IDENTITY, VectorTable, check_other_table, open_vectors, rows_of
from zoobot3d_tf.tables.formats import check_writable, write_table

METRICS = ("euclidean", "cosine")
"""Distances between galaxies; cosine is 1 minus the cosine of the angle, as seen from the mean galaxy."""


def write_neighbours(
    components_loc: PathLike,
    id_strs: Sequence[str],
    out: PathLike,
    *,
    k: int = 12,
    metric: str = "euclidean",
) -> pd.DataFrame:
    """Find the neighbours of some galaxies and write them to a table.

    Args:
        components_loc: table of components that `compress` wrote.
        id_strs: ids of the galaxies, which must be in the table.
        out: table to write: CSV, Parquet, FITS or ECSV.
        k: number of neighbours per galaxy.
        metric: distance between galaxies, one of `METRICS`.

    Returns:
        The rows written; see `find_neighbours`.

    Raises:
        ValueError: an argument is impossible, or a galaxy is not in the table.
        OSError: a file does not exist or cannot be written.
    """
    check_writable(out)
    check_other_table(out, components_loc)
    found = find_neighbours(open_vectors(components_loc, "component"), id_strs, k=k, metric=metric)
    write_table(found, out)
    return found


def find_neighbours(table: VectorTable, id_strs: Sequence[str], *, k: int, metric: str) -> pd.DataFrame:
    """Find the nearest neighbours of some galaxies.

    The search is exact. Memory does not grow with the size of the table.

    Args:
        table: table of components.
        id_strs: ids of the galaxies, which must be in the table.
        k: number of neighbours per galaxy; the galaxy itself is not counted.
        metric: distance between galaxies, one of `METRICS`.

    Returns:
        One row per neighbour: `id_str`, the id of the galaxy; `rank`, from 1; `neighbour`, the id of the neighbour;
        `distance`; `file_loc`, the image of the neighbour. Neighbours at the same distance are in the order of the
        table.

    Raises:
        ValueError: an argument is impossible, or a galaxy is not in the table or is given twice.
    """
    from sklearn.metrics import pairwise_distances

    if metric not in METRICS:
        raise ValueError(f"metric must be one of {', '.join(METRICS)}; received {metric!r}")
    if not id_strs or len(set(id_strs)) < len(id_strs):
        raise ValueError(f"id_strs must name one or more galaxies, each once; received {', '.join(id_strs) or 'none'}")
    if not 1 <= k < table.n_galaxies:
        most = table.n_galaxies - 1
        raise ValueError(f"{table.path}: k must be 1 to {most} in a table of {table.n_galaxies} galaxies; received {k}")
    _, wanted = rows_of(table, id_strs)
    nearest = [pd.DataFrame() for _ in id_strs]
    for others, vectors in table.pieces():
        for i, id_str in enumerate(id_strs):
            distances = pairwise_distances(wanted[i : i + 1], vectors, metric=metric)[0].astype(np.float64)
            distances[np.asarray(pc.equal(others["id_str"], id_str))] = np.inf
            order = np.argsort(distances, kind="stable")[:k]
            names = others.select(IDENTITY).take(order).to_pandas().rename(columns={"id_str": "neighbour"})
            both = pd.concat([nearest[i], names.assign(distance=distances[order])])
            nearest[i] = both.sort_values("distance", kind="stable").head(k)
    columns = ["id_str", "rank", "neighbour", "distance", "file_loc"]
    found = [near.assign(id_str=id_str, rank=range(1, k + 1)) for id_str, near in zip(id_strs, nearest, strict=True)]
    return pd.concat(found, ignore_index=True)[columns]
