"""Losses against answers known by hand and against reference tables."""

import numpy as np
import pytest
import tensorflow as tf

from zoobot3d_tf.training import losses


def test_two_answers_with_flat_prior_cost_ln_6():
    # With concentrations (1, 1) every split of five votes is as likely: 6 of them.
    nll = losses.dirichlet_multinomial_nll(tf.constant([[3.0, 2.0]]), tf.constant([[1.0, 1.0]]), [(0, 1)])
    np.testing.assert_allclose(nll, [[np.log(6)]], rtol=1e-6)


def test_no_votes_cost_exactly_nothing_and_move_nothing():
    concentrations = tf.Variable([[5.0, 50.0, 7.0]])
    with tf.GradientTape() as tape:
        nll = losses.dirichlet_multinomial_nll(tf.zeros((1, 3)), concentrations, [(0, 1), (2, 2)])
    assert np.all(nll.numpy() == 0)
    assert np.all(tape.gradient(nll, concentrations).numpy() == 0)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-9), ("float32", 1e-6)])
def test_dirichlet_multinomial_agrees_with_reference(reference, dtype, tolerance):
    table = np.load(reference / "reference/golden/dirichlet_multinomial/dirichlet_multinomial.npz")
    groups = [tuple(map(int, group)) for group in table["question_index_groups"]]
    concentrations = tf.Variable(table["concentrations"].astype(dtype))
    with tf.GradientTape() as tape:
        nll = losses.dirichlet_multinomial_nll(table["votes"].astype(dtype), concentrations, groups)
    np.testing.assert_allclose(nll, table["nll_per_question"], rtol=tolerance, atol=tolerance)
    gradient = tape.gradient(nll, concentrations)
    np.testing.assert_allclose(gradient, table["grad_concentrations"], rtol=tolerance, atol=tolerance)


def test_the_closed_form_is_that_of_tensorflow_probability():
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 40, (50, 6)).astype(float)
    concentrations = rng.uniform(1, 101, (50, 6))
    counts[:3] = 0
    expected = losses.dirichlet_multinomial_nll(counts, concentrations, [(0, 5)])
    received = losses.closed_form(tf.constant(counts), tf.constant(concentrations), tf.math.lgamma)
    np.testing.assert_allclose(-received, expected[:, 0], rtol=1e-12, atol=1e-11)


def test_questions_of_different_lengths_do_not_touch_each_other():
    rng = np.random.default_rng(1)
    votes, concentrations = rng.integers(0, 9, (20, 7)).astype(float), rng.uniform(1, 101, (20, 7))
    together = losses.dirichlet_multinomial_nll(votes, concentrations, [(0, 1), (2, 2), (3, 6)])
    for place, group in enumerate([(0, 1), (2, 2), (3, 6)]):
        alone = losses.dirichlet_multinomial_nll(votes, concentrations, [group])
        np.testing.assert_allclose(together[:, place], alone[:, 0], rtol=1e-13, atol=1e-13)


def test_mask_losses_by_hand():
    true, predicted = tf.fill((1, 2, 2, 1), 0.2), tf.fill((1, 2, 2, 1), 0.5)
    np.testing.assert_allclose(losses.l1(true, predicted), [0.3], rtol=1e-6)
    np.testing.assert_allclose(losses.mse(true, predicted), [0.09], rtol=1e-6)
    np.testing.assert_allclose(losses.cross_entropy(true, predicted), [np.log(2)], rtol=1e-6)
    # With concentrations (1, 1) every count from 0 to 15 is as likely.
    np.testing.assert_allclose(
        losses.beta_binomial(with_volunteers(true, 15), tf.ones((1, 2, 2, 2))), [np.log(16)], 1e-5
    )


def test_beta_binomial_counts_the_volunteers_of_each_galaxy():
    # With concentrations (1, 1) every count from 0 to n is as likely.
    three = losses.beta_binomial(with_volunteers(tf.fill((1, 2, 2, 1), 1 / 3), 3), tf.ones((1, 2, 2, 2)))
    np.testing.assert_allclose(three, [np.log(4)], rtol=1e-5)
    both = tf.concat([with_volunteers(tf.fill((1, 2, 2, 1), 2 / 3), n) for n in (3, 15)], axis=0)
    expected = [beta_binomial_by_hand(2, 5.0, 2.0, 3), beta_binomial_by_hand(10, 5.0, 2.0, 15)]
    np.testing.assert_allclose(losses.beta_binomial(both, tf.fill((2, 2, 2, 2), 1.0) * [5.0, 2.0]), expected, rtol=1e-4)


def with_volunteers(fraction, n):
    """A mask as a batch holds it for the beta-binomial loss."""
    return tf.concat([tf.cast(fraction, tf.float32), tf.fill(fraction.shape, float(n))], axis=-1)


def test_beta_binomial_agrees_with_reference(reference):
    maps = np.load(reference / "reference/golden/dirichlet_multinomial/beta_binomial_maps.npz")
    for channel in range(2):
        fraction = maps["segmaps"][:, channel, :, :, None]
        concentrations = np.moveaxis(maps["pred_maps"][:, 2 * channel : 2 * channel + 2], 1, -1)
        expected = [
            np.mean([beta_binomial_by_hand(round(f * 15), *c) for f, c in zip(fs, cs, strict=True)])
            for fs, cs in zip(
                fraction.reshape(len(fraction), -1), concentrations.reshape(len(fraction), -1, 2), strict=True
            )
        ]
        np.testing.assert_allclose(
            losses.beta_binomial(with_volunteers(fraction, 15), concentrations), expected, rtol=1e-3, atol=1e-4
        )


def beta_binomial_by_hand(k: int, a: float, b: float, n: int = 15) -> float:
    from scipy.stats import betabinom

    return -betabinom.logpmf(k, n, float(a), float(b))


@pytest.mark.parametrize("name", losses.MASK_LOSSES)
def test_better_masks_cost_less(name):
    true = tf.constant([[[[0.0], [1.0]], [[0.2], [0.8]]]])
    good, bad = true * 0.8 + 0.1, 1 - (true * 0.8 + 0.1)
    if name == "beta-binomial":
        good, bad = tf.concat([good, 1 - good], -1) * 20, tf.concat([bad, 1 - bad], -1) * 20
        true = with_volunteers(true, 15)
    loss = losses.MASK_LOSSES[name]
    assert loss(true, good)[0] < loss(true, bad)[0]
