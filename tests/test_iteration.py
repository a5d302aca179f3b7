"""Iterations of active learning: what they decide, how they follow each other, and interruptions."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from active_experiment import Fakes, contents, make_plan, make_sources

from zoobot3d_tf.active_learning import iteration
from zoobot3d_tf.active_learning.acquisition import acquire
from zoobot3d_tf.active_learning.database import Database, open_database
from zoobot3d_tf.active_learning.definition import HIDDEN_NAME, SIMULATION_NAME, define_experiment
from zoobot3d_tf.active_learning.instructions import INSTRUCTIONS_NAME
from zoobot3d_tf.active_learning.iteration import run_iteration
from zoobot3d_tf.active_learning.oracles import Imperfections, SimulatedOracle
from zoobot3d_tf.active_learning.plan import create_instructions
from zoobot3d_tf.files import one_owner
from zoobot3d_tf.predictions.prediction_tables import load_predictions
from zoobot3d_tf.schemas import get_schema
from zoobot3d_tf.shards.manifest import check_shards, read_manifest
from zoobot3d_tf.shards.read import read_votes
from zoobot3d_tf.tables.formats import read_table

DECALS = get_schema("decals")


@pytest.fixture(scope="module")
def sources(survey, tmp_path_factory):
    """Folder of the catalogues; the shards are beside it."""
    folder = tmp_path_factory.mktemp("sources")
    return folder, make_sources(folder, survey)


@pytest.fixture
def fakes(monkeypatch):
    return Fakes(monkeypatch)


@pytest.fixture
def prepare(sources, tmp_path, fakes):
    """Function that prepares an experiment, and returns its folder."""

    def make(name="experiment", *arguments, **settings):
        folder, simulation = sources
        create_instructions(make_plan(simulation, tmp_path / name, *arguments, **settings), folder / "shards")
        return tmp_path / name

    return make


def run(experiment, number):
    previous = experiment / f"iteration_{number - 1}" if number else ""
    return run_iteration(experiment / "instructions", experiment / f"iteration_{number}", previous)


def test_an_experiment_begins_with_the_galaxies_of_its_shards(sources, prepare):
    experiment = prepare()
    galaxies, manifest = contents(experiment)
    assert manifest == (sources[0] / "shards" / "shards.json").read_text()
    assert galaxies.groupby("split")["is_labelled"].agg(["size", "sum"]).to_numpy().tolist() == [
        [5, 5],
        [5, 5],
        [18, 0],
    ]
    for row in galaxies.itertuples():
        assert read_votes([experiment / "shards" / row.shard])[0][row.record] == row.id_str


def test_the_first_two_iterations(sources, prepare, fakes):
    experiment = prepare(seed=4)
    first, second = run(experiment, 0), run(experiment, 1)
    n_labelled = [one["n_labelled"] for one in (first, second)]
    assert n_labelled == [5, 8]
    assert [(one["n_answered"], one["n_asked"], one["n_waiting"]) for one in (first, second)] == [(0, 3, 3), (3, 3, 3)]
    runs = [experiment / f"iteration_{number}" / "run" for number in range(2)]
    assert fakes.trained == [(runs[0], 5, 4, None), (runs[1], 8, 5, runs[0])]

    # The most informative galaxies are asked about, and their hidden votes are learned.
    predictions = load_predictions(experiment / "iteration_0" / "candidates.parquet")
    scores = acquire("mutual-information", predictions.concentrations, DECALS)
    galaxies, _ = contents(experiment)
    asked = galaxies[galaxies["asked"] == 0].sort_values("rank")
    best = np.argsort(-scores)[:3]
    assert asked["id_str"].tolist() == predictions.table["id_str"].iloc[best].tolist()
    np.testing.assert_allclose(asked["score"], scores[best])
    np.testing.assert_allclose(asked["information"], scores[best])
    assert first["information"]["asked"] == pytest.approx(scores[best].mean())
    assert second["information"]["answered_before"] == pytest.approx(scores[best].mean())
    assert first["information"]["candidates"] == pytest.approx(scores.mean())

    hidden = read_table(sources[1] / HIDDEN_NAME).set_index("id_str")[DECALS.label_cols]
    manifest = read_manifest(experiment / "shards")
    check_shards(list(manifest.listed()), verify_hash=True)
    (path,) = [path for path in manifest.paths("train") if "iteration-1" in path.name]
    ids, votes = read_votes([path])
    assert set(ids) == set(asked["id_str"])
    np.testing.assert_array_equal(votes, hidden.loc[ids])
    assert (galaxies.set_index("id_str").loc[ids, "shard"] == f"train_shards/{path.name}").all()
    assert not set(galaxies.loc[galaxies["asked"] == 1, "id_str"]) & set(ids)


def test_scores_are_those_of_the_evaluation_galaxies(sources, prepare):
    experiment = prepare()
    metrics = run(experiment, 0)
    ids, votes = read_votes(read_manifest(experiment / "shards").paths("eval"))
    table = load_predictions(experiment / "iteration_0" / "known.parquet").table.set_index("id_str")
    assert list(table.index) == ids
    fractions = table.loc[ids, [f"{column}_fraction" for column in DECALS.label_cols]].to_numpy()
    n_asked = votes @ DECALS.same_question
    errors = np.abs(fractions - votes / np.maximum(n_asked, 1))[n_asked > 0]
    assert metrics["scores"]["mae"]["value"] == pytest.approx(errors.mean(), rel=1e-5)
    assert metrics["scores"]["mae"]["low"] < errors.mean() < metrics["scores"]["mae"]["high"]


def test_a_finished_iteration_is_not_run_again(prepare, fakes):
    experiment = prepare()
    metrics = run(experiment, 0)
    before = contents(experiment)
    assert run(experiment, 0) == metrics
    assert len(fakes.trained) == 1
    pd.testing.assert_frame_equal(contents(experiment)[0], before[0])


STEPS = {
    "answers": (SimulatedOracle, "answers"),
    "begin": (Database, "begin"),
    "grow": (iteration, "_grow"),
    "train": (iteration, "_predict"),
    "choose": (iteration, "_choose"),
    "written choice": (Database, "choose"),
    "ask": (SimulatedOracle, "ask"),
    "measure": (iteration, "measure"),
    "finish": (Database, "finish"),
}


@pytest.mark.parametrize("when", ["before", "after"])
def test_an_interruption_at_any_step_changes_nothing(prepare, when):
    expected = prepare("expected")
    metrics = [run(expected, number) for number in range(2)]
    begun = prepare("begun")
    run(begun, 0)
    for name, (place, step) in STEPS.items():
        experiment = begun.with_name(name)
        shutil.copytree(begun, experiment)
        interrupt(experiment, 1, place, step, when)
        assert run(experiment, 1) == metrics[1], name
        for found, wanted in zip(contents(experiment), contents(expected), strict=True):
            assert found.equals(wanted) if isinstance(wanted, pd.DataFrame) else found == wanted, name


def interrupt(experiment, number, place, step, when):
    """Run an iteration until before or after a step."""
    original = getattr(place, step)

    def stop(*arguments, **settings):
        if when == "after":
            original(*arguments, **settings)
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(place, step, stop)
        with pytest.raises(KeyboardInterrupt):
            run(experiment, number)


def test_folders_that_do_not_follow_each_other_are_refused(prepare):
    experiment = prepare()
    instructions, folders = experiment / "instructions", [experiment / f"iteration_{number}" for number in range(3)]
    with pytest.raises(ValueError, match=r"previous_iteration_dir must be empty for the first .*iteration_1"):
        run_iteration(instructions, folders[0], folders[1])
    interrupt(experiment, 0, iteration, "measure", "before")
    with pytest.raises(ValueError, match=f"this_iteration_dir must be {folders[0]}, since iteration 0 is unfinished"):
        run_iteration(instructions, folders[1], folders[0])
    run(experiment, 0)
    with pytest.raises(ValueError, match=f"previous_iteration_dir must be {folders[0]}; received an empty text"):
        run_iteration(instructions, folders[1])
    assert not folders[1].exists()


def test_one_process_runs_an_experiment(prepare):
    experiment = prepare()
    with one_owner(experiment), pytest.raises(BlockingIOError, match="is writing it"):
        run(experiment, 0)


def test_an_experiment_that_was_moved_goes_on(sources, prepare, tmp_path):
    expected = prepare("expected")
    metrics = [run(expected, number) for number in range(2)]
    run(prepare("old"), 0)
    moved = tmp_path / "other" / "place"
    shutil.copytree(sources[1], tmp_path / "other" / "catalogs")
    (tmp_path / "old").rename(moved)
    path = moved / "instructions" / INSTRUCTIONS_NAME
    stored = json.loads(path.read_text())
    assert not [value for value in stored.values() if str(value).startswith("/")]
    path.write_text(json.dumps(stored | {"catalog_dir": "../../catalogs"}))
    assert run(moved, 1) == metrics[1]


def test_answers_may_be_late_or_never_come(prepare):
    experiment = prepare(imperfections=Imperfections(max_delay=1, answered=0.8, seed=1))
    metrics = [run(experiment, number) for number in range(4)]
    assert metrics[1]["n_answered"] < 3
    galaxies, _ = contents(experiment)
    answered = galaxies.dropna(subset="answered")
    delay = answered["answered"] - answered["asked"]
    assert set(delay) == {1, 2}
    assert metrics[-1]["n_waiting"] == (galaxies["asked"].notna() & ~galaxies["is_labelled"]).sum() > 3


def test_all_galaxies_are_asked_in_the_end(prepare):
    experiment = prepare(subjects_per_iter=10)
    metrics = [run(experiment, number) for number in range(4)]
    assert [one["n_asked"] for one in metrics] == [10, 8, 0, 0]
    assert [one["n_labelled"] for one in metrics] == [5, 15, 23, 23]
    assert metrics[-1]["information"]["asked"] is None


def test_random_choices_differ_from_iteration_to_iteration_and_can_be_repeated(prepare):
    tables = []
    for name in ("first", "second"):
        experiment = prepare(name, "random")
        for number in range(2):
            run(experiment, number)
        tables.append(contents(experiment)[0])
    pd.testing.assert_frame_equal(*tables)
    scores = [tables[0].loc[tables[0]["asked"] == number, "score"].sort_values().tolist() for number in range(2)]
    assert scores[0] != scores[1]


def test_the_oracle_receives_images_that_exist(prepare, monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(SimulatedOracle, "ask", lambda self, galaxies: asked.append(galaxies))
    experiment = prepare()
    run(experiment, 0)
    (galaxies,) = asked
    with open_database(experiment / "database.sqlite") as database:
        assert galaxies["id_str"].tolist() == database.asked_in(0)
    assert {"ra", "dec"} <= set(galaxies)
    assert all(pd.Series(galaxies["file_loc"]).map(lambda loc: open(loc, "rb").read(4) == b"\x89PNG"))


def test_an_experiment_keeps_its_settings(sources, prepare):
    experiment = prepare()
    folder, simulation = sources
    plan = make_plan(simulation, experiment)
    assert create_instructions(plan, folder / "shards") == experiment / "instructions"
    more = replace(plan, instructions=replace(plan.instructions, subjects_per_iter=4))
    with pytest.raises(ValueError, match=r"\(subjects_per_iter was 3, now 4\)"):
        create_instructions(more, folder / "shards")
    with pytest.raises(ValueError, match=r"\(name was mutual-information, now random\)"):
        create_instructions(make_plan(simulation, experiment, "random"), folder / "shards")


def test_an_impossible_choice_is_refused_before_the_first_training(sources, tmp_path):
    plan = make_plan(sources[1], tmp_path / "experiment", "fraction-above")
    with pytest.raises(ValueError, match="answer"):
        create_instructions(plan, sources[0] / "shards")
    assert not (tmp_path / "experiment").exists()


def test_shards_that_do_not_fit_are_refused(sources, shards, survey, tmp_path):
    folder, simulation = sources
    with pytest.raises(ValueError, match="no unlabelled galaxies"):
        create_instructions(make_plan(simulation, tmp_path / "experiment"), shards)
    bars = define_experiment(survey, tmp_path / "bars", DECALS, question="bar") / SIMULATION_NAME
    with pytest.raises(ValueError, match=r"'decals'.*'bar'.*make shards of these catalogues"):
        create_instructions(make_plan(bars, tmp_path / "experiment"), folder / "shards")
    assert not (tmp_path / "experiment").exists()
