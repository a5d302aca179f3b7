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
REPEATS = 8


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


def link_images(folder: Path, repeats: int) -> int:
    """A folder that shows the same galaxies so many times; returns how many images it has."""
    folder.mkdir()
    files = sorted(FOLDER.glob("*.png"))
    for repeat in range(repeats):
        for file in files:
            (folder / f"{file.stem}_{repeat}.png").symlink_to(file)
    return len(files) * repeats


def main() -> None:
    from zoobot3d_tf.predictions.predict_on_images import predict

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        make_run(folder / "run")
        n_few, n_many = link_images(folder / "few", 1), link_images(folder / "many", REPEATS)

        def seconds(images: str, n_samples: int) -> float:
            start = time.perf_counter()
            predict(folder / images, folder / "run", folder / "table.csv", n_samples=n_samples, batch_size=16)
            return time.perf_counter() - start

        def ours(n_samples: int) -> float:
            # What both take alike, loading the model, falls out of the difference.
            return (n_many - n_few) / (seconds("many", n_samples) - seconds("few", n_samples))

        ours(1)  # warm
        for n_samples, aim in ((1, 2), (5, 2)):
            arguments = ("predict", str(FOLDER), "--repeat", "4", "--n-samples", str(n_samples))
            compare(f"predict, n_samples {n_samples}", lambda n=n_samples: ours(n), lambda a=arguments: peer(*a), aim)


if __name__ == "__main__":
    main()
