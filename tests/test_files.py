"""Files are complete or absent, and output paths are checked before the work."""

import pytest

from zoobot3d_tf.files import check_output, sha256_of, whole_file, write_atomically


def test_a_file_appears_when_it_is_complete(tmp_path):
    path = tmp_path / "a.csv"
    with whole_file(path) as partial:
        partial.write_text("new")
        assert partial.suffix == ".csv"
        assert not path.exists()
    assert [file.name for file in tmp_path.iterdir()] == ["a.csv"]
    assert path.read_text() == "new"


@pytest.mark.parametrize("shared", [False, True])
def test_an_interrupted_file_leaves_the_file_of_before(tmp_path, shared):
    path = tmp_path / "a.csv"
    write_atomically(path, "old")

    def interrupt():
        with whole_file(path, shared) as partial:
            partial.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupt()
    assert [file.name for file in tmp_path.iterdir()] == ["a.csv"]
    assert path.read_text() == "old"


def test_partial_files_of_several_writers_differ(tmp_path):
    with whole_file(tmp_path / "a", shared=True) as first, whole_file(tmp_path / "a", shared=True) as second:
        assert first != second
        first.write_text("first")
        second.write_text("second")
    assert (tmp_path / "a").read_text() == "first"  # the outer block ends last


def test_a_full_disk_is_reported_with_the_name_of_the_file(tmp_path):
    def fill():
        with whole_file(tmp_path / "a.csv"):
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match=r"No space left on device: '.*a\.csv'"):
        fill()


def test_text_is_written_as_utf_8(tmp_path):
    write_atomically(tmp_path / "a", "é")
    write_atomically(tmp_path / "b", "é".encode())
    assert (tmp_path / "a").read_bytes() == b"\xc3\xa9"
    assert sha256_of(tmp_path / "a") == sha256_of(tmp_path / "b")


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("a.txt", ValueError, r"a\.txt: .*table must end in \.csv or \.fits"),
        ("folder.csv", IsADirectoryError, r"folder\.csv: is a folder"),
        ("none/a.csv", NotADirectoryError, "none: no such folder"),
        ("file/a.csv", NotADirectoryError, "file: is a file"),
    ],
)
def test_paths_that_cannot_be_written_are_refused(tmp_path, name, error, message):
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(error, match=message):
        check_output(tmp_path / name, "table", (".csv", ".fits"))


def test_folders_to_be_made_need_not_exist(tmp_path):
    check_output(tmp_path / "A.CSV", "table", (".csv",))
    check_output(tmp_path / "new" / "folder" / "a.csv", "table", (), make_folder=True)
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match="file: is a file"):
        check_output(tmp_path / "file" / "new" / "a.csv", "table", (), make_folder=True)
    assert [file.name for file in tmp_path.iterdir()] == ["file"]
