"""The training job of production: what it begins with, what it trains on, and errors."""

import csv
import json
import os
import subprocess
import sys
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from prediction_runs import INITIAL, make_run

from zoobot3d_tf.active_learning import train_on_catalog as job
from zoobot3d_tf.active_learning.fixed_crop import FixedCrop
from zoobot3d_tf.active_learning.train_on_catalog import WandbRun, train_on_catalog
from zoobot3d_tf.cli import main
from zoobot3d_tf.files import write_atomically
from zoobot3d_tf.models import build
from zoobot3d_tf.runs.run_folder import WEIGHTS_NAME
from zoobot3d_tf.schemas import get_schema

RINGS = get_schema("rings")
BOX = FixedCrop(lower_left_x=8, lower_left_y=0, upper_right_x=40, upper_right_y=32)


@pytest.fixture
def catalog(tmp_path):
    """Catalogue of six galaxies, one of which has no image and one a small image, with relative paths."""
    (tmp_path / "images").mkdir()
    rng = np.random.default_rng(0)
    with (tmp_path / "kade.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id_str", "file_loc", *RINGS.label_cols, "lensing_yes"])
        for number in range(6):
            writer.writerow([f"g{number}", f"images/{number}.png", number, 6 - number, 1])
            side = 24 if number == 4 else 48
            if number != 2:
                pixels = rng.integers(0, 256, (side, side, 3), np.uint8)
                cv2.imwrite(str(tmp_path / "images" / f"{number}.png"), pixels)
    return tmp_path / "kade.csv"


@pytest.fixture
def finetuned(monkeypatch):
    """Calls of `finetune`, in place of the training; the run that it would make has a loss of 1/3 in epoch 4."""
    calls = []

    def finetune(catalog, save_dir, base, schema, **settings):
        with open(catalog, newline="") as file:
            rows = list(csv.DictReader(file))
        calls.append(SimpleNamespace(rows=rows, base=base, schema=schema, **settings))
        if not save_dir.exists():
            make_run(save_dir, tasks=["votes"])
        write_atomically(save_dir / "validation.json", json.dumps({"epoch": 4, "loss": 1 / 3}))

    monkeypatch.setattr(job, "finetune", finetune)
    return calls


def test_the_checkpoint_has_the_epoch_and_the_loss_in_its_name(catalog, finetuned, tmp_path):
    base = make_run(tmp_path / "base")
    path = train_on_catalog(catalog, tmp_path / "out", base, RINGS, image_size=96, epochs=7)
    assert path == tmp_path / "out" / "checkpoints" / "epoch-4-val_loss-0.3333333.ckpt"
    (call,) = finetuned
    assert (call.base, call.schema, call.resize_size, call.epochs) == (base, RINGS, 96, 7)
    assert call.crop_size is None
    assert len(call.rows) == 6


def test_with_a_fixed_crop_the_network_sees_the_whole_of_cropped_images(catalog, finetuned, tmp_path):
    base = make_run(tmp_path / "base")
    train_on_catalog(catalog, tmp_path / "out", base, RINGS, fixed_crop=BOX)
    (call,) = finetuned
    assert call.crop_size == INITIAL
    assert [row["id_str"] for row in call.rows] == ["g0", "g1", "g3", "g5"]
    original = cv2.imread(str(tmp_path / "images" / "3.png"))
    np.testing.assert_array_equal(cv2.imread(call.rows[2]["file_loc"]), original[0:32, 8:40])
    with (tmp_path / "out" / "failed.csv").open(newline="") as file:
        reasons = {row["id_str"]: row["reason"] for row in csv.DictReader(file)}
    assert set(reasons) == {"g2", "g4"}
    assert "no such file" in reasons["g2"]
    assert "at least 32 x 40 pixels" in reasons["g4"]

    train_on_catalog(catalog, tmp_path / "out", base, RINGS, fixed_crop=BOX)  # as after an interruption
    assert finetuned[1].rows == call.rows
    with pytest.raises(ValueError, match="holds images with another fixed_crop"):
        train_on_catalog(catalog, tmp_path / "out", base, RINGS, fixed_crop=FixedCrop(0, 0, 32, 32))


def test_a_fixed_crop_outside_of_all_images_is_an_error(catalog, finetuned, tmp_path):
    with pytest.raises(ValueError, match="none of the 6 images can be used; the first error"):
        train_on_catalog(
            catalog, tmp_path / "out", make_run(tmp_path / "base"), RINGS, fixed_crop=FixedCrop(0, 0, 99, 99)
        )


def test_a_limit_takes_the_first_galaxies(catalog, finetuned, tmp_path):
    train_on_catalog(catalog, tmp_path / "out", make_run(tmp_path / "base"), RINGS, limit=2)
    assert [row["file_loc"] for row in finetuned[0].rows] == [str(tmp_path / "images" / f"{n}.png") for n in range(2)]


def test_an_encoder_becomes_a_run_with_a_new_head(catalog, finetuned, tmp_path, monkeypatch):
    built = []

    def stand_in(source, asked):
        assert source == "hf://zoo/encoder"  # the name that timm and Zoobot use is hf_hub:zoo/encoder
        load = lambda model, config: built.append(config)  # noqa: E731
        return SimpleNamespace(found="files", settings={"color": True}, load=load, to_dict=lambda: {"source": source})

    monkeypatch.setattr(job, "find_encoder_weights", stand_in)
    model = SimpleNamespace(save_weights=lambda path: path.write_bytes(b"weights"))
    monkeypatch.setattr(build, "build_model", lambda config: model)
    monkeypatch.setattr("zoobot3d_tf.models.weights_file.save_weights", lambda model, path: model.save_weights(path))
    for _ in range(2):  # the second call finds the run of the first
        train_on_catalog(catalog, tmp_path / "out", "hf_hub:zoo/encoder", RINGS, image_size=96)
    assert len(built) == 1
    assert (built[0].color, built[0].image_size, built[0].tasks) == (True, 96, ("votes",))
    base = job.read_run(finetuned[0].base)
    assert base.framing == job.Framing(initial_size=128, crop_size=96, final_size=96)
    assert (base.folder / WEIGHTS_NAME).read_bytes() == b"weights"


def test_a_file_that_is_no_checkpoint_is_refused(catalog, tmp_path):
    with pytest.raises(ValueError, match=r"kade.csv: cannot be read as a checkpoint of zoobot3d_tf"):
        train_on_catalog(catalog, tmp_path / "out", catalog, RINGS)


@pytest.mark.parametrize(
    ("options", "variables", "words"),
    [
        (["--schema", "euclit"], {}, "did you mean 'euclid'"),
        (["--fixed-crop", "[0, 0, 9, 9]"], {}, "must be a JSON object with lower_left_x"),
        ([], {"IMAGE_SIZE": "large"}, "IMAGE_SIZE must be a number of pixels, a multiple of 32; received 'large'"),
        ([], {"IMAGE_SIZE": "100"}, "must be a multiple of 32 pixels; received 100, try 96"),
        (["--checkpoint", "missing.ckpt"], {}, "missing.ckpt is not a folder of weights of timm or Zoobot"),
    ],
)
def test_errors_of_the_command_are_one_sentence(catalog, tmp_path, monkeypatch, capsys, options, variables, words):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    arguments = ["--save-dir", str(tmp_path / "out"), "--catalog", str(catalog), "--checkpoint", "shipped", *options]
    assert main(["production", "train", *arguments]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ")
    assert words in error


def test_weights_and_biases_needs_its_key(monkeypatch):
    pytest.importorskip("wandb", reason="the extra [wandb] is not installed")
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    with pytest.raises(ValueError, match="WANDB_API_KEY"):
        WandbRun("galaxies", "job-1").check()


def test_the_history_is_logged(tmp_path):
    pytest.importorskip("wandb", reason="the extra [wandb] is not installed")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "history.csv").write_text("stage,epoch,loss,val_loss\nhead,1,3.5,3.25\nblocks,1,3.0,\n")
    # In a process of its own, as in production: a process keeps the run and the folder of its first test.
    code = f"""
from pathlib import Path
from zoobot3d_tf.active_learning.train_on_catalog import WandbRun
logger = WandbRun("galaxies", "job-1")
logger.check()
logger.log(Path({str(tmp_path)!r}))
"""
    subprocess.run([sys.executable, "-c", code], env=os.environ | {"WANDB_MODE": "offline"}, check=True)
    assert list((tmp_path / "run" / "wandb").glob("offline-run-*/run-*.wandb"))
