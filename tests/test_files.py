"""Files are complete or absent, folders have one owner, and output paths are checked before the work."""

import errno
import os
import shutil
import subprocess
import sys

import pytest

from zoobot3d_tf.files import (
    LOCK_NAME,
    check_output,
    check_space,
    move_into_place,
    one_owner,
    read_json_object,
    sha256_of,
    whole_file,
    workspace,
    write_atomically,
)


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


def test_space_is_checked_and_given_back(tmp_path, monkeypatch):
    check_space(tmp_path / "a.h5", 3 * 2**20 + 1)
    assert not list(tmp_path.iterdir())

    class Full:
        def __enter__(self):
            return self

        def __exit__(self, *error):
            pass

        def write(self, content):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("zoobot3d_tf.files.TemporaryFile", lambda **where: Full())
    with pytest.raises(OSError, match=r"No space left on device: '.*a\.h5'"):
        check_space(tmp_path / "a.h5", 1)


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
        ("file/a.csv", NotADirectoryError, "file: is a file"),
        ("file/new/a.csv", NotADirectoryError, "file: is a file"),
    ],
)
def test_paths_that_cannot_be_written_are_refused(tmp_path, name, error, message):
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(error, match=message):
        check_output(tmp_path / name, "table", (".csv", ".fits"))


def test_a_folder_that_is_missing_is_made(tmp_path):
    check_output(tmp_path / "new" / "folder" / "A.CSV", "table", (".csv",))
    assert [path.name for path in tmp_path.rglob("*")] == ["new", "folder"]


OWN = """
import sys, time
from pathlib import Path
from zoobot3d_tf.files import one_owner
with one_owner(Path(sys.argv[1])):
    print("owned", flush=True)
    time.sleep(60)
"""


def test_a_folder_has_one_owner_and_a_killed_one_is_succeeded(tmp_path):
    folder = tmp_path / "new" / "run"
    with subprocess.Popen([sys.executable, "-c", OWN, str(folder)], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout.readline() == "owned\n"
        with pytest.raises(BlockingIOError, match=rf"{folder}: process {owner.pid} on .+; wait"), one_owner(folder):
            pass
        owner.kill()
    assert [path.name for path in folder.iterdir()] == [LOCK_NAME]
    with one_owner(folder):
        assert (folder / LOCK_NAME).read_text().startswith(f"process {os.getpid()} on ")
        (folder / "a").touch()
    assert [path.name for path in folder.iterdir()] == ["a"]


def test_a_folder_that_stays_empty_is_removed_if_it_is_new(tmp_path):
    (tmp_path / "old").mkdir()
    for name in ("old", "new"):
        with pytest.raises(ValueError, match="refused"), one_owner(tmp_path / name):
            raise ValueError("refused")
    assert [path.name for path in tmp_path.iterdir()] == ["old"]


def test_an_owner_may_remove_its_folder(tmp_path):
    with one_owner(tmp_path / "job"):
        shutil.rmtree(tmp_path / "job")
    assert not list(tmp_path.iterdir())


def test_a_lock_that_was_removed_before_it_was_taken_is_refused(tmp_path, monkeypatch):
    def end_before(file, operation):
        (tmp_path / LOCK_NAME).unlink()

    monkeypatch.setattr("fcntl.flock", end_before)
    with pytest.raises(BlockingIOError, match="another process"), one_owner(tmp_path):
        pass


def test_a_file_system_without_locks_is_used_with_a_warning(tmp_path, monkeypatch, caplog):
    def refuse(file, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    with one_owner(tmp_path / "run"):
        (tmp_path / "run" / "a").touch()
    assert "No locks available" in caplog.text
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["a"]


def test_a_workspace_is_empty_and_is_removed(tmp_path):
    left = tmp_path / ".partial-model"
    (left / "folder").mkdir(parents=True)
    (left / "file").touch()
    with workspace(tmp_path / "model") as folder:
        assert folder.parent == tmp_path
        assert [path.name for path in folder.iterdir()] == [LOCK_NAME]
        (folder / "made").mkdir()
        (folder / "made" / "part").write_bytes(b"whole")
        move_into_place(folder / "made", tmp_path / "model")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert (tmp_path / "model" / "part").read_bytes() == b"whole"


def test_a_workspace_takes_the_place_of_a_partial_file(tmp_path):
    (tmp_path / ".partial-table.csv").write_text("of a run that was killed")
    with workspace(tmp_path / "table.csv"):
        pass
    assert not list(tmp_path.iterdir())


def test_a_path_has_one_workspace_at_a_time(tmp_path):
    with workspace(tmp_path / "model"), pytest.raises(BlockingIOError, match=rf"process {os.getpid()} on"):
        with workspace(tmp_path / "model"):
            pass


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_in_a_workspace_is_named_with_the_path(tmp_path, code):
    with pytest.raises(OSError, match=r"(No space|quota exceeded).*: '.*/model'"), workspace(tmp_path / "model"):
        raise OSError(code, os.strerror(code))
    assert not list(tmp_path.iterdir())


def test_a_file_that_two_processes_write_at_once_is_named(tmp_path):
    path = tmp_path / "page.html"

    def write_at_once():
        with whole_file(path) as partial:
            partial.write_text("first")
            write_atomically(path, "second")

    with pytest.raises(BlockingIOError, match=r"page\.html: another process .* at the same time"):
        write_at_once()
    assert path.read_text() == "second"
    assert [found.name for found in tmp_path.iterdir()] == ["page.html"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"{", "JSON"),
        (b"\xff", "decode"),
        (b"[1]", r"received \[1\]"),
        (b"[" * 100_000, "nested too deeply"),
        (b"[" * 900 + b"]" * 900, "JSON object"),
        (b"null", "received None"),
    ],
)
def test_a_file_that_is_not_a_json_object_is_named(tmp_path, content, words):
    (tmp_path / "facts.json").write_bytes(content)
    with pytest.raises(ValueError, match=rf"facts\.json: .*facts of a test.*{words}|facts\.json: .*{words}.*facts of"):
        read_json_object(tmp_path / "facts.json", "facts of a test")


def test_a_json_object_is_read_and_a_huge_file_is_not(tmp_path):
    path = tmp_path / "facts.json"
    path.write_text('{"a": "é"}', encoding="utf-8")
    assert read_json_object(path, "facts") == {"a": "é"}
    os.truncate(path, 2**26 + 1)
    with pytest.raises(ValueError, match=r"facts\.json: .*larger than"):
        read_json_object(path, "facts")
    with pytest.raises(FileNotFoundError):
        read_json_object(tmp_path / "none.json", "facts")
