"""Export of trained models to the formats of other programs."""

import json
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import ZipFile

from zoobot3d_tf.extras import require
from zoobot3d_tf.files import LOCK_NAME, PathLike, check_output, move_into_place, path_of, sha256_of, workspace
from zoobot3d_tf.runs.framed_model import build_framed_model
from zoobot3d_tf.runs.run_folder import TrainedRun, read_run
from zoobot3d_tf.version import __version__

if TYPE_CHECKING:
    import keras

FORMATS = {"keras": ".keras", "saved_model": "", "onnx": ".onnx", "openvino": ".xml", "litert": ".tflite"}
"""Suffix of the files of each format; a SavedModel is a folder."""
_DESCRIPTION_NAME = "description.json"
_FRAMED = "the model itself crops and resizes images of any height and width; masks have their pixel grid"
_ANY_LENGTH = ("galaxies", "H", "W", "channels")
# Packages that write a format, besides TensorFlow and Keras.
_CONVERTERS = {"onnx": "tf2onnx", "openvino": "openvino"}

_VOTES = (
    "concentrations of one Dirichlet distribution per question, 1 to 101; the expected vote fraction of an answer is "
    "its concentration divided by the sum of the concentrations of its question"
)
_MASKS = {
    "fraction": "fraction of volunteers who enclose the pixel, 0 to 1",
    "beta-binomial": (
        "concentrations of enclosing and of not enclosing the pixel, 1 to 101; the expected fraction of volunteers is "
        "the first divided by the sum"
    ),
}
_LABELS = {
    "binary": 'probability of "1"',
    "multiclass": "probability of each class, in the order of classes",
    "regression": "value, in its own units",
}


def export_model(run: PathLike, path: PathLike, format: str, framing: bool = False) -> Path:
    """Write the model of a run in the format of another program.

    The input of the model is `image`, float32 (galaxies, H, W, 3) in 0..255, for any number of galaxies. The outputs
    are those of `build_model`, by name. Dropout is off. The file `<path>.json` beside the model describes the size and
    the framing of images, the meaning and the order of the outputs, the decision tree, and the SHA-256 of the weights,
    which predictions record too.

    Args:
        run: run folder of a finished run, as `read_run` takes it.
        path: path of the file to write, with the suffix of its format in `FORMATS`. An existing file is replaced. For
            "saved_model", path of a folder that does not exist. The weights of an OpenVINO model are a second file,
            with the suffix `.bin`.
        format: format to write, one of `FORMATS`.
        framing: put the crop and resizing of the run in front of the network. The model then takes images of any height
            and width, and masks have their pixel grid; see `framed_model.build_framed_model`.

    Returns:
        Absolute path of the file or folder.

    Raises:
        ValueError: the format is unknown, the suffix does not fit it, the run is unfinished or damaged, or ONNX cannot
            hold the encoder of the run with framing.
        OSError: `run` is not a run folder, or `path` cannot be written.
        ImportError: the converter of the format is not installed.
    """
    path = path_of(path).absolute()
    _check(path, format)
    trained = read_run(run)
    model = trained.load_model()
    if framing:
        model = build_framed_model(model, trained.framing, trained.model.masks)
    with workspace(path) as folder:
        with _naming_file(path):
            _write(model, folder / path.name, format)
        description = json.dumps(_describe(trained, model, format, framing), indent=1, ensure_ascii=False) + "\n"
        _add_description(folder / path.name, format, description)
        (folder / f"{path.name}.json").write_text(description, encoding="utf-8")
        # The model appears last, when its description and its weights are complete.
        for name in sorted(os.listdir(folder), key=lambda name: name == path.name):
            if name != LOCK_NAME:
                move_into_place(folder / name, path.with_name(name))
    return path


def _check(path: Path, format: str) -> None:
    """Check format, path and converter, before the model is loaded."""
    if format not in FORMATS:
        raise ValueError(f"format must be one of {', '.join(FORMATS)}; received {format!r}")
    suffix = FORMATS[format]
    if not suffix and path.exists():
        raise FileExistsError(f"{path}: already exists; remove it, or give the model another name")
    check_output(path, "model", (suffix,) if suffix else ())
    converter = _CONVERTERS.get(format)
    if converter:
        require(converter, f"format {format}")


@contextmanager
def _naming_file(path: Path) -> Iterator[None]:
    """Convert errors of the writers of TensorFlow and OpenVINO, such as those of a full disk, to an OSError."""
    import tensorflow as tf

    try:
        yield
    except (RuntimeError, tf.errors.OpError) as error:
        reason = " ".join(str(error).split())
        raise OSError(f"{path}: cannot be written, perhaps because the disk is full: {reason}") from error


def _write(model: "keras.Model", path: Path, format: str) -> None:
    if format == "keras":
        model.save(path)
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # NumPy warns of a patch of tf2onnx in Keras
        keras_format = "tf_saved_model" if format == "saved_model" else format
        # Keras needs the signature to convert a model that was never called.
        model.export(str(path), format=keras_format, input_signature=[model.input], verbose=False)
    if format == "onnx":
        _drop_unused_inputs(path, model.input.name)


def _drop_unused_inputs(path: Path, used: str) -> None:
    """Remove inputs that nothing reads: constants of normalisation layers, which the converter leaves there.

    Raises:
        ValueError: such an input is read, so that its constant is lost. This happens to the normalisation of Keras'
            EfficientNet behind the framing.
    """
    import onnx

    model = onnx.load(path)
    inputs = [value for value in model.graph.input if value.name == used]
    read = {name for node in model.graph.node for name in node.input}
    if any(value.name in read for value in model.graph.input if value.name != used):
        raise ValueError(
            "format onnx cannot hold this encoder with framing; omit framing, or choose saved_model, openvino or litert"
        )
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    onnx.checker.check_model(model)
    onnx.save(model, path)


def _add_description(path: Path, format: str, description: str) -> None:
    """Write the description into the file too, if its format has a place for it."""
    if format == "keras":
        with ZipFile(path, "a") as archive:
            archive.writestr(_DESCRIPTION_NAME, description)
    elif format == "onnx":
        import onnx

        model = onnx.load(path)
        onnx.helper.set_model_props(model, {"description": description})
        onnx.save(model, path)


def _describe(run: TrainedRun, model: "keras.Model", format: str, framing: bool) -> dict[str, Any]:
    """Content of the JSON file beside the model."""
    schema, label = run.model.vote_schema, run.model.label
    outputs: dict[str, dict[str, Any]] = {
        name: {"shape": _axes(output), "dtype": output.dtype} for name, output in model.output.items()
    }
    if schema is not None:
        outputs["votes"] |= {"meaning": _VOTES, "answers": schema.label_cols}
    if label is not None:
        outputs["label"] |= {"meaning": _LABELS[label.kind], **label.to_dict()}
    for name in run.model.masks:
        outputs[name] |= {"meaning": _MASKS["fraction" if framing else run.model.mask_head]}
    packages = ("tensorflow", "keras", *([_CONVERTERS[format]] if format in _CONVERTERS else []))
    return {
        "format": format,
        "input": {
            "name": model.input.name,
            "shape": _axes(model.input),
            "dtype": "float32",
            "range": [0, 255],
            "axes": "galaxy; row, from the top; column; red, green, blue",
        },
        "framing": asdict(run.framing) | {"how": _FRAMED if framing else run.framing_in_words},
        "stretch": run.stretch,
        "outputs": outputs,
        "schema": schema and schema.to_dict(),
        "weights_sha256": sha256_of(run.weights_loc),
        "trained_with": dict(run.versions),
        "exported_with": {"zoobot3d_tf": __version__} | {name: version(name) for name in packages},
    }


def _axes(tensor: Any) -> list[str | int]:
    """Shape of a tensor, with the names of axes of any length."""
    return [size if size is not None else name for size, name in zip(tensor.shape, _ANY_LENGTH, strict=False)]
