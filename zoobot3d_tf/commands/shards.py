"""The command that makes shards."""

import argparse
import contextlib
from concurrent.futures import Executor

from zoobot3d_tf.commands.stage import (
    IMAGE_ROOT,
    LABEL_COLUMN,
    LABEL_VALUES,
    SCHEMA,
    UNASKED,
    Stage,
    add_max_failed,
    add_overwrite_or_resume,
    add_split,
    add_stretch,
    at_least,
    given,
    names,
    split_off,
)
from zoobot3d_tf.files import path_of
from zoobot3d_tf.machine import available_cores


def _shards_arguments(parser: argparse.ArgumentParser) -> None:
    from zoobot3d_tf.labels import LABEL_KINDS
    from zoobot3d_tf.shards.options import ShardOptions

    add = parser.add_argument
    add(
        "--labelled-catalog",
        type=path_of,
        required=True,
        help="Catalogue with votes, masks or labels: CSV, Parquet, FITS or ECSV, one row per galaxy",
    )
    add("--unlabelled-catalog", type=path_of, help="Catalogue of galaxies without votes, masks or labels, if any")
    add("--shard-dir", type=path_of, required=True, help="Shard folder to fill")
    add("--schema", help=f"{SCHEMA}. With none, votes are not read (default: decals, or none with --label-col)")
    add(
        "--label-col",
        metavar="COLUMN",
        help=f"Column to learn in addition to votes and masks, {LABEL_COLUMN}",
    )
    add("--label-kind", choices=LABEL_KINDS, help="Kind of --label-col (default: guessed from its values)")
    add("--label-values", type=names, metavar="VALUE,...", help=LABEL_VALUES)
    add(
        "--img-size",
        type=at_least(16),
        default=ShardOptions.img_size,
        help="Height and width of the images in the shards, in pixels",
    )
    add_stretch(parser, ShardOptions.stretch)
    add_split(parser)
    add("--image-root", type=path_of, help=IMAGE_ROOT)
    add("--max-labelled", type=at_least(1), help="Largest number of labelled galaxies to use (default: all)")
    add("--max-unlabelled", type=at_least(1), help="Largest number of unlabelled galaxies to use (default: all)")
    add("--missing-questions-unasked", action="store_true", help=UNASKED)
    add("--shard-size", type=at_least(1), default=ShardOptions.shard_size, help="Number of galaxies per file")
    add(
        "--seed",
        type=at_least(0),
        default=ShardOptions.seed,
        help="Random seed of the order of galaxies; it does not change which galaxies are used for validation",
    )
    add_max_failed(parser)
    add("--workers", type=at_least(1), default=available_cores(), help="Number of processes")
    add("--scheduler", metavar="tcp://HOST:PORT", help="Run on this Dask cluster (extra [scale])")
    add_overwrite_or_resume(parser)


def _shards(args: argparse.Namespace) -> None:
    from zoobot3d_tf.schemas import load_schema
    from zoobot3d_tf.shards.options import ShardOptions
    from zoobot3d_tf.shards.write import create_shards

    options = ShardOptions(**split_off(given(args), ShardOptions))
    name = args.schema or ("none" if args.label_col else "decals")
    schema = None if name == "none" else load_schema(name)
    with executor_of(args.scheduler) as executor:
        print(create_shards(args.labelled_catalog, args.shard_dir, schema, options, args.unlabelled_catalog, executor))


def executor_of(scheduler: str | None) -> contextlib.AbstractContextManager[Executor | None]:
    """Connect to the Dask cluster at an address. Without an address the executor is None, which means local workers."""
    if scheduler is None:
        return contextlib.nullcontext()
    from zoobot3d_tf.extras import require

    require("distributed", "scheduler")
    from dask.distributed import Client

    return Client(scheduler).get_executor()


STAGES = {
    "shards": Stage(
        "Write the galaxies of a catalogue to TFRecord files (shards), for training.",
        "Writes train_shards/, eval_shards/ (for validation), unlabelled_shards/, shards.json and failed.csv. The "
        "shards do not depend on the number of processes.",
        "zoobot3d shards --labelled-catalog catalog.csv --shard-dir shards --schema decals --img-size 300 "
        "--eval-size 5000",
        _shards_arguments,
        _shards,
    ),
}
