"""Files, functions, commands and options that the documents name exist."""

import ast
import re
import shlex
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

from zoobot3d_tf.cli import STAGES

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*(ROOT / "docs").glob("*.md"), *ROOT.glob("*.md")])
FOLDERS = ("zoobot3d_tf", "docs", "tests", "benchmarks", "examples")


def name_of(page):
    return page.name


def commands_in(text):
    """`zoobot3d ...` and `python <script>.py ...` in indented lines or code blocks, continuation lines joined."""
    joined = re.sub(r"\\\n\s*", " ", text)
    return re.findall(r"^(?: {4}|\t)?\s*(?:\.venv/bin/)?zoobot3d +([^\n#]+)", joined, re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_to_files(page):
    for link in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        if "://" not in link:
            assert (page.parent / link).exists(), link


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_files_that_are_named_exist(page):
    packages = [path.name for path in (ROOT / "zoobot3d_tf").iterdir() if path.is_dir()]
    for named in re.findall(r"`([\w/.]+(?:\.py|/))`", page.read_text()):
        first = named.split("/")[0]
        if first in FOLDERS:
            assert (ROOT / named).exists(), named
        elif first in packages or named == f"{first}.py":
            places = (ROOT, ROOT / "zoobot3d_tf", page.parent, *(ROOT / folder for folder in FOLDERS))
            assert any((place / named).exists() for place in places) or page.name == "CHANGELOG.md", named


@pytest.mark.parametrize("page", [*PAGES, *(ROOT / "examples" / "gallery").glob("*.py")], ids=name_of)
def test_python_in_pages_imports_what_exists(page):
    text = page.read_text()
    for block in [text] if page.suffix == ".py" else re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and node.module.startswith("zoobot3d_tf"):
                module = import_module(node.module)
                for alias in node.names:
                    name = f"{node.module}.{alias.name}"
                    assert hasattr(module, alias.name) or find_spec(name) is not None, name


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_in_pages_have_the_options_that_they_name(page):
    import argparse

    for command in commands_in(page.read_text()):
        words = shlex.split(command.replace("`", " ").split("|")[0].split(">")[0])
        stage = next(
            (name for name in sorted(STAGES, key=len, reverse=True) if words[: len(name.split())] == name.split()), None
        )
        if stage is None:
            assert words[0] in ("--help", "--version") or words[0].startswith(("<", "STAGE")), command
            continue
        parser = argparse.ArgumentParser()
        STAGES[stage].complete(parser)
        known = {option for action in parser._actions for option in action.option_strings}
        for word in words:
            if word.startswith("--"):
                assert word.split("=")[0] in known, f"{word} in: zoobot3d {command}"
