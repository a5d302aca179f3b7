"""Options of making shards."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from zoobot3d_tf.failures import MAX_FAILED, check_max_failed
from zoobot3d_tf.files import PathLike
from zoobot3d_tf.images.read import MAX_SIDE, MIN_SIDE
from zoobot3d_tf.images.stretch import DEFAULT_STRETCH, check_stretch
from zoobot3d_tf.labels import LABEL_KINDS

DEFAULT_EVAL_SIZE = 0.2
"""Share of the labelled galaxies for evaluation, if neither the catalogue nor the user says it."""


@dataclass(frozen=True)
class ShardOptions:
    """Options of making shards.

    Attributes:
        img_size: height and width of the stored images and masks, in pixels.
        stretch: colour stretch of FITS cutouts, see `to_rgb`. Predictions will use the same stretch.
        eval_size: approximate number of labelled galaxies for evaluation, or their share if below 1; see
            `split_by_hash`. By default the column `split` of the catalogue decides or, without this column,
            `DEFAULT_EVAL_SIZE`.
        eval_ids: file with the ids of the galaxies for evaluation, see `read_ids`; instead of `eval_size`.
        split_seed: seed of a division with exact numbers, in total and of each class, see `split_by_class`. By default
            galaxies are divided by a hash of their ids, whose numbers are approximate.
        shard_size: number of galaxies per file.
        seed: random seed of the order of the galaxies in a split.
        max_labelled: largest number of labelled galaxies; all if None. The first ones in this order are used.
        max_unlabelled: largest number of unlabelled galaxies; all if None.
        image_root: folder that relative paths start from. By default the folder of each catalogue.
        missing_questions_unasked: whether a question without any column counts as not asked. Otherwise it is an error.
        label_col: name of a column of the labelled catalogue with another label than votes or masks; see
            `read_labels`.
        label_kind: kind of this label, one of `LABEL_KINDS`; guessed from its values if None.
        label_values: values of this label that are meant, although they look like placeholders; see `read_labels`.
        max_failed: largest share of galaxies that may be skipped because a file cannot be read; see
            `failures.may_fail`. If more galaxies are skipped, the run stops.
        workers: number of processes.
        overwrite: whether to replace the shards in the folder. Other files in it are kept.
        resume: whether to continue an interrupted run in the folder.

    Raises:
        ValueError: a value is out of range, or two options contradict each other.
    """

    img_size: int = 300
    stretch: str = DEFAULT_STRETCH
    eval_size: float | None = None
    eval_ids: PathLike | None = None
    split_seed: int | None = None
    shard_size: int = 512
    seed: int = 0
    max_labelled: int | None = None
    max_unlabelled: int | None = None
    image_root: PathLike | None = None
    missing_questions_unasked: bool = False
    label_col: str | None = None
    label_kind: str | None = None
    label_values: Sequence[str] = ()
    max_failed: float = MAX_FAILED
    workers: int = 1
    overwrite: bool = False
    resume: bool = False

    def __post_init__(self) -> None:
        if not MIN_SIDE <= self.img_size <= MAX_SIDE:
            raise ValueError(f"img_size must be from {MIN_SIDE} to {MAX_SIDE} pixels; received {self.img_size}")
        size = self.eval_size
        if size is not None and (not 0 < size < math.inf or (size >= 1 and size % 1 != 0)):
            raise ValueError(
                f"eval_size must be a share between 0 and 1 or a whole number of galaxies; received {size}"
            )
        for name in ("eval_size", "split_seed"):
            if self.eval_ids is not None and getattr(self, name) is not None:
                raise ValueError(
                    f"eval_ids names the galaxies to evaluate on, and contradicts {name}; omit one of them"
                )
        check_stretch(self.stretch)
        if self.label_kind and not self.label_col:
            raise ValueError(f"label_kind {self.label_kind!r} needs label_col, the column of the label")
        if self.label_values and not self.label_col:
            raise ValueError(f"label_values {', '.join(self.label_values)} needs label_col, the column of the label")
        if self.label_kind not in (None, *LABEL_KINDS):
            raise ValueError(f"label_kind must be one of {', '.join(LABEL_KINDS)}; received {self.label_kind!r}")
        check_max_failed(self.max_failed)
        for name in ("shard_size", "workers", "max_labelled", "max_unlabelled"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1; received {value}")
        if self.overwrite and self.resume:
            raise ValueError("overwrite=True starts again, and resume=True continues; give only one of the two")
