"""Batches of shards as Keras needs them: (images, targets, sample weights).

- Images: float32 (B, H, W, 3), 0 to 255.
- Targets: a dict, float32.
    - `votes`: number of votes for each answer, (B, answers).
    - `spiral_mask`, `bar_mask`: fraction of the volunteers who enclosed each pixel, 0 to 1, (B, H, W, 1). For a loss
      that needs the number of volunteers, it is a second channel: (B, H, W, 2).
    - `label`: label as in the shards, 0 if missing, (B, 1).
- Sample weights: a dict with the same names, float32 (B,). The weight is 1 if the galaxy has the target, and 0 if not.
  For a label with classes, it may be the weight of the class instead of 1.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
import tensorflow as tf

from zoobot3d_tf.data.framing import Framing, central_affine, random_affine, warp
from zoobot3d_tf.data.photometry import random_photometry
from zoobot3d_tf.images.masks import MASKS
from zoobot3d_tf.machine import available_cores
from zoobot3d_tf.models.config import VOLUNTEER_TASKS
from zoobot3d_tf.shards import record

SHUFFLE_BUFFER = 2048
"""Number of galaxies of a survey that are shuffled together. They stay encoded, with about 30 kB each."""
FILES_AT_ONCE = 4
"""Number of files that are read in turn."""
BATCHES_AHEAD = 2
"""Number of batches that are prepared in advance."""


@dataclass(frozen=True)
class Survey:
    """Shards of one survey.

    Attributes:
        paths: paths of TFRecord files of one shard folder.
        to_tree: matrix from the votes in the shards to the votes on the tree of the model, see
            `common_tree.conversion`; shape (answers of the shards, answers of the model).
        per_epoch: number of galaxies per training epoch. If it is larger than the number of galaxies, they are used
            repeatedly; if it is smaller, each epoch has others. None for each galaxy once.
        masked_times: how often a galaxy with a mask is used for each use of a galaxy without one, in training.
    """

    paths: tuple[str, ...]
    to_tree: np.ndarray
    per_epoch: int | None = None
    masked_times: int = 1


@dataclass(frozen=True)
class Share:
    """Share of a process in each batch, if several devices compute one step.

    A batch is divided before its images are decoded: galaxy i belongs to part i modulo `n_parts`. Each process reads
    all shards, but decodes the images of its own parts only. If a batch has fewer galaxies than parts, each part is the
    whole batch, since TensorFlow cannot compute with empty batches.

    Attributes:
        parts: numbers of the parts that this process makes.
        n_parts: number of parts of a batch.
    """

    parts: range
    n_parts: int


WHOLE = Share(range(1), 1)
"""Share of a process that makes whole batches."""


def training_batches(
    surveys: Sequence[Survey],
    framing: Framing,
    batch_size: int,
    tasks: Sequence[str] = VOLUNTEER_TASKS,
    seed: int = 0,
    class_weights: Sequence[float] = (),
    with_volunteers: bool = False,
    epochs: range = range(1),
    first_batch: int = 0,
    photometry: bool = False,
    alternating: bool = False,
    share: Share = WHOLE,
) -> tf.data.Dataset:
    """Make shuffled and randomly augmented batches, of one or more epochs.

    Each epoch has another order and other augmentations. Both depend only on the seed and on the number of the epoch,
    so that a run which continues after an interruption, or on other devices, sees the same batches as a run without
    one.

    Args:
        surveys: shards of one or more surveys. The galaxies of all surveys are mixed.
        framing: sizes of stored images, crop and network input.
        batch_size: number of galaxies per batch.
        tasks: targets to read.
        seed: random seed of order and augmentation.
        class_weights: weight of each class of the label, see `Label.class_weights`. If empty, each class has the
            weight 1.
        with_volunteers: whether to add the number of volunteers to the masks, as a second channel.
        epochs: numbers of the epochs, from 0.
        first_batch: number of batches of the first of these epochs to leave out.
        photometry: whether to change brightness, colour, sharpness and noise at random too; see `data.photometry`.
        alternating: whether each batch has galaxies of one survey, and batches of the surveys alternate. The numbers of
            galaxies per epoch must then be multiples of the batch size.
        share: parts of each batch to make.

    Returns:
        Dataset of batches as described in this module, one epoch after the other. Parts of batches have a fourth
        element, the weight of all galaxies of the part: 1, or 1 / `n_parts` if each part is the whole batch.
    """

    def epoch_batches(epoch: tf.Tensor) -> tf.data.Dataset:
        # `shuffle` combines the seed of the graph, by default the global seed of TensorFlow, with its own. It cannot
        # combine a global seed of 0 with a tensor.
        tf.compat.v1.set_random_seed(1)
        order = seed * 2**20 + epoch  # another number for each epoch of each run
        shuffled, numbers = [_shuffled(survey, order) for survey in surveys], [s.per_epoch for s in surveys]
        galaxies = _mixed(shuffled, numbers, order, batch_size if alternating else None)
        batches = galaxies.batch(batch_size).enumerate()
        batches = batches.skip(tf.where(epoch == epochs.start, tf.cast(first_batch, tf.int64), 0))

        def with_seeds(number: tf.Tensor, batch: tuple[tf.Tensor, ...]) -> tuple[tf.Tensor, ...]:
            rows = tf.range(tf.shape(batch[0], tf.int64)[0])
            return *batch, tf.stack([tf.ones_like(rows) * one for one in (seed, epoch, number)] + [rows], axis=1)

        return batches.map(with_seeds)

    read = _reader(framing, tasks, class_weights, with_volunteers, photometry)
    numbers = tf.data.Dataset.range(epochs.start, epochs.stop, epochs.step)
    return _made(numbers.flat_map(epoch_batches), read, share)


def evaluation_batches(
    surveys: Sequence[Survey],
    framing: Framing,
    batch_size: int,
    tasks: Sequence[str] = VOLUNTEER_TASKS,
    class_weights: Sequence[float] = (),
    with_volunteers: bool = False,
    share: Share = WHOLE,
) -> tf.data.Dataset:
    """Make centrally cropped batches in the order of the shards, each galaxy once.

    Args:
        surveys: shards of one or more surveys, one after the other.
        framing: sizes of stored images, crop and network input.
        batch_size: number of galaxies per batch.
        tasks: targets to read.
        class_weights: weight of each class of the label, as in `training_batches`.
        with_volunteers: whether to add the number of volunteers to the masks, as a second channel.
        share: parts of each batch to make.

    Returns:
        Dataset of batches as described in this module; parts of batches as of `training_batches`.
    """
    galaxies = [_with_votes(tf.data.TFRecordDataset(list(survey.paths)), survey) for survey in surveys]
    batches = reduce(lambda one, other: one.concatenate(other), galaxies).batch(batch_size)
    return _made(batches, _reader(framing, tasks, class_weights, with_volunteers), share)


def _made(batches: tf.data.Dataset, read: Callable, share: Share) -> tf.data.Dataset:
    """Apply `read` to batches, or to the parts of a share of each of them, one after the other."""
    if share == WHOLE:
        return in_parallel(batches, read)

    def parts(*batch: tf.Tensor) -> tf.data.Dataset:
        has_few = tf.shape(batch[0])[0] < share.n_parts
        weight = tf.where(has_few, 1 / share.n_parts, 1.0)
        every = tf.where(has_few, 1, share.n_parts)

        def one(part: tf.Tensor) -> tuple[tf.Tensor, ...]:
            first = tf.where(has_few, 0, part)
            # TensorFlow does not know the shape of a slice whose step is a tensor.
            chosen = [tf.ensure_shape(tensor[first::every], (None, *tensor.shape[1:])) for tensor in batch]
            return weight, *chosen

        return tf.data.Dataset.from_tensor_slices(list(share.parts)).map(one)

    return in_parallel(batches.flat_map(parts), lambda weight, *batch: (*read(*batch), weight))


def _with_votes(records: tf.data.Dataset, survey: Survey) -> tf.data.Dataset:
    """Pair each record with its votes on the tree of the model, float32 (answers,)."""
    to_tree = tf.constant(survey.to_tree, tf.float32)
    n_answers = len(survey.to_tree)

    def votes(serialised: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return serialised, tf.matmul(record.parse(serialised[None], n_answers, ("votes",))["votes"], to_tree)[0]

    return records.map(votes)


def _shuffled(survey: Survey, order: tf.Tensor) -> tf.data.Dataset:
    """Galaxies of a survey in the order of a random number, as many as the survey has per epoch."""

    def one_pass(number: tf.Tensor) -> tf.data.Dataset:
        seed = order + number * 2**52  # another number for each pass: `order` is below 2**52
        files = tf.data.Dataset.from_tensor_slices(list(survey.paths))
        files = files.shuffle(len(survey.paths), seed, reshuffle_each_iteration=False)
        records = files.interleave(tf.data.TFRecordDataset, cycle_length=FILES_AT_ONCE)
        if survey.masked_times > 1:
            records = records.flat_map(lambda serialised: _times(serialised, survey.masked_times))
        return records.shuffle(SHUFFLE_BUFFER, seed, reshuffle_each_iteration=False)

    passes = tf.data.Dataset.range(1 if survey.per_epoch is None else survey.per_epoch)
    records = passes.flat_map(one_pass)
    return _with_votes(records if survey.per_epoch is None else records.take(survey.per_epoch), survey)


def _times(serialised: tf.Tensor, masked_times: int) -> tf.data.Dataset:
    """Repeat a record if it has a mask."""
    flags = record.parse(serialised[None], 0, [f"has_{mask}" for mask in MASKS])
    is_masked = tf.reduce_any(list(flags.values()))
    return tf.data.Dataset.from_tensors(serialised).repeat(tf.where(is_masked, tf.cast(masked_times, tf.int64), 1))


def _mixed(
    galaxies: Sequence[tf.data.Dataset], numbers: Sequence[int | None], order: tf.Tensor, block: int | None
) -> tf.data.Dataset:
    """Mix surveys, with the given number of galaxies of each: in random order, or in blocks that alternate."""
    if len(galaxies) == 1:
        return galaxies[0]
    if block is None:
        survey_of = tf.repeat(tf.range(len(galaxies), dtype=tf.int64), tf.constant(numbers, tf.int64))
        chosen = tf.random.experimental.stateless_shuffle(survey_of, tf.stack([order, 0]))
    else:
        chosen = tf.repeat(tf.constant(_alternating([number // block for number in numbers if number])), block)
    return tf.data.Dataset.choose_from_datasets(galaxies, tf.data.Dataset.from_tensor_slices(chosen))


def _alternating(numbers: Sequence[int]) -> np.ndarray:
    """Order of the blocks of each survey, spread evenly: [2, 4] gives 1, 0, 1, 1, 0, 1."""
    survey_of = np.repeat(np.arange(len(numbers), dtype=np.int64), numbers)
    places = np.concatenate([(np.arange(number) + 0.5) / number for number in numbers])
    return survey_of[np.argsort(places, kind="stable")]


def in_parallel(batches: tf.data.Dataset, read: Callable) -> tf.data.Dataset:
    """Apply a function to the elements of a dataset on all cores, in their order.

    Args:
        batches: dataset.
        read: function from one element to tensors.

    Returns:
        Dataset of the tensors, `BATCHES_AHEAD` of which are made in advance.
    """
    # With automatic tuning of these numbers, the end of an iteration can wait for the tuning thread for a minute.
    options = tf.data.Options()
    options.autotune.enabled = False
    return batches.map(read, num_parallel_calls=available_cores()).prefetch(BATCHES_AHEAD).with_options(options)


def _reader(
    framing: Framing,
    tasks: Sequence[str],
    class_weights: Sequence[float],
    with_volunteers: bool,
    photometry: bool = False,
) -> Callable:
    """Make the function from serialised records and votes to a batch.

    With seeds as third argument, whole numbers (B, any), it augments each galaxy by its seed.
    """
    masks = [name for name in MASKS if name in tasks]
    # Other fields are not read: the shards may have votes of a schema that the model does not know.
    names = {"image", "n_volunteers", *tasks, *(f"has_{task}" for task in tasks)} - {"votes"}
    size = framing.final_size

    def decode_and_warp(encoded: Any, encoded_masks: Any, levels: Any, *seeds: Any) -> tuple[np.ndarray, ...]:
        images = np.empty((len(encoded), size, size, 3), np.uint8)
        scaled = [np.zeros((len(encoded), size, size, 1), np.uint8) for _ in masks]
        for i, jpeg in enumerate(encoded):
            rng = np.random.default_rng(seeds[0][i]) if seeds else None
            affine = central_affine(framing) if rng is None else random_affine(framing, rng)
            image = warp(record.decode(jpeg), affine, size)
            images[i] = image if rng is None or not photometry else random_photometry(image, rng)
            for mask, png in zip(scaled, encoded_masks[i], strict=True):
                if png:
                    mask[i, ..., 0] = warp(record.decode(png) * levels[i], affine, size)
        return images, *scaled

    def to_batch(serialised: tf.Tensor, votes: tf.Tensor, *seeds: tf.Tensor) -> tuple[tf.Tensor, dict, dict]:
        fields = record.parse(serialised, 0, names)
        encoded_masks = tf.stack([fields[name] for name in masks], axis=1) if masks else fields["image"][:, None][:, :0]
        # Masks are resampled as uint8, which is faster than float32. One volunteer is as many levels as fit into 255.
        levels = 255 // fields["n_volunteers"]
        images, *scaled = tf.numpy_function(
            decode_and_warp,
            [fields["image"], encoded_masks, tf.cast(levels, tf.uint8), *seeds],
            [tf.uint8] * (1 + len(masks)),
        )
        images = tf.cast(tf.ensure_shape(images, (None, size, size, 3)), tf.float32)
        unit = tf.cast(1 / (levels * fields["n_volunteers"]), tf.float32)[:, None, None, None]
        targets = {
            name: tf.cast(tf.ensure_shape(mask, (None, size, size, 1)), tf.float32) * unit
            for name, mask in zip(masks, scaled, strict=True)
        }
        if with_volunteers:
            volunteers = tf.cast(fields["n_volunteers"], tf.float32)[:, None, None, None]
            targets = {name: tf.concat([mask, tf.ones_like(mask) * volunteers], -1) for name, mask in targets.items()}
        if "votes" in tasks:
            targets["votes"] = votes
        if "label" in tasks:
            # A missing label is NaN. NaN times a weight of 0 is NaN, and would spoil the gradients.
            labels = tf.where(fields["has_label"], fields["label"], 0.0)
            targets["label"] = tf.cast(labels, tf.float32)[:, None]
        weights = {name: tf.cast(fields[f"has_{name}"], tf.float32) for name in targets}
        if "label" in tasks and class_weights:
            weights["label"] *= tf.gather(tf.constant(class_weights, tf.float32), tf.cast(labels, tf.int32))
        return images, targets, weights

    return to_batch
