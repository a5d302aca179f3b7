"""One decision tree for several surveys, and the conversion of their votes to it.

    tree = joined_tree([get_schema("gz2_ortho"), get_schema("decals")])
    votes = gz2_votes @ conversion(get_schema("gz2_ortho"), tree)

Surveys ask the same questions under different names. The tree `galaxy_zoo` has the questions that several surveys ask,
and the tables in `label_metadata` give their names. A question that is not in `galaxy_zoo`, or that has other answers
there, keeps its name beside them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from zoobot3d_tf import label_metadata
from zoobot3d_tf.schemas import Question, Schema, get_schema

if TYPE_CHECKING:
    import numpy as np

COMMON = "galaxy_zoo"
"""Name of the tree of the questions that several surveys ask."""
CLASS_VOTES = 5
"""Number of votes that a class counts as. A class is less certain than the 20 to 40 votes of a galaxy."""
_SUFFIXES = tuple({suffix for *_, suffix in label_metadata.trees.values() if suffix})


def joined_tree(schemas: Sequence[Schema]) -> Schema:
    """Build the common tree of surveys.

    Args:
        schemas: decision trees of the surveys.

    Returns:
        The questions of the tree `galaxy_zoo` that at least one survey asks, and after them the other questions of the
        surveys under their own names. Questions with the same name and the same answers are one question.

    Raises:
        ValueError: there are several trees, and one of them has no question of `galaxy_zoo`; or two trees have a
            question of the same name with different answers, which is not in `galaxy_zoo`.
    """
    common = get_schema(COMMON)
    translated = [_common_answers(question, common) for schema in schemas for question in schema.questions]
    asked = {common.get_answer(text).question for answers in translated for texts in answers.values() for text in texts}
    own: dict[str, Question] = {}
    for schema in schemas:
        if len(schemas) > 1 and not any(_common_answers(question, common) for question in schema.questions):
            raise ValueError(
                f"the tree '{schema.name}' shares no question with the tree '{COMMON}': its questions are "
                f"{', '.join(question.text for question in schema.questions)}; leave out this survey, or train on it "
                "alone"
            )
        for question in schema.questions:
            if _common_answers(question, common):
                continue
            first = own.setdefault(question.text, question)
            if _labels(first) != _labels(question) or question.text in asked:
                raise ValueError(
                    f"the question {question.text} of the tree '{schema.name}' has other answers than in another tree; "
                    "use trees whose names of questions end in the name of the survey, such as gz2_ortho"
                )
    pairs: dict[str, list[str]] = {}
    dependencies: dict[str, list[str]] = {}
    for question in common.questions:
        if question.text in asked:
            pairs[question.text] = _labels(question)
            parents = [answer.text for answer in question.asked_after if answer.question in asked]
            dependencies[question.text] = parents
    names = {answer: texts[0] for answers in translated for answer, texts in answers.items()}
    for text, question in own.items():
        pairs[text] = _labels(question)
        parents = [names.get(answer.text, answer.text) for answer in question.asked_after]
        dependencies[text] = list(dict.fromkeys(parents))
    return Schema(pairs, dependencies, COMMON)


def conversion(schema: Schema, to: Schema) -> np.ndarray:
    """Make the matrix that converts votes on one tree to votes on another.

    Args:
        schema: decision tree of the votes.
        to: decision tree to convert to: the same one, or one from `joined_tree`.

    Returns:
        Matrix of 0 and 1, float32 (answers of `schema`, answers of `to`). The product of votes and the matrix are the
        votes on the other tree. Questions that a survey did not ask get no votes.

    Raises:
        ValueError: no question of `schema` is in `to`.
    """
    import numpy as np

    if schema == to:
        return np.eye(len(to.answers), dtype=np.float32)
    matrix = np.zeros((len(schema.answers), len(to.answers)), np.float32)
    index = {answer.text: answer.index for answer in to.answers}
    own = {question.text: _labels(question) for question in to.questions}
    common = get_schema(COMMON)
    for question in schema.questions:
        names = _common_answers(question, common)
        if not names and own.get(question.text) == _labels(question):
            names = {answer.text: (answer.text,) for answer in question.answers}
        for answer in question.answers:
            for text in names.get(answer.text, ()):
                if text in index:
                    matrix[answer.index, index[text]] = 1
    if not matrix.any():
        raise ValueError(f"no question of the tree '{schema.name}' is in the tree '{to.name}'")
    return matrix


def class_answers(name: str) -> tuple[str, ...] | None:
    """Find the answers of the tree `galaxy_zoo` that a class, such as "spiral", implies.

    Args:
        name: name of the class; see `class_names`. Case, spaces, `-` and `_` make no difference.

    Returns:
        Columns of the answers; none for the class "unknown". None if the class is not in the table.
    """
    names = {_plain(text): text for text in label_metadata.galaxy_classes} | {
        _plain(alias): text for alias, text in label_metadata.galaxy_class_names.items()
    }
    found = names.get(_plain(name))
    return None if found is None else label_metadata.galaxy_classes[found]


def class_names() -> list[str]:
    """Names of all classes that have answers in the tree `galaxy_zoo`."""
    return [*label_metadata.galaxy_classes, *label_metadata.galaxy_class_names]


def _plain(name: str) -> str:
    return name.strip().lower().replace("_", "-").replace(" ", "-")


def _labels(question: Question) -> list[str]:
    return ["_" + answer.label for answer in question.answers]


def _common_answers(question: Question, common: Schema) -> dict[str, tuple[str, ...]]:
    """Answers in the common tree, by the text of each answer of a question; empty if it is another question."""
    base = question.text
    for suffix in _SUFFIXES:
        base = base.removesuffix(suffix)
    base = label_metadata.galaxy_zoo_questions.get(base, base)
    renamed = label_metadata.galaxy_zoo_answers.get(base, {})
    columns = set(common.label_cols)
    found: dict[str, tuple[str, ...]] = {}
    for answer in question.answers:
        text = f"{base}_{renamed.get(answer.label, answer.label)}"
        if text not in columns:
            return {}
        also = label_metadata.galaxy_zoo_also.get(f"{base}_{answer.label}")
        found[answer.text] = (text, also) if also else (text,)
    return found
