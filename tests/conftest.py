"""Fixtures shared by all tests."""

import os
import shutil
from pathlib import Path

import pytest

CHROMIUM_OPTIONS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="session")
def reference() -> Path:
    """Folder of reference data: named by ZOOBOT3D_REFERENCE, by default `../shared` beside the checkout."""
    folder = Path(os.environ.get("ZOOBOT3D_REFERENCE", Path(__file__).resolve().parents[2] / "shared"))
    if not (folder / "reference" / "golden").is_dir():
        pytest.skip(f"no reference data in {folder}: set ZOOBOT3D_REFERENCE to its folder to run this test")
    return folder


@pytest.fixture(scope="session")
def survey(tmp_path_factory) -> Path:
    """Catalogue of thirty simulated galaxies: 10 % without votes, 60 % without masks."""
    from zoobot3d_tf.simulation.survey import simulate_survey

    return simulate_survey(tmp_path_factory.mktemp("galaxies") / "survey", n=30, seed=5)


@pytest.fixture(scope="session")
def shards(survey, tmp_path_factory) -> Path:
    """Folder of their shards, at 100 px."""
    from zoobot3d_tf.schemas import get_schema
    from zoobot3d_tf.shards.options import ShardOptions
    from zoobot3d_tf.shards.write import create_shards

    options = ShardOptions(img_size=100, eval_size=0.3, shard_size=8)
    return create_shards(survey, tmp_path_factory.mktemp("shards") / "shards", get_schema("decals"), options).parent


@pytest.fixture(scope="session")
def small_model(tmp_path_factory):
    """A small network whose features, votes and masks differ from galaxy to galaxy; `run` is its run folder."""
    import keras
    import numpy as np
    from prediction_runs import FINAL, make_run

    from zoobot3d_tf.models import build_model
    from zoobot3d_tf.runs.run_folder import WEIGHTS_NAME, read_run

    run = read_run(make_run(tmp_path_factory.mktemp("runs") / "real"))
    keras.utils.set_random_seed(0)
    model = build_model(run.model)
    # Untrained, the signal dies in the depths: batch normalisation must have met some images once.
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    model(np.random.default_rng(0).uniform(0, 255, (8, FINAL, FINAL, 3)).astype(np.float32), training=True)
    kernel = model.get_layer("vote_head").get_layer("sigmoid").kernel
    kernel.assign(kernel / 300)  # or every answer would be as sure as can be
    model.save_weights(run.folder / WEIGHTS_NAME)
    model.run = run
    return model


@pytest.fixture(scope="module")
def browser():
    """Chromium, without a window."""
    playwright = pytest.importorskip("playwright.sync_api", reason="the page is tested in a browser by playwright")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("the page is tested in Chromium, which is not installed")
    with playwright.sync_playwright() as session:
        with session.chromium.launch(executable_path=chromium, args=CHROMIUM_OPTIONS) as browser:
            yield browser


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """The hub, empty, and a user who is logged in."""
    constants = pytest.importorskip("huggingface_hub.constants", reason="the extra [hub] is not installed")
    from hub_server import TOKEN, hub_server

    with hub_server() as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # which the server does not speak
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield server
