"""Settings of a job that predicts galaxies."""

from dataclasses import dataclass

from zoobot3d_tf.inference.job import JobSettings, NetworkSettings
from zoobot3d_tf.runs.calibration import Calibration


@dataclass(frozen=True)
class RunSettings(NetworkSettings):
    """A run whose predictions the table holds.

    Attributes:
        n_samples: number of dropout samples per galaxy.
        calibration: calibration of the votes and masks; None if they remain as the network predicts them.
    """

    n_samples: int
    calibration: Calibration | None


@dataclass(frozen=True)
class PredictionSettings(JobSettings):
    """Everything that the rows of a table of predictions depend on.

    Attributes:
        runs: one run; or several, whose samples are columns of the table in this order.
        samples: whether the table holds the concentrations of each sample.
        names: names of the columns, one of `options.NAMES`.
        n_votes: number of volunteers assumed for the expected votes.
        seed: random seed of the dropout.
        masks: names of the masks to write.
        masks_dir: folder for masks, one file or more per galaxy; None if none are written there.
        mask_format: format of the masks in `masks_dir`, "png" or "fits".
        masks_file: FITS file for the masks of all galaxies; None if there is none.
        overlays: whether to also write images with their masks drawn over them.
    """

    runs: tuple[RunSettings, ...]
    samples: bool
    names: str
    n_votes: int
    seed: int
    masks: tuple[str, ...]
    masks_dir: str | None
    mask_format: str
    masks_file: str | None
    overlays: bool

    @property
    def n_samples(self) -> int:
        """Number of samples of all runs together."""
        return sum(run.n_samples for run in self.runs)
