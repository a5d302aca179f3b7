"""Measure how well rings are recognised from few labels, with several methods.

python examples/finetune_rings.py ring_catalog.csv --out rings --base imagenet

The catalogue has the columns `id_str`, `file_loc` and `ring` (0 or 1). In each of five folds, all methods learn from
the same galaxies and are tested on the same other galaxies. The output folder receives `accuracies.csv` (one row per
method, number of labelled galaxies and fold), `accuracies.md` (means over the folds), and `rings.png` (accuracy
against the number of labelled galaxies). To continue an interrupted run, repeat the command.
"""

import argparse
import logging
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedKFold, train_test_split

from zoobot3d_tf.progress import Progress, write_line

N_FOLDS = 5
N_LABELLED = (15, 60)
"""Numbers of labelled galaxies, in addition to all galaxies of a fold."""
SCRATCH_EPOCHS = 30


def polar_profiles(train: pd.DataFrame, test: pd.DataFrame, folder: Path) -> np.ndarray:
    """Classify the mean and scatter of each band along circles around the centre, with a support vector machine."""
    from PIL import Image
    from skimage.transform import warp_polar
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    def profiles(galaxies: pd.DataFrame) -> np.ndarray:
        rows = []
        for file_loc in galaxies["file_loc"]:
            with Image.open(file_loc) as image:
                pixels = np.asarray(image.convert("RGB"), float)
            side = len(pixels)
            circles = warp_polar(
                pixels, ((side - 1) / 2,) * 2, radius=side / 4, output_shape=(64, side // 8), channel_axis=-1
            )
            rows.append(np.concatenate([circles.mean(axis=0), circles.std(axis=0)]).ravel())
        return np.array(rows)

    machine = make_pipeline(StandardScaler(), SVC()).fit(profiles(train), train["ring"])
    return machine.predict(profiles(test))


def from_scratch(train: pd.DataFrame, test: pd.DataFrame, folder: Path) -> np.ndarray:
    """Train the whole network from random weights, on the labels only."""
    from zoobot3d_tf.runs.run_folder import SHIPPED, read_run
    from zoobot3d_tf.shards.options import ShardOptions
    from zoobot3d_tf.shards.write import create_shards
    from zoobot3d_tf.training.training_config import config_from_folders

    base = read_run(SHIPPED)
    shards = folder / "shards"
    options = ShardOptions(img_size=base.framing.initial_size, label_col="ring")
    create_shards(_write(train, folder / "train.csv"), shards, None, options)
    config_from_folders(
        shards / "train_shards",
        shards / "eval_shards",
        folder / "run",
        crop_size=base.framing.crop_size,
        resize_size=base.framing.final_size,
        encoder=base.model.encoder,
        color=base.model.color,
        epochs=SCRATCH_EPOCHS,
        batch_size=16,
    ).run_estimator()
    return _predict(folder / "run", test, folder)


def finetuned(base: Callable[[Path], str | Path], **recipe: Any) -> Callable:
    """Make a method that fine-tunes a base, which is a run folder or its name."""

    def start(train: pd.DataFrame, test: pd.DataFrame, folder: Path) -> np.ndarray:
        from zoobot3d_tf.finetuning.finetune import finetune

        catalog = _write(train, folder / "train.csv")
        finetune(catalog, folder / "run", base=base(folder), label_col="ring", **recipe)
        return _predict(folder / "run", test, folder)

    return start


def shipped(folder: Path) -> str:
    """Name of the model that comes with the package, which was trained on votes and masks."""
    return "shipped"


def untrained(folder: Path) -> Path:
    """Write a run folder of the same network as the shipped model, with random weights."""
    import keras

    from zoobot3d_tf.models import build_model
    from zoobot3d_tf.runs.run_folder import CONFIG_NAME, SHIPPED, WEIGHTS_NAME, read_run

    run, random = read_run(SHIPPED), folder / "untrained"
    random.mkdir()
    keras.utils.set_random_seed(0)
    build_model(run.model).save_weights(random / WEIGHTS_NAME)
    (random / CONFIG_NAME).write_bytes((run.folder / CONFIG_NAME).read_bytes())
    return random


STARTS: dict[str, Callable[[pd.DataFrame, pd.DataFrame, Path], np.ndarray]] = {
    "polar profiles, SVM": polar_profiles,
    "from scratch": from_scratch,
    "random encoder, head": finetuned(untrained),
    "shipped weights, head": finetuned(shipped),
    "shipped weights, head and 3 blocks": finetuned(shipped, n_blocks=3),
}
CURVES = ("polar profiles, SVM", "shipped weights, head")
"""Methods that are also tested with fewer labelled galaxies."""


def main() -> None:
    """Test all methods in all folds, except those that `accuracies.csv` already has, and draw the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("catalog", type=Path, help="CSV table with id_str, file_loc and ring")
    parser.add_argument("--out", type=Path, required=True, help="output folder")
    parser.add_argument("--base", type=Path, help="run folder to fine-tune too, such as of imagenet_run.py")
    parser.add_argument("--seed", type=int, default=0, help="random seed of the folds")
    args = parser.parse_args()
    starts = STARTS | ({f"{args.base.name}, head": finetuned(lambda folder: args.base)} if args.base else {})
    logging.disable(logging.INFO)  # hundreds of epochs

    galaxies = pd.read_csv(args.catalog)
    galaxies["file_loc"] = [str(args.catalog.parent.absolute() / name) for name in galaxies["file_loc"]]
    args.out.mkdir(parents=True, exist_ok=True)
    table_loc = args.out / "accuracies.csv"
    known = pd.read_csv(table_loc).to_dict("records") if table_loc.is_file() else []
    done = {(row["start"], row["labelled"], row["fold"]) for row in known}
    for start, n, fold, train, test in Progress(list(_trials(galaxies, starts, args.seed)), unit="trial"):
        if (start, n, fold) in done:
            continue
        with tempfile.TemporaryDirectory(dir=args.out) as folder:
            try:
                accuracy = float(np.mean(starts[start](train, test, Path(folder)) == test["ring"].to_numpy()))
            except ValueError as error:  # a class has no galaxy to train or to validate on
                write_line(str(error))
                accuracy = float("nan")
        known.append({"start": start, "labelled": n, "fold": fold, "accuracy": accuracy})
        pd.DataFrame(known).to_csv(table_loc, index=False)
    accuracies = pd.DataFrame(known)
    summary = accuracies.groupby(["start", "labelled"])["accuracy"].agg(["mean", "std"]).reset_index()
    (args.out / "accuracies.md").write_text(_table(summary))
    _draw(summary, args.out / "rings.png")
    print(_table(summary))


def _trials(
    galaxies: pd.DataFrame, starts: Iterable[str], seed: int
) -> Iterator[tuple[str, int, int, pd.DataFrame, pd.DataFrame]]:
    """Yield a method, number of labelled galaxies, fold, training galaxies and test galaxies for each trial."""
    folds = StratifiedKFold(N_FOLDS, shuffle=True, random_state=seed)
    n_all = len(galaxies) * (N_FOLDS - 1) // N_FOLDS  # folds may differ by one galaxy
    for fold, (train_rows, test_rows) in enumerate(folds.split(galaxies, galaxies["ring"])):
        train, test = galaxies.iloc[train_rows], galaxies.iloc[test_rows]
        for start in starts:
            yield start, n_all, fold, train, test
            for n in (n for n in N_LABELLED if start in CURVES and n < n_all):
                few, _ = train_test_split(train, train_size=n, stratify=train["ring"], random_state=seed + fold)
                yield start, n, fold, few, test


def _write(galaxies: pd.DataFrame, path: Path) -> Path:
    galaxies[["id_str", "file_loc", "ring"]].to_csv(path, index=False)
    return path


def _predict(run: Path, galaxies: pd.DataFrame, folder: Path) -> np.ndarray:
    """Predict 0 or 1 for each galaxy."""
    from zoobot3d_tf.inference.inputs import galaxies_in_catalog
    from zoobot3d_tf.predictions.predict_galaxies import predict_galaxies

    catalog = galaxies_in_catalog(_write(galaxies, folder / "test.csv"))
    predictions = pd.read_csv(predict_galaxies(catalog, run, folder / "predictions.csv"))
    return (predictions["ring"] >= 0.5).to_numpy(int)


def _table(summary: pd.DataFrame) -> str:
    """Accuracies as a Markdown table: one row per method, one column per number of labelled galaxies."""
    cells = {(row["start"], row["labelled"]): f"{row['mean']:.3f} ± {row['std']:.3f}" for _, row in summary.iterrows()}
    numbers = sorted(summary["labelled"].unique())
    lines = ["| start | " + " | ".join(map(str, numbers)) + " |", "|---" * (len(numbers) + 1) + "|"]
    lines += [
        f"| {start} | " + " | ".join(cells.get((start, n), "") for n in numbers) + " |"
        for start in summary["start"].unique()
    ]
    return "\n".join(lines) + "\n"


def _draw(summary: pd.DataFrame, path: Path) -> None:
    """Draw the accuracy against the number of labelled galaxies, with the scatter over the folds."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    for start, rows in summary.groupby("start", sort=False):
        axes.errorbar(rows["labelled"], rows["mean"], rows["std"], marker="o", capsize=3, label=start)
    axes.axhline(0.5, color="grey", linestyle=":", label="guessing")
    axes.set(xscale="log", xlabel="labelled galaxies", ylabel="accuracy on test galaxies", ylim=(0.4, 0.95))
    axes.set_xticks(sorted(summary["labelled"].unique()))
    axes.xaxis.set_major_formatter("{x:.0f}")
    axes.minorticks_off()
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
