"""Training as users of Zoobot start it: a configuration from plain values, and the method that trains.

run_config = get_run_config(...)
model = run_config.run_estimator()

Everything is checked before TensorFlow is imported.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from zoobot3d_tf.data.framing import Framing
from zoobot3d_tf.models.config import TASKS, VOLUNTEER_TASKS, ModelConfig
from zoobot3d_tf.runs.encoder_weights import find_encoder_weights
from zoobot3d_tf.runs.run_folder import write_config
from zoobot3d_tf.schemas import Schema
from zoobot3d_tf.shards.manifest import Manifest, check_shards, read_manifest
from zoobot3d_tf.training.run_config import DEFAULT_LOSS_WEIGHTS, RunConfig

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class RunEstimatorConfig(RunConfig):
    """A `RunConfig` with the method `run_estimator`, which users of Zoobot know."""

    def run_estimator(self) -> "keras.Model":
        """Train until the validation loss no longer improves, and leave the best model in the run folder.

        A run that was killed continues after its last finished epoch when the same configuration is trained again. A
        finished run is only loaded.

        Returns:
            The best model, in float32 and uncompiled, as saved in `model.keras` and `model.weights.h5`.

        Raises:
            ValueError: the shards do not fit the configuration or each other, or the folder holds another run.
            FloatingPointError: the loss became NaN.
        """
        to_train, to_validate = (
            check_shards(records, self.model.schema, self.framing.initial_size, label=self.model.label)
            for records in (self.train_records, self.eval_records)
        )
        if to_train.stretch != to_validate.stretch:
            raise ValueError(
                f"{to_train.folder} holds images of the stretch {to_train.stretch}, {to_validate.folder} of "
                f"{to_validate.stretch}; make both with the same stretch"
            )
        write_config(self.log_dir, self.to_dict() | {"stretch": to_train.stretch})
        from zoobot3d_tf.training.trainer import train

        return train(self)


def get_run_config(
    initial_size: int,
    final_size: int,
    crop_size: int,
    log_dir: str | Path,
    train_records: Sequence[str | Path],
    eval_records: Sequence[str | Path],
    epochs: int,
    schema: Schema | None,
    batch_size: int,
    encoder: str | None = None,
    color: bool | None = None,
    tasks: Sequence[str] | None = None,
    dropout: float = 0.2,
    mask_loss: str = "l1",
    loss_weights: Mapping[str, float] | None = None,
    encoder_weights: str | None = None,
    **settings,
) -> RunEstimatorConfig:
    """A `RunEstimatorConfig` from plain values, with the names that users of Zoobot know.

    Args:
        initial_size: height and width of the images in the shards, pixels.
        final_size: of the network's input, a multiple of 32.
        crop_size: of the central part that the network sees, in pixels of the shards' images.
        log_dir: the run folder.
        train_records: shards to train on.
        eval_records: shards to validate on.
        epochs: at most so many passes.
        schema: the decision tree; None if there are no votes to learn.
        batch_size: galaxies a step.
        encoder: as in `ModelConfig`; by default that of the weights, or EfficientNetB0.
        color: keep the three bands apart; by default as the weights ask, or not.
        tasks: what to learn; by default whatever the training shards have labels for. They also say what a label is.
        dropout: before the vote head.
        mask_loss: one of `MASK_LOSS_NAMES`; "beta-binomial" also chooses that mask head.
        loss_weights: factor of each task's loss; those not named keep their default.
        encoder_weights: what the encoder begins with, as for `find_encoder_weights`: a folder, `hf://owner/name`,
            "shipped" or "imagenet". They say which encoder it is and what range of pixels it takes.
        settings: any other field of `RunConfig`.

    Raises:
        ValueError: as `RunConfig`, `ModelConfig` and `find_encoder_weights`.
        FileNotFoundError: the shards have no `shards.json`.
    """
    label = None
    if train_records and (not tasks or "label" in tasks):
        manifest = read_manifest(Path(train_records[0]).parent)
        tasks = tasks or labelled_tasks(manifest)
        label = manifest.label if "label" in tasks else None
    asked = {"encoder": encoder, "color": color}
    weights = find_encoder_weights(encoder_weights, asked) if encoder_weights else None
    of_encoder = asked | (weights.settings if weights else {})
    model = ModelConfig(
        schema=schema,
        image_size=final_size,
        **{name: value for name, value in of_encoder.items() if value is not None},
        tasks=tuple(tasks or VOLUNTEER_TASKS),
        dropout=dropout,
        mask_head="beta-binomial" if mask_loss == "beta-binomial" else "fraction",
        label=label,
    )
    return RunEstimatorConfig(
        model=model,
        framing=Framing(initial_size, crop_size, final_size),
        log_dir=Path(log_dir),
        train_records=tuple(str(path) for path in train_records),
        eval_records=tuple(str(path) for path in eval_records),
        epochs=epochs,
        batch_size=batch_size,
        mask_loss=mask_loss,
        encoder_weights=weights,
        loss_weights=DEFAULT_LOSS_WEIGHTS | dict(loss_weights or {}),
        **settings,
    )


def config_from_folders(
    train_dir: str | Path,
    eval_dir: str | Path,
    experiment_dir: str | Path,
    shard_img_size: int | None = None,
    crop_size: int | None = None,
    resize_size: int = 224,
    **settings,
) -> RunEstimatorConfig:
    """A `RunEstimatorConfig` from folders of shards, which know their schema and their size.

    Args:
        train_dir: folder of .tfrecord files to train on.
        eval_dir: likewise, to validate on.
        experiment_dir: the run folder.
        shard_img_size: size of the images in the shards, pixels, if it should be checked.
        crop_size: central part that the network sees; three quarters of the shards' size by default.
        resize_size: size of the network's input, a multiple of 32.
        settings: further arguments of `get_run_config`.

    Raises:
        FileNotFoundError: a folder has no shards.
        ValueError: as `get_run_config`.
    """
    manifest = read_manifest(train_dir)
    initial_size = shard_img_size or manifest.image_size
    return get_run_config(
        initial_size=initial_size,
        final_size=resize_size,
        crop_size=crop_size or int(initial_size * 0.75),
        log_dir=experiment_dir,
        train_records=_shards_in(train_dir),
        eval_records=_shards_in(eval_dir),
        schema=manifest.schema,
        **settings,
    )


def labelled_tasks(manifest: Manifest) -> tuple[str, ...]:
    """Tasks for which some training galaxy has a label."""
    return tuple(task for task in TASKS if manifest.count("train", f"with_{task}"))


def _shards_in(folder: str | Path) -> list[Path]:
    shards = sorted(Path(folder).glob("*.tfrecord"))
    if not shards:
        raise FileNotFoundError(f"{folder}: no .tfrecord files; `zoobot3d shards` makes them")
    return shards
