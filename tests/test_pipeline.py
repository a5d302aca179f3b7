"""The main commands as a new user types them: the scripts, one after the other, on simulated and real galaxies."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]


def run(*arguments: object, **environment: object) -> str:
    """Runs a command from the project's root and returns what it printed; a failure shows its errors."""
    result = subprocess.run(
        [str(argument) for argument in arguments],
        cwd=ROOT,
        env={**os.environ, **{name: str(value) for name, value in environment.items()}},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return result.stdout.strip()


@pytest.fixture(scope="module")
def predicted(survey, tmp_path_factory) -> Path:
    """Folder of a whole run: shards, a model after two short epochs, predictions with masks, and an evaluation."""
    folder = tmp_path_factory.mktemp("pipeline")
    run(sys.executable, "create_shards.py", "--labelled-catalog", survey, "--shard-dir", folder / "shards",
        "--schema", "decals", "--img-size", 64, "--eval-size", 0.3, "--workers", 2)  # fmt: skip
    run(sys.executable, "train_model.py", "--experiment-dir", folder / "run", "--train-dir",
        folder / "shards" / "train_shards", "--eval-dir", folder / "shards" / "eval_shards", "--shard-img-size", 64,
        "--resize-size", 32, "--epochs", 1, "--batch-size", 8)  # fmt: skip
    images = shutil.copytree(survey.parent / "images", folder / "images")
    (images / "corrupt.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    run(sys.executable, "make_predictions.py", "--checkpoint-dir", folder / "run", "--folder", images, "--save-loc",
        folder / "predictions.csv", "--n-samples", 3, "--masks-dir", folder / "masks", "--overlays")  # fmt: skip
    run(sys.executable, "-m", "zoobot3d_tf", "evaluate", folder / "run", folder / "shards", "--n-samples", 2, "--out",
        folder / "report")  # fmt: skip
    return folder


def test_every_good_image_has_a_row_and_the_corrupt_image_is_skipped(predicted, survey):
    table = pd.read_csv(predicted / "predictions.csv")
    assert list(table["id_str"]) == sorted(pd.read_csv(survey)["id_str"])
    failed = pd.read_csv(predicted / "predictions_failed.csv")
    assert list(failed["id_str"]) == ["corrupt"]


def test_vote_fractions_of_a_question_add_to_one_within_their_intervals(predicted):
    table = pd.read_csv(predicted / "predictions.csv")
    answers = [f"bar_{answer}" for answer in ("strong", "weak", "no")]
    np.testing.assert_allclose(sum(table[f"{answer}_fraction"] for answer in answers), 1, rtol=1e-5)
    for answer in answers:
        assert (table[f"{answer}_low"] < table[f"{answer}_fraction"]).all()
        assert (table[f"{answer}_fraction"] < table[f"{answer}_high"]).all()
        assert (table[f"{answer}_joint_p"] <= table["bar_asked_p"]).all()


def test_masks_and_overlays_lie_on_the_images_own_grid(predicted):
    table = pd.read_csv(predicted / "predictions.csv")
    for row in table.head(3).itertuples():
        for name in (row.spiral_mask_loc, row.bar_mask_loc):
            assert Image.open(name).size == Image.open(row.file_loc).size
        assert (predicted / "masks" / f"{row.id_str}_overlay.png").is_file()


def test_evaluation_is_one_page_that_needs_nothing_else(predicted):
    page = (predicted / "report" / "index.html").read_text()
    assert "data:image" in page
    assert "<script" not in page
    # Names of the standards in the plots are no addresses to load from.
    assert not re.search(r"(?:src|href|url)\W{1,2}https?:", page)


@pytest.mark.slow
def test_seed_commands_and_snippets_run_as_they_stand(reference, tmp_path):
    snippets = reference / "reference" / "seed_snippets"
    catalog = reference / "data" / "decals" / "ring_catalog.csv"
    paths = {"CATALOG": catalog, "SHARDS": tmp_path / "shards", "RUN": tmp_path / "run", "SCHEMA": "rings"}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    run("bash", snippets / "commands.sh", **paths, PATH=path)
    environment = {"PYTHONPATH": ROOT}
    (tmp_path / "other").mkdir()
    run(sys.executable, snippets / "train.py", tmp_path / "shards", tmp_path / "other", "rings", 300, 224, 1, 16,
        **environment)  # fmt: skip
    assert (tmp_path / "other" / "snippet.weights.h5").is_file()
    run(sys.executable, snippets / "predict.py", reference / "data" / "decals" / "png", tmp_path / "run",
        tmp_path / "table.csv", "rings", 300, 224, **environment)  # fmt: skip
    table = pd.read_csv(tmp_path / "table.csv")
    assert len(table) == 60
    np.testing.assert_allclose(table["ring_yes_fraction"] + table["ring_no_fraction"], 1, rtol=1e-5)
