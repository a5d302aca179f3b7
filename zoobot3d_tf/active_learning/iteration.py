"""One iteration of active learning: receive answers, train, predict, choose galaxies, and ask about them.

    <this_iteration_dir>/run/                 the trained model
    <this_iteration_dir>/candidates.parquet   predictions of the galaxies that could be asked about
    <this_iteration_dir>/known.parquet        predictions of the evaluation galaxies, and of those just answered
    <this_iteration_dir>/features.parquet     features of the candidates, for a diverse choice
    <this_iteration_dir>/metrics.json         numbers of galaxies, scores and uncertainty

What is decided is in the database: answers are written before shards grow by them, and galaxies before they are asked.
If an iteration is interrupted, the same call continues it, with the same answers and the same galaxies.
"""

import json
import logging
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from zoobot3d_tf.active_learning.database import Database, open_database
from zoobot3d_tf.active_learning.instructions import Instructions
from zoobot3d_tf.active_learning.metrics import METRICS_NAME, information_of, measure, read_metrics
from zoobot3d_tf.active_learning.plan import Plan
from zoobot3d_tf.files import PathLike, one_owner, path_of, write_atomically
from zoobot3d_tf.inference.inputs import galaxies_in_shards
from zoobot3d_tf.predictions.options import PredictionOptions
from zoobot3d_tf.predictions.predict_galaxies import predict_galaxies
from zoobot3d_tf.representations.features import write_features

log = logging.getLogger(__name__)


def run_iteration(
    instructions_dir: PathLike, this_iteration_dir: PathLike, previous_iteration_dir: PathLike = ""
) -> dict[str, Any]:
    """Run one iteration, or continue it after an interruption.

    Args:
        instructions_dir: folder of the settings, as `plan.create_instructions` returns it.
        this_iteration_dir: folder of the iteration, to fill or to continue.
        previous_iteration_dir: folder of the iteration before; empty for the first.

    Returns:
        Content of `metrics.json`. If the iteration is finished already, nothing else is done.

    Raises:
        ValueError: the folders do not follow each other, or a file is damaged.
        BlockingIOError: another process runs an iteration of this experiment.
        OSError: a file cannot be read or written, or the oracle cannot be reached. Call again to continue.
    """
    plan = Plan.load(instructions_dir)
    instructions, folder = plan.instructions, path_of(this_iteration_dir).absolute()
    previous = path_of(previous_iteration_dir).absolute() if str(previous_iteration_dir) else None
    with one_owner(instructions.experiment_dir), open_database(instructions.db_loc) as database:
        number = _number(database, instructions, folder, previous)
        if _state(database, number) == "finished":
            log.info("%s: iteration %d is finished", folder, number)
            return read_metrics(folder)
        oracle = instructions.get_oracle()
        if not _state(database, number):
            waiting = database.waiting()
            answers = oracle.answers(waiting)
            if waiting:
                log.info("Iteration %d: %d of %d galaxies asked have new answers", number, len(answers), len(waiting))
            folder.mkdir(parents=True, exist_ok=True)
            database.begin(number, _relative(folder, instructions), answers)
        stored = _grow(database, instructions, number)
        run = folder / "run"
        before = None if previous is None else previous / "run"
        plan.training.get()(instructions.shard_dir, run, _seed(instructions, number), before)
        _predict(database, plan, folder, number)
        if _state(database, number) == "begun":
            database.choose(number, _choose(plan, folder, number))
        asked = database.asked_in(number)
        if asked:
            oracle.ask(instructions.galaxies_to_ask(asked))
        else:
            log.warning("Iteration %d: there are no more galaxies to ask about", number)
        metrics = measure(database, instructions, folder, number)
        write_atomically(folder / METRICS_NAME, json.dumps(metrics, indent=1, allow_nan=False) + "\n")
        database.finish(number, stored)
    log.info(
        "Iteration %d: error of vote fractions %.4f with %d labelled galaxies; asked about %d",
        *(number, metrics["scores"]["mae"]["value"], metrics["n_labelled"], len(asked)),
    )
    return metrics


def _number(database: Database, instructions: Instructions, folder: Path, previous: Path | None) -> int:
    """Number of the iteration in a folder, which may be new."""
    rows = database.iterations()
    name = _relative(folder, instructions)
    number = next((row.number for row in rows if row.folder == name), len(rows))
    if number == len(rows) and rows and rows[-1].state != "finished":
        unfinished = rows[-1]
        raise ValueError(
            f"this_iteration_dir must be {instructions.experiment_dir / unfinished.folder}, since iteration "
            f"{unfinished.number} is unfinished; received {folder}"
        )
    before = rows[number - 1].folder if number else ""
    if before != ("" if previous is None else _relative(previous, instructions)):
        expected = instructions.experiment_dir / before if before else "empty for the first iteration"
        raise ValueError(f"previous_iteration_dir must be {expected}; received {previous or 'an empty text'}")
    return number


def _state(database: Database, number: int) -> str:
    """State of an iteration; empty if it has not begun."""
    return next((row.state for row in database.iterations() if row.number == number), "")


def _relative(folder: Path, instructions: Instructions) -> str:
    return Path(os.path.relpath(folder, instructions.experiment_dir)).as_posix()


def _seed(instructions: Instructions, number: int) -> int:
    return instructions.seed + number


def _grow(database: Database, instructions: Instructions, number: int) -> pd.DataFrame:
    """Add the answers of an iteration to the training shards; return where they are stored."""
    from zoobot3d_tf.shards.grow import grow_shards
    from zoobot3d_tf.shards.read import read_votes

    answers = database.answered_in(number).drop(columns="information")
    tables = [pd.DataFrame({"id_str": [], "shard": [], "record": []})]
    if len(answers):
        for path in grow_shards(instructions.shard_dir, f"iteration-{number}", answers):
            ids, _ = read_votes([path])
            shard = path.relative_to(instructions.shard_dir.absolute()).as_posix()
            tables.append(pd.DataFrame({"id_str": ids, "shard": shard, "record": np.arange(len(ids))}))
    return pd.concat(tables, ignore_index=True)


def _predict(database: Database, plan: Plan, folder: Path, number: int) -> None:
    """Predict the candidates, and the galaxies whose votes are known, unless that was done before."""
    instructions, run = plan.instructions, folder / "run"
    options = PredictionOptions(instructions.n_samples, samples=True, seed=instructions.seed)
    unlabelled = galaxies_in_shards(instructions.shard_dir / "unlabelled_shards")
    candidates = unlabelled[unlabelled["id_str"].isin(database.candidates(number))].reset_index(drop=True)
    answered = unlabelled[unlabelled["id_str"].isin(database.answered_in(number)["id_str"])]
    known = pd.concat([galaxies_in_shards(instructions.shard_dir / "eval_shards"), answered], ignore_index=True)
    for name, galaxies in (("known", known), ("candidates", candidates)):
        if len(galaxies) and not (folder / f"{name}.parquet").is_file():
            predict_galaxies(galaxies, run, folder / f"{name}.parquet", options)
    features = folder / "features.parquet"
    if plan.acquisition.diverse and len(candidates) and not features.is_file():
        write_features(candidates, run, features)


def _choose(plan: Plan, folder: Path, number: int) -> pd.DataFrame:
    """Galaxies to ask about: `id_str`, `rank`, `score` and `information`."""
    table = folder / "candidates.parquet"
    if not table.is_file():
        return pd.DataFrame({"id_str": [], "rank": [], "score": [], "information": []})
    features = folder / "features.parquet" if plan.acquisition.diverse else None
    chosen = plan.acquisition.get()(
        table, plan.instructions.subjects_per_iter, _seed(plan.instructions, number), features
    )
    return chosen.assign(information=chosen["id_str"].map(information_of(table)))
