"""Training steps of votes and masks (224 px, batches of 16): images per second, compared with PyTorch.

PyTorch trains segmentation-models-pytorch with the same encoder.

python benchmarks/train_step.py
"""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from peers import compare, peer

if TYPE_CHECKING:
    import keras

BATCH, STEPS = 16, 10


def joint_step(encoder: str) -> tuple[Callable[[], float], "keras.Model"]:
    """Make a function that trains one step on random images, and returns the loss; and the model."""
    import numpy as np
    import tensorflow as tf

    from zoobot3d_tf.data.framing import Framing
    from zoobot3d_tf.models import ModelConfig
    from zoobot3d_tf.schemas import get_schema
    from zoobot3d_tf.training.assemble import compiled_model
    from zoobot3d_tf.training.loop import make_step
    from zoobot3d_tf.training.metrics import zero_sums
    from zoobot3d_tf.training.run_config import RunConfig

    network = ModelConfig(get_schema("decals"), encoder=encoder)
    config = RunConfig(network, Framing(300, 225, 224), "unused", ("unused",), ("unused",), 1, BATCH)
    model = compiled_model(config)
    rng = np.random.default_rng(0)
    images = tf.constant(rng.uniform(0, 255, (BATCH, 224, 224, 3)), tf.float32)
    masks = {name: tf.constant(rng.uniform(size=(BATCH, 224, 224, 1)), tf.float32) for name in network.masks}
    targets = {"votes": tf.constant(rng.integers(0, 9, (BATCH, 34)), tf.float32), **masks}
    batch = (images, targets, {name: tf.ones(BATCH) for name in targets})
    any_size = tf.nest.map_structure(lambda value: tf.TensorSpec((None, *value.shape[1:]), value.dtype), batch)
    step = make_step(model, config, any_size, is_training=True)
    sums, nobody = zero_sums(model, network), tf.zeros([])
    return lambda: float(step(batch, sums, nobody)[0]["loss"][0]), model


def main() -> None:
    step, _ = joint_step("EfficientNetB0")

    def ours() -> float:
        start = time.perf_counter()
        for _ in range(STEPS):
            step()
        return BATCH * STEPS / (time.perf_counter() - start)

    start = time.perf_counter()
    step()
    first = time.perf_counter() - start
    print(f"first step, with tracing: {first:.1f} s; 200 steps: {first + 199 * BATCH / ours():.0f} s")
    compare("training step", ours, lambda: peer("train", "--batch", str(BATCH), "--steps", str(STEPS)), aim=2.2)


if __name__ == "__main__":
    main()
