"""The rectangle of the original image that a model of Galaxy Zoo's production sees."""

import json
import math
from dataclasses import asdict, dataclass, fields

import numpy as np

from zoobot3d_tf.images.image_file import MIN_SIDE, ImageError


@dataclass(frozen=True)
class FixedCrop:
    """A rectangle in pixels of the original image, from the lower to the upper bounds.

    Pixels are counted from the left and, as in arrays, from the top row: "lower" means the smaller number. The pixel
    of an upper bound is not in the rectangle.

    Attributes:
        lower_left_x: first column.
        lower_left_y: first row.
        upper_right_x: column after the last one.
        upper_right_y: row after the last one.

    Raises:
        ValueError: a number is negative or not whole, or the rectangle is smaller than the smallest image.
    """

    lower_left_x: int
    lower_left_y: int
    upper_right_x: int
    upper_right_y: int

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf or value % 1:
                raise ValueError(f"{name} of fixed_crop must be a whole number of pixels, at least 0; received {value}")
            object.__setattr__(self, name, int(value))
        if min(self.upper_right_x - self.lower_left_x, self.upper_right_y - self.lower_left_y) < MIN_SIDE:
            raise ValueError(
                f"fixed_crop must be at least {MIN_SIDE} pixels wide and high; received columns {self.lower_left_x} to "
                f"{self.upper_right_x} and rows {self.lower_left_y} to {self.upper_right_y}"
            )

    @classmethod
    def from_json(cls, text: str) -> "FixedCrop":
        """Read a rectangle from a JSON object with the four names.

        Raises:
            ValueError: the text is not such an object.
        """
        names = [field.name for field in fields(cls)]
        try:
            content = json.loads(text)
        except (ValueError, RecursionError):
            content = None
        if not isinstance(content, dict) or set(content) != set(names):
            raise ValueError(f"fixed_crop must be a JSON object with {', '.join(names)}; received {text!r:.120}")
        return cls(**content)

    def to_json(self) -> str:
        """Write the rectangle as a JSON object."""
        return json.dumps(asdict(self))

    def cut(self, image: np.ndarray, name: str) -> np.ndarray:
        """Cut the rectangle out of an image.

        Args:
            image: image (H, W, 3), row 0 at the top.
            name: name of the image, for the error.

        Raises:
            ImageError: the rectangle leaves the image.
        """
        height, width = image.shape[:2]
        if self.upper_right_x > width or self.upper_right_y > height:
            raise ImageError(
                f"{name}: the image must have at least {self.upper_right_y} x {self.upper_right_x} pixels (height, "
                f"width) for fixed_crop; it has {height} x {width}"
            )
        return image[self.lower_left_y : self.upper_right_y, self.lower_left_x : self.upper_right_x]
