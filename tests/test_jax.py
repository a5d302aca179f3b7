"""Models and losses on JAX, in processes of their own: a process has one backend."""

import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

pytest.importorskip("jax", reason="JAX is not installed: pip install jax")

SCRIPT = """
import os
os.environ["KERAS_BACKEND"] = "jax"
import sys
sys.path.insert(0, sys.argv[1])
import keras
import numpy as np
from tiny_network import tiny_encoder

from zoobot3d_tf.models import build
from zoobot3d_tf.models.config import ModelConfig
from zoobot3d_tf.schemas import get_schema
from zoobot3d_tf.training.losses import MASK_LOSSES, dirichlet_multinomial_nll, votes_loss

build.build_encoder = tiny_encoder
schema = get_schema("decals")
model = build.build_model(ModelConfig(schema, image_size=32, mask_head="beta-binomial"))
mask = MASK_LOSSES["beta-binomial"]
model.compile(keras.optimizers.AdamW(0.01), {"votes": votes_loss(schema), "spiral_mask": mask, "bar_mask": mask})
data = dict(np.load(sys.argv[2]))
targets = {name: data[name] for name in model.output}
weights = {name: data[f"weight_{name}"] for name in targets}
history = model.fit(data["images"], targets, 8, 8, verbose=0, sample_weight=weights).history["loss"]
groups = [(answers.start, answers.stop - 1) for answers in schema.slices]
nll = dirichlet_multinomial_nll(data["votes"], data["concentrations"], groups)
predicted = model.predict(data["images"], verbose=0)
np.savez(sys.argv[3], history=history, nll=nll, **predicted)
model.save(sys.argv[4])
print(keras.backend.backend())
"""


@pytest.mark.slow
def test_a_model_that_jax_has_trained_is_a_model_for_tensorflow(tmp_path):
    from zoobot3d_tf.schemas import get_schema
    from zoobot3d_tf.training.losses import nll_by_question

    rng = np.random.default_rng(0)
    mask = np.stack([rng.uniform(size=(16, 32, 32)), np.full((16, 32, 32), 15)], axis=-1)
    data = {
        "images": rng.uniform(0, 255, (16, 32, 32, 3)),
        "votes": rng.integers(0, 20, (16, 34)),
        "spiral_mask": mask,
        "bar_mask": mask[::-1],
        "concentrations": rng.uniform(1, 101, (16, 34)),
        **{f"weight_{name}": rng.integers(0, 2, 16) for name in ("votes", "spiral_mask", "bar_mask")},
    }
    data = {name: array.astype(np.float32) for name, array in data.items()}
    np.savez(tmp_path / "data.npz", **data)
    names = ("data.npz", "results.npz", "model.keras")
    command = [sys.executable, "-c", SCRIPT, str(Path(__file__).parent), *(str(tmp_path / name) for name in names)]
    result = subprocess.run(command, capture_output=True, text=True, env=os.environ)
    assert result.returncode == 0, result.stderr[-3000:]
    assert result.stdout.split() == ["jax"]
    results = np.load(tmp_path / "results.npz")
    assert results["history"][-1] < 0.9 * results["history"][0]
    expected = nll_by_question(data["votes"], data["concentrations"], get_schema("decals").slices)
    np.testing.assert_allclose(results["nll"], expected, rtol=1e-3, atol=2e-3)  # float32 on JAX
    predicted = keras.saving.load_model(tmp_path / "model.keras", compile=False).predict(data["images"], verbose=0)
    for name, array in predicted.items():
        np.testing.assert_allclose(array, results[name], rtol=1e-3, atol=1e-4)
