"""Simulations of active learning: the commands from a catalogue to the page, and kills at random moments."""

import random
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from active_experiment import N_ITERATIONS, Fakes, contents, make_plan, make_sources
from tiny_network import tiny_encoder

from zoobot3d_tf.active_learning.acquisition import acquire, choose
from zoobot3d_tf.active_learning.database import open_database
from zoobot3d_tf.active_learning.definition import HIDDEN_NAME
from zoobot3d_tf.active_learning.instructions import Instructions
from zoobot3d_tf.active_learning.panoptes import PanoptesOptions
from zoobot3d_tf.active_learning.plan import create_instructions
from zoobot3d_tf.active_learning.simulation import finished_iterations, run_simulation
from zoobot3d_tf.cli import main
from zoobot3d_tf.models import build
from zoobot3d_tf.predictions.prediction_tables import load_predictions
from zoobot3d_tf.representations.vectors import open_vectors, rows_of
from zoobot3d_tf.runs.run_folder import read_run
from zoobot3d_tf.schemas import get_schema
from zoobot3d_tf.shards.manifest import check_shards, read_manifest
from zoobot3d_tf.tables.formats import read_table

QUESTION = "smooth-or-featured"
KILLS = 10


@pytest.fixture(scope="module")
def sources(survey, tmp_path_factory):
    """Catalogues and shards with one question, whose training is traced fast."""
    folder = tmp_path_factory.mktemp("sources")
    return folder, make_sources(folder, survey, QUESTION)


def prepare(sources, experiment, acquisition="mutual-information", **settings):
    folder, simulation = sources
    return create_instructions(make_plan(simulation, experiment, acquisition, **settings), folder / "shards")


def test_the_commands_lead_from_a_catalogue_to_the_page(survey, tmp_path, monkeypatch, capsys):
    Fakes(monkeypatch)
    catalogs, shards, experiment = (tmp_path / name for name in ("catalogs", "shards", "experiment"))
    simulation = catalogs / "simulation_context"
    define = ["al", "define", "--master-catalog", survey, "--save-dir", catalogs, "--known", "10"]
    catalogs_of = ["--labelled-catalog", simulation / "labelled_catalog.csv"]
    catalogs_of += ["--unlabelled-catalog", simulation / "unlabelled_catalog.csv"]
    sizes = ["--eval-size", "5", "--max-unlabelled", "15", "--img-size", "64", "--shard-size", "4", "--workers", "1"]
    settings = ["--iterations", "2", "--subjects-per-iter", "4", "--n-samples", "2", "--acquisition", "entropy"]
    simulate = ["al", "simulate", simulation, shards, experiment, *settings]
    for command in (define, ["al", "shards", *catalogs_of, "--shard-dir", shards, *sizes], simulate):
        assert main(list(map(str, command))) == 0, capsys.readouterr().err
    manifest = read_manifest(shards)
    assert [manifest.count(split) for split in ("train", "eval", "unlabelled")] == [5, 5, 15]
    assert capsys.readouterr().out.split()[-1] == str(experiment / "timeline.html")
    instructions = Instructions.load(experiment / "instructions")
    assert instructions == Instructions(simulation, experiment, subjects_per_iter=4, n_samples=2)
    assert [one["n_labelled"] for one in finished_iterations(instructions)] == [5, 9]

    previous, this = experiment / "iteration_1", experiment / "iteration_2"
    run = ["al", "run-iteration", "--instructions-dir", experiment / "instructions", "--this-iteration-dir", this]
    assert main([*map(str, run), "--previous-iteration-dir", str(previous)]) == 0
    (experiment / "timeline.html").unlink()
    assert main(["al", "timeline", str(experiment)]) == 0
    assert "Iteration 2: 4 of 4" in (experiment / "timeline.html").read_text()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--panoptes", "--workflow", "12"], "--panoptes needs --subject-set and --tasks-loc and --n-votes"),
        (["--workflow", "12"], "--workflow applies only to --panoptes"),
        (["--oracle-wrong", "2"], "must be a probability from 0 to 1; received 2"),
    ],
)
def test_options_of_another_oracle_are_refused(options, words, tmp_path, capsys):
    arguments = ["al", "create-instructions", *(str(tmp_path / name) for name in ("catalogs", "shards", "experiment"))]
    assert main([*arguments, *options]) == 2
    assert words in capsys.readouterr().err


def test_the_first_iteration_has_an_empty_previous_folder(sources, tmp_path, monkeypatch, capsys):
    experiment = tmp_path / "experiment"
    prepare(sources, experiment)
    arguments = ["al", "run-iteration", "--instructions-dir", experiment / "instructions"]
    arguments += ["--this-iteration-dir", experiment / "first", "--previous-iteration-dir"]
    assert main([*map(str, arguments), str(experiment / "no")]) == 2
    assert "--previous-iteration-dir must be empty for the first iteration" in capsys.readouterr().err
    monkeypatch.setattr("zoobot3d_tf.active_learning.iteration.Database.begin", lambda *arguments: 1 / 0)
    with pytest.raises(ZeroDivisionError):  # it would begin
        main([*map(str, arguments), "", "--debug"])


def test_a_simulation_can_be_continued_with_more_iterations(survey, tmp_path, monkeypatch):
    fakes = Fakes(monkeypatch)
    sources = tmp_path, make_sources(tmp_path, survey)
    instructions = prepare(sources, tmp_path / "experiment")
    first = run_simulation(instructions, 1)
    assert run_simulation(instructions, 2)[:1] == first
    assert [run.parent.name for run, *_ in fakes.trained] == ["iteration_0", "iteration_1"]
    with pytest.raises(ValueError, match="n_iterations must be at least 1; received 0"):
        run_simulation(instructions, 0)


def test_volunteers_are_not_simulated(tmp_path):
    panoptes = PanoptesOptions("12", "34", str(tmp_path / "tasks.json"), 40)
    make_plan(tmp_path, tmp_path / "experiment", panoptes=panoptes).save(tmp_path / "instructions")
    with pytest.raises(ValueError, match="run one iteration after the other"):
        run_simulation(tmp_path / "instructions")


@pytest.mark.parametrize("warm_start", [True, False])
def test_training_goes_on_from_the_weights_of_the_iteration_before_or_anew(sources, tmp_path, monkeypatch, warm_start):
    monkeypatch.setattr(build, "build_encoder", tiny_encoder)
    began = []
    monkeypatch.setattr("zoobot3d_tf.training.loop.fit", lambda model, config, checkpoints: began.append(model))
    monkeypatch.setattr("zoobot3d_tf.training.finish.finish_run", lambda config, checkpoints: None)
    folder, simulation = sources
    training = make_plan(simulation, tmp_path).training
    training = type(training)(**vars(training) | {"warm_start": warm_start})
    previous, run = tmp_path / "previous", tmp_path / "run"
    training.get()(folder / "shards", previous, 0, None)
    began[0].save_weights(previous / "model.weights.h5")
    training.get()(folder / "shards", run, 1, previous)
    kernels = [model.get_layer("vote_head").get_layer("sigmoid").kernel.numpy() for model in began]
    assert (kernels[0] == kernels[1]).all() == warm_start
    assert read_run(previous).model.schema.label_cols == get_schema("decals").label_cols[:3]


def test_a_network_is_trained_and_chooses_different_galaxies(sources, tmp_path, monkeypatch):
    monkeypatch.setattr(build, "build_encoder", tiny_encoder)
    folder, simulation = sources
    plan = make_plan(simulation, tmp_path / "experiment")
    plan = replace(plan, acquisition=replace(plan.acquisition, diverse=True))
    (metrics,) = run_simulation(create_instructions(plan, folder / "shards"), 1)
    assert 0 < metrics["scores"]["mae"]["value"] < 1
    assert metrics["information"]["candidates"] > 0
    predictions = load_predictions(tmp_path / "experiment" / "iteration_0" / "candidates.parquet")
    features = open_vectors(tmp_path / "experiment" / "iteration_0" / "features.parquet", "feature")
    ids = predictions.table["id_str"].tolist()
    scores = acquire("mutual-information", predictions.concentrations, predictions.schema)
    expected = choose(scores, 3, rows_of(features, ids)[1])
    with open_database(tmp_path / "experiment" / "database.sqlite") as database:
        assert database.asked_in(0) == [ids[row] for row in expected]


@pytest.mark.slow
def test_kills_at_ten_random_moments_change_nothing(sources, tmp_path):
    experiments = [tmp_path / name for name in ("expected", "killed")]
    for experiment in experiments:
        prepare(sources, experiment, "random")  # whose choices do not depend on the last digits of a training
    expected, killed = experiments
    started = time.monotonic()
    with start(expected) as process:
        assert process.wait() == 0
    seconds = time.monotonic() - started
    rng = random.Random(1)
    for _ in range(KILLS):
        with start(killed) as process:
            time.sleep(rng.uniform(0, seconds / 4))
            process.send_signal(signal.SIGKILL)
            process.wait()
        check_consistent(killed)
    with start(killed) as process:
        assert process.wait() == 0
    check_consistent(killed)
    (galaxies, manifest), (expected_galaxies, expected_manifest) = contents(killed), contents(expected)
    pd.testing.assert_frame_equal(galaxies.drop(columns="information"), expected_galaxies.drop(columns="information"))
    assert manifest == expected_manifest
    answers = read_table(sources[1] / HIDDEN_NAME)["id_str"]
    assert set(galaxies.loc[galaxies["asked"].notna(), "id_str"]) <= set(answers)


def start(experiment):
    """Start a simulation, and wait until it has imported everything."""
    command = [sys.executable, Path(__file__).with_name("active_experiment.py"), experiment]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout.readline() == "ready\n"
    return process


def check_consistent(experiment):
    """The database is whole, its iterations are complete but for the last, and the manifest lists whole shards."""
    with sqlite3.connect(experiment / "database.sqlite") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        states = [state for (state,) in connection.execute("SELECT state FROM iterations ORDER BY number")]
    assert all(state == "finished" for state in states[:-1])
    assert len(states) <= N_ITERATIONS
    manifest = read_manifest(experiment / "shards")
    check_shards(list(manifest.listed()), verify_hash=True)
    galaxies, _ = contents(experiment)
    n_grown = manifest.count("train") - (galaxies["split"] == "train").sum()
    n_answered = galaxies["answered"].notna().sum()
    assert n_grown in (n_answered, (galaxies["answered"] < len(states) - 1).sum())
    assert (galaxies["asked"].value_counts() == 3).all()
