"""Ranking a table of predictions: the same list from every format, in pieces, with clear errors."""

import cv2
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from scipy.stats import beta
from vector_tables import write_vectors

from zoobot3d_tf.active_learning.acquisition import acquire, mask_entropy
from zoobot3d_tf.active_learning.options import AcquisitionOptions
from zoobot3d_tf.active_learning.ranking import rank_galaxies
from zoobot3d_tf.cli import main
from zoobot3d_tf.inference.metadata import write_metadata
from zoobot3d_tf.predictions import prediction_tables
from zoobot3d_tf.predictions.prediction_tables import SUFFIXES, load_predictions, table_schema, write_table
from zoobot3d_tf.predictions.results import vote_values
from zoobot3d_tf.schemas import get_schema

RINGS = get_schema("rings")
N = 60


def write_predictions(path, n=N, ids=None, masks=None, votes=True, metadata=True):
    columns = {"id_str": [f"g{i}" for i in range(n)] if ids is None else ids}
    columns["file_loc"] = [f"{id_str}.png" for id_str in columns["id_str"]]
    if votes:
        columns |= vote_values(np.random.default_rng(0).uniform(1, 101, (n, 2, 3)), RINGS, 40)
    if masks is not None:
        columns["spiral_mask_loc"] = masks
    table = pa.table(columns, schema=table_schema(columns))
    write_table(path, [table[:20], table[20:]])
    if metadata:
        write_metadata(path, {"schema": RINGS.to_dict() if votes else None})
    return path


@pytest.fixture
def table(tmp_path):
    return write_predictions(tmp_path / "predictions.parquet")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_list_is_that_of_the_scores_of_the_whole_table(tmp_path, monkeypatch, suffix):
    monkeypatch.setattr(prediction_tables, "_NUMBERS_AT_ONCE", 7 * 8)
    path = write_predictions(tmp_path / f"predictions{suffix}")
    scores = acquire("mutual-information", load_predictions(path).concentrations, RINGS)
    order = np.argsort(-scores)[:5]
    ranked = rank_galaxies(path, "mutual-information", 5, out=tmp_path / "list.csv")
    assert list(ranked.columns) == ["rank", "id_str", "score", "file_loc"]
    assert list(ranked["rank"]) == [1, 2, 3, 4, 5]
    assert list(ranked["id_str"]) == [f"g{i}" for i in order]
    np.testing.assert_array_equal(ranked["score"], scores[order])
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "list.csv"), ranked)


def test_a_random_list_does_not_depend_on_the_pieces(table, monkeypatch):
    whole = rank_galaxies(table, "random", 10, options=AcquisitionOptions(seed=3))
    monkeypatch.setattr(prediction_tables, "_NUMBERS_AT_ONCE", 7 * 8)
    pd.testing.assert_frame_equal(rank_galaxies(table, "random", 10, options=AcquisitionOptions(seed=3)), whole)
    assert list(rank_galaxies(table, "random", 10)["id_str"]) != list(whole["id_str"])


def test_options_reach_the_function(table):
    ranked = rank_galaxies(
        table, "fraction-above", 1, options=AcquisitionOptions(answer=RINGS.label_cols[0], bound=0.4)
    )
    first, second = load_predictions(table).concentrations.transpose(1, 0, 2).astype(float)
    assert ranked["score"][0] == pytest.approx(beta.sf(0.4, first, second).mean(axis=1).max())


def test_with_features_the_list_has_no_copies(table, tmp_path):
    """Of two kinds of galaxies, the list has one of each."""
    kind = np.arange(N) % 2
    for name in ("feature", "component"):
        # In another order, with galaxies that are not in the table of predictions.
        ids = [f"g{i}" for i in range(N + 3)][::-1]
        features = write_vectors(tmp_path / f"{name}.parquet", name, np.r_[kind, 0, 0, 0][::-1, None], ids)
        ranked = rank_galaxies(table, "entropy", 2, features_loc=features)
        assert ranked["id_str"][0] == rank_galaxies(table, "entropy", 1)["id_str"][0]
        assert {int(id_str[1:]) % 2 for id_str in ranked["id_str"]} == {0, 1}


def test_masks_rank_by_the_sum_of_their_entropies(tmp_path):
    """A mask of 40 uncertain pixels, one of 10, one that is missing, and an empty one."""
    masks = np.zeros((4, 32, 32), np.uint8)
    masks[0, 0, :10], masks[1, :2, :20] = 128, 128
    for number in (0, 1, 3):
        cv2.imwrite(str(tmp_path / f"{number}.png"), masks[number])
    path = write_predictions(tmp_path / "masks.csv", 4, masks=[f"{i}.png" for i in range(4)], votes=False)
    ranked = rank_galaxies(path, "mask-entropy", 3)
    assert list(ranked["id_str"]) == ["g1", "g0", "g3"]
    np.testing.assert_allclose(ranked["score"], mask_entropy(masks[[1, 0, 3]] / 255), rtol=1e-6)
    with pytest.raises(ValueError, match="number of galaxies, 3; received 4"):
        rank_galaxies(path, "mask-entropy", 4)


def test_many_masks_that_cannot_be_read_stop_the_ranking(tmp_path):
    path = write_predictions(tmp_path / "masks.csv", 6, masks=[f"{i}.png" for i in range(6)], votes=False)
    with pytest.raises(ValueError, match=r"masks of 6 of 6 galaxies.*g0.*0\.png"):
        rank_galaxies(path, "mask-entropy", 1)


def test_a_galaxy_in_two_rows_is_not_asked_about_twice(tmp_path):
    path = write_predictions(tmp_path / "predictions.csv", 3, ids=["g0", "g1", "g1"])
    with pytest.raises(ValueError, match=r"predictions\.csv: the galaxy 'g1' is in two rows"):
        rank_galaxies(path, "entropy", 3)


def test_the_tree_may_be_given(tmp_path):
    path = write_predictions(tmp_path / "predictions.csv", metadata=False)
    with pytest.raises(ValueError, match="give schema"):
        rank_galaxies(path, "entropy", 3)
    assert len(rank_galaxies(path, "entropy", 3, schema=RINGS)) == 3
    with pytest.raises(ValueError, match="34 answers"):
        rank_galaxies(path, "entropy", 3, schema=get_schema("decals"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"by": "bald"}, "by must be one of mutual-information"),
        ({"n": 0}, "n must be at least 1"),
        ({"n": N + 1}, f"number of galaxies, {N}; received {N + 1}"),
        ({"by": "mask-entropy"}, "no predicted masks"),
        ({"schema": get_schema("decals")}, "rings"),
        ({"out": "predictions.parquet"}, "the table to read"),
        ({"features_loc": "predictions.parquet"}, "feature_0000"),
    ],
)
def test_impossible_requests_say_what_is_wrong(table, monkeypatch, arguments, words):
    monkeypatch.chdir(table.parent)
    with pytest.raises(ValueError, match=words):
        rank_galaxies(table, **{"by": "entropy", "n": 2, **arguments})


def test_the_command_prints_or_writes_the_list(table, tmp_path, capsys):
    assert main(["al", "rank", str(table), "--by", "entropy", "--n", "2"]) == 0
    printed = capsys.readouterr().out
    assert printed.splitlines()[0] == "rank,id_str,score,file_loc"
    assert len(printed.splitlines()) == 3
    out = tmp_path / "list.csv"
    assert main(["al", "rank", str(table), "--by", "entropy", "--n", "2", "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"{out}\n"
    assert out.read_text() == printed
    assert main(["al", "rank", str(table), "--n", "100"]) == 2
    assert "received 100" in capsys.readouterr().err
