"""Parameters of encoders, and their time per image on a CPU, relative to EfficientNetB0.

    python benchmarks/encoders.py

Encoders with random weights compute the features of the vote head, for colour images of 224 px in steps of four, as
predictions do, with one thread per core, in TensorFlow and in OpenVINO. Each round measures all encoders one after the
other, so that other programs on the machine slow down all of them. The ratio of a round is the time of an encoder
divided by that of EfficientNetB0.
"""

import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from zoobot3d_tf.inference.engine import CPU_STEP, choose_engine, openvino_function, tf_function, to_openvino
from zoobot3d_tf.machine import available_cores

SIZE, CALLS, ROUNDS = 224, 32, 9
REFERENCE = "EfficientNetB0"
ENCODERS = (
    REFERENCE,
    "EfficientNetV2B0",
    *(f"tf_efficientnet_lite{n}" for n in range(5)),
    *(f"convnext_{size}" for size in ("pico", "nano", "tiny")),
)


def features_of(encoder: str) -> tuple[int, dict[str, Callable[..., list[np.ndarray]]]]:
    """Build an encoder; return its number of parameters, and its function for each engine."""
    import keras
    import tensorflow as tf

    from zoobot3d_tf.models import ModelConfig, build_model

    model = build_model(ModelConfig(None, SIZE, encoder, color=True, tasks=("spiral_mask",)))
    network = model.get_layer("encoder")
    top = keras.Model(network.input, keras.layers.GlobalAveragePooling2D()(network.output["top"]))
    traced = tf.function(lambda images: top(images, training=False)).get_concrete_function(
        tf.TensorSpec((CPU_STEP, SIZE, SIZE, 3), tf.float32)
    )
    n_parameters = sum(int(np.prod(weight.shape)) for weight in network.trainable_weights)
    _, precision = choose_engine("openvino")
    return n_parameters, {
        "tf f32": tf_function(traced).run,
        f"openvino {precision}": openvino_function(to_openvino(traced), precision).run,
    }


def milliseconds(features: Callable[..., list[np.ndarray]], images: np.ndarray) -> float:
    """Time per image, with all cores."""
    with ThreadPoolExecutor(available_cores()) as pool:
        start = time.perf_counter()
        for _ in pool.map(features, [images] * CALLS):
            pass
    return 1000 * (time.perf_counter() - start) / (CALLS * len(images))


def main() -> None:
    images = np.random.default_rng(0).uniform(0, 1, (CPU_STEP, SIZE, SIZE, 3)).astype(np.float32)
    encoders = {encoder: features_of(encoder) for encoder in ENCODERS}
    for engine in encoders[REFERENCE][1]:
        for _, functions in encoders.values():
            functions[engine](images)  # warm-up
        rounds = [
            {encoder: milliseconds(functions[engine], images) for encoder, (_, functions) in encoders.items()}
            for _ in range(ROUNDS)
        ]
        for encoder, (n_parameters, _) in encoders.items():
            ratios = sorted(times[encoder] / times[REFERENCE] for times in rounds)
            print(
                f"{engine}: {encoder}, {n_parameters / 1e6:.1f} million parameters, "
                f"{statistics.median(times[encoder] for times in rounds):.1f} ms per image, "
                f"ratio {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})",
                flush=True,
            )


if __name__ == "__main__":
    main()
