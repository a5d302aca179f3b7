"""Simulation of active learning: iterations one after the other, with an oracle that answers at once or later."""

from pathlib import Path
from typing import Any

from zoobot3d_tf.active_learning.database import open_database
from zoobot3d_tf.active_learning.instructions import Instructions
from zoobot3d_tf.active_learning.iteration import run_iteration
from zoobot3d_tf.active_learning.metrics import read_metrics
from zoobot3d_tf.files import PathLike
from zoobot3d_tf.progress import Progress

N_ITERATIONS = 5
"""Number of iterations, by default."""


def run_simulation(instructions_dir: PathLike, n_iterations: int = N_ITERATIONS) -> list[dict[str, Any]]:
    """Run iterations until their number is reached. Finished iterations are kept, an unfinished one is continued.

    Args:
        instructions_dir: folder of the settings, as `plan.create_instructions` returns it.
        n_iterations: number of iterations, with those that were run before. Their folders are `iteration_0`,
            `iteration_1`, ... in the folder of the experiment.

    Returns:
        Metrics of each iteration; see `iteration.run_iteration`.

    Raises:
        ValueError: `n_iterations` is below 1, the experiment is not simulated, or as `run_iteration`.
        OSError: as `run_iteration`.
    """
    if n_iterations < 1:
        raise ValueError(f"n_iterations must be at least 1; received {n_iterations}")
    instructions = Instructions.load(instructions_dir)
    if instructions.panoptes is not None:
        raise ValueError(f"{instructions_dir}: asks volunteers, who take time; run one iteration after the other")
    previous: Path | str = ""
    metrics = []
    for number in Progress(range(n_iterations), unit="iteration"):
        folder = instructions.experiment_dir / f"iteration_{number}"
        metrics.append(run_iteration(instructions_dir, folder, previous))
        previous = folder
    return metrics


def finished_iterations(instructions: Instructions) -> list[dict[str, Any]]:
    """Metrics of all finished iterations, in order.

    Args:
        instructions: instructions of the experiment.

    Raises:
        FileNotFoundError: the database or the metrics of an iteration are missing.
        ValueError: a file is damaged.
    """
    with open_database(instructions.db_loc) as database:
        folders = [row.folder for row in database.iterations() if row.state == "finished"]
    return [read_metrics(instructions.experiment_dir / folder) for folder in folders]
