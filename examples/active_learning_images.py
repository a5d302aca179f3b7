"""Measure how many labelled galaxies active learning saves with a model of images. Known votes are revealed bit by bit.

python examples/active_learning_images.py catalog.csv --schema decals_rings --out learned

For each seed, the evaluation galaxies, the galaxies that are known at the beginning and those whose votes are hidden
are drawn again. Each strategy runs its own simulation of active learning from the same beginning. The output folder
receives `curves.csv` (scores against the number of labelled galaxies for each strategy and seed), `saved.md` (labels
saved at equal score, and scores at equal labels, each with 95 % intervals over the seeds), and `curves.png`. To
continue after an interruption, or to add seeds, strategies or iterations, repeat the command.

A strategy is an acquisition function of `zoobot3d al simulate`, with `+diverse` for galaxies that differ from each
other, such as `mutual-information+diverse`. The reference is `random`.
"""

import argparse
import logging
from pathlib import Path
from typing import Any

import pandas as pd
from active_learning_votes import interval_text, markdown_table, saved_share, write_report

from zoobot3d_tf.active_learning.acquisition import AcquisitionOptions
from zoobot3d_tf.active_learning.definition import LABELLED_NAME, SIMULATION_NAME, UNLABELLED_NAME, define_experiment
from zoobot3d_tf.active_learning.instructions import AcquisitionCallableFactory, Instructions, TrainCallableFactory
from zoobot3d_tf.active_learning.plan import Plan, create_instructions
from zoobot3d_tf.active_learning.simulation import run_simulation
from zoobot3d_tf.schemas import load_schema
from zoobot3d_tf.shards.manifest import MANIFEST_NAME
from zoobot3d_tf.shards.options import ShardOptions
from zoobot3d_tf.shards.write import create_shards

REFERENCE = "random"
DIVERSE = "+diverse"
SCORES = {"mae": "mean error of the fractions", "nll": "negative log-likelihood (nats)"}
"""Scores of the evaluation galaxies, the lower the better; see `active_learning.metrics`."""


def main() -> None:
    """Read the arguments, run all simulations, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("catalog", type=Path, help="Catalogue of galaxies with images and votes")
    add("--schema", required=True, help="Decision tree of the votes")
    add("--out", type=Path, required=True, help="Folder to fill, or to continue")
    add("--strategies", default="random,mutual-information,mutual-information+diverse", help="Separated by commas")
    add("--seeds", type=int, default=5)
    add("--eval-size", type=int, default=500, help="Number of evaluation galaxies")
    add("--known", type=int, default=100, help="Number of galaxies that are known at the beginning")
    add("--per-iteration", type=int, default=100, help="Number of galaxies that each iteration asks about")
    add("--iterations", type=int, default=6, help="Number of trainings of each simulation")
    add("--max-unlabelled", type=int, help="Largest number of hidden galaxies (default: all others)")
    add("--img-size", type=int, default=96, help="Size of the stored images, in pixels; the network sees 3/4 of it")
    add("--resize-size", type=int, default=64, help="Size of the input of the network, in pixels")
    add("--epochs", type=int, default=10, help="Epochs per iteration")
    add("--encoder", default="tf_efficientnet_lite0")
    add("--encoder-weights", default="imagenet-lite0", help="First weights, which must not know the hidden votes")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    strategies = args.strategies.split(",")
    if REFERENCE not in strategies:
        parser.error(f"--strategies must have the reference, {REFERENCE}; received {args.strategies}")
    curves = [simulate(args, seed, strategy) for seed in range(args.seeds) for strategy in strategies]
    table = pd.concat(curves)
    table.to_csv(args.out / "curves.csv", index=False)
    print(report(table, args.out))


def simulate(args: argparse.Namespace, seed: int, strategy: str) -> pd.DataFrame:
    """Run, or continue, the simulation of a strategy; return `labels` and `SCORES` of each iteration."""
    import keras

    home = args.out.absolute() / f"seed{seed}"
    catalogs, shards = home / "catalogs", home / "shards"
    simulation = catalogs / SIMULATION_NAME
    if not (catalogs / LABELLED_NAME).exists():
        known = args.known + args.eval_size
        define_experiment(args.catalog, catalogs, load_schema(args.schema), known=known, seed=seed)
    if not (shards / MANIFEST_NAME).exists():
        options = ShardOptions(
            img_size=args.img_size,
            eval_size=args.eval_size,
            split_seed=seed,
            seed=seed,
            max_unlabelled=args.max_unlabelled,
            resume=True,
        )
        schema = load_schema(simulation / "schema.json")
        create_shards(simulation / LABELLED_NAME, shards, schema, options, simulation / UNLABELLED_NAME)
    experiment = home / strategy
    acquisition = AcquisitionCallableFactory(
        strategy.removesuffix(DIVERSE), strategy.endswith(DIVERSE), AcquisitionOptions(seed=seed)
    )
    settings = {"encoder": args.encoder, "encoder_weights": args.encoder_weights}
    training = TrainCallableFactory(args.epochs, 32, args.resize_size, settings=settings)
    instructions = Instructions(simulation, experiment, args.per_iteration, seed=seed)
    metrics = run_simulation(create_instructions(Plan(instructions, training, acquisition), shards), args.iterations)
    keras.utils.clear_session()
    rows: list[dict[str, Any]] = [
        {"labels": one["n_labelled"]} | {name: one["scores"][name]["value"] for name in SCORES} for one in metrics
    ]
    return pd.DataFrame(rows).assign(strategy=strategy, seed=seed)


def report(curves: pd.DataFrame, out: Path) -> str:
    """Write `saved.md` and `curves.png`; return the text of the first."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    names, labels = list(dict.fromkeys(curves["strategy"])), sorted(curves["labels"].unique())
    # With the labels of the beginning, nothing was chosen.
    targets = labels[1:]
    lines: list[str] = []
    figure, axes = plt.subplots(1, len(SCORES), figsize=(10, 4))
    for axis, (score, what) in zip(axes, SCORES.items(), strict=True):
        by_seed = curves.pivot_table(index="labels", columns=["strategy", "seed"], values=score)
        saved = pd.DataFrame({f"{n} labels": saved_share(curves, score, REFERENCE, n, "labels") for n in targets}).loc[
            names
        ]
        lines += markdown_table(f"Labels saved at the {what} of {REFERENCE} after", saved.drop(index=REFERENCE))
        difference = by_seed.sub(by_seed[REFERENCE], level="seed")
        better = pd.DataFrame(
            {
                f"{n} labels": [
                    f"{by_seed[name].loc[n].mean():.4f} ({interval_text(difference[name].loc[n], 4)})" for name in names
                ]
                for n in labels
            },
            index=names,
        )
        lines += markdown_table(f"The {what} (difference from {REFERENCE}) after", better)
        for name in names:
            mean, spread = by_seed[name].mean(axis=1), by_seed[name].std(axis=1)
            (line,) = axis.plot(mean.index, mean, marker="o", label=name)
            axis.fill_between(mean.index, mean - spread, mean + spread, color=line.get_color(), alpha=0.15)
        axis.set(xlabel="labelled galaxies", ylabel=what)
    return write_report(figure, lines, out)


if __name__ == "__main__":
    main()
