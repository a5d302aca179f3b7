"""The commands that compare predictions with the votes, masks and labels that are known."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from zoobot3d_tf.commands.stage import IMAGE_ROOT, RUN, SCHEMA, UNASKED, Stage, at_least
from zoobot3d_tf.files import path_of

if TYPE_CHECKING:
    from zoobot3d_tf.evaluation.evaluate import LabelledGalaxies
    from zoobot3d_tf.predictions.options import PredictionOptions


def _evaluate_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("places", metavar="RUN SHARDS", nargs="*", help=f"{RUN}; then shards, unless --catalog names the galaxies")
    add("--runs", metavar="RUN", nargs="+", help="Instead of RUN: several trained models, whose predictions are joined")
    add(
        "--predictions",
        metavar="TABLE",
        type=path_of,
        help="Instead of RUN: table written by `zoobot3d predict` for these galaxies",
    )
    _add_galaxies(parser)
    _add_predictions(parser)
    add(
        "--second-group",
        metavar="TABLE",
        type=path_of,
        help="Catalogue of masks that a second group of volunteers drew, as a ceiling",
    )
    add("--n-galaxies", type=at_least(0), default=24, help="Number of galaxies to show")
    add("--out", type=path_of, required=True, metavar="FOLDER", help="Folder for the page, index.html, and the tables")


def _compare_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("runs", metavar="RUN", nargs="+", help=f"{RUN}. At least two; differences are from the first")
    add("--shards", metavar="SHARDS", type=path_of, help="Shard folder, or one of the folders of shards in it")
    _add_galaxies(parser)
    _add_predictions(parser)
    add(
        "--masks",
        metavar="NAME=FOLDER",
        nargs="+",
        default=(),
        help="Masks of other methods to show, such as SpArcFiRe=arcs: a name, and a folder with the files "
        "<id_str>_spiral_mask.png and <id_str>_bar_mask.png",
    )
    add("--n-galaxies", type=at_least(0), default=24, help="Number of galaxies whose masks are shown")
    add("--out", type=path_of, required=True, metavar="FOLDER", help="Folder for the page, index.html, and the tables")


def _add_galaxies(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--catalog", metavar="TABLE", type=path_of, help="Instead of shards: catalogue with votes, masks or a label")
    add("--schema", help=f"Of the catalogue. {SCHEMA} (default: the tree of the predictions)")
    add("--image-root", type=path_of, help=IMAGE_ROOT)
    add("--missing-questions-unasked", action="store_true", help=UNASKED)
    add("--include-training", action="store_true", help="Keep the galaxies that the models were trained on")


def _add_predictions(parser: argparse.ArgumentParser) -> None:
    from zoobot3d_tf.predictions.options import ENGINES, PredictionOptions

    add = parser.add_argument
    add(
        "--n-samples",
        type=at_least(1),
        default=PredictionOptions.n_samples,
        help="Number of predictions per galaxy and model with different dropout",
    )
    add("--no-calibration", action="store_true", help="Do not apply the calibration that the run folder holds")
    add("--engine", default=PredictionOptions.engine, choices=ENGINES, help="Program that runs the network")


def _evaluate(args: argparse.Namespace) -> None:
    runs, shards = _split_places(args)
    if (args.predictions is None) == (not runs):
        raise ValueError("give one of RUN, --runs and --predictions, which name the predictions to score")
    _check_galaxies(args, shards)

    from zoobot3d_tf.evaluation.evaluate import evaluate, predict_labelled, write_scores
    from zoobot3d_tf.evaluation.scores import summary
    from zoobot3d_tf.extras import require
    from zoobot3d_tf.files import one_owner

    require("matplotlib", "zoobot3d evaluate")
    from zoobot3d_tf.pages.evaluation_page import write_page
    from zoobot3d_tf.runs.run_folder import names_of_runs, read_histories

    with one_owner(args.out):
        galaxies = _galaxies(args, shards)
        table = args.predictions or predict_labelled(runs, galaxies, args.out, _options(args))
        evaluation = evaluate(table, galaxies, args.include_training, args.second_group)
        write_scores(evaluation, args.out)
        title = f"Evaluation of {', '.join(names_of_runs(runs)) or table.name}"
        page = write_page(evaluation, args.out, title, read_histories(runs), args.n_galaxies)
    print(summary(evaluation.scores))
    print(page)


def _compare(args: argparse.Namespace) -> None:
    from zoobot3d_tf.runs.run_folder import names_of_runs

    if len(args.runs) < 2:
        raise ValueError(f"a comparison needs at least two runs; received {', '.join(args.runs)}")
    names = names_of_runs(args.runs)
    if wrong := [text for text in args.masks if "=" not in text]:
        raise ValueError(f"--masks must be NAME=FOLDER; received {wrong[0]}")
    other_masks = {name: path_of(folder) for name, _, folder in (text.partition("=") for text in args.masks)}
    if missing := [folder for folder in other_masks.values() if not folder.is_dir()]:
        raise FileNotFoundError(f"{missing[0]}: no such folder of masks")
    _check_galaxies(args, args.shards)

    from zoobot3d_tf.evaluation.comparison import compare
    from zoobot3d_tf.evaluation.evaluate import evaluate_alike, predict_labelled
    from zoobot3d_tf.extras import require
    from zoobot3d_tf.files import one_owner
    from zoobot3d_tf.tables.formats import write_table

    require("matplotlib", "zoobot3d compare")
    from zoobot3d_tf.pages.comparison_page import write_comparison

    with one_owner(args.out):
        galaxies = _galaxies(args, args.shards)
        tables = {
            name: predict_labelled([run], galaxies, args.out / "runs" / name, _options(args))
            for name, run in zip(names, args.runs, strict=True)
        }
        evaluations = evaluate_alike(tables, galaxies, args.include_training)
        comparison = compare(evaluations)
        write_table(comparison.table(), args.out / "comparison.csv")
        page = write_comparison(comparison, evaluations, args.out, args.n_galaxies, other_masks)
    print(page)


def _split_places(args: argparse.Namespace) -> tuple[list[str], Path | None]:
    """Runs, and shards if they are named, from the positional arguments and `--runs`.

    Shards may also follow the runs: `--runs` then takes all words up to the next option.
    """
    places, runs = list(args.places), list(args.runs or ())
    if not places and args.catalog is None:
        places = [runs.pop()] if len(runs) > 1 else []
    if not runs and args.predictions is None and places:
        runs = [places.pop(0)]
    if len(places) > 1:
        raise ValueError(f"there is at most one folder of shards; received {' '.join(places)}")
    return runs, path_of(places[0]) if places else None


def _check_galaxies(args: argparse.Namespace, shards: Path | None) -> None:
    """Check that the arguments name labelled galaxies, in one way."""
    if (shards is None) == (args.catalog is None):
        received = "neither" if shards is None else "both"
        raise ValueError(f"give shards or --catalog, which hold the galaxies and their labels; received {received}")
    if shards is not None and (args.schema or args.image_root or args.missing_questions_unasked):
        raise ValueError(
            "shards name their decision tree and hold their images; omit --schema, --image-root and "
            "--missing-questions-unasked"
        )


def _galaxies(args: argparse.Namespace, shards: Path | None) -> "LabelledGalaxies":
    """Galaxies that the arguments name; shards are unpacked to the output folder."""
    from zoobot3d_tf.evaluation.evaluate import LabelledGalaxies, galaxies_in_eval_shards
    from zoobot3d_tf.schemas import load_schema

    if shards is not None:
        return galaxies_in_eval_shards(shards, args.out / "galaxies")
    schema = None if args.schema is None else load_schema(args.schema)
    return LabelledGalaxies(args.catalog, schema, args.image_root, args.missing_questions_unasked)


def _options(args: argparse.Namespace) -> "PredictionOptions":
    from zoobot3d_tf.predictions.options import PredictionOptions

    return PredictionOptions(n_samples=args.n_samples, engine=args.engine, no_calibration=args.no_calibration)


STAGES = {
    "evaluate": Stage(
        "Score trained models on galaxies with known votes, masks or labels, on one page.",
        "The galaxies are predicted first, unless --predictions names a table. Galaxies that the models were trained "
        "on are left out and counted. The folder receives index.html, the plots as PDF, and every number in "
        "scores.csv, scores.json and galaxies.csv.",
        "zoobot3d evaluate run shards/eval_shards --out report",
        _evaluate_arguments,
        _evaluate,
    ),
    "compare": Stage(
        "Compare trained models on the same galaxies, in one table and one plot.",
        "Galaxies that one of the models was trained on are left out. Differences are paired by galaxy.",
        "zoobot3d compare joint masks_only --shards shards/eval_shards --out comparison",
        _compare_arguments,
        _compare,
    ),
}
