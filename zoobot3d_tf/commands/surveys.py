"""The commands about survey archives: Galaxy Zoo: 3D, SAMI, Legacy Survey cutouts, and masks on their pixel grid."""

import argparse

from zoobot3d_tf.commands.stage import TABLE, Stage, add_max_failed, add_stretch, at_least, given, names, split_off
from zoobot3d_tf.files import path_of
from zoobot3d_tf.machine import available_cores


def _gz3d_download_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--out", type=path_of, required=True, help="Folder to fill; complete files in it are kept")
    add("--limit", type=at_least(1), help="Number of files to download, in the order of their names (default: all)")
    add("--workers", type=at_least(1), default=4, help="Number of simultaneous downloads")
    add_max_failed(parser)
    add("--base-url", help="Address of the folder on a mirror of the archive (default: SDSS DR17)")


def _gz3d_download(args: argparse.Namespace) -> None:
    from zoobot3d_tf.surveys.gz3d_archive import download_archive

    summary = download_archive(**given(args))
    print(f"{summary.n_fetched} files downloaded, {summary.n_present} already present, {len(summary.failures)} failed")


def _gz3d_catalog_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("folder", metavar="DIR", type=path_of, help="Folder of gz3d_*.fits.gz files")
    add("--out", type=path_of, required=True, help=TABLE)
    add("--workers", type=at_least(1), default=available_cores(), help="Number of processes")
    add_max_failed(parser)


def _gz3d_catalog(args: argparse.Namespace) -> None:
    from zoobot3d_tf.surveys.gz3d import gz3d_catalog

    print(gz3d_catalog(**given(args)))


def _gz3d_marks_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("folder", metavar="DIR", type=path_of, help="Folder of gz3d_*.fits.gz files")
    add("--out", type=path_of, required=True, help="Folder to fill; existing files are kept")
    add("--workers", type=at_least(1), default=available_cores(), help="Number of processes")
    add_max_failed(parser)


def _gz3d_marks(args: argparse.Namespace) -> None:
    from zoobot3d_tf.surveys.gz3d import gz3d_marks

    print(gz3d_marks(**given(args)))


def _sami_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "targets_loc", metavar="TARGETS", type=path_of, help="Published table of SAMI targets: a table or its .tar.gz"
    )
    parser.add_argument("--out", type=path_of, required=True, help=TABLE)


def _sami(args: argparse.Namespace) -> None:
    from zoobot3d_tf.surveys.sami import sami_catalog

    print(sami_catalog(**given(args)))


def _cutouts_arguments(parser: argparse.ArgumentParser) -> None:
    from zoobot3d_tf.surveys.cutout_options import CENTERS, IMAGE_FORMATS, MAX_SIZE, MIN_PIXSCALE, CutoutOptions

    add = parser.add_argument
    add("catalog_loc", metavar="CATALOG", type=path_of, help="Table with id_str, ra and dec (degrees)")
    add("--out", type=path_of, required=True, help="Folder to fill with fits/, images/ and catalog.csv")
    add("--survey", default=CutoutOptions.survey, help="Layer of the cutout service, such as a data release")
    add(
        "--size",
        type=at_least(16),
        default=CutoutOptions.size,
        help=f"Height and width of the cutouts, in pixels, at most {MAX_SIZE}",
    )
    add("--pixscale", type=float, default=CutoutOptions.pixscale, help="Pixel scale, in arcsec per pixel")
    add(
        "--pixscale-col",
        metavar="COLUMN",
        help="Column with the pixel scale of each galaxy, instead of --pixscale. Values below "
        f"{MIN_PIXSCALE:g} are replaced by {MIN_PIXSCALE:g}",
    )
    add("--bands", default=CutoutOptions.bands, help="Three or four of the bands g, r, i, z")
    add(
        "--center-on",
        choices=CENTERS,
        help="Columns with the centre of the cutouts: manga for wcs_ra and wcs_dec, the centre of the marks of Galaxy "
        "Zoo: 3D; desi for ra_desi and dec_desi (default: ra and dec)",
    )
    add_stretch(parser, CutoutOptions.stretch)
    add("--image-format", default=CutoutOptions.image_format, choices=IMAGE_FORMATS, help="Format of the colour images")
    add("--workers", type=at_least(1), default=4, help="Number of simultaneous downloads")
    add("--limit", type=at_least(1), help="Use only this number of galaxies, the first ones (default: all)")
    add_max_failed(parser)
    add("--base-url", help="Address of the cutout service (default: the viewer of the Legacy Surveys)")


def _cutouts(args: argparse.Namespace) -> None:
    from zoobot3d_tf.surveys.cutout_options import CutoutOptions
    from zoobot3d_tf.surveys.cutouts import download_cutouts

    settings = given(args)
    options = CutoutOptions(**split_off(settings, CutoutOptions))
    print(download_cutouts(options=options, **settings))


def _masks_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--catalog",
        dest="catalog_loc",
        metavar="TABLE",
        type=path_of,
        required=True,
        help="Catalogue written by `zoobot3d cutouts download`",
    )
    add(
        "--marks",
        dest="marks_dir",
        metavar="DIR",
        type=path_of,
        required=True,
        help="Folder written by `zoobot3d gz3d marks`",
    )
    add("--out", type=path_of, required=True, help="Folder to fill with masks and catalog.csv")
    add(
        "--volunteers",
        type=_places,
        metavar="N,N,...",
        help="Volunteers whose outlines are drawn: their indices in the marks, from 0 (default: all)",
    )
    add(
        "--drop-self-crossing",
        action="store_true",
        help="Omit outlines that cross themselves, as in the published masks of Galaxy Zoo: 3D",
    )
    add("--workers", type=at_least(1), default=available_cores(), help="Number of processes")
    add_max_failed(parser)


def _masks(args: argparse.Namespace) -> None:
    from zoobot3d_tf.surveys.draw_masks import draw_masks

    print(draw_masks(**given(args)))


def _places(text: str) -> list[int]:
    try:
        return [int(name) for name in names(text)]
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected whole numbers as in 0,1,2; received {text!r}") from None


STAGES = {
    "gz3d download": Stage(
        "Download the files of Galaxy Zoo: 3D from the SDSS archive.",
        "Repeat the command to download missing files. Files that cannot be downloaded are listed in failed.csv.",
        "zoobot3d gz3d download --out gz3d --limit 100",
        _gz3d_download_arguments,
        _gz3d_download,
    ),
    "gz3d catalog": Stage(
        "Make a catalogue from files of Galaxy Zoo: 3D, one row per galaxy.",
        "Files that cannot be read are listed in <table>_failed.csv.",
        "zoobot3d gz3d catalog gz3d --out gz3d.parquet",
        _gz3d_catalog_arguments,
        _gz3d_catalog,
    ),
    "gz3d marks": Stage(
        "Read the outlines that volunteers drew (marks), and write one JSON file per galaxy.",
        "Existing files are kept.",
        "zoobot3d gz3d marks gz3d --out marks",
        _gz3d_marks_arguments,
        _gz3d_marks,
    ),
    "sami": Stage(
        "Make a catalogue of the targets of the SAMI survey, for cross-matches and cutouts.",
        "",
        "zoobot3d sami InputCatGAMADR3.tar.gz --out sami.csv",
        _sami_arguments,
        _sami,
    ),
    "cutouts download": Stage(
        "Download Legacy Survey cutouts of galaxies, and make colour images of them.",
        "Writes fits/, images/ (row 0 is north, column 0 is east), cutouts.json, catalog.csv and failed.csv. Repeat "
        "the command to download missing cutouts.",
        "zoobot3d cutouts download matched.parquet --out cutouts --center-on manga --pixscale-col est_dr5_pixscale",
        _cutouts_arguments,
        _cutouts,
    ),
    "masks draw": Stage(
        "Make masks from the outlines that volunteers drew (marks), on the pixel grid of the cutouts.",
        "Writes one PNG per mask with the number of volunteers who enclosed each pixel, catalog.csv with the paths of "
        "the masks, and failed.csv.",
        "zoobot3d masks draw --catalog cutouts/catalog.csv --marks marks --out masks",
        _masks_arguments,
        _masks,
    ),
}
