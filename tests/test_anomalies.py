"""The ranking of unusual galaxies, and its pictures."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.spatial.distance import cdist
from vector_tables import read_in_pieces, write_vectors

from zoobot3d_tf.pages.thumbnails import draw_anomalies
from zoobot3d_tf.representations import anomalies
from zoobot3d_tf.representations.anomalies import rank_anomalies, write_anomalies
from zoobot3d_tf.representations.vectors import open_vectors


def rank(table, seed=0):
    return rank_anomalies(open_vectors(table, "component"), seed)


def crowd(odd, n=300):
    """Vectors of `n` ordinary galaxies and of the unusual ones, in random order, with their ids."""
    vectors = np.concatenate([np.random.default_rng(0).normal(size=(n, len(odd[0]))), odd])
    ids = [f"g{i}" for i in range(n)] + [f"odd{i}" for i in range(len(odd))]
    order = np.random.default_rng(1).permutation(len(ids))
    return vectors[order], [ids[i] for i in order]


def test_distances_on_a_line_are_known_by_hand(tmp_path):
    places = [*range(11), 100]
    ranked = rank(write_vectors(tmp_path / "c.parquet", "component", np.array(places)[:, None]))
    assert list(ranked.columns) == ["rank", "id_str", "distance", "file_loc"]
    assert list(ranked["rank"]) == list(range(1, 13))
    distances = dict(zip(ranked.id_str, ranked.distance, strict=True))
    # Each galaxy has eleven others; the tenth-nearest is the second farthest.
    assert distances["g11"] == pytest.approx(99)
    assert (distances["g0"], distances["g5"], distances["g10"]) == pytest.approx((10, 5, 10))
    assert ranked.id_str[0] == "g11"


def test_distances_are_those_of_scipy(tmp_path, monkeypatch):
    read_in_pieces(monkeypatch, 30, 5)
    vectors = np.random.default_rng(2).normal(size=(100, 5)).astype(np.float32)
    vectors[20:35] = vectors[20]  # more identical galaxies than neighbours
    ranked = rank(write_vectors(tmp_path / "c.parquet", "component", vectors)).set_index("id_str")
    tenth = np.sort(cdist(vectors, vectors), axis=1)[:, 10]
    np.testing.assert_allclose(ranked.distance[[f"g{i}" for i in range(100)]], tenth, atol=1e-6)


def test_unusual_galaxies_come_first_also_if_several_are_similar(tmp_path):
    # Three unusual in different ways, along an axis or between axes, and five that are nearly the same.
    odd = [[9, 0, 0, 0], [0, -8, 0, 0], [4, 4, -4, 4], *([0, 0, 7 + i / 100, 7] for i in range(5))]
    vectors, ids = crowd(odd)
    ranked = rank(write_vectors(tmp_path / "c.parquet", "component", vectors, ids))
    assert set(ranked.id_str[:8]) == {f"odd{i}" for i in range(8)}


def test_a_sample_of_reference_galaxies_finds_the_same_and_no_galaxy_is_its_own_neighbour(tmp_path, monkeypatch):
    read_in_pieces(monkeypatch, 50, 3)
    vectors, ids = crowd([[9, 0, 0], [0, -8, 0], [0, 0, 10]])
    table = write_vectors(tmp_path / "c.parquet", "component", vectors, ids)
    whole = rank(table).set_index("id_str").distance
    monkeypatch.setattr(anomalies, "N_REFERENCE", 100)
    sampled = [rank(table, seed) for seed in (0, 1)]
    for ranked in sampled:
        assert set(ranked.id_str[:3]) == {"odd0", "odd1", "odd2"}
        distances = ranked.set_index("id_str").distance.reindex(whole.index)
        assert (distances >= whole - 1e-6).all(), "fewer reference galaxies cannot be nearer"
    assert not sampled[0].equals(sampled[1])


def test_the_table_and_the_sheet_show_the_most_unusual_first(tmp_path):
    vectors, ids = crowd([[9, 0, 0]], n=50)
    image = np.full((40, 40, 3), (250, 0, 0), np.uint8)
    image[0, 0] = 9
    Image.fromarray(image).save(tmp_path / "odd.png")
    file_locs = [str(tmp_path / ("odd.png" if name == "odd0" else "none.png")) for name in ids]
    table = write_vectors(tmp_path / "c.parquet", "component", vectors, ids, file_locs)
    found = write_anomalies(table, tmp_path / "a.csv")
    ranked = pd.read_csv(tmp_path / "a.csv")
    pd.testing.assert_frame_equal(ranked, found, check_dtype=False)
    assert (len(ranked), ranked.id_str[0]) == (51, "odd0")
    assert ranked.distance.is_monotonic_decreasing
    sheet = Image.open(draw_anomalies(tmp_path / "a.png", table, found)).convert("RGB")
    assert sheet.size == (10 + 8 * 160, 10 + 5 * 200)
    assert sheet.getpixel((85, 40)) == (250, 0, 0)


def test_too_few_galaxies_are_refused(tmp_path):
    table = write_vectors(tmp_path / "c.parquet", "component", np.eye(10))
    with pytest.raises(ValueError, match=r"c\.parquet.* 10 .* 11"):
        rank(table)
    with pytest.raises(ValueError, match=r"a.txt"):
        write_anomalies(table, tmp_path / "a.txt")
    with pytest.raises(ValueError, match=r"c\.parquet"):
        write_anomalies(table, table)
