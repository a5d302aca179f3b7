"""Training of the last blocks of an encoder: which layers learn, and at which rate."""

import re

import keras

from zoobot3d_tf.models.config import POOLED_HEADS

_BLOCK = re.compile(r"(block\d+[a-z]+)_|((?:blocks|stages)\.\d+\.(?:blocks\.)?\d+)\.")  # layers of Keras, and of timm


def encoder_blocks(encoder: keras.Model) -> list[list[keras.layers.Layer]]:
    """Group the layers of an encoder, from input to output.

    Args:
        encoder: encoder of Keras or of timm, as `build_model` makes it.

    Returns:
        Layers of the stem, of each block, and of the top, which follows the last block.
    """
    groups: list[list[keras.layers.Layer]] = [[]]
    last = ""
    for layer in encoder.layers:
        # What halves the size before a stage of ConvNeXt is learned with the first block of the stage.
        match = _BLOCK.match(layer.name.replace(".downsample.", ".blocks.0."))
        name = (match[1] or match[2]) if match else "top" if last else ""
        if name != last:
            groups.append([])
            last = name
        groups[-1].append(layer)
    return groups


def unfreeze(model: keras.Model, n_blocks: int, layer_decay: float = 1.0) -> dict[str, float]:
    """Let the last blocks of the encoder, its top and the heads learn. Statistics of batch normalisation stay fixed.

    Args:
        model: model as `build_model` makes it. Its layers are changed in place.
        n_blocks: number of blocks that learn, counted from the last one; all if there are fewer.
        layer_decay: factor of the learning rate from each block to the block below it. Top and heads have the factor 1.

    Returns:
        Factors of the learning rate by the path of the variable, for variables of blocks.
    """
    encoder = model.get_layer("encoder")
    encoder.trainable = True
    *below, top = encoder_blocks(encoder)
    for layer in top:
        layer.trainable = any(name in model.output for name in POOLED_HEADS)  # masks do not use the top
    factors: dict[str, float] = {}
    for depth, block in enumerate(reversed(below), start=1):
        for layer in block:
            layer.trainable = depth <= n_blocks
            factors |= {variable.path: layer_decay**depth for variable in layer.trainable_variables}
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False
    return factors
