"""The galaxies that a run has seen, so that an evaluation can leave them out."""

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from zoobot3d_tf.files import whole_file
from zoobot3d_tf.runs.run_folder import SEEN_NAME
from zoobot3d_tf.tables.formats import read_table

PARTS = ("training", "start", "validation")
"""What a run used galaxies for: its own training, the training of the network that it began with, or the choice of its
best epoch. A galaxy that was used more than once has the first of these."""


def write_seen(folder: Path, training: pd.DataFrame, validation: Iterable[str], start: Path | None = None) -> None:
    """Write the galaxies that a run has seen to its folder.

    Args:
        folder: run folder.
        training: galaxies that the run was trained on: `id_str`, and one column of votes per answer of its tree, from
            which baselines such as the mean vote follow.
        validation: `id_str` of the galaxies that chose its best epoch.
        start: folder of the run that it began with, if any.
    """
    earlier = None if start is None else read_seen(start)
    began_with = [] if earlier is None else earlier.loc[earlier["part"] != "validation", "id_str"].tolist()
    others = [pd.DataFrame({"id_str": list(ids)}, dtype=str) for ids in (began_with, validation)]
    table = pd.concat([training, *others], keys=PARTS, names=["part", "row"]).reset_index("part")
    with whole_file(folder / SEEN_NAME) as partial:
        table.drop_duplicates("id_str").to_parquet(partial, index=False)


def read_seen(folder: Path) -> pd.DataFrame | None:
    """Read the galaxies that a run has seen.

    Args:
        folder: run folder.

    Returns:
        Table with the columns `id_str`, `part`, which is one of `PARTS`, and the votes of the galaxies of the part
        "training"; None for a run of an earlier version, which did not record them.

    Raises:
        ValueError: the file is damaged.
    """
    path = folder / SEEN_NAME
    if not path.is_file():
        return None
    table = read_table(path)
    if not {"id_str", "part"} <= set(table) or not table["part"].isin(PARTS).all():
        raise ValueError(f"{path}: must have the columns id_str and part, which is {', '.join(PARTS)}")
    return table
