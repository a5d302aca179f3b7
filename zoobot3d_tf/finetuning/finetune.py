"""Fine-tuning: a trained network learns a new task from a few labelled galaxies.

This module checks the catalogue and makes the shards. Only the stages import TensorFlow, so that errors come at once.
"""

import logging
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from zoobot3d_tf.catalogs.training_catalog import MASK_COLUMNS, has_mask
from zoobot3d_tf.data.framing import Framing
from zoobot3d_tf.files import PathLike, one_owner, path_of
from zoobot3d_tf.finetuning.recipe import FINETUNE_TASKS, Finetuning, Recipe
from zoobot3d_tf.images.masks import MASKS
from zoobot3d_tf.labels import LABEL_KINDS, read_labels
from zoobot3d_tf.models.config import ModelConfig
from zoobot3d_tf.runs.run_folder import CONFIG_NAME, SHIPPED, read_run, write_config
from zoobot3d_tf.schemas import Schema, load_schema
from zoobot3d_tf.shards.manifest import Manifest, check_shards, read_manifest
from zoobot3d_tf.shards.options import ShardOptions
from zoobot3d_tf.shards.write import create_shards
from zoobot3d_tf.tables.columns import read_text, require_columns, shorten
from zoobot3d_tf.tables.formats import read_table
from zoobot3d_tf.training.run_config import DEFAULT_LOSS_WEIGHTS, RunConfig

if TYPE_CHECKING:
    import keras

log = logging.getLogger(__name__)

SHARDS_NAME = "shards"
"""Name of the folder of shards in the run folder."""
_GALAXIES_PER_PROCESS = 1000  # a process takes seconds to start


def finetune(
    catalog: PathLike,
    save_dir: PathLike,
    base: PathLike = SHIPPED,
    schema: Schema | str | Path | None = None,
    label_col: str | None = None,
    label_values: Sequence[str] = (),
    task: str | None = None,
    image_root: PathLike | None = None,
    eval_size: float | None = None,
    eval_ids: PathLike | None = None,
    split_seed: int | None = None,
    crop_size: int | None = None,
    resize_size: int | None = None,
    workers: int = 1,
    **recipe: Any,
) -> "keras.Model":
    """Fine-tune a trained network on a new task, from a catalogue of labelled galaxies.

    The galaxies are written to shards. A new head is trained on the features of the encoder. With `n_blocks`, the last
    blocks of the encoder are trained in a second stage, which is kept only if it lowers the validation loss. If a
    fine-tuning was interrupted, the same call continues it.

    Args:
        catalog: table with `id_str`, `file_loc` and the column `label_col`, or votes, or masks; see
            `read_training_catalog`.
        save_dir: run folder to fill, which predictions can use. It also receives the shards in `shards/`, the scores in
            `validation.json`, and plots.
        base: run folder of the trained network, `hf://owner/name`, or "shipped" for the run of the package.
        schema: decision tree of the votes, its name or its file, for the task `counts`.
        label_col: name of the column to learn, for the tasks `binary`, `multiclass` and `regression`.
        label_values: values of the column that are meant, although they look like placeholders; see `read_labels`.
        task: task to learn, one of `FINETUNE_TASKS`. By default the kind that `read_labels` finds for the column;
            `counts` with a schema; `masks` without column and schema.
        image_root: folder that relative paths start from; by default the folder of the catalogue.
        eval_size: approximate number of galaxies for validation, or their share if below 1. By default the column
            `split` of the catalogue decides, or 0.2 without this column; see `create_shards`.
        eval_ids: file with the ids of the galaxies for validation, instead of `eval_size`; see `read_ids`.
        split_seed: seed of a division with exactly `eval_size` galaxies for validation, and exact numbers of each
            class; see `split_by_class`.
        crop_size: height and width of the central part that the network sees, in pixels of the stored images; by
            default as of the base.
        resize_size: height and width of the network's input, in pixels; a multiple of 32; by default as of the base.
        workers: largest number of processes that write the shards.
        recipe: fields of `Recipe`.

    Returns:
        The fine-tuned model, uncompiled, as saved in the run folder.

    Raises:
        ValueError: the catalogue or an argument is wrong, no galaxy to train or to validate on has what is to be
            learned, or the run folder holds another run.
        OSError: the base, the catalogue, all images or shards made earlier are missing.
        FloatingPointError: the loss became NaN or infinite.
    """
    settings = Recipe(**recipe)
    run = read_run(base)
    run.weights_loc  # noqa: B018  raises an error if there are no weights, before the long work
    framing = Framing(
        run.framing.initial_size, crop_size or run.framing.crop_size, resize_size or run.framing.final_size
    )
    model = replace(run.model, image_size=framing.final_size)
    schema = schema if schema is None or isinstance(schema, Schema) else load_schema(schema)
    save_dir = path_of(save_dir).absolute()
    _check_folder(save_dir)
    table = read_table(catalog)
    kind = _task_of(catalog, table, schema, label_col, label_values, task)
    _check_images(catalog, table, path_of(image_root if image_root is not None else path_of(catalog).parent))

    options = ShardOptions(
        img_size=framing.initial_size,
        stretch=run.stretch,
        eval_size=eval_size,
        eval_ids=eval_ids,
        split_seed=split_seed,
        seed=settings.seed,
        image_root=image_root,
        label_col=label_col,
        label_kind=kind if kind in LABEL_KINDS else None,
        label_values=label_values,
        max_failed=1.0,  # one of fifty galaxies is more than the default share
        workers=min(workers, len(table) // _GALAXIES_PER_PROCESS + 1),
        resume=True,
    )
    note = f" ({run.note})" if run.note else ""
    log.info("Fine-tuning %s%s on %d galaxies; task: %s.", base, note, len(table), kind)
    with one_owner(save_dir):
        create_shards(catalog, save_dir / SHARDS_NAME, schema if kind == "counts" else None, options)
        manifest = read_manifest(save_dir / SHARDS_NAME)
        check_shards([*manifest.paths("train"), *manifest.paths("eval")])
        model = replace(model, schema=manifest.schema, tasks=_learnable(manifest, kind), label=manifest.label)
        config = _run_config(model, framing, save_dir, manifest, settings)
        finetuning = Finetuning(run, _name_of(base), config, settings)
        write_config(save_dir, finetuning.to_dict(manifest))
        from zoobot3d_tf.finetuning.stages import run_stages

        return run_stages(finetuning)


def _task_of(
    catalog: PathLike,
    table: pd.DataFrame,
    schema: Schema | None,
    label_col: str | None,
    label_values: Sequence[str],
    task: str | None,
) -> str:
    """Find the task, and check that the catalogue has the columns for it."""
    if task not in (None, *FINETUNE_TASKS):
        raise ValueError(f"task must be one of {', '.join(FINETUNE_TASKS)}; received {task!r}")
    if schema is not None and label_col is not None:
        raise ValueError(
            "label_col names a column to learn, schema a decision tree whose votes to learn; give one of them"
        )
    if label_col is not None:
        if task not in (None, *LABEL_KINDS):
            raise ValueError(
                f"task {task!r} does not use label_col; omit label_col, or choose the task {', '.join(LABEL_KINDS)}"
            )
        label, _ = read_labels(catalog, table, label_col, task, label_values)
        return label.kind
    if schema is not None:
        if task not in (None, "counts"):
            raise ValueError(f"schema applies to the task 'counts', not to {task!r}; omit schema, or choose that task")
        require_columns(catalog, table.columns, schema.label_cols)
        return "counts"
    if task == "masks" or task is None:
        if has_mask(table.reindex(columns=list(MASK_COLUMNS), fill_value="")).any():
            return "masks"
    if task == "masks":
        raise ValueError(f"{catalog}: no galaxy has a mask; fill one of the columns {', '.join(MASK_COLUMNS)}")
    needed = {None: "label_col or schema", "counts": "schema"}.get(task, "label_col")
    raise ValueError(
        f"{catalog}: nothing names what to learn; give {needed}; the catalogue has the columns "
        f"{shorten(list(map(str, table.columns)))}"
    )


def _check_folder(save_dir: Path) -> None:
    """Raise an error if the folder holds a run that is not a fine-tuning, before shards are written there."""
    path = save_dir / CONFIG_NAME
    if path.is_file() and '"base_sha256"' not in path.read_text(encoding="utf-8"):
        raise ValueError(f"{save_dir}: already holds a run that is not a fine-tuning; choose another save_dir")


def _check_images(catalog: PathLike, table: pd.DataFrame, root: Path) -> None:
    """Raise an error if no image of the catalogue exists: the folder is then wrong, not a single galaxy."""
    require_columns(catalog, table.columns, ["id_str", "file_loc"])
    locations = [os.path.join(root, name) for name in read_text(catalog, table, "file_loc")]
    if not any(map(os.path.isfile, locations)):
        first = f" (the first is {locations[0]})" if locations else ""
        raise FileNotFoundError(f"{catalog}: none of its {len(table)} images exists{first}; check image_root")


def _learnable(manifest: Manifest, kind: str) -> tuple[str, ...]:
    """Tasks of the network, for each of which there are galaxies to train and to validate on."""
    candidates = {"counts": ("votes",), "masks": MASKS}.get(kind, ("label",))
    tasks = tuple(task for task in candidates if manifest.count("train", f"with_{task}"))
    for split, use in (("train", "train"), ("eval", "validate")):
        for task in tasks or candidates:
            if not manifest.count(split, f"with_{task}"):
                what = "votes" if task == "votes" else f"a {task.replace('_', ' ')}"
                raise ValueError(
                    f"{manifest.folder}: none of the {manifest.count(split)} galaxies to {use} on has {what}; add "
                    "labelled galaxies, or choose others with eval_size, eval_ids or split_seed"
                )
    return tasks


def _run_config(model: ModelConfig, framing: Framing, save_dir: Path, manifest: Manifest, recipe: Recipe) -> RunConfig:
    return RunConfig(
        model=model,
        framing=framing,
        log_dir=save_dir,
        train_records=tuple(map(str, manifest.paths("train"))),
        eval_records=tuple(map(str, manifest.paths("eval"))),
        epochs=recipe.epochs,
        batch_size=recipe.batch_size,
        mask_loss="beta-binomial" if model.mask_head == "beta-binomial" else RunConfig.mask_loss,
        learning_rate=recipe.learning_rate,
        patience=recipe.patience,
        seed=recipe.seed,
        loss_weights=DEFAULT_LOSS_WEIGHTS | {"label": 1.0},  # there is no other task beside a label
    )


def _name_of(base: PathLike) -> str:
    """Name of the base that does not depend on where its folder is."""
    name = os.fspath(base)
    return name if name == SHIPPED or name.startswith("hf:") else path_of(name).absolute().name
