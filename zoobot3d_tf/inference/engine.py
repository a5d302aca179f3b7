"""Engines that run a network: TensorFlow and OpenVINO. Both are imported only where they are used."""

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from zoobot3d_tf.extras import is_installed, require
from zoobot3d_tf.gpu import has_gpu
from zoobot3d_tf.machine import available_cores

if TYPE_CHECKING:
    import openvino

# More images do not fit into the cache of a CPU: at 224 px, a galaxy takes twice as long in steps of 64 as in steps
# of 4.
CPU_STEP = 4
# On a GPU one call at a time, of all networks, since its memory may not be large enough for several.
_GPU_TURN = threading.Lock()


@dataclass(frozen=True)
class CompiledFunction:
    """A function of arrays, which several threads may call at once.

    Attributes:
        run: the function, from the input arrays to the list of the output arrays.
        input_shapes: shape of each input.
        output_shapes: shape of each output.
    """

    run: Callable[..., list[np.ndarray]]
    input_shapes: tuple[tuple[int, ...], ...]
    output_shapes: tuple[tuple[int, ...], ...]


def choose_engine(engine: str) -> tuple[str, str]:
    """Choose the engine that runs the network on this machine, and its precision.

    Args:
        engine: "tf", "openvino", or "auto", which takes OpenVINO if it is installed and there is no GPU.

    Returns:
        The engine, "tf" or "openvino", and its precision, "f32" or "bf16". OpenVINO uses bfloat16 if the processor
        supports it.

    Raises:
        ImportError: OpenVINO is requested but not installed.
    """
    if engine == "auto":
        engine = "openvino" if is_installed("openvino") and not has_gpu() else "tf"
    if engine == "tf":
        return engine, "f32"
    require("openvino", "engine openvino")
    import openvino

    capabilities = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return engine, "bf16" if "BF16" in capabilities else "f32"


def step_size(engine: str, batch_size: int) -> int:
    """Number of galaxies per call: `batch_size` on a GPU, at most `CPU_STEP` on a CPU."""
    return batch_size if engine == "tf" and has_gpu() else min(batch_size, CPU_STEP)


def tf_function(traced: Any) -> CompiledFunction:
    """Compile a network for TensorFlow.

    Args:
        traced: concrete function, as `tf.function.get_concrete_function` returns it. Its weights become constants.
    """
    import tensorflow as tf

    # Constant weights save a CPU a tenth of the time. No public function makes them.
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    frozen = convert_variables_to_constants_v2(traced)
    turn: AbstractContextManager[Any] = _GPU_TURN if has_gpu() else nullcontext()

    def run(*inputs: np.ndarray) -> list[np.ndarray]:
        with turn:
            return [output.numpy() for output in frozen(*(tf.constant(array) for array in inputs))]

    arguments = frozen.inputs[: len(frozen.inputs) - len(frozen.captured_inputs)]
    inputs, outputs = (tuple(tuple(tensor.shape) for tensor in ends) for ends in (arguments, frozen.outputs))
    return CompiledFunction(run, inputs, outputs)


def to_openvino(traced: Any) -> "openvino.Model":
    """Convert a network to OpenVINO.

    Args:
        traced: concrete function, as for `tf_function`.
    """
    import openvino

    converted = openvino.convert_model(traced)
    # The traced graph also outputs inner values of each activation, for gradients. Only the requested outputs are
    # computed, which takes a third of the time.
    results = {name: result for result in converted.get_results() for name in result.get_output_tensor(0).get_names()}
    return openvino.Model([results[output.name] for output in traced.outputs], converted.get_parameters())


def openvino_function(network: "openvino.Model", precision: str) -> CompiledFunction:
    """Compile a network for OpenVINO on the CPU.

    Args:
        network: network with fixed shapes.
        precision: "f32" or "bf16".
    """
    import openvino

    cores = available_cores()
    # One stream per core, each kept busy by a thread.
    compiled = openvino.Core().compile_model(
        network, "CPU", {"NUM_STREAMS": cores, "INFERENCE_NUM_THREADS": cores, "INFERENCE_PRECISION_HINT": precision}
    )
    of_thread = threading.local()

    def run(*inputs: np.ndarray) -> list[np.ndarray]:
        if not hasattr(of_thread, "request"):
            of_thread.request = compiled.create_infer_request()
        # Copies, since the next call of the request overwrites its outputs.
        return [np.array(output) for output in of_thread.request.infer(list(inputs)).values()]

    inputs, outputs = (tuple(tuple(end.shape) for end in ends) for ends in (compiled.inputs, compiled.outputs))
    return CompiledFunction(run, inputs, outputs)
