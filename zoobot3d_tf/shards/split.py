"""Division of labelled galaxies into those to train on and those to evaluate on, and a warning if either are few."""

import numpy as np
import pandas as pd

from zoobot3d_tf.catalogs.selection import hash_share
from zoobot3d_tf.catalogs.training_catalog import MASK_COLUMNS, has_mask
from zoobot3d_tf.files import PathLike, path_of
from zoobot3d_tf.labels import Label
from zoobot3d_tf.tables.columns import read_text, refuse, require_columns, shorten, suggest
from zoobot3d_tf.tables.formats import read_table

SPLIT_COLUMN = "split"
"""Column of a catalogue that divides its galaxies into train, val and test; see `build_catalog`."""
FEW_TO_EVALUATE = 20
"""Scores of fewer galaxies are reported with a warning: the 90 % interval of a share of one half is wider than 0.37."""
FEW_TO_TRAIN = 100
"""Training on fewer galaxies is reported with a warning."""
FEW_OF_CLASS = 5
"""Fewer galaxies of a class, in either part, are reported with a warning."""


def split_by_hash(labelled: pd.DataFrame, eval_size: float) -> dict[str, pd.DataFrame]:
    """Divide labelled galaxies into `train` and `eval` by a hash of their ids. The seed has no influence.

    A number of galaxies is converted to a share, rounded to two digits. If the catalogue grows slightly, the share
    stays the same, and each galaxy stays in its split.

    Args:
        labelled: table with one row per galaxy and the column `id_str`.
        eval_size: approximate number of galaxies of `eval`, or their share if below 1.

    Returns:
        Rows of `train` and of `eval`, in the order of the table.

    Raises:
        ValueError: a split would be empty.
    """
    share = eval_size if eval_size < 1 else float(f"{eval_size / len(labelled):.2g}")
    splits = _divide(labelled, np.array([hash_share(id_str) < share for id_str in labelled["id_str"]], dtype=bool))
    for split, change in (("train", "smaller"), ("eval", "larger")):
        if splits[split].empty:
            raise ValueError(
                f"eval_size must be {change} than {eval_size:g}: none of the {len(labelled)} labelled galaxies would "
                f"be in the split {split}"
            )
    return splits


def split_by_class(labelled: pd.DataFrame, eval_size: float, seed: int, label: Label | None) -> dict[str, pd.DataFrame]:
    """Divide labelled galaxies into `train` and `eval` with exact numbers, in total and of each class.

    The numbers of the classes in `eval` are in proportion to those in the table, rounded by largest remainder (the
    method of Hamilton, or Hare): each is the whole number below or above its exact share. Galaxies without a class, and
    all galaxies if the label has no classes, are divided by what is known of them: votes, masks, marks, a label. Within
    a class a hash of seed and id decides, so that the order of the table has no influence. Another galaxy in the table
    may move galaxies from one split to the other, which `split_by_hash` avoids.

    Args:
        labelled: rows as `read_training_catalog` returns them, with `label` as `read_labels` returns it.
        eval_size: number of galaxies of `eval`, or their share if below 1.
        seed: number that chooses one of the possible divisions.
        label: the label; None if there is none.

    Returns:
        Rows of `train` and of `eval`, in the order of the table.

    Raises:
        ValueError: a split would be empty.
    """
    n_eval = round(eval_size * len(labelled)) if eval_size < 1 else int(eval_size)
    if not 0 < n_eval < len(labelled):
        raise ValueError(
            f"eval_size must leave galaxies to train on and to evaluate on; received {eval_size:g}, which is {n_eval} "
            f"of {len(labelled)} labelled galaxies"
        )
    groups = _groups(labelled, label)
    numbers = largest_remainders(np.bincount(groups), n_eval)
    keys = np.array([hash_share(f"split {seed} of {id_str}") for id_str in labelled["id_str"]])
    is_eval = np.zeros(len(labelled), bool)
    for group, number in enumerate(numbers):
        rows = np.flatnonzero(groups == group)
        is_eval[rows[np.argsort(keys[rows])[:number]]] = True
    return _divide(labelled, is_eval)


def split_by_ids(labelled: pd.DataFrame, ids: list[str]) -> dict[str, pd.DataFrame]:
    """Divide labelled galaxies into `eval`, which has the given ids, and `train`.

    Args:
        labelled: table with one row per galaxy and the column `id_str`.
        ids: ids of the galaxies to evaluate on; see `read_ids`.

    Returns:
        Rows of `train` and of `eval`, in the order of the table.

    Raises:
        ValueError: a split would be empty.
    """
    splits = _divide(labelled, labelled["id_str"].isin(ids).to_numpy())
    for split, fault in (("train", "all"), ("eval", "none")):
        if splits[split].empty:
            raise ValueError(
                f"eval_ids must name some of the galaxies to evaluate on, and leave others to train on; it names "
                f"{fault} of the {len(labelled)} labelled galaxies that are used"
            )
    return splits


def read_ids(path: PathLike, catalog: PathLike, known: pd.Series) -> list[str]:
    """Read ids of galaxies.

    Args:
        path: text file `*.txt` with one id per line; or a table with the column `id_str`, see `read_table`.
        catalog: path of the catalogue that holds the galaxies, for errors.
        known: ids of the catalogue.

    Returns:
        The ids, each once.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file holds no id, or ids that are not in the catalogue, or cannot be read.
    """
    path = path_of(path)
    if path.suffix.lower() == ".txt":
        try:
            lines = path.read_text(encoding="utf-8-sig").splitlines()
        except UnicodeDecodeError as error:
            raise ValueError(f"{path}: must be text in UTF-8, with one id per line; {error}") from None
    else:
        table = read_table(path)
        require_columns(path, table.columns, ["id_str"])
        lines = list(read_text(path, table, "id_str"))
    ids = list(dict.fromkeys(filter(None, map(str.strip, lines))))
    if not ids:
        raise ValueError(f"{path}: holds no id; give the id_str of one galaxy per line")
    if unknown := sorted(set(ids) - set(known)):
        raise ValueError(
            f"{path}: {len(unknown)} of its {len(ids)} ids are not in {catalog}: {shorten(unknown)}"
            f"{suggest(unknown[0], known)}"
        )
    return ids


def read_split_column(catalog: PathLike, table: pd.DataFrame) -> pd.Series:
    """Read the column `split`.

    Args:
        catalog: path of the catalogue, for errors.
        table: table as `read_table` returns it.

    Returns:
        train, val or test for each galaxy.

    Raises:
        ValueError: a cell holds something else.
    """
    split = read_text(catalog, table, SPLIT_COLUMN)
    rule = "it must be train, val or test; rename the column if it has another meaning"
    refuse(catalog, table, SPLIT_COLUMN, ~split.isin(["train", "val", "test"]), rule)
    return split


def split_by_column(catalog: PathLike, labelled: pd.DataFrame, split: pd.Series) -> dict[str, pd.DataFrame]:
    """Divide labelled galaxies into `train` and `eval` by the column `split`.

    Args:
        catalog: path of the catalogue, for errors.
        labelled: table with one row per galaxy, without those of the split test.
        split: the column, as `read_split_column` returns it; it may have more rows.

    Returns:
        Rows of `train` and of `eval`, in the order of the table.

    Raises:
        ValueError: a split would be empty.
    """
    splits = _divide(labelled, (split[labelled.index] == "val").to_numpy())
    for name, value in (("train", "train"), ("eval", "val")):
        if splits[name].empty:
            raise ValueError(
                f"{catalog}: none of the {len(labelled)} galaxies for training and evaluation has the {SPLIT_COLUMN} "
                f"{value!r}; both need galaxies"
            )
    return splits


def few_galaxies(splits: dict[str, pd.DataFrame], label: Label | None) -> list[str]:
    """Say which numbers of galaxies are small.

    Args:
        splits: rows of `train` and `eval` as `read_training_catalog` returns them, with `label` as `read_labels`
            returns it.
        label: the label; None if there is none.

    Returns:
        One text per small number, such as "7 with a label to evaluate on (fewer than 20)". A kind of label that no
        galaxy has is not mentioned.
    """
    texts, of_classes = [], []
    kinds = {split: _kinds(rows) for split, rows in splits.items()}
    for split, use, least in (("eval", "to evaluate on", FEW_TO_EVALUATE), ("train", "to train on", FEW_TO_TRAIN)):
        for kind, has_it in kinds[split].items():
            is_known = any(of_split[kind].any() for of_split in kinds.values())
            if is_known and has_it.sum() < least:
                texts.append(f"{has_it.sum()} with {kind} {use} (fewer than {least})")
        for index, name in enumerate(label.class_names if label else ()):
            number = int((splits[split]["label"] == index).sum())
            if label and number < FEW_OF_CLASS:
                of_classes.append(f"{number} with {label.column} {name!r} {use} (fewer than {FEW_OF_CLASS})")
    return texts + of_classes


def largest_remainders(sizes: np.ndarray, total: int) -> np.ndarray:
    """Distribute a total in proportion to sizes, in whole numbers.

    Each group receives its exact share rounded down. What is left goes, one each, to the groups with the largest
    remainders; of equal remainders, to the first. See Balinski & Young (1982, Fair Representation).

    Args:
        sizes: sizes of the groups, int, shape (groups,), not all 0.
        total: number to distribute, from 0 to the sum of the sizes.

    Returns:
        Numbers of the groups, int, shape (groups,). Their sum is the total, and none exceeds its size.
    """
    # In whole numbers, since rounding would decide between equal remainders.
    numbers, remainders = np.divmod(sizes.astype(np.int64) * total, sizes.sum())
    left = total - int(numbers.sum())
    numbers[np.argsort(-remainders, kind="stable")[:left]] += 1
    return numbers


def _divide(labelled: pd.DataFrame, is_eval: np.ndarray) -> dict[str, pd.DataFrame]:
    return {"train": labelled[~is_eval], "eval": labelled[is_eval]}


def _groups(labelled: pd.DataFrame, label: Label | None) -> np.ndarray:
    """Number of the group of each galaxy, from 0: its class or, without one, what is known of it."""
    known = labelled[list(MASK_COLUMNS)] != ""
    known = known.assign(votes=labelled["has_votes"], label=labelled["label"].notna())
    if label and label.class_names:
        known[labelled["label"].notna()] = False
        known["label"] = labelled["label"]
    return known.groupby(list(known), dropna=False).ngroup().to_numpy()


def _kinds(rows: pd.DataFrame) -> dict[str, pd.Series]:
    return {"votes": rows["has_votes"], "a mask": has_mask(rows), "a label": rows["label"].notna()}
