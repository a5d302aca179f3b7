"""The trained network as one fast function from images to concentrations, masks and labels."""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from zoobot3d_tf.inference.compiled_network import compile_network
from zoobot3d_tf.inference.engine import step_size
from zoobot3d_tf.models.config import POOLED_HEADS
from zoobot3d_tf.runs.run_folder import TrainedRun


class Network:
    """A trained model for predictions. Several threads may call it at once.

    The encoder runs once per galaxy, and so does the decoder if masks are requested. The heads of votes and label run
    once per dropout sample. Dropout multiplies each feature by a factor, which is drawn here from the id of the galaxy,
    so that predictions depend neither on the batch nor on the other galaxies. With one sample there is no dropout.

    Attributes:
        step: number of galaxies per call.
    """

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
        """Load the weights and compile the network.

        Args:
            run: run folder.
            masks: names of the masks to predict. Without masks, the decoder does not run.
            n_samples: number of dropout samples.
            batch_size: largest number of galaxies per call. A CPU takes fewer.
            seed: random seed of the dropout.
            engine: engine that runs the network, "tf" or "openvino".
            precision: precision of the engine, "f32", or "bf16" with OpenVINO.

        Raises:
            ValueError: the weights do not exist or do not fit the configuration of the run.
        """
        self.step = step_size(engine, batch_size)
        self._rate, self._seed = run.model.dropout, seed
        self._outputs = (*masks, *(name for name in POOLED_HEADS if name in run.model.tasks))

        def trace() -> Any:
            from zoobot3d_tf.models.traced import trace_predictions

            return trace_predictions(run.load_model(), self._outputs, self.step, n_samples)

        sizes = {"step": self.step, "n_samples": n_samples, "image_size": run.model.image_size}
        self._function = compile_network(run, {"outputs": self._outputs, **sizes}, trace, engine, precision)

    def __call__(self, images: np.ndarray, id_strs: Sequence[str]) -> dict[str, np.ndarray]:
        """Predict one step of galaxies.

        Args:
            images: images, uint8 (step, H, W, 3), 0 to 255.
            id_strs: ids of the galaxies. If there are fewer than `step`, the last images are padding.

        Returns:
            `votes`: concentrations, float32 (step, answers, samples), if the model predicts votes; `label`: float32
            (step, columns of `Label.outputs`, samples), if it predicts a label; and for each mask the fractions of
            volunteers, float32 (step, H, W).
        """
        inputs = [images]
        for step, n_samples, n_features in self._function.input_shapes[1:]:  # none if only masks are predicted
            factors = np.ones((step, n_samples, n_features), np.float32)
            if n_samples > 1:
                for i, id_str in enumerate(id_strs):
                    factors[i] = dropout_factors(id_str, (n_samples, n_features), self._rate, self._seed)
            inputs.append(factors)
        return dict(zip(self._outputs, self._function.run(*inputs), strict=True))


def dropout_factors(id_str: str, shape: tuple[int, int], rate: float, seed: int) -> np.ndarray:
    """Draw the factors by which dropout multiplies the features of one galaxy: 0, or 1 / (1 - rate) if it is kept.

    Args:
        id_str: id of the galaxy. The same id and seed always give the same factors.
        shape: number of samples and of features. More samples do not change the first ones.
        rate: share of the features that are dropped.
        seed: random seed.

    Returns:
        Factors, float32 (samples, features).
    """
    key = int.from_bytes(hashlib.sha256(id_str.encode()).digest()[:8], "big")
    kept = np.random.default_rng([seed, key]).random(shape, np.float32) >= rate
    return kept.astype(np.float32) / np.float32(1 - rate)
