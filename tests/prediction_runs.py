"""Run folders, images and a stand-in for the network, shared by the tests of predictions."""

from pathlib import Path

import cv2
import numpy as np

from zoobot3d_tf.runs.run_folder import WEIGHTS_NAME, write_config
from zoobot3d_tf.schemas import get_schema
from zoobot3d_tf.training.training_config import get_run_config

DECALS = get_schema("decals")
INITIAL, CROP, FINAL = 64, 48, 32


class RedNetwork:
    """Stands for the network where the road about it is tested: the red band is the spiral mask, its mean the votes."""

    step = 4

    def __init__(self, run, masks, n_samples, batch_size, seed, engine, precision):
        self.masks, self.n_samples, self.n_answers = masks, n_samples, len(run.model.schema.label_cols)

    def __call__(self, images, id_strs):
        votes = 1 + images.mean(axis=(1, 2, 3))[:, None, None] + np.arange(self.n_answers)[:, None]
        red = images[..., 0].astype(np.float32) / 255
        masks = {name: red if name == "spiral_mask" else red / 2 for name in self.masks}
        return {"votes": (votes + np.arange(self.n_samples) / 10).astype(np.float32), **masks}


def make_run(folder: Path, tasks=("votes", "spiral_mask", "bar_mask"), sizes=(INITIAL, CROP, FINAL)) -> Path:
    """A run folder whose weights are not to be read."""
    initial, crop, final = sizes
    settings = {"train_records": ["train"], "eval_records": ["eval"], "epochs": 1, "batch_size": 4}
    config = get_run_config(initial, final, crop, folder, schema=DECALS, tasks=tasks, **settings)
    write_config(config.log_dir, config.to_dict())
    (folder / WEIGHTS_NAME).write_bytes(b"weights of a network that is not called")
    return folder


def draw_galaxies(folder: Path, n: int, suffix: str = ".png") -> Path:
    """A folder of smooth noise: images of 70 columns, and of 60 rows and more."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for i in range(n):
        pixels = cv2.GaussianBlur(rng.integers(0, 256, (60 + i, 70, 3), dtype=np.uint8), (0, 0), 2)
        cv2.imwrite(str(folder / f"galaxy_{i}{suffix}"), pixels)
    return folder
