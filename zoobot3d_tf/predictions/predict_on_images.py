"""A folder of images in, a table of predictions out: `predict` as users of Zoobot know it."""

from pathlib import Path
from typing import Any

from zoobot3d_tf.files import PathLike
from zoobot3d_tf.inference.inputs import galaxies_in_folder
from zoobot3d_tf.predictions.predict_galaxies import predict_galaxies


def predict(
    folder_to_predict: PathLike,
    checkpoint_dir: PathLike,
    save_loc: PathLike,
    file_format: str | None = "png",
    recursive: bool = False,
    **options: Any,
) -> Path:
    """Predicts votes, and masks if asked for, of all images in a folder.

    Args:
        folder_to_predict: the images; hidden files are passed over.
        checkpoint_dir: the run folder of the model.
        save_loc: table to write, .csv, .parquet or .hdf5, a row a galaxy in the order of file names.
        file_format: "png", "jpg", "fits", or None for all of them.
        recursive: look into sub-folders too; the id is then the path below the folder, 'sub/galaxy'.
        options: as `predict_galaxies` takes them, such as `n_samples` and `masks_dir`.

    Returns:
        Path of the table.

    Raises:
        ValueError: as `predict_galaxies`, or the folder holds no such images, two of them have one id, or masks would
            come to lie among the images.
        OSError: a folder or file is missing or cannot be written.
    """
    folder = Path(folder_to_predict).absolute()
    _check_masks_apart(options.get("masks_dir"), folder, file_format, recursive)
    galaxies = galaxies_in_folder(folder, file_format, recursive)
    return predict_galaxies(galaxies, checkpoint_dir, save_loc, **options)


def _check_masks_apart(masks_dir: PathLike | None, folder: Path, file_format: str | None, recursive: bool) -> None:
    """Refuses to mix masks with images: the next run would take them for galaxies."""
    if masks_dir is None or file_format == "jpg":
        return
    place, folder = Path(masks_dir).resolve(), folder.resolve()
    if place == folder or (recursive and place.is_relative_to(folder)):
        raise ValueError(f"{place}: lies among the images, where the next run would take masks for galaxies")
