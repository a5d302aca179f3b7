"""Division of galaxies into those to train on and those to evaluate on: exact numbers, ids from files, warnings."""

import numpy as np
import pandas as pd
import pytest

from zoobot3d_tf.catalogs.training_catalog import MASK_COLUMNS
from zoobot3d_tf.labels import Label
from zoobot3d_tf.shards.split import (
    few_galaxies,
    largest_remainders,
    read_ids,
    split_by_class,
    split_by_hash,
    split_by_ids,
)

RING = Label("ring", "binary")


def galaxies(n: int, n_rings: int = 0, n_unlabelled: int = 0) -> pd.DataFrame:
    """Galaxies without votes and masks, of which the first have a ring and the last have no label."""
    labels = np.r_[np.ones(n_rings), np.zeros(n - n_rings - n_unlabelled), np.full(n_unlabelled, np.nan)]
    table = pd.DataFrame({"id_str": [f"J{i}" for i in range(n)], "label": labels, "has_votes": False})
    return table.assign(**dict.fromkeys(MASK_COLUMNS, ""))


@pytest.mark.parametrize(
    ("sizes", "total", "numbers"),
    [
        ([53, 24, 23], 10, [5, 3, 2]),  # shares 5.3, 2.4, 2.3: the one that is left goes to .4
        ([50, 50], 3, [2, 1]),  # equal remainders: the first
        ([7, 0, 3], 10, [7, 0, 3]),
        ([7, 3], 0, [0, 0]),
    ],
)
def test_largest_remainders(sizes, total, numbers):
    np.testing.assert_array_equal(largest_remainders(np.array(sizes), total), numbers)


def test_a_seed_gives_exact_numbers_of_each_class():
    table = galaxies(60, n_rings=9, n_unlabelled=6)
    splits = split_by_class(table, 0.2, 0, RING)
    # 12 of 60: the shares are 1.8 rings, 9 others, 1.2 without a label.
    held_back = splits["eval"]["label"]
    assert [(held_back == 1).sum(), (held_back == 0).sum(), held_back.isna().sum()] == [2, 9, 1]
    assert len(splits["train"]) == 48
    assert set(splits["train"]["id_str"]) | set(splits["eval"]["id_str"]) == set(table["id_str"])
    assert len(split_by_class(table, 13, 0, RING)["eval"]) == 13


def test_a_seed_gives_the_same_galaxies_in_any_order_of_rows():
    table = galaxies(60, n_rings=9)
    chosen = [
        set(split_by_class(rows, 12, seed, RING)["eval"]["id_str"])
        for rows, seed in ((table, 1), (table.sample(frac=1, random_state=0), 1), (table, 2))
    ]
    assert chosen[0] == chosen[1] != chosen[2]
    assert split_by_class(table, 12, 1, RING)["eval"].index.is_monotonic_increasing


def test_galaxies_without_classes_are_divided_by_what_is_known():
    table = galaxies(50)
    table["has_votes"] = True
    table.loc[:9, "spiral_mask_loc"] = "spiral.png"
    for label in (None, Label("mass", "regression")):
        splits = split_by_class(table, 10, 3, label)
        assert (splits["eval"]["spiral_mask_loc"] != "").sum() == 2
        assert len(splits["eval"]) == 10


@pytest.mark.parametrize(("size", "words"), [(60, "received 60, which is 60 of 60"), (0.001, "which is 0 of 60")])
def test_an_exact_split_needs_both_parts(size, words):
    with pytest.raises(ValueError, match=f"eval_size must leave galaxies.*{words}"):
        split_by_class(galaxies(60, 9), size, 0, RING)


def test_ids_are_read_from_text_and_tables(tmp_path):
    known = pd.Series(["01", "J 2", "J3"])
    (tmp_path / "ids.txt").write_text("01\r\nJ 2 \n\nJ 2\n", encoding="utf-8-sig")
    pd.DataFrame({"id_str": ["01", "J 2"], "ring": 1}).to_csv(tmp_path / "ids.csv", index=False)
    for name in ("ids.txt", "ids.csv"):
        assert read_ids(tmp_path / name, "catalog.csv", known) == ["01", "J 2"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"J1\nJ9\nJ8\n", r"ids\.txt: 2 of its 3 ids are not in catalog\.csv: J8, J9$"),
        (b"j1\n", r"1 of its 1 ids are not in catalog\.csv: j1; did you mean J1\?"),
        (b"\n", "holds no id"),
        (b"\xff\xfe\x00", "text in UTF-8"),
    ],
)
def test_ids_that_cannot_be_used_are_named(tmp_path, content, words):
    (tmp_path / "ids.txt").write_bytes(content)
    with pytest.raises(ValueError, match=words):
        read_ids(tmp_path / "ids.txt", "catalog.csv", pd.Series(["J1"]))


def test_ids_decide_which_galaxies_are_evaluated():
    splits = split_by_ids(galaxies(5), ["J3", "J0"])
    assert list(splits["eval"]["id_str"]) == ["J0", "J3"]
    assert list(splits["train"]["id_str"]) == ["J1", "J2", "J4"]
    for ids, words in (([f"J{i}" for i in range(5)], "all of the 5"), (["J9"], "none of the 5")):
        with pytest.raises(ValueError, match=words):
            split_by_ids(galaxies(5), ids)


def test_small_numbers_are_told():
    table = galaxies(60, n_rings=9, n_unlabelled=6)
    assert few_galaxies(split_by_class(table, 12, 0, RING), RING) == [
        "11 with a label to evaluate on (fewer than 20)",
        "43 with a label to train on (fewer than 100)",
        "2 with ring '1' to evaluate on (fewer than 5)",
    ]


def test_numbers_that_suffice_are_not_told():
    table = galaxies(125, n_rings=50)
    splits = split_by_class(table, 25, 0, RING)
    assert few_galaxies(splits, RING) == []
    splits["eval"].loc[splits["eval"].index[0], "bar_mask_loc"] = "bar.png"
    assert few_galaxies(splits, RING) == [
        "1 with a mask to evaluate on (fewer than 20)",
        "0 with a mask to train on (fewer than 100)",
    ]


def test_a_hash_leaves_the_size_to_chance():
    """Why small sets need an exact split: 12 of 60 are asked for."""
    surveys = [galaxies(60).assign(id_str=[f"{k}-{i}" for i in range(60)]) for k in range(20)]
    sizes = [len(split_by_hash(survey, 12)["eval"]) for survey in surveys]
    assert min(sizes) < 10
    assert max(sizes) > 14
