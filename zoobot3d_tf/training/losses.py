"""Losses: one value per galaxy, to which sample weights apply.

Keras multiplies the value of each galaxy by its weight and divides the sum by the size of the batch. A galaxy without
votes, masks or a label has the weight 0 in that task, and adds nothing to its loss and gradient.
"""

from collections.abc import Callable, Sequence

import keras
import tensorflow as tf
import tensorflow_probability as tfp

from zoobot3d_tf.labels import Label
from zoobot3d_tf.schemas import Schema
from zoobot3d_tf.training.run_config import MASK_LOSS_NAMES


def dirichlet_multinomial_nll(
    votes: tf.Tensor, concentrations: tf.Tensor, question_index_groups: Sequence[tuple[int, int]]
) -> tf.Tensor:
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


def nll_by_question(votes: tf.Tensor, concentrations: tf.Tensor, slices: Sequence[slice]) -> tf.Tensor:
    """Compute `dirichlet_multinomial_nll`, with the answers of each question given as in `Schema.slices`."""
    concentrations = tf.convert_to_tensor(concentrations)
    # The likelihood is a difference of large log-gamma values, whose third decimal float32 would lose.
    votes, precise = tf.cast(votes, tf.float64), tf.cast(concentrations, tf.float64)
    per_question = []
    for answers in slices:
        counts = votes[:, answers]
        total = tf.reduce_sum(counts, axis=1)
        distribution = tfp.distributions.DirichletMultinomial(total, precise[:, answers])
        nll = -distribution.log_prob(counts)
        per_question.append(tf.where(total > 0, nll, tf.zeros_like(nll)))
    return tf.cast(tf.stack(per_question, axis=1), concentrations.dtype)


def votes_loss(schema: Schema) -> Callable:
    """Make the loss of the vote head: the sum of `dirichlet_multinomial_nll` over the questions, shape (batch,)."""
    slices = schema.slices

    def votes_nll(votes: tf.Tensor, concentrations: tf.Tensor) -> tf.Tensor:
        return tf.reduce_sum(nll_by_question(votes, concentrations, slices), axis=1)

    return votes_nll


def label_loss(label: Label) -> Callable:
    """Make the loss of the label head: squared error in units of the label's scatter, or cross-entropy in nats.

    Args:
        label: label to learn.

    Returns:
        Function of the labels, shape (batch, 1), and the output of the head, shape (batch, 1) or (batch, classes). Its
        values have the shape (batch,).
    """
    if label.kind == "regression":
        return lambda values, predicted: tf.square((values - predicted)[:, 0] / label.scale)
    return keras.losses.binary_crossentropy if label.kind == "binary" else keras.losses.sparse_categorical_crossentropy


def l1(fraction: tf.Tensor, predicted: tf.Tensor) -> tf.Tensor:
    """Mean absolute error of a mask over pixels, shape (batch,)."""
    return _mean_over_pixels(tf.abs(fraction - predicted))


def mse(fraction: tf.Tensor, predicted: tf.Tensor) -> tf.Tensor:
    """Mean squared error of a mask over pixels, shape (batch,)."""
    return _mean_over_pixels(tf.square(fraction - predicted))


def cross_entropy(fraction: tf.Tensor, predicted: tf.Tensor) -> tf.Tensor:
    """Mean cross-entropy over pixels of a volunteer's choice to enclose a pixel or not, in nats, shape (batch,)."""
    epsilon = 1e-6
    predicted = tf.clip_by_value(predicted, epsilon, 1 - epsilon)
    return _mean_over_pixels(-fraction * tf.math.log(predicted) - (1 - fraction) * tf.math.log(1 - predicted))


def beta_binomial(mask: tf.Tensor, concentrations: tf.Tensor) -> tf.Tensor:
    """Mean negative log-likelihood over pixels of the number of volunteers who enclose a pixel.

    Args:
        mask: fraction of the volunteers who enclosed each pixel, and number of volunteers who were asked, shape
            (batch, H, W, 2). Resampled masks hold fractions between counts, which the likelihood interpolates.
        concentrations: concentrations of the answers "inside" and "outside", > 0, shape (batch, H, W, 2).

    Returns:
        Negative log-likelihoods in nats, shape (batch,).
    """
    fraction, n_volunteers = mask[..., 0], mask[..., 1]
    distribution = tfp.distributions.BetaBinomial(
        n_volunteers, concentration1=concentrations[..., 0], concentration0=concentrations[..., 1]
    )
    return _mean_over_pixels(-distribution.log_prob(fraction * n_volunteers))


MASK_LOSSES: dict[str, Callable] = dict(zip(MASK_LOSS_NAMES, (l1, mse, cross_entropy, beta_binomial), strict=True))
"""Losses of masks by their name in a configuration."""


def _mean_over_pixels(values: tf.Tensor) -> tf.Tensor:
    return tf.reduce_mean(values, axis=tuple(range(1, len(values.shape))))
