"""Options of predictions, with their defaults and checks. Imports nothing heavy, so that `--help` is instant."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from zoobot3d_tf.failures import MAX_FAILED, check_max_failed
from zoobot3d_tf.files import PathLike
from zoobot3d_tf.images.stretch import check_stretch
from zoobot3d_tf.inference.options import DEFAULT_BATCH_SIZE, DEFAULT_ENGINE, ENGINES

if TYPE_CHECKING:
    from zoobot3d_tf.schemas import Schema

MASK_FORMATS = ("png", "fits")
"""Formats of the mask files in `masks_dir`."""
NAMES = ("tree", "plain")
"""Names of the columns: as in the decision tree, or plain; see `results.plain_name`."""


@dataclass(frozen=True)
class PredictionOptions:
    """What to predict, how, and which masks to write.

    The run folder defines the schema, the three sizes and the stretch. They are only needed here to check them, or,
    with `force`, to change the sizes and the stretch.

    Attributes:
        n_samples: number of dropout samples of the concentrations per galaxy and run (Gal & Ghahramani 2016,
            arXiv 1506.02142). 1 turns dropout off.
        samples: also write the concentrations of each sample. HDF5 tables, which have the layout of Zoobot, always
            hold them.
        names: names of the columns, one of `NAMES`: "tree", as in the decision tree, or "plain", where hyphens and
            other characters are `_`.
        n_votes: number of volunteers assumed for the expected votes.
        batch_size: number of galaxies per step on a GPU. A CPU takes fewer.
        seed: random seed of the dropout.
        engine: program that runs the network: "tf", "openvino" (extra `[fast]`), or "auto", which takes OpenVINO if it
            is installed and there is no GPU.
        schema: decision tree.
        initial_size: height and width of the stored training images, in pixels.
        crop_size: height and width of their central part that the network sees, in pixels.
        final_size: height and width of the input of the network, in pixels.
        stretch: colour stretch of FITS cutouts, see `images.rgb.to_rgb`.
        no_calibration: predict without the calibration that the run folder holds; see `runs.calibration`.
        force: allow sizes and a stretch that differ from the run folder. The metadata record them.
        masks_dir: folder to write masks to, on the pixel grid of each image. PNG files are named
            `<id_str>_spiral_mask.png` and `<id_str>_bar_mask.png`, 8-bit; 255 means all volunteers. FITS files are
            named `<id_str>_masks.fits`, one per galaxy. By default no masks are predicted.
        mask_format: format of the masks in `masks_dir`, one of `MASK_FORMATS`. FITS carries the WCS of the image.
        masks_file: FITS file to write the masks of all galaxies to, instead of `masks_dir`.
        overlays: also write each image with its masks drawn over it, as `<id_str>_overlay.png` in `masks_dir`.
        regions: file of DS9 regions to write, with the outlines of all masks and the axes of the bars; see `regions`.
        overwrite: replace a table that is complete, even if it was made with the same settings.
        max_failed: largest fraction of the galaxies that may fail; see `failures.may_fail`. If more fail, the run
            stops, and keeps its finished parts.

    Raises:
        ValueError: a value is impossible, or two options exclude each other.
    """

    n_samples: int = 5
    samples: bool = False
    names: str = "tree"
    n_votes: int = 40
    batch_size: int = DEFAULT_BATCH_SIZE
    seed: int = 0
    engine: str = DEFAULT_ENGINE
    schema: Schema | None = None
    initial_size: int | None = None
    crop_size: int | None = None
    final_size: int | None = None
    stretch: str | None = None
    no_calibration: bool = False
    force: bool = False
    masks_dir: PathLike | None = None
    mask_format: str = "png"
    masks_file: PathLike | None = None
    overlays: bool = False
    regions: PathLike | None = None
    overwrite: bool = False
    max_failed: float = MAX_FAILED

    def __post_init__(self) -> None:
        lowest = {"n_samples": 1, "n_votes": 1, "batch_size": 1, "seed": 0}
        lowest |= {"initial_size": 1, "crop_size": 1, "final_size": 1}
        for name, limit in lowest.items():
            value = getattr(self, name)
            if value is not None and value < limit:
                raise ValueError(f"{name} must be at least {limit}; received {value}")
        for name, choices in (("engine", ENGINES), ("mask_format", MASK_FORMATS), ("names", NAMES)):
            value = getattr(self, name)
            if value not in choices:
                raise ValueError(f"{name} must be one of {', '.join(choices)}; received {value!r}")
        check_max_failed(self.max_failed)
        if self.stretch is not None:
            check_stretch(self.stretch)
        if self.masks_dir is not None and self.masks_file is not None:
            raise ValueError("masks are written either to masks_dir or to masks_file; omit one of the two")
        if self.overlays and self.masks_dir is None:
            raise ValueError("overlays are written to masks_dir; give masks_dir too")
        if self.regions is not None and not self.writes_masks:
            raise ValueError("regions are drawn around predicted masks; give masks_dir or masks_file too")

    @property
    def writes_masks(self) -> bool:
        """Whether masks are to be predicted."""
        return self.masks_dir is not None or self.masks_file is not None
