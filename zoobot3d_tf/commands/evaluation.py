"""The command that compares predictions with the votes and masks of volunteers."""

import argparse

from zoobot3d_tf.commands.stage import IMAGE_ROOT, SCHEMA, UNASKED, Stage, at_least, given
from zoobot3d_tf.files import path_of


def _report_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--predictions",
        dest="predictions_path",
        metavar="TABLE",
        type=path_of,
        required=True,
        help="Table written by `zoobot3d predict`",
    )
    add(
        "--catalog",
        dest="catalog_path",
        metavar="TABLE",
        type=path_of,
        required=True,
        help="Catalogue of the same galaxies, with votes or masks of volunteers",
    )
    add("--schema", help=f"Of the catalogue. {SCHEMA} (default: the tree in the metadata of the predictions)")
    add("--image-root", type=path_of, help=IMAGE_ROOT)
    add("--missing-questions-unasked", action="store_true", help=UNASKED)
    add("--n-galaxies", type=at_least(1), default=24, help="Number of galaxies to show")
    add("--out", type=path_of, required=True, help="Page to write: .html")


def _report(args: argparse.Namespace) -> None:
    from zoobot3d_tf.pages.report import write_report
    from zoobot3d_tf.schemas import load_schema

    schema = None if args.schema is None else load_schema(args.schema)
    print(write_report(**given(args) | {"schema": schema}))


STAGES = {
    "report": Stage(
        "Compare predictions with the votes and masks of volunteers, on one page.",
        "The page shows scores and baselines, then galaxies with predicted and true masks and votes.",
        "zoobot3d report --predictions predictions.csv --catalog catalog.csv --out report.html",
        _report_arguments,
        _report,
    ),
}
