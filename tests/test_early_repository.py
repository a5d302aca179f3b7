"""Each command of `docs/early_repository.md` runs, on small tables in the published forms."""

import json
import re
import shlex
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from test_sources import GZ2_COLUMNS
from tiny_network import tiny_encoder

from zoobot3d_tf.cli import main
from zoobot3d_tf.models import build
from zoobot3d_tf.shards.manifest import read_manifest

PAGE = Path(__file__).resolve().parents[1] / "docs" / "early_repository.md"
N_GALAXIES, N_VOLUNTEERS = 40, 5
TASKS = """
tasks:
  T0: {question: smooth-or-featured, answers: {Smooth: smooth, Features: featured-or-disk, Artifact: artifact}}
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Working folder with the tables that the page names, of galaxies of noise."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(build, "build_encoder", tiny_encoder)
    rng = np.random.default_rng(0)
    ids = [str(1000 + number) for number in range(N_GALAXIES)]
    for name in ids:
        pixels = cv2.GaussianBlur(rng.integers(0, 256, (64, 64, 3), np.uint8), (0, 0), 2)
        cv2.imwrite(f"{name}.png", pixels)
    pd.DataFrame({"id_str": ids, "file_loc": [f"{name}.png" for name in ids]}).to_csv("IMAGES", index=False)
    votes = {f"{column}_count": rng.integers(0, 40, N_GALAXIES) for column in GZ2_COLUMNS}
    pd.DataFrame({"dr7objid": ids, "ra": 160.1, "dec": -1.2, **votes}).to_csv("GZ2", index=False)
    rows = [
        {
            "classification_id": len(ids) * volunteer + number,
            "user_name": f"volunteer-{volunteer}",
            "user_ip": "",
            "workflow_id": "7",
            "annotations": json.dumps([{"task": "T0", "value": str(rng.choice(["Smooth", "Features"]))}]),
            "subject_data": json.dumps({name: {}}),
            "subject_ids": name,
        }
        for volunteer in range(N_VOLUNTEERS)
        for number, name in enumerate(ids)
    ]
    pd.DataFrame(rows).to_csv("PANOPTES", index=False)
    Path("TASKS").write_text(TASKS)
    for name in ("IMAGES", "GZ2", "PANOPTES"):
        Path(name).rename(f"{name}.csv")
    return tmp_path


def commands(number):
    """Commands of a section of the page, with the files of the test in place of names in capitals."""
    section = re.split(r"^## \d\. ", PAGE.read_text(), flags=re.MULTILINE)[number]
    joined = re.sub(r"\\\n\s*", " ", section)
    found = re.findall(r"^    (\S.*)$", joined, re.MULTILINE)
    assert found
    return [re.sub(r"\b(IMAGES|GZ2|PANOPTES)\b", r"\1.csv", c.replace("IMAGES_GZ2", "IMAGES")) for c in found]


def run(number):
    for command in commands(number):
        if command.startswith("zoobot3d "):
            # A second process would import TensorFlow for a dozen galaxies.
            workers = ["--workers", "1"] if command.startswith("zoobot3d shards") else []
            assert main([*shlex.split(command)[1:], *workers]) == 0, command
        else:
            subprocess.run(command, shell=True, check=True)


def test_every_script_of_the_table_has_a_section():
    page = PAGE.read_text()
    scripts = re.findall(r"^\| `(\w+\.py)`", page, re.MULTILINE)
    assert scripts == re.findall(r"^## \d\. (\w+\.py)$", page, re.MULTILINE)
    assert len(scripts) == 4


def test_panoptes_to_shards_and_training_on_them(folder):
    run(1)
    manifest = read_manifest(folder / "panoptes_shards")
    assert manifest.count("train") + manifest.count("eval") == N_GALAXIES
    votes = pd.read_csv("panoptes.csv")[["smooth-or-featured_smooth", "smooth-or-featured_featured-or-disk"]]
    assert (votes.sum(axis=1) == N_VOLUNTEERS).all()
    run(3)
    assert (folder / "offline" / "model.keras").is_file()


def test_gz2_to_shards(folder):
    run(2)
    manifest = read_manifest(folder / "gz2_shards")
    assert manifest.count("train", "with_votes") + manifest.count("eval", "with_votes") == N_GALAXIES


def test_panoptes_galaxies_are_split_trained_on_and_scored(folder):
    run(4)
    split = pd.read_csv("split.csv", dtype={"id_str": str})
    stored = read_manifest(folder / "split_shards")
    assert stored.count("train") == (split["split"] == "train").sum()
    scored = pd.read_csv("report/galaxies.csv", dtype={"id_str": str})
    assert set(scored["id_str"]) == set(split["id_str"][split["split"] == "test"])
    page = (folder / "report" / "index.html").read_text()
    assert all(name in page for name in scored["id_str"])
