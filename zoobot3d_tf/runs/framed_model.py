"""A Keras model that takes images of any size: the framing of a run in front of its network, as plain operations.

Resampling along an axis is a product with a matrix of weights, which is computed from the size of the image. Keras' own
resizing does not give masks of a size that only the image has, and other programs cannot convert its antialiasing. The
weights are those of Pillow and OpenCV, with which the commands frame images.
"""

import math
from typing import TYPE_CHECKING, Any

from zoobot3d_tf.data.framing import ANTIALIASING_FROM, Framing

if TYPE_CHECKING:
    import keras


def build_framed_model(model: "keras.Model", framing: Framing, masks: tuple[str, ...]) -> "keras.Model":
    """Put the framing of a run in front of its network, and bring masks back to the pixel grid of the images.

    Args:
        model: model of the run.
        framing: framing of the run.
        masks: names of the masks among the outputs.

    Returns:
        Model of plain Keras operations. Its input is `image`, float32 (galaxies, H, W, 3) in 0..255, of any height and
        width. Its outputs are those of `model`, except that masks are fractions of volunteers, float32 (galaxies, H, W,
        1): those of kind "beta-binomial" too. They are 0 outside the crop.
    """
    import keras
    from keras import ops

    from zoobot3d_tf.models.heads import mask_fraction

    image = keras.Input((None, None, 3), name="image")
    rows, columns = _counting(image[:, :, 0, 0]), _counting(image[:, 0, :, 0])
    height, width = (ops.max(positions, axis=1, keepdims=True) + 1 for positions in (rows, columns))
    side = ops.minimum(height, width)

    # Columns first, and rounded after each axis, as Pillow does.
    stored = ops.round(_along_columns(_resizing_weights(framing.initial_size, columns, width, side), image))
    stored = ops.round(_along_rows(_resizing_weights(framing.initial_size, rows, height, side), stored))
    crop = _crop_weights(framing, side)
    outputs = dict(model(ops.round(_along_rows(crop, _along_columns(crop, stored)))))

    shrinkage = framing.initial_size / side * framing.final_size / framing.crop_size
    to_rows = _mask_weights(_mask_centres(framing, rows, height, side), framing.final_size, shrinkage)
    to_columns = _mask_weights(_mask_centres(framing, columns, width, side), framing.final_size, shrinkage)
    for name in masks:
        outputs[name] = _along_columns(to_columns, _along_rows(to_rows, mask_fraction(outputs[name])))
    return keras.Model(image, outputs, name="framed")


def _counting(line: Any) -> Any:
    """Positions of pixels along an axis: 0, 1, ..., of the shape of `line` (galaxies, n).

    The size of an image that is not known before is found in this way only.
    """
    from keras import ops

    return ops.cumsum(ops.ones_like(line), axis=1) - 1


def _first(n: int, like: Any) -> Any:
    """0 to n - 1, shape (galaxies, n), for `like` of shape (galaxies, 1)."""
    from keras import ops

    return _counting(ops.repeat(like, n, axis=1))


def _along_rows(weights: Any, image: Any) -> Any:
    from keras import ops

    return ops.einsum("bih,bhwc->biwc", weights, image)


def _along_columns(weights: Any, image: Any) -> Any:
    from keras import ops

    return ops.einsum("bjw,bhwc->bhjc", weights, image)


def _resizing_weights(size: int, positions: Any, length: Any, side: Any) -> Any:
    """Weights of the resizing of the central square (`images.read.resize_image`) along an axis.

    Args:
        size: number of pixels of the result.
        positions: 0 to length - 1, shape (galaxies, length).
        length: number of pixels of the image along the axis, shape (galaxies, 1).
        side: side of the central square, shape (galaxies, 1).

    Returns:
        Weights, shape (galaxies, size, length).
    """
    from keras import ops

    scale = side / size
    centres = (_first(size, side) + 0.5) * scale + (length - side) / 2 - 0.5
    distance = ops.abs(ops.expand_dims(centres, 2) - ops.expand_dims(positions, 1))
    weights = ops.relu(1 - distance / ops.expand_dims(ops.maximum(scale, 1.0), 2))
    return weights / ops.sum(weights, axis=2, keepdims=True)


def _crop_weights(framing: Framing, side: Any) -> Any:
    """Weights of `data.framing.warp` of the stored image, shape (galaxies, final_size, initial_size)."""
    step = framing.crop_size / framing.final_size
    centres = (_first(framing.final_size, side) - (framing.final_size - 1) / 2) * step + (framing.initial_size - 1) / 2
    n = 1 if step < ANTIALIASING_FROM else math.ceil(step - 0.25)  # points per pixel and axis
    points = [centres + step * ((k + 0.5) / n - 0.5) for k in range(n)]
    return sum(_point_weights(_distances(point, framing.initial_size)) for point in points) / n


def _mask_centres(framing: Framing, positions: Any, length: Any, side: Any) -> Any:
    """Positions in the network's input of the pixels of the image along an axis, shape (galaxies, length)."""
    stored = (positions + 0.5 - (length - side) / 2) * (framing.initial_size / side) - 0.5
    step = framing.crop_size / framing.final_size
    return (stored - (framing.initial_size - 1) / 2) / step + (framing.final_size - 1) / 2


def _mask_weights(centres: Any, size: int, shrinkage: Any) -> Any:
    """Weights of `data.framing.warp_to_image` along an axis. Where masks shrink, the mean over the area of a pixel.

    Args:
        centres: positions in the mask, shape (galaxies, n).
        size: number of pixels of the mask along the axis.
        shrinkage: number of pixels of the mask per pixel of the image, shape (galaxies, 1).

    Returns:
        Weights, shape (galaxies, n, size). Pixels outside the mask count as 0.
    """
    from keras import ops

    distances, pixel = _distances(centres, size), ops.expand_dims(shrinkage, 2)
    area = (_integral(distances + pixel / 2) - _integral(distances - pixel / 2)) / pixel
    return ops.where(pixel < ANTIALIASING_FROM, _point_weights(distances), area)


def _distances(centres: Any, size: int) -> Any:
    """Distances of centres (galaxies, n) from the pixels 0 to size - 1, shape (galaxies, n, size)."""
    from keras import ops

    return ops.expand_dims(centres, 2) - ops.expand_dims(_first(size, centres[:, :1]), 1)


def _point_weights(distances: Any) -> Any:
    """Weights of linear interpolation."""
    from keras import ops

    return ops.relu(1 - ops.abs(distances))


def _integral(distance: Any) -> Any:
    """Integral of the weight of linear interpolation, 1 - abs(distance), from -1."""
    from keras import ops

    inside = ops.clip(distance, -1, 1)
    return 0.5 + inside - inside * ops.abs(inside) / 2
