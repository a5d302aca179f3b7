"""Rate of predictions from a folder of PNGs to a table of votes, and to masks, compared with PyTorch.

    python benchmarks/predict.py [tf|openvino|auto]

Both read real galaxies at 424 px from disk, resize them to 300, crop to 225, and run EfficientNet-B0 at 224 px with
34 answers. The weights are random, which does not change the rate. Votes are compared with timm and a PyTorch
DataLoader, in float32 and in bfloat16. Masks are compared with the forward pass of a U-Net with the same encoder in
PyTorch, which writes no files. The time to import packages and to load the model is not counted.
"""

import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from peers import REFERENCE, compare, peer

from zoobot3d_tf.data.framing import Framing

FOLDER = REFERENCE / "data" / "decals" / "png"
REPEATS = 16


def make_run(folder: Path, framing: Framing) -> None:
    """Make a run folder with random weights."""
    from zoobot3d_tf.models import ModelConfig, build_model
    from zoobot3d_tf.runs.run_folder import WEIGHTS_NAME, write_config
    from zoobot3d_tf.schemas import get_schema
    from zoobot3d_tf.training.run_config import RunConfig

    config = RunConfig(
        ModelConfig(get_schema("decals"), framing.final_size), framing, folder, ("none",), ("none",), 1, 1
    )
    write_config(folder, config.to_dict())
    build_model(config.model).save_weights(folder / WEIGHTS_NAME)


def link_images(folder: Path, repeats: int) -> int:
    """Make a folder with `repeats` links to each real galaxy; return the number of images."""
    folder.mkdir()
    files = sorted(FOLDER.glob("*.png"))
    for repeat in range(repeats):
        for file in files:
            (folder / f"{file.stem}_{repeat}.png").symlink_to(file)
    return len(files) * repeats


def rate(folder: Path, n_samples: int, with_masks: bool, engine: str) -> float:
    """Images per second of a prediction. The difference of two folders removes the time to load the model."""
    from zoobot3d_tf.predictions.predict_on_images import predict

    seconds = []
    for images in ("few", "many", "few"):  # the first is a warm-up
        masks_dir = folder / "masks" if with_masks else None
        start = time.perf_counter()
        options = {"n_samples": n_samples, "masks_dir": masks_dir, "engine": engine}
        predict(folder / images, folder / "run", folder / "table.csv", **options)
        seconds.append(time.perf_counter() - start)
    _, many, few = seconds
    return (REPEATS - 1) * len(list(FOLDER.glob("*.png"))) / (many - few)


def main() -> None:
    engine = sys.argv[1] if len(sys.argv) > 1 else "auto"
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        make_run(folder / "run", Framing(300, 225, 224))
        link_images(folder / "few", 1)
        link_images(folder / "many", REPEATS)

        def ours(n_samples: int, with_masks: bool = False) -> float:
            # A new process each time, as for a command.
            with ProcessPoolExecutor(1, get_context("spawn")) as process:
                return process.submit(rate, folder, n_samples, with_masks, engine).result()

        def theirs(*options: str) -> float:
            return peer("predict", str(FOLDER), "--repeat", "4", *options)

        compare("votes, 1 sample, peer in float32", lambda: ours(1), theirs, aim=3)
        compare("votes, 1 sample, peer in bfloat16", lambda: ours(1), lambda: theirs("--bf16"), aim=2)
        compare("votes, 5 samples, peer in float32", lambda: ours(5), lambda: theirs("--n-samples", "5"), aim=12)
        compare("votes and masks, peer without files", lambda: ours(5, True), lambda: peer("infer"), aim=2.5)


if __name__ == "__main__":
    main()
