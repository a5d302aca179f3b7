"""Memory of trainings: after each epoch, and with ten times as many shards.

    python benchmarks/train_memory.py

The shards have 300 and 3,000 galaxies of 300 px, in 10 and 100 files. Each epoch trains on 300 of them, at 64 px. The
first number of a training is its memory after the first epoch, to which the last one is compared.
"""

import csv
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from loader import FOLDER

EPOCHS, PER_EPOCH = 10, 300


def make_shards(folder: Path, copies: int) -> Path:
    """Write shards with some copies of each real galaxy, 30 galaxies per file."""
    from zoobot3d_tf.schemas import get_schema
    from zoobot3d_tf.shards.options import ShardOptions
    from zoobot3d_tf.shards.write import create_shards

    catalog = pd.read_csv(FOLDER / "ring_catalog.csv")[["id_str", "file_loc", "ring_yes", "ring_no"]]
    catalog["file_loc"] = [str(FOLDER / loc) for loc in catalog["file_loc"]]
    every = pd.concat([catalog.assign(id_str=catalog["id_str"].astype(str) + f"_{n}") for n in range(copies)])
    every.to_csv(folder / f"{copies}.csv", index=False)
    options = ShardOptions(img_size=300, eval_size=0.1, shard_size=30)
    return create_shards(folder / f"{copies}.csv", folder / f"shards{copies}", get_schema("rings"), options).parent


def memory_by_epoch(shards: Path, run: Path) -> list[float]:
    """Resident memory of a training after each epoch, in MB."""
    command = [sys.executable, "-m", "zoobot3d_tf", "train", "--experiment-dir", str(run)]
    command += ["--train-dir", str(shards / "train_shards"), "--eval-dir", str(shards / "eval_shards")]
    command += ["--resize-size", "64", "--batch-size", "16", "--encoder", "tf_efficientnet_lite0"]
    command += ["--epochs", str(EPOCHS), "--patience", str(EPOCHS), "--galaxies-per-epoch", str(PER_EPOCH)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    status, history, memory = Path(f"/proc/{process.pid}/status"), run / "history.csv", []
    while process.poll() is None and len(memory) < EPOCHS:
        time.sleep(0.05)
        if history.is_file() and len(list(csv.reader(history.open()))) > len(memory) + 1:
            (line,) = [line for line in status.read_text().splitlines() if line.startswith("VmRSS")]
            memory.append(int(line.split()[1]) / 1024)
    if process.wait():
        raise RuntimeError(process.stderr.read().decode())
    return memory


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder, last = Path(temporary), []
        for copies in (1, 10):
            shards = make_shards(folder, copies)
            memory = memory_by_epoch(shards, folder / f"run{copies}")
            last.append(memory[-1])
            growth = np.polyfit(range(1, len(memory)), memory[1:], 1)[0]
            each = ", ".join(f"{mb:.0f}" for mb in memory)
            print(f"{len(list(shards.glob('*/*.tfrecord')))} files: {each} MB after the epochs", flush=True)
            print(f"last to first: ratio {memory[-1] / memory[0]:.2f}; {growth:.1f} MB per epoch", flush=True)
        print(f"ratio of 3,000 to 300 galaxies: {last[1] / last[0]:.2f}")


if __name__ == "__main__":
    main()
