"""Peak memory of predictions of votes and masks for 1,000, 10,000 and 100,000 images, relative to the first number.

    python benchmarks/predict_memory.py [NUMBER ...]

The images are symbolic links to real galaxies at 424 px. The network is small (96 px), since its memory does not depend
on the number of images.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from predict import link_images, make_run

from zoobot3d_tf.data.framing import Framing

N_GALAXIES = 60


def peak_mb(command: list[str]) -> float:
    """Largest peak resident memory of the processes of a command, in MB."""
    program = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, stdout=sys.stderr);"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)"
    )
    done = subprocess.run([sys.executable, "-c", program, *command], check=True, stdout=subprocess.PIPE, text=True)
    return float(done.stdout)


def main() -> None:
    numbers = [int(number) for number in sys.argv[1:]] or [1_000, 10_000, 100_000]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        make_run(folder / "run", Framing(212, 112, 96))
        first = None
        for number in numbers:
            n_images = link_images(folder / str(number), -(-number // N_GALAXIES))
            command = [sys.executable, "-m", "zoobot3d_tf", "predict", "--checkpoint-dir", str(folder / "run")]
            command += ["--folder", str(folder / str(number)), "--save-loc", str(folder / f"{number}.csv")]
            start = time.perf_counter()
            mb = peak_mb([*command, "--masks-file", str(folder / f"{number}.fits")])
            first = first or mb
            seconds = time.perf_counter() - start
            print(f"{n_images} images: peak {mb:.0f} MB, ratio {mb / first:.3f} (aim 1.1), {seconds:.0f} s", flush=True)


if __name__ == "__main__":
    main()
