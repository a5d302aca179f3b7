"""The commands that export, pack and publish a trained model."""

import argparse

from zoobot3d_tf.commands.stage import RUN, Stage, given
from zoobot3d_tf.files import path_of


def _export_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("run_folder", metavar="RUN", help=RUN)
    add(
        "--format",
        required=True,
        choices=("keras", "saved_model", "onnx", "openvino", "litert"),
        help="Format to write",
    )
    add("--out", type=path_of, required=True, help="File to write; for saved_model, a folder to make")
    add(
        "--framing",
        action="store_true",
        help="Put the crop and resizing in front: the model takes images of any size, and masks have their pixel grid",
    )


def _export(args: argparse.Namespace) -> None:
    from zoobot3d_tf.runs.export import export_model

    print(export_model(args.run_folder, args.out, args.format, args.framing))


def _pack_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_folder", metavar="RUN", help=RUN)
    parser.add_argument("--out", type=path_of, required=True, metavar="DIR", help="Folder to fill")


def _pack(args: argparse.Namespace) -> None:
    from zoobot3d_tf.runs.packing import pack_run

    print(pack_run(args.run_folder, args.out))


def _push_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", type=path_of, help="Run folder of the trained model")
    parser.add_argument(
        "repository", metavar="OWNER/NAME", help="Repository on the hub; it is created if it does not exist"
    )
    parser.add_argument(
        "--private", action="store_true", help="Only the owner, and those whom the owner allows, can see the repository"
    )


def _push(args: argparse.Namespace) -> None:
    from zoobot3d_tf.runs.hub import push_to_hub

    print(push_to_hub(**given(args)))


STAGES = {
    "export": Stage(
        "Write a trained model in another format, for use without this package.",
        "The model takes images with pixels from 0 to 255, and returns the concentrations of votes, and masks. "
        "<out>.json describes the input and the outputs. Some formats need the extra [export].",
        "zoobot3d export run --format keras --framing --out model.keras",
        _export_arguments,
        _export,
    ),
    "pack": Stage(
        "Copy the files that predictions need from a run folder: configuration, and weights in half precision.",
        "The result is a run folder of half the size.",
        "zoobot3d pack run --out packed",
        _pack_arguments,
        _pack,
    ),
    "push": Stage(
        "Publish a run folder on the Hugging Face hub, with a description (model card).",
        "Log in with `hf auth login` first (extra [hub]).",
        "zoobot3d push run owner/galaxies",
        _push_arguments,
        _push,
    ),
}
