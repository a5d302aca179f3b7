"""The commands of active learning: define an experiment, make its shards, and run its iterations."""

import argparse
from typing import TYPE_CHECKING, Any

from zoobot3d_tf.commands.stage import (
    IMAGE_ROOT,
    SCHEMA,
    UNASKED,
    Stage,
    add_color,
    add_max_failed,
    add_overwrite_or_resume,
    add_resize_size,
    at_least,
    given,
    names,
    split_off,
)
from zoobot3d_tf.files import path_of
from zoobot3d_tf.machine import available_cores

if TYPE_CHECKING:
    from zoobot3d_tf.active_learning.plan import Plan

_OF_PANOPTES = ("subject_set", "workflow", "tasks_loc", "n_votes")


def _define_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--master-catalog",
        type=path_of,
        required=True,
        help="Catalogue of all galaxies, with votes where they are known: CSV, Parquet, FITS or ECSV",
    )
    add("--schema", default="decals", help=SCHEMA)
    add("--question", help="Learn only this question of the tree, such as bar (default: all questions)")
    add("--save-dir", type=path_of, required=True, help="Folder to fill with catalogues")
    add(
        "--known",
        type=float,
        default=0.2,
        help="Number of galaxies whose votes are known when the simulation begins, or their fraction if below 1. The "
        "votes of the other galaxies are hidden",
    )
    add("--seed", type=at_least(0), default=0, help="Random seed that draws these galaxies")
    add("--image-root", type=path_of, help=IMAGE_ROOT)
    add("--missing-questions-unasked", action="store_true", help=UNASKED)


def _define(args: argparse.Namespace) -> None:
    from zoobot3d_tf.active_learning.definition import define_experiment
    from zoobot3d_tf.schemas import load_schema

    arguments = given(args)
    print(define_experiment(**arguments | {"schema": load_schema(args.schema)}))


def _shards_arguments(parser: argparse.ArgumentParser) -> None:
    from zoobot3d_tf.shards.options import ShardOptions

    add = parser.add_argument
    add("--labelled-catalog", type=path_of, required=True, help="Catalogue of galaxies with votes, from `al define`")
    add("--unlabelled-catalog", type=path_of, required=True, help="Catalogue of galaxies without votes")
    add(
        "--eval-size",
        type=float,
        required=True,
        help="Exact number of labelled galaxies to evaluate on, or, if below 1, their fraction. All iterations are "
        "evaluated on them",
    )
    add("--shard-dir", type=path_of, required=True, help="Shard folder to fill")
    add("--max-unlabelled", type=at_least(1), help="Largest number of unlabelled galaxies to use (default: all)")
    add("--schema", help=f"{SCHEMA} (default: schema.json beside --labelled-catalog)")
    add(
        "--img-size",
        type=at_least(16),
        default=ShardOptions.img_size,
        help="Height and width of the images in the shards, in pixels",
    )
    add("--shard-size", type=at_least(1), default=ShardOptions.shard_size, help="Number of galaxies per file")
    add(
        "--seed",
        type=at_least(0),
        default=ShardOptions.seed,
        help="Random seed of the evaluation galaxies and the order",
    )
    add_max_failed(parser)
    add("--workers", type=at_least(1), default=available_cores(), help="Number of processes")
    add_overwrite_or_resume(parser)


def _shards(args: argparse.Namespace) -> None:
    from zoobot3d_tf.active_learning.definition import SCHEMA_NAME
    from zoobot3d_tf.schemas import load_schema
    from zoobot3d_tf.shards.options import ShardOptions
    from zoobot3d_tf.shards.write import create_shards

    options = ShardOptions(**split_off(given(args), ShardOptions), split_seed=args.seed)
    schema = load_schema(args.schema or args.labelled_catalog.parent / SCHEMA_NAME)
    print(create_shards(args.labelled_catalog, args.shard_dir, schema, options, args.unlabelled_catalog))


def _plan_arguments(parser: argparse.ArgumentParser) -> None:
    from zoobot3d_tf.active_learning.instructions import (
        CHOICES,
        AcquisitionCallableFactory,
        Instructions,
        TrainCallableFactory,
    )
    from zoobot3d_tf.active_learning.options import AcquisitionOptions

    add = parser.add_argument
    add("catalog_dir", metavar="CATALOG_DIR", type=path_of, help="Folder of the catalogues, from `al define`")
    add("shard_dir", metavar="SHARD_DIR", type=path_of, help="Shard folder, from `al shards`. It is not changed")
    add(
        "experiment_dir",
        metavar="EXPERIMENT_DIR",
        type=path_of,
        help="Folder of the experiment to fill, or to continue",
    )
    add("--test", action="store_true", help="Very short iterations, to see whether everything works")
    add(
        "--subjects-per-iter",
        type=at_least(1),
        default=Instructions.subjects_per_iter,
        help="Number of galaxies that each iteration asks about",
    )
    add(
        "--acquisition",
        default=AcquisitionCallableFactory.name,
        choices=CHOICES,
        help="Acquisition function: the galaxies with the highest values are asked about (docs/active_learning.md)",
    )
    add("--diverse", action="store_true", help="Ask about galaxies that differ from each other")
    add(
        "--acquisition-question",
        dest="question",
        help="Question that alone counts for the acquisition function, such as bar (default: all questions)",
    )
    add(
        "--acquisition-answer",
        dest="answer",
        help="With --acquisition fraction-above: the answer, such as smooth-or-featured_featured-or-disk",
    )
    add(
        "--acquisition-bound",
        dest="bound",
        type=float,
        help="With --acquisition fraction-above: the vote fraction that it is to exceed",
    )
    add(
        "--acquisition-votes",
        dest="n_acquisition_votes",
        type=at_least(1),
        default=AcquisitionOptions.n_votes,
        help="Number of volunteers per question that the acquisition function expects",
    )
    add(
        "--n-samples",
        type=at_least(2),
        default=Instructions.n_samples,
        help="Number of dropout samples per galaxy, which show how unsure the model is",
    )
    add("--from-scratch", action="store_true", help="Train each iteration anew, not from the weights of the one before")
    add(
        "--epochs", type=at_least(1), default=TrainCallableFactory.epochs, help="Largest number of epochs per iteration"
    )
    add("--batch-size", type=at_least(1), default=TrainCallableFactory.batch_size, help="Number of galaxies per step")
    add_resize_size(parser)
    add(
        "--crop-size",
        type=at_least(16),
        help="Size of the central part of the stored images that the network sees, in pixels (default: three quarters)",
    )
    add("--tasks", type=names, help="Tasks to learn, separated by commas (default: votes)")
    add_color(parser)
    add("--encoder", help="Encoder, as for `zoobot3d train`")
    add("--encoder-weights", metavar="SOURCE", help="Initial weights of the encoder, as for `zoobot3d train`")
    add("--learning-rate", type=float, help="Initial learning rate (default: as for `zoobot3d train`)")
    add("--patience", type=at_least(1), help="Stop after this number of epochs without a lower validation loss")
    add("--dropout", type=float, help="Dropout rate before the vote head (default: as for `zoobot3d train`)")
    add("--seed", type=at_least(0), default=Instructions.seed, help="Random seed")
    for name, what in (
        ("wrong", "probability that a vote is replaced by a random answer"),
        ("given", "probability that a vote is given"),
        ("answered", "fraction of galaxies that are answered at all"),
    ):
        add(f"--oracle-{name}", dest=name, type=float, help=f"Simulated oracle: {what}")
    add("--oracle-max-delay", dest="max_delay", type=at_least(0), help="Simulated oracle: largest delay in iterations")


def _create_arguments(parser: argparse.ArgumentParser) -> None:
    _plan_arguments(parser)
    add = parser.add_argument
    add("--panoptes", action="store_true", help="Ask volunteers of Zooniverse, instead of a simulated oracle")
    add("--subject-set", help="With --panoptes: id of the subject set to fill")
    add("--workflow", help="With --panoptes: id of the workflow")
    add("--tasks-loc", type=path_of, metavar="FILE", help="With --panoptes: file that gives the question of each task")
    add("--n-votes", type=at_least(1), help="With --panoptes: number of votes at which an answer is complete")


def _create(args: argparse.Namespace) -> None:
    from zoobot3d_tf.active_learning.plan import create_instructions

    print(create_instructions(_plan(given(args)), args.shard_dir))


def _plan(arguments: dict[str, Any]) -> "Plan":
    from zoobot3d_tf.active_learning.instructions import (
        AcquisitionCallableFactory,
        Instructions,
        TrainCallableFactory,
    )
    from zoobot3d_tf.active_learning.options import AcquisitionOptions
    from zoobot3d_tf.active_learning.oracles import Imperfections
    from zoobot3d_tf.active_learning.plan import Plan
    from zoobot3d_tf.models.timm_files import IMAGENET_LITE0
    from zoobot3d_tf.runs.encoder_weights import IMAGENET
    from zoobot3d_tf.runs.run_folder import SHIPPED

    seed = {"seed": arguments["seed"]}
    imperfections = Imperfections(**seed, **_taken(arguments, ("wrong", "given", "answered", "max_delay")))
    panoptes = _panoptes(arguments.get("panoptes", False), _taken(arguments, _OF_PANOPTES))
    options = AcquisitionOptions(
        n_votes=arguments["n_acquisition_votes"], **seed, **_taken(arguments, ("question", "answer", "bound"))
    )
    acquisition = AcquisitionCallableFactory(arguments["acquisition"], arguments["diverse"], options)
    of_settings = ("color", "encoder", "encoder_weights", "learning_rate", "patience", "dropout")
    settings = _taken(arguments, of_settings)
    source = settings.get("encoder_weights", SHIPPED)
    if source not in (SHIPPED, IMAGENET, IMAGENET_LITE0) and path_of(source).is_dir():
        settings["encoder_weights"] = str(path_of(source).absolute())
    sizes = _taken(arguments, ("epochs", "batch_size", "resize_size", "crop_size"))
    tasks = tuple(arguments.get("tasks", TrainCallableFactory.tasks))
    training = TrainCallableFactory(**sizes, tasks=tasks, warm_start=not arguments["from_scratch"], settings=settings)
    instructions = Instructions(
        **_taken(arguments, ("catalog_dir", "experiment_dir", "subjects_per_iter", "n_samples", "seed")),
        imperfections=imperfections,
        panoptes=panoptes,
    )
    plan = Plan(instructions, training, acquisition)
    return plan.use_test_mode() if arguments["test"] else plan


def _panoptes(is_asked: bool, options: dict[str, Any]) -> Any:
    from zoobot3d_tf.active_learning.panoptes import PanoptesOptions

    missing = [name for name in _OF_PANOPTES if name not in options]
    if is_asked and missing:
        raise ValueError(f"panoptes=True needs {' and '.join(missing)}")
    if options and not is_asked:
        raise ValueError(f"{next(iter(options))} applies only to panoptes=True")
    return PanoptesOptions(**options | {"tasks_loc": str(options["tasks_loc"])}) if is_asked else None


def _taken(arguments: dict[str, Any], wanted: tuple[str, ...]) -> dict[str, Any]:
    return {name: arguments[name] for name in wanted if name in arguments}


def _run_iteration_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--instructions-dir",
        type=path_of,
        required=True,
        help="Folder of the settings, from `al create-instructions`: EXPERIMENT_DIR/instructions",
    )
    add("--this-iteration-dir", type=path_of, required=True, help="Folder of the iteration to fill, or to continue")
    add("--previous-iteration-dir", required=True, help='Folder of the iteration before; "" for the first iteration')


def _run_iteration(args: argparse.Namespace) -> None:
    from zoobot3d_tf.active_learning.iteration import run_iteration
    from zoobot3d_tf.active_learning.metrics import METRICS_NAME

    run_iteration(**given(args))
    print(args.this_iteration_dir / METRICS_NAME)


def _simulate_arguments(parser: argparse.ArgumentParser) -> None:
    from zoobot3d_tf.active_learning.simulation import N_ITERATIONS

    _plan_arguments(parser)
    parser.add_argument(
        "--iterations", dest="n_iterations", type=at_least(1), default=N_ITERATIONS, help="Number of iterations"
    )


def _simulate(args: argparse.Namespace) -> None:
    from zoobot3d_tf.active_learning.plan import create_instructions
    from zoobot3d_tf.active_learning.simulation import run_simulation
    from zoobot3d_tf.extras import require

    require("matplotlib", "zoobot3d al simulate")
    folder = create_instructions(_plan(given(args)), args.shard_dir)
    run_simulation(folder, args.n_iterations)

    from zoobot3d_tf.pages.timeline import write_timeline

    print(write_timeline(folder))


def _timeline_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("experiment_dir", metavar="EXPERIMENT_DIR", type=path_of, help="Folder of the experiment")
    parser.add_argument(
        "--n-images", type=at_least(0), default=12, help="Largest number of galaxies to show of each iteration"
    )


def _timeline(args: argparse.Namespace) -> None:
    from zoobot3d_tf.extras import require

    require("matplotlib", "zoobot3d al timeline")

    from zoobot3d_tf.active_learning.plan import INSTRUCTIONS_DIR
    from zoobot3d_tf.pages.timeline import write_timeline

    print(write_timeline(args.experiment_dir / INSTRUCTIONS_DIR, args.n_images))


STAGES = {
    "al define": Stage(
        "Divide a catalogue into galaxies with and without votes, and define a simulation that hides known votes.",
        "Writes labelled_catalog.csv, unlabelled_catalog.csv and schema.json, and the same for the simulation to the "
        "folder simulation_context.",
        "zoobot3d al define --master-catalog catalog.csv --schema decals --save-dir catalogs",
        _define_arguments,
        _define,
    ),
    "al shards": Stage(
        "Write the catalogues of an experiment to shards, with evaluation galaxies that stay the same.",
        "The shards do not depend on the number of processes.",
        "zoobot3d al shards --labelled-catalog catalogs/labelled_catalog.csv "
        "--unlabelled-catalog catalogs/unlabelled_catalog.csv --eval-size 5000 --shard-dir shards "
        "--max-unlabelled 40000",
        _shards_arguments,
        _shards,
    ),
    "al create-instructions": Stage(
        "Prepare an experiment: its settings, its database, and its copy of the shards.",
        "Writes instructions.json, train_callable.json and acquisition_callable.json to EXPERIMENT_DIR/instructions.",
        "zoobot3d al create-instructions catalogs/simulation_context shards experiment --encoder-weights shipped",
        _create_arguments,
        _create,
    ),
    "al run-iteration": Stage(
        "Run one iteration: receive answers, train, choose galaxies, and ask about them.",
        "To continue an interrupted iteration, repeat the command.",
        "zoobot3d al run-iteration --instructions-dir experiment/instructions "
        '--this-iteration-dir experiment/iteration_0 --previous-iteration-dir ""',
        _run_iteration_arguments,
        _run_iteration,
    ),
    "al simulate": Stage(
        "Simulate active learning: run iterations that reveal hidden votes, and show them on a page.",
        "Writes timeline.html to the experiment. To continue an interrupted simulation, or to add iterations, repeat "
        "the command.",
        "zoobot3d al simulate catalogs/simulation_context shards experiment --encoder-weights shipped --test",
        _simulate_arguments,
        _simulate,
    ),
    "al timeline": Stage(
        "Show the iterations of an experiment on a page: scores, uncertainty, and the galaxies that were asked about.",
        "Writes timeline.html to the experiment.",
        "zoobot3d al timeline experiment",
        _timeline_arguments,
        _timeline,
    ),
}
