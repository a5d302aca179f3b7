"""VICReg: the network, its loss, and what shows whether it collapsed (Bardes et al. 2022, arXiv 2105.04906).

Two views of a galaxy must have similar embeddings (invariance). Each number of an embedding must vary between galaxies
(variance), and no two numbers may say the same (covariance), or equal embeddings for all galaxies would be the best.
Embeddings have the shape (galaxies, 2, numbers): those of both views.
"""

from typing import Any

import keras
from keras import ops

from zoobot3d_tf.models.build import build_model
from zoobot3d_tf.models.config import ModelConfig

# Weights of the terms, as published.
INVARIANCE, VARIANCE, COVARIANCE = 25.0, 25.0, 1.0
NUMBERS = 256
"""Numbers of an embedding. The paper has 8192, for batches of 2048. In a batch of B galaxies, the covariances of
independent numbers scatter so much that their term is at least about 2 NUMBERS / B. It must not outweigh the others."""
POOLED = "pooled"
"""Name of the part of the network that is kept: the scaling of pixels, the encoder, and pooling."""
_EPSILON = 1e-4  # keeps the gradient of a standard deviation finite


def build_network(config: ModelConfig) -> keras.Model:
    """Build the encoder, and the expander of three layers on top of it.

    Args:
        config: configuration of a model with votes.

    Returns:
        Model from views (B, 2, H, W, 3), 0..255, to embeddings (B, 2, NUMBERS).
    """
    model = build_model(config)
    pooled = keras.Model(model.input, model.get_layer("features").output, name=POOLED)
    size = config.image_size
    views = keras.Input((2, size, size, 3), name="views")
    x = pooled(ops.reshape(views, (-1, size, size, 3)))
    for n in (1, 2):
        x = keras.layers.Dense(NUMBERS, use_bias=False, name=f"expander{n}")(x)
        x = keras.layers.BatchNormalization(name=f"expander{n}_bn")(x)
        x = keras.layers.Activation("relu", name=f"expander{n}_relu")(x)
    x = keras.layers.Dense(NUMBERS, use_bias=False, name="expander3")(x)
    return keras.Model(views, ops.reshape(x, (-1, 2, NUMBERS)), name="vicreg")


def vicreg_loss(_: Any, embeddings: Any) -> Any:
    """Compute the loss of VICReg of one batch, a scalar, with the means and weights of the published code.

    Args:
        _: targets, of which there are none.
        embeddings: embeddings (B, 2, numbers), float32, B at least 2.
    """
    n_numbers = embeddings.shape[-1]
    invariance = ops.mean(ops.square(embeddings[:, 0] - embeddings[:, 1]))
    covariances = _covariances(embeddings)
    variances = ops.diagonal(covariances, axis1=1, axis2=2)
    variance = ops.mean(ops.relu(1 - ops.sqrt(variances + _EPSILON)))
    covariance = (ops.sum(ops.square(covariances)) - ops.sum(ops.square(variances))) / n_numbers
    return INVARIANCE * invariance + VARIANCE * variance + COVARIANCE * covariance


def spread(_: Any, embeddings: Any) -> Any:
    """Mean standard deviation of the numbers between galaxies. The loss aims at 1; 0 is a collapse to one point."""
    return ops.mean(ops.sqrt(ops.diagonal(_covariances(embeddings), axis1=1, axis2=2)))


def rank(_: Any, embeddings: Any) -> Any:
    """Number of directions in which embeddings vary: the participation ratio of the eigenvalues of the covariance.

    It is the squared sum of the eigenvalues divided by the sum of their squares, at most the number of galaxies in a
    batch minus 1. A small number is a collapse to few directions. The mean of both views is given.
    """
    covariances = _covariances(embeddings)
    squared_sum = ops.square(ops.sum(ops.diagonal(covariances, axis1=1, axis2=2), axis=1))
    return ops.mean(squared_sum / (ops.sum(ops.square(covariances), axis=(1, 2)) + keras.config.epsilon()))


def _covariances(embeddings: Any) -> Any:
    """Covariance between the numbers of the embeddings, for each view, (2, numbers, numbers)."""
    n_galaxies = ops.cast(ops.shape(embeddings)[0], embeddings.dtype)
    centred = ops.transpose(embeddings - ops.mean(embeddings, axis=0), (1, 0, 2))
    return ops.matmul(ops.transpose(centred, (0, 2, 1)), centred) / (n_galaxies - 1)
