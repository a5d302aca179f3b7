"""Loss and metrics as sums over galaxies, which batches, devices and machines can add.

Each metric is a ratio of two sums: a tensor of its numerator and its denominator, shape (2,). The area under the ROC
curve comes from the numbers of galaxies of both classes by predicted probability, shape (2, bins). Galaxies of weight
0 are not included.
"""

from collections.abc import Mapping
from typing import Any, cast

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from zoobot3d_tf.images.masks import overlap
from zoobot3d_tf.labels import Label
from zoobot3d_tf.models.config import ModelConfig
from zoobot3d_tf.models.heads import mask_fraction
from zoobot3d_tf.schemas import Schema, fraction_errors
from zoobot3d_tf.training.losses import MASK_LOSSES, label_loss, nll_by_question
from zoobot3d_tf.training.run_config import MASK_LOSS_NAMES

LOSS = "loss"
AUC_BINS = 1000
"""Number of bins of the predicted probability. Galaxies in one bin count as equally probable."""

Sums = dict[str, tf.Tensor]


def sums_of_batch(
    model: ModelConfig,
    mask_loss: str,
    loss_weights: Mapping[str, float],
    outputs: Mapping[str, tf.Tensor],
    targets: Mapping[str, tf.Tensor],
    weights: Mapping[str, tf.Tensor],
) -> Sums:
    """Compute the loss and the metrics of a batch.

    Args:
        model: configuration of the model.
        mask_loss: name of the loss of masks, one of `MASK_LOSS_NAMES`.
        loss_weights: factor of the loss of each task.
        outputs: outputs of the model by task.
        targets: targets as in a batch of `data.dataset`.
        weights: weights of the galaxies as in a batch, (batch,) each.

    Returns:
        Sums, float64, by name: `loss`, the sum of the losses of all tasks times their factors; `votes_loss` and so on;
        `votes_fraction_mae` and the loss of each question; `iou` and `mae` of masks; `accuracy`, `auc` or `mae` of
        the label. If there is one task, its name is left out, as in Keras. The denominator of losses of tasks is the
        number of all galaxies, with or without the task.
    """
    sums: Sums = {}
    total = 0.0
    for task in model.tasks:
        # Mixed precision computes in fewer digits.
        output, target = ops.cast(outputs[task], "float32"), targets[task]
        losses, of_task = _task_sums(task, model, mask_loss, output, target, weights[task])
        losses *= weights[task]
        total += loss_weights[task] * losses
        several = len(model.tasks) > 1
        if several:
            sums[f"{task}_{LOSS}"] = _pair(losses, tf.ones_like(losses))
        sums |= {f"{task}_{name}" if several else name: value for name, value in of_task.items()}
    return {LOSS: _pair(total, tf.ones_like(total))} | sums


def zero_sums(network: keras.Model, model: ModelConfig) -> Sums:
    """Sums of no galaxies, with the names and shapes of `sums_of_batch`."""
    outputs = {name: tf.zeros((0, *output.shape[1:])) for name, output in network.output.items()}
    targets = {name: output[:, :1] if name == "label" else output for name, output in outputs.items()}
    weights = {name: tf.zeros(0) for name in outputs}
    return sums_of_batch(model, MASK_LOSS_NAMES[0], dict.fromkeys(outputs, 1.0), outputs, targets, weights)


def results(sums: Mapping[str, Any]) -> dict[str, float]:
    """Compute loss and metrics from their sums over all galaxies; a ratio is 0 if nothing was counted."""
    arrays = {name: np.asarray(value) for name, value in sums.items()}
    return {name: _area(array) if array.ndim == 2 else _ratio(*map(float, array)) for name, array in arrays.items()}


def _task_sums(
    task: str, model: ModelConfig, mask_loss: str, output: tf.Tensor, target: tf.Tensor, weight: tf.Tensor
) -> tuple[tf.Tensor, Sums]:
    """Loss of each galaxy, (batch,), and the sums of the metrics of a task."""
    if task == "votes":
        schema = cast(Schema, model.vote_schema)
        losses = nll_by_question(target, output, schema.slices)
        return ops.sum(losses, axis=1), vote_sums(schema, losses, target, output, weight)
    if task == "label":
        label = cast(Label, model.label)
        return label_loss(label)(target, output), label_sums(label, target, output, weight)
    return MASK_LOSSES[mask_loss](target, output), mask_sums(target, output, weight)


def vote_sums(
    schema: Schema, losses: tf.Tensor, votes: tf.Tensor, concentrations: tf.Tensor, weight: tf.Tensor
) -> Sums:
    """Sums of the mean absolute error of vote fractions, over all answers of questions that were asked, and of the loss
    of each question, over galaxies for which it was asked.

    Args:
        schema: decision tree.
        losses: loss of each question, (batch, questions).
        votes: numbers of votes, (batch, answers).
        concentrations: predicted concentrations, same shape.
        weight: weights of the galaxies, (batch,).
    """
    expected = concentrations / ops.matmul(concentrations, schema.same_question)
    errors, asked = fraction_errors(expected, votes, schema, ops)
    asked = ops.cast(asked, errors.dtype)
    sums = {"fraction_mae": _pair(weight * ops.sum(errors, axis=1), weight * ops.sum(asked, axis=1))}
    for number, (question, answers) in enumerate(zip(schema.questions, schema.slices, strict=True)):
        sums[f"{question.text}_{LOSS}"] = _pair(weight * losses[:, number], weight * asked[:, answers.start])
    return sums


def mask_sums(mask: tf.Tensor, output: tf.Tensor, weight: tf.Tensor) -> Sums:
    """Sums of the intersection over union of the enclosed pixels, and of the mean absolute error of the fractions.

    Intersection and union are summed over galaxies before the division: for a galaxy without arms, correctly
    predicted, their ratio is not defined.

    Args:
        mask: masks as in a batch, (batch, H, W, channels).
        output: output of the mask head, (batch, H, W, channels).
        weight: weights of the galaxies, (batch,).
    """
    predicted, fraction = mask_fraction(output), mask[..., :1]
    both, either = (ops.cast(n, "float32") for n in overlap(predicted[..., 0], fraction[..., 0], ops))
    errors = ops.mean(ops.abs(fraction - predicted), axis=(1, 2, 3))
    return {"iou": _pair(weight * both, weight * either), "mae": _pair(weight * errors, weight)}


def label_sums(label: Label, values: tf.Tensor, output: tf.Tensor, weight: tf.Tensor) -> Sums:
    """Sums of the metrics of a label. Each labelled galaxy counts once, whatever the weight of its class.

    Args:
        label: the label.
        values: labels, (batch, 1).
        output: output of the label head, (batch, columns).
        weight: weights of the galaxies, (batch,).
    """
    known = ops.cast(weight > 0, "float32")
    if label.kind == "regression":
        return {"mae": _pair(known * ops.abs(values - output)[:, 0], known)}
    likeliest = ops.argmax(output, axis=1) if label.kind == "multiclass" else output[:, 0] >= 0.5
    right = ops.cast(ops.cast(likeliest, "int32") == ops.cast(values[:, 0], "int32"), "float32")
    sums = {"accuracy": _pair(known * right, known)}
    if label.kind == "binary":
        bins = ops.one_hot(ops.cast(ops.clip(output[:, 0] * AUC_BINS, 0, AUC_BINS - 1), "int32"), AUC_BINS)
        classes = ops.stack([known * values[:, 0], known * (1 - values[:, 0])])
        sums["auc"] = ops.cast(ops.matmul(classes, bins), "float64")
    return sums


def _pair(numerator: tf.Tensor, denominator: tf.Tensor) -> tf.Tensor:
    return ops.stack([ops.sum(ops.cast(terms, "float64")) for terms in (numerator, denominator)])


def _ratio(numerator: float, denominator: float) -> float:
    return numerator / denominator if denominator else 0.0


def _area(counts: np.ndarray) -> float:
    """Probability that a galaxy of class 1 has the higher probability of two of both classes; equal ones count half."""
    ones, zeros = counts
    below = np.cumsum(zeros) - zeros
    return _ratio(float(ones @ (below + zeros / 2)), float(ones.sum() * zeros.sum()))
