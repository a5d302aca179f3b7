"""What a model is: everything needed to build it again."""

from dataclasses import dataclass

from zoobot3d_tf.images.masks import MASKS
from zoobot3d_tf.schemas import Schema

TASKS = ("votes", *MASKS)
MASK_HEADS = ("fraction", "beta-binomial")
ENCODERS = tuple(f"EfficientNetB{n}" for n in range(8)) + tuple(f"EfficientNetV2B{n}" for n in range(4))


@dataclass(frozen=True)
class ModelConfig:
    """A joint model of votes and masks.

    Attributes:
        schema: the decision tree whose answers the vote head predicts.
        image_size: height and width of the input, pixels; a multiple of 32.
        encoder: one of `ENCODERS`.
        color: False averages the three bands inside the model, as Zoobot does, so that it learns shape and not colour.
        tasks: any of `TASKS`; one output each.
        dropout: rate of the dropout between the pooled features and the vote head.
        mask_head: "fraction" of the volunteers who enclose a pixel, or the two concentrations of a "beta-binomial".

    Raises:
        ValueError: a value is outside what is said above.
    """

    schema: Schema
    image_size: int = 224
    encoder: str = "EfficientNetB0"
    color: bool = False
    tasks: tuple[str, ...] = TASKS
    dropout: float = 0.2
    mask_head: str = "fraction"

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
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be in [0, 1); received {self.dropout}")
        if self.mask_head not in MASK_HEADS:
            raise ValueError(f"mask head must be one of {', '.join(MASK_HEADS)}; received {self.mask_head!r}")

    @property
    def masks(self) -> tuple[str, ...]:
        """The masks among the tasks."""
        return tuple(task for task in self.tasks if task in MASKS)
