"""From shards to augmented batches with two masks: images per second on one core, compared with albumentations.

The other package reads the images from PNG files.

taskset --cpu-list 0 python benchmarks/loader.py
"""

import os
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from peers import REFERENCE, compare, peer
from PIL import Image
from skimage.draw import ellipse

FOLDER = REFERENCE / "data" / "decals"


def make_shards(folder: Path) -> list[Path]:
    """Write shards of the real galaxies at 300 px. Both masks are the ellipse that the other package draws."""
    from zoobot3d_tf.schemas import get_schema
    from zoobot3d_tf.shards.manifest import read_manifest
    from zoobot3d_tf.shards.options import ShardOptions
    from zoobot3d_tf.shards.write import create_shards

    mask = np.zeros((424, 424), np.uint8)
    mask[ellipse(212, 212, 60, 100, rotation=-np.pi / 6)] = 9
    Image.fromarray(mask).save(folder / "mask.png")
    catalog = pd.read_csv(FOLDER / "ring_catalog.csv")[["id_str", "file_loc", "ring_yes", "ring_no"]]
    catalog["file_loc"] = [str(FOLDER / loc) for loc in catalog["file_loc"]]
    catalog["spiral_mask_loc"] = catalog["bar_mask_loc"] = str(folder / "mask.png")
    catalog.to_csv(folder / "catalog.csv", index=False)
    options = ShardOptions(img_size=300, eval_size=0.01)
    return read_manifest(create_shards(folder / "catalog.csv", folder / "shards", get_schema("rings"), options)).paths(
        "train"
    )


def main() -> None:
    core = str(min(os.sched_getaffinity(0)))
    os.sched_setaffinity(0, {int(core)})
    with tempfile.TemporaryDirectory() as folder:
        paths = make_shards(Path(folder))

        import tensorflow as tf

        from zoobot3d_tf.data.dataset import Survey, training_batches
        from zoobot3d_tf.data.framing import Framing

        tf.config.threading.set_intra_op_parallelism_threads(1)
        survey = Survey(tuple(map(str, paths)) * 4, np.eye(2))
        batches = training_batches([survey], Framing(300, 240, 224), batch_size=32)

        def ours() -> float:
            start, n = time.perf_counter(), 0
            for images, _, _ in batches:
                n += len(images)
            return n / (time.perf_counter() - start)

        ours()  # warm-up
        compare("loader", ours, lambda: peer("loader", str(FOLDER / "images"), "--masks", cores=core), aim=2.5)


if __name__ == "__main__":
    main()
