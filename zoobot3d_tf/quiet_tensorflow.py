"""Keep the start-up messages of TensorFlow's C++ code from users.

They tell of CPU instructions and of missing drivers. No setting turns them off: TensorFlow writes them before it reads
`TF_CPP_MIN_LOG_LEVEL`. They are filtered from the standard error while TensorFlow is imported; all other lines pass.
"""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache, partial
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

LOG_LEVEL = "TF_CPP_MIN_LOG_LEVEL"
"""Environment variable with the lowest level of messages to show: 0 for information, 1 for warnings, 2 for errors."""
_ERRORS = "2"

_NOISE = (
    "All log messages before absl::InitializeLog() is called are written to STDERR",
    "oneDNN custom operations are on",
    "This TensorFlow binary is optimized to use available CPU instructions",
    "To enable the following instructions",
)
# If there may be a GPU, these say why it is not used.
_NOISE_WITHOUT_GPU = ("Could not find cuda drivers on your machine", "failed call to cuInit")
# An error of level E that is none: written once per process, on processors with AVX-512, too.
_REMARK = "oneDNN supports DT_INT32 only on platforms with AVX-512"
_STDERR = 2
_SECONDS_TO_END = 5


def quiet_tensorflow() -> None:
    """Let the next import of TensorFlow be quiet. Does nothing if the user has set `LOG_LEVEL` to 0 or 1."""
    if os.environ.setdefault(LOG_LEVEL, _ERRORS) >= _ERRORS and "tensorflow" not in sys.modules:
        sys.meta_path.insert(0, _QuietFinder())


@cache
def drop_onednn_remark() -> None:
    """Let TensorFlow write its remark on oneDNN and whole numbers now, where it is filtered, and not in training.

    TensorFlow writes it once per process, when it first transposes whole numbers. To filter the standard error during
    the whole training would disturb progress bars, and a higher `LOG_LEVEL` would hide real errors. This initialises
    the devices of TensorFlow. Does nothing if the user has set `LOG_LEVEL` to 0 or 1.
    """
    import tensorflow as tf

    if os.environ.get(LOG_LEVEL, _ERRORS) >= _ERRORS:
        with _filtered_stderr([_REMARK]), tf.device("CPU"):
            tf.transpose(tf.zeros((1, 1), tf.int32))


class _QuietFinder(MetaPathFinder):
    """Finds TensorFlow as Python does, and has it executed without its start-up messages."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != "tensorflow":
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is None or spec.loader is None or spec.origin is None:  # a folder of this name is no TensorFlow
            return spec
        execute = spec.loader.exec_module
        spec.loader.exec_module = partial(_execute_quietly, execute)  # type: ignore[method-assign]
        return spec


def _execute_quietly(execute: Callable[[ModuleType], None], tensorflow: ModuleType) -> None:
    from zoobot3d_tf.gpu import may_have_gpu

    without_gpu = not may_have_gpu()
    with _filtered_stderr(_NOISE + (_NOISE_WITHOUT_GPU if without_gpu else ())):
        execute(tensorflow)
        if without_gpu:
            tensorflow.config.list_physical_devices()  # TensorFlow looks for a GPU now, not later


@contextmanager
def _filtered_stderr(noise: Sequence[str]) -> Iterator[None]:
    """Drop the lines with any of these texts that the block writes to the standard error, from C++ too.

    Another process filters them, so that the last words of a process that TensorFlow aborts are still seen.
    """
    # Imported here: every import of the package passes through this module.
    from shutil import which
    from subprocess import Popen, TimeoutExpired

    grep = which("grep")
    if grep is None or sys.stderr is None:
        yield
        return
    original = os.dup(_STDERR)
    outlet, inlet = os.pipe()
    texts = [option for text in noise for option in ("-e", text)]
    filtering = Popen([grep, "--text", "--invert-match", "--fixed-strings", *texts], stdin=outlet, stdout=original)
    os.close(outlet)
    os.dup2(inlet, _STDERR)
    os.close(inlet)
    try:
        yield
    finally:
        os.dup2(original, _STDERR)
        os.close(original)
        with suppress(TimeoutExpired):  # a process that was started during the block may still hold the pipe
            filtering.wait(_SECONDS_TO_END)
