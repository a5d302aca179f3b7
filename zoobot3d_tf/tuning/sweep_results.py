"""Results of a sweep: the scores of its trials, as tables and as a plot."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from zoobot3d_tf.extras import is_installed
from zoobot3d_tf.files import write_atomically
from zoobot3d_tf.images.masks import MASKS
from zoobot3d_tf.runs.run_folder import HISTORY_NAME, read_run
from zoobot3d_tf.tables.formats import write_table
from zoobot3d_tf.tuning.sweep_config import Space

if TYPE_CHECKING:
    import optuna

_METRICS = {"votes": "fraction_mae"} | dict.fromkeys(MASKS, "iou")

log = logging.getLogger(__name__)


def trial_folder(out: Path, number: int) -> Path:
    """Path of the run folder of a trial in the folder of its sweep."""
    return out / "trials" / f"{number:04}"


def validation_errors(run: Path) -> dict[str, float]:
    """Find the errors of the epoch that a run has kept, on its validation galaxies.

    They do not depend on the losses that were trained, unlike the validation losses.

    Args:
        run: run folder of a finished run.

    Returns:
        For votes, the mean absolute error of vote fractions; for each mask, one minus the overlap (IoU).
    """
    tasks = read_run(run).model.tasks
    history = pd.read_csv(run / HISTORY_NAME)
    kept = history.to_dict("records")[int(history["val_loss"].argmin())]
    errors = {}
    for task in tasks:
        if metric := _METRICS.get(task):
            # Keras omits the name of the task if there is only one task.
            value = float(kept[f"val_{task}_{metric}" if len(tasks) > 1 else f"val_{metric}"])
            errors[task] = 1 - value if task in MASKS else value
    return errors


def score(run: Path, weights: Mapping[str, float]) -> float:
    """Compute the score of a trial, which is low for a good one: the weighted mean of the errors of its tasks.

    Args:
        run: run folder of a finished run.
        weights: factor of the error of each task.

    Raises:
        ValueError: the run has no task with a weight.
    """
    errors = {task: error for task, error in validation_errors(run).items() if weights.get(task)}
    if not errors:
        raise ValueError(f"{run}: has none of the tasks that the weights of the sweep name: {', '.join(weights)}")
    return sum(weights[task] * error for task, error in errors.items()) / sum(weights[task] for task in errors)


def result_table(study: "optuna.Study", out: Path, weights: Mapping[str, float]) -> pd.DataFrame:
    """List the finished trials, the best first, and the failed ones last.

    Returns:
        Table with the columns `trial`, `score`, the error of each task, each option that was searched, and `run`, the
        run folder in the folder of the sweep.
    """
    rows = []
    for trial in study.trials:
        if trial.state.is_finished():
            run = trial_folder(out, trial.number)
            errors = validation_errors(run) if trial.value is not None else {}
            named = {f"{task}_error": error for task, error in errors.items()}
            place = str(run.relative_to(out))
            rows.append({"trial": trial.number, "score": trial.value} | named | trial.params | {"run": place})
    table = pd.DataFrame(rows, columns=None if rows else ["trial", "score", "run"])
    table["score"] = table["score"].astype(float)
    return table.sort_values("score", kind="stable", ignore_index=True)


def write_tables(results: pd.DataFrame, out: Path) -> str:
    """Write `results.csv` and `results.md`; return the text of the latter."""
    write_table(results, out / "results.csv")
    rows = [[_cell(value) for value in row] for row in results.itertuples(index=False)]
    lines = [f"| {' | '.join(row)} |" for row in [list(results.columns), ["---"] * len(results.columns), *rows]]
    text = "\n".join(lines) + "\n"
    write_atomically(out / "results.md", text)
    return text


def draw_results(results: pd.DataFrame, space: Space, out: Path) -> None:
    """Draw the scores over each option that was searched, if matplotlib is installed."""
    if not is_installed("matplotlib"):
        log.warning("No plot is drawn, since matplotlib is not installed: pip install 'zoobot3d_tf[plots]'")
        return
    from zoobot3d_tf.tuning.sweep_plot import draw_sweep

    draw_sweep(results.dropna(subset="score"), space, [out / f"results.{suffix}" for suffix in ("png", "pdf")])


def _cell(value: object) -> str:
    if isinstance(value, float):
        return "failed" if value != value else f"{value:.4g}"
    return str(value)
