"""The compiled network of a run. What OpenVINO needs is kept, so that later predictions do not import TensorFlow.

The network that was converted for OpenVINO is one file in the folder `compiled` of the run, a zip archive without
compression: the network as OpenVINO's XML and weights, and a JSON object with all that it was made of. A file that was
made of something else, or that is damaged, is made again.
"""

import hashlib
import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from zipfile import ZIP_STORED, BadZipFile, ZipFile

import numpy as np
from platformdirs import user_cache_path

from zoobot3d_tf import models
from zoobot3d_tf.files import sha256_of, whole_file
from zoobot3d_tf.inference.engine import CompiledFunction, openvino_function, tf_function, to_openvino
from zoobot3d_tf.models.model_folder import CONFIG_NAME
from zoobot3d_tf.progress import duration
from zoobot3d_tf.runs.run_folder import SHIPPED_FOLDER, TrainedRun
from zoobot3d_tf.version import __version__

if TYPE_CHECKING:
    import openvino

COMPILED_NAME = "compiled"
"""Name of the folder of converted networks, in the run folder or in the user's cache."""
# Packages that convert the network.
_PACKAGES = ("openvino", "tensorflow", "keras")
_MADE_OF, _GRAPH, _WEIGHTS = "made_of.json", "network.xml", "network.bin"

log = logging.getLogger(__name__)


def compile_network(
    run: TrainedRun, function: Mapping[str, Any], trace: Callable[[], Any], engine: str, precision: str
) -> CompiledFunction:
    """Compile a function of the network of a run. With OpenVINO, the network is converted only once.

    Args:
        run: run folder.
        function: what the function computes, and its sizes, as values that JSON can hold. Another function of the same
            run must differ here.
        trace: loads the weights and traces the function as a TensorFlow graph. With OpenVINO, it is only called if the
            function was not converted before.
        engine: engine that runs the network, "tf" or "openvino".
        precision: precision of the engine, "f32", or "bf16" with OpenVINO.

    Raises:
        ValueError: the weights do not exist or do not fit the configuration of the run.
    """
    start = time.monotonic()
    if engine == "tf":
        log.info("loading the model %s; TensorFlow needs half a minute or more", run.folder.name)
        compiled = tf_function(trace())
    else:
        compiled = openvino_function(_openvino_network(run, function, trace), precision)
    log.info("the model is loaded, which took %s", duration(time.monotonic() - start))
    return replace(compiled, run=_timing_first_call(compiled.run))


def _timing_first_call(run: Callable[..., list[np.ndarray]]) -> Callable[..., list[np.ndarray]]:
    """Let a function say how long its first call took. Threads may call it at once."""
    firsts = iter([True])

    def timed(*inputs: np.ndarray) -> list[np.ndarray]:
        is_first, start = next(firsts, False), time.monotonic()
        outputs = run(*inputs)
        if is_first:
            log.info("the first batch, of %d galaxies, took %s", len(inputs[0]), duration(time.monotonic() - start))
        return outputs

    return timed


def _openvino_network(run: TrainedRun, function: Mapping[str, Any], trace: Callable[[], Any]) -> "openvino.Model":
    import openvino

    made_of = _ingredients(run, function)
    name = hashlib.sha256(json.dumps(function).encode()).hexdigest()[:16] + ".zip"
    cache = user_cache_path("zoobot3d_tf") / COMPILED_NAME / made_of["weights_sha256"]
    # The shipped weights lie among installed files.
    places = [cache] if run.folder == SHIPPED_FOLDER else [run.folder / COMPILED_NAME, cache]
    core = openvino.Core()
    for place in places:
        if (network := _read(place / name, made_of)) is not None:
            log.info("loading the model %s", run.folder.name)
            return core.read_model(*network)
    log.info("loading the model %s, and converting it for OpenVINO, once per run; this takes a minute", run.folder.name)
    converted = to_openvino(trace())
    try:
        network = _serialise(converted)
        _keep([place / name for place in places], made_of, network)
    except (OSError, RuntimeError) as error:  # OpenVINO raises the latter
        log.warning("the converted network cannot be kept, so the next prediction converts it again: %s", error)
        return converted
    # Also the first time, so that the first predictions are equal to the later ones.
    return core.read_model(*network)


def _ingredients(run: TrainedRun, function: Mapping[str, Any]) -> dict[str, Any]:
    """All that a converted network depends on, as it is after writing to JSON and reading back."""
    # The code too: a developer who changes the model must not see the numbers of before.
    sources = [*sorted(Path(str(models.__file__)).parent.glob("*.py")), Path(__file__).with_name("engine.py")]
    ingredients = {
        "weights_sha256": sha256_of(run.weights_loc),
        "config_sha256": sha256_of(run.folder / CONFIG_NAME),
        "function": dict(function),
        "engine": "openvino",
        "versions": {"zoobot3d_tf": __version__} | {package: version(package) for package in _PACKAGES},
        "code_sha256": hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest(),
    }
    return json.loads(json.dumps(ingredients))


def _read(path: Path, made_of: Mapping[str, Any]) -> tuple[bytes, bytes] | None:
    """Read a converted network, XML and weights; None if there is none that was made of this."""
    try:
        with ZipFile(path) as file:
            if any(item.compress_type != ZIP_STORED for item in file.infolist()):  # it might inflate without end
                raise BadZipFile("it is compressed")
            if json.loads(file.read(_MADE_OF)) == made_of:
                return file.read(_GRAPH), file.read(_WEIGHTS)
        log.info("%s: was made from other weights, or with other versions of the packages", path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except Exception as error:  # damaged files raise errors of many types
        log.warning("%s: cannot be used: %s", path, error)
    return None


def _serialise(network: "openvino.Model") -> tuple[bytes, bytes]:
    import openvino

    with TemporaryDirectory() as folder:
        graph, weights = Path(folder, _GRAPH), Path(folder, _WEIGHTS)
        openvino.serialize(network, graph, weights)
        return graph.read_bytes(), weights.read_bytes()


def _keep(paths: list[Path], made_of: Mapping[str, Any], network: tuple[bytes, bytes]) -> None:
    """Write a converted network to the first of the paths that can be written.

    Raises:
        OSError: none of them can be written.
    """
    for path in paths:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with whole_file(path, shared=True) as partial, ZipFile(partial, "w") as file:
                for name, content in zip((_GRAPH, _WEIGHTS), network, strict=True):
                    file.writestr(name, content)
                file.writestr(_MADE_OF, json.dumps(made_of, indent=1))
            return
        except OSError:
            if path == paths[-1]:
                raise
