"""The installed package, in a folder outside the checkout."""

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.slow
def test_the_wheel_predicts_and_shows_pages_in_an_empty_environment(survey, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}

    def run(*command: object) -> str:
        arguments = [str(word) for word in command]
        result = subprocess.run(arguments, cwd=elsewhere, env=environment, capture_output=True, text=True)
        assert result.returncode == 0, result.stderr[-3000:]
        return result.stdout

    run(sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", tmp_path, ROOT)
    (wheel,) = tmp_path.glob("*.whl")
    run(sys.executable, "-m", "venv", tmp_path / "venv")
    binaries = tmp_path / "venv" / "bin"
    run(binaries / "pip", "install", "--quiet", "--constraint", ROOT / "requirements.txt", wheel)

    run(binaries / "zoobot3d", "predict", survey.parent / "images", "--masks-dir", "masks")
    table = pd.read_csv(elsewhere / "predictions.csv")
    assert sorted(table["id_str"]) == sorted(pd.read_csv(survey)["id_str"])
    assert len(list((elsewhere / "masks").glob("*_spiral_mask.png"))) == len(table)
    run(binaries / "zoobot3d", "predictions", "show", "predictions.csv", "--out", "page.html")
    assert (elsewhere / "page_files" / "page.js").is_file()
    # Types travel with the package.
    assert run(binaries / "python", "-c", "import zoobot3d_tf as z; print(z.__path__[0])").strip()
    assert list((tmp_path / "venv").glob("lib/*/site-packages/zoobot3d_tf/py.typed"))
