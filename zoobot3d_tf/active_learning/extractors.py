"""Extractor configurations of Galaxy Zoo's production (KaDE), and the decision trees that they describe.

A configuration says which question each task of a workflow asks, and what its answers, counted from 0, mean::

    {
      "data_release_suffix": "example",
      "task_key_label_prefixes": {"T0": "smooth-or-featured"},
      "task_key_data_labels": {"T0": {"0": "smooth", "1": "featured", "2": "artifact"}}
    }

The column of an answer is `<prefix>-<suffix>_<answer>`. A configuration does not say after which answer a question is
asked; see `tree_of_extractor`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from zoobot3d_tf import label_metadata
from zoobot3d_tf.schemas import Schema, get_schema, load_schema

SUFFIX_KEY = "data_release_suffix"
PREFIXES_KEY = "task_key_label_prefixes"
LABELS_KEY = "task_key_data_labels"

Tasks = Mapping[str, tuple[str, Sequence[str]]]
"""Question of each task, and its answers in the order of the workflow."""

# The order of the answers is that of the workflows, not that of the published tables.
_YES_NO = ("yes", "no")
_COMMON_TASKS: Tasks = {
    "T1": ("how-rounded", ("round", "in-between", "cigar-shaped")),
    "T2": ("disk-edge-on", _YES_NO),
    "T3": ("edge-on-bulge", ("rounded", "boxy", "none")),
    "T4": ("bar", ("no", "weak", "strong")),
    "T5": ("has-spiral-arms", _YES_NO),
    "T6": ("spiral-winding", ("tight", "medium", "loose")),
    "T7": ("spiral-arm-count", ("1", "2", "3", "4", "more-than-4", "cant-tell")),
    "T8": ("bulge-size", ("none", "small", "moderate", "large", "dominant")),
    "T11": ("merging", ("merger", "major-disturbance", "minor-disturbance", "none")),
}
_ARTIFACTS = ("saturation", "diffraction", "satellite", "ray", "scattered", "other")


@dataclass(frozen=True)
class KnownExtractor:
    """An extractor that production has in its code.

    Attributes:
        tree: name of the published decision tree that a model learns from its votes.
        suffix: suffix of the names of its questions.
        tasks: tasks of the workflow. It may ask questions that the tree does not have, such as `lensing`.
    """

    tree: str
    suffix: str
    tasks: Tasks

    @property
    def config(self) -> dict[str, Any]:
        """The configuration that describes this extractor."""
        return _config(self.suffix, self.tasks)


def _smooth_or_featured(third_answer: str) -> Tasks:
    return {"T0": ("smooth-or-featured", ("smooth", "featured-or-disk", third_answer))} | dict(_COMMON_TASKS)


def _with_problems(artifacts: Sequence[str]) -> Tasks:
    return dict(_smooth_or_featured("problem")) | {
        "T12": ("lensing", _YES_NO),
        "T13": ("clumps", _YES_NO),
        "T14": ("problem", ("star", "artifact", "zoom")),
        "T15": ("artifact", artifacts),
    }


EXTRACTORS = {
    "decals": KnownExtractor("decals_dr8_ortho", "dr8", _smooth_or_featured("artifact")),
    "cosmic_dawn": KnownExtractor("cosmic_dawn_ortho", "cd", _with_problems(_ARTIFACTS)),
    "euclid": KnownExtractor("euclid_ortho", "euclid", _with_problems((*_ARTIFACTS, "ghost"))),
    "jwst_cosmos": KnownExtractor(
        "jwst_ortho",
        "jwst",
        dict(_smooth_or_featured("star-artifact-zoom"))
        | {"T12": ("clumps", _YES_NO), "T19": ("problem", ("star", "artifact", "bad-zoom"))},
    ),
}
"""Extractors that production has in its code, by name."""


def production_tree(name: str) -> Schema:
    """Find the decision tree that production means by a name.

    Args:
        name: name of one of `EXTRACTORS`, such as "euclid", whose tree has names of questions with a suffix; or any
            other name or file that `load_schema` takes.

    Raises:
        ValueError: the name is unknown, or the file does not describe a tree.
        OSError: the file cannot be read.
    """
    return get_schema(EXTRACTORS[name].tree) if name in EXTRACTORS else load_schema(name)


def tree_of_extractor(
    config: Mapping[str, Any],
    name: str = "",
    dependencies: label_metadata.Dependencies = label_metadata.decals_dependencies,
) -> Schema:
    """Build the decision tree that a configuration describes.

    Args:
        config: extractor configuration, as in this module.
        name: name of the tree.
        dependencies: answer, or answers of one question, after which each question is asked, without the suffix, such
            as {"bar": "disk-edge-on_no"}. A question that is not named, or whose answer is not in the configuration, is
            always asked. By default as in Galaxy Zoo DECaLS, whose names of questions the other campaigns share.

    Returns:
        The tree, with questions in the order of the tasks, and answers in the order of the workflow.

    Raises:
        ValueError: the configuration has another form, or does not describe a tree.
    """
    suffix, tasks = _read_config(config)
    columns = {
        f"{question}_{answer}": f"{question}-{suffix}_{answer}"
        for question, answers in tasks.values()
        for answer in answers
    }
    pairs = {f"{question}-{suffix}": [f"_{answer}" for answer in answers] for question, answers in tasks.values()}
    if len(pairs) < len(tasks):
        raise ValueError(f"{PREFIXES_KEY} must name each question once; received {', '.join(_questions(tasks))}")
    parents: dict[str, list[str]] = {}
    for question in _questions(tasks):
        asked_after = dependencies.get(question) or ()
        texts = (asked_after,) if isinstance(asked_after, str) else asked_after
        parents[f"{question}-{suffix}"] = [columns[text] for text in texts if text in columns]
    return Schema(pairs, parents, name)


def extractor_of_tree(schema: Schema, suffix: str, task_keys: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Make the configuration that describes a decision tree.

    Args:
        schema: decision tree whose questions are all named `<prefix>-<suffix>`. Its answers have the order of the
            workflow.
        suffix: suffix of the names of questions.
        task_keys: prefix of the question of each task, such as {"T0": "smooth-or-featured"}; by default T0, T1, ... in
            the order of the tree.

    Returns:
        The configuration, as in this module. `tree_of_extractor` turns it into the tree again.

    Raises:
        ValueError: a question does not end in the suffix, or the tasks do not name each question once.
    """
    answers: dict[str, list[str]] = {}
    for question in schema.questions:
        prefix = question.text.removesuffix(f"-{suffix}")
        if prefix == question.text:
            raise ValueError(
                f"the name of each question of {schema!r} must end in -{suffix}; received {question.text}; give the "
                "suffix of the tree, or a tree with this suffix"
            )
        answers[prefix] = [answer.label for answer in question.answers]
    task_keys = task_keys or {f"T{number}": prefix for number, prefix in enumerate(answers)}
    if sorted(task_keys.values()) != sorted(answers):
        raise ValueError(
            f"task_keys must name each question of {schema!r} once: {', '.join(answers)}; received "
            f"{', '.join(task_keys.values())}"
        )
    return _config(suffix, {task: (prefix, answers[prefix]) for task, prefix in task_keys.items()})


def votes_of_reduction(config: Mapping[str, Any], task: str, counts: Mapping[str, int]) -> dict[str, int]:
    """Name the counts of a reduction by the columns of a training catalogue.

    Args:
        config: extractor configuration, as in this module.
        task: key of the task, such as "T0". Upper and lower case make no difference.
        counts: number of votes for each answer, by its index as text: {"0": 3, "1": 9}.

    Returns:
        Number of votes by column: {"smooth-or-featured-example_smooth": 3, ...}.

    Raises:
        ValueError: the configuration has another form, or has no such task or answer.
    """
    suffix, tasks = _read_config(config)
    if task.upper() not in tasks:
        raise ValueError(f"the task must be one of {', '.join(tasks)}; received {task!r}")
    question = config[PREFIXES_KEY][task.upper()]
    labels = config[LABELS_KEY][task.upper()]
    if unknown := [answer for answer in counts if answer not in labels]:
        raise ValueError(f"the answers of {task.upper()} must be of {', '.join(labels)}; received {unknown[0]!r}")
    return {f"{question}-{suffix}_{labels[answer]}": count for answer, count in counts.items()}


def _config(suffix: str, tasks: Tasks) -> dict[str, Any]:
    return {
        SUFFIX_KEY: suffix,
        PREFIXES_KEY: {task: question for task, (question, _) in tasks.items()},
        LABELS_KEY: {task: {str(i): label for i, label in enumerate(labels)} for task, (_, labels) in tasks.items()},
    }


def _questions(tasks: Tasks) -> list[str]:
    return [question for question, _ in tasks.values()]


def _read_config(config: Mapping[str, Any]) -> tuple[str, Tasks]:
    """Check the form of a configuration; return its suffix and its tasks."""
    if not isinstance(config, Mapping):
        raise ValueError(f"an extractor configuration must be a JSON object; received {config!r:.80}")
    suffix = config.get(SUFFIX_KEY)
    if not isinstance(suffix, str) or not suffix:
        raise ValueError(f"{SUFFIX_KEY} must be text; received {suffix!r}")
    prefixes, labels = _by_task(config, PREFIXES_KEY), _by_task(config, LABELS_KEY)
    if sorted(prefixes) != sorted(labels):
        raise ValueError(
            f"{PREFIXES_KEY} and {LABELS_KEY} must have the same tasks; received {', '.join(prefixes)} and "
            f"{', '.join(labels)}"
        )
    tasks: dict[str, tuple[str, Sequence[str]]] = {}
    for task, prefix in prefixes.items():
        answers = labels[task]
        if not isinstance(prefix, str) or not prefix:
            raise ValueError(f"{PREFIXES_KEY} must have the name of a question for {task}; received {prefix!r}")
        if not isinstance(answers, Mapping) or not all(
            str(key).isdecimal() and isinstance(label, str) for key, label in answers.items()
        ):
            raise ValueError(
                f'{LABELS_KEY} must have an answer for each index of {task}, such as {{"0": "smooth"}}; received '
                f"{answers!r:.80}"
            )
        tasks[task] = prefix, [answers[key] for key in sorted(answers, key=int)]
    return suffix, tasks


def _by_task(config: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = config.get(key)
    if not isinstance(value, Mapping) or not value:
        raise ValueError(f"{key} must be a JSON object with an entry for each task; received {value!r:.80}")
    return value
