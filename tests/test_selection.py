"""Cuts on vote fractions, and a split with fixed shares that never moves a galaxy."""

from collections import Counter

import numpy as np
import pandas as pd
import pytest

from zoobot3d_tf.catalogs.selection import hash_share, passes_cuts, split_of
from zoobot3d_tf.shards.split import split_by_hash

IDS = [f"J{number}" for number in range(20_000)]


def test_shares_are_uniform_and_fixed():
    assert hash_share("J1") == 0x493D650D8D15E01B / 2**64  # printf J1 | sha256sum
    counts, _ = np.histogram([hash_share(id_str) for id_str in IDS], bins=10, range=(0, 1))
    assert counts.std() < 100  # 42 is expected


def test_the_split_is_70_10_20():
    counts = Counter(map(split_of, IDS))
    assert {name: round(count / len(IDS), 2) for name, count in counts.items()} == {
        "train": 0.7,
        "val": 0.1,
        "test": 0.2,
    }


def test_shards_without_the_test_galaxies_hold_back_val():
    galaxies = pd.DataFrame({"id_str": IDS})
    galaxies["split"] = galaxies["id_str"].map(split_of)
    held_back = split_by_hash(galaxies[galaxies["split"] != "test"], eval_size=0.125)["eval"]
    assert set(held_back["id_str"]) == set(galaxies["id_str"][galaxies["split"] == "val"])


@pytest.mark.parametrize(
    "column",
    [
        "smooth-or-featured_featured-or-disk_fraction",
        "smooth-or-featured-dr5_featured-or-disk_fraction",
        "predicted_featured-or-disk_fraction",
    ],
)
def test_fractions_are_found_by_their_names(column):
    table = pd.DataFrame({column: [0.4, 0.5, np.nan], f"{column}_low": 1.0})
    assert list(passes_cuts("t.csv", table, min_featured=0.5, min_face_on=None)) == [False, True, False]


def test_fractions_of_two_campaigns_are_ambiguous():
    table = pd.DataFrame({"disk-edge-on-dr5_no_fraction": [1], "disk-edge-on-dr8_no_fraction": [1]})
    with pytest.raises(
        ValueError, match=r"t.csv: .*min_face_on .* found disk-edge-on-dr5_no_fraction, disk-edge-on-dr8"
    ):
        passes_cuts("t.csv", table, min_face_on=0.5)
