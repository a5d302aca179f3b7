"""Metrics over the galaxies that have votes, a mask or a label; galaxies of weight 0 are ignored."""

import keras
import tensorflow as tf

from zoobot3d_tf.images.masks import MASK_THRESHOLD, overlap
from zoobot3d_tf.labels import Label
from zoobot3d_tf.models.config import ModelConfig
from zoobot3d_tf.models.heads import mask_fraction
from zoobot3d_tf.schemas import Schema, fraction_errors
from zoobot3d_tf.training.losses import nll_by_question


def compiled_metrics(model: ModelConfig) -> dict[str, list[keras.metrics.Metric]]:
    """Make the metrics of each task, for `compile(weighted_metrics=...)`.

    Votes have the loss of each question and `fraction_mae`. Masks have `iou` and `mae`. A label has `accuracy`, and a
    binary label also `auc`; a label that is a number has `mae`.
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
    """Make the metrics of a label. Each labelled galaxy counts once, whatever the weight of its class."""
    if label.kind == "regression":
        return [LabelError()]
    return [LabelAccuracy(), *([LabelAUC()] if label.kind == "binary" else [])]


class _Ratio(keras.metrics.Metric):
    """Ratio of two sums over all galaxies since the last reset; 0 if nothing was counted."""

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
        """Compute the ratio for the galaxies added so far."""
        return tf.math.divide_no_nan(self.numerator.value, self.denominator.value)


class QuestionLoss(_Ratio):
    """Mean Dirichlet-multinomial loss of one question, over galaxies for which it was asked."""

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
    """Intersection over union of the enclosed pixels, summed over all galaxies before the division.

    A mean over galaxies would not be defined: a galaxy without arms, correctly predicted, has an empty union.
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
        """Add masks as in a batch and outputs of a mask head, shape (batch, H, W, channels)."""
        error = tf.reduce_mean(tf.abs(y_true[..., :1] - mask_fraction(y_pred)), axis=(1, 2, 3))
        self.add(error, tf.ones_like(error), sample_weight)


class LabelAccuracy(_Ratio):
    """Share of galaxies whose most probable class is right. A binary label is "1" from a probability of one half."""

    def __init__(self, name: str = "accuracy") -> None:
        super().__init__(name=name)

    def update_state(self, y_true: tf.Tensor, y_pred: tf.Tensor, sample_weight: tf.Tensor | None = None) -> None:
        """Add labels, shape (batch, 1), and probabilities, shape (batch, 1) or (batch, classes)."""
        likeliest = tf.argmax(y_pred, axis=1) if y_pred.shape[1] > 1 else tf.cast(y_pred[:, 0] >= 0.5, tf.int64)
        is_right = tf.cast(likeliest == tf.cast(y_true[:, 0], tf.int64), tf.float32)
        self.add(is_right, tf.ones_like(is_right), _presence(sample_weight))


class LabelError(_Ratio):
    """Mean absolute error of a label that is a number, in the units of the label."""

    def __init__(self, name: str = "mae") -> None:
        super().__init__(name=name)

    def update_state(self, y_true: tf.Tensor, y_pred: tf.Tensor, sample_weight: tf.Tensor | None = None) -> None:
        """Add labels and predictions, shape (batch, 1)."""
        error = tf.abs(y_true - y_pred)[:, 0]
        self.add(error, tf.ones_like(error), _presence(sample_weight))


class LabelAUC(keras.metrics.AUC):
    """Area under the ROC curve of a binary label."""

    def __init__(self, name: str = "auc") -> None:
        super().__init__(name=name)

    def update_state(self, y_true: tf.Tensor, y_pred: tf.Tensor, sample_weight: tf.Tensor | None = None) -> None:
        """Add labels and probabilities, shape (batch, 1)."""
        super().update_state(y_true[:, 0], y_pred[:, 0], _presence(sample_weight))


def _presence(sample_weight: tf.Tensor | None) -> tf.Tensor | None:
    """1 for galaxies that have a label, whatever the weight of its class."""
    return None if sample_weight is None else tf.cast(sample_weight > 0, tf.float32)
