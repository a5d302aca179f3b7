"""Definition of an experiment: which galaxies are labelled, and what a simulation hides."""

import pandas as pd
import pytest

from zoobot3d_tf.active_learning.definition import (
    HIDDEN_NAME,
    LABELLED_NAME,
    SCHEMA_NAME,
    UNLABELLED_NAME,
    define_experiment,
    one_question,
)
from zoobot3d_tf.catalogs.training_catalog import read_training_catalog
from zoobot3d_tf.schemas import Schema, get_schema, load_schema
from zoobot3d_tf.tables.formats import read_table, write_table

SCHEMA = Schema(
    {"smooth-or-featured": ["_smooth", "_featured"], "bar": ["_yes", "_no"]},
    {"smooth-or-featured": None, "bar": "smooth-or-featured_featured"},
    "small",
)
N, N_LABELLED = 20, 12


@pytest.fixture
def master(tmp_path):
    """Catalogue of galaxies of which the first twelve have votes, and the first has a mask."""
    table = pd.DataFrame({"id_str": [f"J{n:02d}" for n in range(N)], "file_loc": [f"images/{n}.png" for n in range(N)]})
    for column, votes in zip(SCHEMA.label_cols, (3, 7, 5, 2), strict=True):
        table[column] = [votes + n if n < N_LABELLED else None for n in range(N)]
    table["spiral_mask_loc"] = ["masks/0.png"] + [""] * (N - 1)
    table["split"] = "train"
    return write_table(table.assign(magnitude=15.5), tmp_path / "master" / "master.csv")


def read(folder):
    """Tables of the labelled, the unlabelled and the hidden galaxies."""
    names = (LABELLED_NAME, UNLABELLED_NAME, HIDDEN_NAME)
    return [read_table(folder / name).set_index("id_str") if (folder / name).exists() else None for name in names]


def test_galaxies_are_divided_by_their_votes_and_most_votes_are_hidden(master, tmp_path):
    folder = define_experiment(master, tmp_path / "catalogs", SCHEMA, known=4)
    full = read_table(master).set_index("id_str")
    labelled, unlabelled, hidden = read(folder)
    assert list(labelled.index) == list(full.index[:N_LABELLED])
    assert list(unlabelled.index) == list(full.index[N_LABELLED:])
    assert hidden is None

    known, unknown, hidden = read(folder / "simulation_context")
    assert len(known) == 4
    assert set(known.index) | set(hidden.index) == set(labelled.index)
    assert list(unknown.index) == list(hidden.index)
    for table in (known, hidden):
        pd.testing.assert_frame_equal(
            table[SCHEMA.label_cols], full.loc[table.index, SCHEMA.label_cols], check_dtype=False
        )
    for table in (unlabelled, unknown):
        assert not {*SCHEMA.label_cols, "spiral_mask_loc", "split"} & set(table)
        assert (table["magnitude"] == 15.5).all()
    assert load_schema(folder / SCHEMA_NAME) == load_schema(folder / "simulation_context" / SCHEMA_NAME) == SCHEMA


def test_paths_still_lead_to_the_images(master, tmp_path):
    folder = define_experiment(master, tmp_path / "elsewhere" / "catalogs", SCHEMA)
    for place in (folder, folder / "simulation_context"):
        labelled = read_training_catalog(place / LABELLED_NAME, SCHEMA)
        for row in labelled.itertuples():
            assert row.file_loc.startswith(str(place))
            assert (place / row.file_loc).resolve() == (
                master.parent / "images" / f"{int(row.id_str[1:])}.png"
            ).resolve()


def test_the_draw_depends_on_the_seed_alone(master, tmp_path):
    def known(name, seed):
        return set(read(define_experiment(master, tmp_path / name, SCHEMA, seed=seed) / "simulation_context")[0].index)

    first = known("first", 0)
    assert len(first) == 2  # a fifth of twelve
    assert known("again", 0) == first
    assert known("other", 1) != first


def test_one_question_alone(master, tmp_path):
    folder = define_experiment(master, tmp_path / "catalogs", SCHEMA, question="bar")
    tree = load_schema(folder / SCHEMA_NAME)
    assert tree.label_cols == ["bar_yes", "bar_no"]
    assert tree.questions[0].asked_after == ()
    assert "smooth-or-featured_smooth" in read_table(folder / LABELLED_NAME)  # kept, as any other column
    with pytest.raises(ValueError, match="no question 'bars'"):
        one_question(SCHEMA, "bars")


def test_published_trees_are_written_and_read_unchanged(tmp_path, survey):
    folder = define_experiment(survey, tmp_path / "catalogs", get_schema("decals"))
    assert load_schema(folder / SCHEMA_NAME) == get_schema("decals")


@pytest.mark.parametrize("known", [0, 0.01, 12, 13, 2.5])
def test_something_is_known_and_something_is_hidden(master, tmp_path, known):
    with pytest.raises(ValueError, match=f"known must be .* 12: .* received {known}"):
        define_experiment(master, tmp_path / "catalogs", SCHEMA, known=known)
    assert not (tmp_path / "catalogs").exists()


def test_an_experiment_is_not_replaced(master, tmp_path):
    define_experiment(master, tmp_path / "catalogs", SCHEMA)
    with pytest.raises(FileExistsError, match="save_dir"):
        define_experiment(master, tmp_path / "catalogs", SCHEMA)


def test_without_unlabelled_galaxies_only_the_simulation_can_be_run(master, tmp_path):
    path = write_table(read_table(master)[:N_LABELLED], master.with_name("labelled.csv"))
    folder = define_experiment(path, tmp_path / "catalogs", SCHEMA)
    assert not (folder / UNLABELLED_NAME).exists()
    assert (folder / "simulation_context" / UNLABELLED_NAME).exists()
