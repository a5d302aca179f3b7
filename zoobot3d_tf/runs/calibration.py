"""Calibration of a run: corrections of its uncertainties, which `calibration.json` keeps in the run folder.

Votes: all concentrations of a question are multiplied by one factor. The expected fractions remain, and their intervals
become wider (factor below 1) or narrower. This is the temperature scaling of Guo et al. (2017, arXiv 1706.04599) for
Dirichlet distributions. Masks: a monotone map from the predicted to the observed fraction of volunteers (isotonic
regression; Zadrozny & Elkan 2002, doi 10.1145/775047.775151).
"""

import json
import reprlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from zoobot3d_tf.files import read_json_object, sha256_of, write_atomically
from zoobot3d_tf.models.config import ModelConfig
from zoobot3d_tf.runs.run_folder import CALIBRATION_NAME, TrainedRun
from zoobot3d_tf.schemas import Schema

FACTOR_RANGE = (1e-3, 1e3)
"""Smallest and largest factor of concentrations. Beyond it, intervals are those of no votes, or of very many."""
MAX_KNOTS = 1024
"""Largest number of knots of a map of masks. Predicted masks have 256 levels."""


@dataclass(frozen=True)
class MaskMap:
    """Monotone, piecewise linear map of the predicted fraction of volunteers; constant before and after its knots.

    Attributes:
        x: predicted fractions at the knots, 0 to 1, increasing.
        y: calibrated fractions at the knots, 0 to 1, not decreasing.

    Raises:
        ValueError: the knots are not of this form.
    """

    x: tuple[float, ...]
    y: tuple[float, ...]

    def __post_init__(self) -> None:
        if not 1 <= len(self.x) == len(self.y) <= MAX_KNOTS:
            raise ValueError(
                f"x and y of a map must have the same number of knots, 1 to {MAX_KNOTS}; "
                f"received {len(self.x)} and {len(self.y)}"
            )
        for name, values in (("x", self.x), ("y", self.y)):
            if not all(_is_number(value) and 0 <= value <= 1 for value in values):
                raise ValueError(f"{name} of a map must be numbers from 0 to 1; received {reprlib.repr(values)}")
        if any(after <= before for before, after in zip(self.x, self.x[1:], strict=False)):
            raise ValueError(f"x of a map must increase; received {reprlib.repr(self.x)}")
        if any(after < before for before, after in zip(self.y, self.y[1:], strict=False)):
            raise ValueError(f"y of a map must not decrease; received {reprlib.repr(self.y)}")

    def __call__(self, fraction: np.ndarray) -> np.ndarray:
        """Map fractions of volunteers, 0 to 1, of any shape, to calibrated fractions, float32."""
        return np.interp(fraction, self.x, self.y).astype(np.float32)


@dataclass(frozen=True)
class Calibration:
    """Corrections of the votes and masks of a run, and what they were fitted to.

    Attributes:
        factors: factor of the concentrations, by the text of the question; empty if the run does not predict votes.
        masks: map of the predicted fraction, by the name of the mask. A mask without a map remains as it is.
        weights_sha256: SHA-256 of the weights whose predictions were used.
        n_galaxies: number of galaxies with votes or masks that were used.
        n_samples: number of dropout samples per galaxy.
        source: shard folders or catalogue of the galaxies.
        version: version of this package.

    Raises:
        ValueError: a value is impossible.
    """

    factors: Mapping[str, float] = field(hash=False)
    masks: Mapping[str, MaskMap] = field(hash=False)
    weights_sha256: str
    n_galaxies: int
    n_samples: int
    source: str
    version: str

    def __post_init__(self) -> None:
        lowest, highest = FACTOR_RANGE
        for question, factor in self.factors.items():
            if not _is_number(factor) or not lowest <= factor <= highest:
                raise ValueError(
                    f"the factor of '{question}' must be a number from {lowest:g} to {highest:g}; received {factor!r}"
                )
        for name in ("n_galaxies", "n_samples"):
            if type(value := getattr(self, name)) is not int or value < 1:
                raise ValueError(f"{name} must be a whole number of at least 1; received {value!r}")
        for name in ("weights_sha256", "source", "version"):
            if not isinstance(value := getattr(self, name), str):
                raise ValueError(f"{name} must be text; received {value!r}")

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> "Calibration":
        """Build a calibration from the dictionary that `to_dict` returned.

        Raises:
            ValueError: the dictionary has another form, or holds an impossible value.
        """
        names = {item.name for item in fields(cls)}
        if set(stored) != names:
            raise ValueError(
                f"it must have the entries {', '.join(sorted(names))}; received {reprlib.repr(list(stored))}"
            )
        for name in ("factors", "masks"):
            if not isinstance(stored[name], dict):
                raise ValueError(f"{name} must be a JSON object; received {reprlib.repr(stored[name])}")
        try:
            maps = {name: MaskMap(tuple(knots["x"]), tuple(knots["y"])) for name, knots in stored["masks"].items()}
        except (KeyError, TypeError) as error:
            raise ValueError(f"each of masks must have the lists x and y; {error!r}") from error
        return cls(**{**stored, "masks": maps})

    def to_dict(self) -> dict[str, Any]:
        """Convert to the content of `calibration.json`."""
        return asdict(self)

    def check_fits(self, model: ModelConfig) -> None:
        """Check that the calibration belongs to a model.

        Raises:
            ValueError: the questions or the masks are those of another model.
        """
        questions = [] if model.vote_schema is None else [question.text for question in model.vote_schema.questions]
        if set(self.factors) != set(questions):
            wrong = sorted(set(self.factors) ^ set(questions))
            raise ValueError(
                f"it must have one factor for each of the {len(questions)} questions of the run; these differ: "
                f"{', '.join(wrong[:4])}"
            )
        if others := set(self.masks) - set(model.masks):
            raise ValueError(f"it has a map of {min(others)}, which the run does not predict")

    def scale(self, concentrations: np.ndarray, schema: Schema) -> np.ndarray:
        """Multiply concentrations by the factors of their questions.

        Args:
            concentrations: concentrations, shape (galaxies, answers, samples).
            schema: decision tree of the run.

        Returns:
            Calibrated concentrations, of the same shape and type.
        """
        factors = schema.repeat_by_question([self.factors[question.text] for question in schema.questions])
        return concentrations * factors[:, None].astype(concentrations.dtype)

    def map_mask(self, name: str, fraction: np.ndarray) -> np.ndarray:
        """Map the fractions of a mask, 0 to 1, of any shape; unchanged if the mask has no map."""
        return self.masks[name](fraction) if name in self.masks else fraction


def read_calibration(run: TrainedRun) -> Calibration | None:
    """Read the calibration of a run; None if it has none.

    Raises:
        ValueError: the file is damaged, does not fit the run, or was fitted to other weights.
    """
    path = run.folder / CALIBRATION_NAME
    try:
        stored = read_json_object(path, "the calibration of a run")
    except FileNotFoundError:
        return None
    try:
        calibration = Calibration.from_dict(stored)
        calibration.check_fits(run.model)
        if calibration.weights_sha256 != sha256_of(run.weights_loc):
            raise ValueError(f"it was fitted to other weights than {run.weights_loc.name} now holds")
    except ValueError as error:
        raise ValueError(
            f"{path}: cannot be used as the calibration of the run: {error}; repeat `zoobot3d calibrate`, or delete "
            "the file; to predict without it, set no_calibration"
        ) from error
    return calibration


def write_calibration(folder: Path, calibration: Calibration) -> None:
    """Write the calibration of a run to its folder. An older one is replaced.

    Raises:
        OSError: the folder cannot be written.
    """
    content = json.dumps(calibration.to_dict(), indent=1, ensure_ascii=False) + "\n"
    write_atomically(folder / CALIBRATION_NAME, content)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
