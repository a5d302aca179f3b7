"""Metrics that respect presence: galaxies without a label (weight 0) count neither for nor against."""

import keras
import tensorflow as tf

from zoobot3d_tf.images.masks import MASK_THRESHOLD, overlap
from zoobot3d_tf.labels import Label
from zoobot3d_tf.models.config import ModelConfig
from zoobot3d_tf.models.heads import mask_fraction
from zoobot3d_tf.schemas import Schema, fraction_errors
from zoobot3d_tf.training.losses import nll_by_question


def compiled_metrics(model: ModelConfig) -> dict[str, list[keras.metrics.Metric]]:
    """Metrics of each task, for `compile(weighted_metrics=...)`.

    Votes: the loss of each question, and `fraction_mae`. Masks: `iou` and `mae`. Label: `accuracy`, and `auc` if it is
    binary; `mae` if it is a number.
    """
    metrics: dict[str, list[keras.metrics.Metric]] = {name: [MaskIoU(), MaskError()] for name in model.masks}
    if schema := model.vote_schema:
        per_question = [
            QuestionLoss(answers, name=f"{question.text}_loss")
            for question, answers in zip(schema.questions, schema.slices, strict=True)
        ]
        metrics["votes"] = [VoteFractionError(schema), *per_question]
    if model.label is not None:
        metrics["label"] = label_metrics(model.label)
    return metrics


def label_metrics(label: Label) -> list[keras.metrics.Metric]:
    """Metrics of a label, over galaxies, however their classes are weighted."""
    if label.kind == "regression":
        return [LabelError()]
    return [LabelAccuracy(), *([LabelAUC()] if label.kind == "binary" else [])]


class _Ratio(keras.metrics.Metric):
    """A sum over a sum, both taken over all examples since the last reset; 0 when nothing was counted."""

    def __init__(self, name: str) -> None:
        super().__init__(name=name)
        self.numerator = self.add_weight(name="numerator", initializer="zeros")
        self.denominator = self.add_weight(name="denominator", initializer="zeros")

    def add(self, numerator: tf.Tensor, denominator: tf.Tensor, sample_weight: tf.Tensor | None) -> None:
        """Add one value per galaxy, shape (batch,) each."""
        weight = tf.ones_like(numerator) if sample_weight is None else tf.cast(sample_weight, numerator.dtype)
        self.numerator.assign_add(tf.reduce_sum(weight * numerator))
        self.denominator.assign_add(tf.reduce_sum(weight * denominator))

    def result(self) -> tf.Tensor:
        """The ratio so far."""
        return tf.math.divide_no_nan(self.numerator.value, self.denominator.value)


class QuestionLoss(_Ratio):
    """Mean Dirichlet-multinomial loss of one question, over galaxies that were asked it."""

    def __init__(self, answers: slice, name: str) -> None:
        super().__init__(name=name)
        self.answers = answers

    def update_state(self, y_true: tf.Tensor, y_pred: tf.Tensor, sample_weight: tf.Tensor | None = None) -> None:
        """Add votes and concentrations, shape (batch, answers)."""
        nll = nll_by_question(y_true, y_pred, [self.answers])[:, 0]
        asked = tf.reduce_sum(y_true[:, self.answers], axis=1) > 0
        self.add(nll, tf.cast(asked, nll.dtype), sample_weight)


class VoteFractionError(_Ratio):
    """Mean absolute error of expected vote fractions, over all answers of questions that were asked."""

    def __init__(self, schema: Schema, name: str = "fraction_mae") -> None:
        super().__init__(name=name)
        self.schema = schema

    def update_state(self, y_true: tf.Tensor, y_pred: tf.Tensor, sample_weight: tf.Tensor | None = None) -> None:
        """Add votes and concentrations, shape (batch, answers)."""
        expected = y_pred / tf.matmul(y_pred, self.schema.same_question)
        errors, asked = fraction_errors(expected, y_true, self.schema, keras.ops)
        n_answers = tf.reduce_sum(tf.cast(asked, errors.dtype), axis=1)
        self.add(tf.reduce_sum(errors, axis=1), n_answers, sample_weight)


class MaskIoU(_Ratio):
    """Intersection over union of the pixels above the threshold, summed over all galaxies.

    It is summed, not averaged over galaxies: a galaxy without arms, correctly predicted, has no union to divide by.
    """

    def __init__(self, name: str = "iou", threshold: float = MASK_THRESHOLD) -> None:
        super().__init__(name=name)
        self.threshold = threshold

    def update_state(self, y_true: tf.Tensor, y_pred: tf.Tensor, sample_weight: tf.Tensor | None = None) -> None:
        """Add masks as in a batch and outputs of a mask head, shape (batch, H, W, channels)."""
        predicted = mask_fraction(y_pred)[..., 0]
        intersection, union = overlap(predicted, y_true[..., 0], keras.ops, self.threshold)
        self.add(tf.cast(intersection, tf.float32), tf.cast(union, tf.float32), sample_weight)


class MaskError(_Ratio):
    """Mean absolute error of a mask's fractions, over all pixels of galaxies whose mask is known."""

    def __init__(self, name: str = "mae") -> None:
        super().__init__(name=name)

    def update_state(self, y_true: tf.Tensor, y_pred: tf.Tensor, sample_weight: tf.Tensor | None = None) -> None:
        """Adds fractions and mask outputs, (batch, H, W, channels)."""
        error = tf.reduce_mean(tf.abs(y_true[..., :1] - mask_fraction(y_pred)), axis=(1, 2, 3))
        self.add(error, tf.ones_like(error), sample_weight)


class LabelAccuracy(_Ratio):
    """Share of galaxies whose class is the likeliest; for binary, on whose side of one half the probability lies."""

    def __init__(self, name: str = "accuracy") -> None:
        super().__init__(name=name)

    def update_state(self, y_true: tf.Tensor, y_pred: tf.Tensor, sample_weight: tf.Tensor | None = None) -> None:
        """Adds labels, (batch, 1), and probabilities, (batch, 1) or (batch, classes)."""
        likeliest = tf.argmax(y_pred, axis=1) if y_pred.shape[1] > 1 else tf.cast(y_pred[:, 0] >= 0.5, tf.int64)
        is_right = tf.cast(likeliest == tf.cast(y_true[:, 0], tf.int64), tf.float32)
        self.add(is_right, tf.ones_like(is_right), _presence(sample_weight))


class LabelError(_Ratio):
    """Mean absolute error of a label that is a number, in its own units."""

    def __init__(self, name: str = "mae") -> None:
        super().__init__(name=name)

    def update_state(self, y_true: tf.Tensor, y_pred: tf.Tensor, sample_weight: tf.Tensor | None = None) -> None:
        """Adds labels and predictions, (batch, 1)."""
        error = tf.abs(y_true - y_pred)[:, 0]
        self.add(error, tf.ones_like(error), _presence(sample_weight))


class LabelAUC(keras.metrics.AUC):
    """Area under the curve of true over false positives of a binary label."""

    def __init__(self, name: str = "auc") -> None:
        super().__init__(name=name)

    def update_state(self, y_true: tf.Tensor, y_pred: tf.Tensor, sample_weight: tf.Tensor | None = None) -> None:
        """Adds labels and probabilities, (batch, 1)."""
        super().update_state(y_true[:, 0], y_pred[:, 0], _presence(sample_weight))


def _presence(sample_weight: tf.Tensor | None) -> tf.Tensor | None:
    """1 where there is a label, whatever its class weighs."""
    return None if sample_weight is None else tf.cast(sample_weight > 0, tf.float32)
