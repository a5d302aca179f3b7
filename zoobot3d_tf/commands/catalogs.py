"""The commands from the survey archives to a training catalogue.

Parsers stand beside the function that runs them. What is slow to import is imported inside.
"""

import argparse
from pathlib import Path

from zoobot3d_tf.commands.stage import Stage, at_least, given, names
from zoobot3d_tf.machine import available_cores

TABLE = "table to write: .csv, .parquet, .fits or .ecsv"


def _gz3d_download_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--out", type=Path, required=True, help="folder to fill; what is whole there is not fetched again")
    add("--limit", type=at_least(1), help="take only so many files, the first by name")
    add("--workers", type=at_least(1), default=4, help="files to fetch at once")
    add("--base-url", help="the archive's folder on a mirror (default: that of SDSS DR17)")


def _gz3d_download(args: argparse.Namespace) -> None:
    from zoobot3d_tf.surveys.gz3d_archive import download_archive

    summary = download_archive(**given(args))
    print(f"{summary.n_fetched} files fetched, {summary.n_present} there already, {len(summary.failures)} failed")


def _gz3d_catalog_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("folder", metavar="DIR", type=Path, help="folder of gz3d_*.fits.gz files")
    add("--out", type=Path, required=True, help=TABLE)
    add("--workers", type=at_least(1), default=available_cores(), help="processes")


def _gz3d_catalog(args: argparse.Namespace) -> None:
    from zoobot3d_tf.surveys.gz3d import gz3d_catalog

    print(gz3d_catalog(**given(args)))


def _gz3d_marks_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("folder", metavar="DIR", type=Path, help="folder of gz3d_*.fits.gz files")
    add("--out", type=Path, required=True, help="folder to fill")
    add("--workers", type=at_least(1), default=available_cores(), help="processes")


def _gz3d_marks(args: argparse.Namespace) -> None:
    from zoobot3d_tf.surveys.gz3d import gz3d_marks

    print(gz3d_marks(**given(args)))


def _sami_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("targets_loc", metavar="TARGETS", type=Path, help="SAMI's table of targets, often a .tar.gz")
    parser.add_argument("--out", type=Path, required=True, help=TABLE)


def _sami(args: argparse.Namespace) -> None:
    from zoobot3d_tf.surveys.sami import sami_catalog

    print(sami_catalog(**given(args)))


def _crossmatch_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("left_loc", metavar="LEFT", type=Path, help="CSV, Parquet, FITS, VOTable, ECSV, or .tar.gz of a FITS table")
    add("right_loc", metavar="RIGHT", type=Path, help="likewise, or a folder of Parquet files")
    add("--out", type=Path, required=True, help=TABLE)
    add("--radius", dest="radius_arcsec", metavar="ARCSEC", type=float, default=3.0, help="match no further than this")
    add("--left-position", type=names, default="ra,dec", metavar="RA,DEC", help="columns of positions, degrees")
    add("--right-position", type=names, default="ra,dec", metavar="RA,DEC", help="likewise in RIGHT")
    add("--right-columns", type=names, help="columns of RIGHT to keep (default: all)")
    add("--one-to-one", action="store_true", help="of several galaxies with one nearest match, take only the closest")
    add("--keep-unmatched", action="store_true", help="keep galaxies without a match")


def _crossmatch(args: argparse.Namespace) -> None:
    from zoobot3d_tf.catalogs.crossmatch import match_files

    print(match_files(**given(args)))


def _partition_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("table_loc", metavar="TABLE", type=Path, help="table, or a folder of Parquet files")
    parser.add_argument("--out", type=Path, required=True, help="folder to make, for RIGHT of `zoobot3d crossmatch`")
    parser.add_argument(
        "--position", type=names, default="ra,dec", metavar="RA,DEC", help="columns of positions, degrees"
    )


def _partition(args: argparse.Namespace) -> None:
    from zoobot3d_tf.catalogs.sky_cells import partition

    print(partition(**given(args)))


def _cutouts_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("catalog_loc", metavar="CATALOG", type=Path, help="table of galaxies with id_str and positions in degrees")
    add("--out", type=Path, required=True, help="folder to fill: fits/, images/, catalog.csv")
    add("--survey", default="ls-dr10", help="layer of the service")
    add("--size", type=at_least(16), default=424, help="height and width, pixels, at most 512")
    add("--pixscale", type=float, default=0.262, help="arcsec per pixel")
    add("--pixscale-col", help="column with a pixel scale for each galaxy instead, never taken below 0.1")
    add("--bands", default="grz", help="three or four of griz")
    add("--center-on", choices=("manga", "desi"), help="centre on wcs_ra, wcs_dec or ra_desi, dec_desi, not ra, dec")
    add("--stretch", default="galaxy-zoo", choices=("galaxy-zoo", "lupton"), help="of the colour images")
    add("--image-format", default="png", choices=("png", "jpg"), help="of the colour images")
    add("--workers", type=at_least(1), default=4, help="cutouts to fetch at once")
    add("--limit", type=at_least(1), help="take only the first galaxies")
    add("--base-url", help="address of the service (default: that of the Legacy Surveys' viewer)")


def _cutouts(args: argparse.Namespace) -> None:
    from zoobot3d_tf.surveys.cutouts import download_cutouts

    print(download_cutouts(**given(args)))


def _masks_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--catalog",
        dest="catalog_loc",
        metavar="TABLE",
        type=Path,
        required=True,
        help="catalogue of `zoobot3d cutouts download`",
    )
    add("--marks", dest="marks_dir", metavar="DIR", type=Path, required=True, help="folder of `zoobot3d gz3d marks`")
    add("--out", type=Path, required=True, help="folder to fill: masks and catalog.csv")
    add("--volunteers", type=_places, help="draw only these, by their place in the marks, as in 0,1,2")
    add(
        "--drop-self-crossing",
        action="store_true",
        help="leave out outlines that cross themselves, as GZ3D",
    )
    add("--workers", type=at_least(1), default=available_cores(), help="processes")


def _masks(args: argparse.Namespace) -> None:
    from zoobot3d_tf.surveys.draw_masks import draw_masks

    print(draw_masks(**given(args)))


def _build_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--images",
        dest="images_loc",
        metavar="TABLE",
        type=Path,
        required=True,
        help="catalogue of images, with id_str and file_loc",
    )
    add("--out", type=Path, required=True, help=TABLE)
    add("--schema", default="decals", help="name of the decision tree, or a .yaml or .json file")
    add(
        *("--votes", "-v"),
        type=_form_and_path,
        action="append",
        metavar="FORM=TABLE",
        help="votes; forms: columns, gz2, decals-dr12, decals-dr5, decals-dr8, reductions, classifications; repeatable",
    )
    add(
        "--tasks",
        dest="tasks_loc",
        metavar="FILE",
        type=Path,
        help="file that names the questions of Zooniverse exports, see docs",
    )
    add("--masks", dest="masks_loc", metavar="TABLE", type=Path, help="catalogue of `zoobot3d masks draw`")
    add(
        "--match-radius",
        dest="match_radius_arcsec",
        metavar="ARCSEC",
        type=float,
        help="join by position (default: by id_str)",
    )
    add(
        "--predicted",
        dest="predicted_loc",
        metavar="TABLE",
        type=Path,
        help="table of predicted fractions, for the cuts",
    )
    add("--min-featured", type=float, help="smallest predicted fraction who see features or a disk")
    add("--min-face-on", type=float, help="smallest predicted fraction who see no edge-on disk")
    add("--split", action="store_true", help="add a column: train 70 %%, val 10 %%, test 20 %%, by hash of id_str")
    add("--plot", type=Path, help="also draw the sky and the votes: .png (extra [plots])")


def _build(args: argparse.Namespace) -> None:
    from zoobot3d_tf.catalogs.build import build_catalog
    from zoobot3d_tf.schemas import load_schema

    settings = given(args)
    plot = settings.pop("plot", None)
    schema = load_schema(settings.pop("schema"))
    if plot:
        # Before the work, so that a missing package is told at once.
        from zoobot3d_tf.catalogs.catalog_plot import plot_catalog
    catalog = build_catalog(schema=schema, **settings)
    print(catalog)
    if plot:
        print(plot_catalog(catalog, schema, plot))


def _rings_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("from_loc", metavar="FROM_CATALOG", type=Path, help="table with ring votes or tags")
    add("--out", type=Path, required=True, help=TABLE)
    add("--high", type=float, default=0.25, help="a ring above this share of ring votes")
    add("--low", type=float, default=0.05, help="none below this share")
    add("--min-featured", type=float, help="smallest fraction who see features or a disk")
    add("--min-face-on", type=float, help="smallest fraction who see no edge-on disk")
    add("--min-not-spiral", type=float, help="smallest fraction who see no spiral arms")
    add(
        "--tagged",
        dest="tagged_loc",
        metavar="TABLE",
        type=Path,
        help="table of the galaxies tagged as rings, instead of votes",
    )


def _rings(args: argparse.Namespace) -> None:
    from zoobot3d_tf.catalogs.rings import ring_catalog

    print(ring_catalog(**given(args)))


STAGES = {
    "gz3d download": Stage(
        "Fetch the files of Galaxy Zoo: 3D from the SDSS archive.",
        "Run again, it fetches what is missing. Files that cannot be had are listed in failed.csv.",
        "zoobot3d gz3d download --out gz3d --limit 100",
        _gz3d_download_arguments,
        _gz3d_download,
    ),
    "gz3d catalog": Stage(
        "List Galaxy Zoo: 3D files in a catalogue, a row a galaxy.",
        "Files that cannot be read are listed beside it, in <table>_failed.csv.",
        "zoobot3d gz3d catalog gz3d --out gz3d.parquet",
        _gz3d_catalog_arguments,
        _gz3d_catalog,
    ),
    "gz3d marks": Stage(
        "Write the outlines that volunteers drew, a JSON file a galaxy.",
        "Files that are there are kept.",
        "zoobot3d gz3d marks gz3d --out marks",
        _gz3d_marks_arguments,
        _gz3d_marks,
    ),
    "sami": Stage(
        "Make a catalogue of SAMI's targets, ready for crossmatch and cutouts.",
        "",
        "zoobot3d sami InputCatGAMADR3.tar.gz --out sami.csv",
        _sami_arguments,
        _sami,
    ),
    "crossmatch": Stage(
        "Join two tables by position on the sky.",
        "Adds separation_arcsec, n_within and shared. A folder of Parquet files may be larger than memory.",
        "zoobot3d crossmatch gz3d.parquet gz_desi.parquet --out matched.parquet --radius 3",
        _crossmatch_arguments,
        _crossmatch,
    ),
    "partition": Stage(
        "Sort a large table by position into a folder, so that crossmatch reads only what is near.",
        "",
        "zoobot3d partition gz_desi.parquet --out gz_desi_cells",
        _partition_arguments,
        _partition,
    ),
    "cutouts download": Stage(
        "Fetch Legacy Survey cutouts of galaxies, and make colour images of them.",
        "Writes fits/, images/ (row 0 is north, column 0 is east), cutouts.json, catalog.csv and failed.csv. Run "
        "again, it makes what is missing.",
        "zoobot3d cutouts download matched.parquet --out cutouts --center-on manga --pixscale-col est_dr5_pixscale",
        _cutouts_arguments,
        _cutouts,
    ),
    "masks draw": Stage(
        "Draw volunteers' marks as masks on the grid of the cutouts.",
        "Writes PNGs of counts, catalog.csv with their paths, and failed.csv.",
        "zoobot3d masks draw --catalog cutouts/catalog.csv --marks marks --out masks",
        _masks_arguments,
        _masks,
    ),
    "catalog build": Stage(
        "Join images, votes of any campaigns and masks into one training catalogue.",
        "Prints how many galaxies have what. Galaxies without a vote or a mask are left out.",
        "zoobot3d catalog build --images cutouts/catalog.csv --masks masks/catalog.csv "
        "--votes decals-dr5=dr5_votes.csv --schema decals_all_campaigns_ortho --match-radius 3 "
        "--out catalog.csv --plot catalog.png",
        _build_arguments,
        _build,
    ),
    "rings": Stage(
        "Label galaxies as rings or not by their ring votes, or by tags.",
        "The schema of the catalogue is rings.",
        "zoobot3d rings gz_decals_dr5.parquet --out rings.csv --min-featured 0.25 --min-face-on 0.75",
        _rings_arguments,
        _rings,
    ),
}


def _places(text: str) -> list[int]:
    try:
        return [int(name) for name in names(text)]
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected whole numbers as in 0,1,2; received {text!r}") from None


def _form_and_path(text: str) -> tuple[str, Path]:
    form, equals, path = text.partition("=")
    if not (form and equals and path):
        raise argparse.ArgumentTypeError(f"expected FORM=TABLE as in decals-dr5=votes.csv; received {text!r}")
    return form, Path(path)
