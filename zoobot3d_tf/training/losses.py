"""Losses as one value per galaxy.

The training loop multiplies each value by its weight and divides the sum by the number of galaxies. A galaxy without
votes, masks or a label has the weight 0 in that task, and adds nothing to its loss and gradient.

All losses run on TensorFlow and on JAX (`KERAS_BACKEND=jax`). TensorFlow Probability computes the likelihoods on
TensorFlow; it does not run beside current versions of JAX, where the closed form takes its place.
"""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from zoobot3d_tf.labels import Label
from zoobot3d_tf.schemas import Schema
from zoobot3d_tf.training.run_config import MASK_LOSS_NAMES

_NO_ANSWER = 1e-30
"""Concentration of an answer that does not exist. In a sum with concentrations of answers, which are at least 1, it is
lost to rounding; without votes, its own terms cancel."""


def dirichlet_multinomial_nll(votes: Any, concentrations: Any, question_index_groups: Sequence[tuple[int, int]]) -> Any:
    """Compute the negative log-likelihood of the votes for each question, including the multinomial coefficient.

    The votes follow a Dirichlet-multinomial distribution (Walmsley et al. 2022, arXiv 2102.08414, equation 2).

    Args:
        votes: numbers of votes, whole numbers in floats, shape (batch, answers).
        concentrations: concentrations of the Dirichlet distributions, > 0, shape (batch, answers).
        question_index_groups: indices of the first and the last answer of each question, both inclusive, as in Zoobot.

    Returns:
        Negative log-likelihoods in nats, shape (batch, questions), in the type of the concentrations. If a question has
        no votes, the value and its gradient are exactly 0.
    """
    return nll_by_question(votes, concentrations, [slice(first, last + 1) for first, last in question_index_groups])


def nll_by_question(votes: Any, concentrations: Any, slices: Sequence[slice]) -> Any:
    """Compute `dirichlet_multinomial_nll`, with the answers of each question given as in `Schema.slices`."""
    concentrations = ops.convert_to_tensor(concentrations)
    places, exists = _table_of_answers(slices)
    # The likelihood is a difference of large log-gamma values, whose third decimal float32 would lose. JAX has no
    # float64 by default.
    precision = "float64" if keras.backend.backend() == "tensorflow" else "float32"
    counts = ops.where(exists, ops.take(ops.cast(votes, precision), places, axis=1), 0.0)
    precise = ops.where(exists, ops.take(ops.cast(concentrations, precision), places, axis=1), _NO_ANSWER)
    nll = -_log_likelihood(counts, precise)
    asked = ops.any(counts > 0, axis=2)
    return ops.cast(ops.where(asked, nll, 0.0), concentrations.dtype)


def votes_loss(schema: Schema) -> Callable[[Any, Any], Any]:
    """Make the loss of the vote head: the sum of `dirichlet_multinomial_nll` over the questions, shape (batch,)."""
    slices = schema.slices

    def votes_nll(votes: Any, concentrations: Any) -> Any:
        return ops.sum(nll_by_question(votes, concentrations, slices), axis=1)

    return votes_nll


def label_loss(label: Label) -> Callable[[Any, Any], Any]:
    """Make the loss of the label head: squared error in units of the label's scatter, or cross-entropy in nats.

    Args:
        label: label to learn.

    Returns:
        Function of the labels, shape (batch, 1), and the output of the head, shape (batch, 1) or (batch, classes). Its
        values have the shape (batch,).
    """
    if label.kind == "regression":
        return lambda values, predicted: ops.square((values - predicted)[:, 0] / label.scale)
    return keras.losses.binary_crossentropy if label.kind == "binary" else keras.losses.sparse_categorical_crossentropy


def l1(fraction: Any, predicted: Any) -> Any:
    """Mean absolute error of a mask over pixels, shape (batch,)."""
    return _mean_over_pixels(ops.abs(fraction - predicted))


def mse(fraction: Any, predicted: Any) -> Any:
    """Mean squared error of a mask over pixels, shape (batch,)."""
    return _mean_over_pixels(ops.square(fraction - predicted))


def cross_entropy(fraction: Any, predicted: Any) -> Any:
    """Mean cross-entropy over pixels of a volunteer's choice to enclose a pixel or not, in nats, shape (batch,)."""
    epsilon = 1e-6
    predicted = ops.clip(predicted, epsilon, 1 - epsilon)
    return _mean_over_pixels(-fraction * ops.log(predicted) - (1 - fraction) * ops.log(1 - predicted))


def beta_binomial(mask: Any, concentrations: Any) -> Any:
    """Mean negative log-likelihood over pixels of the number of volunteers who enclose a pixel.

    Args:
        mask: fraction of the volunteers who enclosed each pixel, and number of volunteers who were asked, shape
            (batch, H, W, 2). Resampled masks hold fractions between counts, which the likelihood interpolates.
        concentrations: concentrations of the answers "inside" and "outside", > 0, shape (batch, H, W, 2).

    Returns:
        Negative log-likelihoods in nats, shape (batch,).
    """
    fraction, n_volunteers = mask[..., :1], mask[..., 1:]
    counts = ops.concatenate([fraction * n_volunteers, (1 - fraction) * n_volunteers], axis=-1)
    return _mean_over_pixels(-_log_likelihood(counts, ops.cast(concentrations, counts.dtype)))


MASK_LOSSES: dict[str, Callable] = dict(zip(MASK_LOSS_NAMES, (l1, mse, cross_entropy, beta_binomial), strict=True))
"""Losses of masks by their name in a configuration."""


def _table_of_answers(slices: Sequence[slice]) -> tuple[np.ndarray, np.ndarray]:
    """Columns of the answers of each question, int (questions, most answers), and which of them exist.

    One distribution of all questions is traced ten times faster than one per question.
    """
    lengths = np.array([answers.stop - answers.start for answers in slices])
    exists = np.arange(lengths.max()) < lengths[:, None]
    places = np.array([answers.start for answers in slices])[:, None] + np.arange(lengths.max())
    return np.where(exists, places, 0), exists


def _log_likelihood(counts: Any, concentrations: Any) -> Any:
    """Log-likelihood of the Dirichlet-multinomial distribution in nats, over the last axis, the answers."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow_probability as tfp

        return tfp.distributions.DirichletMultinomial(ops.sum(counts, axis=-1), concentrations).log_prob(counts)
    from jax.scipy.special import gammaln

    return closed_form(counts, concentrations, gammaln)


def closed_form(counts: Any, concentrations: Any, gammaln: Callable[[Any], Any]) -> Any:
    """Log-likelihood of the Dirichlet-multinomial distribution in nats, for backends without TensorFlow Probability.

    Args:
        counts: numbers of votes, shape (..., answers).
        concentrations: concentrations, same shape.
        gammaln: logarithm of the absolute value of the gamma function, of the backend.

    Returns:
        Log-likelihoods, shape (...).
    """
    total, strength = ops.sum(counts, axis=-1), ops.sum(concentrations, axis=-1)
    of_answers = gammaln(counts + concentrations) - gammaln(concentrations) - gammaln(counts + 1)
    return ops.sum(of_answers, axis=-1) + gammaln(strength) - gammaln(total + strength) + gammaln(total + 1)


def _mean_over_pixels(values: Any) -> Any:
    return ops.mean(values, axis=tuple(range(1, len(values.shape))))
