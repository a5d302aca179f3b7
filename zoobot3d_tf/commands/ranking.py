"""The command that ranks the galaxies of a table of predictions by what their votes would teach."""

import argparse

from zoobot3d_tf.commands.stage import SCHEMA, TABLE, Stage, at_least, given, split_off
from zoobot3d_tf.files import path_of


def _rank_arguments(parser: argparse.ArgumentParser) -> None:
    from zoobot3d_tf.active_learning.options import POOL, RANKINGS, AcquisitionOptions

    add = parser.add_argument
    add(
        "table_loc",
        metavar="TABLE",
        type=path_of,
        help="Table written by `zoobot3d predict`, with --samples or as .hdf5",
    )
    add(
        "--by",
        default="mutual-information",
        choices=RANKINGS,
        help="Acquisition function, of which the galaxies with the highest values are listed (docs/active_learning.md)",
    )
    add("--n", type=at_least(1), required=True, help="Number of galaxies to list")
    add("--out", type=path_of, metavar="TABLE", help=f"{TABLE} (default: print the list)")
    add(
        "--features",
        dest="features_loc",
        metavar="FILE",
        type=path_of,
        help="Table written by `zoobot3d representations` or `zoobot3d compress`. The list then has galaxies that "
        f"differ from each other, out of the {POOL} times as many galaxies with the highest values",
    )
    add(
        "--n-votes",
        type=at_least(1),
        default=AcquisitionOptions.n_votes,
        help="Number of volunteers who are going to answer each question",
    )
    add("--question", help="Count only this question, such as bar (default: all questions)")
    add("--answer", help="With --by fraction-above: the answer, such as smooth-or-featured_featured-or-disk")
    add(
        "--bound",
        type=float,
        default=AcquisitionOptions.bound,
        help="With --by fraction-above: rank by the probability that the vote fraction of --answer is larger",
    )
    add("--seed", type=at_least(0), default=AcquisitionOptions.seed, help="Random seed of --by random")
    add("--schema", help=f"{SCHEMA} (default: as the metadata of the table say)")


def _rank(args: argparse.Namespace) -> None:
    from zoobot3d_tf.active_learning.options import AcquisitionOptions
    from zoobot3d_tf.active_learning.ranking import rank_galaxies
    from zoobot3d_tf.schemas import load_schema

    arguments = given(args)
    options = AcquisitionOptions(**split_off(arguments, AcquisitionOptions))
    if "schema" in arguments:
        arguments["schema"] = load_schema(args.schema)
    ranked = rank_galaxies(**arguments, options=options)
    print(args.out or ranked.to_csv(index=False), end="\n" if args.out else "")


STAGES = {
    "al rank": Stage(
        "List the galaxies of a table of predictions that volunteers should be asked about next.",
        "Tables in CSV, Parquet and HDF5 are read in pieces, and may be larger than memory.",
        "zoobot3d al rank predictions.parquet --by mutual-information --n 500 --out list.csv",
        _rank_arguments,
        _rank,
    ),
}
