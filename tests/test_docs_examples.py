"""Commands and Python of pages run as printed, in a folder with the files that the pages take for granted."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from astropy.io import fits
from PIL import Image

from zoobot3d_tf.cli import main
from zoobot3d_tf.images.wcs import wcs_at

ROOT = Path(__file__).resolve().parents[1]
NOT_RUN = {
    # Trainings, other than that of a label, and what needs a catalogue of thousands.
    "README.md": ("shards --labelled", "zoobot3d train", "zoobot3d evaluate", "zoobot3d simulate", "zoobot3d al"),
    # A cluster, several trained runs, and the sizes of another run.
    "docs/predictions.md": ("tcp://", "run_a", "predict_on_images"),
    "docs/topcat_and_ds9.md": (),
    "docs/representations.md": (),
    # The network, trainings, and files of others.
    "docs/weights.md": ("hf://", "zoobot3d push", "train ", "pretrain", "simulate", "timm", "decals_dr_train"),
}
"""For each page, parts of the examples that are not run."""


@pytest.fixture
def desk(tmp_path, monkeypatch, survey, shards):
    """A folder with images, cutouts, catalogues, shards and a run folder, which becomes the current folder."""
    from zoobot3d_tf.simulation.survey import simulate_galaxy

    (tmp_path / "examples").symlink_to(ROOT / "examples")
    shutil.copy(ROOT / "examples" / "galaxies" / "587739648356057205.jpg", tmp_path / "galaxy.jpg")
    shutil.copytree(ROOT / "zoobot3d_tf" / "shipped", tmp_path / "run")
    shutil.copytree(shards, tmp_path / "shards")
    labels = pd.read_csv(survey)
    for column in ("file_loc", "spiral_mask_loc", "bar_mask_loc", "marks_loc"):
        labels[column] = labels[column].map(lambda loc: str(survey.parent / loc), na_action="ignore")
    labels.to_csv(tmp_path / "more_labels.csv", index=False)
    for folder in ("images", "cutouts"):
        (tmp_path / folder).mkdir()
    # PCA to 40 components, as the pages show it, needs 40 images.
    for path in (ROOT / "examples" / "galaxies").glob("*.jpg"):
        for angle in (0, 90, 180, 270):
            Image.open(path).rotate(angle).save(tmp_path / "images" / f"{path.stem}-{angle}.png")
    names = sorted(path.stem for path in (tmp_path / "images").iterdir())
    shutil.move(tmp_path / "images" / f"{names[0]}.png", tmp_path / "images" / "J112953.88.png")
    names[0] = "J112953.88"
    table = pd.DataFrame({"id_str": names, "file_loc": [f"images/{name}.png" for name in names]})
    table = table.assign(ra=150.0, dec=2.0, pixscale=0.3, redshift=0.03, plate=1234)
    table.to_csv(tmp_path / "galaxies.csv", index=False)
    table[["id_str", "file_loc"]].assign(ring=[0, 0, 0, 1] * 12).to_csv(tmp_path / "rings.csv", index=False)
    table[["id_str", "redshift"]].to_csv(tmp_path / "my_catalogue.csv", index=False)
    bands = simulate_galaxy(0, 119).bands
    header = wcs_at(150, 2, 0.3, bands.shape[1:]).to_header()
    header["BANDS"] = "grz"
    fits.PrimaryHDU(bands, header).writeto(tmp_path / "cutouts" / "g1.fits")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    return tmp_path


def examples_of(page):
    """Commands and blocks of Python in their order, (line, language, text)."""
    text = re.sub(r"\\\n\s*", " ", page.read_text())
    for found in re.finditer(r"^```python\n(.*?)^```|^ {4}(zoobot3d .*?)(?: +#.*)?$", text, re.MULTILINE | re.DOTALL):
        yield ("python", found[1]) if found[1] else ("command", found[2].splitlines()[0])


def provide_predictions(folder, text):
    """Make the table of predictions that an example reads, and remove an earlier one that it writes in another way."""
    for name in re.findall(r"predictions\.(?:csv|hdf5|parquet)", text)[:1]:
        is_written = re.search(r"predict(_galaxies)?[ (]", text)
        if is_written or not (folder / name).exists():
            for path in folder.glob("predictions*"):
                path.unlink()
        if not is_written and not (folder / name).exists():
            assert main(["predict", "images", "--save-loc", name]) == 0


@pytest.mark.slow
@pytest.mark.parametrize("page", NOT_RUN)
def test_examples_of_a_page_run(page, desk):
    names = {}
    assert main(["representations", "shipped", "cutouts", "--out", "new_features.parquet"]) == 0
    for language, text in examples_of(ROOT / page):
        if any(part in text for part in NOT_RUN[page]):
            continue
        provide_predictions(desk, text)
        if language == "python":
            exec(compile(text, page, "exec"), names)  # blocks of a page go on with the names of earlier ones
        else:
            assert main(shlex.split(text)[1:]) == 0, text


@pytest.mark.slow
@pytest.mark.parametrize("script", sorted((ROOT / "examples" / "gallery").glob("*.py")), ids=lambda path: path.stem)
def test_an_example_of_the_gallery_runs(script):
    command = [sys.executable, script.name]
    result = subprocess.run(
        command, cwd=script.parent, env=os.environ | {"MPLBACKEND": "agg"}, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr[-2000:]
