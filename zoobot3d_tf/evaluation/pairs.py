"""Predictions and labels of the same galaxies: the two tables, joined by `id_str`."""

from dataclasses import dataclass, fields, replace
from itertools import compress
from pathlib import Path

import numpy as np
import pandas as pd

from zoobot3d_tf.catalogs.training_catalog import check_training_catalog
from zoobot3d_tf.common_tree import COMMON, conversion
from zoobot3d_tf.files import PathLike, path_of
from zoobot3d_tf.images.masks import MASKS
from zoobot3d_tf.images.read import ImageError, read_image, read_known_masks
from zoobot3d_tf.images.stretch import DEFAULT_STRETCH
from zoobot3d_tf.inference.metadata import metadata_loc
from zoobot3d_tf.labels import Label, read_known_labels
from zoobot3d_tf.predictions.mask_files import read_mask_file
from zoobot3d_tf.predictions.prediction_tables import NO_SAMPLES, Predictions, load_predictions
from zoobot3d_tf.predictions.results import concentration_names, predicted_answers, tree_names
from zoobot3d_tf.schemas import Schema
from zoobot3d_tf.tables.formats import read_table


@dataclass(frozen=True)
class PredictedVotes:
    """Predictions of votes.

    Attributes:
        fraction: expected vote fractions, shape (galaxies, answers).
        low: lower ends of their intervals of probability `INTERVAL_LEVEL`, same shape.
        high: upper ends of these intervals, same shape.
        concentrations: concentrations of the Dirichlet distributions, shape (galaxies, answers, samples).
        asked: probability that a volunteer is asked each question, shape (galaxies, questions).
    """

    fraction: np.ndarray
    low: np.ndarray
    high: np.ndarray
    concentrations: np.ndarray
    asked: np.ndarray


@dataclass(frozen=True)
class Pictures:
    """Image and masks of one galaxy.

    Attributes:
        image: RGB image, uint8 (H, W, 3).
        predicted: predicted shares of volunteers by name of the mask, (H, W) each; absent where not predicted.
        true: observed shares of volunteers by name of the mask, (H, W) each; absent where nobody was asked.
    """

    image: np.ndarray
    predicted: dict[str, np.ndarray]
    true: dict[str, np.ndarray]


@dataclass(frozen=True)
class Pairs:
    """Galaxies with both a prediction and labels, in the order of the catalogue.

    Attributes:
        schema: decision tree; None if votes were not predicted.
        stretch: stretch that turns the fluxes of FITS cutouts into colours, as in the predictions.
        catalog: rows of the catalogue, as `read_training_catalog` returns them.
        predicted_votes: predictions of votes; None if votes were not predicted.
        predicted_masks: absolute paths of the predicted masks by name of the mask; '' where a galaxy has none.
        label: label; None if none was predicted.
        predicted_label: predictions of the label, shape (galaxies, outputs); see `Label.outputs`.
        known_label: values of the label, shape (galaxies,); NaN if missing.
        left_out: numbers of galaxies left out, by the reason in words.
    """

    schema: Schema | None
    stretch: str
    catalog: pd.DataFrame
    predicted_votes: PredictedVotes | None
    predicted_masks: dict[str, list[str]]
    label: Label | None
    predicted_label: np.ndarray
    known_label: np.ndarray
    left_out: dict[str, int]

    @property
    def votes(self) -> np.ndarray:
        """Numbers of votes, shape (galaxies, answers)."""
        return self.catalog[self.schema.label_cols if self.schema else []].to_numpy()

    def without(self, is_left_out: np.ndarray, reason: str) -> "Pairs":
        """Leave out galaxies.

        Args:
            is_left_out: whether to leave out each galaxy, shape (galaxies,).
            reason: why, in words, as it follows the number of galaxies.

        Raises:
            ValueError: no galaxy would remain.
        """
        if is_left_out.all():
            raise ValueError(f"all {len(is_left_out)} galaxies would be left out: {reason}")
        kept, votes = ~is_left_out, self.predicted_votes
        return replace(
            self,
            catalog=self.catalog[kept].reset_index(drop=True),
            predicted_votes=votes and PredictedVotes(*(getattr(votes, field.name)[kept] for field in fields(votes))),
            predicted_masks={name: list(compress(locs, kept)) for name, locs in self.predicted_masks.items()},
            predicted_label=self.predicted_label[kept],
            known_label=self.known_label[kept],
            left_out=self.left_out | ({reason: int(is_left_out.sum())} if is_left_out.any() else {}),
        )

    def comparable_masks(self) -> np.ndarray:
        """Count the masks of each galaxy that are both predicted and known, (galaxies,).

        A file of marks counts for both masks; which of them it holds is known when it is read.
        """
        has_marks = self.catalog["marks_loc"].to_numpy() != ""
        n_masks = np.zeros(len(self.catalog), int)
        for name, locations in self.predicted_masks.items():
            n_masks += (np.array(locations) != "") & (has_marks | (self.catalog[f"{name}_loc"].to_numpy() != ""))
        return n_masks

    def read_pictures(self, index: int) -> Pictures:
        """Read the image and the masks of one galaxy.

        Raises:
            ImageError: a file is missing or damaged, or a mask is not on the grid of the image.
        """
        row = self.catalog.iloc[index]
        image = read_image(row["file_loc"], self.stretch)
        shape = image.shape[:2]
        predicted = {
            name: _read_prediction(locations[index], shape)
            for name, locations in self.predicted_masks.items()
            if locations[index]
        }
        return Pictures(image, predicted, true_masks(row, shape))


def true_masks(row: pd.Series, shape: tuple[int, int]) -> dict[str, np.ndarray]:
    """Read the masks that volunteers drew of one galaxy.

    Args:
        row: row of a training catalogue.
        shape: height and width of its image, in pixels.

    Returns:
        Observed shares of volunteers by name of the mask, float32 (H, W) each; absent where nobody was asked.

    Raises:
        ImageError: a file is missing or damaged, or a mask is not on the grid of the image.
    """
    n_volunteers = int(row["n_volunteers"])
    mask_locs = {name: row[f"{name}_loc"] for name in MASKS}
    counts = read_known_masks(mask_locs, row["marks_loc"], shape, n_volunteers)
    return {name: count / np.float32(n_volunteers) for name, count in counts.items()}


def read_pairs(
    predictions_path: PathLike,
    catalog_path: PathLike,
    schema: Schema | None,
    image_root: PathLike | None = None,
    missing_questions_unasked: bool = False,
) -> Pairs:
    """Join a table of predictions with a labelled catalogue by `id_str`.

    Args:
        predictions_path: table of predictions, as `load_predictions` reads it. Votes, or either mask, may be absent.
            Relative paths of masks start from the folder of the table.
        catalog_path: labelled catalogue.
        schema: decision tree of the catalogue; None for the tree in the metadata of the predictions. If both are known,
            they must be equal, unless the predictions have the tree of several surveys, `galaxy_zoo`, to which the
            votes are then converted; see `common_tree.conversion`. Predictions of a label need none.
        image_root: folder that relative paths in the catalogue start from; by default the folder of the catalogue.
        missing_questions_unasked: accept questions without any column in the catalogue, as asked of nobody. A catalogue
            without any column of votes is accepted unless `schema` is given.

    Raises:
        FileNotFoundError: a table does not exist.
        ValueError: a table cannot be read, lacks a column or has an impossible value; nothing was predicted that
            the catalogue knows; the tree is unknown or another one than in the metadata; or the tables have no galaxy
            in common.
    """
    read = load_predictions(predictions_path)
    is_named = schema is not None
    schema, counted = _choose_schemas(predictions_path, read, schema)
    predictions = tree_names(read.table, schema, read.label)
    table = read_table(catalog_path)
    label_col = read.label.column if read.label and read.label.column in table else None
    if counted is not None and not is_named and table.columns.intersection(counted.label_cols).empty:
        missing_questions_unasked = True  # a catalogue of masks or of a label
    catalog = check_training_catalog(
        catalog_path, table, counted, image_root, missing_questions_unasked, label_col=label_col
    )
    known = read_known_labels(catalog_path, table, read.label) if read.label and label_col else np.zeros(len(table))
    if schema is not None and counted is not None and schema != counted:
        catalog = _converted(catalog, counted, schema)
    shared = catalog["id_str"].isin(predictions["id_str"])
    if not shared.any():
        raise ValueError(
            f"{predictions_path} and {catalog_path} have no galaxy in common: "
            f"the first id_str is {predictions['id_str'].iloc[0]!r} and {catalog['id_str'].iloc[0]!r}"
        )
    left_out = {
        "predicted but not in the catalogue": len(predictions) - int(shared.sum()),
        "in the catalogue but not predicted": int((~shared).sum()),
    }
    catalog = catalog[shared].reset_index(drop=True)
    predictions = predictions.set_index("id_str").loc[catalog["id_str"]]
    has_votes = counted is not None and catalog[schema.label_cols if schema else []].to_numpy().any()
    predicted_votes = _read_votes(predictions_path, predictions, schema, bool(has_votes))
    predicted_masks = _mask_locations(path_of(predictions_path).parent.absolute(), predictions)
    label = read.label if label_col else None
    if predicted_votes is None and not predicted_masks and label is None:
        raise ValueError(_nothing_to_score(predictions_path, schema, read.label))
    return Pairs(
        schema=schema,
        stretch=read.metadata.get("stretch", DEFAULT_STRETCH),
        catalog=catalog,
        predicted_votes=predicted_votes,
        predicted_masks=predicted_masks,
        label=label,
        predicted_label=predictions[list(label.outputs) if label else []].to_numpy(float),
        known_label=known[shared.to_numpy()],
        left_out={reason: number for reason, number in left_out.items() if number},
    )


def _nothing_to_score(path: PathLike, schema: Schema | None, label: Label | None) -> str:
    wanted = [f"{name}_loc (files of masks)" for name in MASKS]
    if schema:
        wanted.insert(0, f"{schema.label_cols[0]}_fraction (votes of the schema '{schema.name}')")
    if label:
        return f"{path}: predicts only the label {label.column}, and the catalogue has no column of that name"
    return f"{path}: has no predictions to score; it must have columns such as {' or '.join(wanted)}"


def _choose_schemas(path: PathLike, read: Predictions, wanted: Schema | None) -> tuple[Schema | None, Schema | None]:
    """Decision trees of the predictions, from their metadata or else as the user says, and of the catalogue."""
    known = read.schema
    if known is not None and wanted is not None and known != wanted and known.name != COMMON:
        raise ValueError(f"{path}: was predicted with {known!r}, not {wanted!r}; omit schema")
    if known is None and wanted is None and predicted_answers(read.table.columns)[0]:
        raise ValueError(
            f"{path}: has votes, but no {metadata_loc(path_of(path)).name} beside it that names their decision tree; "
            "give schema"
        )
    return known or wanted, wanted or known


def _converted(catalog: pd.DataFrame, counted: Schema, schema: Schema) -> pd.DataFrame:
    """Convert the votes of a catalogue to another tree."""
    votes = catalog[counted.label_cols].to_numpy() @ conversion(counted, schema)
    converted = pd.DataFrame(votes.astype(np.int64), index=catalog.index, columns=schema.label_cols)
    return pd.concat([catalog.drop(columns=counted.label_cols), converted], axis=1)


def _read_votes(
    path: PathLike, predictions: pd.DataFrame, schema: Schema | None, has_votes: bool
) -> PredictedVotes | None:
    """Read the predicted votes. A compact table, which lacks the samples, is sufficient if no votes are known."""
    if schema is None or not any(f"{answer}_fraction" in predictions for answer in schema.label_cols):
        return None
    fraction, low, high = (
        _numbers(path, predictions, [f"{answer}_{what}" for answer in schema.label_cols], 0, 1)
        for what in ("fraction", "low", "high")
    )
    _, n_samples = predicted_answers(predictions.columns)
    if not n_samples and not has_votes:
        return None
    if not n_samples:
        raise ValueError(f"{path}: {NO_SAMPLES}")
    columns = concentration_names(schema.label_cols, n_samples)
    concentrations = _numbers(path, predictions, columns, 0, np.inf)
    asked = _numbers(path, predictions, [f"{question.text}_asked_p" for question in schema.questions], 0, 1)
    return PredictedVotes(
        fraction, low, high, concentrations.reshape(len(predictions), len(schema.label_cols), -1), asked
    )


def _numbers(path: PathLike, table: pd.DataFrame, columns: list[str], lowest: float, highest: float) -> np.ndarray:
    """Columns of numbers, checked to be in a range: float64 (rows, columns)."""
    missing = [column for column in columns if column not in table]
    if missing:
        raise ValueError(f"{path}: lacks the column {missing[0]}; {len(missing)} columns are missing in total")
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
    """Absolute paths of the predicted masks, for each mask that at least one galaxy has."""
    locations = {name: predictions[f"{name}_loc"] for name in MASKS if f"{name}_loc" in predictions}
    return {
        name: [str(root / location) if location else "" for location in column]
        for name, column in locations.items()
        if (column != "").any()
    }
