"""The trained network as predictions run it: one fast function from pixels to concentrations, masks and labels."""

import hashlib
import threading
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from importlib.util import find_spec

import keras
import numpy as np
import tensorflow as tf

# No public function makes a graph whose weights are constants, which saves a CPU about a tenth of the work.
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from zoobot3d_tf.machine import available_cores
from zoobot3d_tf.models.heads import POOLED_HEADS, mask_fraction
from zoobot3d_tf.runs.run_folder import TrainedRun

# More would not fit a CPU's cache: with 64 galaxies at 224 px each takes twice as long as with 4.
CPU_STEP = 4


class Network:
    """A trained model: images in, concentrations, mask fractions and labels out. Threads may share it.

    The encoder (and the decoder, where masks are wanted) runs once a galaxy, the heads of votes and of the label once a
    sample. These begin with their dropout, a factor for each feature, which is drawn here from the galaxy's id:
    predictions depend neither on the batch nor on the other galaxies. With one sample there is no dropout.

    Attributes:
        step: galaxies a call.
    """

    def __init__(
        self,
        run: TrainedRun,
        masks: Sequence[str],
        n_samples: int,
        batch_size: int,
        seed: int,
        engine: str,
        precision: str,
    ) -> None:
        """Loads the weights.

        Args:
            run: the run folder.
            masks: which masks to predict; without any, the decoder does not run.
            n_samples: samples of the dropout.
            batch_size: galaxies a call at most; a CPU takes fewer.
            seed: of the dropout.
            engine: "tf" or "openvino".
            precision: "f32", or "bf16" with OpenVINO.
        """
        self.step = step_size(engine, batch_size)
        self._rate, self._seed = run.model.dropout, seed
        self._outputs = (*masks, *(name for name in POOLED_HEADS if name in run.model.tasks))
        traced, self._dropout_shape = _trace(run.load_model(), self._outputs, self.step, n_samples)
        self._function = compile_function(traced, engine, precision)

    def __call__(self, images: np.ndarray, id_strs: Sequence[str]) -> dict[str, np.ndarray]:
        """Predicts one step of galaxies.

        Args:
            images: uint8 (step, H, W, 3), 0..255.
            id_strs: their ids; where there are fewer, the last images are padding.

        Returns:
            `votes`: concentrations, float32 (step, answers, samples), if the model has votes; `label`, likewise, (step,
            columns of `Label.outputs`, samples); and for each mask the share of volunteers, float32 (step, H, W).
        """
        inputs = [images]
        if self._dropout_shape is not None:
            factors = np.ones((self.step, *self._dropout_shape), np.float32)
            if self._dropout_shape[0] > 1:
                for i, id_str in enumerate(id_strs):
                    factors[i] = dropout_factors(id_str, self._dropout_shape, self._rate, self._seed)
            inputs.append(factors)
        return dict(zip(self._outputs, self._function(*inputs), strict=True))


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


def dropout_factors(id_str: str, shape: tuple[int, int], rate: float, seed: int) -> np.ndarray:
    """What dropout multiplies the pooled features of one galaxy by: 0, or 1 / (1 - rate) where they are kept.

    Args:
        id_str: the galaxy; the same one always draws the same.
        shape: (samples, features); more samples leave the first ones as they are.
        rate: share of features dropped.
        seed: another one draws anew.

    Returns:
        float32 (samples, features).
    """
    key = int.from_bytes(hashlib.sha256(id_str.encode()).digest()[:8], "big")
    kept = np.random.default_rng([seed, key]).random(shape, np.float32) >= rate
    return kept.astype(np.float32) / np.float32(1 - rate)


def _trace(
    model: keras.Model, outputs: Sequence[str], step: int, n_samples: int
) -> tuple[Callable, tuple[int, int] | None]:
    """The graph (images, dropout factors) -> outputs, and the factors' (samples, features); only masks, no factors."""
    layers = {name: model.output[name] for name in outputs if name not in POOLED_HEADS}
    is_pooled = len(layers) < len(outputs)
    if is_pooled:
        layers["features"] = model.get_layer("features").output
    trunk = keras.Model(model.input, layers)

    def samples_of(head, features, factors):
        samples = tf.reshape(features[:, None] * factors, (-1, features.shape[-1]))
        return tf.transpose(tf.reshape(head(samples, training=False), (step, n_samples, -1)), (0, 2, 1))

    def predict(images, *factors):
        results = trunk(tf.cast(images, tf.float32), training=False)
        return [
            samples_of(model.get_layer(POOLED_HEADS[name]), results["features"], *factors)
            if name in POOLED_HEADS
            else mask_fraction(results[name])[..., 0]
            for name in outputs
        ]

    inputs = [tf.TensorSpec((step, *model.input.shape[1:]), tf.uint8)]
    dropout_shape = None
    if is_pooled:
        dropout_shape = (n_samples, layers["features"].shape[-1])
        inputs.append(tf.TensorSpec((step, *dropout_shape), tf.float32))
    return tf.function(predict, autograph=False).get_concrete_function(*inputs), dropout_shape


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
