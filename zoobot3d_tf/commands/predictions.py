"""The commands that predict galaxies and show the predictions."""

import argparse
from pathlib import Path

from zoobot3d_tf.commands.shards import executor_of
from zoobot3d_tf.commands.stage import (
    IMAGE_ROOT,
    RUN,
    SCHEMA,
    UNASKED,
    Stage,
    add_max_failed,
    add_stretch,
    at_least,
    given,
    names,
    split_off,
)
from zoobot3d_tf.files import path_of

DEFAULT_TABLE = Path("predictions.csv")


def _predict_arguments(parser: argparse.ArgumentParser) -> None:
    from zoobot3d_tf.predictions.options import ENGINES, MASK_FORMATS, NAMES, PredictionOptions
    from zoobot3d_tf.runs.run_folder import SHIPPED

    add = parser.add_argument
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--checkpoint-dir", metavar="RUN", default=SHIPPED, help=RUN)
    which.add_argument(
        "--runs",
        metavar="RUN",
        nargs="+",
        help="Instead of --checkpoint-dir: several trained models with the same decision tree, whose predictions are "
        "joined. Give FOLDER before this option, or as --folder",
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("folder", metavar="FOLDER", nargs="?", type=path_of, help="Folder of images, or one image")
    what.add_argument("--folder", metavar="DIR", dest="folder_too", type=path_of, help="The same as FOLDER")
    what.add_argument("--catalog", metavar="FILE", type=path_of, help="Catalogue with the columns id_str and file_loc")
    what.add_argument("--shards", metavar="DIR", type=path_of, help="Shard folder, or one of the folders in it")
    what.add_argument(
        "--files", metavar="FILE", help="Text file with the path of one image per line; - for standard input"
    )
    add(
        "--file-format",
        choices=("png", "jpg", "tif", "fits"),
        help="Format of the images to use from the folder (default: all formats)",
    )
    add("--recursive", action="store_true", help="Include the sub-folders of the folder")
    add("--image-root", type=path_of, help=IMAGE_ROOT)
    add("--keep", metavar="COLUMN", action="append", help="Column of the catalogue to keep in the table; repeatable")
    add(
        "--save-loc",
        type=path_of,
        metavar="TABLE",
        default=DEFAULT_TABLE,
        help="Table to write: .csv, .parquet, .hdf5, .fits, .vot, .xml or .ecsv",
    )
    add("--overwrite", action="store_true", help="Replace a table that is complete")
    options = PredictionOptions
    add(
        "--n-samples",
        type=at_least(1),
        default=options.n_samples,
        help="Number of predictions per galaxy and model with different dropout, which give the uncertainty; 1 turns "
        "dropout off",
    )
    add(
        "--n-votes",
        type=at_least(1),
        default=options.n_votes,
        help="Number of volunteers assumed for the columns of expected votes",
    )
    add(
        "--samples",
        action="store_true",
        help="Also write the concentrations of each sample, which `zoobot3d evaluate --predictions` and `zoobot3d al "
        "rank` need for votes; .hdf5 tables always hold them",
    )
    add(
        "--names",
        default=options.names,
        choices=NAMES,
        help="Names of the columns: as in the decision tree, or plain: _ instead of hyphens, for TOPCAT and pandas",
    )
    add("--no-calibration", action="store_true", help="Do not apply the calibration that the run folder holds")
    add("--masks-dir", type=path_of, help="Folder to write masks to: a PNG per mask, or a FITS file per galaxy")
    add(
        "--mask-format",
        default=options.mask_format,
        choices=MASK_FORMATS,
        help="Format of the masks in --masks-dir; FITS masks have the WCS of the image",
    )
    add("--masks-file", metavar="FILE", type=path_of, help="Instead of --masks-dir: one FITS file of all masks")
    add("--overlays", action="store_true", help="Also write each image with its masks drawn over it to --masks-dir")
    add(
        "--regions",
        metavar="FILE",
        type=path_of,
        help="Also write the outlines of the masks and the axes of the bars as DS9 regions: .reg (extra [ds9])",
    )
    add(
        "--engine",
        default=options.engine,
        choices=ENGINES,
        help="Program that runs the network (openvino: extra [fast])",
    )
    add("--batch-size", type=at_least(1), default=options.batch_size, help="Number of galaxies per step on a GPU")
    add("--seed", type=at_least(0), default=options.seed, help="Random seed of the dropout")
    add_max_failed(parser)
    add("--scheduler", metavar="tcp://HOST:PORT", help="Run on this Dask cluster (extra [scale])")
    known = "(default: as in the run folder; another value needs --force)"
    add("--initial-size", type=at_least(16), help=f"Height and width of the images before the crop, in pixels {known}")
    add("--crop-size", type=at_least(16), help=f"Size of the central part that the network sees, in pixels {known}")
    add("--final-size", type=at_least(32), help=f"Size of the input of the network, in pixels {known}")
    add_stretch(parser, None, known)
    add(
        "--force",
        action="store_true",
        help="Allow sizes and a stretch that differ from the run folder; the metadata record them",
    )


def _predict(args: argparse.Namespace) -> None:
    from zoobot3d_tf.inference import inputs
    from zoobot3d_tf.predictions.options import PredictionOptions
    from zoobot3d_tf.predictions.predict_galaxies import predict_galaxies
    from zoobot3d_tf.predictions.predict_on_images import predict

    folder = args.folder or args.folder_too
    _check_source(folder, args)
    if not folder and (args.file_format or args.recursive):
        raise ValueError("--file-format and --recursive apply to --folder only; omit them")
    if not args.catalog and args.image_root:
        raise ValueError("--image-root applies to --catalog only; omit it")
    if not args.catalog and args.keep:
        raise ValueError("--keep applies to --catalog only; omit it")
    runs = args.runs or args.checkpoint_dir
    options = given(args)
    settings = split_off(options, PredictionOptions)
    with executor_of(args.scheduler) as executor:
        if folder:
            predict(
                folder,
                runs,
                args.save_loc,
                args.file_format,
                args.recursive,
                executor=executor,
                **settings,
            )
        else:
            if args.catalog:
                galaxies = inputs.galaxies_in_catalog(args.catalog, args.image_root, args.keep or ())
            elif args.shards:
                galaxies = inputs.galaxies_in_shards(args.shards)
            else:
                galaxies = inputs.galaxies_in_list(args.files)
            predict_galaxies(galaxies, runs, args.save_loc, PredictionOptions(**settings), executor)
    print(args.save_loc)


def _check_source(folder: Path | None, args: argparse.Namespace) -> None:
    """Check first that the galaxies exist: a mistyped path is the most frequent error, and makes others look odd."""
    files = None if args.files in (None, "-") else path_of(args.files)
    for path, what in (
        (folder, "folder of images"),
        (args.catalog, "catalogue"),
        (args.shards, "shard folder"),
        (files, "list of images"),
    ):
        if path and not path.exists():
            raise FileNotFoundError(f"{path}: no such {what}")


def _calibrate_arguments(parser: argparse.ArgumentParser) -> None:
    from zoobot3d_tf.predictions.options import ENGINES, PredictionOptions

    add = parser.add_argument
    add("run_folder", metavar="RUN", help="Run folder of the trained model, to which the calibration is written")
    add(
        "shards",
        metavar="SHARDS",
        nargs="*",
        type=path_of,
        help="Shard folders, whose validation galaxies are used; or folders in them",
    )
    add("--catalog", metavar="FILE", type=path_of, help="Instead of SHARDS: labelled catalogue of validation galaxies")
    add("--schema", help=f"Of the catalogue. {SCHEMA} (default: the tree of the run)")
    add("--image-root", type=path_of, help=IMAGE_ROOT)
    add("--missing-questions-unasked", action="store_true", help=UNASKED)
    options = PredictionOptions
    add("--tasks", type=names, help="Outputs to calibrate, separated by commas (default: all)")
    add(
        "--n-samples",
        type=at_least(1),
        default=options.n_samples,
        help="Number of predictions per galaxy with different dropout; use the same number for predictions",
    )
    add("--engine", default=options.engine, choices=ENGINES, help="Program that runs the network")
    add("--batch-size", type=at_least(1), default=options.batch_size, help="Number of galaxies per step on a GPU")
    add("--seed", type=at_least(0), default=options.seed, help="Random seed of the dropout")


def _calibrate(args: argparse.Namespace) -> None:
    from zoobot3d_tf.evaluation.fit_calibration import calibrate_run
    from zoobot3d_tf.runs.run_folder import CALIBRATION_NAME
    from zoobot3d_tf.schemas import load_schema

    if not args.catalog and (args.image_root or args.schema or args.missing_questions_unasked):
        raise ValueError("--image-root, --schema and --missing-questions-unasked apply to --catalog only; omit them")
    schema = None if args.schema is None else load_schema(args.schema)
    fitted = calibrate_run(**given(args) | {"schema": schema})
    calibration = fitted.calibration
    print(f"{calibration.n_galaxies} galaxies, {calibration.n_samples} dropout samples each")
    if len(fitted.votes):
        print("\nShare of the votes in their 90 % intervals, before and after (cross-validated):")
        print(fitted.votes.to_string(index=False, float_format="%.2f"))
    if len(fitted.masks):
        print("\nCalibration error of the masks, before and after (cross-validated):")
        print(fitted.masks.to_string(index=False, float_format="%.3f"))
    print(f"\n{path_of(args.run_folder) / CALIBRATION_NAME}")


def _show_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("table", metavar="TABLE", type=path_of, help="Table written by `zoobot3d predict`")
    add(
        "--out",
        type=path_of,
        required=True,
        help="Page to write: .html; its pictures are in a folder beside it",
    )
    add("--max-galaxies", type=at_least(1), default=5000, help="Show at most this number of galaxies, the first ones")
    add("--workers", type=at_least(1), help="Number of threads that draw pictures (default: the number of cores)")


def _show(args: argparse.Namespace) -> None:
    from zoobot3d_tf.pages.gallery import write_gallery

    print(write_gallery(**given(args)))


STAGES = {
    "predict": Stage(
        "Predict votes and masks of galaxies with a trained model.",
        "If an image cannot be read, only that galaxy is skipped; it is listed in <table>_failed.csv. To continue an "
        "interrupted run, repeat the command; it does nothing if the table is complete.",
        "zoobot3d predict --checkpoint-dir run --folder images --save-loc predictions.csv --n-samples 5 "
        "--masks-dir masks --overlays",
        _predict_arguments,
        _predict,
    ),
    "calibrate": Stage(
        "Fit the width of intervals, and the masks, to validation galaxies; write the result to the run folder.",
        "Galaxies on which the run was trained are left out. `zoobot3d predict` applies the calibration to votes and "
        "masks.",
        "zoobot3d calibrate run shards",
        _calibrate_arguments,
        _calibrate,
    ),
    "predictions show": Stage(
        "Write a page of galaxies with their predicted masks and votes, to sort and filter.",
        "Open the page in a browser; it needs no server and no internet.",
        "zoobot3d predictions show predictions.csv --out page.html",
        _show_arguments,
        _show,
    ),
}
