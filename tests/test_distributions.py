"""Predicted distributions of votes, with numbers known by hand, and against SciPy and TensorFlow Probability."""

import numpy as np
import pytest
from scipy import stats

from zoobot3d_tf.evaluation.distributions import answer_probabilities, question_nll, votes_nll
from zoobot3d_tf.schemas import Schema

SCHEMA = Schema({"shape": ["_smooth", "_disc", "_star"], "bar": ["_yes", "_no"]}, {"shape": None, "bar": "shape_disc"})


def random_votes(n_galaxies=50, n_samples=4):
    rng = np.random.default_rng(0)
    concentrations = rng.uniform(0.5, 100, (n_galaxies, 5, n_samples))
    return concentrations, rng.integers(0, 30, (n_galaxies, 5))


def test_two_answers_with_flat_prior_cost_ln_6():
    # With concentrations (1, 1) every split of five votes is equally likely: 6 of them.
    assert question_nll(np.ones((1, 2, 1)), np.array([[3, 2]])) == pytest.approx(np.log(6))


def test_probability_of_a_mixture_is_the_mean():
    # One vote: the probability is the expected fraction, 0.2 and 0.6 in the two samples.
    concentrations = np.array([[[2.0, 3.0], [8.0, 2.0]]])
    assert question_nll(concentrations, np.array([[1, 0]])) == pytest.approx(-np.log(0.4))


def test_likelihood_agrees_with_scipy():
    concentrations, votes = random_votes()
    for galaxy, nll in enumerate(votes_nll(concentrations, votes, SCHEMA)):
        for part, value in zip(SCHEMA.slices, nll, strict=True):
            k = votes[galaxy, part]
            by_sample = [stats.dirichlet_multinomial.pmf(k, alpha, k.sum()) for alpha in concentrations[galaxy, part].T]
            assert value == pytest.approx(-np.log(np.mean(by_sample)), rel=1e-9)


def test_likelihood_of_one_sample_is_the_loss_of_training():
    from zoobot3d_tf.training.losses import nll_by_question  # TensorFlow Probability

    concentrations, votes = random_votes(n_samples=1)
    loss = nll_by_question(votes, concentrations[..., 0], SCHEMA.slices)
    np.testing.assert_allclose(votes_nll(concentrations, votes, SCHEMA), loss, rtol=1e-9)


def test_likelihood_agrees_with_reference(reference):
    table = np.load(reference / "reference/golden/dirichlet_multinomial/dirichlet_multinomial.npz")
    for question, (first, last) in enumerate(table["question_index_groups"]):
        part = slice(first, last + 1)
        nll = question_nll(table["concentrations"][:, part, None].astype(float), table["votes"][:, part])
        np.testing.assert_allclose(nll, table["nll_per_question"][:, question], rtol=1e-9, atol=1e-9)


def test_questions_that_were_not_asked_have_no_likelihood():
    nll = votes_nll(np.ones((1, 5, 2)), np.array([[1, 0, 0, 0, 0]]), SCHEMA)
    np.testing.assert_allclose(nll, [[np.log(3), np.nan]])


def test_probabilities_of_numbers_of_votes_agree_with_scipy():
    n, alpha, beta = np.array([3, 1]), np.array([[2.0, 30.0], [1.0, 1.0]]), np.array([[5.0, 10.0], [1.0, 3.0]])
    probabilities = np.array(list(answer_probabilities(n, alpha, beta)))
    by_hand = [np.mean([stats.betabinom.pmf(k, 3, *pair) for pair in ((2, 5), (30, 10))]) for k in range(4)]
    np.testing.assert_allclose(probabilities[:, 0], by_hand)
    np.testing.assert_allclose(probabilities[:, 1], [(1 / 2 + 3 / 4) / 2, (1 / 2 + 1 / 4) / 2, 0, 0])
