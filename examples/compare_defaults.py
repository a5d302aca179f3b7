"""Is any default of `zoobot3d train` a bad choice? Trainings that differ from the defaults in one option each.

python examples/compare_defaults.py configs/compare_defaults.yaml --out defaults

The configuration has the options that all trainings share, as for `zoobot3d train --config`. Each variant is trained
with each seed. The output folder receives one run folder per training and `table.md`: the errors on the validation
galaxies, and their differences from the defaults with the same seed. To continue after an interruption, repeat the
command.
"""

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from zoobot3d_tf.tuning.sweep_results import validation_errors

VARIANTS = {
    "defaults": "",
    "learning rate 0.0003": "learning-rate=0.0003",
    "learning rate 0.003": "learning-rate=0.003",
    "batches of 16": "batch-size=16",
    "batches of 32": "batch-size=32",
    "no dropout": "dropout=0",
    "dropout 0.5": "dropout=0.5",
    "no weight decay": "weight-decay=0",
    "weight decay 0.01": "weight-decay=0.01",
    "decoder of half the width": "decoder-widths=64,32,16,8",
    "decoder of twice the width": "decoder-widths=256,128,64,32",
    "photometric augmentation": "photometry=true",
    "absolute error of masks": "mask-loss=l1",
    "squared error of masks": "mask-loss=mse",
}
"""One option of `zoobot3d train` per variant, as for `--set`."""
DEFAULTS = "defaults"


def train(config: Path, run: Path, option: str, seed: int) -> dict[str, float]:
    """Train a variant, unless it is trained; return the errors of its best epoch on the validation galaxies."""
    command = [sys.executable, "-m", "zoobot3d_tf", "train", "--config", str(config)]
    command += ["--experiment-dir", str(run), "--seed", str(seed)]
    subprocess.run([*command, *(["--set", option] if option else [])], check=True)
    return validation_errors(run)


def table_of(rows: pd.DataFrame) -> str:
    """Make a table of mean errors, with the differences from the defaults of each seed, as Markdown.

    Args:
        rows: one row per training, with `variant`, `seed` and one column per error.
    """
    by_seed = rows.set_index(["variant", "seed"])
    lines = [f"| variant | {' | '.join(by_seed)} |", "|---" * (by_seed.shape[1] + 1) + "|"]
    for variant in rows["variant"].unique():
        errors = by_seed.loc[variant]
        differences = errors - by_seed.loc[DEFAULTS]
        cells = [
            f"{errors[name].mean():.3f}"
            + ("" if variant == DEFAULTS else f" ({', '.join(f'{value:+.3f}' for value in differences[name])})")
            for name in errors
        ]
        lines.append(f"| {variant} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the arguments, train all variants with all seeds, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path, help="Options of zoobot3d train that all trainings share")
    parser.add_argument("--out", type=Path, required=True, help="Folder to fill, or to continue")
    parser.add_argument("--seeds", type=int, default=2)
    args = parser.parse_args(arguments)
    args.out.mkdir(parents=True, exist_ok=True)
    rows = []
    for seed in range(args.seeds):
        for variant, option in VARIANTS.items():
            run = args.out / f"{variant.replace(' ', '_')}_{seed}"
            rows.append({"variant": variant, "seed": seed, **train(args.config, run, option, seed)})
    text = table_of(pd.DataFrame(rows))
    (args.out / "table.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
