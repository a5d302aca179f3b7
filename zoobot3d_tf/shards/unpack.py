"""Shards turned back into a labelled catalogue, so that whatever reads catalogues can read shards."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from zoobot3d_tf.images.masks import MASKS
from zoobot3d_tf.shards.manifest import Manifest, check_shards
from zoobot3d_tf.shards.read import naming_shard, read_records
from zoobot3d_tf.shards.record import parse
from zoobot3d_tf.tables.formats import write_table


def unpack(paths: Sequence[str | Path], folder: Path) -> Path:
    """Write the galaxies of shards as a labelled catalogue, with their images and masks as files.

    Images and masks are copied as they are stored, so that no pixel changes.

    Args:
        paths: paths of TFRecord files of one shard folder.
        folder: folder to fill with `catalog.csv`, `images/` and `masks/`. It is made if it is missing.

    Returns:
        Path of the catalogue, whose votes and label are those of the manifest of the shards.

    Raises:
        ValueError: the shards differ from their manifest, or a record is damaged.
        OSError: a shard does not exist, or the folder cannot be written.
    """
    manifest = check_shards(paths)
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    for path in paths:
        with naming_shard(path):
            for serialised in read_records([path]).batch(1):
                galaxy = {name: value.numpy()[0] for name, value in parse(serialised, manifest.n_answers).items()}
                rows.append(_write_galaxy(galaxy, manifest, folder, len(rows)))
    return write_table(pd.DataFrame(rows), folder / "catalog.csv")


def _write_galaxy(galaxy: dict[str, Any], manifest: Manifest, folder: Path, number: int) -> dict[str, Any]:
    """Write the image and the masks of a galaxy, and return its row of the catalogue."""
    row: dict[str, Any] = {"id_str": galaxy["id_str"].decode(), "file_loc": f"images/{number}.jpg"}
    (folder / row["file_loc"]).write_bytes(galaxy["image"])
    for mask in MASKS:
        row[f"{mask}_loc"] = ""
        if galaxy[f"has_{mask}"]:
            row[f"{mask}_loc"] = f"masks/{number}_{mask}.png"
            (folder / row[f"{mask}_loc"]).write_bytes(galaxy[mask])
    row |= {name: galaxy[name] for name in ("n_volunteers", "ra", "dec", "pixscale")}
    if manifest.schema is not None:
        row |= dict(zip(manifest.schema.label_cols, galaxy["votes"].astype(np.int64), strict=True))
    if (label := manifest.label) is not None:
        value = galaxy["label"] if galaxy["has_label"] else np.nan
        is_class = label.class_names and galaxy["has_label"]
        row[label.column] = label.class_names[int(value)] if is_class else value
    return row
