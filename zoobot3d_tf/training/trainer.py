"""Training of one run, from shards to a run folder that predictions can use."""

import logging
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING

from zoobot3d_tf.common_tree import COMMON, conversion
from zoobot3d_tf.extras import require
from zoobot3d_tf.files import one_owner
from zoobot3d_tf.runs.run_folder import write_config
from zoobot3d_tf.shards.manifest import Manifest, by_folder, check_shards, read_manifest
from zoobot3d_tf.training.cluster import rank_of
from zoobot3d_tf.training.run_config import RunConfig

if TYPE_CHECKING:
    import keras

    from zoobot3d_tf.training.checkpoints import Checkpoints

    Loop = Callable[[keras.Model, RunConfig, Checkpoints], None]
    _Checked = tuple[Manifest, tuple[str, ...]]

logger = logging.getLogger(__name__)


def train(config: RunConfig, loop: "Loop | None" = None) -> "keras.Model":
    """Train the model of a run, and leave the best weights in the run folder.

    Args:
        config: configuration of the run.
        loop: training loop. It trains the compiled model on the shards of the run from the last checkpoint, and calls
            the checkpoints after each epoch. By default `loop.fit`.

    Returns:
        The best model, in float32 and uncompiled.

    Raises:
        ValueError: as `check_run`, or as `count_processes` if several machines train together.
        OSError: as `check_run`.
        ImportError: as `check_run`.
        FloatingPointError: the loss became NaN or infinite.
        BlockingIOError: another process trains this run.
    """
    writes = not config.distributed or rank_of() == 0
    with one_owner(config.log_dir) if writes else nullcontext():
        check_run(config, writes)

        # TensorFlow takes seconds to import, and is not needed for the checks.
        from zoobot3d_tf.training.assemble import initial_model, wandb_run
        from zoobot3d_tf.training.checkpoints import Checkpoints
        from zoobot3d_tf.training.finish import best_model, finish_run
        from zoobot3d_tf.training.loop import fit

        checkpoints = Checkpoints(config.log_dir / "checkpoints", config.patience, config.checkpoint_minutes, writes)
        if not checkpoints.finished(config.epochs):
            model = initial_model(config, checkpoints.has_begun)
            with wandb_run(config) if config.wandb and writes else nullcontext():
                (loop or fit)(model, config, checkpoints)
        return finish_run(config, checkpoints) if writes else best_model(config, checkpoints)


def check_run(config: RunConfig, writes: bool = True) -> None:
    """Check the shards and the extras that a run needs, and write its configuration to the run folder.

    Args:
        config: configuration of the run.
        writes: whether to write. Of several processes that train together, one does.

    Raises:
        ValueError: the shards do not fit the configuration or each other, have no galaxies for a task, or the run
            folder holds another run.
        OSError: shards are missing, or the run folder cannot be written.
        ImportError: the configuration asks for Weights & Biases, and wandb is not installed.
    """
    if config.wandb:
        require("wandb", "wandb=True")
    training, validation = (_checked(config, records) for records in (config.train_records, config.eval_records))
    stretches = {manifest.stretch: manifest.folder for manifest, _ in (*training, *validation)}
    if len(stretches) > 1:
        (one, first), (other, second), *_ = stretches.items()
        raise ValueError(
            f"the images in {first} have the stretch {one!r}, the images in {second} the stretch {other!r}; make both "
            "with the same stretch"
        )
    _check_tasks(config, training, validation)
    shards = {"train": _hash(training), "eval": _hash(validation)}
    (stretch,) = stretches
    if writes:
        write_config(config.log_dir, config.to_dict() | {"stretch": stretch, "shards": shards})


def _checked(config: RunConfig, records: Sequence[str]) -> "list[_Checked]":
    """Check the shards of each folder, and whether the model can learn from their votes and labels."""
    tree = config.model.schema
    joined = tree is not None and tree.name == COMMON
    checked = []
    for folder, paths in by_folder(records).items():
        has_votes = read_manifest(folder).schema is not None
        expected = tree if has_votes and not joined else None
        manifest = check_shards(paths, expected, config.framing.initial_size, label=config.model.label)
        if tree and joined and manifest.schema:
            try:
                conversion(manifest.schema, tree)
            except ValueError as error:
                raise ValueError(f"{manifest.folder}: {error}") from None
        checked.append((manifest, paths))
    return checked


def _hash(checked: "list[_Checked]") -> str:
    return "-".join(manifest.content_hash(paths) for manifest, paths in checked)


def _check_tasks(config: RunConfig, training: "list[_Checked]", validation: "list[_Checked]") -> None:
    """Check that there are galaxies for each task to train on, and warn of tasks that cannot be validated."""

    def count(checked: "list[_Checked]", task: str) -> int:
        return sum(manifest.count_in(paths, f"with_{task}") for manifest, paths in checked)

    trained, validated = (", ".join(str(manifest.folder) for manifest, _ in found) for found in (training, validation))
    without = [task for task in config.model.tasks if not count(validation, task)]
    for task in config.model.tasks:
        if not count(training, task):
            raise ValueError(f"{trained}: no training galaxy has labels for {task}; omit it in tasks")
    if len(without) == len(config.model.tasks):
        raise ValueError(f"{validated}: no validation galaxy has labels for {', '.join(without)}")
    for task in without:
        logger.warning("%s: no validation galaxy has labels for %s; it is not validated.", validated, task)
