"""The layers of docs/architecture.md: no import upward and no circle, imports inside functions included."""

import os
from pathlib import Path

from importlinter.cli import lint_imports


def test_each_module_imports_only_from_below(monkeypatch, capsys):
    monkeypatch.chdir(Path(__file__).resolve().parents[1])
    monkeypatch.setenv("IMPORT_LINTER_CACHE", os.devnull)
    broken = lint_imports(no_cache=True)
    assert broken == 0, capsys.readouterr().out
