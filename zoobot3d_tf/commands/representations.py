"""The commands about what the network sees: features, their compression, galaxies alike, odd ones, and a map.

Parsers stand beside the function that runs them. What is slow to import is imported inside.
"""

import argparse
from pathlib import Path

from zoobot3d_tf.commands.stage import Stage, at_least, given


def _representations_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("run_folder", metavar="RUN", help="the run folder, hf://owner/name, or shipped: that of the package")
    add(
        "source",
        metavar="INPUT",
        help="folder of images, shard folder, catalogue (id_str, file_loc), or list of images (.txt; - for stdin)",
    )
    add("--out", dest="save_loc", type=Path, required=True, metavar="TABLE", help="table to write: .parquet")
    add("--level", default="top", choices=("top", "P1", "P2", "P3", "P4", "P5"), help="where in the encoder")
    add("--recursive", action="store_true", help="look into sub-folders of a folder of images too")
    add("--image-root", type=Path, help="folder that paths in a catalogue start from (default: the catalogue's)")
    add("--engine", default="auto", choices=("auto", "tf", "openvino"), help="what runs the network (extra [fast])")
    add("--batch-size", type=at_least(1), default=64, help="galaxies a GPU takes at once")


def _representations(args: argparse.Namespace) -> None:
    from zoobot3d_tf.representations.features import write_features

    options = given(args)
    where = {name: options.pop(name, None) for name in ("source", "recursive", "image_root")}
    print(write_features(_galaxies(**where), **options))


def _galaxies(source: str, recursive: bool, image_root: Path | None):
    """The galaxies of an input, whose kind shows."""
    from zoobot3d_tf.inference import inputs
    from zoobot3d_tf.shards.manifest import MANIFEST_NAME

    path = Path(source)
    is_list, is_folder = source == "-" or path.suffix.lower() == ".txt", path.is_dir()
    if recursive and not is_folder:
        raise ValueError(f"--recursive is about a folder of images, which {source} is not; leave it out")
    if image_root and (is_list or is_folder):
        raise ValueError(
            f"--image-root is where the paths in a catalogue start from, and {source} is none; leave it out"
        )
    if source != "-" and not path.exists():
        raise FileNotFoundError(f"{source}: no such folder, catalogue or list of images")
    if is_list:
        return inputs.galaxies_in_list(source)
    if not is_folder:
        return inputs.galaxies_in_catalog(path, image_root)
    if (path / MANIFEST_NAME).is_file() or any(path.glob("*.tfrecord")):
        return inputs.galaxies_in_shards(path)
    return inputs.galaxies_in_folder(path, recursive=recursive)


def _compress_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("features_loc", metavar="FEATURES", type=Path, help="table of `zoobot3d representations`")
    parser.add_argument("--out", type=Path, required=True, metavar="TABLE", help="table to write: .parquet")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--n-components", type=at_least(1), help="how many to keep (default: 40)")
    what.add_argument("--share", type=float, help="or as many as keep this share of the variance, such as 0.95")
    what.add_argument(
        "--pca", dest="pca_loc", metavar="FILE", type=Path, help="or use this one, <table>_pca.npz of other galaxies"
    )


def _compress(args: argparse.Namespace) -> None:
    from zoobot3d_tf.representations.compress import compress

    print(compress(**given(args)))


def _components_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("components_loc", metavar="COMPONENTS", type=Path, help="table of `zoobot3d compress`")


def _neighbours_arguments(parser: argparse.ArgumentParser) -> None:
    _components_argument(parser)
    add = parser.add_argument
    add("--id", dest="id_strs", metavar="ID", nargs="+", required=True, help="galaxies whose like are sought")
    add("--k", type=at_least(1), default=12, help="neighbours each")
    add("--metric", default="euclidean", choices=("euclidean", "cosine"), help="how distance is measured")
    add("--out", type=Path, required=True, metavar="TABLE", help="table to write: CSV, Parquet, FITS or ECSV")
    add("--picture", type=Path, metavar="PNG", help="also draw them")


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
    add("--out", type=Path, required=True, metavar="TABLE", help="table to write: CSV, Parquet, FITS or ECSV")
    add("--picture", type=Path, metavar="PNG", help="also draw the first forty")
    add("--seed", type=at_least(0), default=0, help="of the 20,000 galaxies that those of a larger table are held to")


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
    add("--out", type=Path, required=True, help="page to write: .html")
    add("--method", default="auto", choices=("auto", "umap", "pca"), help="auto: UMAP where installed (extra [map])")
    add("--max-galaxies", type=at_least(1), default=5000, help="show so many at most, drawn at random")
    add("--catalog", type=Path, metavar="FILE", help="table with id_str, as of predictions, to colour galaxies by")


def _map(args: argparse.Namespace) -> None:
    from zoobot3d_tf.pages.map_page import write_map

    print(write_map(**given(args)))


STAGES = {
    "representations": Stage(
        "Compute the features of galaxies: what the encoder sees in them.",
        "An image that cannot be read is listed beside the table and costs nothing else; run again after an "
        "interruption, it goes on where it was.",
        "zoobot3d representations run images --out features.parquet",
        _representations_arguments,
        _representations,
    ),
    "compress": Stage(
        "Compress features to principal components, and say how much of the variance they keep.",
        "The fitted PCA stands beside the table, to compress other galaxies with.",
        "zoobot3d compress features.parquet --n-components 40 --out components.parquet",
        _compress_arguments,
        _compress,
    ),
    "neighbours": Stage(
        "Find galaxies like these.",
        "",
        "zoobot3d neighbours components.parquet --id J112953.88 --out neighbours.csv --picture neighbours.png",
        _neighbours_arguments,
        _neighbours,
    ),
    "anomalies": Stage(
        "Rank galaxies by how little they are like any other.",
        "",
        "zoobot3d anomalies components.parquet --out anomalies.csv --picture anomalies.png",
        _anomalies_arguments,
        _anomalies,
    ),
    "map": Stage(
        "Draw a map on which galaxies alike lie close together, a page to wander on.",
        "It opens from the disk, without a server.",
        "zoobot3d map components.parquet --catalog predictions.parquet --out map.html",
        _map_arguments,
        _map,
    ),
}
