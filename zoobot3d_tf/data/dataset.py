"""Shards -> batches of (images, targets, weights), as the model takes them.

images    float32 (B, H, W, 3), 0..255
targets   {"votes": (B, answers), "spiral_mask": (B, H, W, 1), "bar_mask": (B, H, W, 1), "label": (B, 1)}; masks are
          fractions 0..1, a label is as in the shards, and 0 where it is missing
weights   {"votes": (B,), "spiral_mask": (B,), "bar_mask": (B,), "label": (B,)}: 1 where the galaxy has it, else 0; for
          the label the weight of its class, where there are such
"""

from collections.abc import Sequence
from pathlib import Path

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
) -> tf.data.Dataset:
    """Shuffled, randomly augmented batches; another order and other augmentations in each epoch, all from the seed.

    `class_weights` are those of the label, as `Label.class_weights`; without any, all classes weigh 1.
    """
    files = tf.data.Dataset.from_tensor_slices([str(path) for path in paths]).shuffle(len(paths), seed)
    records = files.interleave(tf.data.TFRecordDataset, cycle_length=FILES_AT_ONCE)
    batches = records.shuffle(SHUFFLE_BUFFER, seed).batch(batch_size)
    seeds = tf.data.Dataset.random(seed, rerandomize_each_iteration=True)
    return _finish(tf.data.Dataset.zip(batches, seeds), n_answers, framing, tasks, class_weights, augment=True)


def evaluation_batches(
    paths: Sequence[str | Path],
    n_answers: int,
    framing: Framing,
    batch_size: int,
    tasks: Sequence[str] = VOLUNTEER_TASKS,
    class_weights: Sequence[float] = (),
) -> tf.data.Dataset:
    """Batches in the order of the shards, centrally cropped; class weights as in `training_batches`."""
    batches = tf.data.TFRecordDataset([str(path) for path in paths]).batch(batch_size)
    seeds = tf.data.Dataset.from_tensors(np.int64(0)).repeat()  # taken by the common road, of no effect
    return _finish(tf.data.Dataset.zip(batches, seeds), n_answers, framing, tasks, class_weights, augment=False)


def _finish(
    batches, n_answers: int, framing: Framing, tasks: Sequence[str], class_weights: Sequence[float], augment: bool
) -> tf.data.Dataset:
    masks = [name for name in MASKS if name in tasks]
    # No more than is learned: shards may hold votes of a schema that the model does not know.
    names = {"image", "n_volunteers", *tasks, *(f"has_{task}" for task in tasks)}
    size = framing.final_size

    def to_bytes(encoded, encoded_masks, shades, seed):
        rng = np.random.default_rng(int(seed))
        images = np.empty((len(encoded), size, size, 3), np.uint8)
        shaded = [np.zeros((len(encoded), size, size, 1), np.uint8) for _ in masks]
        for i, jpeg in enumerate(encoded):
            affine = random_affine(framing, rng) if augment else central_affine(framing)
            images[i] = warp(record.decode(jpeg), affine, size)
            for mask, png in zip(shaded, encoded_masks[i], strict=True):
                if png:
                    mask[i, ..., 0] = warp(record.decode(png) * shades[i], affine, size)
        return images, *shaded

    def to_batch(serialised, seed):
        fields = record.parse(serialised, n_answers, names)
        encoded_masks = tf.stack([fields[name] for name in masks], axis=1) if masks else fields["image"][:, None][:, :0]
        # Bytes are quicker to move about than floats: one volunteer becomes so many shades of a byte.
        shades = 255 // fields["n_volunteers"]
        images, *shaded = tf.numpy_function(
            to_bytes,
            [fields["image"], encoded_masks, tf.cast(shades, tf.uint8), seed],
            [tf.uint8] * (1 + len(masks)),
        )
        images = tf.cast(tf.ensure_shape(images, (None, size, size, 3)), tf.float32)
        unit = tf.cast(1 / (shades * fields["n_volunteers"]), tf.float32)[:, None, None, None]
        targets = {
            name: tf.cast(tf.ensure_shape(mask, (None, size, size, 1)), tf.float32) * unit
            for name, mask in zip(masks, shaded, strict=True)
        }
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

    # Where TensorFlow tunes these numbers itself, the end of an iterator waits for the tuner to wake, up to a minute.
    options = tf.data.Options()
    options.autotune.enabled = False
    return batches.map(to_batch, num_parallel_calls=available_cores()).prefetch(BATCHES_AHEAD).with_options(options)
