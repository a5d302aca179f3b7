"""From images to the votes, labels and masks of galaxies: the networks of one or several runs, calibrated."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy.wcs import WCS

from zoobot3d_tf.data.framing import Framing
from zoobot3d_tf.images.read import ImageError
from zoobot3d_tf.images.wcs import pixscale_of, read_wcs, wcs_at
from zoobot3d_tf.inference.source_images import frame_images
from zoobot3d_tf.models.config import ModelConfig
from zoobot3d_tf.predictions.mask_files import mean_to_image, to_fraction
from zoobot3d_tf.predictions.measurements import measure
from zoobot3d_tf.predictions.network import Network
from zoobot3d_tf.predictions.results import vote_values
from zoobot3d_tf.runs.calibration import Calibration


@dataclass(frozen=True)
class CalibratedNetwork:
    """The network of a run, and what belongs to it.

    Attributes:
        network: the network.
        model: configuration of the network.
        framing: how images are cropped and resized for it.
        calibration: calibration of its outputs; None for none.
    """

    network: Network
    model: ModelConfig
    framing: Framing
    calibration: Calibration | None

    def predict(self, images: np.ndarray, id_strs: Sequence[str]) -> dict[str, np.ndarray]:
        """Predict one step of galaxies, as `Network` does, and apply the calibration."""
        outputs = self.network(images, id_strs)
        if self.calibration is None:
            return outputs
        outputs |= {
            name: self.calibration.map_mask(name, outputs[name]) for name in self.model.masks if name in outputs
        }
        if self.model.vote_schema is not None:
            outputs["votes"] = self.calibration.scale(outputs["votes"], self.model.vote_schema)
        return outputs


@dataclass(frozen=True)
class Output:
    """What networks predict of one galaxy.

    Attributes:
        concentrations: shape (answers, samples of all runs); None if the runs do not predict votes.
        label: shape (columns of `Label.outputs`, samples of all runs); None if the runs do not predict a label.
        masks: masks by name on the pixel grid of the image, uint8 (H, W), as `mask_files.to_image` returns them; empty
            if no masks are predicted or there is no image.
    """

    concentrations: np.ndarray | None
    label: np.ndarray | None
    masks: Mapping[str, np.ndarray]


def predict_step(
    images: Sequence[np.ndarray | ImageError], id_strs: Sequence[str], networks: Sequence[CalibratedNetwork]
) -> Iterator[Output]:
    """Predict one step of galaxies.

    All networks see an image while it is in memory, so that several runs read each image once.

    Args:
        images: at most `Network.step` images, uint8 (H, W, 3), or errors that say why there is none.
        id_strs: ids of the galaxies.
        networks: one network, or several, whose samples are put side by side and whose masks are averaged.

    Yields:
        The output of each galaxy, in order. Without an image, it has no meaning.
    """
    framings = [each.framing for each in networks]
    inputs = {framing: frame_images(images, framing, networks[0].network.step) for framing in set(framings)}
    outputs = [each.predict(inputs[each.framing], id_strs) for each in networks]
    concentrations, labels = (_side_by_side(outputs, name, len(images)) for name in ("votes", "label"))
    for i, image in enumerate(images):
        masks = {}
        if not isinstance(image, ImageError):
            masks = {
                name: mean_to_image([output[name][i] for output in outputs], framings, image.shape[:2])
                for name in networks[0].model.masks
                if name in outputs[0]
            }
        yield Output(concentrations[i], labels[i], masks)


def answer_columns(
    concentrations: Sequence[np.ndarray | None], labels: Sequence[np.ndarray | None], model: ModelConfig, n_votes: int
) -> dict[str, np.ndarray]:
    """Columns about votes (see `results.vote_values`) and about the label, by name.

    Args:
        concentrations: concentrations of each galaxy, as in `Output`.
        labels: labels of each galaxy, as in `Output`.
        model: configuration of one of the networks.
        n_votes: number of volunteers assumed for the expected votes.
    """
    columns: dict[str, np.ndarray] = {}
    if model.vote_schema is not None:
        columns |= vote_values(np.array(concentrations), model.vote_schema, n_votes)
    if model.label is not None:
        means = np.array(labels).mean(axis=2)
        columns |= dict(zip(model.label.outputs, means.T, strict=True))
    return columns


def measure_masks(galaxy: Any, masks: Mapping[str, np.ndarray], wcs: WCS | None) -> dict[str, float]:
    """Measure the masks of a galaxy; see `measurements.measure`.

    Args:
        galaxy: row of the table of `inference.inputs`, as a named tuple.
        masks: masks by name, as in `Output`.
        wcs: WCS of the image; None if unknown.
    """
    pixscale = galaxy.pixscale if wcs is None else pixscale_of(wcs)
    return measure({name: to_fraction(mask) for name, mask in masks.items()}, wcs, pixscale)


def wcs_of(galaxy: Any, shape: tuple[int, int]) -> WCS | None:
    """WCS in the header of the image, or else the WCS that follows from the position and pixel scale of the galaxy.

    Args:
        galaxy: row of the table of `inference.inputs`, as a named tuple. An image in memory has an empty `file_loc`.
        shape: height and width of the image.

    Raises:
        ImageError: the WCS of the image is damaged.
    """
    if galaxy.file_loc and galaxy.record < 0 and (wcs := read_wcs(galaxy.file_loc)) is not None:
        return wcs
    is_known = np.isfinite([galaxy.ra, galaxy.dec, galaxy.pixscale]).all()
    return wcs_at(galaxy.ra, galaxy.dec, galaxy.pixscale, shape) if is_known else None


def _side_by_side(outputs: Sequence[Mapping[str, np.ndarray]], name: str, n_galaxies: int) -> np.ndarray | list[None]:
    """Samples of all runs, in their order, per galaxy: (columns, samples) each; None if the runs do not predict it."""
    if name not in outputs[0]:
        return [None] * n_galaxies
    return np.concatenate([output[name] for output in outputs], axis=2)
