"""Make training catalogues of real galaxies of several surveys.

    python examples/real_galaxies/catalogs.py real decals --builder builder --out catalogs

`real` and `decals` are folders of the published data (docs/real_galaxies.md), `builder` is a folder that
`examples/galaxy_builder.py` has written. The votes of `gz2.csv` are those of the tree gz2_ortho. `classes.csv` (gz1,
kaggle, artifacts), `decals.csv` and `examples.csv` have the questions of the tree galaxy_zoo that their labels answer;
`builder.csv` and `second_group.csv` have the masks of both groups of volunteers, `arms.csv` is for training. The column
`split` divides the galaxies by a hash of `id_str`, so that a galaxy that is in two surveys is in the same part;
`test_ids.txt` lists all galaxies of the part `test`. Images of anonymous galaxies that look like a galaxy of val or
test are left out, or the scores would not be honest.
"""

import argparse
import os
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from real_figures import ANSWERS, QUESTIONS

from zoobot3d_tf.catalogs.selection import split_of
from zoobot3d_tf.common_tree import CLASS_VOTES, class_answers
from zoobot3d_tf.files import write_atomically
from zoobot3d_tf.progress import Progress
from zoobot3d_tf.schemas import get_schema
from zoobot3d_tf.tables.formats import read_table, write_table

SAME = 0.97
"""Correlation of the pixels of two images from which they show the same galaxy."""
PATHS = ["file_loc", "marks_loc", "spiral_mask_loc", "bar_mask_loc"]
ANONYMOUS = ("kaggle", "artifacts")
"""Sets whose ids do not say which galaxy an image shows."""
DRAWN = ("builder", "second_group", "arms")
"""Sets with masks instead of votes."""
PREDICTED_VOTES = 20
"""Number of votes that a published prediction of a vote fraction counts as: half the votes of a galaxy."""
SMALL = 32  # side of the images that are compared, in pixels


def main() -> None:
    """Parse the arguments and write the catalogues."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("real", type=Path, help="Folder with gz1, gz2, kaggle, artifacts and examples")
    parser.add_argument(
        "decals", type=Path, help="Folder of DECaLS galaxies, with vote_catalog.csv and ring_catalog.csv"
    )
    parser.add_argument("--builder", type=Path, help="Folder that examples/galaxy_builder.py has written")
    parser.add_argument("--out", type=Path, required=True, help="Folder to fill")
    args = parser.parse_args()
    catalogs = {
        "gz2": gz2(args.real / "gz2"),
        "gz1": classes(args.real / "gz1", "class_catalog.csv", "gz1_class"),
        "decals": decals(args.decals),
        "examples": examples(args.real / "examples"),
        **(builder(args.builder) if args.builder else {}),
        "kaggle": classes(args.real / "kaggle", "catalog.csv", "class"),
        "artifacts": classes(args.real / "artifacts", "catalog.csv", None),
    }
    catalogs = {name: table.assign(split=table["id_str"].map(split_of)) for name, table in catalogs.items()}
    # The anonymous sets have no masks, so they cannot tell anything about those of Galaxy Builder.
    kept_back = pd.concat([table for name, table in catalogs.items() if name not in (*ANONYMOUS, *DRAWN)])
    seen = small_images(kept_back[kept_back["split"] != "train"]["file_loc"])
    for name in ANONYMOUS:
        table = catalogs[name]
        same = looks_like(small_images(table["file_loc"]), seen)
        print(f"{name}: {same.sum()} of {len(table)} images look like a galaxy of val or test, and are left out")
        catalogs[name] = table[~same].assign(split="train")
    catalogs["classes"] = pd.concat([catalogs.pop(name) for name in ("gz1", *ANONYMOUS)], ignore_index=True)
    for name, table in catalogs.items():
        path = args.out / f"{name}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        for column in table.columns.intersection(PATHS):
            table[column] = [os.path.relpath(location, args.out) for location in table[column]]
        write_table(table, path)
        print(f"{path}: {len(table)} galaxies, {table['split'].value_counts().to_dict()}")
    test_ids = sorted(
        {id_str for table in catalogs.values() for id_str in table.loc[table["split"] == "test", "id_str"]}
    )
    write_atomically(args.out / "test_ids.txt", "\n".join(test_ids) + "\n")


def gz2(folder: Path) -> pd.DataFrame:
    """Read the votes of Galaxy Zoo 2."""
    table = _read(folder, "vote_catalog.csv")
    return table[["id_str", "file_loc", *get_schema("gz2_ortho").label_cols]]


def classes(folder: Path, name: str, column: str | None) -> pd.DataFrame:
    """Read one class per galaxy as votes. Without a column, all galaxies are artefacts."""
    table = _read(folder, name)
    found = [
        class_answers(text) if text else ()
        for text in (table[column].fillna("") if column else ["artifact"] * len(table))
    ]
    return _votes(table, found)


def decals(folder: Path) -> pd.DataFrame:
    """Read the votes of DECaLS, the published predictions of other fractions, and the tags of rings.

    Few galaxies have votes. For the others, the fractions that Walmsley et al. 2022 predicted count as
    `PREDICTED_VOTES` votes; the share of artefacts, which is not given, is the mean of the votes. A tag of a ring,
    which is less certain than a class, is one vote.
    """
    rings, votes = (_read(folder, f"{name}_catalog.csv").set_index("id_str") for name in ("ring", "vote"))
    question = get_schema("galaxy_zoo").questions[0]
    smooth, featured, artifact = (answer.text for answer in question.answers)
    counted = votes[[smooth, featured, artifact]]
    table = pd.DataFrame(index=rings.index)
    table[featured] = (PREDICTED_VOTES * rings["predicted_featured-or-disk_fraction"]).round()
    table[artifact] = round(PREDICTED_VOTES * counted[artifact].sum() / counted.to_numpy().sum())
    table[smooth] = (PREDICTED_VOTES - table[featured] - table[artifact]).clip(lower=0)
    table.loc[counted.index, counted.columns] = counted
    for name in ("disk-edge-on", "has-spiral-arms"):
        table[f"{name}_no"] = (PREDICTED_VOTES * rings[f"predicted_{name}_no_fraction"]).round()
        table[f"{name}_yes"] = PREDICTED_VOTES - table[f"{name}_no"]
    table = table.join(rings[["ring_yes", "ring_no"]]).astype("Int64")
    return rings[["file_loc"]].join(table).reset_index()


def examples(folder: Path) -> pd.DataFrame:
    """Read the images that the makers of Galaxy Zoo chose to illustrate an answer."""
    labels = read_table(folder / "labels.csv")
    columns = set(get_schema("galaxy_zoo").label_cols)
    column_of = {
        (row.question, text): row.predicted.split("|")[0]
        for row in ANSWERS[ANSWERS["texts"] != ""].itertuples()
        for text in row.texts.split("|")
    }
    labels["column"] = [
        column_of.get((QUESTIONS.get(question), str(answer)))
        for question, answer in zip(labels["question"], labels["answer"], strict=True)
    ]
    found = (
        labels[labels["column"].isin(columns)].groupby("image")["column"].agg(lambda texts: tuple(sorted(set(texts))))
    )
    table = pd.DataFrame({"id_str": found.index.str.removesuffix(".jpg"), "file_loc": "images/" + found.index})
    table["file_loc"] = [str(folder / location) for location in table["file_loc"]]
    return _votes(table, list(found))


def builder(folder: Path) -> dict[str, pd.DataFrame]:
    """Read the masks of both groups of Galaxy Builder, as fractions of the volunteers who drew an arm or a bar.

    On average 11 of the 30 volunteers stopped before these steps of the interface, whatever the galaxy shows. As
    fractions of all who were asked, masks would be half as strong as those of surveys that ask for one structure only.

    `arms` has the arms of the first group alone, for training. The bars were drawn as boxes of approximate length, and
    two groups of volunteers agree less on them than a threshold of brightness agrees with either.
    """
    groups = {"builder": _read(folder, "catalog.csv"), "second_group": _read(folder, "second_group.csv")}
    groups = {name: table.assign(n_volunteers=table["n_drew"]).drop(columns="n_drew") for name, table in groups.items()}
    # The marks would bring the bars back.
    return groups | {"arms": groups["builder"].drop(columns=["bar_mask_loc", "marks_loc"], errors="ignore")}


def small_images(paths: pd.Series) -> np.ndarray:
    """Read images as small grey vectors of mean 0 and length 1, shape (images, pixels)."""
    rows = []
    for path in Progress(paths, unit="image"):
        pixels = np.asarray(Image.open(path).convert("L").resize((SMALL, SMALL), Image.Resampling.BOX), float).ravel()
        pixels -= pixels.mean()
        rows.append(pixels / max(np.linalg.norm(pixels), 1e-9))
    return np.array(rows)


def looks_like(images: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Determine which images show the same sky as one of the others, bool (images,)."""
    return (images @ others.T).max(axis=1) > SAME


def _read(folder: Path, name: str) -> pd.DataFrame:
    table = read_table(folder / name)
    found = table.columns.intersection(PATHS)
    return table.assign(**{column: [str(folder / location) for location in table[column]] for column in found})


def _votes(table: pd.DataFrame, answers: list[tuple[str, ...] | None]) -> pd.DataFrame:
    """Convert the answers that each galaxy's class implies to votes. Galaxies without an answer are left out."""
    columns = get_schema("galaxy_zoo").label_cols
    votes = pd.DataFrame(
        [[CLASS_VOTES * (column in (found or ())) for column in columns] for found in answers],
        index=table.index,
        columns=columns,
    )
    return table[["id_str", "file_loc"]].join(votes)[votes.any(axis=1)]


if __name__ == "__main__":
    main()
