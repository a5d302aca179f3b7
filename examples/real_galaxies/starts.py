"""Compare starts of training on real galaxies, with small images and cross-validation, in one table.

    zoobot3d simulate --survey mixed --n 1500 --seed 11 --out simulated
    python examples/real_galaxies/starts.py catalogs real/*/images --simulated simulated --out starts --epochs 8

A start is what a network learns before, or together with, votes and masks of real galaxies (docs/weights.md). A hash of
id_str divides the galaxies into folds, so that a galaxy of two surveys is in one fold. For each fold, every start is
trained on votes of Galaxy Zoo 2 and masks of Galaxy Builder in the other folds, and scored on the fold. Galaxies of the
part test of the catalogues are left out, so that they stay unseen until a start is chosen. Pretraining without labels
sees images of all folds, but no labels.

The output folder receives starts.csv (a row per start and fold), starts.md (mean and range over the folds, minutes of
training), log.txt, catalogues, shards and runs. To continue an interrupted comparison, or to add starts, repeat the
command; finished work is kept. All starts with --folds 2 --epochs 8 take about 35 minutes on two free
cores (estimated from the time of a step).
"""

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pandas as pd
from catalogs import looks_like, small_images
from start_scores import COLUMNS, markdown, score_fold

from zoobot3d_tf.catalogs.selection import hash_share
from zoobot3d_tf.commands.stage import at_least, names
from zoobot3d_tf.evaluation.experiment import run_command
from zoobot3d_tf.files import one_owner, write_atomically
from zoobot3d_tf.inference.inputs import galaxies_in_folder
from zoobot3d_tf.progress import Progress
from zoobot3d_tf.tables.formats import read_table, write_table

SCHEMAS = {"gz2": "gz2_ortho", "builder": "none", "classes": "galaxy_zoo", "simulated": "decals_rings"}
"""Decision trees of the sets of galaxies."""
# Galaxies per epoch of each set, as shares of --galaxies: in the joint training, and in the trainings before it.
JOINT = {"gz2": 5 / 8, "builder": 3 / 8}
MIXED = JOINT | {"simulated": 1 / 4}
FIRST = {"simulated": {"simulated": 1.0}, "votes": {"classes": 5 / 8, "gz2": 3 / 8}}
ENCODER = "--encoder tf_efficientnet_lite0 --resize-size 96 --batch-size 32 --seed 0".split()
TRAINING = [*ENCODER, *"--crop-size 160 --mask-loss cross-entropy --learning-rate 6e-4".split()]
PRETRAINING = [*ENCODER, *"--img-size 182 --crop-size 96".split()]  # the same part of the image as in training


@dataclass(frozen=True)
class Start:
    """What is learned before the joint training, in order, and what the joint training consists of."""

    title: str
    before: tuple[str, ...] = ()
    shares: Mapping[str, float] = field(default_factory=lambda: JOINT)
    photometry: bool = False


STARTS = {
    "scratch": Start("random weights"),
    "simulated": Start("simulated galaxies first", ("simulated",)),
    "imagenet": Start("ImageNet", ("imagenet",)),
    "imagenet-simulated": Start("ImageNet, then simulated galaxies", ("imagenet", "simulated")),
    "images": Start("images without labels first", ("images",)),
    "imagenet-images": Start("ImageNet, then images without labels", ("imagenet", "images")),
    "imagenet-votes": Start("ImageNet, then classes and votes", ("imagenet", "votes")),
    "imagenet-mixed": Start("ImageNet, simulated galaxies among real ones", ("imagenet",), MIXED),
    "imagenet-mixed-photometry": Start("ImageNet, simulated ones, --photometry", ("imagenet",), MIXED, photometry=True),
}
TITLES = {name: start.title for name, start in STARTS.items()}


@dataclass(frozen=True)
class Comparison:
    """The folders and sizes of a comparison, see the arguments of the command."""

    catalogs: Path
    images: tuple[Path, ...]
    simulated: Path | None
    out: Path
    folds: int
    epochs: int
    galaxies: int
    unlabelled: int


def main() -> None:
    """Read the arguments, compare, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("catalogs", metavar="CATALOGS", type=Path, help="folder that catalogs.py has written, with masks (--builder)")
    add("images", metavar="IMAGES", type=Path, nargs="+", help="folders of images for pretraining without labels")
    add("--simulated", type=Path, metavar="FOLDER", help="folder that `zoobot3d simulate --survey mixed` has written")
    add("--out", type=Path, required=True, help="folder to fill, or to continue")
    add("--folds", type=at_least(2), default=2, help="number of folds (default: 2)")
    add("--epochs", type=at_least(2), default=10, help="epochs of the joint training; half before it (default: 10)")
    add("--galaxies", type=at_least(32), default=640, help="real galaxies per epoch of a training (default: 640)")
    add("--unlabelled", type=at_least(32), default=1600, help="images to pretrain on without labels (default: 1600)")
    add("--starts", type=names, metavar="NAME,...", default=list(STARTS), help=f"of {', '.join(STARTS)} (default: all)")
    args = vars(parser.parse_args())
    starts = args.pop("starts")
    try:
        print(compare(Comparison(**args | {"images": tuple(args["images"])}), starts))
    except (ValueError, OSError) as error:
        sys.exit(f"starts.py: {error}")


def compare(c: Comparison, starts: Sequence[str]) -> str:
    """Train and score the starts that are not in starts.csv yet; return the table of starts.md.

    Raises:
        ValueError: a start is unknown, the output folder has a comparison with other settings, or a command failed.
        OSError: a folder or a file does not exist, or another process writes the output folder.
    """
    if unknown := [name for name in starts if name not in STARTS]:
        raise ValueError(f"--starts must be of {', '.join(STARTS)}; received {', '.join(unknown)}")
    needed = [*c.images, *(c.catalogs / f"{name}.csv" for name in ("gz2", "builder", "second_group", "classes"))]
    if any("simulated" in (*STARTS[name].before, *STARTS[name].shares) for name in starts):
        if c.simulated is None:
            raise ValueError("--simulated must be a folder of simulated galaxies for these starts; received none")
        needed.append(c.simulated / "catalog.csv")
    if missing := [path for path in needed if not path.exists()]:
        raise FileNotFoundError(f"{missing[0]}: no such file or folder")
    settings_loc, table_loc = c.out / "settings.json", c.out / "starts.csv"
    with one_owner(c.out):
        settings = json.dumps(asdict(c), default=lambda path: str(path.resolve()), indent=2)
        if settings_loc.is_file() and settings_loc.read_text() != settings:
            raise ValueError(f"{settings_loc}: the comparison has other settings; repeat them, or choose another --out")
        write_atomically(settings_loc, settings)
        rows = read_table(table_loc).to_dict("records") if table_loc.is_file() else []
        finished = {(row["start"], row["fold"]) for row in rows}
        runs = [(fold, name) for fold in range(c.folds) for name in starts if (name, fold) not in finished]
        for fold, name in (bar := Progress(runs, unit="run")):
            bar.set_description(f"fold {fold}, {name}")
            rows += train_and_score(c, name, fold)
            write_table(pd.DataFrame(rows).drop_duplicates(["start", "fold"]), table_loc)
            write_atomically(c.out / "starts.md", markdown(read_table(table_loc), TITLES))
        return markdown(read_table(table_loc), TITLES)


def train_and_score(c: Comparison, name: str, fold: int) -> list[dict[str, str | float]]:
    """Train a start without a fold, and score it on the fold; return rows of the start, baselines and volunteers."""
    start, folder = STARTS[name], c.out / f"fold{fold}"
    weights, minutes = initial_weights(c, start.before, fold)
    options = weights + ["--photometry"] * start.photometry
    minutes += train(c, folder / name, start.shares, fold, c.epochs, options)
    scored_loc, table_loc = folder / "scored.csv", folder / f"{name}-predictions.csv"
    scored = pd.concat([galaxies(c, drawn, fold, inside=True)[["id_str", "file_loc"]] for drawn in JOINT])
    write_table(scored.drop_duplicates("id_str"), scored_loc)
    places = ["--image-root", c.catalogs, "--save-loc", table_loc, "--masks-dir", folder / f"{name}-masks"]
    run_once(c, table_loc, "predict", "--checkpoint-dir", folder / name, "--catalog", scored_loc, *places)
    votes = (galaxies(c, "gz2", fold, inside)["id_str"] for inside in (True, False))
    figures = score_fold(table_loc, c.catalogs, *votes, set(scored["id_str"]))
    figures[name] = (*figures.pop("start"), minutes)
    return [dict(zip(COLUMNS, (key, fold, *values), strict=False)) for key, values in figures.items()]


def initial_weights(c: Comparison, before: Sequence[str], fold: int) -> tuple[list[object], float]:
    """Make the encoder that a training begins with; return the options that name it, and the minutes of its steps."""
    if not before:
        return [], 0.0
    *earlier, last = before
    if last == "imagenet":
        return ["--encoder-weights", "imagenet-lite0"], 0.0
    weights, minutes = initial_weights(c, earlier, fold)
    # Only votes of real galaxies depend on the fold.
    folder = c.out / (f"fold{fold}" if "votes" in before else "shared") / f"first-{'-'.join(before)}"
    if last == "images":
        places = [linked_images(c), "--save-dir", folder, "--epochs", c.epochs // 2]
        minutes += run_once(c, folder, "pretrain", *places, *PRETRAINING, *weights)
    else:
        minutes += train(c, folder, FIRST[last], fold, c.epochs // 2, weights)
    return ["--encoder-weights", folder], minutes


def train(c: Comparison, run: Path, shares: Mapping[str, float], fold: int, epochs: int, options: list) -> float:
    """Train on sets of galaxies without a fold, with their shares of an epoch; return the minutes."""
    sets = {name: shards(c, name, fold) for name in shares}
    # Simulated galaxies do not choose the best epoch of a training on real ones.
    real = [folder for name, folder in sets.items() if name != "simulated"]
    folders = ["--train-dir", *(folder / "train_shards" for folder in sets.values())]
    folders += ["--eval-dir", *(folder / "eval_shards" for folder in real or sets.values())]
    numbers = ",".join(str(round(share * c.galaxies)) for share in shares.values())
    length = ["--galaxies-per-epoch", numbers, "--epochs", epochs, "--patience", epochs]
    return run_once(c, run, "train", "--experiment-dir", run, *folders, *TRAINING, *length, *options)


def shards(c: Comparison, name: str, fold: int) -> Path:
    """Make the shards of a set, without the galaxies of a fold, unless they exist; return their folder."""
    is_real = name != "simulated"
    root = c.catalogs if is_real else c.simulated
    folder = c.out / (f"fold{fold}" if is_real else "shared") / f"shards-{name}"
    catalog_loc = folder.with_suffix(".csv")
    if not catalog_loc.is_file():
        table = training_galaxies(c, name, fold) if is_real else read_table(root / "catalog.csv")
        # Simulated galaxies without masks have votes only, and there are real votes.
        write_table(table if is_real else table[table["spiral_mask_loc"] != ""], catalog_loc)
    places = ["--labelled-catalog", catalog_loc, "--image-root", root, "--shard-dir", folder]
    run_once(c, folder, "shards", *places, "--schema", SCHEMAS[name], "--img-size", 304, "--resume")
    return folder


def training_galaxies(c: Comparison, name: str, fold: int) -> pd.DataFrame:
    """Galaxies of a set that are not in a fold. Classes of images that look like one of its votes are left out too."""
    table = galaxies(c, name, fold, inside=False)
    if name != "classes":
        return table
    # Some classes are of anonymous galaxies, whose ids do not tell what the images show.
    both = (table, galaxies(c, "gz2", fold, inside=True))
    pictures, seen = (small_images([c.catalogs / loc for loc in one["file_loc"]]) for one in both)
    return table[~looks_like(pictures, seen)]


def galaxies(c: Comparison, name: str, fold: int, inside: bool) -> pd.DataFrame:
    """Galaxies of a set that are inside a fold, or outside of it, without those of the part test."""
    table = read_table(c.catalogs / f"{name}.csv")
    table = table[table["split"] != "test"]
    # Another hash than that of the column split, or a fold would hold most of the part val.
    folds = table["id_str"].map(lambda id_str: int(hash_share(f"fold of {id_str}") * c.folds))
    return table[(folds == fold) == inside]


def linked_images(c: Comparison) -> Path:
    """Make a folder of links to the images to pretrain on, which a hash of their names chooses."""
    folder = c.out / "shared" / "images"
    folder.mkdir(parents=True, exist_ok=True)
    found = [Path(path) for place in c.images for path in galaxies_in_folder(place)["file_loc"]]
    for number, path in enumerate(sorted(found, key=lambda path: hash_share(path.name))[: c.unlabelled]):
        if not (link := folder / f"{number}{path.suffix}").is_symlink():
            link.symlink_to(path)
    return folder


def run_once(c: Comparison, output: Path, *command: object) -> float:
    """Run a command of the package, unless it is finished; return its minutes, since the last interruption."""
    finished = output.with_name(f"{output.name}.minutes")
    if not finished.is_file():
        begin = time.monotonic()
        run_command(c.out / "log.txt", *command)
        write_atomically(finished, f"{(time.monotonic() - begin) / 60:.2f}")
    return float(finished.read_text())


if __name__ == "__main__":
    main()
