"""The choice of the engine."""

import pytest

from zoobot3d_tf.inference import engine


def test_auto_takes_openvino_if_installed_and_tensorflow_otherwise(monkeypatch):
    monkeypatch.setattr(engine, "has_gpu", lambda: False)
    monkeypatch.setattr("zoobot3d_tf.extras.find_spec", lambda name: None)
    assert engine.choose_engine("auto") == ("tf", "f32")
    with pytest.raises(ImportError, match=r"pip install 'zoobot3d_tf\[fast\]'"):
        engine.choose_engine("openvino")
    monkeypatch.undo()


def test_auto_takes_openvino_unless_there_is_a_gpu(monkeypatch):
    pytest.importorskip("openvino", reason="the extra [fast] is not installed")
    monkeypatch.setattr(engine, "has_gpu", lambda: False)
    chosen, precision = engine.choose_engine("auto")
    assert chosen == "openvino"
    assert precision in ("f32", "bf16")
    monkeypatch.setattr(engine, "has_gpu", lambda: True)
    assert engine.choose_engine("auto") == ("tf", "f32")


def test_a_gpu_takes_whole_batches_and_a_cpu_a_few_galaxies(monkeypatch):
    monkeypatch.setattr(engine, "has_gpu", lambda: True)
    assert engine.step_size("tf", 64) == 64
    assert engine.step_size("openvino", 64) == engine.CPU_STEP  # OpenVINO runs on the CPU
    monkeypatch.setattr(engine, "has_gpu", lambda: False)
    assert engine.step_size("tf", 64) == engine.CPU_STEP
    assert engine.step_size("tf", 3) == 3
