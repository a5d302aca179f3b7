"""Whether there is a GPU: without a driver, the answer needs no TensorFlow, and is told once."""

import ctypes
import sys

import pytest

from zoobot3d_tf import gpu


@pytest.fixture
def no_driver(monkeypatch, tmp_path):
    def refuse(name):
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", refuse)
    monkeypatch.setattr(gpu, "_AMD_DEVICE", str(tmp_path / "kfd"))
    monkeypatch.setattr(gpu, "is_installed", lambda package: False)
    gpu.has_gpu.cache_clear()
    yield
    gpu.has_gpu.cache_clear()


@pytest.mark.usefixtures("no_driver")
@pytest.mark.parametrize(("cores", "words"), [(1, "computing on 1 core"), (8, "computing on 8 cores")])
def test_without_a_driver_tensorflow_is_not_asked_and_the_user_is_told_once(monkeypatch, caplog, cores, words):
    caplog.set_level("INFO")
    monkeypatch.setattr(gpu, "available_cores", lambda: cores)
    monkeypatch.setitem(sys.modules, "tensorflow", None)  # an import would fail
    assert not gpu.has_gpu()
    assert not gpu.has_gpu()
    assert [record.getMessage() for record in caplog.records] == [f"no GPU found, {words}"]


@pytest.mark.usefixtures("no_driver")
def test_each_kind_of_gpu_is_noticed(monkeypatch, tmp_path):
    assert not gpu.may_have_gpu()
    monkeypatch.setattr(gpu, "is_installed", lambda package: package == "tensorflow-plugins")
    assert gpu.may_have_gpu()
    monkeypatch.setattr(gpu, "is_installed", lambda package: False)
    (tmp_path / "kfd").touch()
    assert gpu.may_have_gpu()
    (tmp_path / "kfd").unlink()
    monkeypatch.setattr(ctypes, "CDLL", lambda name: name)
    assert gpu.may_have_gpu()
