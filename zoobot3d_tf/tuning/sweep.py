"""A sweep: many trainings with other hyperparameters, chosen by Optuna from the scores of those before.

Each trial is a training in a process of its own, which ends with the sweep. Finished trials are kept, and an
interrupted one continues after its last epoch.
"""

import json
import logging
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoobot3d_tf.extras import require
from zoobot3d_tf.files import PathLike, one_owner, path_of, read_json_object, write_atomically
from zoobot3d_tf.machine import in_own_processes
from zoobot3d_tf.messages import show_messages
from zoobot3d_tf.progress import Progress
from zoobot3d_tf.training.training_config import config_from_folders
from zoobot3d_tf.tuning.sweep_config import Space, Sweep
from zoobot3d_tf.tuning.sweep_results import draw_results, result_table, score, trial_folder, write_tables

if TYPE_CHECKING:
    import optuna

SETTINGS_NAME = "settings.json"
STUDY_NAME = "trials.db"
LOG_NAME = "log.txt"
MAX_FAILED_AT_FIRST = 3
"""Number of trials that may fail before one succeeds."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Trial:
    """One training of a sweep.

    Attributes:
        number: number of the trial, from 0.
        run: its run folder.
        arguments: arguments of `config_from_folders`, without the run folder.
    """

    number: int
    run: Path
    arguments: Mapping[str, Any]


def run_sweep(sweep: Sweep, space: Space, out: PathLike, trials: int | None = None, workers: int = 1) -> str:
    """Train the trials of a sweep, and write its table and plot.

    The folder receives `results.csv`, `results.md`, `results.png` and `.pdf` (if matplotlib is installed), `trials.db`
    with the state of Optuna, `settings.json`, and the run folders of the trials in `trials/`. To continue an
    interrupted sweep, or to add trials, call this again. Checkpoints of finished trials are removed.

    Args:
        sweep: configuration of the sweep.
        space: its trials; see `read_sweep`.
        out: folder to fill, or to continue.
        trials: number of trials, including finished ones; by default that of the configuration.
        workers: number of trials that are trained at the same time.

    Returns:
        The text of `results.md`.

    Raises:
        ValueError: a setting is impossible, the folder has a sweep with other settings, or the first trials all fail.
        BlockingIOError: another process writes the folder.
        ImportError: optuna is not installed.
        OSError: a file cannot be read or written.
        ChildProcessError: a training died, for example for lack of memory.
    """
    require("optuna", "a sweep")
    out = path_of(out).absolute()
    config_from_folders(**space.first(), experiment_dir=out)
    n_trials = trials or sweep.trials
    with one_owner(out):
        _claim_folder(sweep, out)
        study = _open_study(sweep, out)
        n_finished = len(study.trials) - len(_running(study))
        log.info("%d of %d trials are finished", n_finished, n_trials)
        with (
            closing(in_own_processes(train_trial, _todo(study, space, out, n_trials), workers)) as outcomes,
            Progress(total=n_trials, initial=n_finished, unit="trial") as bar,
        ):
            for trial, failure in outcomes:
                _tell(study, trial, failure, sweep.weights)
                write_tables(result_table(study, out, sweep.weights), out)
                bar.update()
        results = result_table(study, out, sweep.weights)
        draw_results(results, space, out)
        return write_tables(results, out)


def train_trial(trial: Trial) -> str:
    """Train a trial in the process that calls this. All messages are appended to `log.txt` in its run folder.

    Returns:
        Why the trial has no score: its loss became NaN or infinite. Empty if it has one.
    """
    trial.run.mkdir(parents=True, exist_ok=True)
    with (trial.run / LOG_NAME).open("a") as file:
        for stream in (sys.stdout, sys.stderr):  # TensorFlow writes to these without Python
            os.dup2(file.fileno(), stream.fileno())
    show_messages()
    try:
        config_from_folders(**trial.arguments, experiment_dir=trial.run).run_estimator()
    except FloatingPointError as error:
        return str(error)
    finally:
        sys.stdout.flush()
    shutil.rmtree(trial.run / "checkpoints", ignore_errors=True)  # a killed sweep may have removed them
    return ""


def _claim_folder(sweep: Sweep, out: Path) -> None:
    """Write the settings to the folder, unless it has a sweep with other settings. More trials may be added."""
    path = out / SETTINGS_NAME
    new = json.loads(json.dumps({"train": sweep.train, "search": sweep.search, "weights": sweep.weights}))
    if path.is_file():
        old = read_json_object(path, "settings of a sweep")
        if changed := [name for name in new if old.get(name) != new[name]]:
            raise ValueError(
                f"{out}: has a sweep with other settings ({', '.join(changed)}); repeat its settings to continue it, "
                "or choose another folder"
            )
    write_atomically(path, json.dumps(new, indent=1) + "\n")


def _open_study(sweep: Sweep, out: Path) -> "optuna.Study":
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = optuna.storages.RDBStorage(f"sqlite:///{out / STUDY_NAME}")
    study = optuna.create_study(storage=storage, study_name="sweep", direction="minimize", load_if_exists=True)
    # With one seed, a sweep that is continued would begin its random trials again.
    study.sampler = optuna.samplers.TPESampler(seed=sweep.seed + len(study.trials))
    return study


def _todo(study: "optuna.Study", space: Space, out: Path, n_trials: int) -> Iterator[Trial]:
    """Interrupted trials, and then new ones, each chosen when a worker is free."""
    from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

    distributions: dict[str, BaseDistribution] = {
        name: FloatDistribution(numbers.low, numbers.high, log=numbers.log) for name, numbers in space.ranges.items()
    }
    distributions |= {name: CategoricalDistribution(list(values)) for name, values in space.choices.items()}

    def trial_of(number: int, params: Mapping[str, Any]) -> Trial:
        return Trial(number, trial_folder(out, number), space.arguments(params))

    for interrupted in _running(study):
        if interrupted.params.keys() == distributions.keys():
            yield trial_of(interrupted.number, interrupted.params)
        else:  # killed while its values were chosen
            study.tell(interrupted.number, state=_fail())
    while len(study.trials) < n_trials:
        asked = study.ask(distributions)
        yield trial_of(asked.number, asked.params)


def _tell(study: "optuna.Study", trial: Trial, failure: str, weights: Mapping[str, float]) -> None:
    """Give the outcome of a trial to Optuna.

    Raises:
        ValueError: the first trials all failed.
    """
    if not failure:
        study.tell(trial.number, score(trial.run, weights))
        return
    study.tell(trial.number, state=_fail())
    log.warning("Trial %d failed: %s", trial.number, failure)
    states = [finished.state.name for finished in study.trials]
    if "COMPLETE" not in states and states.count("FAIL") >= MAX_FAILED_AT_FIRST:
        raise ValueError(
            f"the first {states.count('FAIL')} trials failed, the last in {trial.run}: {failure}; begin a sweep with "
            "other ranges, in another folder"
        )


def _running(study: "optuna.Study") -> "list[optuna.trial.FrozenTrial]":
    return [trial for trial in study.trials if trial.state.name == "RUNNING"]


def _fail() -> "optuna.trial.TrialState":
    from optuna.trial import TrialState

    return TrialState.FAIL
