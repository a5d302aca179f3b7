"""Ring labels as in Walmsley+22b: galaxies that many volunteers called a ring, and those that hardly any did."""

import logging
import re
from pathlib import Path

import numpy as np
import pandas as pd

from zoobot3d_tf.catalogs.selection import passes_cuts
from zoobot3d_tf.files import PathLike
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
    """Label galaxies as rings or not, by the share of volunteers who called them one; drop the rest.

    Walmsley+22b (arXiv 2110.12735, section 4.2) take galaxies whose predicted fractions are above 0.25 for featured and
    0.75 for face-on, by the code published with it; an earlier, purer selection there has 0.6, 0.75 and, for no spiral
    arms, 0.5.

    Args:
        from_loc: table with `id_str` or `iauname`; the ring votes; fractions for the cuts that are asked for, see
            `selection.passes_cuts`; and `file_loc` if known. The ring votes are `rare-features_ring_fraction`, or
            `rare-features_ring` with `rare-features_total-votes` (the question is one of several answers, so that the
            answers do not add up to the volunteers), both with a campaign or without (`rare-features-dr5`); or the tags
            of the basic form, `ring`: 1 where somebody tagged the galaxy, else 0.
        out: table to write, `.csv`, `.parquet`, `.fits` or `.ecsv`; relative paths in it start from its folder.
        high: above this share of "ring" votes a galaxy is a ring.
        low: below this share it is none.
        min_featured: smallest fraction of volunteers who see features or a disk.
        min_face_on: smallest fraction who see no edge-on disk.
        min_not_spiral: smallest fraction who see no spiral arms.
        tagged_loc: table with `id_str` or `iauname` of the galaxies tagged as rings; all others are none. The ring
            votes are not needed then.

    Returns:
        Path of the table: `id_str`, `file_loc`, and `ring_yes`, `ring_no`, `ring`, 0 or 1; the schema is `rings`.

    Raises:
        FileNotFoundError: a table does not exist.
        ValueError: a table or an option is faulty, or there are not both rings and others.
    """
    out = check_writable(out)
    if not 0 <= low <= high <= 1:
        raise ValueError(f"the shares must be 0 <= low <= high <= 1; received low {low} and high {high}")
    table = read_table(from_loc)
    ids = read_galaxies(from_loc, table, *_ID_COLUMNS)["id_str"]
    if tagged_loc is None:
        share = _ring_share(from_loc, table)
    else:
        tagged = read_galaxies(tagged_loc, read_table(tagged_loc), *_ID_COLUMNS)["id_str"]
        share = ids.isin(tagged).astype(np.float64)
    chosen = passes_cuts(
        from_loc, table, min_featured=min_featured, min_face_on=min_face_on, min_not_spiral=min_not_spiral
    )
    is_ring, is_other = chosen & (share > high), chosen & (share < low)
    if not (is_ring.any() and is_other.any()):
        raise ValueError(
            f"{from_loc}: {is_ring.sum()} galaxies are rings and {is_other.sum()} are none; both are needed"
        )
    log.info(
        "%d rings, %d others; left out: %d by the cuts, %d without votes, %d in between",
        *(is_ring.sum(), is_other.sum(), (~chosen).sum(), (chosen & share.isna()).sum()),
        (chosen & share.between(low, high)).sum(),
    )
    labels = is_ring.astype(np.int64)
    catalog = pd.DataFrame({"id_str": ids, "ring_yes": labels, "ring_no": 1 - labels, "ring": labels})
    if "file_loc" in table:
        catalog.insert(1, "file_loc", move_paths(table[["file_loc"]], Path(from_loc).parent, out.parent)["file_loc"])
    return write_table(catalog[is_ring | is_other], out)


def _ring_share(path: PathLike, table: pd.DataFrame) -> pd.Series:
    """Share of volunteers who called each galaxy a ring, 0 to 1; NaN where nobody was asked."""
    found = [re.fullmatch(r"(rare-features(?:-\w+)?)_ring(_fraction)?", column) for column in table.columns]
    of_votes = {match[0]: match for match in found if match}
    fractions = [column for column, match in of_votes.items() if match[2]]
    counts = [column for column, match in of_votes.items() if f"{match[1]}_total-votes" in table]
    if len(fractions) == 1:
        column = fractions[0]
        share = read_numbers(path, table, column)
    elif len(counts) == 1:
        column = counts[0]
        volunteers = read_numbers(path, table, f"{of_votes[column][1]}_total-votes")
        share = read_numbers(path, table, column) / volunteers.where(volunteers > 0)
    elif "ring" in table and not of_votes:
        column = "ring"
        share = read_numbers(path, table, column)
    else:
        raise ValueError(
            f"{path}: needs one column rare-features_ring_fraction, or rare-features_ring beside "
            f"rare-features_total-votes, or ring; found {', '.join(of_votes) or 'none'}"
        )
    refuse(path, table, column, ~(share.isna() | share.between(0, 1)), "the share of volunteers must be from 0 to 1")
    return share
