"""Run folders, images and a stand-in for the network, shared by the tests of predictions."""

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from zoobot3d_tf.runs.run_folder import WEIGHTS_NAME, TrainedRun, write_config
from zoobot3d_tf.schemas import get_schema
from zoobot3d_tf.training.training_config import get_run_config

DECALS = get_schema("decals")
INITIAL, CROP, FINAL = 64, 48, 32


class RedNetwork:
    """A stand-in for the network: the red band is the spiral mask, the mean of the image gives the votes."""

    step = 4

    def __init__(
        self,
        run: TrainedRun,
        masks: Sequence[str],
        n_samples: int,
        batch_size: int,
        seed: int,
        engine: str,
        precision: str,
    ) -> None:
        self.masks, self.n_samples, self.n_answers = masks, n_samples, len(run.model.schema.label_cols)

    def __call__(self, images: np.ndarray, id_strs: Sequence[str]) -> dict[str, np.ndarray]:
        votes = 1 + images.mean(axis=(1, 2, 3))[:, None, None] + np.arange(self.n_answers)[:, None]
        red = images[..., 0].astype(np.float32) / 255
        masks = {name: red if name == "spiral_mask" else red / 2 for name in self.masks}
        return {"votes": (votes + np.arange(self.n_samples) / 10).astype(np.float32), **masks}


def make_run(
    folder: Path,
    tasks: Sequence[str] = ("votes", "spiral_mask", "bar_mask"),
    sizes: tuple[int, int, int] = (INITIAL, CROP, FINAL),
) -> Path:
    """Make a run folder whose weights cannot be read."""
    initial, crop, final = sizes
    settings = {"train_records": ["train"], "eval_records": ["eval"], "epochs": 1, "batch_size": 4}
    config = get_run_config(initial, final, crop, folder, schema=DECALS, tasks=tasks, **settings)
    write_config(config.log_dir, config.to_dict())
    (folder / WEIGHTS_NAME).write_bytes(b"weights of a network that is not called")
    return folder


def draw_galaxies(folder: Path, n: int, suffix: str = ".png") -> Path:
    """Draw images of smooth noise, 70 pixels wide, 60 and more pixels high."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for i in range(n):
        pixels = cv2.GaussianBlur(rng.integers(0, 256, (60 + i, 70, 3), dtype=np.uint8), (0, 0), 2)
        cv2.imwrite(str(folder / f"galaxy_{i}{suffix}"), pixels)
    return folder


def start(function: Callable[..., None], *arguments: Any) -> BaseProcess:
    """Run a function of this module in a new process, which starts fast and has not imported TensorFlow."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["zoobot3d_tf.predictions.predict_on_images", "zoobot3d_tf.predictions.mask_files"])
    process = context.Process(target=function, args=arguments)
    process.start()
    return process


def predict_slowly(images: Path, run: Path, table: Path, masks_file: Path) -> None:
    """Predict with `RedNetwork`, 0.03 s per step."""

    class SlowNetwork(RedNetwork):
        def __call__(self, images: np.ndarray, id_strs: Sequence[str]) -> dict[str, np.ndarray]:
            time.sleep(0.03)
            return super().__call__(images, id_strs)

    _replace_network(SlowNetwork)
    from zoobot3d_tf.predictions.predict_on_images import predict

    predict(images, run, table, n_samples=2, engine="tf", masks_file=masks_file)


def predict_interrupted(kind: str, first_part: Path, reason: Path, images: Path, run: Path, table: Path) -> None:
    """Predict in parts of four galaxies, and end at galaxy_6, when the first part is finished.

    Args:
        kind: "kill", or "full disk": an error, whose message is written to the file `reason`.
        first_part: file of the first part.
        reason: file for the message.
        images: folder of images.
        run: run folder.
        table: table to write.
    """

    class InterruptedNetwork(RedNetwork):
        def __call__(self, images: np.ndarray, id_strs: Sequence[str]) -> dict[str, np.ndarray]:
            if "galaxy_6" in id_strs:
                while not first_part.exists():
                    time.sleep(0.01)
                if kind == "kill":
                    os.kill(os.getpid(), signal.SIGKILL)
                raise OSError("no space left")
            return super().__call__(images, id_strs)

    _replace_network(InterruptedNetwork)
    from zoobot3d_tf.inference import job
    from zoobot3d_tf.predictions.predict_on_images import predict

    job._PART_UNIT = 4
    try:
        predict(images, run, table, n_samples=2, engine="tf")
    except OSError as error:
        reason.write_text(str(error))
        sys.exit(1)


def _replace_network(network: type) -> None:
    """Replace the network in this process."""
    from zoobot3d_tf.predictions import predict_part

    predict_part.Network = network  # type: ignore[misc, assignment]
