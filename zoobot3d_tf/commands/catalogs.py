"""The commands that make a training catalogue: cross-match, build, rings."""

import argparse
from pathlib import Path

from zoobot3d_tf.commands.stage import SCHEMA, TABLE, Stage, at_least, given, names
from zoobot3d_tf.common_tree import CLASS_VOTES
from zoobot3d_tf.files import path_of


def _crossmatch_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    formats = "CSV, Parquet, FITS, VOTable, ECSV, .tar.gz of a FITS file (see docs/data.md)"
    add("left_loc", metavar="LEFT", type=path_of, help=f"Table of galaxies: {formats}")
    add("right_loc", metavar="RIGHT", type=path_of, help=f"Table to match with: {formats}; or a folder of Parquet")
    add("--out", type=path_of, required=True, help=TABLE)
    add(
        "--radius",
        dest="radius_arcsec",
        metavar="ARCSEC",
        type=float,
        default=3.0,
        help="Largest separation of a match, in arcsec",
    )
    add(
        "--left-position",
        type=names,
        default="ra,dec",
        metavar="RA,DEC",
        help="Columns of right ascension and declination in LEFT, in degrees",
    )
    add(
        "--right-position",
        type=names,
        default="ra,dec",
        metavar="RA,DEC",
        help="Columns of right ascension and declination in RIGHT, in degrees",
    )
    add("--right-columns", type=names, metavar="COLUMN,...", help="Columns of RIGHT to keep (default: all)")
    add(
        "--one-to-one",
        action="store_true",
        help="If several galaxies of LEFT have the same nearest galaxy of RIGHT, keep only the match with the smallest "
        "separation",
    )
    add("--keep-unmatched", action="store_true", help="Keep galaxies of LEFT without a match")


def _crossmatch(args: argparse.Namespace) -> None:
    from zoobot3d_tf.catalogs.crossmatch import match_files

    print(match_files(**given(args)))


def _partition_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("table_loc", metavar="TABLE", type=path_of, help="Table to sort: a file, or a folder of Parquet files")
    add("--out", type=path_of, required=True, help="Folder to make. `zoobot3d crossmatch` takes it as RIGHT")
    add(
        "--position",
        type=names,
        default="ra,dec",
        metavar="RA,DEC",
        help="Columns of right ascension and declination, in degrees",
    )


def _partition(args: argparse.Namespace) -> None:
    from zoobot3d_tf.catalogs.sky_cells import partition

    print(partition(**given(args)))


def _build_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--images",
        dest="images_loc",
        metavar="TABLE",
        type=path_of,
        required=True,
        help="Catalogue of images, with id_str and file_loc",
    )
    add("--out", type=path_of, required=True, help=TABLE)
    add("--schema", default="decals", help=SCHEMA)
    add(
        *("--votes", "-v"),
        type=_form_and_path,
        action="append",
        metavar="FORM=TABLE",
        help="Table of votes, and its form: columns, gz2, decals-dr12, decals-dr5, decals-dr8, reductions, "
        "classifications or classes (see docs/data.md). May be repeated",
    )
    add(
        "--class-votes",
        type=at_least(1),
        default=CLASS_VOTES,
        metavar="N",
        help="Number of votes that a class counts as, for tables of the form classes",
    )
    add(
        "--tasks",
        dest="tasks_loc",
        metavar="FILE",
        type=path_of,
        help="YAML or JSON file with the question of each task, for Zooniverse exports: the forms reductions and "
        "classifications (see docs/data.md)",
    )
    add("--masks", dest="masks_loc", metavar="TABLE", type=path_of, help="Catalogue written by `zoobot3d masks draw`")
    add(
        "--match-radius",
        dest="match_radius_arcsec",
        metavar="ARCSEC",
        type=float,
        help="Join tables by position within this radius, in arcsec (default: by id_str)",
    )
    add(
        "--predicted",
        dest="predicted_loc",
        metavar="TABLE",
        type=path_of,
        help="Table of predicted vote fractions, for --min-featured and --min-face-on",
    )
    add("--min-featured", type=float, help='Smallest predicted vote fraction of "featured or disk" (default: no cut)')
    add("--min-face-on", type=float, help='Smallest predicted vote fraction of "not edge-on" (default: no cut)')
    add(
        "--split",
        action="store_true",
        help="Add the column split: 70 %% train, 10 %% val, 20 %% test, by a hash of id_str",
    )
    add("--plot", type=path_of, metavar="PNG", help="Also plot the positions and the numbers of votes (extra [plots])")


def _build(args: argparse.Namespace) -> None:
    from zoobot3d_tf.catalogs.build import build_catalog
    from zoobot3d_tf.extras import require
    from zoobot3d_tf.schemas import load_schema

    settings = given(args)
    plot = settings.pop("plot", None)
    schema = load_schema(settings.pop("schema"))
    if plot:
        require("matplotlib", "plot")  # before the work
        from zoobot3d_tf.catalogs.catalog_plot import plot_catalog
    catalog = build_catalog(schema=schema, **settings)
    print(catalog)
    if plot:
        print(plot_catalog(catalog, schema, plot))


def _rings_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("from_loc", metavar="FROM_CATALOG", type=path_of, help="Table of galaxies with votes on rings or a column ring")
    add("--out", type=path_of, required=True, help=TABLE)
    add("--high", type=float, default=0.25, help="A galaxy with a larger fraction of ring votes is a ring")
    add("--low", type=float, default=0.05, help="A galaxy with a smaller fraction of ring votes is not a ring")
    add("--min-featured", type=float, help='Smallest vote fraction of "featured or disk" (default: no cut)')
    add("--min-face-on", type=float, help='Smallest vote fraction of "not edge-on" (default: no cut)')
    add("--min-not-spiral", type=float, help='Smallest vote fraction of "no spiral arms" (default: no cut)')
    add(
        "--tagged",
        dest="tagged_loc",
        metavar="TABLE",
        type=path_of,
        help="Table of the galaxies that volunteers tagged as rings, to use instead of ring votes",
    )


def _rings(args: argparse.Namespace) -> None:
    from zoobot3d_tf.catalogs.rings import ring_catalog

    print(ring_catalog(**given(args)))


def _form_and_path(text: str) -> tuple[str, Path]:
    form, equals, path = text.partition("=")
    if not (form and equals and path):
        raise argparse.ArgumentTypeError(f"expected FORM=TABLE as in decals-dr5=votes.csv; received {text!r}")
    return form, path_of(path)


STAGES = {
    "crossmatch": Stage(
        "Join each galaxy of one table to the nearest galaxy of another table.",
        "Adds the columns separation_arcsec, n_within (number of galaxies of RIGHT within the radius) and shared "
        "(another galaxy of LEFT has the same match). A folder of Parquet files may be larger than memory.",
        "zoobot3d crossmatch gz3d.parquet gz_desi.parquet --out matched.parquet --radius 3",
        _crossmatch_arguments,
        _crossmatch,
    ),
    "partition": Stage(
        "Sort a large table by position on the sky into a folder of Parquet files.",
        "A cross-match with this folder reads only the files that it needs.",
        "zoobot3d partition gz_desi.parquet --out gz_desi_cells",
        _partition_arguments,
        _partition,
    ),
    "catalog build": Stage(
        "Join images, votes and masks into one training catalogue.",
        "Votes may come from several campaigns. Galaxies that have neither votes nor masks are left out. Prints the "
        "numbers of galaxies with votes and with masks.",
        "zoobot3d catalog build --images cutouts/catalog.csv --masks masks/catalog.csv "
        "--votes decals-dr5=dr5_votes.csv --schema decals_all_campaigns_ortho --match-radius 3 "
        "--out catalog.csv --plot catalog.png",
        _build_arguments,
        _build,
    ),
    "rings": Stage(
        "Make a catalogue of galaxies labelled as ring or not, from the votes on rings or from tags.",
        "Galaxies between --low and --high are left out. Use the schema rings with the catalogue.",
        "zoobot3d rings gz_decals_dr5.parquet --out rings.csv --min-featured 0.25 --min-face-on 0.75",
        _rings_arguments,
        _rings,
    ),
}
