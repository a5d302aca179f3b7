"""The commands about features: compute, compress, find neighbours and anomalies, draw a map."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from zoobot3d_tf.commands.stage import IMAGE_ROOT, RUN, TABLE, Stage, add_max_failed, at_least, given
from zoobot3d_tf.files import path_of

if TYPE_CHECKING:
    import pandas as pd


def _representations_arguments(parser: argparse.ArgumentParser) -> None:
    from zoobot3d_tf.inference.options import DEFAULT_BATCH_SIZE, DEFAULT_ENGINE, ENGINES

    add = parser.add_argument
    add("run_folder", metavar="RUN", help=RUN)
    add(
        "source",
        metavar="INPUT",
        help="Galaxies: a folder of images, an image, a shard folder, a catalogue, or a list of images (.txt, or - for "
        "standard input)",
    )
    add("--out", dest="save_loc", type=path_of, required=True, metavar="TABLE", help="Table to write: .parquet")
    add("--overwrite", action="store_true", help="Replace a table that is complete")
    add(
        "--level",
        default="top",
        choices=("top", "P1", "P2", "P3", "P4", "P5"),
        help="Layer of the encoder that gives the features: top is the last layer, P1 the first (ConvNeXt: P2)",
    )
    add("--recursive", action="store_true", help="Include the sub-folders of a folder of images")
    add("--image-root", type=path_of, help=IMAGE_ROOT)
    add(
        "--engine",
        default=DEFAULT_ENGINE,
        choices=ENGINES,
        help="Program that runs the network (openvino: extra [fast])",
    )
    add("--batch-size", type=at_least(1), default=DEFAULT_BATCH_SIZE, help="Number of galaxies per step on a GPU")
    add_max_failed(parser)


def _representations(args: argparse.Namespace) -> None:
    from zoobot3d_tf.representations.features import write_features

    options = given(args)
    where = {name: options.pop(name, None) for name in ("source", "recursive", "image_root")}
    print(write_features(_galaxies(**where), **options))


def _galaxies(source: str, recursive: bool, image_root: Path | None) -> "pd.DataFrame":
    """List the galaxies of an input. Its path shows whether it is a folder, an image, a catalogue or a list."""
    from zoobot3d_tf.inference import inputs
    from zoobot3d_tf.shards.manifest import MANIFEST_NAME

    path = path_of(source)
    is_list, is_folder = source == "-" or path.suffix.lower() == ".txt", path.is_dir()
    is_one = not is_list and inputs.is_image(path)
    if recursive and not is_folder:
        raise ValueError(f"--recursive applies to a folder of images; {source} is not one, omit the option")
    if image_root and (is_list or is_folder or is_one):
        raise ValueError(f"--image-root applies to a catalogue; {source} is not one, omit the option")
    if source != "-" and not path.exists():
        raise FileNotFoundError(f"{source}: no such folder, image, catalogue or list of images")
    if is_list:
        return inputs.galaxies_in_list(source)
    if is_one:
        return inputs.galaxies_in_folder(path)
    if not is_folder:
        return inputs.galaxies_in_catalog(path, image_root)
    if (path / MANIFEST_NAME).is_file() or any(path.glob("*.tfrecord")):
        return inputs.galaxies_in_shards(path)
    return inputs.galaxies_in_folder(path, recursive=recursive)


def _compress_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "features_loc", metavar="FEATURES", type=path_of, help="Table written by `zoobot3d representations`"
    )
    parser.add_argument("--out", type=path_of, required=True, metavar="TABLE", help="Table to write: .parquet")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--n-components", type=at_least(1), help="Number of components to keep (default: 40)")
    what.add_argument(
        "--share",
        type=float,
        help="Keep as many components as are needed for this fraction of the variance, such as 0.95",
    )
    what.add_argument(
        "--pca",
        dest="pca_loc",
        metavar="FILE",
        type=path_of,
        help="Use the PCA that was fitted to other galaxies: <table>_pca.npz",
    )


def _compress(args: argparse.Namespace) -> None:
    from zoobot3d_tf.representations.compress import compress

    print(compress(**given(args)))


def _components_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "components_loc", metavar="COMPONENTS", type=path_of, help="Table written by `zoobot3d compress`"
    )


def _neighbours_arguments(parser: argparse.ArgumentParser) -> None:
    _components_argument(parser)
    add = parser.add_argument
    add(
        "--id",
        dest="id_strs",
        metavar="ID",
        nargs="+",
        required=True,
        help="Ids of the galaxies to find neighbours for",
    )
    add("--k", type=at_least(1), default=12, help="Number of neighbours per galaxy")
    add("--metric", default="euclidean", choices=("euclidean", "cosine"), help="How to measure distances")
    add("--out", type=path_of, required=True, metavar="TABLE", help=TABLE)
    add("--picture", type=path_of, metavar="PNG", help="Also draw each galaxy and its neighbours")


def _neighbours(args: argparse.Namespace) -> None:
    from zoobot3d_tf.pages.thumbnails import check_sheet, draw_neighbours
    from zoobot3d_tf.representations.neighbours import write_neighbours

    options = given(args)
    picture = options.pop("picture", None)
    if picture:
        check_sheet(picture, len(args.id_strs) * (args.k + 1))
    found = write_neighbours(**options)
    print(args.out)
    if picture:
        print(draw_neighbours(picture, args.components_loc, found))


def _anomalies_arguments(parser: argparse.ArgumentParser) -> None:
    _components_argument(parser)
    add = parser.add_argument
    add("--out", type=path_of, required=True, metavar="TABLE", help=TABLE)
    add("--picture", type=path_of, metavar="PNG", help="Also draw the first forty galaxies")
    add(
        "--seed",
        type=at_least(0),
        default=0,
        help="Random seed. If the table has more than 20,000 galaxies, distances are measured to 20,000 galaxies drawn "
        "at random",
    )


def _anomalies(args: argparse.Namespace) -> None:
    from zoobot3d_tf.pages.thumbnails import check_sheet, draw_anomalies
    from zoobot3d_tf.representations.anomalies import write_anomalies

    options = given(args)
    picture = options.pop("picture", None)
    if picture:
        check_sheet(picture, 0)
    ranked = write_anomalies(**options)
    print(args.out)
    if picture:
        print(draw_anomalies(picture, args.components_loc, ranked))


def _map_arguments(parser: argparse.ArgumentParser) -> None:
    _components_argument(parser)
    add = parser.add_argument
    add("--out", type=path_of, required=True, help="Page to write: .html")
    add(
        "--method",
        default="auto",
        choices=("auto", "umap", "pca"),
        help="How to compute the positions of galaxies; auto takes UMAP if it is installed (extra [map])",
    )
    add(
        "--max-galaxies",
        type=at_least(1),
        default=5000,
        help="Show at most this number of galaxies, drawn at random",
    )
    add(
        "--catalog",
        type=path_of,
        metavar="FILE",
        help="Table with id_str and numbers, such as predictions, to colour the galaxies by",
    )


def _map(args: argparse.Namespace) -> None:
    from zoobot3d_tf.pages.map_page import write_map

    print(write_map(**given(args)))


STAGES = {
    "representations": Stage(
        "Compute the features of galaxies with the encoder of a trained model.",
        "If an image cannot be read, only that galaxy is skipped; it is listed in <table>_failed.csv. To continue an "
        "interrupted run, repeat the command.",
        "zoobot3d representations run images --out features.parquet",
        _representations_arguments,
        _representations,
    ),
    "compress": Stage(
        "Compress features to principal components, and print the fraction of the variance that is kept.",
        "The fitted PCA is stored in <table>_pca.npz, to compress other galaxies with it.",
        "zoobot3d compress features.parquet --n-components 40 --out components.parquet",
        _compress_arguments,
        _compress,
    ),
    "neighbours": Stage(
        "Find the galaxies that are most similar to given galaxies.",
        "",
        "zoobot3d neighbours components.parquet --id J112953.88 --out neighbours.csv --picture neighbours.png",
        _neighbours_arguments,
        _neighbours,
    ),
    "anomalies": Stage(
        "Rank galaxies from the most to the least unusual.",
        "The rank follows from the distance to the tenth-nearest neighbour.",
        "zoobot3d anomalies components.parquet --out anomalies.csv --picture anomalies.png",
        _anomalies_arguments,
        _anomalies,
    ),
    "map": Stage(
        "Write a page with a map on which similar galaxies lie close together.",
        "Open the page in a browser; it needs no server and no internet.",
        "zoobot3d map components.parquet --catalog predictions.parquet --out map.html",
        _map_arguments,
        _map,
    ),
}
