"""Shards -> batches of (images, targets, weights), as the model takes them.

images    float32 (B, H, W, 3), 0..255
targets   {"votes": (B, answers), "spiral_mask": (B, H, W, 1), "bar_mask": (B, H, W, 1), "label": (B, 1)}; masks are
          fractions 0..1, or (B, H, W, 2): the fraction and the number of volunteers asked, where a loss needs both; a
          label is as in the shards, and 0 where it is missing
weights   {"votes": (B,), "spiral_mask": (B,), "bar_mask": (B,), "label": (B,)}: 1 where the galaxy has the target, else
          0; for a label with classes, the weight of the class
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from zoobot3d_tf.data.framing import Framing, central_affine, random_affine, warp
from zoobot3d_tf.images.masks import MASKS
from zoobot3d_tf.machine import available_cores
from zoobot3d_tf.models.config import VOLUNTEER_TASKS
from zoobot3d_tf.shards import record

SHUFFLE_BUFFER = 2048  # encoded galaxies, some 30 kB each
FILES_AT_ONCE = 4
BATCHES_AHEAD = 2


def training_batches(
    paths: Sequence[str | Path],
    n_answers: int,
    framing: Framing,
    batch_size: int,
    tasks: Sequence[str] = VOLUNTEER_TASKS,
    seed: int = 0,
    class_weights: Sequence[float] = (),
    with_volunteers: bool = False,
) -> tf.data.Dataset:
    """Shuffled and randomly augmented batches. Each epoch has another order and other augmentations, from the seed.

    Args:
        paths: TFRecord files of one shard folder.
        n_answers: number of answers of the decision tree.
        framing: sizes of stored images, crop and network input.
        batch_size: number of galaxies per batch.
        tasks: targets to read.
        seed: random seed of order and augmentation.
        class_weights: weight of each class of the label, see `Label.class_weights`; without any, all classes weigh 1.
        with_volunteers: add the number of volunteers to the masks, as a second channel.
    """
    files = tf.data.Dataset.from_tensor_slices([str(path) for path in paths]).shuffle(len(paths), seed)
    records = files.interleave(tf.data.TFRecordDataset, cycle_length=FILES_AT_ONCE)
    batches = records.shuffle(SHUFFLE_BUFFER, seed).batch(batch_size)
    seeds = tf.data.Dataset.random(seed, rerandomize_each_iteration=True)
    read = _reader(n_answers, framing, tasks, class_weights, with_volunteers)
    return _in_parallel(tf.data.Dataset.zip(batches, seeds), read)


def evaluation_batches(
    paths: Sequence[str | Path],
    n_answers: int,
    framing: Framing,
    batch_size: int,
    tasks: Sequence[str] = VOLUNTEER_TASKS,
    class_weights: Sequence[float] = (),
    with_volunteers: bool = False,
) -> tf.data.Dataset:
    """Batches in the order of the shards, centrally cropped; for the arguments see `training_batches`."""
    batches = tf.data.TFRecordDataset([str(path) for path in paths]).batch(batch_size)
    return _in_parallel(batches, _reader(n_answers, framing, tasks, class_weights, with_volunteers))


def _in_parallel(batches: tf.data.Dataset, read: Callable) -> tf.data.Dataset:
    # Where TensorFlow tunes these numbers itself, the end of an iterator waits for the tuner to wake, up to a minute.
    options = tf.data.Options()
    options.autotune.enabled = False
    return batches.map(read, num_parallel_calls=available_cores()).prefetch(BATCHES_AHEAD).with_options(options)


def _reader(
    n_answers: int, framing: Framing, tasks: Sequence[str], class_weights: Sequence[float], with_volunteers: bool
) -> Callable:
    """The function from serialised records, and a seed if they are to be augmented, to a batch."""
    masks = [name for name in MASKS if name in tasks]
    # No more than is learned: shards may hold votes of a schema that the model does not know.
    names = {"image", "n_volunteers", *tasks, *(f"has_{task}" for task in tasks)}
    size = framing.final_size

    def to_bytes(encoded: Any, encoded_masks: Any, shades: Any, *seed: Any) -> tuple[np.ndarray, ...]:
        rng = np.random.default_rng(int(seed[0])) if seed else None
        images = np.empty((len(encoded), size, size, 3), np.uint8)
        shaded = [np.zeros((len(encoded), size, size, 1), np.uint8) for _ in masks]
        for i, jpeg in enumerate(encoded):
            affine = central_affine(framing) if rng is None else random_affine(framing, rng)
            images[i] = warp(record.decode(jpeg), affine, size)
            for mask, png in zip(shaded, encoded_masks[i], strict=True):
                if png:
                    mask[i, ..., 0] = warp(record.decode(png) * shades[i], affine, size)
        return images, *shaded

    def to_batch(serialised: tf.Tensor, *seed: tf.Tensor) -> tuple[tf.Tensor, dict, dict]:
        fields = record.parse(serialised, n_answers, names)
        encoded_masks = tf.stack([fields[name] for name in masks], axis=1) if masks else fields["image"][:, None][:, :0]
        # Bytes are quicker to move about than floats: one volunteer becomes so many shades of a byte.
        shades = 255 // fields["n_volunteers"]
        images, *shaded = tf.numpy_function(
            to_bytes,
            [fields["image"], encoded_masks, tf.cast(shades, tf.uint8), *seed],
            [tf.uint8] * (1 + len(masks)),
        )
        images = tf.cast(tf.ensure_shape(images, (None, size, size, 3)), tf.float32)
        unit = tf.cast(1 / (shades * fields["n_volunteers"]), tf.float32)[:, None, None, None]
        targets = {
            name: tf.cast(tf.ensure_shape(mask, (None, size, size, 1)), tf.float32) * unit
            for name, mask in zip(masks, shaded, strict=True)
        }
        if with_volunteers:
            volunteers = tf.cast(fields["n_volunteers"], tf.float32)[:, None, None, None]
            targets = {name: tf.concat([mask, tf.ones_like(mask) * volunteers], -1) for name, mask in targets.items()}
        if "votes" in tasks:
            targets["votes"] = fields["votes"]
        if "label" in tasks:
            # A number, or what a weight of 0 does not silence would reach the gradients.
            labels = tf.where(fields["has_label"], fields["label"], 0.0)
            targets["label"] = tf.cast(labels, tf.float32)[:, None]
        weights = {name: tf.cast(fields[f"has_{name}"], tf.float32) for name in targets}
        if "label" in tasks and class_weights:
            weights["label"] *= tf.gather(tf.constant(class_weights, tf.float32), tf.cast(labels, tf.int32))
        return images, targets, weights

    return to_batch
