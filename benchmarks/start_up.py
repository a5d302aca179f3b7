"""Whole commands of predictions, from the start of the process to its end, compared with PyTorch's.

    python benchmarks/start_up.py [number of images, by default 600]

`zoobot3d predict` and the peer, which is timm with a PyTorch DataLoader in float32, predict the same PNGs of 424 px as
new processes, in turn. Both load EfficientNet-B0 at 224 px with 34 answers; the weights are random. The first
prediction of the run, which converts the network for OpenVINO, is printed but not compared.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from peers import compare, peer_command
from predict import FOLDER, link_images, make_run

from zoobot3d_tf.data.framing import Framing

N_IMAGES = 600


def seconds(command: list[str]) -> float:
    """Wall-clock time of a process."""
    start = time.perf_counter()
    subprocess.run(command, capture_output=True, check=True)
    return time.perf_counter() - start


def main() -> None:
    wanted = int(sys.argv[1]) if len(sys.argv) > 1 else N_IMAGES
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        make_run(folder / "run", Framing(300, 225, 224))
        n_images = link_images(folder / "images", -(-wanted // len(list(FOLDER.glob("*.png")))))

        def ours(n_samples: int) -> float:
            command = [sys.executable, "-m", "zoobot3d_tf", "predict", str(folder / "images")]
            command += ["--checkpoint-dir", str(folder / "run"), "--save-loc", str(folder / "table.csv")]
            return n_images / seconds([*command, "--n-samples", str(n_samples)])

        def theirs(n_samples: int) -> float:
            options = ["--n-samples", str(n_samples), "--save", str(folder / "peer.csv")]
            return n_images / seconds(peer_command("predict", str(folder / "images"), *options))

        for n_samples, aim in ((1, 2.5), (5, 10)):
            print(f"{n_images} images, first prediction: {n_images / ours(n_samples):.1f} s", flush=True)
            name = f"whole process, {n_images} images, samples: {n_samples}"
            compare(name, lambda n=n_samples: ours(n), lambda n=n_samples: theirs(n), aim)


if __name__ == "__main__":
    main()
