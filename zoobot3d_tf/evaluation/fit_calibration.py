"""Fit the calibration of a run to galaxies that it did not learn from; see `runs.calibration`."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from zoobot3d_tf.catalogs.training_catalog import read_training_catalog
from zoobot3d_tf.data.framing import warp_to_image
from zoobot3d_tf.evaluation.calibration import fit_scales, predictive_coverage, scaled
from zoobot3d_tf.evaluation.evaluate import LabelledGalaxies, galaxies_in_eval_shards, predict_labelled, without_seen
from zoobot3d_tf.evaluation.masks import calibration_error, fit_mask_map, level_sums
from zoobot3d_tf.evaluation.pairs import Pairs, read_pairs, true_masks
from zoobot3d_tf.files import PathLike, path_of, sha256_of, workspace
from zoobot3d_tf.hub_files import is_on_hub
from zoobot3d_tf.images.read import ImageError
from zoobot3d_tf.predictions.mask_files import read_mask_file
from zoobot3d_tf.predictions.options import PredictionOptions
from zoobot3d_tf.runs.calibration import FACTOR_RANGE, Calibration, MaskMap, write_calibration
from zoobot3d_tf.runs.run_folder import SHIPPED, TrainedRun, read_run
from zoobot3d_tf.runs.seen import SEEN_NAME, read_seen
from zoobot3d_tf.schemas import Schema
from zoobot3d_tf.version import __version__

N_FOLDS = 5
"""Number of parts of the galaxies. The scores of each part are those of a calibration that was fitted to the others."""

_DEFAULTS = PredictionOptions()
_N_LEVELS = 256  # of files of predicted masks

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FittedCalibration:
    """A calibration, and how well it works for galaxies that were not used to fit it.

    The scores "after" are cross-validated: each of `N_FOLDS` parts of the galaxies is scored with a calibration fitted
    to the other parts.

    Attributes:
        calibration: calibration, fitted to all galaxies.
        votes: one row per question that was asked: `question`, `galaxies` (number with votes on it), `factor`, and
            `before` and `after`, the share of the votes in their 90 % intervals; see `predictive_coverage`.
        masks: one row per mask that is known: `mask`, `galaxies`, and `before` and `after`, the `calibration_error`.
    """

    calibration: Calibration
    votes: pd.DataFrame
    masks: pd.DataFrame


def calibrate_run(
    run_folder: PathLike,
    shards: Sequence[PathLike] = (),
    catalog: PathLike | None = None,
    *,
    schema: Schema | None = None,
    image_root: PathLike | None = None,
    missing_questions_unasked: bool = False,
    tasks: Sequence[str] | None = None,
    n_samples: int = _DEFAULTS.n_samples,
    batch_size: int = _DEFAULTS.batch_size,
    engine: str = _DEFAULTS.engine,
    seed: int = _DEFAULTS.seed,
) -> FittedCalibration:
    """Predict galaxies with votes or masks of volunteers, fit the calibration, and write it to the run folder.

    Galaxies on which the run, or the run that it began with, was trained are left out.

    Args:
        run_folder: run folder of a finished run.
        shards: shard folders, whose validation galaxies are used; or folders of shards in them.
        catalog: labelled catalogue, instead of shards.
        schema: decision tree of the catalogue; that of the run if None. Votes on another tree are converted, as in
            `read_pairs`.
        image_root: folder that relative paths in the catalogue start from; by default the folder of the catalogue.
        missing_questions_unasked: accept questions without any column in the catalogue, as asked of nobody.
        tasks: outputs to calibrate, of the run's tasks "votes", "spiral_mask" and "bar_mask"; all by default.
        n_samples: number of dropout samples per galaxy.
        batch_size: number of galaxies per step on a GPU.
        engine: program that runs the network; see `PredictionOptions`.
        seed: random seed of the dropout.

    Returns:
        The calibration, with scores before and after.

    Raises:
        ValueError: the run predicts neither votes nor masks, the galaxies do not fit it, or none remains.
        OSError: a file does not exist, or the run folder cannot be written.
    """
    run = _own_run(run_folder)
    if bool(shards) == (catalog is not None):
        raise ValueError(f"either shards or catalog must be given; received {'both' if shards else 'neither'}")
    if unknown := set(tasks or ()) - set(run.model.tasks):
        raise ValueError(f"tasks must be of {', '.join(run.model.tasks)}; received {min(unknown)!r}")
    chosen = tasks or run.model.tasks
    weights_sha256 = sha256_of(run.weights_loc)
    options = PredictionOptions(n_samples, batch_size=batch_size, engine=engine, seed=seed, no_calibration=True)
    with workspace(run.folder / "calibration") as folder:
        places = [folder / str(i) for i in range(len(shards) or 1)]
        if catalog is None:
            sets = [_in_shards(each, place) for each, place in zip(shards, places, strict=True)]
        else:
            root = None if image_root is None else path_of(image_root)
            sets = [LabelledGalaxies(path_of(catalog), schema, root, missing_questions_unasked)]
        pairs = []
        for labelled, place in zip(sets, places, strict=True):
            place.mkdir(exist_ok=True)
            pairs.append(_not_seen(_predicted(labelled, run, place, options), run))
        sums = _mask_sums(pairs, run)
    # The last two names tell what it is; where the folder lay means nothing to others.
    used = [*shards, *([] if catalog is None else [catalog])]
    source = ", ".join("/".join(path_of(each).absolute().parts[-2:]) for each in used)
    n_galaxies = sum(int((each.votes.any(axis=1) | (each.comparable_masks() > 0)).sum()) for each in pairs)
    if not n_galaxies:
        raise ValueError(f"{source}: no galaxy has votes or masks of the kinds that {run.folder} predicts")
    factors: dict[str, float] = {}
    of_votes = pd.DataFrame()
    if run.model.vote_schema is not None and "votes" in chosen:
        concentrations = np.concatenate([each.predicted_votes.concentrations for each in pairs if each.predicted_votes])
        votes = np.concatenate([each.votes for each in pairs])
        factors, of_votes = fit_votes(concentrations, votes, run.model.vote_schema)
    maps, of_masks = fit_masks({name: sum_ for name, sum_ in sums.items() if name in chosen})
    calibration = Calibration(factors, maps, weights_sha256, n_galaxies, n_samples, source, __version__)
    write_calibration(run.folder, calibration)
    return FittedCalibration(calibration, of_votes, of_masks)


def fit_votes(concentrations: np.ndarray, votes: np.ndarray, schema: Schema) -> tuple[dict[str, float], pd.DataFrame]:
    """Fit the factors of the concentrations.

    Args:
        concentrations: concentrations, > 0, shape (galaxies, answers, samples).
        votes: numbers of votes, shape (galaxies, answers).
        schema: decision tree.

    Returns:
        Factor by the text of the question, and the table `FittedCalibration.votes`.
    """
    factors = _factors(concentrations, votes, schema)
    after = np.full(votes.shape, np.nan)
    for fold, others in _folds(len(votes)):
        of_others = _factors(concentrations[others], votes[others], schema)
        after[fold] = predictive_coverage(scaled(concentrations[fold], of_others, schema), votes[fold], schema)
    before = predictive_coverage(concentrations, votes, schema)
    n_asked = (schema.sum_by_question(votes) > 0).sum(axis=0)
    scores = [
        {
            "question": question.text,
            "galaxies": int(n_asked[index]),
            "factor": factors[index],
            "before": np.nanmean(before[:, part]),
            "after": np.nanmean(after[:, part]),
        }
        for index, (question, part) in enumerate(zip(schema.questions, schema.slices, strict=True))
        if n_asked[index]
    ]
    texts = [question.text for question in schema.questions]
    return dict(zip(texts, factors.tolist(), strict=True)), pd.DataFrame(scores)


def fit_masks(sums: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> tuple[dict[str, MaskMap], pd.DataFrame]:
    """Fit the maps of masks.

    Args:
        sums: by the name of the mask, the number of pixels at each level of the predicted fraction and the sum of their
            observed fractions, shape (galaxies, 256) each; see `masks.level_sums`.

    Returns:
        Map by the name of the mask, and the table `FittedCalibration.masks`.
    """
    maps, scores = {}, []
    for name, (pixels, observed) in sums.items():
        maps[name] = _mask_map(pixels, observed)
        after = np.zeros((2, _N_LEVELS))
        for fold, others in _folds(len(pixels)):
            fractions = _mask_map(pixels[others], observed[others])(np.linspace(0, 1, _N_LEVELS))
            levels = np.rint(fractions * (_N_LEVELS - 1)).astype(int)
            for mapped, values in zip(after, (pixels, observed), strict=True):
                mapped += np.bincount(levels, values[fold].sum(axis=0), _N_LEVELS)
        scores.append(
            {
                "mask": name,
                "galaxies": len(pixels),
                "before": float(calibration_error(pixels.sum(axis=0), observed.sum(axis=0))),
                "after": float(calibration_error(*after)),
            }
        )
    return maps, pd.DataFrame(scores)


def _factors(concentrations: np.ndarray, votes: np.ndarray, schema: Schema) -> np.ndarray:
    return np.clip(fit_scales(concentrations, votes, schema), *FACTOR_RANGE)


def _mask_map(pixels: np.ndarray, observed: np.ndarray) -> MaskMap:
    x, y = fit_mask_map(pixels, observed)
    return MaskMap(tuple(x.tolist()), tuple(y.tolist()))


def _folds(n_galaxies: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Divide galaxies at random into parts; yield whether each galaxy is in the part, and whether in the others."""
    part_of = np.random.default_rng(0).permutation(n_galaxies) % N_FOLDS
    for part in range(N_FOLDS):
        yield part_of == part, part_of != part


def _own_run(run_folder: PathLike) -> TrainedRun:
    """Read a run to whose folder a calibration can be written."""
    if is_on_hub(run_folder) or run_folder == SHIPPED:
        raise ValueError(
            f"{run_folder}: is not a folder of yours, so that no calibration can be written to it; copy it first, with "
            f"`zoobot3d pack {run_folder} --out FOLDER`"
        )
    run = read_run(run_folder)
    if run.model.vote_schema is None and not run.model.masks:
        raise ValueError(f"{run.folder}: predicts neither votes nor masks, so that there is nothing to calibrate")
    return run


def _in_shards(shards: PathLike, folder: Path) -> LabelledGalaxies:
    labelled = galaxies_in_eval_shards(shards, folder)
    return replace(labelled, missing_questions_unasked=labelled.schema is None)


def _predicted(labelled: LabelledGalaxies, run: TrainedRun, folder: Path, options: PredictionOptions) -> Pairs:
    """Predict labelled galaxies, and join the predictions with what volunteers said."""
    known = (labelled.image_root, labelled.missing_questions_unasked)
    # A fault of the catalogue is found before the galaxies are predicted.
    read_training_catalog(labelled.catalog, labelled.schema or run.model.vote_schema, *known)
    table_loc = predict_labelled([run.folder], labelled, folder, options)
    return read_pairs(table_loc, labelled.catalog, labelled.schema, *known)


def _not_seen(pairs: Pairs, run: TrainedRun) -> Pairs:
    """Leave out galaxies that the network has learned, for which its predictions are too good."""
    seen = read_seen(run.folder)
    if seen is None:
        log.warning(
            "%s: has no %s; if the run was trained on some of these galaxies, the intervals will be too narrow",
            run.folder,
            SEEN_NAME,
        )
        return pairs
    others, _ = without_seen(pairs, seen, run.folder.name)
    n_all = len(pairs.catalog)
    if n_seen := n_all - len(others.catalog):
        log.warning("%d of %d galaxies are left out: the run was trained on them", n_seen, n_all)
    return others


def _mask_sums(pairs: Sequence[Pairs], run: TrainedRun) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Pixels and observed fractions by predicted level, (galaxies, 256) each, for each mask that is known."""
    sums: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {name: [] for name in run.model.masks}
    unread = []
    for each in pairs:
        for index in np.flatnonzero(each.comparable_masks()):
            try:
                predicted = {name: read_mask_file(locs[index]) for name, locs in each.predicted_masks.items()}
                shape = next(iter(predicted.values())).shape
                known = true_masks(each.catalog.iloc[index], shape)
            except ImageError as error:
                unread.append(str(error))
                continue
            # Outside the part that the network sees, the mask is 0, which no map can correct.
            seen = warp_to_image(np.ones((run.framing.final_size,) * 2, np.float32), run.framing, shape) > 0.99
            for name in predicted.keys() & known.keys():
                sums[name].append(level_sums(predicted[name][seen], known[name][seen]))
    if unread:
        log.warning("the masks of %d galaxies cannot be read, and are left out; the first: %s", len(unread), unread[0])
    return {
        name: (np.array([pixels for pixels, _ in of_mask]), np.array([observed for _, observed in of_mask]))
        for name, of_mask in sums.items()
        if of_mask
    }
