"""Predict the images in a folder: `predict`, as users of Zoobot know it."""

from collections.abc import Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

from zoobot3d_tf.files import PathLike, path_of
from zoobot3d_tf.inference.inputs import galaxies_in_folder
from zoobot3d_tf.predictions.options import PredictionOptions
from zoobot3d_tf.predictions.predict_galaxies import predict_galaxies


def predict(
    folder_to_predict: PathLike,
    checkpoint_dir: PathLike | Sequence[PathLike],
    save_loc: PathLike,
    file_format: str | None = None,
    recursive: bool = False,
    executor: Executor | None = None,
    **options: Any,
) -> Path:
    """Predict the votes, and optionally the masks, of all images in a folder.

    Args:
        folder_to_predict: folder of images, or one image. Hidden files are ignored.
        checkpoint_dir: run folder of the trained model, or several; see `predict_galaxies`.
        save_loc: table to write, with one row per galaxy in the order of the file names; for its formats see
            `predict_galaxies`.
        file_format: format of the images to take, one of `inputs.FILE_SUFFIXES`, or None for all of them. One image may
            have any.
        recursive: whether to include sub-folders. The id of a galaxy is its path in the folder, such as `sub/galaxy`.
        executor: executor that runs the parts of the job, see `predict_galaxies`.
        **options: attributes of `PredictionOptions`, such as `n_samples` and `masks_dir`.

    Returns:
        Path of the table.

    Raises:
        TypeError: an option is unknown.
        ValueError: as in `predict_galaxies`; or the folder holds no such images, two of them have the same id, or
            `masks_dir` is the folder of the images.
        OSError: a folder or file does not exist or cannot be written.
    """
    prediction_options = PredictionOptions(**options)
    folder = path_of(folder_to_predict).absolute()
    _check_masks_apart(prediction_options.masks_dir, folder, file_format, recursive)
    galaxies = galaxies_in_folder(folder, file_format if folder.is_dir() else None, recursive)
    return predict_galaxies(galaxies, checkpoint_dir, save_loc, prediction_options, executor)


def _check_masks_apart(masks_dir: PathLike | None, folder: Path, file_format: str | None, recursive: bool) -> None:
    """Refuse to write masks among the images, where the next run would list them as galaxies."""
    if masks_dir is None or file_format in ("jpg", "tif"):  # masks are PNG or FITS files
        return
    place, folder = path_of(masks_dir).resolve(), folder.resolve()
    if place == folder or (recursive and place.is_relative_to(folder)):
        raise ValueError(
            f"masks_dir must not be among the images, since the next run would take the masks for galaxies; "
            f"received {place}"
        )
