"""Training of the last blocks of an encoder: which layers learn, and at which rate."""

import re
from collections.abc import Mapping, Sequence

import keras

from zoobot3d_tf.models.heads import POOLED_HEADS

_BLOCK = re.compile(r"(block\d+[a-z]+)_|(blocks\.\d+\.\d+)\.")  # layers of Keras, and of timm


def encoder_blocks(encoder: keras.Model) -> list[list[keras.layers.Layer]]:
    """Group the layers of an encoder, from input to output.

    Args:
        encoder: EfficientNet of Keras or of timm, as `build_model` makes it.

    Returns:
        Layers of the stem, of each block, and of the top, which follows the last block.
    """
    groups: list[list[keras.layers.Layer]] = [[]]
    last = ""
    for layer in encoder.layers:
        match = _BLOCK.match(layer.name)
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


class LayerDecayAdamW(keras.optimizers.Adam):
    """AdamW with one learning rate per variable: `learning_rate` times the factor of the variable.

    The weight decay follows this rate too. AdamW of Keras decays all weights at one rate.

    Args:
        learning_rate: learning rate of variables with the factor 1.
        decay: weight decay: a step reduces a variable by this share, multiplied by its learning rate.
        factors: factors by the path of the variable; 1 for variables that are not named.
    """

    def __init__(self, learning_rate: float, decay: float, factors: Mapping[str, float]) -> None:
        super().__init__(learning_rate)
        self.decay = decay
        self.factors = factors

    def build(self, variables: Sequence[keras.Variable]) -> None:
        """Create the state of the optimiser, and put the factors in the order of the variables."""
        self.ordered_factors = [self.factors.get(variable.path, 1.0) for variable in variables]
        super().build(variables)

    def update_step(
        self, gradient: keras.KerasTensor, variable: keras.Variable, learning_rate: keras.KerasTensor
    ) -> None:
        """Update one variable."""
        rate = learning_rate * self.ordered_factors[self._get_variable_index(variable)]
        self.assign_sub(variable, variable * self.decay * rate)
        super().update_step(gradient, variable, rate)
