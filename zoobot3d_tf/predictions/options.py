"""The options of a prediction, and the settings of its job."""

from dataclasses import dataclass

from zoobot3d_tf.inference.job import JobSettings


@dataclass(frozen=True)
class Settings(JobSettings):
    """Those of predictions.

    Attributes:
        n_samples: samples of the dropout.
        n_votes: volunteers that the expected votes are of.
        seed: of the dropout.
        masks: the masks to write.
        masks_dir: folder for them, one file a galaxy; None writes none there.
        mask_format: "png" or "fits".
        masks_file: one FITS file for those of all galaxies; None makes none.
        overlays: also draw them over the images.
    """

    n_samples: int
    n_votes: int
    seed: int
    masks: tuple[str, ...]
    masks_dir: str | None
    mask_format: str
    masks_file: str | None
    overlays: bool
