"""The command that compares predictions with labels."""

import argparse
from pathlib import Path

from zoobot3d_tf.commands.stage import SCHEMA, Stage, at_least, given


def _report_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--predictions", dest="predictions_path", metavar="TABLE", type=Path, required=True, help="Table of predictions"
    )
    add(
        "--catalog",
        dest="catalog_path",
        metavar="TABLE",
        type=Path,
        required=True,
        help="Labelled catalogue of the same galaxies",
    )
    add("--schema", default="decals", help=SCHEMA)
    add("--image-root", type=Path, help="Folder that relative paths start from (default: the folder of the catalogue)")
    add(
        "--missing-questions-unasked",
        action="store_true",
        help="Accept questions without any column in the catalogue, as asked of nobody",
    )
    add("--n-galaxies", type=at_least(1), default=24, help="Number of galaxies to show")
    add("--out", type=Path, required=True, help="Page to write: .html")


def _report(args: argparse.Namespace) -> None:
    from zoobot3d_tf.pages.report import write_report
    from zoobot3d_tf.schemas import load_schema

    print(write_report(**given(args) | {"schema": load_schema(args.schema)}))


STAGES = {
    "report": Stage(
        "Compare predictions with the answers and drawings of volunteers, on one page.",
        "Shows scores beside baselines, then galaxies with predicted and true masks and votes.",
        "zoobot3d report --predictions predictions.csv --catalog catalog.csv --schema decals --out report.html",
        _report_arguments,
        _report,
    ),
}
