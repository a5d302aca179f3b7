"""Metadata beside a table."""

import json

import pytest

from zoobot3d_tf.inference.metadata import how_it_was_made, metadata_loc, read_metadata, write_metadata


def test_metadata_are_written_beside_the_table_and_read_back(tmp_path):
    assert metadata_loc(tmp_path / "a.b.parquet") == tmp_path / "a.b_metadata.json"
    write_metadata(tmp_path / "table.csv", {"n_samples": 5, "note": "α"})
    assert json.loads((tmp_path / "table_metadata.json").read_text()) == {"n_samples": 5, "note": "α"}
    assert read_metadata(tmp_path / "table.csv") == {"n_samples": 5, "note": "α"}
    assert read_metadata(tmp_path / "other.csv") == {}


@pytest.mark.parametrize(
    ("content", "message"), [(b"{", "JSON"), (b"\xff", "JSON"), (b"[1]", r"object .*received \[1\]")]
)
def test_damaged_metadata_are_refused(tmp_path, content, message):
    (tmp_path / "table_metadata.json").write_bytes(content)
    with pytest.raises(ValueError, match=rf"table_metadata\.json: .*{message}"):
        read_metadata(tmp_path / "table.csv")


@pytest.mark.parametrize("content", [b"[" * 1000 + b"]" * 1000, b'{"pca":' * 10_000, b"3", b"null", b'"text"'])
def test_json_of_another_kind_is_refused_with_the_file(tmp_path, content):
    (tmp_path / "table_metadata.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"table_metadata\.json: .*JSON object"):
        read_metadata(tmp_path / "table.csv")


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("table", {"a": 1}, "table must be text"),
        ("note", 3, "note must be text"),
        ("stretch", [1], "stretch must be text"),
        ("stretch", "sinh", "stretch must be one of"),
        ("weights_sha256", True, "weights_sha256 must be text"),
        ("level", 1, "level must be text"),
        ("schema", "decals", "schema must be a JSON object"),
        ("label", [], "label must be a JSON object"),
    ],
)
def test_entries_of_another_type_are_refused_with_the_file(tmp_path, name, value, words):
    write_metadata(tmp_path / "table.csv", {name: value})
    with pytest.raises(ValueError, match=rf"table_metadata\.json: .*{words}"):
        read_metadata(tmp_path / "table.csv")


def test_versions_are_those_of_the_packages_that_affect_the_results(monkeypatch):
    monkeypatch.setattr("sys.argv", ["zoobot3d", "predict", "--folder", "my galaxies"])
    made = how_it_was_made("tf")
    assert {"zoobot3d_tf", "tensorflow", "keras", "numpy"} <= set(made["versions"])
    assert "openvino" not in made["versions"]
    assert made["command"] == "zoobot3d predict --folder 'my galaxies'"
