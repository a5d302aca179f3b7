"""Which galaxies to take: cuts on vote fractions, and a split that never moves a galaxy."""

import hashlib
import re

import pandas as pd

from zoobot3d_tf.files import PathLike
from zoobot3d_tf.tables.columns import read_numbers

# Cut -> its column in published and predicted tables, some of which carry a campaign or leave out the question.
_FRACTIONS = {
    "min_featured": r"(predicted_)?(smooth-or-featured(-\w+)?_)?featured-or-disk_fraction",
    "min_face_on": r"(predicted_)?disk-edge-on(-\w+)?_no_fraction",
    "min_not_spiral": r"(predicted_)?has-spiral-arms(-\w+)?_no_fraction",
}

_EXAMPLES = {
    "min_featured": "smooth-or-featured_featured-or-disk_fraction",
    "min_face_on": "disk-edge-on_no_fraction",
    "min_not_spiral": "has-spiral-arms_no_fraction",
}


def passes_cuts(path: PathLike, table: pd.DataFrame, **cuts: float | None) -> pd.Series:
    """Which galaxies are featured, face-on or without spiral arms enough, by their vote fractions.

    Args:
        path: where the table is from, for errors.
        table: a row a galaxy, with columns such as `smooth-or-featured_featured-or-disk_fraction`,
            `disk-edge-on_no_fraction` and `has-spiral-arms_no_fraction`; the question may carry a campaign (`-dr5`),
            the name `predicted_` in front.
        **cuts: smallest fraction of `min_featured`, `min_face_on` or `min_not_spiral`, 0 to 1; None does not cut.

    Returns:
        Truth values. A galaxy without a fraction that is asked for does not pass.

    Raises:
        ValueError: a cut is no fraction, or its column is absent, there more than once, or not of numbers.
    """
    passes = pd.Series(True, index=table.index)
    for cut, least in cuts.items():
        if least is None:
            continue
        if not 0 <= least <= 1:
            raise ValueError(f"{cut} must be a fraction from 0 to 1; received {least}")
        columns = [column for column in table.columns if re.fullmatch(_FRACTIONS[cut], column)]
        if len(columns) != 1:
            raise ValueError(
                f"{path}: the cut {cut} {least:g} needs one column of vote fractions such as {_EXAMPLES[cut]}; found "
                f"{', '.join(columns) or 'none'}"
            )
        passes &= read_numbers(path, table, columns[0]) >= least
    return passes


def hash_share(name: str) -> float:
    """A number in 0..1 that is the galaxy's own: uniform over names, and always the same for one."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") / 2**64


def split_of(id_str: str) -> str:
    """The side of a galaxy in a split of 70 % `train`, 10 % `val`, 20 % `test`, by the hash of its id.

    `val` has the lowest hashes, so that shards made without the test galaxies hold back `val` to evaluate on.
    """
    share = hash_share(id_str)
    if share < 0.1:
        return "val"
    return "test" if share < 0.3 else "train"
