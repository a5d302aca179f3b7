"""Selection of galaxies: cuts on vote fractions, and a split that depends on nothing but the name of the galaxy."""

import hashlib
import re
from typing import NamedTuple

import pandas as pd

from zoobot3d_tf.files import PathLike
from zoobot3d_tf.tables.columns import read_numbers


class _Fraction(NamedTuple):
    """Column that a cut is made on: an example of its name, and a pattern of its names in tables."""

    example: str
    pattern: str


# Published and predicted tables may name the campaign (`-dr5`), begin with `predicted_` or omit the question.
_FRACTIONS = {
    "min_featured": _Fraction(
        "smooth-or-featured_featured-or-disk_fraction",
        r"(predicted_)?(smooth-or-featured(-\w+)?_)?featured-or-disk_fraction",
    ),
    "min_face_on": _Fraction("disk-edge-on_no_fraction", r"(predicted_)?disk-edge-on(-\w+)?_no_fraction"),
    "min_not_spiral": _Fraction("has-spiral-arms_no_fraction", r"(predicted_)?has-spiral-arms(-\w+)?_no_fraction"),
}


def passes_cuts(path: PathLike, table: pd.DataFrame, **cuts: float | None) -> pd.Series:
    """Select galaxies that are featured, face-on or without spiral arms, by their vote fractions.

    Args:
        path: path of the table, for errors.
        table: one row per galaxy, with the columns of the requested cuts:
            `smooth-or-featured_featured-or-disk_fraction`, `disk-edge-on_no_fraction` and
            `has-spiral-arms_no_fraction`. The question may have a campaign (`disk-edge-on-dr5_no_fraction`), and the
            name may begin with `predicted_`.
        **cuts: smallest fraction, 0 to 1, for each of `min_featured`, `min_face_on` and `min_not_spiral`. None does not
            cut.

    Returns:
        One truth value per row. A galaxy whose fraction is missing does not pass.

    Raises:
        ValueError: a cut is not from 0 to 1; or its column is missing, ambiguous, or does not hold numbers.
    """
    passes = pd.Series(True, index=table.index)
    for cut, least in cuts.items():
        if least is None:
            continue
        if not 0 <= least <= 1:
            raise ValueError(f"{cut} must be a fraction from 0 to 1; received {least}")
        fraction = _FRACTIONS[cut]
        columns = [column for column in table.columns if re.fullmatch(fraction.pattern, column)]
        if len(columns) != 1:
            raise ValueError(
                f"{path}: the cut {cut} {least:g} needs one column of vote fractions such as {fraction.example}; "
                f"found {', '.join(columns) or 'none'}"
            )
        passes &= read_numbers(path, table, columns[0]) >= least
    return passes


def hash_share(name: str) -> float:
    """Hash a name to a number from 0 to 1. Names are distributed uniformly, and a name always has the same number."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") / 2**64


def split_of(id_str: str) -> str:
    """Assign a galaxy to the split of 70 % `train`, 10 % `val` and 20 % `test`, by the hash of its name.

    `val` has the lowest hashes. Shards, which hold back the lowest hashes, then evaluate on `val` if the test galaxies
    are left out.

    Args:
        id_str: name of the galaxy.

    Returns:
        `train`, `val` or `test`.
    """
    share = hash_share(id_str)
    if share < 0.1:
        return "val"
    return "test" if share < 0.3 else "train"
