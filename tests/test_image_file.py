"""Errors of a file cost one galaxy; errors of the machine pass."""

import builtins
import errno
import io
import json
import os

import numpy as np
import pytest
from astropy.io import fits
from PIL import Image

from zoobot3d_tf.images.image_file import ImageError
from zoobot3d_tf.images.read import read_image, read_marks, read_mask
from zoobot3d_tf.images.wcs import read_wcs

MACHINE = [errno.EIO, errno.ESTALE, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSPC, errno.ETIMEDOUT]
READERS = {
    "galaxy.png": read_image,
    "galaxy.jpg": read_image,
    "galaxy.tif": read_image,
    "galaxy.fits": read_image,
    "galaxy.fits.fz": read_image,
    "wcs.fits": read_wcs,
    "mask.png": lambda path: read_mask(path, (32, 20), 15),
    "marks.json": lambda path: read_marks(path, (32, 20), 1),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """One file for each reader."""
    folder = tmp_path_factory.mktemp("files")
    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 256, (32, 20, 3), dtype=np.uint8))
    for suffix in ("png", "jpg", "tif"):
        picture.save(folder / f"galaxy.{suffix}")
    fluxes = rng.normal(0.05, 0.05, (3, 32, 20)).astype(np.float32)
    for name in ("galaxy.fits", "wcs.fits"):
        fits.PrimaryHDU(fluxes, fits.Header({"BANDS": "grz"})).writeto(folder / name)
    fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(fluxes)]).writeto(folder / "galaxy.fits.fz")
    Image.fromarray(rng.integers(0, 16, (32, 20), dtype=np.uint8)).save(folder / "mask.png")
    (folder / "marks.json").write_text(json.dumps({"bar_mask": [[[[2, 2], [9, 2], [9, 9], [2, 9], [2, 2], [2, 3]]]]}))
    for name, read in READERS.items():
        read(folder / name)
    return folder


class FailingFile(io.FileIO):
    """A file on a disk that fails after some bytes."""

    def __init__(self, path, error, n_bytes):
        super().__init__(path)
        self.error, self.left = error, n_bytes

    def readinto(self, buffer):
        n_read = super().readinto(memoryview(buffer)[: max(0, self.left)])
        self.left -= n_read
        if self.left <= 0:
            raise self.error
        return n_read

    def readall(self):
        raise self.error


def break_disk(monkeypatch, error, n_bytes=0):
    """Let files fail when they are opened, or after some bytes."""

    def fail(path, mode="r", *arguments, **options):
        if not n_bytes:
            raise error
        return io.BufferedReader(FailingFile(path, error, n_bytes), buffer_size=n_bytes)

    monkeypatch.setattr(builtins, "open", fail)


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("n_bytes", [0, 64])
@pytest.mark.parametrize("number", MACHINE)
def test_errors_of_the_machine_pass_and_name_the_file(folder, monkeypatch, name, n_bytes, number):
    break_disk(monkeypatch, OSError(number, os.strerror(number)), n_bytes)
    with pytest.raises(OSError, match=name) as failure:
        READERS[name](folder / name)
    assert failure.value.errno == number


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("n_bytes", [0, 64])
def test_a_lack_of_memory_passes_and_names_the_file(folder, monkeypatch, name, n_bytes):
    break_disk(monkeypatch, MemoryError(), n_bytes)
    with pytest.raises(MemoryError, match=name):
        READERS[name](folder / name)


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("number", [errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP])
def test_errors_of_the_path_are_those_of_one_galaxy(folder, monkeypatch, name, number):
    break_disk(monkeypatch, OSError(number, os.strerror(number), name))
    with pytest.raises(ImageError, match=name):
        READERS[name](folder / name)


@pytest.mark.parametrize("name", READERS)
@pytest.mark.filterwarnings("ignore:.*header:Warning", "ignore:Corrupt EXIF data")
def test_damaged_files_are_errors_of_one_galaxy(folder, tmp_path, name):
    (tmp_path / name).write_bytes((folder / name).read_bytes()[:40])
    with pytest.raises(ImageError, match=name):
        READERS[name](tmp_path / name)


def test_a_closed_file_is_of_one_galaxy_and_a_closed_folder_of_all(folder, monkeypatch):
    break_disk(monkeypatch, PermissionError(errno.EACCES, "Permission denied"))
    with pytest.raises(ImageError, match=r"galaxy\.png: no permission to read it"):
        read_image(folder / "galaxy.png")
    monkeypatch.setattr(os.path, "lexists", lambda path: False)
    with pytest.raises(PermissionError, match=r"galaxy\.png"):
        read_image(folder / "galaxy.png")
