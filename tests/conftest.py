"""Fixtures shared by all tests."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def reference() -> Path:
    """Folder of reference data: named by ZOOBOT3D_REFERENCE, by default `../shared` beside the checkout."""
    folder = Path(os.environ.get("ZOOBOT3D_REFERENCE", Path(__file__).resolve().parents[2] / "shared"))
    if not (folder / "reference" / "golden").is_dir():
        pytest.skip(f"no reference data in {folder}: set ZOOBOT3D_REFERENCE to its folder to run this test")
    return folder
