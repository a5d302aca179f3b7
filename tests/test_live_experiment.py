"""A live experiment by its commands: the official client asks a stand-in of Zooniverse, whose volunteers answer."""

import pandas as pd
import pytest
from active_experiment import QUESTION, Fakes
from panoptes_server import SUBJECT_SET, WORKFLOW, panoptes_server

pytest.importorskip("panoptes_client", reason="the extra [active] is not installed")

from zoobot3d_tf.active_learning import zooniverse_client
from zoobot3d_tf.active_learning.database import DATABASE_NAME, open_database
from zoobot3d_tf.cli import main
from zoobot3d_tf.schemas import get_schema
from zoobot3d_tf.shards.manifest import read_manifest

ANSWERS = ["smooth", "featured-or-disk", "artifact"]


def run(capsys, *arguments) -> None:
    assert main(list(map(str, arguments))) == 0, capsys.readouterr().err


def test_volunteers_are_asked_and_their_answers_learned(survey, tmp_path, monkeypatch, capsys):
    Fakes(monkeypatch)
    monkeypatch.setattr(zooniverse_client, "sleep", lambda seconds: None)
    galaxies = pd.read_csv(survey, dtype={"id_str": str})
    galaxies.loc[12:, [c for c in get_schema("decals").label_cols if c in galaxies]] = float("nan")
    for column in galaxies.columns[galaxies.columns.str.endswith("_loc")]:
        galaxies[column] = [str(survey.parent / loc) if isinstance(loc, str) else loc for loc in galaxies[column]]
    galaxies.to_csv(tmp_path / "catalog.csv", index=False)
    (tmp_path / "tasks.yaml").write_text(f"tasks: {{T0: {QUESTION}}}")
    catalogs, shards, experiment = (tmp_path / name for name in ("catalogs", "shards", "experiment"))
    tables = ["--labelled-catalog", catalogs / "labelled_catalog.csv"]
    tables += ["--unlabelled-catalog", catalogs / "unlabelled_catalog.csv"]
    sizes = ["--eval-size", 4, "--img-size", 64, "--workers", 1]
    oracle = ["--panoptes", "--subject-set", SUBJECT_SET, "--workflow", WORKFLOW, "--n-votes", 3]
    oracle += ["--tasks-loc", tmp_path / "tasks.yaml", "--subjects-per-iter", 2, "--n-samples", 2]
    iterations = [experiment / f"iteration_{number}" for number in range(2)]

    def iterate(this, previous) -> None:
        folders = ["--this-iteration-dir", this, "--previous-iteration-dir", previous]
        run(capsys, "al", "run-iteration", "--instructions-dir", experiment / "instructions", *folders)

    with panoptes_server() as server:
        server.log_in(monkeypatch)
        master = ["--master-catalog", tmp_path / "catalog.csv", "--schema", "decals"]
        run(capsys, "al", "define", *master, "--save-dir", catalogs)
        run(capsys, "al", "shards", *tables, "--shard-dir", shards, *sizes)
        run(capsys, "al", "create-instructions", catalogs, shards, experiment, *oracle)
        iterate(iterations[0], "")
        asked = server.asked()
        assert len(asked) == 2
        assert set(asked) <= set(galaxies["id_str"][12:])
        for number in range(3):  # Caesar counts answers by their place: the second is featured-or-disk
            server.classify(asked[0], f"volunteer-{number}", {"T0": "featured"})
        iterate(iterations[1], iterations[0])
        assert len(server.asked()) == len(set(server.asked())) == 4
    with open_database(experiment / DATABASE_NAME) as database:
        answers = database.answered_in(1)
    assert answers["id_str"].tolist() == asked[:1]
    assert answers[[f"{QUESTION}_{answer}" for answer in ANSWERS]].to_numpy().tolist() == [[0, 3, 0]]
    assert read_manifest(experiment / "shards").count("train") == read_manifest(shards).count("train") + 1
    run(capsys, "al", "timeline", experiment)
    assert "Iteration 1" in (experiment / "timeline.html").read_text()
