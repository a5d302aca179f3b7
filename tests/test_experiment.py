"""The experiment `joint-vs-single`: its trainings, the galaxies of each, and continuation after an interruption."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
import yaml
from tiny_network import tiny_encoder

from zoobot3d_tf.cli import main
from zoobot3d_tf.evaluation import experiment
from zoobot3d_tf.evaluation.experiment import (
    SCORED_NAME,
    Galaxies,
    Training,
    compare_joint_and_single,
    plan,
    run_command,
    train_command,
)
from zoobot3d_tf.evaluation.experiment_config import read_experiment
from zoobot3d_tf.models import build
from zoobot3d_tf.shards.manifest import read_manifest
from zoobot3d_tf.shards.read import iterate_records
from zoobot3d_tf.tables.formats import read_table

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
BUDGET = {"img_size": 64, "crop_size": 48, "resize_size": 32, "epochs": 1, "galaxies_per_epoch": 16, "batch_size": 8}


@pytest.fixture
def write(survey, tmp_path):
    """Write a configuration of simulated galaxies with changes, and return its path."""

    def write(**changes):
        content = {
            "votes": {"catalog": str(survey), "schema": "decals_rings"},
            "masks": {"catalog": str(survey), "with_votes": True, "tasks": ["spiral_mask"]},
            "sizes": [2, 3],
            "budget": BUDGET,
            "variants": {
                "joint": {"learns": ["votes", "masks"], "sizes": [3], "after": "votes-only"},
                "votes-only": {"learns": ["votes"]},
            },
            "comparisons": [["joint", "votes-only"]],
            "seeds": 1,
            "folds": 2,
            "scored_folds": 1,
            "validation_share": 0.3,
        }
        path = tmp_path / "experiment.yaml"
        path.write_text(yaml.safe_dump(content | changes))
        return path

    return write


def after(command, option):
    return command[command.index(option) + 1]


def ids_in(folder, split):
    return [record["id_str"] for record in iterate_records(read_manifest(folder).paths(split))]


def test_variants_that_learn_votes_alone_are_trained_first_and_once(write):
    trainings = plan(read_experiment(write(seeds=2, scored_folds=2)))
    assert trainings[:2] == [Training(0, 0, "votes-only", None), Training(0, 0, "joint", 3)]
    assert len(trainings) == 2 * 2 * 2
    assert len({training.path for training in trainings}) == len(trainings)


def test_masked_galaxies_are_nested_subsets_and_keep_their_votes(write, tmp_path):
    galaxies = Galaxies(read_experiment(write()))
    small, large = (galaxies.training_shards("masks", 0, tmp_path / "out", size) for size in (2, 3))
    assert set(ids_in(small, "train")) < set(ids_in(large, "train"))
    manifest = read_manifest(large)
    assert manifest.count("train", "with_spiral_mask") == manifest.count("train") == 3
    assert manifest.count("train", "with_votes") > 0
    votes = read_manifest(galaxies.training_shards("votes", 0, tmp_path / "out"))
    assert votes.count("train", "with_votes") == votes.count("train") > 3
    assert votes.count("train", "with_spiral_mask") == 0


def test_scored_galaxies_are_not_learned_from(write, tmp_path):
    galaxies = Galaxies(read_experiment(write()))
    for kind in ("votes", "masks"):
        learned = galaxies.training_shards(kind, 0, tmp_path / "out", 3 if kind == "masks" else None)
        scored = set(ids_in(galaxies.scored_shards(kind, 0, tmp_path / "out"), "eval"))
        assert scored
        assert not scored & {*ids_in(learned, "train"), *ids_in(learned, "eval")}


def test_too_few_masked_galaxies_are_refused_with_their_number(write):
    galaxies = Galaxies(read_experiment(write(sizes=[3, 500])))
    n = len(galaxies.part("masks", "training", 0))
    with pytest.raises(ValueError, match=rf"sizes must be at most {n}, .*fold 0 .*received 500"):
        galaxies.check_numbers()


def test_the_budget_of_each_training_is_the_same(write, tmp_path):
    settings = read_experiment(write())
    shards = {"votes": tmp_path / "votes", "masks": tmp_path / "masks"}
    joint = train_command(settings, Training(0, 4, "joint", 3), shards, 100, tmp_path)
    votes = train_command(settings, Training(0, 4, "votes-only", None), {"votes": tmp_path / "votes"}, 100, tmp_path)
    assert (after(joint, "--galaxies-per-epoch"), after(votes, "--galaxies-per-epoch")) == ("8,8", "16")
    assert (after(joint, "--tasks"), after(votes, "--tasks")) == ("votes,spiral_mask", "votes")
    for option in ("--epochs", "--batch-size", "--seed", "--patience", "--encoder"):
        assert after(joint, option) == after(votes, option)
    assert after(joint, "--encoder-weights") == tmp_path / "fold0" / "seed4" / "votes-only"
    assert "--encoder-weights" not in votes


def test_options_of_a_variant_reach_its_command(write, tmp_path):
    variant = {"learns": ["votes", "masks"], "alternating": True, "loss_weights": {"votes": 0.5, "bar_mask": 9}}
    settings = read_experiment(write(variants={"joint": variant}, comparisons=[]))
    shards = {"votes": tmp_path / "votes", "masks": tmp_path / "masks"}
    command = train_command(settings, Training(0, 0, "joint", 3), shards, 100, tmp_path)
    assert "--alternating" in command
    assert after(command, "--loss-weights") == "votes=0.5"  # the bar is not learned


def test_an_interrupted_experiment_continues_and_keeps_finished_trainings(write, tmp_path, monkeypatch):
    """Trainings run in this process, with a tiny encoder. Their own continuation is tested with training."""
    monkeypatch.setattr(build, "build_encoder", tiny_encoder)
    trained = []

    def train(log_path, *command):
        run = command[command.index("--experiment-dir") + 1]
        if not interrupted and run.name == "3-masked":
            raise KeyboardInterrupt
        trained.append(run)
        assert main([str(word) for word in command]) == 0

    monkeypatch.setattr(experiment, "run_command", train)
    out, interrupted = tmp_path / "out", []
    with pytest.raises(KeyboardInterrupt):
        compare_joint_and_single(write(), out)
    interrupted.append(True)
    text = compare_joint_and_single(write(), out)
    assert trained == [out / "fold0/seed0/votes-only", out / "fold0/seed0/joint/3-masked"]
    assert not (trained[0] / "checkpoints").exists()
    scores = read_table(out / "scores.csv")
    assert set(scores["score"]) == {"vote_error", "vote_nll", "spiral_mask_iou", "spiral_mask_error"}
    assert list(read_table(out / "comparisons.csv")["score"]) == ["vote_error", "vote_nll"]
    assert (out / "results.md").read_text() == text
    assert (out / "learning_curves.pdf").is_file()

    with pytest.raises(ValueError, match=r"other settings \(budget\.epochs was 1, now 2\)"):
        compare_joint_and_single(write(budget=BUDGET | {"epochs": 2}), out)

    # The scores of more than one seed are those of its trainings.
    shutil.copytree(out / "fold0/seed0", out / "fold0/seed1")
    compare_joint_and_single(write(seeds=2), out)
    again = read_table(out / "scores.csv")
    assert len(trained) == 2
    assert set(again["n_seeds"]) == {2}
    pd.testing.assert_series_equal(again["value"], scores["value"])
    assert json.loads((out / "settings.json").read_text())["seeds"] == 2
    assert (out / "fold0/seed0/votes-only" / SCORED_NAME).is_file()


def test_a_failed_command_is_named_with_its_error(tmp_path):
    with pytest.raises(
        ValueError, match=r"zoobot3d schemas failed: error: .*decals.*zoobot3d schemas decal;.*log\.txt"
    ):
        run_command(tmp_path / "log.txt", "schemas", "decal")


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("joint_vs_single_*.yaml")), ids=lambda path: path.stem)
def test_configurations_that_come_with_the_package_can_be_read(path, tmp_path, monkeypatch):
    content = yaml.safe_load(path.read_text())
    monkeypatch.chdir(tmp_path)
    for galaxies in (content["votes"], content["masks"]):
        catalog = Path(galaxies["catalog"])
        catalog.parent.mkdir(parents=True, exist_ok=True)
        catalog.touch()
    settings = read_experiment(path)
    assert {name for pair in settings.comparisons for name in pair} <= set(settings.variants)
    assert f"zoobot3d experiment joint-vs-single configs/{path.name} --out " in path.read_text()
    assert settings.seeds * settings.n_scored >= 3
