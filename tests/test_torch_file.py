"""Files of weights that are no honest archives; what they hold is tested with the encoders that are loaded of them."""

import struct
import zipfile

import pytest

from zoobot3d_tf.models.torch_file import read_torch_tensors


def test_an_archive_that_points_before_its_beginning_is_refused(tmp_path):
    path = tmp_path / "weights.bin"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("weights/data.pkl", b"\x80\x02}.")
    content = bytearray(path.read_bytes())
    assert read_torch_tensors(path) == {}
    (start,) = struct.unpack("<I", content[-6:-2])  # of the directory, in the archive's last record
    content[-6:-2] = struct.pack("<I", start + 1000)
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"weights\.bin: is no file of weights as PyTorch writes it"):
        read_torch_tensors(path)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.bin"):
        read_torch_tensors(tmp_path / "nowhere.bin")
