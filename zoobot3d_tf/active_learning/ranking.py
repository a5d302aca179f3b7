"""Rank the galaxies of a table of predictions by an acquisition function, for those who only want a list.

The table is read piece by piece. Memory holds one piece and the galaxies that may get into the list.
"""

import logging
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from zoobot3d_tf.active_learning.acquisition import acquire, choose, mask_entropy
from zoobot3d_tf.active_learning.options import MASK_ENTROPY, POOL, RANKINGS, AcquisitionOptions
from zoobot3d_tf.failures import MAX_FAILED, may_fail
from zoobot3d_tf.files import PathLike, path_of
from zoobot3d_tf.images.image_file import ImageError
from zoobot3d_tf.machine import available_cores
from zoobot3d_tf.predictions.mask_files import read_mask_file
from zoobot3d_tf.predictions.prediction_tables import NO_SAMPLES, Predictions, iterate_predictions
from zoobot3d_tf.progress import Progress
from zoobot3d_tf.representations.vectors import VectorTable, open_vectors, rows_of
from zoobot3d_tf.schemas import Schema
from zoobot3d_tf.tables.formats import check_writable, write_table
from zoobot3d_tf.tables.parquet_pieces import naming_file

log = logging.getLogger(__name__)


def rank_galaxies(
    table_loc: PathLike,
    by: str,
    n: int,
    *,
    out: PathLike | None = None,
    features_loc: PathLike | None = None,
    schema: Schema | None = None,
    options: AcquisitionOptions | None = None,
) -> pd.DataFrame:
    """Find the galaxies of a table that volunteers should be asked about next.

    Args:
        table_loc: table of predictions, in any format that `predict_galaxies` writes with samples.
        by: one of `options.RANKINGS`.
        n: number of galaxies to list.
        out: table to write: CSV, Parquet, FITS or ECSV; None to write nothing.
        features_loc: table of features or components of these galaxies, for a diverse list; see `acquisition.choose`.
            None for the highest scores.
        schema: decision tree of the predicted votes; by default the one that the metadata beside the table name.
        options: options of the acquisition function.

    Returns:
        One row per galaxy: `rank`, from 1; `id_str`; `score`, see `acquisition.acquire`; and `file_loc`, if the table
        has it. With features, the rows are in the order in which the galaxies were chosen.

    Raises:
        ValueError: an argument is impossible; the table is damaged, has too few galaxies, a galaxy of the list in two
            rows, or no columns that the acquisition function needs; the decision tree is unknown or another one; too
            many masks cannot be read; or a galaxy has no features.
        OSError: a file does not exist or cannot be written.
    """
    table_loc, options = path_of(table_loc), options or AcquisitionOptions()
    if by not in RANKINGS:
        raise ValueError(f"by must be one of {', '.join(RANKINGS)}; received {by!r}")
    if n < 1:
        raise ValueError(f"n must be at least 1; received {n}")
    if out is not None:
        check_writable(out)
        if path_of(out).resolve() == table_loc.resolve():
            raise ValueError(f"{out}: is the table to read; choose another name for the list")
    features = None if features_loc is None else _open_features(path_of(features_loc))
    best = _best(table_loc, by, n if features is None else POOL * n, schema, options)
    if len(best) < n:
        raise ValueError(f"{table_loc}: n must be at most the number of galaxies, {len(best)}; received {n}")
    repeated = best["id_str"][best["id_str"].duplicated()]
    if len(repeated):
        raise ValueError(f"{table_loc}: the galaxy {repeated.iloc[0]!r} is in two rows; id_str must be unique")
    vectors = None if features is None else rows_of(features, list(best["id_str"]))[1]
    ranked = best.iloc[choose(best["score"].to_numpy(), n, vectors)].reset_index(drop=True)
    ranked.insert(0, "rank", np.arange(1, n + 1))
    if out is not None:
        write_table(ranked, out)
    return ranked


def _best(path: Path, by: str, most: int, schema: Schema | None, options: AcquisitionOptions) -> pd.DataFrame:
    """Galaxies with the highest scores, the highest first: `id_str`, `score` and, if the table has it, `file_loc`."""
    # One generator for all pieces: their sizes then do not change the random order.
    options = replace(options, seed=np.random.default_rng(options.seed))
    best, n_seen, faults = pd.DataFrame(), 0, list[str]()
    with Progress(unit="galaxy", unit_scale=True) as bar:
        for piece in iterate_predictions(path):
            scores = (
                _mask_scores(path, piece, faults) if by == MASK_ENTROPY else _scores(path, by, piece, schema, options)
            )
            known = piece.table[[name for name in ("id_str", "file_loc") if name in piece.table]]
            scored = known.assign(score=scores).dropna(subset=["score"])
            n_seen += len(known)
            best = pd.concat([best, scored]).sort_values("score", ascending=False, kind="stable").head(most)
            bar.update(len(known))
    if len(faults) > may_fail(n_seen, MAX_FAILED):
        raise ValueError(f"{path}: the masks of {len(faults)} of {n_seen} galaxies cannot be used; first: {faults[0]}")
    for fault in faults:
        log.warning("left out: %s", fault)
    return best[["id_str", "score", *(name for name in ["file_loc"] if name in best)]]


def _scores(path: Path, by: str, piece: Predictions, schema: Schema | None, options: AcquisitionOptions) -> np.ndarray:
    if piece.concentrations is None:
        raise ValueError(f"{path}: {NO_SAMPLES}, which {by} needs; for masks choose {MASK_ENTROPY}")
    if schema is not None and piece.schema is not None and schema.label_cols != piece.schema.label_cols:
        raise ValueError(f"{path}: its votes are those of {piece.schema!r}, not of {schema!r}; leave out schema")
    tree = piece.schema or schema
    if tree is None:
        raise ValueError(f"{path}: no metadata beside it name the decision tree of its votes; give schema")
    return acquire(by, piece.concentrations, tree, options)


def _mask_scores(path: Path, piece: Predictions, faults: list[str]) -> np.ndarray:
    """Scores of the masks of galaxies, NaN where a mask cannot be used; the reasons are added to `faults`."""
    columns = [str(name) for name in piece.table if str(name).endswith("_mask_loc")]
    if not columns:
        raise ValueError(f"{path}: has no predicted masks, which {MASK_ENTROPY} needs; predict with masks")

    def score(galaxy: tuple[str, ...]) -> float | str:
        id_str, *locs = galaxy
        try:
            return sum(float(mask_entropy(read_mask_file(str(path.parent / loc)))) for loc in locs)
        except ImageError as error:
            return f"{id_str}: {error}"

    with ThreadPoolExecutor(available_cores()) as pool:
        found = list(pool.map(score, piece.table[["id_str", *columns]].itertuples(index=False, name=None)))
    faults += [fault for fault in found if isinstance(fault, str)]
    return np.array([np.nan if isinstance(one, str) else one for one in found])


def _open_features(path: Path) -> VectorTable:
    """Open a table of features, or of components if it has such columns."""
    kind = "feature"
    if path.is_file():
        with naming_file(path):
            if any(re.fullmatch(r"component_\d{4,}", name) for name in pq.read_schema(path).names):
                kind = "component"
    return open_vectors(path, kind)
