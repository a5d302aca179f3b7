"""Batch normalisation in one operation computes what Keras computes."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from zoobot3d_tf.training.fused_normalization import fuse_normalization


def network(**settings: bool) -> keras.Model:
    image = keras.Input((4, 4, 3))
    return keras.Model(image, keras.layers.BatchNormalization(momentum=0.9, **settings)(image))


def results_of(model: keras.Model, images: tf.Tensor, training: bool) -> list[np.ndarray]:
    """Output, gradients and weights after one step."""
    with tf.GradientTape() as tape:
        tape.watch(images)
        output = model(images, training=training)
        loss = tf.reduce_sum(tf.cast(output, tf.float32) ** 3)
    gradients = tape.gradient(loss, [images, *model.trainable_variables])
    return [np.asarray(tf.cast(array, tf.float32)) for array in (output, *gradients, *model.get_weights())]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("settings", [{}, {"scale": False}, {"center": False}])
@pytest.mark.parametrize("n_galaxies", [5, 1])
def test_output_gradients_and_statistics_are_those_of_keras(training, settings, n_galaxies):
    images = tf.constant(np.random.default_rng(0).normal(3, 2, (n_galaxies, 4, 4, 3)), tf.float32)
    theirs, ours = network(**settings), network(**settings)
    fuse_normalization(ours)
    for expected, received in zip(
        results_of(theirs, images, training), results_of(ours, images, training), strict=True
    ):
        np.testing.assert_allclose(received, expected, rtol=2e-4, atol=2e-4)
    assert "FusedBatchNorm" in str(tf.function(ours).get_concrete_function(images).graph.as_graph_def())


def test_a_frozen_layer_keeps_its_statistics():
    model = network()
    fuse_normalization(model)
    model.trainable = False
    images = tf.constant(np.random.default_rng(0).normal(3, 2, (2, 4, 4, 3)), tf.float32)
    np.testing.assert_allclose(model(images, training=True), images / np.sqrt(1.001), rtol=1e-4)
    np.testing.assert_array_equal(model.layers[1].moving_mean, 0)


def test_bfloat16_stays_bfloat16():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = network()
    finally:
        keras.config.set_dtype_policy("float32")
    fuse_normalization(model)
    images = tf.constant(np.random.default_rng(0).normal(3, 2, (2, 4, 4, 3)), tf.float32)
    output = model(images, training=True)
    assert output.dtype == tf.bfloat16
    assert float(tf.math.reduce_std(tf.cast(output, tf.float32))) == pytest.approx(1, abs=0.01)


def test_a_layer_of_several_devices_is_left_to_keras():
    model = network(synchronized=True)
    fuse_normalization(model)
    assert "call" not in vars(model.layers[1])
