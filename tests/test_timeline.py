"""The page of the timeline: its numbers, images and plots, and experiments that it cannot show."""

import numpy as np
import pytest
from active_experiment import Fakes, make_plan, make_sources
from matplotlib.figure import Figure
from test_evaluation_page import parse

from zoobot3d_tf.active_learning.database import open_database
from zoobot3d_tf.active_learning.oracles import Imperfections
from zoobot3d_tf.active_learning.plan import create_instructions
from zoobot3d_tf.active_learning.simulation import run_simulation
from zoobot3d_tf.evaluation.plots import COLOURS, Words
from zoobot3d_tf.pages.timeline import draw_lines, write_timeline


@pytest.fixture(scope="module")
def experiment(survey, tmp_path_factory):
    """An experiment of two iterations, of which the first asks a galaxy that is never answered."""
    folder = tmp_path_factory.mktemp("timeline")
    simulation = make_sources(folder, survey)
    plan = make_plan(simulation, folder / "experiment", imperfections=Imperfections(answered=0.7, seed=2))
    with pytest.MonkeyPatch.context() as patch:
        Fakes(patch)
        metrics = run_simulation(create_instructions(plan, folder / "shards"), 2)
    return folder / "experiment", metrics


def test_the_page_shows_scores_and_what_was_asked(experiment):
    folder, metrics = experiment
    page = parse(write_timeline(folder / "instructions"))
    text = " ".join(page.texts)
    for one in metrics:
        assert f"{one['scores']['mae']['value']:.3f} {one['scores']['mae']['low']:.3f} to" in " ".join(text.split())
        assert f"Iteration {one['number']}: 3 of 3 galaxies" in text
    assert f"{metrics[1]['information']['answered_after']:.4f}" in text
    assert "no answer yet" in text
    with open_database(folder / "database.sqlite") as database:
        for number in range(2):
            for id_str in database.asked_in(number):
                assert id_str in text
    assert [source[:23] for source in page.sources] == ["data:image/jpeg;base64,"] * 6
    assert {path.name for path in (folder / "figures").iterdir()} == {
        "mae.pdf",
        "nll.pdf",
        "coverage.pdf",
        "answered.pdf",
        "uncertainty.pdf",
    }


def test_the_number_of_images_can_be_chosen(experiment):
    page = parse(write_timeline(experiment[0] / "instructions", n_images=1))
    assert len(page.sources) == 2
    assert "Iteration 1: 1 of 3 galaxies" in " ".join(page.texts)


def test_an_experiment_without_iterations_is_refused(survey, tmp_path):
    simulation = make_sources(tmp_path, survey)
    instructions = create_instructions(make_plan(simulation, tmp_path / "experiment"), tmp_path / "shards")
    with pytest.raises(ValueError, match="no iteration is finished"):
        write_timeline(instructions)


def test_lines_have_their_intervals():
    figure = Figure()
    curves = {"model": [(10, 0.3, 0.2, 0.4), (20, 0.2, 0.1, 0.3)], "mean": [(10, 0.5, np.nan, np.nan)]}
    draw_lines(figure, curves, Words("title", "labels", "error"), level=0.9)
    (axes,) = figure.axes
    level, model, mean = axes.get_lines()
    assert level.get_ydata() == [0.9, 0.9]
    assert model.get_xydata().tolist() == [[10, 0.3], [20, 0.2]]
    assert mean.get_color() == COLOURS[1]
    shaded = axes.collections[0].get_paths()[0].vertices
    assert (shaded.min(axis=0).tolist(), shaded.max(axis=0).tolist()) == ([10, 0.1], [20, 0.4])
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["model", "mean"]
