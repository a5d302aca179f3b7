"""Weights out: in the formats of other programs, with what their users must know beside them; and packed small."""

import json
import warnings
from dataclasses import asdict
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from zoobot3d_tf import __version__
from zoobot3d_tf.files import PathLike, check_output, sha256_of, write_atomically
from zoobot3d_tf.runs.run_folder import TrainedRun, framing_in_words, read_run

# The suffix that each format goes by; a SavedModel is a folder.
FORMATS = {"keras": ".keras", "saved_model": "", "onnx": ".onnx", "openvino": ".xml", "litert": ".tflite"}
# What writes them besides TensorFlow and Keras.
_CONVERTERS = {"onnx": "tf2onnx", "openvino": "openvino"}

_VOTES = (
    "concentrations of one Dirichlet distribution a question, 1 to 101; the expected vote fraction of an answer is its "
    "concentration over the sum of those of its question"
)
_MASKS = {
    "fraction": "share of the volunteers who enclose the pixel, 0 to 1",
    "beta-binomial": (
        "concentrations of enclosing and of not enclosing the pixel, 1 to 101; the expected share of volunteers is the "
        "first over the sum"
    ),
}
_LABELS = {
    "binary": 'probability of "1"',
    "multiclass": "probability of each class",
    "regression": "the value, in its own units",
}


def export_model(run: PathLike, path: PathLike, format: str) -> Path:
    """Writes the model of a run for another program.

    It takes `image`, float32 (galaxies, H, W, 3) in 0..255, any number of galaxies at a time, and gives the outputs of
    `build_model` by name. Dropout is off. Of each format Keras's own exporter is used. Beside it stands `<path>.json`
    with the input's size and how to frame an image, the outputs' meaning and order, the decision tree, and the SHA-256
    of the weights, which predictions record too.

    Args:
        run: the run folder.
        path: file to write, with the suffix of its format in `FORMATS`; for "saved_model" a folder. A file that stands
            there is replaced. The weights of an OpenVINO model are a second file, `.bin` in place of `.xml`.
        format: one of `FORMATS`.

    Returns:
        The path.

    Raises:
        ValueError: the format is unknown, the suffix does not fit it, or the run folder cannot be used.
        OSError: there is no run folder, the path cannot be written, or a folder stands there.
        ImportError: the format's converter is not installed.
    """
    path = Path(path).absolute()
    _check(path, format)
    trained = read_run(run)
    model = trained.load_model()
    with TemporaryDirectory(prefix=".partial-", dir=path.parent) as folder:
        partial = Path(folder, path.name)
        _write(model, partial, format)
        description = json.dumps(_describe(trained, model, format), indent=1, ensure_ascii=False) + "\n"
        write_atomically(partial.with_name(f"{path.name}.json"), description)
        for made in Path(folder).iterdir():
            made.replace(path.parent / made.name)
    return path


def _check(path: Path, format: str) -> None:
    """Refuses in words, before anything slow, what cannot be written."""
    if format not in FORMATS:
        raise ValueError(f"format must be one of {', '.join(FORMATS)}; received {format!r}")
    suffix = FORMATS[format]
    if not suffix and path.exists():
        raise FileExistsError(f"{path}: already exists; remove it, or choose another name for the model")
    check_output(path, "model", (suffix,) if suffix else ())
    converter = _CONVERTERS.get(format)
    if converter and not find_spec(converter):
        raise ImportError(f"{converter} is not installed: pip install 'zoobot3d_tf[export]' to write {format}")


def _write(model, path: Path, format: str) -> None:
    """Writes a `keras.Model` in one of `FORMATS`."""
    if format == "keras":
        model.save(path)
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of NumPy, at Keras's own repair of tf2onnx for NumPy 2
        keras_format = "tf_saved_model" if format == "saved_model" else format
        # Without its signature, Keras refuses to make ONNX of a model that was never called.
        model.export(str(path), format=keras_format, input_signature=[model.input], verbose=False)
    if format == "onnx":
        _drop_unused_inputs(path, model.input.name)


def _drop_unused_inputs(path: Path, used: str) -> None:
    """Mends an ONNX model: constants of normalisation layers, folded since, still stand among its inputs."""
    import onnx

    model = onnx.load(path)
    inputs = [value for value in model.graph.input if value.name == used]
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    onnx.checker.check_model(model)  # nothing reads what is gone
    onnx.save(model, path)


def _describe(run: TrainedRun, model, format: str) -> dict[str, Any]:
    """What stands beside the model, fit for JSON."""
    schema, label = run.model.vote_schema, run.model.label
    outputs: dict[str, dict[str, Any]] = {
        name: {"shape": ["galaxies", *output.shape[1:]], "dtype": output.dtype} for name, output in model.output.items()
    }
    if schema is not None:
        outputs["votes"] |= {"meaning": _VOTES, "answers": schema.label_cols}
    if label is not None:
        outputs["label"] |= {"meaning": _LABELS[label.kind], **label.to_dict()}
    for name in run.model.masks:
        outputs[name] |= {"meaning": _MASKS[run.model.mask_head]}
    packages = ("tensorflow", "keras", *([_CONVERTERS[format]] if format in _CONVERTERS else []))
    return {
        "format": format,
        "input": {
            "name": model.input.name,
            "shape": ["galaxies", *model.input.shape[1:]],
            "dtype": "float32",
            "range": [0, 255],
            "axes": "galaxy; row, from the top; column; red, green, blue",
        },
        "framing": asdict(run.framing) | {"how": framing_in_words(run.framing)},
        "stretch": run.stretch,
        "outputs": outputs,
        "schema": schema and schema.to_dict(),
        "weights_sha256": sha256_of(run.weights_loc),
        "trained_with": dict(run.versions),
        "exported_with": {"zoobot3d_tf": __version__} | {name: version(name) for name in packages},
    }
