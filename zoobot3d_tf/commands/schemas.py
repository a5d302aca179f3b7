"""The command about decision trees."""

import argparse

from zoobot3d_tf.commands.stage import Stage


def _schemas_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "name", nargs="?", help="Decision tree to print: a name, or a .yaml or .json file (default: list all names)"
    )


def _schemas(args: argparse.Namespace) -> None:
    from zoobot3d_tf.label_metadata import tree_notes
    from zoobot3d_tf.schemas import load_schema, schema_names, tree_text

    if args.name:
        print(tree_text(load_schema(args.name)))
        return
    names = schema_names()
    width = max(map(len, names))
    print("\n".join(f"{name:{width}}  {tree_notes[name]}" for name in names))


STAGES = {
    "schemas": Stage(
        "Print a decision tree, or the names of all decision trees and what they are for.",
        "",
        "zoobot3d schemas decals",
        _schemas_arguments,
        _schemas,
    ),
}
