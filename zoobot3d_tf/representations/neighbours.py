"""Galaxies like this one: those whose compressed features are nearest."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pyarrow.compute as pc

from zoobot3d_tf.files import PathLike
from zoobot3d_tf.representations.vectors import IDENTITY, VectorTable, check_other_table, open_vectors, rows_of
from zoobot3d_tf.tables.formats import check_writable, write_table

METRICS = ("euclidean", "cosine")


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
        components_loc: as `compress` leaves it.
        id_strs: the galaxies, which are in that table.
        out: table to write, CSV, Parquet, FITS or ECSV; see `find_neighbours`.
        k: number of neighbours per galaxy.
        metric: one of `METRICS`.

    Returns:
        The rows of the table written.

    Raises:
        ValueError: an argument is impossible, or a galaxy is not in the table.
        OSError: a file is missing or cannot be written.
    """
    check_writable(out)
    check_other_table(out, components_loc)
    found = find_neighbours(open_vectors(components_loc, "component"), id_strs, k=k, metric=metric)
    write_table(found, out)
    return found


def find_neighbours(table: VectorTable, id_strs: Sequence[str], *, k: int, metric: str) -> pd.DataFrame:
    """The nearest neighbours of some galaxies, exactly; memory does not grow with the table.

    Args:
        table: of vectors.
        id_strs: the galaxies, which are in the table.
        k: how many neighbours each; the galaxy itself is none.
        metric: "euclidean", or "cosine": 1 minus the cosine of the angle, as seen from the mean galaxy.

    Returns:
        A row a neighbour: `id_str`, the galaxy; `rank`, from 1; `neighbour`, its id; `distance`; `file_loc`, the
        neighbour's image. Of two as near, the first in the table comes first.

    Raises:
        ValueError: an argument is impossible, or a galaxy is not in the table, or asked for twice.
    """
    from sklearn.metrics import pairwise_distances

    if metric not in METRICS:
        raise ValueError(f"metric must be one of {', '.join(METRICS)}; received {metric!r}")
    if not id_strs or len(set(id_strs)) < len(id_strs):
        raise ValueError(f"give one or more galaxies, each once; received {', '.join(id_strs) or 'none'}")
    if not 1 <= k < table.n_galaxies:
        most = table.n_galaxies - 1
        raise ValueError(f"{table.path}: a galaxy of {table.n_galaxies} has 1 to {most} neighbours; received k {k}")
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
