"""The comparison of starts (examples/real_galaxies/starts.py): folds, what each start is trained on, and the table."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1] / "examples" / "real_galaxies"))

import starts
from real_figures import GAINS, Figure, gz2_column, gz2_columns
from start_scores import markdown, score_fold

from zoobot3d_tf.evaluation.bootstrap import Score
from zoobot3d_tf.schemas import get_schema


@pytest.fixture
def comparison(tmp_path):
    """Forty galaxies with votes; the same ids with classes and masks. Classes have one anonymous image more."""
    catalogs = tmp_path / "catalogs"
    catalogs.mkdir()
    ids = [f"galaxy{number}" for number in range(40)]
    for number, name in enumerate([*ids, "anonymous"]):
        pixels = np.random.default_rng(number).integers(0, 255, (64, 64), np.uint8)
        Image.fromarray(pixels).save(catalogs / f"{name}.png")
    table = pd.DataFrame({"id_str": ids, "file_loc": [f"{name}.png" for name in ids]})
    table["split"] = ["test", "val", "train", "train"] * 10
    for name in ("gz2", "builder", "second_group"):
        table.to_csv(catalogs / f"{name}.csv", index=False)
    anonymous = pd.DataFrame({"id_str": ["anonymous"], "file_loc": ["anonymous.png"], "split": ["train"]})
    pd.concat([table, anonymous]).to_csv(catalogs / "classes.csv", index=False)
    return starts.Comparison(catalogs, (catalogs,), None, tmp_path / "out", 3, 4, 80, 32)


@pytest.fixture
def commands(monkeypatch):
    """Commands that would be run, which take two minutes each."""
    run: list[list[str]] = []

    def record(c, output, *command):
        run.append([str(word) for word in command])
        return 2.0

    monkeypatch.setattr(starts, "run_once", record)
    return run


def after(command, option):
    return command[command.index(option) + 1]


def test_each_known_galaxy_is_in_one_fold(comparison):
    inside = [set(starts.galaxies(comparison, "gz2", fold, inside=True)["id_str"]) for fold in range(3)]
    outside = [set(starts.galaxies(comparison, "builder", fold, inside=False)["id_str"]) for fold in range(3)]
    known = {f"galaxy{number}" for number in range(40) if number % 4}
    assert sum(map(len, inside)) == len(known) == 30
    assert all(one and not one & other and one | other == known for one, other in zip(inside, outside, strict=True))


def test_classes_of_galaxies_in_the_fold_are_left_out(comparison):
    scored = starts.galaxies(comparison, "gz2", 0, inside=True)
    assert "anonymous" in set(starts.training_galaxies(comparison, "classes", fold_without("anonymous"))["id_str"])
    pixels = Image.open(comparison.catalogs / scored["file_loc"].iloc[0])
    pixels.save(comparison.catalogs / "anonymous.png")  # now it shows a galaxy of fold 0
    kept = set(starts.training_galaxies(comparison, "classes", 0)["id_str"])
    assert kept == set(starts.galaxies(comparison, "gz2", 0, inside=False)["id_str"])


def fold_without(id_str):
    """A fold of three that does not have a galaxy."""
    return (int(starts.hash_share(f"fold of {id_str}") * 3) + 1) % 3


def test_steps_of_a_start_follow_each_other(comparison, commands):
    weights, minutes = starts.initial_weights(comparison, ("imagenet", "votes"), fold=1)
    *made, trained = commands
    assert [command[0] for command in made] == ["shards", "shards"]
    assert after(trained, "--encoder-weights") == "imagenet-lite0"
    assert after(trained, "--galaxies-per-epoch") == "50,30"
    assert after(trained, "--epochs") == "2"  # half of the joint training
    assert weights == ["--encoder-weights", comparison.out / "fold1" / "first-imagenet-votes"]
    assert minutes == 2


def test_pretraining_is_shared_by_the_folds(comparison, commands):
    first, second = (starts.initial_weights(comparison, ("images",), fold) for fold in (0, 1))
    assert first == second
    assert "--encoder-weights" not in commands[0]
    assert len(list(Path(commands[0][1]).iterdir())) == comparison.unlabelled


def test_simulated_galaxies_are_not_validated_among_real_ones(comparison, commands):
    simulated = comparison.catalogs.parent / "simulated"
    simulated.mkdir()
    pd.DataFrame({"id_str": ["a", "b"], "spiral_mask_loc": ["a.png", ""]}).to_csv(
        simulated / "catalog.csv", index=False
    )
    c = replace(comparison, simulated=simulated)
    starts.train(c, c.out / "run", starts.MIXED, 0, 4, [])
    trained = commands[-1]
    validated = trained[trained.index("--eval-dir") + 1 : trained.index("--encoder")]
    assert [Path(folder).parent.name for folder in validated] == ["shards-gz2", "shards-builder"]
    assert after(trained, "--galaxies-per-epoch") == "50,30,20"
    assert pd.read_csv(c.out / "shared" / "shards-simulated.csv")["id_str"].tolist() == ["a"]


def test_a_finished_start_is_skipped_and_other_settings_are_refused(comparison, monkeypatch):
    trained = []

    def train_and_score(c, name, fold):
        trained.append((name, fold))
        values = {name: (0.25, 0.5, 1.0), "baselines": (0.0, 0.25, None), "volunteers": (0.75, 0.5, None)}
        return [dict(zip(starts.COLUMNS, (key, fold, *row), strict=True)) for key, row in values.items()]

    monkeypatch.setattr(starts, "train_and_score", train_and_score)
    starts.compare(comparison, ["scratch"])
    text = starts.compare(comparison, ["scratch", "images"])
    assert sorted(trained) == [(name, fold) for name in ("images", "scratch") for fold in range(3)]
    assert text == (comparison.out / "starts.md").read_text()
    assert len(text.splitlines()) == 2 + 4
    with pytest.raises(ValueError, match=r"settings\.json.*--out"):
        starts.compare(replace(comparison, epochs=5), ["scratch"])


@pytest.mark.parametrize(
    ("names", "message"), [(["nothing"], "scratch.*received nothing"), (["simulated"], "--simulated")]
)
def test_impossible_starts_are_refused(comparison, names, message):
    with pytest.raises(ValueError, match=message):
        starts.compare(comparison, names)
    assert not comparison.out.exists()


def test_a_failed_command_is_named_with_its_error(comparison):
    comparison.out.mkdir()
    with pytest.raises(ValueError, match=r"zoobot3d shards failed: .*log\.txt"):
        starts.run_once(comparison, comparison.out / "x", "shards", "--nonsense")
    assert not list(comparison.out.glob("*.minutes"))


def test_table_has_means_and_ranges():
    table = pd.DataFrame(
        {"start": "a", "fold": [0, 1], "gain": [0.25, 0.75], "iou": [0.125, 0.375], "minutes": [2.0, 4.0]}
    )
    assert markdown(table, {"a": "A", "b": "B"}).splitlines()[2:] == [
        "| A | 2 | 50 % (25 to 75) | 0.250 (0.125 to 0.375) | 3.0 |"
    ]


def test_a_model_of_galaxy_zoo_2_alone_is_scored(tmp_path, monkeypatch):
    scored = [gz2_column(*answer) for answer in GAINS.values() if answer != GAINS["smooth"]]
    others = [gz2_columns(question)[-1] for question, _ in GAINS.values()]
    votes = pd.DataFrame(0, index=range(2), columns=get_schema("gz2_ortho").label_cols).assign(id_str=["a", "b"])
    votes[scored] = [[4] * len(scored), [2] * len(scored)]  # observed fractions of galaxy a: 1
    votes.loc[1, others] = 2  # mean of galaxy b: 1/2
    votes.to_csv(tmp_path / "gz2.csv", index=False)
    fractions = {f"{column}_fraction": [0.75] for column in scored}
    pd.DataFrame({"id_str": ["a"], **fractions}).to_csv(tmp_path / "predicted.csv", index=False)
    arms = Figure("arms", 1, {"start": Score(0.5, 0.25, 0.75)}, 0.25, "", 0.75)
    monkeypatch.setattr("start_scores.mask_figures", lambda *arguments: [arms])
    monkeypatch.setattr("real_figures.GAINS", {name: answer for name, answer in GAINS.items() if name != "smooth"})
    scores = score_fold(tmp_path / "predicted.csv", tmp_path, pd.Series(["a"]), pd.Series(["b"]), set())
    # The errors are 1/4, those of the mean 1/2.
    assert scores["start"] == (pytest.approx(0.5), 0.5)
    assert scores["baselines"] == (0.0, 0.25)
    assert scores["volunteers"][1] == 0.75
