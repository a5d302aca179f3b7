"""Fine-tuning: what is learned, what does not change, continuation after a kill, and errors."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from tiny_network import tiny_encoder

from zoobot3d_tf.cli import main
from zoobot3d_tf.files import one_owner
from zoobot3d_tf.finetuning import stages
from zoobot3d_tf.finetuning.finetune import finetune
from zoobot3d_tf.finetuning.recipe import Finetuning, Recipe
from zoobot3d_tf.finetuning.stages import begin
from zoobot3d_tf.labels import Label
from zoobot3d_tf.models import build
from zoobot3d_tf.models.encoder import build_encoder
from zoobot3d_tf.models.heads import restore_class_shares
from zoobot3d_tf.runs.run_folder import SHIPPED_FOLDER, WEIGHTS_NAME, read_run, write_config
from zoobot3d_tf.schemas import get_schema
from zoobot3d_tf.shards.manifest import read_manifest
from zoobot3d_tf.shards.read import iterate_records
from zoobot3d_tf.training.assemble import batches
from zoobot3d_tf.training.loop import make_step
from zoobot3d_tf.training.metrics import results, zero_sums
from zoobot3d_tf.training.progress import EpochLines
from zoobot3d_tf.training.run_config import RunConfig
from zoobot3d_tf.training.training_config import get_run_config

ROOT = Path(__file__).resolve().parents[1]
RINGS = get_schema("rings")
TASKS = ("votes", "spiral_mask", "bar_mask")
N_GALAXIES = 60
QUICK = {"epochs": 6, "batch_size": 16, "learning_rate": 0.01, "eval_size": 0.3}


@pytest.fixture(scope="module", autouse=True)
def quick_to_build():
    """Networks with a tiny encoder: the first step of a real one takes most of a minute."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "build_encoder", tiny_encoder)
        yield


@pytest.fixture(scope="module")
def catalog(tmp_path_factory) -> Path:
    """Red, green and blue discs in files of 64 px: `colour`, `blue`, `brightness` and the votes follow from them."""
    folder = tmp_path_factory.mktemp("discs")
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:64, :64] - 31.5
    rows = []
    for i in range(N_GALAXIES):
        colour, brightness = i % 3, rng.uniform(80, 220)
        disc = np.exp(-np.hypot(x * rng.uniform(0.8, 1.2), y) / 8)[..., None]
        image = disc * brightness * np.roll([1.0, 0.5, 0.2], colour) + rng.normal(20, 3, (64, 64, 3))
        cv2.imwrite(str(folder / f"{i}.png"), np.clip(image, 0, 255).astype(np.uint8)[..., ::-1])
        blue = int(colour == 2)
        labels = {"blue": blue, "colour": ["red", "green", "blue"][colour], "brightness": brightness}
        votes = {"ring_yes": 9 * blue, "ring_no": 9 - 9 * blue}
        rows.append({"id_str": f"disc-{i}", "file_loc": f"{i}.png"} | labels | votes)
    pd.DataFrame(rows).to_csv(folder / "discs.csv", index=False)
    return folder / "discs.csv"


@pytest.fixture(scope="module")
def base(catalog, tmp_path_factory) -> Path:
    """A run that knows nothing but the statistics of these images."""
    folder = tmp_path_factory.mktemp("runs") / "base"
    config = get_run_config(64, 32, 48, folder, ["train"], ["eval"], 1, RINGS, 4, color=True, tasks=["votes"])
    write_config(folder, config.to_dict())
    keras.utils.set_random_seed(0)
    model = build.build_model(config.model)
    images = [cv2.imread(str(catalog.parent / f"{i}.png"))[16:48, 16:48, ::-1] for i in range(N_GALAXIES)]
    for _ in range(50):
        model(np.stack(images).astype(np.float32), training=True)
    model.save_weights(folder / WEIGHTS_NAME)
    return folder


@pytest.fixture(scope="module")
def tuned(catalog, base, tmp_path_factory) -> Path:
    """A fine-tuning of both stages, stopped in its second epoch and called again."""
    folder = tmp_path_factory.mktemp("runs") / "tuned"
    arguments = ["finetune", "--catalog", catalog, "--label-col", "blue", "--base", base, "--save-dir", folder]
    arguments += ["--n-blocks", "2", "--epochs", "6", "--batch-size", "16", "--eval-size", "0.3"]
    arguments += ["--learning-rate", "0.01"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(EpochLines, "on_epoch_end", stop_after_two)
        assert main(list(map(str, arguments))) == 130
    shard = next(folder.glob("shards/train_shards/*.tfrecord"))
    made = shard.stat().st_mtime_ns
    assert main(list(map(str, arguments))) == 0
    assert shard.stat().st_mtime_ns == made
    return folder


def stop_after_two(callback, epoch, logs=None):
    if epoch == 1:
        raise KeyboardInterrupt


def test_a_colour_is_learned_from_forty_galaxies(tuned):
    scores = json.loads((tuned / "validation.json").read_text())
    assert scores["galaxies"] == sum(sum(row.values()) for row in scores["confusion"].values()) > 10
    assert scores["accuracy"]["low"] > scores["accuracy"]["baseline"]
    assert scores["auc"]["value"] > 0.9


def test_a_killed_fine_tuning_goes_on_where_it_was(tuned):
    history = pd.read_csv(tuned / "history.csv")
    assert list(history["epoch"]) == [1, 2, 3, 4, 5, 6] * 2
    assert list(history["stage"]) == ["head"] * 6 + ["blocks"] * 6


def test_the_run_folder_is_that_of_any_run(tuned, base):
    run = read_run(tuned)
    assert run.model.tasks == ("label",)
    assert run.model.label.column == "blue"
    assert run.model.label.counts[0] > run.model.label.counts[1] > 10
    assert run.framing == read_run(base).framing
    training = json.loads((tuned / "config.json").read_text())["training"]
    assert training["base"] == "base"
    assert len(training["base_sha256"]) == 64
    assert training["stages"] == ["head", "blocks"]
    images = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3))
    expected = run.load_model().predict(images, verbose=0)["label"]
    plain = keras.saving.load_model(tuned / "model.keras")
    np.testing.assert_allclose(plain.predict(images, verbose=0)["label"], expected, rtol=1e-5)


def test_plots_are_drawn(tuned):
    for name in ("learning_curve", "confusion_matrix", "calibration"):
        assert cv2.imread(str(tuned / f"{name}.png")).std() > 10


def test_predictions_have_the_column(tuned, catalog, tmp_path):
    table = tmp_path / "predictions.csv"
    arguments = ["--checkpoint-dir", tuned, "--catalog", catalog, "--save-loc", table, "--engine", "tf"]
    assert main(["predict", *map(str, arguments)]) == 0
    predicted = pd.read_csv(table)
    known = pd.read_csv(catalog)["blue"]
    assert ((predicted["blue"] > 0.5) == known).mean() > 0.85


def test_blocks_change_the_last_blocks_alone_and_no_statistics(tuned, base):
    run = read_run(tuned)
    before = read_run(base).load_model().get_layer("encoder")
    model = build.build_model(run.model)
    model.load_weights(tuned / "blocks" / "checkpoints" / "best.weights.h5")
    changed = set()
    for layer, earlier in zip(model.get_layer("encoder").layers, before.layers, strict=True):
        if any((a != b).any() for a, b in zip(layer.get_weights(), earlier.get_weights(), strict=True)):
            changed.add(layer.name.partition("_")[0])
            assert not isinstance(layer, keras.layers.BatchNormalization)
    assert changed == {"block4a", "block5a", "top"}


def test_other_settings_in_the_same_folder_are_refused(tuned, catalog, base):
    with pytest.raises(ValueError, match=r"training.layer_decay was 1.0, now 0.5"):
        finetune(catalog, tuned, base, label_col="blue", n_blocks=2, layer_decay=0.5, **QUICK)


def test_shards_that_were_removed_are_missed_in_a_sentence(tuned, catalog, base, tmp_path):
    folder = shutil.copytree(tuned, tmp_path / "run")
    next(folder.glob("shards/eval_shards/*.tfrecord")).unlink()
    with pytest.raises(FileNotFoundError, match=r"\.tfrecord: .*shards\.json"):
        finetune(catalog, folder, base, label_col="blue", n_blocks=2, **QUICK)


def test_blocks_that_do_not_help_leave_the_encoder_bit_for_bit(catalog, base, tmp_path):
    model = finetune(catalog, tmp_path / "run", base, label_col="colour", n_blocks=1, blocks_learning_rate=1.0, **QUICK)
    before = read_run(base).load_model().get_layer("encoder").get_weights()
    for a, b in zip(model.get_layer("encoder").get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)
    scores = json.loads((tmp_path / "run" / "validation.json").read_text())
    assert scores["stage"] == "head"
    assert list(scores["completeness"]) == ["blue", "green", "red"]
    assert scores["accuracy"]["value"] > 0.85
    assert (tmp_path / "run" / "confusion_matrix.png").is_file()
    assert not (tmp_path / "run" / "calibration.png").exists()


def test_the_losses_of_both_stages_can_be_compared(tuned):
    """The loss of the head stage is computed from features, the loss of the blocks stage from images."""
    run, shards = read_run(tuned), read_manifest(tuned / "shards")
    network = run.load_model()
    records = {"train_records": shards.paths("train"), "eval_records": shards.paths("eval")}
    config = RunConfig(run.model, run.framing, tuned, **records, epochs=1, batch_size=7, loss_weights={"label": 1.0})
    # In training all classes weigh alike: of two, the other's count takes back what each one's gave.
    restore_class_shares(network, replace(run.model.label, counts=run.model.label.counts[::-1]))
    _, validation = batches(config, range(0))
    check = make_step(network, config, validation.element_spec, is_training=False)
    sums = zero_sums(network, run.model)
    for batch in validation:
        sums, _ = check(batch, sums, tf.zeros([]))
    scores = json.loads((tuned / "validation.json").read_text())
    assert results(sums)["loss"] == pytest.approx(scores["loss"], rel=1e-4)


def test_a_number_is_learned_in_its_own_units(catalog, base, tmp_path):
    finetune(catalog, tmp_path / "run", base, label_col="brightness", **QUICK)
    scores = json.loads((tmp_path / "run" / "validation.json").read_text())
    assert 20 < scores["mae"]["baseline"] < 60
    assert scores["mae"]["value"] < 0.85 * scores["mae"]["baseline"]
    assert (tmp_path / "run" / "predicted_vs_true.png").is_file()


def test_votes_are_learned_from_as_many_views_as_memory_holds(catalog, base, tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO")
    monkeypatch.setattr(stages, "FEATURE_BYTES", 4 * 16 * 32 * 6)  # six batches of sixteen
    finetune(catalog, tmp_path / "run", base, schema="rings", **QUICK | {"epochs": 30})
    assert "2 random views" in caplog.text
    scores = json.loads((tmp_path / "run" / "validation.json").read_text())
    assert scores["fraction_mae"]["baseline"] == pytest.approx(4 / 9, abs=0.05)
    assert scores["fraction_mae"]["value"] < 0.8 * scores["fraction_mae"]["baseline"]
    assert read_run(tmp_path / "run").model.tasks == ("votes",)
    assert (tmp_path / "run" / "calibration.png").is_file()


@pytest.fixture
def of_survey(tmp_path) -> Path:
    """A run of votes and masks."""
    config = get_run_config(64, 32, 48, tmp_path / "both", ["train"], ["eval"], 1, RINGS, 4, tasks=TASKS)
    write_config(config.log_dir, config.to_dict())
    build.build_model(config.model).save_weights(config.log_dir / WEIGHTS_NAME)
    return config.log_dir


@pytest.mark.parametrize(
    ("tasks", "kept", "new"),
    [
        (("spiral_mask",), {"encoder", "decoder", "spiral_mask"}, set()),
        (("votes",), {"encoder", "vote_head"}, set()),
        (("label",), {"encoder"}, {"label_head"}),
    ],
)
def test_what_fits_comes_from_the_base(of_survey, tasks, kept, new):
    run = read_run(of_survey)
    label = Label("ring", "binary") if "label" in tasks else None
    model = replace(run.model, tasks=tasks, label=label, schema=RINGS if "votes" in tasks else None)
    config = RunConfig(model, run.framing, of_survey, ("train",), ("eval",), 1, 4)
    network, source = begin(Finetuning(run, "both", config, Recipe())), run.load_model()
    layers = {layer.name for layer in network.layers if layer.weights}
    assert layers == kept | new | {"greyscale"}
    for name in kept:
        for a, b in zip(network.get_layer(name).get_weights(), source.get_layer(name).get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_masks_are_learned_in_both_stages(survey, of_survey, tmp_path):
    finetune(survey, tmp_path / "run", of_survey, n_blocks=1, epochs=2, batch_size=8, eval_size=0.4)
    history = pd.read_csv(tmp_path / "run" / "history.csv")
    assert list(history["stage"]) == ["head", "head", "blocks", "blocks"]
    assert history["val_loss"].iloc[-1] < history["val_loss"].iloc[0]
    assert read_run(tmp_path / "run").model.tasks == ("spiral_mask", "bar_mask")
    assert (tmp_path / "run" / "learning_curve.png").is_file()
    scores = json.loads((tmp_path / "run" / "validation.json").read_text())
    best = history[(history["stage"] == scores["stage"]) & (history["epoch"] == scores["epoch"])].iloc[0]
    assert scores["bar_mask_iou"]["value"] == pytest.approx(best["val_bar_mask_iou"], rel=1e-4)
    assert scores["bar_mask_iou"]["low"] <= scores["bar_mask_iou"]["value"] <= scores["bar_mask_iou"]["high"]


@pytest.mark.slow
def test_the_network_of_the_package_is_fine_tuned(catalog, tmp_path, monkeypatch):
    if not (SHIPPED_FOLDER / WEIGHTS_NAME).is_file():
        pytest.skip("this copy of the package comes without weights")
    monkeypatch.setattr(build, "build_encoder", build_encoder)
    finetune(catalog, tmp_path / "run", label_col="brightness", n_blocks=2, layer_decay=0.8, epochs=5)
    scores = json.loads((tmp_path / "run" / "validation.json").read_text())
    assert scores["mae"]["value"] < scores["mae"]["baseline"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"label_col": "ring"}, "lacks the column ring"),
        ({}, "give label_col or schema.*brightness"),
        ({"label_col": "blue", "schema": "rings"}, "label_col .*schema .*give one"),
        ({"label_col": "colour", "task": "regression"}, "colour.* number"),
        ({"label_col": "blue", "task": "counts"}, "'counts'.* label_col"),
        ({"schema": "decals"}, "lacks the columns smooth-or-featured_smooth"),
        ({"task": "masks"}, "spiral_mask_loc, bar_mask_loc, marks_loc"),
        ({"label_col": "blue", "n_blocks": -1}, "n_blocks .* 0; received -1"),
        ({"label_col": "blue", "layer_decay": 0.0}, "layer_decay .* 0 .*received 0"),
        ({"label_col": "blue", "crop_size": 65}, "crop.size.* 65 .* 64"),
        ({"label_col": "blue", "resize_size": 50}, "multiple of 32"),
        ({"label_col": "blue", "eval_size": 0.0}, "eval_size"),
        ({"label_col": "blue", "eval_size": 60, "split_seed": 0}, "eval_size must leave .* 60 of 60"),
        ({"label_col": "blue", "eval_size": 9, "eval_ids": "ids.txt"}, "eval_ids .* contradicts eval_size"),
    ],
)
def test_impossible_fine_tunings_are_refused_before_anything_is_written(catalog, base, tmp_path, settings, words):
    with pytest.raises(ValueError, match=words):
        finetune(catalog, tmp_path / "run", base, **settings)
    assert not (tmp_path / "run").exists()


def test_a_column_split_decides_which_galaxies_are_for_validation(catalog, base, tmp_path, monkeypatch):
    monkeypatch.setattr(stages, "run_stages", lambda finetuning: None)
    table = pd.read_csv(catalog)
    table["file_loc"] = [str(catalog.parent / name) for name in table["file_loc"]]
    names = [("train", "val", "test")[i // 2 % 3] for i in range(len(table))]
    table.assign(split=names).to_csv(tmp_path / "split.csv", index=False)
    finetune(tmp_path / "split.csv", tmp_path / "run", base, label_col="brightness")
    manifest = read_manifest(tmp_path / "run" / "shards")
    assert (manifest.count("train"), manifest.count("eval")) == (names.count("train"), names.count("val"))


def test_a_seed_and_ids_decide_which_galaxies_are_for_validation(catalog, base, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(stages, "run_stages", lambda finetuning: None)
    finetune(catalog, tmp_path / "run", base, label_col="colour", eval_size=12, split_seed=3)
    held_back = [galaxy["label"] for galaxy in iterate_records(read_manifest(tmp_path / "run/shards").paths("eval"))]
    assert sorted(held_back) == [0] * 4 + [1] * 4 + [2] * 4
    assert "4 with colour 'red' to evaluate on (fewer than 5)" in caplog.text

    (tmp_path / "ids.txt").write_text("disc-3\ndisc-7\n")
    arguments = ["--catalog", catalog, "--save-dir", tmp_path / "ids", "--base", base, "--label-col", "brightness"]
    assert main(["finetune", *map(str, arguments), "--eval-ids", str(tmp_path / "ids.txt")]) == 0
    eval_files = read_manifest(tmp_path / "ids/shards").paths("eval")
    assert {galaxy["id_str"] for galaxy in iterate_records(eval_files)} == {"disc-3", "disc-7"}


def test_one_class_is_refused(catalog, base, tmp_path):
    table = pd.read_csv(catalog).assign(blue=1)
    table.to_csv(tmp_path / "blue.csv", index=False)
    with pytest.raises(ValueError, match=r"blue .*'1'"):
        finetune(tmp_path / "blue.csv", tmp_path / "run", base, label_col="blue")


def test_a_wrong_image_root_is_named(catalog, base, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"discs\.csv: none of its 60 images exists .*0\.png.*image_root"):
        finetune(catalog, tmp_path / "run", base, label_col="blue", image_root=tmp_path)


def test_the_folder_of_another_run_is_refused_untouched(catalog, base, tmp_path):
    run = Path(base)
    before = sorted(path.name for path in run.iterdir())
    with pytest.raises(ValueError, match=r"base: .*run.*not a fine-tuning"):
        finetune(catalog, run, base=base, label_col="blue")
    assert sorted(path.name for path in run.iterdir()) == before


def test_a_fine_tuning_has_one_owner(catalog, base, tmp_path):
    with one_owner(tmp_path / "run"), pytest.raises(BlockingIOError, match=r"run: process .* is writing it"):
        finetune(catalog, tmp_path / "run", base, label_col="blue")


def test_a_base_without_weights_is_refused(catalog, base, tmp_path):
    write_config(tmp_path / "base", json.loads((base / "config.json").read_text()))
    with pytest.raises(ValueError, match=r"no model.weights.h5"):
        finetune(catalog, tmp_path / "run", tmp_path / "base", label_col="blue")


def test_mistakes_do_not_wait_for_tensorflow(catalog, tmp_path):
    command = [sys.executable, "-X", "importtime", "-m", "zoobot3d_tf", "finetune", "--catalog", catalog]
    command += ["--label-col", "blue", "--base", tmp_path, "--save-dir", tmp_path / "run"]
    result = subprocess.run(list(map(str, command)), capture_output=True, text=True, cwd=ROOT)
    assert result.returncode == 2
    assert "is not a run folder" in result.stderr.splitlines()[-1]
    assert not any(line.split("|")[-1].strip() in ("tensorflow", "keras") for line in result.stderr.splitlines())
