"""The commands that take a trained model elsewhere: other formats, and the Hugging Face hub.

Parsers stand beside the function that runs them. What is slow to import is imported inside.
"""

import argparse
from pathlib import Path

from zoobot3d_tf.commands.stage import Stage


def _export_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("run_folder", metavar="RUN", help="the run folder, or hf://owner/name")
    add("--format", required=True, choices=("keras", "saved_model", "onnx", "openvino", "litert"), help="what to write")
    add("--out", type=Path, required=True, help="file to write, or folder of a SavedModel")


def _export(args: argparse.Namespace) -> None:
    from zoobot3d_tf.export import export_model

    print(export_model(args.run_folder, args.out, args.format))


def _push_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_folder", metavar="RUN", type=Path, help="the run folder")
    parser.add_argument("repository", metavar="OWNER/NAME", help="of the hub; made if it is missing")


def _push(args: argparse.Namespace) -> None:
    from zoobot3d_tf.hub import push_to_hub

    print(push_to_hub(args.run_folder, args.repository))


STAGES = {
    "export": Stage(
        "Write a trained model in another format, for use without this package.",
        "Takes images 0..255 and gives out concentrations and masks; what else there is to know stands in a JSON file "
        "beside it (extra [export]).",
        "zoobot3d export run --format onnx --out model.onnx",
        _export_arguments,
        _export,
    ),
    "push": Stage(
        "Publish a run folder on the Hugging Face hub, with a model card made of it.",
        "Log in with `hf auth login` first (extra [hub]).",
        "zoobot3d push run owner/galaxies",
        _push_arguments,
        _push,
    ),
}
