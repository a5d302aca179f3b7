"""Make a training catalogue from Galaxy Builder, where volunteers drew spiral arms as lines and bars as boxes.

python examples/galaxy_builder.py galaxy_builder --out builder
zoobot3d shards --labelled-catalog builder/catalog.csv --shard-dir shards --schema none --img-size 300

The folder has `annotations.json.gz`, what 30 volunteers drew on each image (Lingard et al. 2020, 2021), and the
images, r band of the SDSS, 512 x 512 pixels. The output folder receives `catalog.csv` and its images, marks and masks.
An arm is a line 24 pixels wide, a bar the outline of its box. If nobody drew a bar, the bar mask is zero everywhere.

Some galaxies were drawn twice, by two groups of volunteers. `catalog.csv` has the first group, `second_group.csv` the
second: the agreement of the groups is the most that a network can reach.

Galaxies are left out if few volunteers drew arms, or if their arms do not agree (published alignment score below 0.2).
Arms are left out if nobody else drew them: less than a third of the arm's pixels is in arms of other volunteers.
"""

import argparse
import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image
from tqdm import tqdm

from zoobot3d_tf.files import one_owner, path_of, whole_file, write_atomically
from zoobot3d_tf.images.masks import MASKS, Marks, counts_from_marks
from zoobot3d_tf.images.read import read_image
from zoobot3d_tf.tables.formats import write_table

ARM_WIDTH = 24
"""Width of arms, in pixels of the image."""
MIN_ALIGNMENT = 0.2
"""Smallest alignment score of the arms of a galaxy."""
MIN_SHARED = 1 / 3
"""Smallest share of the pixels of an arm that other volunteers marked too."""
ANNOTATIONS = "annotations.json.gz"
TABLES = {False: "catalog.csv", True: "second_group.csv"}
"""Catalogue of the first group of volunteers, and of the second."""


def read_annotations(folder: Path) -> list[dict[str, Any]]:
    """Read what the volunteers drew, one entry per galaxy and group of volunteers.

    Raises:
        ValueError: the file is missing or cannot be read, or the volunteers of an entry are not a list.
    """
    path = folder / ANNOTATIONS
    try:
        entries = list(json.loads(gzip.decompress(path.read_bytes())).values())
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file; the folder must be that of the Galaxy Builder data") from None
    except (OSError, EOFError, ValueError, AttributeError) as error:
        raise ValueError(f"{path}: cannot be read as annotations: {error}") from error
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
    """Write image, marks and masks of an entry; return its row of the catalogue, and the number of arms left out.

    Raises:
        ImageError: the image is missing or damaged.
    """
    id_str = entry["dr7objid"]
    name = f"{id_str}_second" if entry["is_validation"] else id_str
    image = folder / entry["image"]
    shape = read_image(image).shape[:2]
    marks = marks_of(entry)
    marks["spiral_mask"], n_dropped = drop_unshared(marks["spiral_mask"], shape)
    row = {"id_str": id_str, "file_loc": f"images/{image.name}", "marks_loc": f"marks/{name}.json"}
    write_atomically(out / row["file_loc"], image.read_bytes())
    write_atomically(out / row["marks_loc"], json.dumps(marks, separators=(",", ":")))
    for mask in MASKS:
        row[f"{mask}_loc"] = f"masks/{name}_{mask}.png"
        with whole_file(out / row[f"{mask}_loc"]) as partial:
            Image.fromarray(counts_from_marks(marks[mask], shape)).save(partial, format="PNG")
    return row | {"n_volunteers": len(entry["volunteers"]), "ra": entry["ra"], "dec": entry["dec"]}, n_dropped


def main() -> None:
    """Write the catalogues of both groups, and print how many galaxies and arms were left out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=path_of, help=f"folder with {ANNOTATIONS} and the images")
    parser.add_argument("--out", type=path_of, required=True, help="output folder")
    args = parser.parse_args()
    try:
        entries = read_annotations(args.folder)
    except ValueError as error:
        parser.error(str(error))
    for folder in ("images", "marks", "masks"):
        (args.out / folder).mkdir(parents=True, exist_ok=True)
    rows: dict[bool, list] = {group: [] for group in TABLES}
    left_out: Counter[str] = Counter()
    with one_owner(args.out):
        for entry in tqdm(entries, unit="galaxy", disable=None):
            if entry["align_score"] < MIN_ALIGNMENT:
                left_out["galaxies"] += 1
                continue
            row, n = write_galaxy(entry, args.folder, args.out)
            left_out["arms"] += n
            rows[entry["is_validation"]].append(row)
        for group, name in TABLES.items():
            write_table(pd.DataFrame(rows[group]), args.out / name)
    print(left_out, {name: len(rows[group]) for group, name in TABLES.items()})


if __name__ == "__main__":
    main()
