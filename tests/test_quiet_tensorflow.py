"""TensorFlow's start-up messages do not reach users; its errors do."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from prediction_runs import draw_galaxies

from zoobot3d_tf.gpu import may_have_gpu

ROOT = Path(__file__).resolve().parents[1]
NOISE = ("oneDNN", "cuda drivers", "cuInit", "absl::InitializeLog", "available CPU instructions", "To enable the")
# What TensorFlow 2.21 writes on a machine without a GPU, and two lines that must be seen.
FAKE = '''
import os
os.write(2, b"""WARNING: All log messages before absl::InitializeLog() is called are written to STDERR
I0000 00:00:1.2    7 port.cc:153] oneDNN custom operations are on. You may see slightly different numerical results.
I0000 00:00:1.2    7 cudart_stub.cc:31] Could not find cuda drivers on your machine, GPU will not be used.
I0000 00:00:1.3    7 cpu_feature_guard.cc:227] This TensorFlow binary is optimized to use available CPU instructions in
To enable the following instructions: AVX2 FMA, in other operations, rebuild TensorFlow with the appropriate flags.
E0000 00:00:1.4    7 allocator.cc:9] out of memory \\xff
""")
class config:
    def list_physical_devices():
        os.write(2, b"E0000 00:00:2.0 7 cuda_platform.cc:52] failed call to cuInit: INTERNAL: CUDA error\\n")
if os.environ.get("ABORT"):
    os.write(2, b"F0000 00:00:2.1 7 cpu.cc:1] compiled to use AVX instructions, but these aren't available\\n")
    os.abort()
'''


@pytest.fixture
def imported(tmp_path):
    """Function that imports a fake TensorFlow in a new process, and returns the process."""
    (tmp_path / "tensorflow").mkdir()
    (tmp_path / "tensorflow" / "__init__.py").write_text(FAKE)

    def run(first="import zoobot3d_tf", **variables):
        code = f"{first}; import tensorflow, os; os.write(2, b'after the import: oneDNN\\n')"
        # Without the variable that this package has set here.
        environment = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
        environment |= {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"} | variables
        return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True)

    return run


def test_start_up_messages_are_dropped_and_errors_are_not(imported):
    lines = imported().stderr.splitlines()
    kept = [line for line in lines if b"cuda" not in line] if may_have_gpu() else lines
    assert kept == [b"E0000 00:00:1.4    7 allocator.cc:9] out of memory \xff", b"after the import: oneDNN"]


def test_the_last_words_of_an_aborted_process_are_seen(imported):
    process = imported(ABORT="1")
    assert process.returncode < 0
    assert b"AVX instructions, but these aren't available" in process.stderr
    assert b"oneDNN" not in process.stderr


@pytest.mark.parametrize("first", ["import zoobot3d_tf", "import sys"])
def test_users_can_see_the_messages(imported, first):
    assert b"oneDNN custom operations" in imported(first, TF_CPP_MIN_LOG_LEVEL="0").stderr


def stderr_of(*arguments):
    command = [sys.executable, "-m", "zoobot3d_tf", *map(str, arguments)]
    environment = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stderr


@pytest.mark.slow
def test_worker_processes_are_quiet(survey, tmp_path):
    shards = ("--labelled-catalog", survey, "--shard-dir", tmp_path / "shards", "--schema", "decals")
    written = stderr_of("shards", *shards, "--img-size", 64, "--eval-size", 5, "--workers", 2)
    assert not [line for line in written.splitlines() if any(noise in line for noise in NOISE)]


@pytest.mark.slow
def test_predictions_with_tensorflow_are_quiet_and_say_once_that_there_is_no_gpu(small_model, tmp_path):
    images = draw_galaxies(tmp_path / "images", 3)
    where = (images, "--checkpoint-dir", small_model.run.folder, "--save-loc", tmp_path / "table.csv")
    written = stderr_of("predict", *where, "--engine", "tf")
    if may_have_gpu():
        assert "oneDNN" not in written
    else:
        assert not [line for line in written.splitlines() if any(noise in line for noise in NOISE)]
        assert written.count("no GPU found, computing on") == 1
