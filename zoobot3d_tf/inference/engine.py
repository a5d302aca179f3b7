"""The engine that runs a traced network: TensorFlow or OpenVINO."""

import threading
from collections.abc import Callable
from contextlib import nullcontext
from importlib.util import find_spec

import numpy as np
import tensorflow as tf

# No public function makes a graph whose weights are constants, which saves a CPU about a tenth of the work.
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from zoobot3d_tf.machine import available_cores

# More would not fit a CPU's cache: with 64 galaxies at 224 px each takes twice as long as with 4.
CPU_STEP = 4


def has_gpu() -> bool:
    """Whether TensorFlow has a GPU to run on."""
    return bool(tf.config.list_physical_devices("GPU"))


def choose_engine(engine: str) -> tuple[str, str]:
    """What runs the network on this machine, and how exactly it computes.

    Args:
        engine: "tf", "openvino", or "auto": OpenVINO where it is installed and there is no GPU.

    Returns:
        The engine, "tf" or "openvino", and its precision, "f32" or "bf16": OpenVINO takes bfloat16 where the processor
        has it.

    Raises:
        ImportError: OpenVINO is wanted but not installed.
    """
    if engine == "auto":
        engine = "openvino" if find_spec("openvino") and not has_gpu() else "tf"
    if engine == "tf":
        return engine, "f32"
    if not find_spec("openvino"):
        raise ImportError("OpenVINO is not installed: pip install 'zoobot3d_tf[fast]', or leave out --engine openvino")
    import openvino

    capabilities = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return engine, "bf16" if "BF16" in capabilities else "f32"


def step_size(engine: str, batch_size: int) -> int:
    """Galaxies a call: those that a GPU takes at once; on a CPU no more than its cache holds."""
    return batch_size if engine == "tf" and has_gpu() else min(batch_size, CPU_STEP)


def compile_function(traced, engine: str, precision: str) -> Callable[..., list[np.ndarray]]:
    """A concrete function of TensorFlow as a fast one from arrays to a list of arrays, which threads may share.

    Args:
        traced: as `tf.function.get_concrete_function` gives it; its weights become constants.
        engine: "tf" or "openvino".
        precision: "f32", or "bf16" with OpenVINO.
    """
    return _openvino_function(traced, precision) if engine == "openvino" else _tf_function(traced)


def _tf_function(traced: Callable) -> Callable[..., list[np.ndarray]]:
    frozen = convert_variables_to_constants_v2(traced)
    # One call at a time on a GPU, whose memory need not hold one a thread.
    turn = threading.Lock() if has_gpu() else nullcontext()

    def run(*inputs: np.ndarray) -> list[np.ndarray]:
        with turn:
            return [output.numpy() for output in frozen(*(tf.constant(array) for array in inputs))]

    return run


def _openvino_function(traced, precision: str) -> Callable[..., list[np.ndarray]]:
    """The traced graph compiled by OpenVINO: a stream a core, which as many threads keep busy."""
    import openvino

    converted = openvino.convert_model(traced)
    # The traced graph also holds the inside of each activation as an output, for gradients: computing only what is
    # asked for takes a third of the time.
    results = {name: result for result in converted.get_results() for name in result.get_output_tensor(0).get_names()}
    wanted = [results[output.name] for output in traced.outputs]
    cores = available_cores()
    compiled = openvino.Core().compile_model(
        openvino.Model(wanted, converted.get_parameters()),
        "CPU",
        {"NUM_STREAMS": cores, "INFERENCE_NUM_THREADS": cores, "INFERENCE_PRECISION_HINT": precision},
    )
    of_thread = threading.local()

    def run(*inputs: np.ndarray) -> list[np.ndarray]:
        if not hasattr(of_thread, "request"):
            of_thread.request = compiled.create_infer_request()
        # A copy: the request writes its next outputs to the same place.
        return [np.array(output) for output in of_thread.request.infer(list(inputs)).values()]

    return run
