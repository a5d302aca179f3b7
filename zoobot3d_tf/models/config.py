"""Configuration of a model: all that is needed to build it."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from zoobot3d_tf.images.masks import MASKS
from zoobot3d_tf.labels import Label
from zoobot3d_tf.schemas import Schema

VOLUNTEER_TASKS = ("votes", *MASKS)
TASKS = (*VOLUNTEER_TASKS, "label")
POOLED_HEADS = {"votes": "vote_head", "label": "label_head"}
"""Name of the layer of each head that uses the pooled features."""
MASK_HEADS = ("fraction", "beta-binomial")
KERAS_ENCODERS = tuple(f"EfficientNetB{n}" for n in range(8)) + tuple(f"EfficientNetV2B{n}" for n in range(4))
CONVNEXT_ENCODERS = tuple(
    f"convnext_{size}" for size in ("atto", "femto", "pico", "nano", "tiny", "small", "base", "large", "xlarge")
)
TIMM_ENCODERS = (
    *(f"efficientnet_b{n}" for n in range(8)),
    *(f"tf_efficientnet_b{n}" for n in range(8)),
    "efficientnet_lite0",
    *(f"tf_efficientnet_lite{n}" for n in range(5)),
    *(f"tf_efficientnetv2_{size}" for size in ("b0", "b1", "b2", "b3", "s", "m", "l", "xl")),
    *CONVNEXT_ENCODERS,
)
ENCODERS = KERAS_ENCODERS + TIMM_ENCODERS


@dataclass(frozen=True)
class ModelConfig:
    """Configuration of a joint model of votes, masks and a label.

    Attributes:
        schema: decision tree of the votes; may be None if votes are not a task.
        image_size: height and width of the input, in pixels; a multiple of 32.
        encoder: name of the encoder, one of `ENCODERS`, which are those of `keras.applications` and of timm. Weights of
            Zoobot fit the encoders of timm.
        color: whether the encoder sees the three bands. Otherwise the model averages them, as Zoobot does, so that it
            learns from shape only.
        tasks: tasks to learn, each with one output; any of `TASKS`.
        dropout: rate of the dropout between the pooled features and the heads of votes and label.
        mask_head: kind of the mask heads: "fraction", for the fraction of volunteers who enclose a pixel, or
            "beta-binomial", for the two concentrations of that distribution.
        pixel_mean: mean of red, green and blue in 0..1. An encoder of timm gets (pixel - mean) / std, by default 0..1,
            which weights of Zoobot expect. None for encoders of Keras, which scale pixels themselves.
        pixel_std: standard deviation of red, green and blue in 0..1; None for encoders of Keras.
        label: label that the task "label" predicts; None without that task.
        decoder_widths: number of channels of the decoder at the levels P4, P3, P2 and P1.

    Raises:
        ValueError: a value is not one of these.
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
    # The usual 256..16 channels give no better masks, since outlines by hand are smooth, and train a third slower.
    decoder_widths: tuple[int, ...] = (128, 64, 32, 16)

    def __post_init__(self) -> None:
        if self.image_size < 32 or self.image_size % 32:
            nearest = max(32, round(self.image_size / 32) * 32)
            raise ValueError(f"image_size must be a multiple of 32 pixels; received {self.image_size}, try {nearest}")
        if self.encoder not in ENCODERS:
            raise ValueError(f"encoder must be one of {', '.join(ENCODERS)}; received {self.encoder!r}")
        if not self.tasks or any(task not in TASKS for task in self.tasks):
            received = ", ".join(self.tasks) or "none"
            raise ValueError(f"tasks must be one or more of {', '.join(TASKS)}; received {received}")
        object.__setattr__(self, "tasks", tuple(task for task in TASKS if task in self.tasks))
        if "votes" in self.tasks and self.schema is None:
            raise ValueError("the task votes needs a schema; give one, or leave votes out of tasks")
        if "label" in self.tasks and self.label is None:
            raise ValueError("the task label needs a label; shards made with label_col hold one")
        if "label" not in self.tasks and self.label is not None:
            raise ValueError(
                f"the label {self.label.column} is given, but label is not among the tasks; add it to tasks"
            )
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be in [0, 1); received {self.dropout}")
        if self.mask_head not in MASK_HEADS:
            raise ValueError(f"mask_head must be one of {', '.join(MASK_HEADS)}; received {self.mask_head!r}")
        object.__setattr__(self, "decoder_widths", tuple(self.decoder_widths))
        if len(self.decoder_widths) != 4 or min(self.decoder_widths) < 1:
            received = ", ".join(map(str, self.decoder_widths)) or "none"
            raise ValueError(f"decoder_widths must be four whole numbers above 0, for P4 to P1; received {received}")
        for name, default in (("pixel_mean", (0.0,) * 3), ("pixel_std", (1.0,) * 3)):
            received = getattr(self, name)
            if self.encoder in TIMM_ENCODERS:
                object.__setattr__(self, name, _three_numbers(name, default if received is None else received))
            elif received is not None:
                raise ValueError(
                    f"{name} must be left out for {self.encoder}, which scales pixels itself; received {received}"
                )
        if self.pixel_std and min(self.pixel_std) <= 0:
            raise ValueError(f"pixel_std must be above 0; received {self.pixel_std}")

    @property
    def masks(self) -> tuple[str, ...]:
        """Masks among the tasks."""
        return tuple(task for task in self.tasks if task in MASKS)

    @property
    def feature_maps(self) -> tuple[str, ...]:
        """Names of the encoder's feature maps, from the largest to the smallest. ConvNeXt begins with a stride of 4."""
        return tuple(f"P{n}" for n in range(2 if self.encoder in CONVNEXT_ENCODERS else 1, 6))

    @property
    def label_cols(self) -> list[str]:
        """Columns of the answers, in the order of the schema; none without a schema."""
        return [] if self.schema is None else list(self.schema.label_cols)

    @property
    def vote_schema(self) -> Schema | None:
        """Decision tree if votes are a task, else None."""
        return self.schema if "votes" in self.tasks else None

    def to_dict(self) -> dict[str, Any]:
        """Convert to the entry `model` of `config.json`."""
        content = asdict(self) | {
            "schema": self.schema and self.schema.to_dict(),
            "tasks": list(self.tasks),
            "label": self.label and self.label.to_dict(),
        }
        # Runs that were begun before this setting existed have its default, and must still be continued.
        if self.decoder_widths == ModelConfig.decoder_widths:
            del content["decoder_widths"]
        return content


def _three_numbers(name: str, values: Sequence[float]) -> tuple[float, ...]:
    numbers = tuple(float(value) for value in values)
    if len(numbers) != 3 or not all(map(math.isfinite, numbers)):
        raise ValueError(f"{name} must be three finite numbers, for red, green and blue; received {values}")
    return numbers
