"""AdamW in fused operations."""

import keras
import numpy as np
import pytest

from zoobot3d_tf.training.optimizer import FusedAdamW


def test_each_variable_moves_by_its_own_rate():
    variables = [keras.Variable([2.0], name=name) for name in ("near", "far")]
    optimizer = FusedAdamW(0.1, 0.01, factors={variables[1].path: 0.25})
    optimizer.build(variables)
    optimizer.apply([keras.ops.ones(1), keras.ops.ones(1)], variables)
    # Adam's first step is the rate itself, whatever the gradient; the decay takes 2 x 0.01 x rate.
    np.testing.assert_allclose(variables[0], 2 - 0.1 * (1 + 0.02), atol=1e-5)
    np.testing.assert_allclose(variables[1], 2 - 0.025 * (1 + 0.02), atol=1e-5)


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_steps_and_state_are_those_of_keras(weight_decay):
    rng = np.random.default_rng(0)
    start, gradients = rng.normal(size=(3, 4)).astype(np.float32), rng.normal(size=(5, 3, 4)).astype(np.float32)
    ours, theirs = keras.Variable(start), keras.Variable(start)
    fused, reference = FusedAdamW(0.01, weight_decay), keras.optimizers.AdamW(0.01, weight_decay=weight_decay)
    for optimizer, variable in ((fused, ours), (reference, theirs)):
        optimizer.build([variable])
        for gradient in gradients:
            optimizer.apply([keras.ops.convert_to_tensor(gradient)], [variable])
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
    for received, expected in zip(fused.variables, reference.variables, strict=True):
        np.testing.assert_allclose(received, expected, rtol=1e-5, atol=1e-7)
