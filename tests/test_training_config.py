"""Configurations of runs: defaults, impossible values, and the checks before a run begins."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from zoobot3d_tf.common_tree import joined_tree
from zoobot3d_tf.files import one_owner
from zoobot3d_tf.runs.run_folder import read_run, write_config
from zoobot3d_tf.schemas import Schema, get_schema
from zoobot3d_tf.shards.manifest import read_manifest
from zoobot3d_tf.training.trainer import check_run
from zoobot3d_tf.training.training_config import config_from_folders, get_run_config

ROOT = Path(__file__).resolve().parents[1]


def run_config(shards, folder, **settings):
    sizes = {"crop_size": 75, "resize_size": 32, "batch_size": 8, "epochs": 2}
    return config_from_folders(shards / "train_shards", shards / "eval_shards", folder, **(sizes | settings))


def test_tasks_are_those_with_labels_unless_named(shards, tmp_path):
    assert run_config(shards, tmp_path).model.tasks == ("votes", "spiral_mask", "bar_mask")
    assert run_config(shards, tmp_path, tasks=["votes"]).model.tasks == ("votes",)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"epochs": 0}, "epochs .* 1; received 0"),
        ({"learning_rate": -1.0}, "learning_rate .*received -1"),
        ({"mask_loss": "dice"}, "mask_loss .*l1, mse, cross-entropy, beta-binomial.*dice"),
        ({"loss_weights": {"ring": 1.0}}, "loss_weights .*votes.*received ring"),
        ({"loss_weights": {"votes": 0.0}}, "loss_weights must be above 0; received 0.0 for votes"),
        ({"loss_weights": {"votes": -1.0}}, "loss_weights must be above 0; received -1.0 for votes"),
        ({"loss_weights": {"bar_mask": float("nan")}}, "loss_weights .*received nan for bar_mask"),
        ({"learning_rate": float("inf")}, "learning_rate .*received inf"),
        ({"weight_decay": float("nan")}, "weight_decay .*received nan"),
        ({"seed": 2**32}, "seed must be from 0 to 4294967295; received 4294967296"),
        ({"seed": -1}, "seed must be .*received -1"),
        ({"eval_records": []}, "eval_records"),
        ({"crop_size": 120}, r"crop.size.* 120 .* 100"),
        ({"final_size": 100}, "multiple of 32"),
        (
            {"galaxies_per_epoch": [5, 5]},
            "galaxies_per_epoch must have one number for each of the 1 folders.*received 2",
        ),
        ({"galaxies_per_epoch": [0]}, "galaxies_per_epoch must be at least 1; received 0"),
        ({"decoder_widths": [64, 32]}, "decoder_widths must be four whole numbers above 0.*received 64, 32"),
        ({"masked_times": 0}, "masked_times must be at least 1; received 0"),
        ({"alternating": True}, "needs galaxies_per_epoch, as multiples of the batch size"),
        ({"alternating": True, "batch_size": 0}, "batch_size must be at least 1; received 0"),
    ],
)
def test_impossible_runs_are_refused(shards, tmp_path, settings, words):
    records = read_manifest(shards).paths("train")
    sizes = {"initial_size": 100, "crop_size": 75, "final_size": 32, "epochs": 1, "batch_size": 4}
    files = {"train_records": records, "eval_records": records, "log_dir": tmp_path, "schema": get_schema("decals")}
    with pytest.raises(ValueError, match=words):
        get_run_config(**(sizes | files | settings))


def test_a_folder_without_shards_is_refused(shards, tmp_path):
    shutil.copy(shards / "shards.json", tmp_path)
    (tmp_path / "more_shards").mkdir()
    with pytest.raises(FileNotFoundError, match=r"more_shards: .*no \.tfrecord files.*`zoobot3d shards`"):
        config_from_folders(tmp_path / "more_shards", shards / "eval_shards", tmp_path / "run", epochs=1, batch_size=8)


def test_the_run_folder_records_the_stretch_of_the_shards(shards, tmp_path):
    lupton = with_stretch(shards, tmp_path / "lupton", "lupton")
    check_run(run_config(lupton, tmp_path / "run"))
    assert read_run(tmp_path / "run").stretch == "lupton"
    learn(tmp_path / "run")
    with pytest.raises(ValueError, match=r"stretch was lupton, now galaxy-zoo"):
        check_run(run_config(shards, tmp_path / "run"))
    config = tmp_path / "run" / "config.json"
    config.write_text(config.read_text().replace("lupton", "log"))
    with pytest.raises(ValueError, match=r"config\.json.*stretch.*'log'"):
        read_run(tmp_path / "run")


def test_runs_that_do_not_name_their_stretch_had_that_of_galaxy_zoo(shards, tmp_path):
    config = run_config(with_stretch(shards, tmp_path / "old", None), tmp_path / "run")
    write_config(config.log_dir, config.to_dict())
    assert "stretch" not in json.loads((tmp_path / "run" / "config.json").read_text())
    assert read_run(tmp_path / "run").stretch == "galaxy-zoo"
    check_run(config)
    assert json.loads((tmp_path / "run" / "config.json").read_text())["stretch"] == "galaxy-zoo"


def test_other_widths_of_the_decoder_are_in_the_configuration_and_those_of_older_runs_are_not(shards, tmp_path):
    check_run(run_config(shards, tmp_path / "old"))
    assert "decoder_widths" not in json.loads((tmp_path / "old" / "config.json").read_text())["model"]
    assert read_run(tmp_path / "old").model.decoder_widths == (128, 64, 32, 16)
    check_run(run_config(shards, tmp_path / "new", decoder_widths=[32, 16, 8, 8]))
    assert read_run(tmp_path / "new").model.decoder_widths == (32, 16, 8, 8)


def test_a_run_whose_shards_were_moved_is_continued(shards, tmp_path):
    check_run(run_config(shards, tmp_path / "run"))
    learn(tmp_path / "run")
    shutil.copytree(shards, tmp_path / "moved")
    check_run(run_config(tmp_path / "moved", tmp_path / "run"))
    stored = json.loads((tmp_path / "run" / "config.json").read_text())["training"]
    assert stored["train_dirs"] == [str(tmp_path / "moved" / "train_shards")]


def test_shards_of_two_stretches_are_not_mixed(shards, tmp_path):
    lupton = with_stretch(shards, tmp_path / "lupton", "lupton")
    config = config_from_folders(
        shards / "train_shards", lupton / "eval_shards", tmp_path / "run", resize_size=32, batch_size=8, epochs=1
    )
    with pytest.raises(ValueError, match=r"/shards .*galaxy-zoo.*/lupton .*lupton"):
        config.run_estimator()
    assert not (tmp_path / "run").exists()


def with_stretch(shards: Path, folder: Path, stretch: str | None) -> Path:
    """A copy of shards that says it was made with another stretch, or with none."""
    shutil.copytree(shards, folder)
    content = json.loads((folder / "shards.json").read_text())
    del content["made_by"]["stretch"]
    content["made_by"] |= {"stretch": stretch} if stretch else {}
    (folder / "shards.json").write_text(json.dumps(content))
    return folder


def test_other_settings_in_the_same_folder_are_refused(shards, tmp_path):
    check_run(run_config(shards, tmp_path / "run"))
    learn(tmp_path / "run")
    with pytest.raises(ValueError, match=r"training\.learning_rate was 0\.001, now 0\.1"):
        check_run(run_config(shards, tmp_path / "run", learning_rate=0.1))


def learn(folder: Path) -> None:
    """Add a file of weights to a run folder."""
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "best.weights.h5").touch()


def test_a_folder_in_which_nothing_was_learned_takes_other_settings(shards, tmp_path):
    check_run(run_config(shards, tmp_path / "run"))
    check_run(run_config(shards, tmp_path / "run", learning_rate=0.1))
    assert json.loads((tmp_path / "run" / "config.json").read_text())["training"]["learning_rate"] == 0.1


def test_other_shards_of_the_same_names_are_refused(shards, tmp_path):
    shutil.copytree(shards, tmp_path / "shards")
    check_run(run_config(tmp_path / "shards", tmp_path / "run"))
    learn(tmp_path / "run")
    check_run(run_config(shards, tmp_path / "run"))  # the same shards at another place
    manifest = tmp_path / "shards" / "shards.json"
    manifest.write_text(manifest.read_text().replace('"sha256": "', '"sha256": "0'))
    with pytest.raises(ValueError, match=r"shards\.eval was [0-9a-f]{16}, now [0-9a-f]{16}; shards\.train was"):
        check_run(run_config(tmp_path / "shards", tmp_path / "run"))


def test_runs_that_do_not_record_their_shards_are_continued(shards, tmp_path):
    check_run(run_config(shards, tmp_path / "run"))
    path = tmp_path / "run" / "config.json"
    content = json.loads(path.read_text())
    del content["shards"]
    path.write_text(json.dumps(content))
    learn(tmp_path / "run")
    check_run(run_config(shards, tmp_path / "run"))
    assert set(json.loads(path.read_text())["shards"]) == {"train", "eval"}


@pytest.mark.parametrize("content", ["[]", '{"a": ', "[" * 100_000])
def test_a_damaged_configuration_is_named(shards, tmp_path, content):
    learn_in = tmp_path / "run"
    check_run(run_config(shards, learn_in))
    learn(learn_in)
    (learn_in / "config.json").write_text(content)
    with pytest.raises(ValueError, match=r"run/config\.json cannot be used"):
        check_run(run_config(shards, learn_in))


def test_a_run_has_one_owner(shards, tmp_path):
    with one_owner(tmp_path / "run"), pytest.raises(BlockingIOError, match=r"run: process .* is writing it"):
        run_config(shards, tmp_path / "run").run_estimator()
    assert not (tmp_path / "run").exists()


def test_a_listed_shard_that_is_missing_is_named(shards, tmp_path):
    shutil.copytree(shards, tmp_path / "shards")
    lost = sorted((tmp_path / "shards" / "train_shards").iterdir())[0]
    lost.unlink()
    with pytest.raises(FileNotFoundError, match=rf"{lost}: no such file, but shards\.json lists it"):
        check_run(run_config(tmp_path / "shards", tmp_path / "run"))
    lost.with_name("more.tfrecord").touch()
    lost.touch()
    with pytest.raises(ValueError, match=r"more\.tfrecord: not listed"):
        check_run(run_config(tmp_path / "shards", tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def without_labels(shards: Path, folder: Path, *names: str) -> Path:
    """Copy shards whose manifest counts no galaxy with these labels in these splits, such as eval:with_votes."""
    shutil.copytree(shards, folder)
    content = json.loads((folder / "shards.json").read_text())
    for split, label in (name.split(":") for name in names):
        for file in content["splits"][split]["files"]:
            file[label] = 0
    (folder / "shards.json").write_text(json.dumps(content))
    return folder


def test_a_task_without_training_galaxies_is_refused(shards, tmp_path):
    without = without_labels(shards, tmp_path / "shards", "train:with_bar_mask")
    with pytest.raises(ValueError, match="no training galaxy has labels for bar_mask"):
        check_run(run_config(without, tmp_path / "run", tasks=["bar_mask"]))
    check_run(run_config(without, tmp_path / "run"))  # by default, it is not a task
    assert read_run(tmp_path / "run").model.tasks == ("votes", "spiral_mask")


def test_tasks_that_cannot_be_validated_are_said_and_refused_if_there_is_no_other(shards, tmp_path, caplog):
    without = without_labels(shards, tmp_path / "shards", "eval:with_bar_mask")
    check_run(run_config(without, tmp_path / "run"))
    assert "no validation galaxy has labels for bar_mask" in caplog.text
    with pytest.raises(ValueError, match="no validation galaxy has labels for bar_mask"):
        check_run(run_config(without, tmp_path / "run", tasks=["bar_mask"]))


def test_a_missing_extra_is_named_before_the_work(shards, tmp_path, monkeypatch):
    monkeypatch.setattr("zoobot3d_tf.extras.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"wandb=True needs wandb.*pip install 'zoobot3d_tf\[wandb\]'"):
        run_config(shards, tmp_path / "run", wandb=True).run_estimator()
    assert not (tmp_path / "run").exists()


def test_shards_of_another_size_are_refused_before_tensorflow_is_imported(shards, tmp_path):
    command = [sys.executable, "-X", "importtime", "train_model.py", "--experiment-dir", tmp_path / "run"]
    command += ["--train-dir", shards / "train_shards", "--eval-dir", shards / "eval_shards", "--shard-img-size", "300"]
    result = subprocess.run(list(map(str, command)), capture_output=True, text=True, cwd=ROOT)
    assert result.returncode == 2
    last = result.stderr.splitlines()[-1]
    assert "100 x 100 pixels" in last
    assert "300" in last
    assert not any(line.split("|")[-1].strip() == "tensorflow" for line in result.stderr.splitlines())
    assert not (tmp_path / "run").exists()


def with_schema(shards: Path, folder: Path, schema: Schema | None) -> Path:
    """Copy shards, and say that their votes are those of another tree with as many answers."""
    shutil.copytree(shards, folder)
    content = json.loads((folder / "shards.json").read_text())
    content["schema"] = schema and schema.to_dict()
    (folder / "shards.json").write_text(json.dumps(content))
    return folder


def several(*folders: Path) -> dict[str, list[Path]]:
    return {f"{split}_dir": [folder / f"{split}_shards" for folder in folders] for split in ("train", "eval")}


def test_surveys_with_several_trees_have_one_tree_in_common(shards, tmp_path):
    other = with_schema(shards, tmp_path / "dr5", get_schema("decals_dr5_ortho"))
    sizes = {"resize_size": 32, "batch_size": 8, "epochs": 1, "galaxies_per_epoch": [20, 10]}
    config = config_from_folders(**several(shards, other), experiment_dir=tmp_path / "run", **sizes)
    assert config.model.schema == joined_tree([get_schema("decals"), get_schema("decals_dr5_ortho")])
    check_run(config)
    recorded = json.loads((tmp_path / "run" / "config.json").read_text())
    assert recorded["training"]["galaxies_per_epoch"] == [20, 10]
    hashes = recorded["shards"]["train"].split("-")
    assert hashes[0] == hashes[1]  # of the same files
    alone = config_from_folders(
        **several(shards), experiment_dir=tmp_path / "alone", resize_size=32, batch_size=8, epochs=1
    )
    assert alone.model.schema == get_schema("decals")


def test_surveys_that_cannot_be_joined_are_refused(shards, tmp_path):
    sizes = {"experiment_dir": tmp_path / "run", "resize_size": 32, "batch_size": 8, "epochs": 1}
    dust = Schema({"dust": [f"_{n}" for n in range(34)]}, {"dust": None}, "dusty")
    other = with_schema(shards, tmp_path / "dusty", dust)
    with pytest.raises(ValueError, match="'dusty' shares no question with the tree 'galaxy_zoo'"):
        config_from_folders(**several(shards, other), **sizes)
    with pytest.raises(ValueError, match=r"train_dir must name each folder of shards once; received .*shards twice"):
        config_from_folders(**several(shards, shards), **sizes)


def test_a_validation_survey_with_another_tree_is_refused(shards, tmp_path):
    dr8 = with_schema(shards, tmp_path / "dr8", get_schema("decals_dr8_ortho"))
    with pytest.raises(ValueError, match="dr8: these shards hold votes of the schema decals_dr8_ortho"):
        check_run(
            config_from_folders(
                shards / "train_shards", dr8 / "eval_shards", tmp_path / "run", resize_size=32, batch_size=8, epochs=1
            )
        )
