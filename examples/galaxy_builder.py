"""Make a training catalogue from Galaxy Builder, where volunteers drew spiral arms as lines and bars as boxes.

python examples/galaxy_builder.py galaxy_builder --out builder
zoobot3d shards --labelled-catalog builder/catalog.csv --shard-dir shards --schema none --img-size 300

The folder has `annotations.json.gz`, what 30 volunteers drew on each image (Lingard et al. 2020, 2021), and the
images, r band of the SDSS, 512 x 512 pixels. The output folder receives `catalog.csv` and its images, marks and masks.
An arm is a line 24 pixels wide, a bar the outline of its box. If nobody drew a bar, the bar mask is zero everywhere.

Some galaxies were drawn twice, by two groups of volunteers. `catalog.csv` has the first group, `second_group.csv` the
second: the agreement of the groups is the most that a network can reach. `n_volunteers` is the number of volunteers who
were asked, 30. Many of them stopped before the steps of bar and arms; `n_drew` is the number who drew an arm or a bar.

A galaxy is left out of the table of a group if few of its volunteers drew arms, or if their arms do not agree
(alignment score of the annotations below 0.2). An arm is left out if nobody else drew it: less than a third of its
pixels is in arms of other volunteers. To continue an interrupted run, repeat the command.
"""

import argparse
import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from zoobot3d_tf.files import one_owner, path_of, whole_file, write_atomically
from zoobot3d_tf.images.masks import MASKS, Marks, counts_from_marks
from zoobot3d_tf.images.read import read_image
from zoobot3d_tf.progress import Progress, write_line
from zoobot3d_tf.tables.formats import write_table

ARM_WIDTH = 24
"""Width of arms, in pixels of the image."""
MIN_ALIGNMENT = 0.2
"""Smallest alignment score of the arms of a galaxy."""
MIN_SHARED = 1 / 3
"""Smallest share of the pixels of an arm that other volunteers marked too."""
ANNOTATIONS = "annotations.json.gz"
KEYS = ("dr7objid", "is_validation", "ra", "dec", "image", "align_score", "volunteers")
"""What each entry of the annotations must have."""
TABLES = {False: "catalog.csv", True: "second_group.csv"}
"""Catalogue of the first group of volunteers, and of the second (`is_validation`)."""
COLUMNS = ["id_str", "file_loc", "marks_loc", *(f"{mask}_loc" for mask in MASKS), "n_volunteers", "n_drew", "ra", "dec"]


def read_annotations(folder: Path) -> list[dict[str, Any]]:
    """Read what the volunteers drew, one entry per galaxy and group of volunteers.

    Raises:
        ValueError: the file is missing or cannot be read, or an entry lacks a key.
    """
    path = folder / ANNOTATIONS
    try:
        entries = list(json.loads(gzip.decompress(path.read_bytes())).values())
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file; the folder must be that of the Galaxy Builder data") from None
    except (OSError, EOFError, ValueError, AttributeError) as error:
        raise ValueError(f"{path}: cannot be read as annotations: {error}") from error
    for number, entry in enumerate(entries):
        missing = [key for key in KEYS if not isinstance(entry, dict) or key not in entry]
        if missing:
            raise ValueError(f"{path}: entry {number}, counted from 0, must have the key {missing[0]}")
    return entries


def marks_of(entry: dict[str, Any]) -> dict[str, Marks]:
    """Marks of an entry by the name of the mask, in pixels of the image: arms are lines, bars are outlines."""
    volunteers = entry["volunteers"]
    return {
        "spiral_mask": [[{"line": arm, "width": ARM_WIDTH} for arm in one["arms"]] for one in volunteers],
        "bar_mask": [[one["bar"]["box_px"]] if one["bar"] else [] for one in volunteers],
    }


def shared_fractions(marks: Marks, shape: tuple[int, int]) -> list[list[float]]:
    """Measure which fraction of the pixels of each component other volunteers marked too.

    Args:
        marks: marks of the volunteers.
        shape: height and width of the image, in pixels.

    Returns:
        Fractions, [volunteer][component]; 0 for a component outside the image.
    """
    own = [counts_from_marks([components], shape) for components in marks]
    total = sum(own, np.zeros(shape, dtype=np.uint8))
    fractions = []
    for components, mask in zip(marks, own, strict=True):
        others = total > mask
        drawn = [counts_from_marks([[component]], shape) > 0 for component in components]
        fractions.append([float(others[pixels].mean()) if pixels.any() else 0.0 for pixels in drawn])
    return fractions


def drop_unshared(marks: Marks, shape: tuple[int, int]) -> tuple[Marks, int]:
    """Leave out the components of which other volunteers marked less than `MIN_SHARED`; return also their number."""
    fractions = shared_fractions(marks, shape)
    kept = [
        [component for component, fraction in zip(*pair, strict=True) if fraction >= MIN_SHARED]
        for pair in zip(marks, fractions, strict=True)
    ]
    return kept, sum(map(len, marks)) - sum(map(len, kept))


def write_galaxy(entry: dict[str, Any], folder: Path, out: Path) -> tuple[dict[str, Any], int]:
    """Write image, marks and masks of an entry.

    Args:
        entry: what a group of volunteers drew on a galaxy.
        folder: folder of the Galaxy Builder data.
        out: output folder, with the folders `images`, `marks` and `masks`.

    Returns:
        The row of the catalogue, and the number of arms that were left out.

    Raises:
        ValueError: the image cannot be read, or a volunteer drew something that is neither an arm nor a box.
    """
    id_str = entry["dr7objid"]
    name = f"{id_str}_second" if entry["is_validation"] else id_str
    image = folder / entry["image"]
    shape = read_image(image).shape[:2]
    marks = marks_of(entry)
    marks["spiral_mask"], n_dropped = drop_unshared(marks["spiral_mask"], shape)
    locs = {"file_loc": f"images/{image.name}", "marks_loc": f"marks/{name}.json"}
    write_atomically(out / locs["file_loc"], image.read_bytes())
    write_atomically(out / locs["marks_loc"], json.dumps(marks, separators=(",", ":")))
    for mask in MASKS:
        locs[f"{mask}_loc"] = f"masks/{name}_{mask}.png"
        with whole_file(out / locs[f"{mask}_loc"]) as partial:
            Image.fromarray(counts_from_marks(marks[mask], shape)).save(partial, format="PNG")
    position = {"ra": entry["ra"], "dec": entry["dec"]}
    n_drew = sum(bool(volunteer["arms"] or volunteer["bar"]) for volunteer in entry["volunteers"])
    return {"id_str": id_str, **locs, "n_volunteers": len(entry["volunteers"]), "n_drew": n_drew, **position}, n_dropped


def write_catalogs(entries: Sequence[dict[str, Any]], folder: Path, out: Path) -> None:
    """Write the catalogues of both groups, and print how many galaxies and arms were left out, and why.

    Args:
        entries: what the volunteers drew, see `read_annotations`.
        folder: folder of the Galaxy Builder data.
        out: output folder.

    Raises:
        OSError: a file cannot be written.
        ValueError: another command writes to the folder.
    """
    for name in ("images", "marks", "masks"):
        (out / name).mkdir(parents=True, exist_ok=True)
    aligned = [entry for entry in entries if entry["align_score"] >= MIN_ALIGNMENT]
    rows: dict[bool, list[dict[str, Any]]] = {group: [] for group in TABLES}
    n_arms_dropped = 0
    with one_owner(out):
        for entry in Progress(aligned, unit="galaxy"):
            try:
                row, n_dropped = write_galaxy(entry, folder, out)
            except ValueError as error:  # which names the file or the component
                write_line(f"left out: {entry['dr7objid']}: {error}")
                continue
            n_arms_dropped += n_dropped
            rows[entry["is_validation"]].append(row)
        for group, name in TABLES.items():
            write_table(pd.DataFrame(rows[group], columns=COLUMNS), out / name)
            n_drawn, n_aligned = (sum(entry["is_validation"] == group for entry in some) for some in (entries, aligned))
            print(
                f"{out / name}: {len(rows[group])} of {n_drawn} galaxies; left out: {n_drawn - n_aligned} with an "
                f"alignment score below {MIN_ALIGNMENT}, {n_aligned - len(rows[group])} that cannot be read"
            )
    n_arms = sum(len(one["arms"]) for entry in aligned for one in entry["volunteers"])
    print(f"arms left out, since others drew less than {MIN_SHARED:.2f} of their pixels: {n_arms_dropped} of {n_arms}")


def main() -> None:
    """Read the arguments, and write the catalogues."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=path_of, help=f"folder with {ANNOTATIONS} and the images")
    parser.add_argument("--out", type=path_of, required=True, help="output folder")
    args = parser.parse_args()
    try:
        write_catalogs(read_annotations(args.folder), args.folder, args.out)
    except (ValueError, OSError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
