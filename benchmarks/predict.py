"""A folder of PNGs -> a table of votes, beside timm with a PyTorch DataLoader.

    python benchmarks/predict.py

Both read the real galaxies at 424 px from disk, resize to 300, crop to 225, and run EfficientNet-B0 at 224 px with
34 answers; weights are random, which costs the same. Imports and loading the model are left out for both.
"""

import tempfile
import time
from pathlib import Path

from peers import REFERENCE, compare, peer

FOLDER = REFERENCE / "data" / "decals" / "png"
REPEATS = 4


def make_run(folder: Path) -> None:
    """A run folder with random weights."""
    from zoobot3d_tf.data.framing import Framing
    from zoobot3d_tf.models import ModelConfig, build_model
    from zoobot3d_tf.schemas import get_schema
    from zoobot3d_tf.training.run_folder import WEIGHTS_NAME, write_config
    from zoobot3d_tf.training.training_config import RunConfig

    config = RunConfig(ModelConfig(get_schema("decals")), Framing(300, 225, 224), folder, ("none",), ("none",), 1, 1)
    write_config(folder, config.to_dict())
    build_model(config.model).save_weights(folder / WEIGHTS_NAME)


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        make_run(folder / "run")
        images = folder / "images"
        images.mkdir()
        files = sorted(FOLDER.glob("*.png"))
        for repeat in range(REPEATS):
            for file in files:
                (images / f"{file.stem}_{repeat}.png").symlink_to(file)

        def ours(n_samples: int) -> float:
            from zoobot3d_tf.predictions.predict_on_images import predict

            start = time.perf_counter()
            predict(images, folder / "run", folder / "table.csv", n_samples=n_samples, batch_size=16)
            return len(files) * REPEATS / (time.perf_counter() - start)

        ours(1)  # warm
        for n_samples, aim in ((1, 2), (5, 2)):
            arguments = ("predict", str(FOLDER), "--repeat", str(REPEATS), "--n-samples", str(n_samples))
            compare(f"predict, n_samples {n_samples}", lambda n=n_samples: ours(n), lambda a=arguments: peer(*a), aim)


if __name__ == "__main__":
    main()
