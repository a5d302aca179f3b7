"""How to make shards, checked."""

from dataclasses import dataclass

from zoobot3d_tf.files import PathLike
from zoobot3d_tf.images.read import MAX_SIDE, MIN_SIDE
from zoobot3d_tf.images.rgb import DEFAULT_STRETCH, check_stretch
from zoobot3d_tf.labels import LABEL_KINDS


@dataclass(frozen=True)
class ShardOptions:
    """How to make shards.

    Attributes:
        img_size: height and width to store images and masks with, in pixels.
        stretch: of the fluxes of FITS cutouts, see `to_rgb`; predictions will use the same.
        eval_size: how many labelled galaxies to hold back for evaluation, about, or their share if below 1; see
            `split_by_hash`.
        shard_size: galaxies in a file.
        seed: of the order of galaxies within a split.
        max_labelled: use only so many labelled galaxies, the first in that order.
        max_unlabelled: use only so many unlabelled ones.
        image_root: folder that relative file names start from; by default each catalogue's.
        missing_questions_unasked: take questions without any column as asked of nobody.
        label_col: column of the labelled catalogue with a label that is neither votes nor masks; see `read_labels`.
        label_kind: its kind, one of `LABEL_KINDS`; guessed if None.
        max_failed: share of galaxies that may be left out for faults of their files before the run stops.
        workers: processes to use.
        overwrite: replace the shards in the folder. Other files in it stay.
        resume: go on with an interrupted run in the folder.

    Raises:
        ValueError: a value is impossible.
    """

    img_size: int = 300
    stretch: str = DEFAULT_STRETCH
    eval_size: float = 0.2
    shard_size: int = 512
    seed: int = 0
    max_labelled: int | None = None
    max_unlabelled: int | None = None
    image_root: PathLike | None = None
    missing_questions_unasked: bool = False
    label_col: str | None = None
    label_kind: str | None = None
    max_failed: float = 0.01
    workers: int = 1
    overwrite: bool = False
    resume: bool = False

    def __post_init__(self) -> None:
        if not MIN_SIDE <= self.img_size <= MAX_SIDE:
            raise ValueError(f"img_size must be from {MIN_SIDE} to {MAX_SIDE}; received {self.img_size}")
        if not self.eval_size > 0 or (self.eval_size >= 1 and self.eval_size % 1 != 0):
            raise ValueError(f"eval_size must be a share below 1 or a whole number; received {self.eval_size}")
        check_stretch(self.stretch)
        if self.label_kind and not self.label_col:
            raise ValueError(f"label_kind {self.label_kind!r} needs label_col, the column of the label")
        if self.label_kind not in (None, *LABEL_KINDS):
            raise ValueError(f"label_kind must be one of {', '.join(LABEL_KINDS)}; received {self.label_kind!r}")
        if not 0 <= self.max_failed <= 1:
            raise ValueError(f"max_failed must be a share from 0 to 1; received {self.max_failed}")
        for name in ("shard_size", "workers", "max_labelled", "max_unlabelled"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1; received {value}")
        if self.overwrite and self.resume:
            raise ValueError("overwrite=True starts again and resume=True continues: give one of them")
