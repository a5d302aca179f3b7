"""Damaged archives of weights. The tests of encoders cover their contents."""

import struct
import zipfile

import pytest

from zoobot3d_tf.models.torch_file import read_torch_tensors


def test_an_archive_with_a_wrong_directory_is_refused(tmp_path):
    path = tmp_path / "weights.bin"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("weights/data.pkl", b"\x80\x02}.")
    content = bytearray(path.read_bytes())
    assert read_torch_tensors(path) == {}
    (start,) = struct.unpack("<I", content[-6:-2])  # position of the directory, in the last record of the archive
    content[-6:-2] = struct.pack("<I", start + 1000)
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"weights\.bin: "):
        read_torch_tensors(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.bin"):
        read_torch_tensors(tmp_path / "nowhere.bin")
