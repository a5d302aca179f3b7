"""The last blocks of an encoder: which layers learn, and at which rate."""

import keras
import numpy as np
import pytest

from zoobot3d_tf.finetuning.blocks import LayerDecayAdamW, encoder_blocks, unfreeze
from zoobot3d_tf.models import ModelConfig, build_model
from zoobot3d_tf.schemas import get_schema


@pytest.mark.parametrize("encoder", ["EfficientNetB0", "efficientnet_b0"])
def test_unfreezing_takes_the_last_blocks_the_top_and_the_heads(encoder):
    model = build_model(ModelConfig(get_schema("rings"), 32, encoder, tasks=("votes",)))
    groups = encoder_blocks(model.get_layer("encoder"))
    assert len(groups) == 16 + 2
    factors = unfreeze(model, 1, layer_decay=0.5)
    last, top = (
        {variable.path for layer in group for variable in layer.trainable_variables}
        for group in (groups[-2], groups[-1])
    )
    heads = {variable.path for variable in model.get_layer("vote_head").trainable_variables}
    assert {variable.path for variable in model.trainable_variables} == last | top | heads
    assert len(top) == 1
    assert len(last) == 7  # three convolutions, and two with a bias in squeeze-and-excite
    assert {factors[name] for name in last} == {0.5}
    assert not (heads | top) & factors.keys()  # they have the whole rate


def test_layer_decay_moves_each_variable_by_its_own_rate():
    variables = [keras.Variable([2.0], name=name) for name in ("near", "far")]
    optimizer = LayerDecayAdamW(0.1, decay=0.01, factors={variables[1].path: 0.25})
    optimizer.build(variables)
    optimizer.apply([keras.ops.ones(1), keras.ops.ones(1)])
    # Adam's first step is the rate itself, whatever the gradient; the decay takes 2 x 0.01 x rate.
    np.testing.assert_allclose(variables[0], 2 - 0.1 * (1 + 0.02), atol=1e-5)
    np.testing.assert_allclose(variables[1], 2 - 0.025 * (1 + 0.02), atol=1e-5)
