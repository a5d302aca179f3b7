"""Principal components of features: answers known by hand, agreement with scikit-learn, and refused input."""

import json
import logging

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.decomposition import PCA
from vector_tables import read_in_pieces, write_vectors

from zoobot3d_tf.files import workspace
from zoobot3d_tf.inference.metadata import metadata_loc, write_metadata
from zoobot3d_tf.representations.anomalies import write_anomalies
from zoobot3d_tf.representations.compress import compress, load_pca
from zoobot3d_tf.representations.neighbours import write_neighbours
from zoobot3d_tf.representations.vectors import open_vectors

CROSS = [[2, 0], [-2, 0], [0, 1], [0, -1]]


def components_of(table):
    return pd.read_parquet(table).filter(like="component_").to_numpy()


def pca_of(table):
    return json.loads(table.with_name(f"{table.stem}_metadata.json").read_text())["pca"]


# Known answers


def test_a_cross_has_components_known_by_hand(tmp_path, caplog):
    features = write_vectors(tmp_path / "f.parquet", "feature", CROSS, ids=["a", "b", "c", "d"], level="top")
    with caplog.at_level(logging.INFO):
        out = compress(features, tmp_path / "c.parquet", n_components=1)
    table = pd.read_parquet(out)
    assert list(table.columns) == ["id_str", "file_loc", "component_0000", "residual"]
    assert list(table.id_str) == ["a", "b", "c", "d"]
    np.testing.assert_allclose(table.component_0000, [2, -2, 0, 0], atol=1e-6)
    np.testing.assert_allclose(table.residual, [0, 0, 1, 1], atol=1e-6)
    # The sum of squares is 8 along x and 2 along y.
    assert pca_of(out) == {"n_components": 1, "share": pytest.approx(0.8), "fitted_to": str(features)}
    assert "80.0 %" in caplog.text
    pca = load_pca(tmp_path / "c_pca.npz")
    np.testing.assert_allclose(pca.mean, [0, 0], atol=1e-12)
    np.testing.assert_allclose(pca.components, [[1, 0]], atol=1e-12)  # its largest part is positive
    np.testing.assert_allclose([*pca.variance, pca.total_variance], [8 / 3, 10 / 3])


def test_points_on_a_line_need_one_component_and_on_a_plane_two(tmp_path):
    rng = np.random.default_rng(0)
    positions = rng.normal(size=(50, 2))
    directions = np.array([[1, 2, 2], [2, 1, -2]]) / 3  # orthonormal
    line = write_vectors(tmp_path / "line.parquet", "feature", 5 + positions[:, :1] * directions[:1])
    plane = write_vectors(tmp_path / "plane.parquet", "feature", 5 + positions @ directions)
    on_line, on_plane = (compress(table, tmp_path / f"{table.stem}_c.parquet", share=0.9999) for table in (line, plane))
    along = components_of(on_line)
    assert along.shape == (50, 1)
    np.testing.assert_allclose(np.abs(along[:, 0]), np.abs(positions[:, 0] - positions[:, 0].mean()), atol=1e-5)
    assert components_of(on_plane).shape == (50, 2)
    for table in (on_line, on_plane):
        assert pca_of(table)["share"] == pytest.approx(1)
        assert pd.read_parquet(table).residual.max() < 1e-5


def test_a_table_read_in_pieces_gives_the_same_components(tmp_path, monkeypatch):
    read_in_pieces(monkeypatch, 7, 6)
    rng = np.random.default_rng(1)
    values = (300 + rng.normal(size=(101, 6)) @ rng.normal(size=(6, 6))).astype(np.float32)
    features = write_vectors(tmp_path / "f.parquet", "feature", values)
    assert len(list(open_vectors(features, "feature").pieces())) == 15
    out = compress(features, tmp_path / "c.parquet", n_components=3)
    centred = values - values.mean(axis=0, dtype=float)
    _, lengths, directions = np.linalg.svd(centred, full_matrices=False)
    pca = load_pca(tmp_path / "c_pca.npz")
    np.testing.assert_allclose(pca.variance, lengths[:3] ** 2 / 100, rtol=1e-6)
    np.testing.assert_allclose(np.abs((pca.components * directions[:3]).sum(axis=1)), 1, rtol=1e-6)
    np.testing.assert_allclose(np.abs(components_of(out)), np.abs(centred @ directions[:3].T), atol=1e-4)
    assert pca_of(out)["share"] == pytest.approx((lengths[:3] ** 2).sum() / (lengths**2).sum())


# Properties


def test_components_are_those_of_scikit_learn_with_their_signs(tmp_path):
    rng = np.random.default_rng(3)
    values = (rng.normal(size=(200, 12)) * 1.5 ** np.arange(12) + 50).astype(np.float32)
    features = write_vectors(tmp_path / "f.parquet", "feature", values)
    theirs = PCA(5, svd_solver="full").fit(values.astype(float))
    out = compress(features, tmp_path / "c.parquet", n_components=5)
    np.testing.assert_allclose(load_pca(tmp_path / "c_pca.npz").components, theirs.components_, atol=1e-9)
    np.testing.assert_allclose(components_of(out), theirs.transform(values.astype(float)), atol=1e-3)
    assert pca_of(out)["share"] == pytest.approx(theirs.explained_variance_ratio_.sum())


def test_by_default_forty_components_are_kept_or_all_if_there_are_fewer(tmp_path):
    for n_features, n_kept in ((50, 40), (16, 16)):
        values = np.random.default_rng(4).normal(size=(60, n_features))
        features = write_vectors(tmp_path / "f.parquet", "feature", values)
        assert pca_of(compress(features, tmp_path / "c.parquet"))["n_components"] == n_kept


def test_a_share_keeps_as_few_components_as_possible(tmp_path):
    features = write_vectors(tmp_path / "f.parquet", "feature", np.random.default_rng(2).normal(size=(60, 8)))
    for share in (0.2, 0.5, 0.9):
        kept = pca_of(compress(features, tmp_path / "c.parquet", share=share))
        assert kept["share"] >= share
        fewer = compress(features, tmp_path / "fewer.parquet", n_components=kept["n_components"] - 1)
        assert pca_of(fewer)["share"] < share


def test_a_stored_pca_is_applied_to_other_galaxies(tmp_path):
    features = write_vectors(tmp_path / "f.parquet", "feature", CROSS, weights_sha256="abc", level="top")
    first = compress(features, tmp_path / "first.parquet", n_components=1)
    others = write_vectors(tmp_path / "o.parquet", "feature", [[2, 0], [1, 3]], weights_sha256="abc", level="top")
    second = compress(others, tmp_path / "second.parquet", pca_loc=tmp_path / "first_pca.npz")
    np.testing.assert_allclose(components_of(first)[:, 0], [2, -2, 0, 0], atol=1e-6)
    np.testing.assert_allclose(components_of(second)[:, 0], [2, 1], atol=1e-6)
    np.testing.assert_allclose(pd.read_parquet(second).residual, [0, 3], atol=1e-6)
    assert pca_of(second)["share"] == pytest.approx(5 / 14)  # of these galaxies: 4 + 1 of 4 + 1 + 9
    assert pca_of(second)["fitted_to"] == str(tmp_path / "first_pca.npz")


def test_metadata_of_the_features_are_kept(tmp_path):
    features = write_vectors(tmp_path / "f.parquet", "feature", CROSS, stretch="lupton", level="P3")
    out = compress(features, tmp_path / "c.parquet", n_components=2)
    metadata = open_vectors(out, "component").metadata
    assert (metadata["stretch"], metadata["level"]) == ("lupton", "P3")


def test_an_error_at_the_end_keeps_the_earlier_files(tmp_path, monkeypatch):
    features = write_vectors(tmp_path / "f.parquet", "feature", CROSS)
    before = {path.name for path in tmp_path.iterdir()}

    def fail(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("zoobot3d_tf.representations.compress.write_metadata", fail)
    with pytest.raises(OSError, match="No space left on device"):
        compress(features, tmp_path / "c.parquet", n_components=1)
    assert {path.name for path in tmp_path.iterdir()} == before
    monkeypatch.undo()
    compress(features, tmp_path / "c.parquet", n_components=1)
    first = {path: path.read_bytes() for path in tmp_path.iterdir()}
    monkeypatch.setattr("zoobot3d_tf.representations.compress.write_metadata", fail)
    with pytest.raises(OSError, match="No space left on device"):
        compress(features, tmp_path / "c.parquet", n_components=2)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == first


# Bad input


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"n_components": 3}, r"f\.parquet.* n_components .*1 to 2 .* 4 galaxies .* 2 features.* 3$"),
        ({"n_components": 0}, r"f\.parquet.* n_components .*1 to 2 .* 0$"),
        ({"share": 1.0}, r"share .* 0 and 1.* 1\.0$"),
        ({"share": 0.5, "n_components": 1}, "n_components, share and pca_loc"),
        ({"n_components": 1, "out": "f.parquet"}, r"f\.parquet.*another name"),
        ({"n_components": 1, "out": "here/../f.parquet"}, r"f\.parquet.*another name"),
        ({"n_components": 1, "out": "c.csv"}, r"c\.csv.* \.parquet"),
        ({"n_components": 1, "features_loc": "c.csv"}, r"c\.csv.* features .*\.parquet"),
    ],
)
def test_impossible_arguments_are_named(tmp_path, monkeypatch, options, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    write_vectors(tmp_path / "f.parquet", "feature", CROSS)
    with pytest.raises(ValueError, match=words):
        compress(**({"features_loc": "f.parquet", "out": "c.parquet"} | options))
    assert not list(tmp_path.glob("c*"))


def test_tables_without_features_are_refused(tmp_path):
    out = tmp_path / "c.parquet"
    with pytest.raises(FileNotFoundError, match=r"none\.parquet.*`zoobot3d representations`"):
        compress(tmp_path / "none.parquet", out)
    components = write_vectors(tmp_path / "other.parquet", "component", CROSS)
    with pytest.raises(ValueError, match=r"other\.parquet.* feature_0000.*`zoobot3d representations`"):
        compress(components, out)
    broken = write_vectors(tmp_path / "broken.parquet", "feature", [[1, 2], [3, np.nan], [4, 5]])
    with pytest.raises(ValueError, match=r"broken\.parquet: feature_0001 is nan in row 3 \(g1\)"):
        compress(broken, out, n_components=1)
    same = write_vectors(tmp_path / "same.parquet", "feature", [[0.1, 0.7]] * 9)
    with pytest.raises(ValueError, match=r"same\.parquet.* 9 galaxies .*same features"):
        compress(same, out, n_components=1)
    one = write_vectors(tmp_path / "one.parquet", "feature", [[0.1, 0.7]])
    with pytest.raises(ValueError, match=r"one\.parquet.*one galaxy.* 2"):
        compress(one, out, n_components=1)
    empty = write_vectors(tmp_path / "empty.parquet", "feature", np.empty((0, 2)))
    with pytest.raises(ValueError, match=r"empty\.parquet.*no rows"):
        compress(empty, out, n_components=1)
    pq.write_table(pa.table({"id_str": ["a"], "file_loc": ["a.png"], "feature_0000": ["1"]}), tmp_path / "text.parquet")
    with pytest.raises(ValueError, match=r"text\.parquet: feature_0000 .*string.*float"):
        compress(tmp_path / "text.parquet", out, n_components=1)
    (tmp_path / "torn.parquet").write_bytes(components.read_bytes()[:200])
    with pytest.raises(ValueError, match=r"torn\.parquet"):
        compress(tmp_path / "torn.parquet", out, n_components=1)
    assert not out.exists()


def test_a_pca_of_other_features_or_a_damaged_one_is_refused(tmp_path):
    features = write_vectors(tmp_path / "f.parquet", "feature", CROSS, weights_sha256="abc", level="top")
    compress(features, tmp_path / "c.parquet", n_components=1)
    pca_loc, out = tmp_path / "c_pca.npz", tmp_path / "o.parquet"
    level = write_vectors(tmp_path / "level.parquet", "feature", CROSS, weights_sha256="abc", level="P5")
    with pytest.raises(ValueError, match=r"c_pca\.npz.*\(abc top\).*level\.parquet \(abc P5\)"):
        compress(level, out, pca_loc=pca_loc)
    wide = write_vectors(tmp_path / "wide.parquet", "feature", np.eye(3))
    with pytest.raises(ValueError, match=r"c_pca\.npz.* 2 features.*wide\.parquet .*3"):
        compress(wide, out, pca_loc=pca_loc)
    with pytest.raises(FileNotFoundError, match=r"none\.npz.*`zoobot3d compress`"):
        compress(features, out, pca_loc=tmp_path / "none.npz")
    stored = dict(np.load(pca_loc))
    np.savez(tmp_path / "odd.npz", **(stored | {"components": np.eye(3)}))
    with pytest.raises(ValueError, match=r"odd\.npz.* \(2,\), \(3, 3\) and \(1,\)"):
        compress(features, out, pca_loc=tmp_path / "odd.npz")
    np.savez(tmp_path / "nan.npz", **(stored | {"mean": np.array([0, np.nan])}))
    with pytest.raises(ValueError, match=r"nan\.npz.* finite"):
        compress(features, out, pca_loc=tmp_path / "nan.npz")
    np.savez(tmp_path / "one.npz", **(stored | {"variance": np.array(1.0)}))
    with pytest.raises(ValueError, match=r"one\.npz.* \(2,\), \(1, 2\) and \(\)"):
        compress(features, out, pca_loc=tmp_path / "one.npz")
    np.savez(tmp_path / "long.npz", **(stored | {"components": np.array([[2.0, 0.0]])}))
    with pytest.raises(ValueError, match=r"long\.npz.* orthonormal"):
        compress(features, out, pca_loc=tmp_path / "long.npz")
    pca_loc.write_bytes(pca_loc.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"c_pca\.npz.*PCA.* \.npz file"):
        compress(features, out, pca_loc=pca_loc)
    with pytest.raises(ValueError, match=r"f\.parquet.*PCA.* \.npz file"):
        compress(features, out, pca_loc=features)


def test_a_pca_with_a_pickle_inside_is_not_opened(tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "sprung"), "w"))

    features = write_vectors(tmp_path / "f.parquet", "feature", CROSS)
    compress(features, tmp_path / "c.parquet", n_components=1)
    stored = dict(np.load(tmp_path / "c_pca.npz"))
    np.savez(tmp_path / "trap.npz", **(stored | {"mean": np.array([Trap()], dtype=object)}))
    with pytest.raises(ValueError, match=r"trap\.npz.*PCA"):
        compress(features, tmp_path / "o.parquet", pca_loc=tmp_path / "trap.npz")
    assert not (tmp_path / "sprung").exists()


def write_pca(path, n_components, n_features, dtype="float64"):
    arrays = {"mean": np.zeros(n_features, dtype), "variance": np.ones(n_components, dtype)}
    arrays |= {"components": np.zeros((n_components, n_features), dtype), "total_variance": np.float64(1), "source": ""}
    np.savez_compressed(path, **arrays)


@pytest.mark.parametrize(
    ("n_components", "n_features", "dtype", "words"),
    [
        (1, 9_000_000, "float64", "more than"),
        (2_000_000, 3, "float64", "at most as many components as features"),
        (5000, 5000, "int8", "float64"),
    ],
)
def test_a_small_file_that_would_fill_the_memory_is_refused(tmp_path, n_components, n_features, dtype, words):
    write_pca(tmp_path / "pca.npz", n_components, n_features, dtype)
    with pytest.raises(ValueError, match=rf"pca\.npz: .*{words}"):
        load_pca(tmp_path / "pca.npz")


def test_features_of_absurd_size_are_refused(tmp_path):
    piece = pa.table({"id_str": ["g"] * 10**6, "file_loc": ["g"] * 10**6, "feature_0000": np.zeros(10**6, np.float32)})
    with pq.ParquetWriter(tmp_path / "f.parquet", piece.schema) as file:
        for _ in range(30):
            file.write_table(piece)
    with pytest.raises(ValueError, match=r"f\.parquet: its content would take 0\.4 GB"):
        open_vectors(tmp_path / "f.parquet", "feature")


@pytest.mark.parametrize("change", [{"weights_sha256": "def"}, {"level": "P3"}])
def test_metadata_of_another_run_or_level_are_refused(tmp_path, change):
    made_with = {"weights_sha256": "abc", "level": "top"}
    values = np.random.default_rng(0).normal(size=(30, 3))
    features = write_vectors(tmp_path / "f.parquet", "feature", values, **made_with)
    table = compress(features, tmp_path / "c.parquet", n_components=2)
    metadata_loc(table).unlink()
    assert open_vectors(table, "component").source == "abc top"
    write_metadata(table, made_with | change)
    words = rf"c_metadata\.json: belongs to another table: its {next(iter(change))} is .*c\.parquet"
    with pytest.raises(ValueError, match=words):
        write_neighbours(table, ["g1"], tmp_path / "n.csv")
    with pytest.raises(ValueError, match=words):
        write_anomalies(table, tmp_path / "a.csv")


def test_two_runs_do_not_write_one_table(tmp_path):
    features = write_vectors(tmp_path / "f.parquet", "feature", CROSS)
    with workspace(tmp_path / "c.parquet"), pytest.raises(BlockingIOError, match=r"c\.parquet: process \d+ on"):
        compress(features, tmp_path / "c.parquet", n_components=1)
