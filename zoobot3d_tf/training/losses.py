"""Losses: one value an example, before sample weights apply.

Keras multiplies these by the weight of each example and divides by the size of the batch, so that a galaxy without a
label costs nothing and moves nothing.
"""

from collections.abc import Callable, Sequence

import keras
import tensorflow as tf
import tensorflow_probability as tfp

from zoobot3d_tf.images.masks import N_VOLUNTEERS
from zoobot3d_tf.labels import Label
from zoobot3d_tf.schemas import Schema


def dirichlet_multinomial_nll(votes, concentrations, question_index_groups: Sequence[tuple[int, int]]):
    """Negative log-likelihood of the votes for each question, natural log, multinomial coefficient included.

    Args:
        votes: counts (batch, answers), whole numbers in floats.
        concentrations: (batch, answers), > 0.
        question_index_groups: first and last (inclusive) answer of each question, as `Schema.question_index_groups`.

    Returns:
        (batch, questions), in the type of the concentrations; exactly 0, with exactly 0 gradient, where a question has
        no votes.

    Walmsley et al. 2022 (arXiv 2102.08414), equation 2.
    """
    concentrations = tf.convert_to_tensor(concentrations)
    # Differences of large log-gammas: float32 would lose the third decimal, and these few values cost nothing.
    votes, precise = tf.cast(votes, tf.float64), tf.cast(concentrations, tf.float64)
    per_question = []
    for first, last in question_index_groups:
        counts = votes[:, first : last + 1]
        total = tf.reduce_sum(counts, axis=1)
        distribution = tfp.distributions.DirichletMultinomial(total, precise[:, first : last + 1])
        nll = -distribution.log_prob(counts)
        per_question.append(tf.where(total > 0, nll, tf.zeros_like(nll)))
    return tf.cast(tf.stack(per_question, axis=1), concentrations.dtype)


def votes_loss(schema: Schema) -> Callable:
    """Loss of the vote head: the sum over questions, (batch,)."""
    groups = schema.question_index_groups

    def votes_nll(votes, concentrations):
        return tf.reduce_sum(dirichlet_multinomial_nll(votes, concentrations, groups), axis=1)

    return votes_nll


def label_loss(label: Label) -> Callable:
    """Loss of the label head, (batch,): squared error in units of the label's scatter, or cross-entropy in nats.

    Takes the labels, (batch, 1), and the head's output, (batch, 1) or (batch, classes).
    """
    if label.kind == "regression":
        return lambda values, predicted: tf.square((values - predicted)[:, 0] / label.scale)
    return keras.losses.binary_crossentropy if label.kind == "binary" else keras.losses.sparse_categorical_crossentropy


def l1(fraction, predicted):
    """Mean absolute error of a mask, (batch,)."""
    return _mean_over_pixels(tf.abs(fraction - predicted))


def mse(fraction, predicted):
    """Mean squared error of a mask, (batch,)."""
    return _mean_over_pixels(tf.square(fraction - predicted))


def cross_entropy(fraction, predicted):
    """Cross-entropy of each volunteer's choice to enclose a pixel or not, (batch,), mean over pixels."""
    epsilon = 1e-6
    predicted = tf.clip_by_value(predicted, epsilon, 1 - epsilon)
    return _mean_over_pixels(-fraction * tf.math.log(predicted) - (1 - fraction) * tf.math.log(1 - predicted))


def beta_binomial(fraction, concentrations):
    """Negative log-likelihood of the count of volunteers who enclose a pixel, (batch,), mean over pixels.

    Args:
        fraction: (batch, H, W, 1); resampled masks hold fractions between counts, which the likelihood interpolates.
        concentrations: (batch, H, W, 2): of enclosing, of not enclosing.
    """
    distribution = tfp.distributions.BetaBinomial(
        float(N_VOLUNTEERS), concentration1=concentrations[..., 0], concentration0=concentrations[..., 1]
    )
    return _mean_over_pixels(-distribution.log_prob(fraction[..., 0] * N_VOLUNTEERS))


MASK_LOSSES: dict[str, Callable] = {
    "l1": l1,
    "mse": mse,
    "cross-entropy": cross_entropy,
    "beta-binomial": beta_binomial,
}


def _mean_over_pixels(values):
    return tf.reduce_mean(values, axis=tuple(range(1, len(values.shape))))
