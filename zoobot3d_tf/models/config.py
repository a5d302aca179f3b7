"""What a model is: everything needed to build it again."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from zoobot3d_tf.images.masks import MASKS
from zoobot3d_tf.labels import Label
from zoobot3d_tf.schemas import Schema

VOLUNTEER_TASKS = ("votes", *MASKS)
TASKS = (*VOLUNTEER_TASKS, "label")
MASK_HEADS = ("fraction", "beta-binomial")
KERAS_ENCODERS = tuple(f"EfficientNetB{n}" for n in range(8)) + tuple(f"EfficientNetV2B{n}" for n in range(4))
TIMM_ENCODERS = (
    *(f"efficientnet_b{n}" for n in range(8)),
    *(f"tf_efficientnet_b{n}" for n in range(8)),
    *(f"tf_efficientnetv2_{size}" for size in ("b0", "b1", "b2", "b3", "s", "m", "l", "xl")),
)
ENCODERS = KERAS_ENCODERS + TIMM_ENCODERS


@dataclass(frozen=True)
class ModelConfig:
    """A joint model of votes and masks, and of one label that is neither.

    Attributes:
        schema: the decision tree whose answers the vote head predicts; may be None where votes are no task.
        image_size: height and width of the input, pixels; a multiple of 32.
        encoder: one of `ENCODERS`: those of `keras.applications`, or those of timm, which weights of Zoobot fit.
        color: False averages the three bands inside the model, as Zoobot does, so that it learns shape and not colour.
        tasks: any of `TASKS`; one output each.
        dropout: rate of the dropout between the pooled features and the heads of votes and of the label.
        mask_head: "fraction" of the volunteers who enclose a pixel, or the two concentrations of a "beta-binomial".
        pixel_mean: of red, green and blue in 0..1. An encoder of timm is given (pixel - mean) / std, by default the
            0..1 that Zoobot's weights expect; Keras's encoders know their own range, and have None.
        pixel_std: likewise.
        label: what the task "label" predicts; None without that task.

    Raises:
        ValueError: a value is outside what is said above.
    """

    schema: Schema | None
    image_size: int = 224
    encoder: str = "EfficientNetB0"
    color: bool = False
    tasks: tuple[str, ...] = VOLUNTEER_TASKS
    dropout: float = 0.2
    mask_head: str = "fraction"
    pixel_mean: tuple[float, ...] | None = None
    pixel_std: tuple[float, ...] | None = None
    label: Label | None = None

    def __post_init__(self) -> None:
        if self.image_size < 32 or self.image_size % 32:
            nearest = max(32, round(self.image_size / 32) * 32)
            raise ValueError(f"image size must be a multiple of 32 pixels; received {self.image_size}, try {nearest}")
        if self.encoder not in ENCODERS:
            raise ValueError(f"unknown encoder {self.encoder!r}; known are {', '.join(ENCODERS)}")
        if not self.tasks or any(task not in TASKS for task in self.tasks):
            received = ", ".join(self.tasks) or "none"
            raise ValueError(f"tasks must be one or more of {', '.join(TASKS)}; received {received}")
        object.__setattr__(self, "tasks", tuple(task for task in TASKS if task in self.tasks))  # one order for all
        if "votes" in self.tasks and self.schema is None:
            raise ValueError("the task votes needs a schema; give one, or leave votes out of the tasks")
        if "label" in self.tasks and self.label is None:
            raise ValueError("the task label needs to know its label; shards made with label_col hold it")
        if "label" not in self.tasks and self.label is not None:
            raise ValueError(f"the label {self.label.column} is given, but label is not among the tasks; add it")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be in [0, 1); received {self.dropout}")
        if self.mask_head not in MASK_HEADS:
            raise ValueError(f"mask head must be one of {', '.join(MASK_HEADS)}; received {self.mask_head!r}")
        for name, default in (("pixel_mean", (0.0,) * 3), ("pixel_std", (1.0,) * 3)):
            received = getattr(self, name)
            if self.encoder in TIMM_ENCODERS:
                object.__setattr__(self, name, _three_numbers(name, default if received is None else received))
            elif received is not None:
                raise ValueError(f"{self.encoder} scales pixels itself; received {name} {received}, leave it out")
        if self.pixel_std and min(self.pixel_std) <= 0:
            raise ValueError(f"pixel_std must be above 0; received {self.pixel_std}")

    @property
    def masks(self) -> tuple[str, ...]:
        """The masks among the tasks."""
        return tuple(task for task in self.tasks if task in MASKS)

    @property
    def label_cols(self) -> list[str]:
        """The answers that votes are for; none without a schema."""
        return [] if self.schema is None else list(self.schema.label_cols)

    @property
    def vote_schema(self) -> Schema | None:
        """The decision tree if votes are among the tasks."""
        return self.schema if "votes" in self.tasks else None


def _three_numbers(name: str, values: Sequence[float]) -> tuple[float, ...]:
    numbers = tuple(float(value) for value in values)
    if len(numbers) != 3 or not all(map(math.isfinite, numbers)):
        raise ValueError(f"{name} must be three numbers, of red, green and blue; received {values}")
    return numbers
