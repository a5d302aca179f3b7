"""The loop of production against a stand-in: reductions, training, promotion, manifest, predictions, moved subjects."""

import json
import os
import runpy
import subprocess
import sys
from itertools import repeat
from pathlib import Path

import cv2
import keras
import numpy as np
import pandas as pd
import pytest
import requests
from production_server import EXTRACTOR, THRESHOLD, Production, production_server
from tiny_network import tiny_encoder

from zoobot3d_tf.active_learning.extractors import EXTRACTORS
from zoobot3d_tf.models import build
from zoobot3d_tf.runs.checkpoint_file import unpack_checkpoint, write_checkpoint
from zoobot3d_tf.runs.run_folder import WEIGHTS_NAME, read_run, write_config
from zoobot3d_tf.schemas import get_schema
from zoobot3d_tf.surveys import download
from zoobot3d_tf.training.training_config import get_run_config

ROOT = Path(__file__).resolve().parents[1]
DEPLOY = ROOT / "deploy"
TRAIN, PREDICT = DEPLOY / "train_model_finetune_on_catalog.py", DEPLOY / "predict_catalog_with_model.py"
PROMOTE = DEPLOY / "promote_best_checkpoint_to_model.sh"
EUCLID = EXTRACTORS["euclid"].config
SIDE, IMAGE_SIZE = 48, 32
CROP = {"lower_left_x": 4, "lower_left_y": 4, "upper_right_x": 44, "upper_right_y": 44}
N_LABELLED, N_POOL = 40, 12
BAD = {"gone": "HTTP status 404", "overloaded": "HTTP status 503", "damaged": "not a PNG"}


def is_featured(number):
    return number % 2 == 0


def draw(number, featured):
    """Noise with a bright disc if the galaxy is featured, or else a faint one."""
    rng = np.random.default_rng(number)
    y, x = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    disc = np.exp(-np.hypot(x, y) / 12)[..., None] * (220 if featured else 30)
    image = np.clip(disc + rng.normal(15, 3, (SIDE, SIDE, 3)), 0, 255).astype(np.uint8)
    return cv2.imencode(".png", image)[1].tobytes()


@pytest.fixture(scope="module", autouse=True)
def quick():
    """A tiny encoder, and no waiting between tries."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "build_encoder", tiny_encoder)
        patch.setattr(download, "FIRST_WAIT", 0.001)
        yield


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory) -> Path:
    """Checkpoint of an untrained network with another decision tree."""
    folder = tmp_path_factory.mktemp("pretrained")
    sizes = {"initial_size": SIDE, "crop_size": 36, "final_size": IMAGE_SIZE}
    records = {"train_records": ["train"], "eval_records": ["eval"], "epochs": 1, "batch_size": 4}
    config = get_run_config(**sizes, log_dir=folder / "run", schema=get_schema("rings"), tasks=["votes"], **records)
    write_config(config.log_dir, config.to_dict())
    keras.utils.set_random_seed(0)
    model = build.build_model(config.model)
    # The features of a network differ from image to image only if batch normalisation has met some images.
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    images = [cv2.imdecode(np.frombuffer(draw(n, is_featured(n)), np.uint8), cv2.IMREAD_COLOR) for n in range(16)]
    model(np.stack(images)[:, 8:-8, 8:-8].astype(np.float32), training=True)
    model.save_weights(folder / "run" / WEIGHTS_NAME)
    return write_checkpoint(folder / "run", folder / "pretrained.ckpt")


@pytest.fixture(scope="module")
def production(tmp_path_factory):
    """The services, with images of labelled subjects on disk and of a pool on the server."""
    files = tmp_path_factory.mktemp("images")
    for number in range(N_LABELLED):
        (files / f"{number}.png").write_bytes(draw(number, is_featured(number)))
    pool = {str(number): draw(number, is_featured(number)) for number in range(1000, 1000 + N_POOL)}
    faults = {"1001": [503, 429], "overloaded": repeat(503)}
    state = Production(EUCLID, {**pool, "damaged": b"no image", "overloaded": b""}, faults, str(files))
    state.pool = [*pool, *BAD]
    state.active = {"1001"}
    with production_server(state) as running:
        yield running


def post_reductions(production):
    """Post the votes of each subject as Caesar does: an early reduction, and a later one that replaces it."""
    for number in range(N_LABELLED):
        featured = is_featured(number)
        counts = {"T0": [3, 37, 0] if featured else [38, 2, 0], "T2": [4, 33] if featured else [0, 2]}
        for votes in ({"T0": [1, 1, 1]}, counts):
            for task, numbers in votes.items():
                posted = {
                    "reducible": {"id": 12345, "type": "Workflow"},
                    "data": {str(answer): count for answer, count in enumerate(numbers)},
                    "subject": {
                        "id": number,
                        "metadata": {"#name": f"galaxy_{number}"},
                        "created_at": "2026-08-19T10:00:00Z",
                        "updated_at": "2026-08-19T10:00:00Z",
                    },
                }
                url = f"{production.url}/reductions/{EXTRACTOR}{task.lower()}"
                requests.post(url, json={"reduction": posted}, timeout=10).raise_for_status()


def run_job(script, monkeypatch, capsys, *arguments):
    """Run a script of `deploy/` in this process, which has the tiny encoder; return what it prints."""
    monkeypatch.setattr(sys, "argv", [str(script), *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(script), run_name="__main__")
    captured = capsys.readouterr()
    assert stop.value.code == 0, captured.err
    return captured.out.strip().splitlines()[-1]


def test_the_loop_from_reductions_to_moved_subjects(production, pretrained, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("IMAGE_SIZE", str(IMAGE_SIZE))
    post_reductions(production)
    catalog, results, mounts = tmp_path / "workflow-12345.csv", tmp_path / "results", tmp_path / "mounts"
    catalog.write_bytes(requests.get(f"{production.url}/training.csv", timeout=10).content)
    table = pd.read_csv(catalog)
    assert len(table) == N_LABELLED
    assert list(table["smooth-or-featured-euclid_featured-or-disk"][:2]) == [37, 2]  # not those of early reductions
    assert (table["bar-euclid_no"] == 0).all()

    trained = Path(
        run_job(TRAIN, monkeypatch, capsys, "--save-dir", results, "--catalog", catalog, "--checkpoint", pretrained,
                "--schema", "euclid", "--num-epochs", 12, "--patience", 12, "--batch-size", 8, "--num-workers", 1,
                "--n-blocks", 3, "--fixed-crop", json.dumps(CROP), "--erase-iterations", 0, "--accelerator", "cpu",
                "--devices", 1, "--progress-bar")
    )  # fmt: skip
    assert trained.parent == results / "checkpoints"
    assert trained.match("epoch-*-val_loss-*.ckpt")

    promoted = promote(results, mounts)
    assert promoted.read_bytes() == trained.read_bytes()
    assert (mounts / "models" / "jobs" / "1" / "results" / trained.name).is_file()
    run = read_run(unpack_checkpoint(promoted, tmp_path / "promoted"))
    assert run.model.vote_schema == get_schema("euclid_ortho")
    assert (run.framing.crop_size, run.framing.final_size) == (SIDE, IMAGE_SIZE)

    saved = Path(
        run_job(PREDICT, monkeypatch, capsys, "--checkpoint-path", promoted, "--catalog-url",
                f"{production.url}/manifest.json", "--save-path", tmp_path / "predictions.json", "--num-samples", 2,
                "--fixed-crop", json.dumps(CROP), "--num-workers", 3, "--prefetch-factor", 1, "--batch-size", 4,
                "--accelerator", "cpu", "--devices", 1)
    )  # fmt: skip
    content = json.loads(saved.read_text())
    assert list(content["data"]) == [str(number) for number in range(1000, 1000 + N_POOL)]
    assert content["schema"]["data"]["subject_id"]["sample_num"][1][1] == (
        "smooth-or-featured-euclid_featured-or-disk_prediction"
    )
    for number in range(1000, 1000 + N_POOL):
        samples = content["data"][str(number)]
        assert list(samples) == ["0", "1"]
        assert (samples["0"][0] >= THRESHOLD) == is_featured(number), samples
    failed = pd.read_csv(tmp_path / "predictions_failed.csv").set_index("id_str")
    assert set(failed.index) == set(BAD)
    for subject, words in BAD.items():
        assert words in failed.loc[subject, "reason"]
        assert failed.loc[subject, "file_loc"] == f"{production.url}/images/{subject}.png"
        assert str(tmp_path) not in failed.loc[subject, "reason"]
    assert production.requests.count("overloaded") == 5  # one try and four retries
    assert production.requests.count("1001") == 3

    requests.post(f"{production.url}/results", json=content, timeout=10).raise_for_status()
    featured = {str(number) for number in range(1000, 1000 + N_POOL) if is_featured(number)}
    assert featured <= production.active
    assert len(production.active - featured) == int(0.2 * len(featured))


def promote(results, mounts):
    environment = {
        "AZ_BATCH_NODE_MOUNTS_DIR": str(mounts),
        "MODELS_CONTAINER_MOUNT_DIR": "models",
        "TRAINING_JOB_RESULTS_DIR": "jobs/1/results",
        "ZOOBOT_CHECKPOINT_TARGET": "euclid/zoobot.ckpt",
    }
    subprocess.run([PROMOTE, results], env=os.environ | environment, check=True, capture_output=True, text=True)
    return mounts / "models" / "euclid" / "zoobot.ckpt"


def test_the_lowest_loss_is_promoted_whatever_its_number_of_digits(tmp_path):
    results = tmp_path / "the results"
    for name in ("epoch-9-val_loss-10.5", "epoch-10-val_loss-9.75", "epoch-2-val_loss-35.1", "last"):
        path = results / "checkpoints" / f"{name}.ckpt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    assert promote(results, tmp_path / "mounts").read_text() == "epoch-10-val_loss-9.75"
    (results / "checkpoints" / "epoch-11-val_loss-1e-05.ckpt").write_text("tiny")
    assert promote(results, tmp_path / "mounts").read_text() == "tiny"
    assert not list((tmp_path / "mounts").rglob("*.partial"))


@pytest.mark.parametrize("arguments", [[], ["missing"], ["empty"]])
def test_promotion_without_a_checkpoint_fails_with_a_message(tmp_path, arguments):
    (tmp_path / "empty").mkdir()
    result = subprocess.run([PROMOTE, *arguments], cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode > 0
    assert "epoch-<n>-val_loss-<loss>.ckpt" in result.stderr


@pytest.mark.parametrize("script", [TRAIN, PREDICT])
def test_help_of_the_scripts_imports_nothing_slow(script):
    command = [sys.executable, "-X", "importtime", script, "--help"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert result.returncode == 0
    assert f"python {script.name} --" in result.stdout.split("example:")[1]
    assert not {line.split("|")[-1].strip() for line in result.stderr.splitlines()} & {"tensorflow", "keras"}
