"""The container of production, checked without an engine: rules of good images, and steps that a shell can run."""

import json
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from zoobot3d_tf.cli import main

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def steps():
    """Instructions and their arguments, with continued lines joined."""
    lines = [line for line in (ROOT / "Dockerfile").read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [tuple(line.split(maxsplit=1)) for line in joined.splitlines() if line.strip()]


def arguments(steps, *instructions):
    return [words for name, words in steps if name in instructions]


def test_the_base_is_pinned_to_a_version_that_the_package_supports(steps):
    bases = {words.split()[0] for words in arguments(steps, "FROM")}
    assert bases == {"python:${PYTHON_VERSION}-slim-bookworm"}
    (version,) = (words.partition("=")[2] for words in arguments(steps, "ARG") if words.startswith("PYTHON_VERSION"))
    assert re.fullmatch(r"3\.\d+\.\d+", version)
    minor = version.rpartition(".")[0]
    assert f"Programming Language :: Python :: {minor}" in (ROOT / "pyproject.toml").read_text()


def test_the_container_does_not_run_as_root(steps):
    last_stage = steps[max(i for i, (name, _) in enumerate(steps) if name == "FROM") :]
    users = arguments(last_stage, "USER")
    assert users == ["zoobot"]
    (added,) = [words for words in arguments(last_stage, "RUN") if words.startswith("useradd")]
    assert added.endswith(" zoobot")
    assert int(re.search(r"--uid (\d+)", added)[1]) >= 1000
    assert [name for name, _ in last_stage].index("USER") < [name for name, _ in last_stage].index("CMD")


def test_the_health_check_is_a_command_that_works(steps, capsys):
    (check,) = arguments(steps, "HEALTHCHECK")
    program, *rest = json.loads(check.partition("CMD ")[2])
    assert program == "zoobot3d"
    with pytest.raises(SystemExit) as stop:
        main(rest)
    assert stop.value.code == 0
    assert capsys.readouterr().out.startswith("zoobot3d_tf ")


def test_nothing_secret_and_nothing_unneeded_is_copied(steps):
    names = " ".join(arguments(steps, "ARG", "ENV")).upper()
    assert not re.search("KEY|TOKEN|SECRET|PASSWORD", names)
    assert not arguments(steps, "ADD")
    kept = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    copied = [
        source
        for words in arguments(steps, "COPY")
        if not words.startswith("--from")
        for source in shlex.split(words)[:-1]
    ]
    assert sorted(copied) == sorted(kept)  # all else is ignored
    for source in copied:
        assert (ROOT / source).exists()
        assert source not in (".", "*", ".git")


def test_installations_leave_no_cache_and_have_tested_versions(steps):
    installations = [words for words in arguments(steps, "RUN") if "pip install" in words]
    assert installations
    for words in installations:
        assert words.count("pip install") == words.count("--no-cache-dir") == words.count("--constraint")


@pytest.mark.parametrize(
    ("accelerator", "code", "words"), [("cpu", 0, ""), ("cuda", 0, "tensorflow[and-cuda]"), ("tpu", 1, "received tpu")]
)
def test_the_build_argument_chooses_the_accelerator(steps, accelerator, code, words):
    (step,) = [words for words in arguments(steps, "RUN") if words.startswith("case")]
    step = step.replace("/opt/zoobot3d/bin/pip", "echo")
    result = subprocess.run(["sh", "-c", step], env={"ACCELERATOR": accelerator}, capture_output=True, text=True)
    assert result.returncode == code
    assert words in result.stdout + result.stderr
    assert bool(result.stdout) == (accelerator == "cuda")
