"""The configuration of a sweep: what all trials share, what is searched, and how the trials are scored."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from zoobot3d_tf.files import PathLike, path_of
from zoobot3d_tf.models.config import VOLUNTEER_TASKS
from zoobot3d_tf.settings_files import built, check_known, read_yaml, shown

# A typical error of vote fractions is 0.1, a typical 1 - IoU is 0.5: the factors bring them to a similar weight.
DEFAULT_WEIGHTS = {"votes": 5.0, "spiral_mask": 1.0, "bar_mask": 1.0}

Convert = Callable[[Mapping[str, Any], str], dict[str, Any]]
"""Function that converts options of `zoobot3d train`, in a place of a file, to arguments of `config_from_folders`."""


@dataclass(frozen=True)
class Range:
    """Numbers that an option may have.

    Attributes:
        low: smallest number.
        high: largest number.
        log: whether to search the logarithm of the number.
    """

    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ValueError(f"low must be below high; received {self.low:g} and {self.high:g}")
        if self.log and self.low <= 0:
            raise ValueError(f"low must be above 0 if log is true; received {self.low:g}")


@dataclass(frozen=True)
class Sweep:
    """A sweep, as a file describes it.

    Attributes:
        train: options of `zoobot3d train` that all trials share.
        search: for each option that is searched, a `Range` or a list of values.
        weights: factor of the error of each task in the score of a trial.
        trials: number of trials.
        seed: random seed of the search.
    """

    train: Mapping[str, Any]
    search: Mapping[str, Any]
    weights: Mapping[str, float] = field(default_factory=lambda: dict(DEFAULT_WEIGHTS))
    trials: int = 30
    seed: int = 0

    def __post_init__(self) -> None:
        if self.trials < 1:
            raise ValueError(f"trials must be at least 1; received {self.trials}")
        if not self.search:
            raise ValueError("search must name at least one option; received none")
        known = dict.fromkeys(VOLUNTEER_TASKS)
        for task, weight in self.weights.items():
            check_known(f"weights.{task}", task, known, "unknown task")
            if not weight >= 0:
                raise ValueError(f"weights.{task} must be at least 0; received {weight:g}")


@dataclass(frozen=True)
class Space:
    """The trials of a sweep, as arguments of `config_from_folders`.

    Attributes:
        fixed: arguments that all trials share.
        ranges: arguments that are numbers in a range.
        choices: arguments that have one of some values, each with its text in tables.
    """

    fixed: Mapping[str, Any]
    ranges: Mapping[str, Range]
    choices: Mapping[str, Mapping[str, Any]]

    def arguments(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Find the arguments of a trial.

        Args:
            params: number in its range, or text of its choice, of each argument that is searched.
        """
        chosen = {name: self.choices[name][value] if name in self.choices else value for name, value in params.items()}
        return {**self.fixed, **chosen}

    def first(self) -> dict[str, Any]:
        """Arguments of one of the possible trials, to be checked before the work."""
        numbers = {name: numbers.low for name, numbers in self.ranges.items()}
        return self.arguments(numbers | {name: next(iter(values)) for name, values in self.choices.items()})


def read_sweep(path: PathLike, convert: Convert, defaults: Mapping[str, Any]) -> tuple[Sweep, Space]:
    """Read the configuration of a sweep from a YAML file with the attributes of `Sweep` as keys.

    Args:
        path: the file. Relative paths in it start from the folder in which the command is run.
        convert: conversion of options to arguments.
        defaults: arguments that the file need not name.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file is not YAML, a key is unknown or missing, or a value is impossible. The error names the
            file and the key, and for an unknown key the nearest one.
    """
    path = path_of(path)
    content = read_yaml(path)
    try:
        sweep = built(Sweep, content)
        fixed = convert(sweep.train, "train")
        if "experiment_dir" in fixed:
            raise ValueError("train: experiment_dir must be left out: each trial has its own run folder")
        for name in ("train_dir", "eval_dir"):
            if name not in fixed:
                raise ValueError(f"train must have the key {name}")
        ranges: dict[str, Range] = {}
        choices: dict[str, dict[str, Any]] = {}
        for key, values in sweep.search.items():
            name = key.replace("-", "_")
            if name in fixed:
                raise ValueError(f"search: {key} is in train, too; keep it in one of them")
            if isinstance(values, Mapping):
                ranges[name] = built(Range, values, f"search.{key}")
                for number in (ranges[name].low, ranges[name].high):
                    convert({key: number}, "search")
            elif isinstance(values, list) and values:
                choices[name] = {_text(value): convert({key: value}, "search")[name] for value in values}
            else:
                raise ValueError(
                    f"search.{key} must be a list of values, or a range such as {{low: 0.1, high: 0.5}}; received "
                    f"{shown(values)}"
                )
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return sweep, Space({**defaults, **fixed}, ranges, choices)


def _text(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)
