"""Catalogues of real galaxies: votes of classes and examples, the split, and images that look the same."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1] / "examples" / "real_galaxies"))

import catalogs

from zoobot3d_tf.catalogs.selection import split_of
from zoobot3d_tf.schemas import get_schema

COMMON = get_schema("galaxy_zoo").label_cols


def draw(path: Path, seed: int, noise: float = 0.0) -> None:
    """An image of three random stars, with other noise each time."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:64, :64]
    light = sum(200 * np.exp(-((x - a) ** 2 + (y - b) ** 2) / 20) for a, b in rng.uniform(10, 54, (3, 2)))
    light = light + noise * np.random.default_rng(seed + 100).standard_normal(light.shape)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.clip(light, 0, 255).astype(np.uint8)).save(path)


def write(folder: Path, name: str, rows: list[dict]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).to_csv(folder / name, index=False)


def ids_in(split: str, n: int) -> list[str]:
    return [name for name in (f"g{k}" for k in range(1000)) if split_of(name) == split][:n]


@pytest.fixture
def real(tmp_path) -> Path:
    """All sets, small: galaxy `seen` of Galaxy Zoo 2 is a test galaxy, and one anonymous image shows it."""
    folder = tmp_path / "real"
    train, seen = ids_in("train", 1)[0], ids_in("test", 1)[0]
    votes = dict.fromkeys(get_schema("gz2_ortho").label_cols, 1)
    write(folder / "gz2", "vote_catalog.csv", [{"id_str": i, "file_loc": f"{i}.png"} | votes for i in (train, seen)])
    draw(folder / "gz2" / f"{train}.png", 1)
    draw(folder / "gz2" / f"{seen}.png", 2)
    write(folder / "gz1", "class_catalog.csv", [{"id_str": train, "file_loc": "a.png", "gz1_class": "dont-know"}])
    draw(folder / "gz1" / "a.png", 3)
    kaggle = [("same", "elliptical", 2, 4.0), ("other", "barred_spiral", 5, 0.0), ("plain", "", 6, 0.0)]
    rows = [{"id_str": i, "file_loc": f"{i}.png", "class": name} for i, name, *_ in kaggle]
    write(folder / "kaggle", "catalog.csv", rows)
    for i, _, seed, noise in kaggle:
        draw(folder / "kaggle" / f"{i}.png", seed, noise)
    write(folder / "artifacts", "catalog.csv", [{"id_str": "z", "file_loc": "z.png"}])
    draw(folder / "artifacts" / "z.png", 7)
    questions = {"How rounded is it?": "Completely round", "Is there any sign of a spiral arm pattern?": "No spiral"}
    labels = [{"survey": "gama", "question": q, "answer": a, "image": "u.jpg"} for q, a in questions.items()]
    write(
        folder / "examples",
        "labels.csv",
        [*labels, labels[0] | {"question": "Is there anything odd?", "answer": "Ring"}],
    )
    draw(folder / "examples" / "images" / "u.jpg", 8)
    decals = tmp_path / "decals"
    rings = [{"id_str": i, "file_loc": "j.png", "ring_yes": 0, "ring_no": 1} for i in ("J1", "J2")]
    predicted = {"featured-or-disk": 0.7, "disk-edge-on_no": 0.9, "has-spiral-arms_no": 0.26}
    rings = [row | {f"predicted_{name}_fraction": value for name, value in predicted.items()} for row in rings]
    write(decals, "ring_catalog.csv", rings)
    names = COMMON[:3]
    write(
        decals, "vote_catalog.csv", [{"id_str": "J1", "file_loc": "j.png"} | dict(zip(names, (9, 30, 1), strict=True))]
    )
    draw(decals / "j.png", 9)
    return folder


def votes_in(table: pd.DataFrame, id_str: str) -> dict[str, int]:
    row = table.set_index("id_str").loc[id_str]
    return {column: int(row[column]) for column in COMMON if column in row and row[column] > 0}


def test_labels_of_all_kinds_become_votes(real, tmp_path, monkeypatch, capsys):
    arguments = ["catalogs.py", str(real), str(real.parent / "decals"), "--out", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", arguments)
    catalogs.main()
    out = tmp_path / "out"
    classes = pd.read_csv(out / "classes.csv", dtype={"id_str": str})
    assert sorted(classes["id_str"]) == [
        "other",
        "z",
    ]  # not `same`, which shows a test galaxy, nor galaxies without class
    assert set(classes["split"]) == {"train"}
    assert votes_in(classes, "other") == {
        "smooth-or-featured_featured-or-disk": 5,
        "disk-edge-on_no": 5,
        "has-spiral-arms_yes": 5,
        "bar_yes": 5,
    }
    assert votes_in(classes, "z") == {"smooth-or-featured_artifact": 5}
    examples = pd.read_csv(out / "examples.csv")
    assert votes_in(examples, "u") == {"how-rounded_round": 5, "has-spiral-arms_no": 5}
    decals = pd.read_csv(out / "decals.csv")
    asked = {
        "disk-edge-on_no": 18,
        "disk-edge-on_yes": 2,
        "has-spiral-arms_no": 5,
        "has-spiral-arms_yes": 15,
        "ring_no": 1,
    }
    assert votes_in(decals, "J1") == dict(zip(COMMON[:3], (9, 30, 1), strict=True)) | asked
    # 0.7 of 20 votes; a fortieth of the votes were for artefacts, which rounds to none
    assert votes_in(decals, "J2") == dict(zip(COMMON[:2], (6, 14), strict=True)) | asked
    assert set(ids_in("test", 1)) <= set((out / "test_ids.txt").read_text().split())
    assert (out / pd.read_csv(out / "gz2.csv")["file_loc"][0]).is_file()
    assert "1 of 2 images look like a galaxy of val or test" in capsys.readouterr().out


def test_noise_does_not_hide_the_same_sky(tmp_path):
    for name, seed, noise in (("a", 1, 0.0), ("b", 1, 5.0), ("c", 2, 0.0)):
        draw(tmp_path / f"{name}.png", seed, noise)
    a, b, c = catalogs.small_images(pd.Series([str(tmp_path / f"{name}.png") for name in "abc"]))
    np.testing.assert_array_equal(catalogs.looks_like(np.array([b, c]), np.array([a])), [True, False])


def test_masks_are_fractions_of_those_who_drew(tmp_path):
    row = {"id_str": "1", "file_loc": "i.png", "spiral_mask_loc": "m.png", "n_volunteers": 30, "n_drew": 18}
    for name in ("catalog.csv", "second_group.csv"):
        write(tmp_path, name, [row])
    groups = catalogs.builder(tmp_path)
    assert set(groups) == {"builder", "second_group", "arms"}
    assert "bar_mask_loc" not in groups["arms"]
    for table in groups.values():
        assert table["n_volunteers"].tolist() == [18]
        assert table["spiral_mask_loc"].tolist() == [str(tmp_path / "m.png")]
        assert "n_drew" not in table
