"""Acquisition functions: answers known by hand, the published values, and batches that are diverse."""

import numpy as np
import pytest
from scipy.special import entr

from zoobot3d_tf.active_learning import acquisition
from zoobot3d_tf.active_learning.acquisition import (
    ACQUISITIONS,
    acquire,
    binomial_entropies,
    choose,
    choose_above,
    fraction_above,
    fraction_information,
    many_votes_information,
    mask_entropy,
    mask_information,
    sum_down_tree,
    vote_entropies,
    vote_log_p,
)
from zoobot3d_tf.active_learning.options import MASK_ENTROPY, RANKINGS, AcquisitionOptions
from zoobot3d_tf.schemas import Schema, get_schema

DECALS = get_schema("decals_dr5_ortho")
# The published tree asks about mergers always; ours does not ask about artifacts.
PUBLISHED = Schema.from_dict(
    {
        "name": "published",
        "questions": [
            question | ({"asked_after": []} if question["question"] == "merging-dr5" else {})
            for question in DECALS.to_dict()["questions"]
        ],
    }
)
YES_NO = Schema({"bar": ["_yes", "_no"]}, {}, "bar")
TREE = Schema({"disk": ["_yes", "_no"], "bar": ["_yes", "_no"]}, {"disk": None, "bar": "disk_yes"}, "tree")
GALAXY_ZOO = Schema({"smooth-or-featured": ["_smooth", "_featured", "_artifact"]}, {}, "first question")


@pytest.fixture(scope="module")
def binomial(reference):
    return np.load(reference / "reference" / "golden" / "acquisition" / "binomial_acquisition.npz")


@pytest.fixture(scope="module")
def mixture(reference):
    """Published values, and the concentrations of ten components as ten samples."""
    stored = dict(np.load(reference / "reference" / "golden" / "acquisition" / "dirichlet_mixture.npz"))
    return stored | {"samples": stored["concentrations"].reshape(12, 34, 10)}


def of_samples(*samples):
    """Concentrations of one galaxy: (1, answers, samples)."""
    return np.array(samples, float).T[None]


def entropy(*probabilities):
    return entr(np.array(probabilities)).sum()


# Votes


def test_entropies_of_one_vote_of_two_samples_that_disagree():
    found = vote_entropies(of_samples([3, 1], [1, 3]), YES_NO)
    np.testing.assert_allclose(found.predictive, [[np.log(2)]])
    np.testing.assert_allclose(found.expected, [[entropy(0.75, 0.25)]])
    np.testing.assert_allclose(found.mutual_information, [[np.log(2) - entropy(0.75, 0.25)]])


def test_with_equal_concentrations_of_1_all_outcomes_are_equally_likely():
    assert vote_entropies(of_samples([1, 1]), YES_NO, 4).predictive.item() == pytest.approx(np.log(5))
    assert vote_entropies(of_samples([1, 1, 1]), GALAXY_ZOO, 2).predictive.item() == pytest.approx(np.log(6))


def test_more_votes_tell_more():
    samples = of_samples([8, 2, 3], [3, 9, 1], [5, 5, 5])
    found = [vote_entropies(samples, GALAXY_ZOO, n).mutual_information.item() for n in (1, 2, 5, 20)]
    assert found == sorted(found)
    low, high = many_votes_information(samples, GALAXY_ZOO)
    assert found[-1] < high.item()
    assert 0 < low.item() < high.item() < np.log(3)


def test_samples_that_agree_have_no_information():
    same = np.repeat(np.random.default_rng(0).uniform(1, 101, (5, 34, 1)), 4, axis=2)
    assert (acquire("mutual-information", same, DECALS) < 1e-12).all()
    assert (acquire("many-votes-information", same, DECALS) < 1e-9).all()
    np.testing.assert_allclose(acquire("entropy", same, DECALS), acquire("expected-entropy", same, DECALS))


def test_sure_concentrations_are_a_binomial():
    p = np.array([[0.2, 0.7, 0.5]])
    concentrations = 1e7 * np.stack([p, 1 - p], axis=1)
    dirichlet, binomial = vote_entropies(concentrations, YES_NO, 10), binomial_entropies(p, 10)
    np.testing.assert_allclose(dirichlet.predictive[:, 0], binomial.predictive, atol=1e-5)
    np.testing.assert_allclose(dirichlet.expected[:, 0], binomial.expected, atol=1e-5)


def test_binomial_of_two_volunteers_by_hand():
    found = binomial_entropies([[0.5], [0.0], [1.0]], np.array([2, 3, 40]))
    np.testing.assert_allclose(found.predictive, [entropy(0.25, 0.5, 0.25), 0, 0], atol=1e-15)


@pytest.mark.parametrize("kind", ["fixed40", "variable"])
def test_binomial_agrees_with_the_published_network(binomial, kind):
    found = binomial_entropies(binomial["samples"], binomial[f"{kind}_votes"])
    exact = binomial[f"{kind}_mutual_information_exact_unrounded_rho"]
    np.testing.assert_allclose(found.mutual_information, exact, atol=1e-9)
    # The published code rounds the probabilities to three digits and adds 1e-12 inside the logarithm.
    rounded = binomial_entropies(binomial["samples"].round(3), binomial[f"{kind}_votes"])
    for what in ("predictive", "expected"):
        np.testing.assert_allclose(getattr(rounded, what), binomial[f"{kind}_{what}_entropy"], atol=1e-9)
    np.testing.assert_allclose(rounded.mutual_information, binomial[f"{kind}_mutual_information"], atol=1e-9)


def test_binomial_entropy_agrees_on_the_grid(binomial):
    rho, n_votes = binomial["binomial_entropy_rho"], binomial["binomial_entropy_n"]
    for column, n in enumerate(n_votes):
        found = binomial_entropies(rho[:, None], n).expected
        np.testing.assert_allclose(found, binomial["binomial_entropy"][:, column], atol=1e-9)


def test_outcomes_of_votes_agree_with_the_published_likelihood(mixture):
    """Natural logarithm of the probability of the votes on the first question, by galaxy and component."""
    for galaxy, votes in enumerate(mixture["q0_votes"]):
        found = dict(
            (tuple(outcome), log_p) for outcome, log_p in vote_log_p(mixture["samples"][[galaxy], :3], int(votes.sum()))
        )[tuple(votes)]
        exact = mixture["q0_mixture_log_prob_exact"][galaxy]
        np.testing.assert_allclose(np.broadcast_to(np.ravel(found), exact.shape), exact, rtol=1e-9, atol=1e-9)
        assert np.log(np.exp(found).mean()) == pytest.approx(np.log(np.exp(exact).mean()), abs=1e-9)


def test_probabilities_of_all_outcomes_add_to_one():
    concentrations = np.random.default_rng(0).uniform(1, 101, (4, 6, 3))
    outcomes = list(vote_log_p(concentrations, 5))
    assert len({tuple(votes) for votes, _ in outcomes}) == len(outcomes) == 252  # 10 choose 5
    np.testing.assert_allclose(sum(np.exp(log_p) for _, log_p in outcomes), 1)


def test_bounds_of_many_votes_agree_with_the_published_ones(mixture):
    low, high = many_votes_information(mixture["samples"], DECALS)
    mean = mixture["q0_entropy_mean_of_components"]
    np.testing.assert_allclose(low[:, 0], mixture["q0_entropy_lower_bound"] - mean, atol=1e-9)
    np.testing.assert_allclose(high[:, 0], mixture["q0_entropy_upper_bound"] - mean, atol=1e-9)


def test_information_about_a_fraction_that_may_be_anything():
    # Entropy of a coin of unknown bias is log 2; if the bias were known, it would be 1/2 on average.
    assert fraction_information(of_samples([1, 1]), YES_NO).item() == pytest.approx(np.log(2) - 0.5)


def test_information_about_the_fraction_falls_with_the_votes():
    found = [fraction_information(of_samples([n, n]), YES_NO).item() for n in (1, 10, 100)]
    assert found == sorted(found, reverse=True)
    assert found[2] == pytest.approx(1 / 400, rel=0.02)  # of two answers: 1 / (2 (a + b))


# The tree


def test_a_question_counts_as_often_as_it_is_asked():
    concentrations = of_samples([1, 3, 5, 5])
    assert acquire("entropy", concentrations, TREE).item() == pytest.approx(
        entropy(0.25, 0.75) + 0.25 * entropy(0.5, 0.5)
    )
    only_bar = AcquisitionOptions(question="bar")
    assert acquire("entropy", concentrations, TREE, only_bar).item() == pytest.approx(0.25 * np.log(2))


def test_information_down_the_tree_with_the_published_probabilities(mixture):
    samples, asked = mixture["samples"], mixture["prob_question_asked"]
    expected = np.zeros(12)
    for number, part in enumerate(DECALS.slices):
        fractions = samples[:, part] / samples[:, part].sum(axis=1, keepdims=True)
        information = entr(fractions.mean(axis=2)).sum(axis=1) - entr(fractions).sum(axis=1).mean(axis=1)
        expected += asked[:, number] * information
    np.testing.assert_allclose(acquire("mutual-information", samples, PUBLISHED), expected, atol=1e-9)


def test_sum_down_tree_of_ones_is_the_number_of_questions_asked(mixture):
    found = sum_down_tree(np.ones((12, 10)), mixture["samples"], PUBLISHED)
    np.testing.assert_allclose(found, mixture["prob_question_asked"].sum(axis=1))


@pytest.mark.parametrize("name", ACQUISITIONS)
def test_pieces_do_not_change_the_scores(monkeypatch, name):
    concentrations = np.random.default_rng(0).uniform(1, 101, (50, 4, 3)).astype(np.float32)
    options = AcquisitionOptions(answer="disk_yes")
    whole = acquire(name, concentrations, TREE, options)
    monkeypatch.setattr(acquisition, "_VALUES_AT_ONCE", 7 * 4 * 3)
    np.testing.assert_array_equal(acquire(name, concentrations, TREE, options), whole)
    assert whole.shape == (50,)
    assert len(np.unique(whole)) > 40
    assert acquire(name, concentrations[:0], TREE, options).shape == (0,)


def test_random_scores_depend_on_the_seed_only():
    concentrations = np.ones((9, 2, 1))
    first = acquire("random", concentrations, YES_NO, AcquisitionOptions(seed=1))
    np.testing.assert_array_equal(first, acquire("random", 2 * concentrations, YES_NO, AcquisitionOptions(seed=1)))
    assert (first != acquire("random", concentrations, YES_NO, AcquisitionOptions(seed=2))).all()


@pytest.mark.parametrize(
    ("name", "concentrations", "options", "words"),
    [
        ("bald", np.ones((1, 4, 2)), {}, ["'bald'", "mutual-information"]),
        ("entropy", np.ones((1, 3, 2)), {}, ["(1, 3, 2)", "4 answers"]),
        ("entropy", np.zeros((1, 4, 2)), {}, ["above 0"]),
        ("mutual-information", np.ones((1, 4, 1)), {}, ["at least two", "received 1"]),
        ("entropy", np.ones((1, 4, 1)), {"n_votes": 0}, ["n_votes", "received 0"]),
        ("random", np.ones((1, 4, 1)), {"n_votes": 2}, ["n_votes", "random"]),
        ("entropy", np.ones((1, 4, 1)), {"n_votes": 20_000}, ["at most 16383", "disk"]),
        ("entropy", np.ones((1, 4, 1)), {"question": "bars"}, ["'bars'", "bar"]),
        ("fraction-above", np.ones((1, 4, 1)), {}, ["needs answer", "disk_yes"]),
        ("fraction-above", np.ones((1, 4, 1)), {"answer": "disk_yes", "bound": 20}, ["bound", "20"]),
    ],
)
def test_impossible_requests_say_what_is_wrong(name, concentrations, options, words):
    with pytest.raises(ValueError, match=r".") as error:
        acquire(name, concentrations, TREE, AcquisitionOptions(**options))
    for word in words:
        assert word in str(error.value)


def test_forty_votes_on_one_question_need_only_that_question():
    concentrations = np.random.default_rng(0).uniform(1, 101, (3, 34, 2))
    with pytest.raises(ValueError, match="n_votes must be at most"):
        acquire("mutual-information", concentrations, DECALS, AcquisitionOptions(n_votes=40))
    question = DECALS.questions[0].text
    found = acquire("mutual-information", concentrations, DECALS, AcquisitionOptions(n_votes=40, question=question))
    _, high = many_votes_information(concentrations, DECALS, question)
    assert (found > 0).all()
    assert (found < high[:, 0]).all()


def test_all_functions_have_a_name_at_the_command_line():
    assert (*ACQUISITIONS, MASK_ENTROPY) == RANKINGS


# The rule of Galaxy Zoo


def test_probability_of_a_fraction_above_the_bound_agrees_with_galaxy_zoo():
    """Published numbers: values of the distribution function at 0.2 of the first answer."""
    concentrations = np.array([[8, 2, 1.5], [4, 5, 1.5]])[..., None]
    found = fraction_above(concentrations, GALAXY_ZOO, "smooth-or-featured_smooth", 0.2)
    np.testing.assert_allclose(1 - found, [0.00013951, 0.10257097], atol=5e-9)
    featured = of_samples([17.39572906, 34.65762711, 8.72911072])
    assert fraction_above(featured, GALAXY_ZOO, "smooth-or-featured_featured").item() > 0.5


def test_a_fraction_that_may_be_anything_is_above_a_fifth_with_four_fifths():
    options = AcquisitionOptions(answer="bar_yes")
    assert acquire("fraction-above", of_samples([1, 1]), YES_NO, options).item() == pytest.approx(0.8)


def test_a_fifth_as_many_are_drawn_from_below():
    probability = np.r_[np.full(35, 0.8), np.linspace(0, 0.79, 100)]
    chosen = choose_above(probability, seed=3)
    np.testing.assert_array_equal(chosen[:35], np.arange(35))
    assert len(chosen) == 42
    assert len(set(chosen)) == 42
    assert (probability[chosen[35:]] < 0.8).all()
    assert set(chosen[35:]) != set(choose_above(probability, seed=4)[35:])
    assert len(choose_above(probability[:39])) == 39  # four of the seven exist
    assert len(choose_above(np.full(4, 0.9))) == 4  # a fifth of 4, rounded down, is none
    assert len(choose_above(np.zeros(5))) == 0


# Batches


def test_the_highest_scores_come_first():
    np.testing.assert_array_equal(choose([1.0, 3.0, 2.0, 3.0], 3), [1, 3, 2])


def test_a_batch_with_features_has_no_copies():
    """Forty copies of the best galaxy, and three others that are far from it."""
    features = np.r_[np.zeros((40, 2)), [[0, 1], [5, 0], [0, 3]]]
    scores = np.r_[np.linspace(2, 1.9, 40), [1, 1, 1]]
    np.testing.assert_array_equal(choose(scores, 4), [0, 1, 2, 3])
    chosen = choose(scores, 5, features)
    np.testing.assert_array_equal(chosen[:4], [0, 41, 42, 40])
    assert chosen[4] < 40


def test_galaxies_of_low_scores_are_no_candidates():
    """With ten candidates per galaxy, the distant galaxy with the lowest score is not among them."""
    features = np.r_[np.arange(20.0), 1000.0][:, None]
    np.testing.assert_array_equal(choose(np.arange(21.0)[::-1], 2, features), [0, 19])


def test_each_galaxy_is_chosen_once_even_if_all_are_alike():
    assert sorted(choose(np.ones(6), 6, np.ones((6, 3)))) == list(range(6))


@pytest.mark.parametrize(
    ("scores", "n", "features", "words"),
    [
        ([1.0, 2.0], 3, None, "2; received 3"),
        ([1.0, np.nan], 1, None, "nan"),
        ([1.0, 2.0], 1, np.ones((3, 2)), "2; received 3"),
        ([1.0, 2.0], 1, np.full((2, 2), np.inf), "finite"),
    ],
)
def test_impossible_batches_are_refused(scores, n, features, words):
    with pytest.raises(ValueError, match=words):
        choose(scores, n, features)


# Masks


def test_entropy_of_a_mask_by_hand():
    """Two pixels of one half, one that all mark, and a sky that is below the smallest fraction."""
    mask = np.full((2, 8, 8), 0.01)
    mask[0, 0, :3] = 0.5, 0.5, 1.0
    np.testing.assert_allclose(mask_entropy(mask), [2 * np.log(2), 0])
    assert mask_entropy(mask, lowest=0.0)[1] == pytest.approx(64 * entropy(0.01, 0.99))


def test_information_of_a_mask_by_hand():
    """A pixel of which nothing is known, one that is known to be 1/2, and sky."""
    pixels = np.array([[[1, 1], [1e6, 1e6]], [[1, 101], [1, 101]]], float)
    assert mask_information(pixels).item() == pytest.approx(np.log(2) - 0.5, abs=1e-6)
