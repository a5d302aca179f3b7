"""Random views of a galaxy, which differ in what says nothing about the galaxy itself.

The sky has no preferred direction, so rotations and reflections have no limits. Zoom, brightness, noise and blur change
as with distance, exposure and seeing, but mildly: faint arms must survive. In some views colours are removed, so that
the encoder cannot recognise a galaxy by its colour alone.
"""

import cv2
import numpy as np

from zoobot3d_tf.data.framing import Framing, random_affine, warp

ZOOM = 1.3
"""Largest factor by which a view is magnified, on top of the zoom of training."""
BRIGHTNESS = 1.3
"""Largest factor by which a view is brighter or fainter."""
NOISE = 2.0
"""Largest standard deviation of the noise of each pixel, of 255. The sky of SDSS images has 1 after resizing. With 8,
the noise outweighs faint galaxies."""
BLUR = 0.01
"""Largest standard deviation of the blur, as a fraction of the side of the view."""
BLURRED = 0.5
"""Fraction of the views that are blurred."""
GREY = 0.2
"""Fraction of the views without colours."""


def random_view(image: np.ndarray, framing: Framing, rng: np.random.Generator) -> np.ndarray:
    """Make a random view of a galaxy.

    Args:
        image: stored image, uint8 (initial_size, initial_size, 3).
        framing: sizes of the images.
        rng: random number generator.

    Returns:
        uint8 (final_size, final_size, 3).
    """
    size = framing.final_size
    affine = random_affine(framing, rng)
    # Only magnified: a larger crop would end outside the image.
    scale, centre = ZOOM ** -rng.uniform(), (size - 1) / 2
    about_centre = np.array([[scale, 0, (1 - scale) * centre], [0, scale, (1 - scale) * centre], [0, 0, 1]])
    view: np.ndarray = warp(image, affine @ about_centre, size).astype(np.float32)
    if rng.uniform() < BLURRED:
        view = cv2.GaussianBlur(view, (0, 0), max(rng.uniform(0, BLUR) * size, 1e-3))
    if rng.uniform() < GREY:
        view[:] = view.mean(axis=-1, keepdims=True)
    view *= BRIGHTNESS ** rng.uniform(-1, 1)
    view += rng.uniform(0, NOISE) * rng.standard_normal(view.shape, np.float32)
    return np.clip(view + 0.5, 0, 255).astype(np.uint8)


def view_pairs(images: np.ndarray, framing: Framing, batch_size: int, seed: int, step: int) -> np.ndarray:
    """Make two views of each galaxy of one training step.

    The order of the galaxies is another one in each epoch. It and the views depend only on the seed and on the number
    of the step, so that a pretraining which continues sees the same views as one without an interruption.

    Args:
        images: stored images, uint8 (images, initial_size, initial_size, 3).
        framing: sizes of the images.
        batch_size: number of galaxies per step, at most the number of images.
        seed: random seed.
        step: number of the step, from 0, over all epochs. An epoch has as many steps as there are full batches.

    Returns:
        uint8 (batch_size, 2, final_size, final_size, 3).
    """
    epoch, batch = divmod(step, len(images) // batch_size)
    order = np.random.default_rng((seed, epoch)).permutation(len(images))
    chosen = order[batch * batch_size : (batch + 1) * batch_size]
    rng = np.random.default_rng((seed, epoch, batch))
    return np.stack([[random_view(images[i], framing, rng) for _ in range(2)] for i in chosen])
