"""Morphology and segmentation of galaxies, learned together from Galaxy Zoo votes and masks, in TensorFlow and Keras.

    from zoobot3d_tf import load_predictions, predict

    predict("images", "shipped", "predictions.csv")
    predictions = load_predictions("predictions.csv")

- `predict`: predict votes and masks of a folder of images, see `predictions.predict_on_images.predict`;
- `load_predictions`: read a table of predictions, see `predictions.prediction_tables.load_predictions`;
- `load_run`: read a run folder; `predict` predicts images in memory, and `load_model` gives the Keras model, see
  `predictions.loaded_run`;
- `finetune`: fine-tune a trained model on a new task, see `finetuning.finetune.finetune`;
- `get_schema`: build a published decision tree, see `schemas.get_schema`;
- `build_model`: build the Keras model of a `models.ModelConfig`, see `models.build.build_model`.

Each name is imported when it is first used, so that importing the package takes no time.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from zoobot3d_tf.quiet_tensorflow import quiet_tensorflow
from zoobot3d_tf.version import __version__

if TYPE_CHECKING:
    from zoobot3d_tf.finetuning.finetune import finetune
    from zoobot3d_tf.models.build import build_model
    from zoobot3d_tf.predictions.loaded_run import load_run
    from zoobot3d_tf.predictions.predict_on_images import predict
    from zoobot3d_tf.predictions.prediction_tables import load_predictions
    from zoobot3d_tf.schemas import get_schema

__all__ = ["__version__", "build_model", "finetune", "get_schema", "load_predictions", "load_run", "predict"]

# Module and name of each public function.
_PUBLIC = {
    "build_model": ("models.build", "build_model"),
    "finetune": ("finetuning.finetune", "finetune"),
    "get_schema": ("schemas", "get_schema"),
    "load_predictions": ("predictions.prediction_tables", "load_predictions"),
    "load_run": ("predictions.loaded_run", "load_run"),
    "predict": ("predictions.predict_on_images", "predict"),
}

quiet_tensorflow()  # here, so that worker processes and notebooks are as quiet as the command line


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _PUBLIC[name]
    return getattr(import_module(f"{__name__}.{module}"), attribute)


def __dir__() -> list[str]:
    return list(__all__)
