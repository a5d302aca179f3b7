"""The commands that learn and predict: decision trees, simulated galaxies, shards, training, predictions, report.

Parsers stand beside the function that runs them. What is slow to import is imported inside.
"""

import argparse
import contextlib
from pathlib import Path

from zoobot3d_tf.commands.stage import Stage, at_least, given, names
from zoobot3d_tf.machine import available_cores


def _schemas_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", help="a name, or a .yaml or .json file of your own")


def _schemas(args: argparse.Namespace) -> None:
    from zoobot3d_tf.schemas import load_schema, schema_names, tree_text

    print(tree_text(load_schema(args.name)) if args.name else "\n".join(schema_names()))


def _simulate_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--n", type=at_least(1), required=True, help="number of galaxies")
    parser.add_argument("--out", type=Path, required=True, help="folder to fill: images, masks, marks, catalog.csv")
    parser.add_argument("--seed", type=at_least(0), default=0, help="another seed gives other galaxies")
    parser.add_argument("--workers", type=at_least(1), default=available_cores(), help="processes")


def _simulate(args: argparse.Namespace) -> None:
    from zoobot3d_tf.simulation.survey import simulate_survey

    print(simulate_survey(args.out, n=args.n, seed=args.seed, workers=args.workers))


def _shards_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--labelled-catalog", type=Path, required=True, help="CSV, Parquet, FITS or ECSV table, a row a galaxy")
    add("--unlabelled-catalog", type=Path, help="galaxies without labels, for unlabelled_shards/")
    add("--shard-dir", type=Path, required=True, help="folder to fill")
    add(
        "--schema",
        help="name of the decision tree, or a .yaml or .json file; none reads no votes (default: decals, or none "
        "with --label-col)",
    )
    add("--label-col", metavar="COLUMN", help="learn this column too: yes or no, a class, or a number")
    add(
        "--label-kind",
        choices=("binary", "multiclass", "regression"),
        help="of that column (default: what its values look like)",
    )
    add("--img-size", type=at_least(16), default=300, help="height and width of the stored images, pixels")
    add("--stretch", default="galaxy-zoo", choices=("galaxy-zoo", "lupton"), help="of the colours of FITS cutouts")
    add("--eval-size", type=float, default=0.2, help="galaxies to validate on: about so many, or a share below 1")
    add("--image-root", type=Path, help="folder that relative paths start from (default: the catalogue's)")
    add("--max-labelled", type=at_least(1), help="use no more labelled galaxies")
    add("--max-unlabelled", type=at_least(1), help="use no more unlabelled galaxies")
    add("--missing-questions-unasked", action="store_true", help="questions without any column were asked of nobody")
    add("--shard-size", type=at_least(1), default=512, help="galaxies a file")
    add(
        "--seed",
        type=at_least(0),
        default=0,
        help="of the order within the shards; the split does not depend on it",
    )
    add("--max-failed", type=float, default=0.01, help="stop when more than this share of galaxies cannot be read")
    add("--workers", type=at_least(1), default=available_cores(), help="processes")
    add("--scheduler", metavar="tcp://HOST:PORT", help="run on this Dask cluster instead (extra [scale])")
    again = parser.add_mutually_exclusive_group()
    again.add_argument(
        "--overwrite", action="store_true", help="replace the shards in --shard-dir; touch no other file"
    )
    again.add_argument("--resume", action="store_true", help="keep the finished shards of an interrupted run, go on")


def _shards(args: argparse.Namespace) -> None:
    from zoobot3d_tf.schemas import load_schema
    from zoobot3d_tf.shards.options import ShardOptions
    from zoobot3d_tf.shards.write import create_shards

    given = set(ShardOptions.__dataclass_fields__) & set(vars(args))
    options = ShardOptions(**{name: getattr(args, name) for name in given})
    name = args.schema or ("none" if args.label_col else "decals")
    schema = None if name == "none" else load_schema(name)
    with _executor(args.scheduler) as executor:
        print(create_shards(args.labelled_catalog, args.shard_dir, schema, options, args.unlabelled_catalog, executor))


def _train_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--experiment-dir", type=Path, required=True, help="the run folder to fill or to go on with")
    add("--train-dir", type=Path, required=True, help="folder of .tfrecord files to train on")
    add("--eval-dir", type=Path, required=True, help="folder of .tfrecord files to validate on")
    add("--shard-img-size", type=at_least(16), help="size of the images in the shards (default: what they say)")
    add(
        "--crop-size",
        type=at_least(16),
        help="central part that the network sees (default: 3/4 of the shards' size)",
    )
    add("--resize-size", type=at_least(32), default=224, help="size of the network's input, a multiple of 32")
    add("--epochs", type=at_least(1), default=50, help="at most so many")
    add("--batch-size", type=at_least(1), default=64, help="galaxies a step")
    add("--color", action="store_true", default=None, help="keep the three bands apart (default: greyscale, as Zoobot)")
    add(
        "--encoder",
        help="EfficientNetB0..B7 or EfficientNetV2B0..B3; or timm's efficientnet_b0..b7, tf_efficientnet_b0..b7, or "
        "tf_efficientnetv2_b0..b3, s, m, l, xl (default: that of --encoder-weights, or EfficientNetB0)",
    )
    add(
        "--encoder-weights",
        metavar="SOURCE",
        help="begin with these: a folder of Zoobot's or timm's weights, a run folder, hf://owner/name of either, "
        "shipped, or imagenet (default: begin at random)",
    )
    add("--tasks", type=names, help="any of votes,spiral_mask,bar_mask,label (default: those that galaxies have)")
    add("--mask-loss", default="l1", help="l1, mse, cross-entropy or beta-binomial")
    add("--loss-weights", type=_weights, help="factors, as in votes=1,spiral_mask=300,bar_mask=600,label=10")
    add("--dropout", type=float, default=0.2, help="before the vote head")
    add("--learning-rate", type=float, default=1e-3, help="highest rate of AdamW")
    add("--patience", type=at_least(1), default=10, help="stop after so many epochs without a lower validation loss")
    add("--seed", type=at_least(0), default=0, help="of weights, order and augmentation")
    add("--mixed-precision", action="store_true", help="compute in float16 (GPUs; slower on CPUs)")
    add("--distributed", action="store_true", help="use all GPUs of this machine")
    add("--wandb", action="store_true", help="log to Weights & Biases too (extra [wandb])")


def _train(args: argparse.Namespace) -> None:
    from zoobot3d_tf.training.training_config import config_from_folders

    config_from_folders(**given(args)).run_estimator()
    print(args.experiment_dir)


def _predict_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--checkpoint-dir",
        metavar="RUN",
        help="the run folder, or hf://owner/name (default: weights for demonstration that come with the package)",
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("folder", metavar="FOLDER", nargs="?", type=Path, help="folder of images")
    what.add_argument("--folder", metavar="DIR", dest="folder_too", type=Path, help="likewise")
    what.add_argument(
        "--catalog", metavar="FILE", type=Path, help="catalogue with id_str and file_loc, any of its types"
    )
    what.add_argument("--shards", metavar="DIR", type=Path, help="shard folder, or one of the folders in it")
    what.add_argument("--files", metavar="FILE", help="list of images, a path a line; - reads it from stdin")
    add("--file-format", choices=("png", "jpg", "fits"), help="which images to take from --folder (default: all)")
    add("--recursive", action="store_true", help="look into sub-folders of --folder too")
    add("--image-root", type=Path, help="folder that paths in --catalog start from (default: the catalogue's)")
    add(
        "--save-loc",
        type=Path,
        metavar="TABLE",
        help="table to write: .csv, .parquet or .hdf5 (default: predictions.csv, unless there is one)",
    )
    add("--n-samples", type=at_least(1), default=5, help="samples of the dropout; 1 turns dropout off")
    add("--n-votes", type=at_least(1), default=40, help="volunteers that the expected votes are of")
    add("--masks-dir", type=Path, help="also write masks here")
    add("--mask-format", default="png", choices=("png", "fits"), help="of these masks: FITS carries the image's WCS")
    add("--masks-file", metavar="FILE", type=Path, help="or write the masks of all galaxies to this one FITS file")
    add("--overlays", action="store_true", help="also draw the masks over the images, in --masks-dir")
    add("--engine", default="auto", choices=("auto", "tf", "openvino"), help="what runs the network (extra [fast])")
    add("--batch-size", type=at_least(1), default=64, help="galaxies a GPU takes at once")
    add("--seed", type=at_least(0), default=0, help="of the dropout")
    add("--scheduler", metavar="tcp://HOST:PORT", help="run on this Dask cluster instead (extra [scale])")
    add("--initial-size", type=at_least(16), help="these and --stretch are known from the run folder, and must agree")
    add("--crop-size", type=at_least(16), help="central part that the network sees, pixels")
    add("--final-size", type=at_least(32), help="size of the network's input, pixels")
    add("--stretch", choices=("galaxy-zoo", "lupton"), help="colours of FITS cutouts")
    add("--force", action="store_true", help="let sizes and stretch contradict the run folder, and record it")


def _predict(args: argparse.Namespace) -> None:
    from zoobot3d_tf.inference import inputs
    from zoobot3d_tf.predictions.predict_galaxies import predict_galaxies
    from zoobot3d_tf.predictions.predict_on_images import predict
    from zoobot3d_tf.runs.run_folder import SHIPPED

    if args.save_loc is None:
        args.save_loc = Path("predictions.csv")
        if args.save_loc.exists():
            raise FileExistsError(f"{args.save_loc}: stands there already; name the table to write by --save-loc")
    options = {"checkpoint_dir": SHIPPED, **given(args)}
    inputs_given = (options.pop(name, None) for name in ("folder", "folder_too", "catalog", "shards", "files"))
    folder, folder_too, catalog, shards, files = inputs_given
    folder = folder or folder_too
    of_folder = {name: options.pop(name, None) for name in ("file_format", "recursive")}
    image_root = options.pop("image_root", None)
    if not folder and any(of_folder.values()):
        raise ValueError("--file-format and --recursive are about --folder; leave them out")
    if not catalog and image_root:
        raise ValueError("--image-root is where the paths in --catalog start from; leave it out")
    with _executor(options.pop("scheduler", None)) as options["executor"]:
        if folder:
            predict(folder, **of_folder, **options)
        elif catalog:
            predict_galaxies(inputs.galaxies_in_catalog(catalog, image_root), **options)
        elif shards:
            predict_galaxies(inputs.galaxies_in_shards(shards), **options)
        else:
            predict_galaxies(inputs.galaxies_in_list(files), **options)
    print(args.save_loc)


def _show_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("table", metavar="TABLE", type=Path, help="table of make_predictions.py")
    add("--out", type=Path, required=True, help="page to write: .html; its pictures go to a folder beside it")
    add("--max-galaxies", type=at_least(1), default=5000, help="show no more than the first so many")


def _show(args: argparse.Namespace) -> None:
    from zoobot3d_tf.pages.gallery import write_gallery

    print(write_gallery(**given(args)))


def _report_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--predictions", type=Path, required=True, help="table of make_predictions.py")
    add("--catalog", type=Path, required=True, help="labelled catalogue of the same galaxies")
    add("--schema", default="decals", help="name of the decision tree, or a .yaml or .json file")
    add("--image-root", type=Path, help="folder that relative paths start from (default: the catalogue's)")
    add("--missing-questions-unasked", action="store_true", help="questions without any column were asked of nobody")
    add("--n-galaxies", type=at_least(1), default=24, help="galaxies to show")
    add("--out", type=Path, required=True, help="page to write: .html")


def _report(args: argparse.Namespace) -> None:
    from zoobot3d_tf.pages.report import write_report
    from zoobot3d_tf.schemas import load_schema

    page = write_report(
        args.predictions,
        args.catalog,
        load_schema(args.schema),
        args.out,
        n_galaxies=args.n_galaxies,
        image_root=args.image_root,
        missing_questions_unasked=args.missing_questions_unasked,
    )
    print(page)


STAGES = {
    "schemas": Stage(
        "Print a decision tree as a tree, or the names of all trees.",
        "",
        "zoobot3d schemas decals",
        _schemas_arguments,
        _schemas,
    ),
    "simulate": Stage(
        "Simulate galaxies whose truth is known, with volunteers who vote and draw.",
        "Writes images/, masks/, marks/, catalog.csv and truth.csv.",
        "zoobot3d simulate --n 1000 --seed 0 --out galaxies",
        _simulate_arguments,
        _simulate,
    ),
    "shards": Stage(
        "Encode galaxies as TFRecord shards.",
        "Writes train_shards/, eval_shards/, unlabelled_shards/, shards.json and failed.csv; the same catalogue gives "
        "the same bytes, however many workers.",
        "python create_shards.py --labelled-catalog catalog.csv --shard-dir shards --schema decals --img-size 300 "
        "--eval-size 5000",
        _shards_arguments,
        _shards,
    ),
    "train": Stage(
        "Train the joint model on shards.",
        "Fills the run folder with config.json, model.keras, model.weights.h5, checkpoints/, history.csv and "
        "tensorboard/. Run again after an interruption, it goes on where it was.",
        "python train_model.py --experiment-dir run --train-dir shards/train_shards --eval-dir shards/eval_shards "
        "--shard-img-size 300 --resize-size 224 --epochs 50 --batch-size 64",
        _train_arguments,
        _train,
    ),
    "predict": Stage(
        "Predict votes and masks of galaxies with a trained model.",
        "An image that cannot be read is listed beside the table and costs nothing else; run again after an "
        "interruption, it goes on where it was.",
        "python make_predictions.py --checkpoint-dir run --folder images --save-loc predictions.csv --n-samples 5 "
        "--masks-dir masks --overlays",
        _predict_arguments,
        _predict,
    ),
    "predictions show": Stage(
        "Show predictions on a page: galaxies with their masks and votes, to sort and to filter.",
        "It opens from the disk, without a server.",
        "zoobot3d predictions show predictions.csv --out page.html",
        _show_arguments,
        _show,
    ),
    "report": Stage(
        "Compare predictions with what volunteers said, on one page.",
        "Scores beside baselines, then galaxies with predicted and true masks and votes.",
        "zoobot3d report --predictions predictions.csv --catalog catalog.csv --schema decals --out report.html",
        _report_arguments,
        _report,
    ),
}


def _executor(scheduler: str | None):
    """The Dask cluster at this address as an executor, or None: the stage then makes its own processes."""
    if scheduler is None:
        return contextlib.nullcontext()
    from dask.distributed import Client

    return Client(scheduler).get_executor()


def _weights(text: str) -> dict[str, float]:
    try:
        return {name.strip(): float(value) for name, value in (part.split("=") for part in names(text))}
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected task=weight,...; received {text!r}") from None
