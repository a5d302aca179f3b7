"""Decision trees: the questions asked of volunteers, their answers, and which answer leads to which question.

    schema = get_schema("decals_dr5_ortho")        # a published tree; schema_names() lists them
    schema = Schema.from_file("my_survey.yaml")    # a tree of your own
    print(tree_text(schema))
    schema.label_cols                              # one vote column per answer: 'smooth-or-featured-dr5_smooth', ...

The module imports numpy and PyYAML only when they are needed, so that the command line starts without delay.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoobot3d_tf import label_metadata
from zoobot3d_tf.files import YAML_SUFFIXES, path_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike


def schema_names() -> list[str]:
    """Names of all published trees, for `get_schema`."""
    return [*label_metadata.trees, *label_metadata.joined_trees]


def get_schema(name: str) -> Schema:
    """Build a published Galaxy Zoo tree.

    Args:
        name: one of `schema_names()`, such as 'decals_dr5_ortho' or 'gz_evo_v2'.

    Returns:
        The tree.

    Raises:
        ValueError: there is no tree of this name. The error suggests similar names.
    """
    if name not in schema_names():
        raise ValueError(
            f"there is no schema '{name}'{_did_you_mean(name, schema_names())} "
            f"(`zoobot3d schemas` lists them; for a tree of your own, give a {', '.join(YAML_SUFFIXES)} file)"
        )
    pairs: dict[str, list[str]] = {}
    dependencies: dict[str, tuple[str, ...]] = {}
    for part in label_metadata.joined_trees.get(name, (name,)):
        part_pairs, part_dependencies, suffix = label_metadata.trees[part]
        suffixed = {q + answer: q + suffix + answer for q, answers in part_pairs.items() for answer in answers}
        for question, answers in part_pairs.items():
            pairs[question + suffix] = answers
            dependencies[question + suffix] = tuple(suffixed[p] for p in _parent_texts(part_dependencies[question]))
    return Schema(pairs, dependencies, name)


def load_schema(name_or_path: str | Path) -> Schema:
    """Build a published tree, or read a tree from a file.

    Args:
        name_or_path: one of `schema_names()`, or the path of a `.yaml`, `.yml` or `.json` file as `Schema.from_file`
            reads it.

    Returns:
        The tree.

    Raises:
        ValueError: the name is unknown, or the file does not describe a tree.
        OSError: the file cannot be read.
    """
    if path_of(name_or_path).suffix.lower() in YAML_SUFFIXES:
        return Schema.from_file(name_or_path)
    return get_schema(str(name_or_path))


def vote_fractions(votes: ArrayLike, schema: Schema) -> np.ndarray:
    """Compute vote fractions: the votes for each answer divided by the votes on its question.

    Args:
        votes: numbers of votes, shape (galaxies, answers), in the order of `schema.label_cols`. If an answer of a
            question is NaN, the question counts as not asked.
        schema: decision tree.

    Returns:
        Fractions, 0 to 1, same shape; NaN where nobody was asked the question.

    Raises:
        ValueError: a number is negative, or there is not one column per answer.
    """
    import numpy as np

    votes = np.asarray(votes, dtype=float)
    volunteers = schema.repeat_by_question(schema.sum_by_question(votes))
    if (votes < 0).any():
        rows = votes.reshape(-1, votes.shape[-1])
        row, answer = np.argwhere(rows < 0)[0]
        raise ValueError(f"votes must be >= 0; row {row} has {rows[row, answer]:g} for '{schema.label_cols[answer]}'")
    return np.divide(votes, volunteers, out=np.full_like(votes, np.nan), where=volunteers > 0)


def fraction_errors(fractions: Any, votes: Any, schema: Schema, xp: Any) -> tuple[Any, Any]:
    """Compute absolute errors of expected vote fractions, for the metrics of training and for the evaluation.

    Args:
        fractions: expected vote fractions, shape (galaxies, answers).
        votes: numbers of votes, float, same shape.
        schema: decision tree.
        xp: module that computes: `numpy` for arrays, `keras.ops` for tensors.

    Returns:
        The absolute differences of expected and observed vote fractions, 0 where nobody was asked the question; and
        whether anybody was asked, bool. Both have the shape of the votes.
    """
    volunteers = xp.matmul(votes, schema.same_question)
    asked = volunteers > 0
    return xp.where(asked, xp.abs(fractions - votes / xp.maximum(volunteers, 1.0)), 0.0), asked


def tree_text(schema: Schema) -> str:
    """Draw a tree with lines of text.

    A question is drawn below the answer after which it is asked. If it is asked after several answers, it is drawn
    once, below their question, and names them. A question that leads to no other question takes one line.
    """
    lines = [f"{schema.name or 'schema'} ({len(schema.questions)} questions, {len(schema.answers)} answers)"]
    for question in schema.questions:
        if not question.asked_after:
            label, branches = _question_branch(schema, question)
            lines += [label, *_branch_lines(branches)]
    return "\n".join(lines)


@dataclass(frozen=True)
class Answer:
    """One answer of a question.

    Attributes:
        text: name of its column, such as 'bar_strong'.
        question: text of its question, such as 'bar'.
        index: its index in `Schema.label_cols`.
    """

    text: str
    question: str
    index: int

    @property
    def label(self) -> str:
        """The answer without its question, such as 'strong'."""
        return self.text[len(self.question) + 1 :]


@dataclass(frozen=True)
class Question:
    """One question of the tree.

    Attributes:
        text: text of the question, such as 'bar'.
        answers: at least two answers, whose columns are next to each other in `Schema.label_cols`.
        asked_after: answers of one earlier question. The volunteers who gave one of them are asked this question. If
            empty, all volunteers are asked.
    """

    text: str
    answers: tuple[Answer, ...]
    asked_after: tuple[Answer, ...]


@dataclass(frozen=True, init=False, repr=False)
class Schema:
    """Decision tree. It is immutable. Two trees are equal if their questions, answers and dependencies are equal.

    Attributes:
        questions: questions, in the order of their columns.
        name: name of the tree. It is not compared.
    """

    questions: tuple[Question, ...]
    name: str = field(compare=False)

    def __init__(
        self,
        question_answer_pairs: Mapping[str, Sequence[str]],
        dependencies: Mapping[str, str | Sequence[str] | None],
        name: str = "",
    ):
        """Check and build a tree from the two tables of Zoobot.

        Args:
            question_answer_pairs: answers of each question, {'bar': ['_strong', '_weak', '_no'], ...}. A question must
                be after the questions that lead to it.
            dependencies: column of the answer after which each question is asked, {'bar': 'disk-edge-on_no', ...}; or
                several answers of one question; or None if the question is always asked. Entries of other questions
                are ignored. If the tree has one question only, it needs no entry.
            name: name of the tree.

        Raises:
            ValueError: the tables do not describe a tree.
        """
        object.__setattr__(self, "questions", _build_questions(question_answer_pairs, dependencies))
        object.__setattr__(self, "name", name)

    def __repr__(self) -> str:
        return f"<Schema '{self.name}': {len(self.questions)} questions, {len(self.answers)} answers>"

    @classmethod
    def from_file(cls, path: str | Path) -> Schema:
        """Read a tree from a YAML or JSON file of this form::

            name: my-survey                                  # by default the name of the file
            questions:
              smooth-or-featured:
                answers: [smooth, featured, artifact]
              bar:
                answers: [yes, no]
                asked_after: smooth-or-featured_featured     # or a list; by default always asked

        Raises:
            ValueError: the file does not describe a tree. The error begins with `path:line`.
            OSError: the file cannot be read.
        """
        from zoobot3d_tf.schema_files import read_tree  # imports PyYAML, which published trees do not need

        path = path_of(path)
        name, pairs, dependencies, lines = read_tree(path)
        try:
            return cls(pairs, dependencies, name)
        except _TreeError as error:
            raise ValueError(f"{path}:{lines[error.place]}: {error}") from None

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Schema:
        """Build a tree from the dictionary that `to_dict` returned.

        Raises:
            ValueError: the dictionary has another form, or does not describe a tree.
        """
        try:
            questions, name = stored["questions"], stored["name"]
            if not isinstance(name, str) or not all(isinstance(q["answers"], list) for q in questions):
                raise TypeError("the name must be text, and answers must be lists")
            pairs = {q["question"]: ["_" + label for label in q["answers"]] for q in questions}
            dependencies = {q["question"]: q["asked_after"] for q in questions}
        except (KeyError, TypeError) as error:
            raise ValueError(
                f"a stored schema must have the form of Schema.to_dict(); received {stored!r:.80}"
            ) from error
        if len(pairs) != len(questions):
            raise ValueError(f"the stored schema '{name}' lists a question twice")
        return cls(pairs, dependencies, name)

    def to_dict(self) -> dict[str, Any]:
        """Convert the tree to lists and strings for JSON. Questions are a list, which keeps their order."""
        return {
            "name": self.name,
            "questions": [
                {
                    "question": question.text,
                    "answers": [answer.label for answer in question.answers],
                    "asked_after": [answer.text for answer in question.asked_after],
                }
                for question in self.questions
            ],
        }

    @cached_property
    def answers(self) -> tuple[Answer, ...]:
        """All answers, in the order of their columns."""
        return tuple(answer for question in self.questions for answer in question.answers)

    @property
    def label_cols(self) -> list[str]:
        """Names of the vote columns, `<question>_<answer>`, one per answer."""
        return [answer.text for answer in self.answers]

    @property
    def slices(self) -> tuple[slice, ...]:
        """Slice of `label_cols` of each question."""
        return tuple(slice(q.answers[0].index, q.answers[-1].index + 1) for q in self.questions)

    @cached_property
    def same_question(self) -> np.ndarray:
        """Matrix, float32 (answers, answers): 1 if two answers belong to the same question, else 0.

        The product of votes and this matrix is the number of votes on the question of each answer.
        """
        import numpy as np

        question_of = np.repeat(np.arange(len(self.questions)), [len(question.answers) for question in self.questions])
        return (question_of[:, None] == question_of).astype(np.float32)

    @property
    def question_index_groups(self) -> list[tuple[int, int]]:
        """Indices of the first and the last answer of each question, both inclusive, as in Zoobot; see `slices`."""
        return [(s.start, s.stop - 1) for s in self.slices]

    def get_question(self, text: str) -> Question:
        """Return the question with a text, such as 'bar'. Raise a ValueError if there is none."""
        for question in self.questions:
            if question.text == text:
                return question
        raise ValueError(f"{self!r} has no question '{text}'{_did_you_mean(text, [q.text for q in self.questions])}")

    def get_answer(self, text: str) -> Answer:
        """Return the answer of a column, such as 'bar_strong'. Raise a ValueError if there is none."""
        for answer in self.answers:
            if answer.text == text:
                return answer
        raise ValueError(f"{self!r} has no answer '{text}'{_did_you_mean(text, self.label_cols)}")

    def joint_p(self, prob_of_answers: ArrayLike, answer_text: str) -> np.ndarray:
        """Compute the probability that a volunteer is asked a question and gives one answer.

        To compute it for all answers, use `p * schema.repeat_by_question(schema.prob_asked(p))`.

        Args:
            prob_of_answers: P(answer | its question is asked), shape (galaxies, answers).
            answer_text: column of the answer, such as 'bar_strong'.

        Returns:
            P(question asked) * P(answer | question asked), shape (galaxies,).

        Raises:
            ValueError: the tree has no such answer, or there is not one column per answer.
        """
        answer = self.get_answer(answer_text)
        prob = self._by_answer(prob_of_answers)
        return self._prob_question_asked(prob, self.get_question(answer.question)) * prob[..., answer.index]

    def prob_asked(self, prob_of_answers: ArrayLike) -> np.ndarray:
        """Compute the probability that a volunteer is asked each question.

        It is 1 for a question that is always asked, else the sum of `joint_p` of the answers after which it is asked.

        Args:
            prob_of_answers: P(answer | its question is asked), shape (galaxies, answers).

        Returns:
            P(question asked), shape (galaxies, questions).

        Raises:
            ValueError: there is not one column per answer.
        """
        import numpy as np

        prob = self._by_answer(prob_of_answers)
        return np.stack([self._prob_question_asked(prob, question) for question in self.questions], axis=-1)

    def sum_by_question(self, values: ArrayLike) -> np.ndarray:
        """Sum values over the answers of each question: shape (..., answers) to (..., questions)."""
        import numpy as np

        return np.add.reduceat(self._by_answer(values), [s.start for s in self.slices], axis=-1)

    def repeat_by_question(self, values: ArrayLike) -> np.ndarray:
        """Repeat the value of each question for its answers: shape (..., questions) to (..., answers)."""
        import numpy as np

        values = _with_last_axis(values, len(self.questions), "question", self)
        return np.repeat(values, [len(question.answers) for question in self.questions], axis=-1)

    def _prob_question_asked(self, prob: np.ndarray, question: Question) -> np.ndarray:
        import numpy as np

        if not question.asked_after:
            return np.ones_like(prob[..., 0])
        parent_question = self.get_question(question.asked_after[0].question)
        prob_of_parents = prob[..., [answer.index for answer in question.asked_after]].sum(axis=-1)
        return self._prob_question_asked(prob, parent_question) * prob_of_parents

    def _by_answer(self, values: ArrayLike) -> np.ndarray:
        return _with_last_axis(values, len(self.answers), "answer", self)


def _with_last_axis(values: ArrayLike, length: int, what: str, schema: Schema) -> np.ndarray:
    """Convert values to an array, and check that the last axis has one value per answer or question."""
    import numpy as np

    values = np.asarray(values)
    if values.shape[-1:] != (length,):
        raise ValueError(
            f"{schema!r} needs {length} values on the last axis, one per {what}; received shape {values.shape}"
        )
    return values


def _did_you_mean(text: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(text, known)
    return f"; did you mean {' or '.join(repr(match) for match in close)}?" if close else ""


# Building a tree


class _TreeError(ValueError):
    """The tables do not describe a tree.

    Attributes:
        place: where the mistake is: question, key and index of the item in its list, as far as known.
    """

    def __init__(self, problem: str, *place: str | int):
        super().__init__(problem)
        self.place = place


def _build_questions(
    pairs: Mapping[str, Sequence[str]], dependencies: Mapping[str, str | Sequence[str] | None]
) -> tuple[Question, ...]:
    if not pairs:
        raise _TreeError("a tree needs at least one question")
    columns: dict[str, Answer] = {}
    answers = {question: _build_answers(question, suffixes, columns) for question, suffixes in pairs.items()}
    if len(pairs) > 1:
        for question in pairs:
            if question not in dependencies:
                raise _TreeError(f"dependencies lack question '{question}'; give None if it is always asked", question)
    return tuple(
        Question(question, answers[question], _find_parents(answers[question], dependencies.get(question), columns))
        for question in pairs
    )


def _build_answers(question: str, suffixes: Sequence[str], columns: dict[str, Answer]) -> tuple[Answer, ...]:
    """Check and build the answers of a question, and add them to `columns`."""
    if not isinstance(question, str) or not question:
        raise _TreeError(f"the name of a question must be a non-empty string; received {question!r}")
    if isinstance(suffixes, str) or not isinstance(suffixes, Sequence):
        raise _TreeError(f"question '{question}' needs a list of answers; received {suffixes!r}", question, "answers")
    if len(suffixes) < 2:
        raise _TreeError(
            f"question '{question}' needs at least two answers; received {len(suffixes)}", question, "answers"
        )
    answers = []
    for i, suffix in enumerate(suffixes):
        place = (question, "answers", i)
        if not isinstance(suffix, str) or suffix[:1] != "_" or suffix[1:2] in ("", "_"):
            raise _TreeError(f"answers of '{question}' must be strings such as '_smooth'; received {suffix!r}", *place)
        answer = Answer(question + suffix, question, index=len(columns))
        if answer.text in columns:
            raise _TreeError(f"two answers have the column '{answer.text}'; columns must be unique", *place)
        columns[answer.text] = answer
        answers.append(answer)
    return tuple(answers)


def _find_parents(
    answers: tuple[Answer, ...], dependency: str | Sequence[str] | None, columns: Mapping[str, Answer]
) -> tuple[Answer, ...]:
    """Find the answers after which a question is asked, in the order of their columns."""
    question = answers[0].question
    if not isinstance(dependency, Sequence | None):
        raise _TreeError(
            f"question '{question}' must be asked after an answer, a list of answers, or None; received {dependency!r}",
            question,
            "asked_after",
        )
    parents: list[Answer] = []
    for i, text in enumerate(_parent_texts(dependency)):
        place = (question, "asked_after", i)
        if not isinstance(text, str) or text not in columns:
            raise _TreeError(
                f"question '{question}' is asked after '{text}', "
                f"which is not an answer of this tree{_did_you_mean(str(text), list(columns))}",
                *place,
            )
        parent = columns[text]
        if parent in parents:
            raise _TreeError(f"question '{question}' is asked after '{text}' twice; list each answer once", *place)
        if parent.question == question:
            raise _TreeError(
                f"question '{question}' is asked after its own answer '{text}'; give an answer of an earlier question",
                *place,
            )
        if parent.index > answers[0].index:
            raise _TreeError(
                f"question '{question}' is asked after '{text}', so it must come after question '{parent.question}'",
                *place,
            )
        if parents and parent.question != parents[0].question:
            raise _TreeError(
                f"question '{question}' must be asked after answers of one question; "
                f"received '{parents[0].text}' and '{text}'",
                *place,
            )
        parents.append(parent)
    return tuple(sorted(parents, key=lambda parent: parent.index))


def _parent_texts(dependency: str | Sequence[str] | None) -> Sequence[str]:
    if dependency is None:
        return ()
    return (dependency,) if isinstance(dependency, str) else dependency


# Drawing a tree

_Branch = tuple[str, list]  # a label, and the branches below it


def _question_branch(schema: Schema, question: Question) -> _Branch:
    label = question.text
    if len(question.asked_after) > 1:
        label += f" (after {' or '.join(answer.label for answer in question.asked_after)})"
    following = [q for q in schema.questions if q.asked_after and q.asked_after[0].question == question.text]
    if not following:
        return f"{label}: {', '.join(answer.label for answer in question.answers)}", []
    branches: list[_Branch] = [
        (answer.label, [_question_branch(schema, q) for q in following if q.asked_after == (answer,)])
        for answer in question.answers
    ]
    branches += [_question_branch(schema, q) for q in following if len(q.asked_after) > 1]
    return label, branches


def _branch_lines(branches: list[_Branch]) -> Iterator[str]:
    for i, (label, below) in enumerate(branches, start=1):
        last = i == len(branches)
        yield ("└─ " if last else "├─ ") + label
        for line in _branch_lines(below):
            yield ("   " if last else "│  ") + line
