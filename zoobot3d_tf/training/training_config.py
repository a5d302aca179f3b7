"""Training with the names that users of Zoobot know.

run_config = get_run_config(...)
model = run_config.run_estimator()

The configuration and the shards are checked before TensorFlow is imported.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoobot3d_tf.common_tree import joined_tree
from zoobot3d_tf.data.framing import CENTRAL_SHARE, Framing
from zoobot3d_tf.files import PathLike, path_of
from zoobot3d_tf.models.config import TASKS, VOLUNTEER_TASKS, ModelConfig
from zoobot3d_tf.runs.encoder_weights import find_encoder_weights
from zoobot3d_tf.schemas import Schema
from zoobot3d_tf.shards.manifest import Manifest, by_folder, read_manifest, shards_in
from zoobot3d_tf.training.run_config import DEFAULT_LOSS_WEIGHTS, RunConfig
from zoobot3d_tf.training.trainer import train

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class RunEstimatorConfig(RunConfig):
    """A `RunConfig` with the method `run_estimator`, which users of Zoobot know."""

    def run_estimator(self) -> "keras.Model":
        """Train until the validation loss no longer improves, and leave the best model in the run folder.

        If a run with the same configuration was interrupted, training continues from its last checkpoint. If it was
        finished, the model is only loaded.

        Returns:
            The best model, in float32 and uncompiled, as saved in `model.keras` and `model.weights.h5`.

        Raises:
            ValueError: the shards do not fit the configuration or each other, or the run folder holds another run.
            FloatingPointError: the loss became NaN or infinite.
        """
        return train(self)


def get_run_config(
    initial_size: int,
    final_size: int,
    crop_size: int,
    log_dir: PathLike,
    train_records: Sequence[str | Path],
    eval_records: Sequence[str | Path],
    epochs: int,
    schema: Schema | None,
    batch_size: int,
    encoder: str | None = None,
    color: bool | None = None,
    tasks: Sequence[str] | None = None,
    dropout: float = 0.2,
    mask_loss: str = RunConfig.mask_loss,
    loss_weights: Mapping[str, float] | None = None,
    encoder_weights: str | None = None,
    encoder_pixels: str | None = None,
    galaxies_per_epoch: Sequence[int] = (),
    decoder_widths: Sequence[int] = ModelConfig.decoder_widths,
    **settings: Any,
) -> RunEstimatorConfig:
    """Make the configuration of a run from plain values, with the names that users of Zoobot know.

    Args:
        initial_size: height and width of the images in the shards, in pixels.
        final_size: height and width of the network's input, in pixels; a multiple of 32.
        crop_size: height and width of the central part that the network sees, in pixels of the stored images.
        log_dir: run folder.
        train_records: TFRecord files to train on, of one or more shard folders.
        eval_records: TFRecord files to validate on, of one or more shard folders.
        epochs: largest number of epochs.
        schema: decision tree; None if no votes are learned. If the shards have several trees, their common tree; see
            `joined_tree`.
        batch_size: number of galaxies per step.
        encoder: name of the encoder, see `ModelConfig`; by default the encoder of the weights, or EfficientNetB0.
        color: whether the network sees the three bands, or their mean; by default as the weights require, or the mean.
        tasks: names of the tasks to learn, of `TASKS`; by default all tasks for which a training galaxy has a label.
        dropout: dropout rate before the vote head.
        mask_loss: name of the loss of the masks, one of `MASK_LOSS_NAMES`; "beta-binomial" also chooses the mask head
            of that name.
        loss_weights: factor of the loss of each task. Tasks that are not named keep their default.
        encoder_weights: source of the initial weights of the encoder, see `find_encoder_weights`: a folder,
            `hf://owner/name`, "shipped", "imagenet" or "imagenet-lite0". They determine the encoder and the pixel
            range.
        encoder_pixels: range of pixels that weights of timm or Zoobot expect, one of `PIXEL_RANGES`; by default as the
            name of their folder suggests.
        galaxies_per_epoch: number of galaxies per epoch of each shard folder, see `RunConfig`.
        decoder_widths: number of channels of the decoder of masks at each level, see `ModelConfig`.
        settings: other fields of `RunConfig`.

    Returns:
        Configuration of the run.

    Raises:
        ValueError: a value is impossible, see `RunConfig`, `ModelConfig` and `find_encoder_weights`.
        FileNotFoundError: the shards have no `shards.json`.
    """
    label = None
    if train_records and (not tasks or "label" in tasks):
        manifests = [read_manifest(folder) for folder in by_folder(train_records)]
        tasks = tasks or labelled_tasks(manifests)
        label = manifests[0].label if "label" in tasks else None
    asked = {"encoder": encoder, "color": color}
    weights = find_encoder_weights(encoder_weights, asked, encoder_pixels) if encoder_weights else None
    of_encoder = asked | (weights.settings if weights else {})
    model = ModelConfig(
        schema=schema,
        image_size=final_size,
        **{name: value for name, value in of_encoder.items() if value is not None},
        tasks=tuple(tasks or VOLUNTEER_TASKS),
        dropout=dropout,
        mask_head="beta-binomial" if mask_loss == "beta-binomial" else "fraction",
        label=label,
        decoder_widths=tuple(decoder_widths),
    )
    return RunEstimatorConfig(
        model=model,
        framing=Framing(initial_size, crop_size, final_size),
        log_dir=path_of(log_dir),
        train_records=tuple(str(path_of(path)) for path in train_records),
        eval_records=tuple(str(path_of(path)) for path in eval_records),
        epochs=epochs,
        batch_size=batch_size,
        mask_loss=mask_loss,
        encoder_weights=weights,
        galaxies_per_epoch=tuple(galaxies_per_epoch),
        loss_weights=DEFAULT_LOSS_WEIGHTS | dict(loss_weights or {}),
        **settings,
    )


def config_from_folders(
    train_dir: PathLike | Sequence[PathLike],
    eval_dir: PathLike | Sequence[PathLike],
    experiment_dir: PathLike,
    shard_img_size: int | None = None,
    crop_size: int | None = None,
    resize_size: int = 224,
    **settings: Any,
) -> RunEstimatorConfig:
    """Make the configuration of a run from folders of shards, which give the schema and the image size.

    Args:
        train_dir: folder of the TFRecord files to train on, or several folders, such as one per survey.
        eval_dir: folder of the TFRecord files to validate on, or several folders.
        experiment_dir: run folder.
        shard_img_size: height and width of the images in the shards, in pixels, to be checked; not checked if None.
        crop_size: height and width of the central part that the network sees, in pixels of the stored images; by
            default three quarters of their size.
        resize_size: height and width of the network's input, in pixels; a multiple of 32.
        settings: other arguments of `get_run_config`.

    Returns:
        Configuration of the run. If the training shards have several decision trees, the model has their common tree,
        see `joined_tree`.

    Raises:
        FileNotFoundError: a folder has no shards.
        ValueError: a value is impossible, see `get_run_config`; a folder is given twice; or the trees share no
            question.
    """
    train_dirs, eval_dirs = _folders("train_dir", train_dir), _folders("eval_dir", eval_dir)
    manifests = [read_manifest(folder) for folder in train_dirs]
    trees = list({str(schema.to_dict()): schema for manifest in manifests if (schema := manifest.schema)}.values())
    initial_size = shard_img_size or manifests[0].image_size
    return get_run_config(
        initial_size=initial_size,
        final_size=resize_size,
        crop_size=crop_size or int(initial_size * CENTRAL_SHARE),
        log_dir=experiment_dir,
        train_records=[path for folder in train_dirs for path in shards_in(folder)],
        eval_records=[path for folder in eval_dirs for path in shards_in(folder)],
        schema=joined_tree(trees) if len(trees) > 1 else next(iter(trees), None),
        **settings,
    )


def labelled_tasks(manifests: Sequence[Manifest]) -> tuple[str, ...]:
    """Find the tasks for which at least one training galaxy has a label."""
    return tuple(task for task in TASKS if any(manifest.count("train", f"with_{task}") for manifest in manifests))


def _folders(name: str, folders: PathLike | Sequence[PathLike]) -> list[Path]:
    paths = [path_of(folder) for folder in ([folders] if isinstance(folders, str | os.PathLike) else folders)]
    homes = [read_manifest(path).folder.resolve() for path in paths]
    for number, home in enumerate(homes):
        if home in homes[:number]:
            raise ValueError(f"{name} must name each folder of shards once; received {home} twice")
    return paths
