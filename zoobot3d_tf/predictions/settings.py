"""Settings of a job that predicts galaxies."""

from dataclasses import dataclass

from zoobot3d_tf.inference.job import JobSettings


@dataclass(frozen=True)
class PredictionSettings(JobSettings):
    """Everything that the rows of a table of predictions depend on.

    Attributes:
        n_samples: number of dropout samples per galaxy.
        n_votes: number of volunteers assumed for the expected votes.
        seed: random seed of the dropout.
        masks: names of the masks to write.
        masks_dir: folder for masks, one file or more per galaxy; None if none are written there.
        mask_format: format of the masks in `masks_dir`, "png" or "fits".
        masks_file: FITS file for the masks of all galaxies; None if there is none.
        overlays: whether to also write images with their masks drawn over them.
    """

    n_samples: int
    n_votes: int
    seed: int
    masks: tuple[str, ...]
    masks_dir: str | None
    mask_format: str
    masks_file: str | None
    overlays: bool
