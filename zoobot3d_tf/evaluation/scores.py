"""Scores of a table of predictions against a labelled catalogue."""

import logging
from dataclasses import dataclass

from tqdm import tqdm

from zoobot3d_tf.evaluation.masks import MaskScores, MaskSums, smoothed_brightness
from zoobot3d_tf.evaluation.pairs import Pairs, read_pairs
from zoobot3d_tf.evaluation.votes import VoteScores, score_votes
from zoobot3d_tf.files import PathLike
from zoobot3d_tf.images.read import ImageError
from zoobot3d_tf.predictions.results import INTERVAL_LEVEL
from zoobot3d_tf.schemas import Schema

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Scores:
    """Scores of predictions.

    Attributes:
        n_galaxies: number of galaxies with both a prediction and labels.
        left_out: numbers of galaxies left out, by the reason in words.
        n_unreadable: number of galaxies left out of the scores of masks because an image or a mask cannot be read.
        votes: scores by question, and of all answers under 'all'; empty if votes were not predicted or are not known.
        masks: scores by name of the mask, for masks that were predicted and are known.
    """

    n_galaxies: int
    left_out: dict[str, int]
    n_unreadable: int
    votes: dict[str, VoteScores]
    masks: dict[str, MaskScores]


def evaluate(
    predictions_path: PathLike,
    catalog_path: PathLike,
    schema: Schema | None,
    image_root: PathLike | None = None,
    missing_questions_unasked: bool = False,
) -> Scores:
    """Score predictions against the votes and masks of volunteers.

    Galaxies that are in one table only are left out and counted. Images and masks are read one galaxy after the other,
    so the memory does not grow with their number. Masks are compared on the whole image: arms outside the central part
    that the network sees count as missed.

    Args:
        predictions_path: table of predictions: CSV, Parquet or HDF5. Votes, or either mask, may be absent.
        catalog_path: labelled catalogue.
        schema: decision tree; None for the tree in the metadata of the predictions.
        image_root: folder that relative paths in the catalogue start from; by default the folder of the catalogue.
        missing_questions_unasked: accept questions without any column in the catalogue, as asked of nobody.

    Raises:
        FileNotFoundError: a table does not exist.
        ValueError: a table cannot be read or has a wrong value; the tables have no galaxy in common; no label is known
            of what was predicted; or no galaxy with masks can be read.
    """
    return score_pairs(read_pairs(predictions_path, catalog_path, schema, image_root, missing_questions_unasked))


def score_pairs(pairs: Pairs) -> Scores:
    """Score predictions that are joined with their labels; see `evaluate`."""
    votes = {}
    if pairs.predicted_votes is not None and pairs.schema is not None and pairs.votes.any():
        predicted = pairs.predicted_votes
        votes = score_votes(predicted.fraction, predicted.concentrations, pairs.votes, pairs.schema)
    masks, n_unreadable = _score_masks(pairs)
    if not votes and not masks:
        raise ValueError(
            f"none of the {len(pairs.catalog)} galaxies that are in both tables has labels of the kind that was "
            "predicted; the catalogue must have votes or masks for some of them"
        )
    return Scores(len(pairs.catalog), pairs.left_out, n_unreadable, votes=votes, masks=masks)


def summary(scores: Scores) -> str:
    """Format the scores as a few lines of text."""
    lines = [f"{scores.n_galaxies} galaxies"]
    for name, mask in scores.masks.items():
        lines.append(
            f"{name}: IoU {mask.iou:.3f} (brightness baseline {mask.brightness_iou:.3f}), mean error {mask.mae:.4f} "
            f"(blank mask {mask.blank_mae:.4f}), {mask.n_galaxies} galaxies"
        )
    if votes := scores.votes.get("all"):
        lines.append(
            f"votes: mean error of fractions {votes.mae:.4f}, {votes.gain:.0%} below always predicting the mean "
            f"({votes.mean_mae:.4f}), {votes.times_floor:.2f} times the noise floor "
            f"({votes.noise_floor:.4f}); {100 * INTERVAL_LEVEL:.0f} % intervals hold {votes.coverage:.0%}, "
            f"{votes.n_galaxies} galaxies"
        )
    return "\n".join(lines)


def _score_masks(pairs: Pairs) -> tuple[dict[str, MaskScores], int]:
    """Scores by name of the mask, and the number of galaxies that cannot be read."""
    sums = {name: MaskSums() for name in pairs.predicted_masks}
    chosen = pairs.comparable_masks().nonzero()[0]
    failures = []
    for index in tqdm(chosen, desc="scoring masks", unit="galaxy", disable=None):
        try:
            pictures = pairs.read_pictures(index)
        except ImageError as error:
            log.warning("galaxy left out of the scores of masks: %s", error)
            failures.append(error)
            continue
        brightness = smoothed_brightness(pictures.image)
        for name in pictures.predicted.keys() & pictures.true.keys():
            sums[name].add(pictures.predicted[name], pictures.true[name], brightness)
    if failures and len(failures) == len(chosen):
        raise ValueError(
            f"none of the {len(chosen)} galaxies with masks can be read; the first error is: {failures[0]}"
        )
    return {name: total.scores() for name, total in sums.items() if total.n_galaxies}, len(failures)
