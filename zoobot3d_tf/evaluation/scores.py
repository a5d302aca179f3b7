"""All scores of a set of predictions, from two tables on disk."""

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
    """How good predictions are.

    Attributes:
        n_galaxies: with both a prediction and labels.
        n_only_predicted: left out because the catalogue lacks them.
        n_only_in_catalog: left out because the predictions lack them.
        n_unreadable: left out of the scores of masks because an image or a mask cannot be read.
        votes: by question, and under 'all'; empty if votes were not predicted, or not asked for of these galaxies.
        masks: by name, `spiral_mask` and `bar_mask`; only those that were both predicted and known.
    """

    n_galaxies: int
    n_only_predicted: int
    n_only_in_catalog: int
    n_unreadable: int
    votes: dict[str, VoteScores]
    masks: dict[str, MaskScores]


def evaluate(
    predictions_path: PathLike,
    catalog_path: PathLike,
    schema: Schema,
    image_root: PathLike | None = None,
    missing_questions_unasked: bool = False,
) -> Scores:
    """Score predictions against what volunteers said.

    Images and masks are read one galaxy after the other, so that memory does not grow with their number. Masks are
    compared on the whole image: arms outside the part that a network saw count as missed.

    Args:
        predictions_path: CSV or Parquet, as the predictions stage writes it. Votes, or either mask, may be absent.
        catalog_path: the labelled catalogue; galaxies which stand in one table only are left out, and counted.
        schema: the decision tree.
        image_root: where relative paths of the catalogue start from; by default its folder.
        missing_questions_unasked: take questions without any column in the catalogue as asked of nobody.

    Raises:
        FileNotFoundError: there is no such table.
        ValueError: a table is wrong, they have no galaxy in common, nothing was predicted that is known, or no image of
            a galaxy with masks can be read.
    """
    return score_pairs(read_pairs(predictions_path, catalog_path, schema, image_root, missing_questions_unasked))


def score_pairs(pairs: Pairs) -> Scores:
    """Score predictions that are already joined with their labels; see `evaluate`."""
    votes = {}
    if pairs.predicted_votes is not None and pairs.votes.any():
        predicted = pairs.predicted_votes
        votes = score_votes(predicted.fraction, predicted.concentrations, pairs.votes, pairs.schema)
    masks, n_unreadable = _score_masks(pairs)
    if not votes and not masks:
        raise ValueError(
            f"of the {len(pairs.catalog)} galaxies that are in both tables, none has a label of what was predicted"
        )
    return Scores(
        len(pairs.catalog), pairs.n_only_predicted, pairs.n_only_in_catalog, n_unreadable, votes=votes, masks=masks
    )


def summary(scores: Scores) -> str:
    """The scores in a few lines of plain text."""
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
    """Scores of the masks by name, and how many galaxies could not be read."""
    sums = {name: MaskSums() for name in pairs.predicted_masks}
    chosen = pairs.comparable_masks().nonzero()[0]
    failures = []
    for index in tqdm(chosen, desc="scoring masks", unit="galaxy", disable=None):
        try:
            pictures = pairs.read_pictures(index)
        except ImageError as error:
            log.warning("left out: %s", error)
            failures.append(error)
            continue
        brightness = smoothed_brightness(pictures.image)
        for name in pictures.predicted.keys() & pictures.true.keys():
            sums[name].add(pictures.predicted[name], pictures.true[name], brightness)
    if failures and len(failures) == len(chosen):
        raise ValueError(f"none of the {len(chosen)} galaxies with masks can be read, the first because: {failures[0]}")
    return {name: total.scores() for name, total in sums.items() if total.n_galaxies}, len(failures)
