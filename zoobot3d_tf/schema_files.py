"""Decision trees read from YAML or JSON files, with the line number of each part for errors.

The YAML nodes are read, not the values: a node has a line number, and `yes`, `no` and `1` remain text.
"""

from collections.abc import Sequence
from pathlib import Path

import yaml

_NULL = "tag:yaml.org,2002:null"
Lines = dict[tuple[str | int, ...], int]
"""Line number of each part of a tree: `()`, `(question,)`, `(question, key)` or `(question, key, index)`."""


def read_tree(path: Path) -> tuple[str, dict[str, list[str]], dict[str, list[str]], Lines]:
    """Read the tables of a decision tree from a file.

    Only the form of the file, which `Schema.from_file` describes, is checked here. `Schema` checks the tree.

    Args:
        path: YAML or JSON file.

    Returns:
        Name of the tree; answers of each question; answers after which each question is asked; and line numbers.

    Raises:
        ValueError: the file has another form. The error begins with `path:line`.
        OSError: the file cannot be read.
    """
    root = _compose(path)
    keys = _entries(path, root, "the tree", ("name", "questions"))
    if "questions" not in keys:
        raise _line_error(path, root, "the tree has no 'questions'")
    name = _text(path, keys["name"][1], "the name of the tree") if "name" in keys else path.stem

    pairs: dict[str, list[str]] = {}
    dependencies: dict[str, list[str]] = {}
    lines: Lines = {(): _line(keys["questions"][0])}
    for question, (question_node, body) in _entries(path, keys["questions"][1], "'questions'").items():
        keys_of_question = _entries(path, body, f"question '{question}'", ("answers", "asked_after"))
        if "answers" not in keys_of_question:
            raise _line_error(path, question_node, f"question '{question}' has no 'answers'")
        texts: dict[str, list[str]] = {}
        lines[(question,)] = _line(question_node)
        for key, (key_node, value) in keys_of_question.items():
            texts[key], item_lines = _texts(path, value, f"'{key}' of '{question}'", or_one=key == "asked_after")
            lines[(question, key)] = _line(key_node)
            lines.update({(question, key, i): line for i, line in enumerate(item_lines)})
        pairs[question] = ["_" + text.removeprefix("_") for text in texts["answers"]]
        dependencies[question] = texts.get("asked_after", [])
    return name, pairs, dependencies, lines


def _compose(path: Path) -> yaml.Node:
    content = path.read_bytes()
    if path.suffix.lower() == ".json":
        content = content.replace(b"\t", b" ")  # tabs are the only part of JSON that is not YAML
    try:
        root = yaml.compose(content, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = ", ".join(filter(None, [error.context, error.problem]))
        raise ValueError(
            f"{path}:{mark.line + 1 if mark else 1}: the file is not valid YAML or JSON: {problem}"
        ) from None
    except yaml.reader.ReaderError as error:
        line = content.count(b"\n", 0, error.position) + 1
        raise ValueError(f"{path}:{line}: the file is not UTF-8 text: {error.reason}") from None
    except RecursionError:
        raise ValueError(f"{path}:1: the file is nested too deeply; a tree has four levels") from None
    except (ValueError, OverflowError) as error:  # escapes such as \UFFFFFFFF, which are no characters
        raise ValueError(f"{path}:1: the file is not valid YAML or JSON: {error}") from None
    if root is None:
        raise ValueError(f"{path}:1: the file is empty; it must list the questions of a tree")
    return root


def _entries(
    path: Path, node: yaml.Node, what: str, allowed: Sequence[str] | None = None
) -> dict[str, tuple[yaml.Node, yaml.Node]]:
    """Read the keys of a mapping, each with the nodes of the key and the value."""
    if not isinstance(node, yaml.MappingNode):
        raise _line_error(path, node, f"{what} must be 'key: value' entries; received {_describe(node)}")
    entries: dict[str, tuple[yaml.Node, yaml.Node]] = {}
    for key_node, value in node.value:
        key = _text(path, key_node, f"a key of {what}")
        if allowed and key not in allowed:
            expected = " and ".join(f"'{name}'" for name in allowed)
            raise _line_error(path, key_node, f"{what} has an unknown key '{key}'; the keys are {expected}")
        if key in entries:
            raise _line_error(path, key_node, f"{what} has '{key}' twice, first on line {_line(entries[key][0])}")
        entries[key] = key_node, value
    return entries


def _texts(path: Path, node: yaml.Node, what: str, or_one: bool) -> tuple[list[str], list[int]]:
    """Read the strings of a list and their line numbers. With `or_one`, one string or an empty value is valid."""
    if or_one and isinstance(node, yaml.ScalarNode):
        items = [] if node.tag == _NULL else [node]
    elif isinstance(node, yaml.SequenceNode):
        items = node.value
    else:
        wanted = "text or a list" if or_one else "a list, such as [first, second]"
        raise _line_error(path, node, f"{what} must be {wanted}; received {_describe(node)}")
    return [_text(path, item, f"an item of {what}") for item in items], [_line(item) for item in items]


def _text(path: Path, node: yaml.Node, what: str) -> str:
    if not isinstance(node, yaml.ScalarNode) or node.tag == _NULL or not node.value:
        raise _line_error(path, node, f"{what} must be text; received {_describe(node)}")
    if not node.value.isprintable():
        raise _line_error(path, node, f"{what} must not have control characters; received {_describe(node)}")
    return node.value


def _describe(node: yaml.Node) -> str:
    if isinstance(node, yaml.ScalarNode):
        return repr(node.value) if node.value else "nothing"
    return "a list" if isinstance(node, yaml.SequenceNode) else "'key: value' entries"


def _line(node: yaml.Node) -> int:
    return node.start_mark.line + 1


def _line_error(path: Path, node: yaml.Node, problem: str) -> ValueError:
    return ValueError(f"{path}:{_line(node)}: {problem}")
