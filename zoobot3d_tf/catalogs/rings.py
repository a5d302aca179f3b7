"""Ring labels as in Walmsley+22b: rings have many votes for "ring", other galaxies have hardly any."""

import logging
import re
from pathlib import Path

import numpy as np
import pandas as pd

from zoobot3d_tf.catalogs.selection import passes_cuts
from zoobot3d_tf.files import PathLike, path_of
from zoobot3d_tf.surveys.sources import read_galaxies
from zoobot3d_tf.tables.columns import move_paths, read_numbers, refuse
from zoobot3d_tf.tables.formats import check_writable, read_table, write_table

log = logging.getLogger(__name__)

_ID_COLUMNS = ("id_str", "iauname")


def ring_catalog(
    from_loc: PathLike,
    out: PathLike,
    high: float = 0.25,
    low: float = 0.05,
    min_featured: float | None = None,
    min_face_on: float | None = None,
    min_not_spiral: float | None = None,
    tagged_loc: PathLike | None = None,
) -> Path:
    """Label galaxies as rings or not rings by the fraction of volunteers who voted for "ring".

    Galaxies with a fraction from `low` to `high`, and galaxies that fail a cut, are left out.

    Walmsley+22b (arXiv 2110.12735, section 4.2) select galaxies with predicted fractions above 0.25 for featured and
    0.75 for face-on, according to the code published with the paper. An earlier, purer selection in that code has 0.6
    and 0.75, and 0.5 for no spiral arms.

    Args:
        from_loc: path of a table with `id_str` or `iauname`, the ring votes, the fractions for the requested cuts (see
            `selection.passes_cuts`) and, if known, `file_loc`. The ring votes are one of:

            - `rare-features_ring_fraction`;
            - `rare-features_ring` and `rare-features_total-votes`: volunteers may give several answers to this
              question, so that the votes for its answers do not add up to the number of volunteers;
            - `ring`: 1 if somebody tagged the galaxy as a ring, 0 if not.

            The question may have a campaign (`rare-features-dr5`).
        out: path of the table to write, `*.csv`, `*.parquet`, `*.fits` or `*.ecsv`. Relative paths in it start from its
            folder.
        high: fraction of ring votes above which a galaxy is a ring.
        low: fraction of ring votes below which a galaxy is not a ring.
        min_featured: smallest fraction of volunteers who see features or a disk.
        min_face_on: smallest fraction of volunteers who see a disk that is not edge-on.
        min_not_spiral: smallest fraction of volunteers who see no spiral arms.
        tagged_loc: path of a table of the galaxies that were tagged as rings, with `id_str` or `iauname`. All other
            galaxies are not rings, and ring votes are not needed.

    Returns:
        Path of the table: `id_str`, `file_loc` if known, and `ring_yes`, `ring_no` and `ring`, each 0 or 1. Its schema
        is `rings`.

    Raises:
        FileNotFoundError: a table does not exist.
        ValueError: a table is faulty; `low` and `high` are not in order from 0 to 1; a cut is not from 0 to 1; or there
            are only rings, or none.
        OSError: the table cannot be written.
    """
    out = check_writable(out)
    if not 0 <= low <= high <= 1:
        raise ValueError(f"low and high must satisfy 0 <= low <= high <= 1; received low {low} and high {high}")
    table = read_table(from_loc)
    ids = read_galaxies(from_loc, table, *_ID_COLUMNS)["id_str"]
    if tagged_loc is None:
        fraction = _ring_fraction(from_loc, table)
    else:
        tagged = read_galaxies(tagged_loc, read_table(tagged_loc), *_ID_COLUMNS)["id_str"]
        fraction = ids.isin(tagged).astype(np.float64)
    chosen = passes_cuts(
        from_loc, table, min_featured=min_featured, min_face_on=min_face_on, min_not_spiral=min_not_spiral
    )
    is_ring, is_other = chosen & (fraction > high), chosen & (fraction < low)
    if not (is_ring.any() and is_other.any()):
        raise ValueError(
            f"{from_loc}: {is_ring.sum()} galaxies are rings and {is_other.sum()} are not; both kinds are needed"
        )
    log.info(
        "%d rings, %d other galaxies; left out: %d by the cuts, %d without votes, %d between low and high",
        *(is_ring.sum(), is_other.sum(), (~chosen).sum(), (chosen & fraction.isna()).sum()),
        (chosen & fraction.between(low, high)).sum(),
    )
    labels = is_ring.astype(np.int64)
    catalog = pd.DataFrame({"id_str": ids, "ring_yes": labels, "ring_no": 1 - labels, "ring": labels})
    if "file_loc" in table:
        catalog.insert(1, "file_loc", move_paths(table[["file_loc"]], path_of(from_loc).parent, out.parent)["file_loc"])
    return write_table(catalog[is_ring | is_other], out)


def _ring_fraction(path: PathLike, table: pd.DataFrame) -> pd.Series:
    """Read the fraction of volunteers who voted for "ring", 0 to 1; NaN where nobody was asked."""
    found = [re.fullmatch(r"(rare-features(?:-\w+)?)_ring(_fraction)?", column) for column in table.columns]
    by_column = {match[0]: match for match in found if match}
    fractions = [column for column, match in by_column.items() if match[2]]
    counts = [column for column, match in by_column.items() if f"{match[1]}_total-votes" in table]
    if len(fractions) == 1:
        column = fractions[0]
        fraction = read_numbers(path, table, column)
    elif len(counts) == 1:
        column = counts[0]
        volunteers = read_numbers(path, table, f"{by_column[column][1]}_total-votes")
        fraction = read_numbers(path, table, column) / volunteers.where(volunteers > 0)
    elif "ring" in table and not by_column:
        column = "ring"
        fraction = read_numbers(path, table, column)
    else:
        raise ValueError(
            f"{path}: needs one column rare-features_ring_fraction, or rare-features_ring with "
            f"rare-features_total-votes, or ring; found {', '.join(by_column) or 'none'}"
        )
    is_wrong = ~(fraction.isna() | fraction.between(0, 1))
    refuse(path, table, column, is_wrong, "the fraction of volunteers must be from 0 to 1")
    return fraction
