"""Predictions beside what volunteers said: the two tables, joined galaxy by galaxy."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from zoobot3d_tf.catalogs.training_catalog import read_training_catalog
from zoobot3d_tf.files import PathLike
from zoobot3d_tf.images.masks import MASKS
from zoobot3d_tf.images.read import ImageError, read_image, read_known_masks
from zoobot3d_tf.predictions.mask_files import read_mask_file
from zoobot3d_tf.predictions.prediction_tables import load_predictions
from zoobot3d_tf.predictions.results import concentration_names, predicted_answers
from zoobot3d_tf.schemas import Schema


@dataclass(frozen=True)
class PredictedVotes:
    """What was predicted of the votes.

    Attributes:
        fraction: expected share of each question's volunteers, shape (galaxies, answers).
        low: lower end of its 90 % interval.
        high: upper end.
        concentrations: of Dirichlet distributions, shape (galaxies, answers, samples).
        asked: probability that a volunteer is asked each question, shape (galaxies, questions).
    """

    fraction: np.ndarray
    low: np.ndarray
    high: np.ndarray
    concentrations: np.ndarray
    asked: np.ndarray


@dataclass(frozen=True)
class Pictures:
    """A galaxy's image, uint8 (H, W, 3), and its masks by name: shares of volunteers, (H, W), where there are any."""

    image: np.ndarray
    predicted: dict[str, np.ndarray]
    true: dict[str, np.ndarray]


@dataclass(frozen=True)
class Pairs:
    """Galaxies with both a prediction and labels, in the order of the catalogue.

    Attributes:
        schema: the decision tree.
        catalog: as `read_training_catalog` returns it.
        predicted_votes: None if votes were not predicted.
        predicted_masks: the paths of predicted masks by name, absolute, '' where a galaxy has none.
        n_only_predicted: galaxies left out because the catalogue lacks them.
        n_only_in_catalog: galaxies left out because the predictions lack them.
    """

    schema: Schema
    catalog: pd.DataFrame
    predicted_votes: PredictedVotes | None
    predicted_masks: dict[str, list[str]]
    n_only_predicted: int
    n_only_in_catalog: int

    @property
    def votes(self) -> np.ndarray:
        """Volunteers' votes, whole numbers, shape (galaxies, answers)."""
        return self.catalog[self.schema.label_cols].to_numpy()

    def comparable_masks(self) -> np.ndarray:
        """How many masks of each galaxy are both predicted and known, (galaxies,); marks may hold either or both."""
        has_marks = self.catalog["marks_loc"].to_numpy() != ""
        n_masks = np.zeros(len(self.catalog), int)
        for name, locations in self.predicted_masks.items():
            n_masks += (np.array(locations) != "") & (has_marks | (self.catalog[f"{name}_loc"].to_numpy() != ""))
        return n_masks

    def read_pictures(self, index: int) -> Pictures:
        """Read the image and the masks of one galaxy.

        Raises:
            ImageError: a file is missing, damaged, or not on the grid of the image.
        """
        row = self.catalog.iloc[index]
        image = read_image(row["file_loc"])
        shape, n_volunteers = image.shape[:2], int(row["n_volunteers"])
        predicted = {
            name: _read_prediction(locations[index], shape)
            for name, locations in self.predicted_masks.items()
            if locations[index]
        }
        mask_locs = {name: row[f"{name}_loc"] for name in MASKS}
        counts = read_known_masks(mask_locs, row["marks_loc"], shape, n_volunteers)
        true = {name: count / np.float32(n_volunteers) for name, count in counts.items()}
        return Pictures(image, predicted, true)


def read_pairs(
    predictions_path: PathLike,
    catalog_path: PathLike,
    schema: Schema,
    image_root: PathLike | None = None,
    missing_questions_unasked: bool = False,
) -> Pairs:
    """Join a table of predictions with a labelled catalogue by `id_str`.

    Args:
        predictions_path: CSV, Parquet or HDF5, as the predictions stage writes it. Votes, or either mask, may be
            absent. Relative paths of masks start from the table's folder.
        catalog_path: the labelled catalogue.
        schema: the decision tree.
        image_root: where relative paths of the catalogue start from; see `read_training_catalog`.
        missing_questions_unasked: see there.

    Raises:
        FileNotFoundError: there is no such table.
        ValueError: a table cannot be read, lacks a column or has an impossible value; nothing was predicted; or no
            galaxy is in both.
    """
    read = load_predictions(predictions_path)
    predictions = read.table
    if read.label and read.concentrations is None and not any(f"{mask}_loc" in predictions for mask in MASKS):
        raise ValueError(f"{predictions_path}: predicts {read.label.column} alone; the report is about votes and masks")
    catalog = read_training_catalog(catalog_path, schema, image_root, missing_questions_unasked)
    shared = catalog["id_str"].isin(predictions["id_str"])
    if not shared.any():
        raise ValueError(
            f"{predictions_path} and {catalog_path} have no galaxy in common: "
            f"id_str is {predictions['id_str'].iloc[0]!r} in the one and {catalog['id_str'].iloc[0]!r} in the other"
        )
    n_only_predicted, n_only_in_catalog = len(predictions) - int(shared.sum()), int((~shared).sum())
    catalog = catalog[shared].reset_index(drop=True)
    predictions = predictions.set_index("id_str").loc[catalog["id_str"]]
    predicted_votes = _read_votes(predictions_path, predictions, schema)
    predicted_masks = _mask_locations(Path(predictions_path).parent.absolute(), predictions)
    if predicted_votes is None and not predicted_masks:
        raise ValueError(
            f"{predictions_path}: has neither {schema.label_cols[0]}_fraction, as votes predicted with schema "
            f"'{schema.name}' have, nor {' nor '.join(f'{name}_loc' for name in MASKS)}: there is nothing to score"
        )
    return Pairs(schema, catalog, predicted_votes, predicted_masks, n_only_predicted, n_only_in_catalog)


def _read_votes(path: PathLike, predictions: pd.DataFrame, schema: Schema) -> PredictedVotes | None:
    if not any(f"{answer}_fraction" in predictions for answer in schema.label_cols):
        return None
    fraction, low, high = (
        _numbers(path, predictions, [f"{answer}_{what}" for answer in schema.label_cols], 0, 1)
        for what in ("fraction", "low", "high")
    )
    _, n_samples = predicted_answers(predictions.columns)
    columns = concentration_names(schema.label_cols, max(n_samples, 1))
    concentrations = _numbers(path, predictions, columns, 0, np.inf)
    asked = _numbers(path, predictions, [f"{question.text}_asked_p" for question in schema.questions], 0, 1)
    return PredictedVotes(
        fraction, low, high, concentrations.reshape(len(predictions), len(schema.label_cols), -1), asked
    )


def _numbers(path: PathLike, table: pd.DataFrame, columns: list[str], lowest: float, highest: float) -> np.ndarray:
    """Columns of numbers in a range, shape (rows, columns)."""
    missing = [column for column in columns if column not in table]
    if missing:
        raise ValueError(f"{path}: lacks the column {missing[0]} ({len(missing)} missing in all)")
    numbers = table[columns].apply(pd.to_numeric, errors="coerce").to_numpy(np.float64)
    wrong = ~((numbers >= lowest) & (numbers <= highest + 1e-6))
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        raise ValueError(
            f"{path}: {columns[column]} of {table.index[row]} is {table[columns[column]].iloc[row]}; "
            f"it must be a number from {lowest:g} to {highest:g}"
        )
    return numbers


def _read_prediction(location: str, shape: tuple[int, int]) -> np.ndarray:
    fraction = read_mask_file(location)
    if fraction.shape != shape:
        raise ImageError(
            f"{location}: the mask is {fraction.shape[0]} x {fraction.shape[1]} pixels (height x width), "
            f"its image {shape[0]} x {shape[1]}; they must share one grid"
        )
    return fraction


def _mask_locations(root: Path, predictions: pd.DataFrame) -> dict[str, list[str]]:
    """Absolute paths of the masks that were predicted at all."""
    locations = {name: predictions[f"{name}_loc"] for name in MASKS if f"{name}_loc" in predictions}
    return {
        name: [str(root / location) if location else "" for location in column]
        for name, column in locations.items()
        if (column != "").any()
    }
