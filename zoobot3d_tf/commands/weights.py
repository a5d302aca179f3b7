"""The commands that take a trained model elsewhere: new tasks, other formats, and the Hugging Face hub.

Parsers stand beside the function that runs them. What is slow to import is imported inside.
"""

import argparse
from pathlib import Path

from zoobot3d_tf.commands.stage import Stage, at_least, given
from zoobot3d_tf.machine import available_cores


def _finetune_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--catalog", type=Path, required=True, help="CSV, Parquet, FITS or ECSV table, a row a galaxy")
    add("--label-col", metavar="COLUMN", help="its column to learn: yes or no, a class, or a number")
    add("--schema", help="or the decision tree whose votes to learn: its name, or a .yaml or .json file")
    add(
        "--task",
        choices=("binary", "multiclass", "regression", "counts", "masks"),
        help="what is to be learned (default: as the column looks; counts with --schema; else masks)",
    )
    add("--save-dir", type=Path, required=True, help="the run folder to fill or to go on with")
    add("--base", default="shipped", metavar="RUN", help="run folder to begin with, hf://owner/name, or shipped")
    add("--image-root", type=Path, help="folder that relative paths start from (default: the catalogue's)")
    add("--eval-size", type=float, default=0.2, help="galaxies to validate on: about so many, or a share below 1")
    add("--n-blocks", type=at_least(0), default=0, help="last blocks of the encoder to train in a second stage")
    add("--layer-decay", type=float, default=1.0, help="factor of the rate from each of these to the one below")
    add("--learning-rate", type=float, default=1e-3, help="highest rate of AdamW for the new head")
    add("--blocks-learning-rate", type=float, default=1e-4, help="likewise, in the second stage")
    add("--epochs", type=at_least(1), default=50, help="at most so many in each stage")
    add("--patience", type=at_least(1), default=10, help="end a stage after so many epochs without improvement")
    add("--batch-size", type=at_least(1), default=32, help="galaxies a step")
    add("--crop-size", type=at_least(16), help="central part that the network sees, pixels (default: as the base)")
    add("--resize-size", type=at_least(32), help="size of the network's input (default: as the base)")
    add("--seed", type=at_least(0), default=0, help="of weights, order and augmentation")


def _finetune(args: argparse.Namespace) -> None:
    from zoobot3d_tf.finetuning.finetune import finetune

    finetune(**given(args), workers=available_cores())
    print(args.save_dir)


def _export_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("run_folder", metavar="RUN", help="the run folder, or hf://owner/name")
    add("--format", required=True, choices=("keras", "saved_model", "onnx", "openvino", "litert"), help="what to write")
    add("--out", type=Path, required=True, help="file to write, or folder of a SavedModel")


def _export(args: argparse.Namespace) -> None:
    from zoobot3d_tf.runs.export import export_model

    print(export_model(args.run_folder, args.out, args.format))


def _pack_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_folder", metavar="RUN", help="the run folder, or hf://owner/name")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to fill")


def _pack(args: argparse.Namespace) -> None:
    from zoobot3d_tf.runs.packing import pack_run

    print(pack_run(args.run_folder, args.out))


def _push_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_folder", metavar="RUN", type=Path, help="the run folder")
    parser.add_argument("repository", metavar="OWNER/NAME", help="of the hub; made if it is missing")


def _push(args: argparse.Namespace) -> None:
    from zoobot3d_tf.runs.hub import push_to_hub

    print(push_to_hub(args.run_folder, args.repository))


STAGES = {
    "finetune": Stage(
        "Teach a trained network a new task from a catalogue of labelled galaxies.",
        "Fills the run folder, from which predictions can start, with the network, its scores (validation.json) and "
        "plots. Run again after an interruption, it goes on where it was.",
        "zoobot3d finetune --catalog rings.csv --label-col ring --save-dir run",
        _finetune_arguments,
        _finetune,
    ),
    "export": Stage(
        "Write a trained model in another format, for use without this package.",
        "Takes images 0..255 and gives out concentrations and masks; what else there is to know stands in a JSON file "
        "beside it (extra [export]).",
        "zoobot3d export run --format onnx --out model.onnx",
        _export_arguments,
        _export,
    ),
    "pack": Stage(
        "Write what predictions need of a run, small: its configuration, and its weights in half precision.",
        "The folder is a run folder to predict with, like any other.",
        "zoobot3d pack run --out packed",
        _pack_arguments,
        _pack,
    ),
    "push": Stage(
        "Publish a run folder on the Hugging Face hub, with a model card made of it.",
        "Log in with `hf auth login` first (extra [hub]).",
        "zoobot3d push run owner/galaxies",
        _push_arguments,
        _push,
    ),
}
