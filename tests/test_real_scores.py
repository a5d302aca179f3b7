"""Figures on real galaxies, with numbers known by hand (examples/real_galaxies)."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1] / "examples" / "real_galaxies"))

from linear import as_fractions, fit_fractions, predict_sets
from real_figures import (
    ANSWERS,
    GAINS,
    QUESTIONS,
    answers_of,
    class_figures,
    clear_figures,
    decals_ring_figures,
    decals_vote_figures,
    example_figures,
    gz2_column,
    gz2_ring_figures,
    likeliest,
    mask_figures,
    mean_gain,
    predicted_fraction,
    vote_figures,
)
from score import main as score_main
from score import read_test_ids, score
from vector_tables import write_vectors

from zoobot3d_tf.schemas import get_schema

FEATURED = "smooth-or-featured_featured-or-disk_fraction"


def gz2_votes(**votes):
    """Votes in the tree of Galaxy Zoo 2: zero, except those named `<answer>` of the figures."""
    n_galaxies = len(next(iter(votes.values())))
    labels = pd.DataFrame(0, index=range(n_galaxies), columns=get_schema("gz2_ortho").label_cols)
    return labels.assign(**{gz2_column(*GAINS[name]): numbers for name, numbers in votes.items()})


def all_predicted(n_galaxies, **fractions):
    """Predictions of the tree `decals`: 0.5, except the columns that are given."""
    columns = {f"{column}_fraction": np.full(n_galaxies, 0.5) for column in get_schema("decals").label_cols}
    return pd.DataFrame(columns).assign(**fractions)


# The mapping of answers


def test_fractions_are_found_in_every_tree():
    assert predicted_fraction(pd.DataFrame({"bar_yes_fraction": [0.7]}), "bar", "yes") == [0.7]
    strong_and_weak = pd.DataFrame({"bar_strong_fraction": [0.5], "bar_weak_fraction": [0.25]})
    assert predicted_fraction(strong_and_weak, "bar", "yes") == [0.75]
    assert predicted_fraction(strong_and_weak, "ring", "yes") is None


@pytest.mark.parametrize("tree", ["decals", "gz2_ortho"])
def test_all_answers_of_a_tree_are_mapped(tree):
    suffix = {"gz2_ortho": "-gz2"}.get(tree, "")
    known = {column for text in ANSWERS["predicted"] for column in text.replace("+", "|").split("|")}
    unknown = {column.replace(suffix, "") for column in get_schema(tree).label_cols} - known
    assert unknown == ({"something-odd_yes", "something-odd_no"} if tree == "gz2_ortho" else set())


def test_columns_of_votes_exist():
    assert set(ANSWERS["gz2"]) - {""} <= set(get_schema("gz2_ortho").label_cols)
    assert set(QUESTIONS) <= set(ANSWERS["question"])


def test_likeliest_answer():
    table = pd.DataFrame(
        {"bar_strong_fraction": [0.3, 0.1], "bar_weak_fraction": [0.3, 0.1], "bar_no_fraction": [0.4, 0.8]}
    )
    assert likeliest(table, "bar", answers_of("bar")).tolist() == [0, 1]
    assert likeliest(table[["bar_no_fraction"]], "bar", answers_of("bar")) is None


# The figures


def test_gain_weighs_galaxies_by_their_votes():
    # 30 volunteers and 10 volunteers; observed fractions of featured 1 and 0, mean of the votes 0.75.
    labels = gz2_votes(featured=[30, 0], smooth=[0, 10])
    table = all_predicted(2, **{FEATURED: [0.9, 0.5]})
    figure = vote_figures(labels, labels, {"model": table})[0]
    # Errors: 30 * 0.1 + 10 * 0.5 = 8, and of the mean 30 * 0.25 + 10 * 0.75 = 15.
    assert figure.name.startswith("featured")
    assert figure.n_galaxies == 2
    assert figure.scores["model"].value == pytest.approx(1 - 8 / 15)
    assert 0.5 < figure.human <= 1


def test_gain_uses_the_mean_of_the_training_galaxies():
    labels, training = gz2_votes(featured=[10], smooth=[0]), gz2_votes(featured=[2, 2], smooth=[0, 4])
    figure = vote_figures(labels, training, {"model": all_predicted(1)})[0]
    assert figure.scores["model"].value == pytest.approx(0)  # both predict 1/2


def test_mean_gain():
    errors, of_mean = [np.array([1.0, 1.0]), np.array([0.0, 3.0])], [np.array([2.0, 2.0]), np.array([3.0, 3.0])]
    assert mean_gain(errors, of_mean, [0]) == 0.5
    assert mean_gain(errors, of_mean, [0, 1]) == 0.5
    assert mean_gain(errors, of_mean, [1], np.array([0, 0])) == 1


def test_clear_answers_need_agreement_and_votes():
    # The third galaxy has too few votes, the fourth no agreement.
    labels = gz2_votes(featured=[9, 1, 9, 6], smooth=[1, 9, 0, 5])
    figure = clear_figures(labels, labels.iloc[[0, 0, 1]], {"model": all_predicted(4, **{FEATURED: [0.9, 0.9, 0, 0]})})[
        0
    ]
    assert figure.n_galaxies == 2
    assert figure.scores["model"].value == 0.5
    assert figure.baseline == 0.5
    assert figure.human == pytest.approx(0.9)


def test_spirals_against_ellipticals():
    classes = ["spiral-clockwise", "spiral-edge-on", "elliptical", "elliptical", "dont-know"]
    labels = pd.DataFrame({"gz1_class": classes})
    figures = class_figures(labels, {"model": all_predicted(5, **{FEATURED: [0.9, 0.2, 0.1, 0.3, 1.0]})})
    by_name = {figure.name.split(" ")[0]: figure for figure in figures}
    assert by_name.keys() == {"spirals", "spiral-clockwise", "spiral-edge-on"}
    assert by_name["spirals"].n_galaxies == 4
    assert by_name["spirals"].scores["model"].value == 0.75
    assert by_name["spiral-edge-on"].scores["model"].value == 0.5
    assert by_name["spirals"].baseline == 0.5


def test_examples_by_survey():
    bar = "Is there any sign of a bar feature through the centre of the galaxy?"
    arms = "Is there any sign of a spiral arm pattern?"
    labels = pd.DataFrame(
        {
            "survey": ["decals", "decals", "gama", "gama"],
            "question": [bar, arms, bar, "What are the odd features?"],
            "answer": ["Bar", "Spiral", "No bar", "Other"],
        },
        index=["a", "a", "b", "b"],
    )
    table = all_predicted(2, bar_no_fraction=[0.9, 1.1], **{"has-spiral-arms_yes_fraction": [0.9, 0]})
    figures = example_figures(labels, {"model": table.set_axis(["a", "b"])})
    # Bar: 0.5 + 0.5 against 0.9 is right for a; 1.1 against 1 is right for b. The arms of a are right.
    assert [figure.scores["model"].value for figure in figures] == [1, 1, 1]
    wrong = table.assign(bar_no_fraction=[0.9, 0.0]).set_axis(["a", "b"])
    every, decals, gama = example_figures(labels, {"model": wrong})
    assert (every.scores["model"].value, every.n_galaxies) == (pytest.approx(2 / 3), 2)
    assert (decals.scores["model"].value, gama.scores["model"].value) == (1, 0)
    assert every.baseline == pytest.approx(2 / 3)  # bar and no bar are equally common


def test_decals_votes():
    columns = [f"smooth-or-featured_{answer}" for answer in ("smooth", "featured-or-disk", "artifact")]
    labels = pd.DataFrame([[10, 0, 0], [0, 10, 0]], columns=columns)
    fractions = pd.DataFrame([[0.7, 0.3, 0.0], [0.0, 1.0, 0.0]], columns=[f"{column}_fraction" for column in columns])
    (figure,) = decals_vote_figures(labels, labels, {"model": fractions})
    assert figure.scores["model"].value == pytest.approx(0.6 / 6)
    assert figure.baseline == pytest.approx(1 / 3)


def test_rings():
    labels = pd.DataFrame({"odd_ring_fraction": [0.9, 0.9, 0.3, 0.0], "odd_yes_votes": [5, 1, 5, 0]})
    table = pd.DataFrame({"ring_yes_fraction": [0.8, 0.0, 0.0, 0.2]})
    (figure,) = gz2_ring_figures(labels, {"model": table})
    assert (figure.n_galaxies, figure.scores["model"].value) == (2, 1)  # one odd vote, and 30 % rings, are not clear
    (figure,) = decals_ring_figures(pd.DataFrame({"ring": [1, 0, 1, 0]}), {"model": table})
    assert figure.scores["model"].value == pytest.approx(2.5 / 4)
    assert gz2_ring_figures(labels, {"model": all_predicted(4)}) == []


def write_squares(folder):
    """Two galaxies with arms of 10 x 10 pixels, drawn twice, and predictions, which are shifted by 5 columns."""
    folder.mkdir()
    square = np.zeros((32, 32), np.uint8)
    square[10:20, 10:20] = 1
    Image.fromarray(square * 200).convert("RGB").save(folder / "image.png")
    Image.fromarray(square * 30).save(folder / "true.png")
    Image.fromarray(np.roll(square, 2, axis=0) * 6).save(folder / "second.png")
    Image.fromarray(np.roll(square, 5, axis=1) * 255).save(folder / "predicted.png")
    galaxies = pd.DataFrame({"id_str": ["1", "2"], "file_loc": "image.png", "n_volunteers": 30})
    galaxies.assign(spiral_mask_loc="true.png").to_csv(folder / "catalog.csv", index=False)
    galaxies.assign(spiral_mask_loc="second.png")[:1].to_csv(folder / "second_group.csv", index=False)
    galaxies[["id_str"]].assign(spiral_mask_loc="predicted.png").to_csv(folder / "galaxy_builder.csv", index=False)
    return folder


def test_masks(tmp_path):
    folder = write_squares(tmp_path / "builder")
    locs = {"model": folder / "galaxy_builder.csv"}
    (figure,) = mask_figures(locs, folder / "catalog.csv", folder / "second_group.csv", lambda id_str: True)
    assert figure.n_galaxies == 2
    assert figure.scores["model"].value == pytest.approx(50 / 150)
    assert figure.human == pytest.approx(80 / 120)
    assert "1 galaxies" in figure.human_name
    assert 0.5 < figure.baseline <= 1  # the square is bright
    (figure,) = mask_figures(locs, folder / "catalog.csv", None, lambda id_str: id_str == "2")
    assert figure.n_galaxies == 1
    assert np.isnan(figure.human)
    assert mask_figures(locs, folder / "catalog.csv", None, lambda id_str: False) == []


# The linear models


def test_features_that_say_nothing_give_the_mean_of_the_votes():
    model = fit_fractions(np.ones((3, 2)), np.array([[30.0, 0], [0, 10], [0, 0]]))
    assert model.predict(np.ones((1, 2))) == pytest.approx(np.array([[0.75, 0.25]]))


def test_a_linear_dependence_is_found():
    rng = np.random.default_rng(0)
    features = rng.random((200, 3))
    votes = np.round(1000 * np.stack([features[:, 0], 1 - features[:, 0]], axis=1))
    assert fit_fractions(features, votes).predict(features)[:, 0] == pytest.approx(features[:, 0], abs=0.03)


def test_predictions_become_fractions():
    given = np.array([[1.5, -0.5], [0.2, 0.2], [-1, -1]])
    assert as_fractions(given).tolist() == [[1, 0], [0.5, 0.5], [0.5, 0.5]]


# The commands


@pytest.fixture
def data(tmp_path):
    """Labels of four galaxies of GZ2 and DECaLS, and of one example; galaxies 2 and 3 are test galaxies."""
    ids = [str(i) for i in range(4)]
    labels = gz2_votes(featured=[30, 10, 30, 0], smooth=[0, 10, 0, 10]).assign(odd_ring_fraction=0, odd_yes_votes=0)
    (tmp_path / "real" / "gz2").mkdir(parents=True)
    (tmp_path / "real" / "examples").mkdir()
    (tmp_path / "decals").mkdir()
    labels.assign(id_str=ids).to_csv(tmp_path / "real" / "gz2" / "vote_catalog.csv", index=False)
    pd.DataFrame({"id_str": ids, "ring": [0, 1, 0, 1]}).to_csv(tmp_path / "decals" / "ring_catalog.csv", index=False)
    pd.DataFrame(
        {"survey": ["gama"], "question": ["How rounded is it?"], "answer": ["In between"], "image": ["u_a-1.jpg"]}
    ).to_csv(tmp_path / "real" / "examples" / "labels.csv", index=False)
    pd.DataFrame({"id_str": ids, "split": ["train", "train", "test", "test"]}).to_csv(tmp_path / "all.csv", index=False)
    (tmp_path / "features").mkdir()
    for name in ("gz2", "decals"):
        write_vectors(tmp_path / "features" / f"{name}.parquet", "feature", [[0, 1], [1, 0], [0, 1], [1, 0]], ids=ids)
    return tmp_path


def test_linear_models_are_scored_like_other_predictions(data):
    votes, rings = data / "real" / "gz2" / "vote_catalog.csv", data / "decals" / "ring_catalog.csv"
    with pytest.raises(ValueError, match="disk-edge-on"):  # nobody was asked about edge-on discs
        predict_sets(votes, rings, data / "features", {"2", "3"}, data / "linear")
    labels = pd.read_csv(votes)
    labels.assign(**{column: labels[column] + 1 for column in get_schema("gz2_ortho").label_cols}).to_csv(votes)
    predict_sets(votes, rings, data / "features", {"2", "3"}, data / "linear")
    predicted = pd.read_csv(data / "linear" / "gz2.csv")
    assert predicted[FEATURED][2] > predicted[FEATURED][3]
    figures, notes = score(data / "real", [data / "linear"], data / "decals", None, {"2", "3"})
    assert figures.keys() == {"Galaxy Zoo 2", "DECaLS"}
    assert figures["Galaxy Zoo 2"][0].n_galaxies == 2
    (ring,) = figures["DECaLS"]
    assert ring.scores["linear"].value == 1
    assert any("Galaxy Builder" in note for note in notes)


def test_score_writes_one_table(data, monkeypatch, capsys):
    for model, featured in (("right", [0.9, 0.5, 1.0, 0.0]), ("wrong", [0.1, 0.5, 0.0, 1.0])):
        (data / model).mkdir()
        table = all_predicted(4, **{FEATURED: featured}).assign(id_str=[str(i) for i in range(4)])
        table.to_csv(data / model / "gz2.csv", index=False)
    arguments = [data / "real", data / "right", data / "wrong", "--test", data / "all.csv", "--out", data / "scores.md"]
    monkeypatch.setattr(sys, "argv", ["score.py", *map(str, arguments)])
    score_main()
    text = (data / "scores.md").read_text()
    assert text in capsys.readouterr().out
    (row,) = [line for line in text.splitlines() if "featured: gain" in line]
    # The mean of the training galaxies is 0.8: errors 30 * 0.2 + 10 * 0.8 = 14; the wrong model errs by 40.
    assert "| 2 | 100 % (100 % to 100 %) | -186 % (" in row
    assert "Examples: not scored" in text


def test_all_galaxies_are_test_galaxies(data):
    (data / "model").mkdir()
    all_predicted(3).assign(id_str=["1", "2", "3"]).to_csv(data / "model" / "gz2.csv", index=False)
    figures, notes = score(data / "real", [data / "model"], data / "decals", None, None)
    assert figures["Galaxy Zoo 2"][0].n_galaxies == 3
    assert any("1 of 4 test galaxies" in note for note in notes)
    assert any("their own mean" in note for note in notes)


def test_nothing_to_score(data):
    (data / "model").mkdir()
    with pytest.raises(ValueError, match="nothing can be scored"):
        score(data / "real", [data / "model"], data / "decals", None, None)
    with pytest.raises(FileNotFoundError, match="elsewhere"):
        score(data / "real", [data / "elsewhere"], data / "decals", None, None)
    with pytest.raises(ValueError, match="different names"):
        score(data / "real", [data / "model", data / "real" / ".." / "model"], data / "decals", None, None)


def test_test_ids(tmp_path):
    (tmp_path / "ids.txt").write_text("007\n\n8 \n")
    assert read_test_ids(tmp_path / "ids.txt") == {"007", "8"}
    (tmp_path / "catalog.csv").write_text("id_str,split\n007,test\n8,train\n")
    assert read_test_ids(tmp_path / "catalog.csv") == {"007"}
    (tmp_path / "ids.csv").write_text("id_str\n007\n8\n")
    assert read_test_ids(tmp_path / "ids.csv") == {"007", "8"}
    (tmp_path / "none.csv").write_text("id_str,split\n8,train\n")
    with pytest.raises(ValueError, match=r"none\.csv"):
        read_test_ids(tmp_path / "none.csv")
    (tmp_path / "names.csv").write_text("name\n8\n")
    with pytest.raises(ValueError, match="id_str"):
        read_test_ids(tmp_path / "names.csv")


# The real labels


def test_all_examples_of_answers_are_known(reference):
    path = reference / "data" / "real" / "examples" / "labels.csv"
    if not path.is_file():
        pytest.skip(f"no {path}")
    labels = pd.read_csv(path, dtype=str, keep_default_na=False)
    labels = labels[labels["kind"] == "answer"].set_index("image")
    every, *surveys = example_figures(
        labels, {"model": all_predicted(1).loc[[0] * labels.index.nunique()].set_axis(labels.index.unique())}
    )
    assert every.n_galaxies == labels.index.nunique()
    assert len(surveys) == labels["survey"].nunique()
