"""The command about decision trees."""

import argparse

from zoobot3d_tf.commands.stage import Stage


def _schemas_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "name", nargs="?", help="Decision tree to print: a name, or a .yaml or .json file (default: list all names)"
    )


def _schemas(args: argparse.Namespace) -> None:
    from zoobot3d_tf.schemas import load_schema, schema_names, tree_text

    print(tree_text(load_schema(args.name)) if args.name else "\n".join(schema_names()))


STAGES = {
    "schemas": Stage(
        "Print a decision tree, or the names of all decision trees.",
        "",
        "zoobot3d schemas decals",
        _schemas_arguments,
        _schemas,
    ),
}
