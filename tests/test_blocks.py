"""The last blocks of an encoder: which layers learn, and at which rate."""

import pytest

from zoobot3d_tf.finetuning.blocks import encoder_blocks, unfreeze
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
