"""Fine-tuning: a new task from a few labelled galaxies, on top of a network that has seen many.

Nothing here imports TensorFlow, only the stages do (see `finetune_stages`), so that mistakes are named at once.
"""

import logging
import os
from dataclasses import replace
from pathlib import Path

import pandas as pd

from zoobot3d_tf.catalogs.training_catalog import MASK_COLUMNS
from zoobot3d_tf.data.framing import Framing
from zoobot3d_tf.files import PathLike
from zoobot3d_tf.finetuning.recipe import FINETUNE_TASKS, Finetuning, Recipe
from zoobot3d_tf.images.masks import MASKS
from zoobot3d_tf.labels import LABEL_KINDS, read_labels
from zoobot3d_tf.models.config import ModelConfig
from zoobot3d_tf.runs.run_folder import CONFIG_NAME, SHIPPED, read_run, write_config
from zoobot3d_tf.schemas import Schema, load_schema
from zoobot3d_tf.shards.manifest import Manifest, check_shards, read_manifest
from zoobot3d_tf.shards.options import ShardOptions
from zoobot3d_tf.shards.write import create_shards
from zoobot3d_tf.tables.columns import require_columns, shorten
from zoobot3d_tf.tables.formats import read_table
from zoobot3d_tf.training.run_config import DEFAULT_LOSS_WEIGHTS, RunConfig

log = logging.getLogger(__name__)

SHARDS_NAME = "shards"
# Images are encoded by one process for so many galaxies: a process takes seconds to start.
_GALAXIES_A_PROCESS = 1000


def finetune(
    catalog: PathLike,
    save_dir: PathLike,
    base: PathLike = SHIPPED,
    schema: Schema | str | Path | None = None,
    label_col: str | None = None,
    task: str | None = None,
    image_root: PathLike | None = None,
    eval_size: float = 0.2,
    crop_size: int | None = None,
    resize_size: int | None = None,
    workers: int = 1,
    **recipe,
):
    """Teaches a trained network a new task from a catalogue of labelled galaxies.

    Makes shards of the galaxies; trains a new head on the encoder's features; with `n_blocks`, lets the end of the
    encoder follow, which is kept only if the validation loss falls below the head's. A fine-tuning that was killed goes
    on when the same is called again.

    Args:
        catalog: table with `id_str`, `file_loc` and a column `label_col`, or votes, or masks; see
            `read_training_catalog`.
        save_dir: the run folder to fill, from which predictions can start; the shards go to `shards/` in it, the plots
            and `validation.json` beside.
        base: run folder, `hf://owner/name`, or the run that comes with the package.
        schema: decision tree of the votes, or its name or file, for `counts`.
        label_col: the column to learn, for `binary`, `multiclass` and `regression`.
        task: one of `FINETUNE_TASKS`. By default what `read_labels` makes of the column; `counts` with a schema;
            `masks` with neither.
        image_root: folder that relative file names start from; by default the catalogue's.
        eval_size: galaxies to validate on: about so many, or a share below 1.
        crop_size: central part that the network sees, in pixels of the shards' images; by default as the base.
        resize_size: size of the network's input, a multiple of 32; by default as the base.
        workers: processes to make the shards with.
        recipe: any field of `Recipe`.

    Returns:
        The fine-tuned `keras.Model`, uncompiled, as saved in the run folder.

    Raises:
        ValueError: the catalogue or an option is faulty, a split lacks what is to be learned, or the folder holds
            another fine-tuning.
        OSError: the base, the catalogue, all images or shards made earlier are missing.
        FloatingPointError: the loss became NaN.
    """
    settings = Recipe(**recipe)
    run = read_run(base)
    run.weights_loc  # noqa: B018  refuses a run without weights before the long work
    framing = Framing(
        run.framing.initial_size, crop_size or run.framing.crop_size, resize_size or run.framing.final_size
    )
    _ = replace(run.model, image_size=framing.final_size)  # refuses an impossible size
    schema = schema if schema is None or isinstance(schema, Schema) else load_schema(schema)
    save_dir = Path(save_dir).absolute()
    _check_folder(save_dir)
    table = read_table(catalog)
    kind = _task_of(catalog, table, schema, label_col, task)
    _check_images(catalog, table, Path(image_root if image_root is not None else Path(catalog).parent))

    options = ShardOptions(
        img_size=framing.initial_size,
        stretch=run.stretch,
        eval_size=eval_size,
        seed=settings.seed,
        image_root=image_root,
        label_col=label_col,
        label_kind=kind if kind in LABEL_KINDS else None,
        max_failed=1.0,  # of fifty galaxies, one is past the usual share
        workers=min(workers, len(table) // _GALAXIES_A_PROCESS + 1),
        resume=True,
    )
    log.info("%s of %d galaxies, on top of %s%s", kind, len(table), base, f" ({run.note})" if run.note else "")
    create_shards(catalog, save_dir / SHARDS_NAME, schema if kind == "counts" else None, options)
    manifest = read_manifest(save_dir / SHARDS_NAME)
    check_shards([*manifest.paths("train"), *manifest.paths("eval")])
    model = replace(
        run.model,
        schema=manifest.schema,
        tasks=_learnable(manifest, kind),
        label=manifest.label,
        image_size=framing.final_size,
    )
    finetuning = Finetuning(run, _name_of(base), _run_config(model, framing, save_dir, manifest, settings), settings)
    write_config(save_dir, finetuning.to_dict())
    from zoobot3d_tf.finetuning.stages import run_stages

    return run_stages(finetuning)


def _task_of(
    catalog: PathLike, table: pd.DataFrame, schema: Schema | None, label_col: str | None, task: str | None
) -> str:
    """What is to be learned, once the catalogue can be seen to have it."""
    if task not in (None, *FINETUNE_TASKS):
        raise ValueError(f"task must be one of {', '.join(FINETUNE_TASKS)}; received {task!r}")
    if schema is not None and label_col is not None:
        raise ValueError("label_col names a column to learn, schema a tree whose votes to learn: give one of them")
    if label_col is not None:
        if task not in (None, *LABEL_KINDS):
            raise ValueError(
                f"task {task!r} does not use label_col; omit label_col, or choose the task {', '.join(LABEL_KINDS)}"
            )
        label, _ = read_labels(catalog, table, label_col, task)
        return label.kind
    if schema is not None:
        if task not in (None, "counts"):
            raise ValueError(f"schema applies to the task 'counts', not to {task!r}; omit schema, or choose that task")
        require_columns(catalog, table.columns, schema.label_cols)
        return "counts"
    if task in (None, "masks") and any((table[column] != "").any() for column in MASK_COLUMNS if column in table):
        return "masks"
    needed = {
        None: "label_col or schema",
        "counts": "schema",
        "masks": " or ".join(MASK_COLUMNS),
    }
    raise ValueError(
        f"{catalog}: it is unknown what to learn: give {needed.get(task, 'label_col')}; it has the columns "
        f"{shorten(list(map(str, table.columns)))}"
    )


def _check_folder(save_dir: Path) -> None:
    """Refuse the folder of a run that is no fine-tuning, before shards are written there."""
    path = save_dir / CONFIG_NAME
    if path.is_file() and '"base_sha256"' not in path.read_text(encoding="utf-8"):
        raise ValueError(f"{save_dir} already holds a run that is no fine-tuning: choose another folder")


def _check_images(catalog: PathLike, table: pd.DataFrame, root: Path) -> None:
    """Refuse a catalogue of which no image is where it says: a wrong folder is no matter of single galaxies."""
    require_columns(catalog, table.columns, ["id_str", "file_loc"])
    locations = [os.path.join(root, name) for name in table["file_loc"]]
    if not any(map(os.path.isfile, locations)):
        first = f", the first is {locations[0]}" if locations else ""
        raise FileNotFoundError(f"{catalog}: none of its {len(table)} images exists{first}; is image_root right?")


def _learnable(manifest: Manifest, kind: str) -> tuple[str, ...]:
    """The tasks of the network, each with something to learn from and something to validate on."""
    candidates = {"counts": ("votes",), "masks": MASKS}.get(kind, ("label",))
    tasks = tuple(task for task in candidates if manifest.count("train", f"with_{task}"))
    for split, use in (("train", "train"), ("eval", "validate")):
        absent = [task for task in tasks or candidates if not manifest.count(split, f"with_{task}")]
        if absent:
            raise ValueError(
                f"{manifest.folder}: none of the {manifest.count(split)} galaxies to {use} on has a "
                f"{absent[0].replace('_', ' ')}; add galaxies that have one, or choose another eval_size"
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
        # Of few galaxies with thin structures the median, which l1 learns, would be an empty mask.
        mask_loss="beta-binomial" if model.mask_head == "beta-binomial" else "cross-entropy",
        learning_rate=recipe.learning_rate,
        patience=recipe.patience,
        seed=recipe.seed,
        loss_weights=DEFAULT_LOSS_WEIGHTS | {"label": 1.0},  # it has no other task to compete with
    )


def _name_of(base: PathLike) -> str:
    """What names the base wherever the folder is copied to."""
    name = os.fspath(base)
    return name if name == SHIPPED or name.startswith("hf:") else Path(name).absolute().name
