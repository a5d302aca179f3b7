"""Values that follow from concentrations: compared with hand calculations, published values and simulations."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import betainc, betaincinv

from zoobot3d_tf.predictions.measurements import COLUMNS
from zoobot3d_tf.predictions.results import (
    column_names,
    concentration_names,
    expected_fractions,
    is_text,
    mixture_interval,
    most_likely_answers,
    plain_name,
    predicted_answers,
    tree_names,
    vote_values,
)
from zoobot3d_tf.schemas import Schema, get_schema

IDENTITY = ("id_str", "ra", "dec", "file_loc")
DECALS = get_schema("decals")
DR5 = get_schema("decals_dr5_ortho")
RINGS = get_schema("rings")
TREE = Schema(
    {
        "shape": ["_smooth", "_featured", "_artifact"],
        "bar": ["_strong", "_weak", "_no"],
        "bar-length": ["_long", "_short"],
        "merging": ["_yes", "_no"],
    },
    {
        "shape": None,
        "bar": "shape_featured",
        "bar-length": ("bar_strong", "bar_weak"),
        "merging": ("shape_smooth", "shape_featured"),
    },
)


@pytest.fixture(scope="session")
def golden(reference):
    arrays = dict(np.load(reference / "reference/golden/acquisition/dirichlet_mixture.npz"))
    return arrays | {"concentrations": arrays["concentrations"].reshape(12, 34, 10)}


def parameters(concentrations: np.ndarray, schema: Schema) -> tuple[np.ndarray, np.ndarray]:
    """Parameters of the Beta distribution of each vote fraction."""
    totals = np.concatenate(
        [np.repeat(concentrations[:, s].sum(axis=1, keepdims=True), s.stop - s.start, axis=1) for s in schema.slices],
        axis=1,
    )
    return concentrations, totals - concentrations


def mixture_cdf(fraction: np.ndarray, concentrations: np.ndarray, schema: Schema) -> np.ndarray:
    """Distribution function of the mixture over samples, at fractions of shape (galaxies, answers)."""
    return betainc(*parameters(concentrations, schema), np.clip(fraction, 0, 1)[..., None]).mean(axis=2)


# Columns


def test_columns_stand_in_the_order_of_the_schema():
    names = column_names(RINGS, 2, ["spiral_mask"], kept=["z"])
    assert names == [
        *("id_str", "ra", "dec", "z"),
        *("ring_yes_fraction", "ring_yes_low", "ring_yes_high", "ring_no_fraction", "ring_no_low", "ring_no_high"),
        "ring_asked_p",
        *COLUMNS,
        *("ring_yes_joint_p", "ring_yes_expected_votes", "ring_no_joint_p", "ring_no_expected_votes"),
        *("ring_entropy", "entropy", "most_likely", "file_loc", "spiral_mask_loc"),
        *("ring_yes_concentration_0", "ring_yes_concentration_1", "ring_no_concentration_0", "ring_no_concentration_1"),
    ]
    assert column_names(RINGS, 0, ["spiral_mask"], kept=["z"]) == names[:-4]
    assert column_names(None, 2, ["bar_mask"]) == ["id_str", "ra", "dec", *COLUMNS, "file_loc", "bar_mask_loc"]


def test_plain_names_are_names_of_variables_and_lead_back_to_the_tree():
    assert plain_name("smooth-or-featured_featured-or-disk_low") == "smooth_or_featured_featured_or_disk_low"
    assert plain_name("3 arms/α") == "_3_arms__"
    names = column_names(DECALS, 2, kept=["my-z"])
    plain = [plain_name(name) for name in names]
    assert all(name.isidentifier() for name in plain)
    table = pd.DataFrame(np.zeros((1, len(names))), columns=plain)
    assert list(tree_names(table, DECALS)) == [name.replace("my-z", "my_z") for name in names]
    assert predicted_answers(plain) == ([plain_name(answer) for answer in DECALS.label_cols], 2)


@pytest.mark.parametrize("schema", [RINGS, DECALS, TREE])
def test_answers_and_samples_are_known_from_the_columns(schema):
    columns = column_names(schema, 12, ["bar_mask"])
    assert predicted_answers(columns) == (schema.label_cols, 12)
    assert [name for name in columns if "concentration" in name] == concentration_names(schema.label_cols, 12)
    assert predicted_answers(column_names(None, 12)) == ([], 0)
    assert predicted_answers([*column_names(schema, kept=["dust_fraction"])]) == (schema.label_cols, 0)


def test_text_is_told_from_numbers():
    text = [name for name in column_names(RINGS, 1, ["spiral_mask", "bar_mask"]) if is_text(name)]
    assert text == ["id_str", "most_likely", "file_loc", "spiral_mask_loc", "bar_mask_loc"]


# Values


def test_values_known_by_hand():
    # With concentrations 1 and 1 the fraction is uniform. Samples (1, 1) and (3, 1) expect the fractions 1/2 and 3/4.
    uniform = vote_values(np.ones((1, 2, 1)), RINGS, n_votes=40)
    by_hand = {"concentration_0": 1, "fraction": 0.5, "low": 0.05, "high": 0.95, "joint_p": 0.5, "expected_votes": 20}
    for answer in RINGS.label_cols:
        for what, value in by_hand.items():
            assert uniform[f"{answer}_{what}"] == pytest.approx(value)
    assert uniform["ring_asked_p"] == 1
    assert uniform["ring_entropy"] == uniform["entropy"] == pytest.approx(np.log(2))
    assert uniform["most_likely"] == "ring_yes"

    values = vote_values(np.array([[[1, 3], [1, 1]]]), RINGS, n_votes=100)
    assert values["ring_yes_fraction"] == pytest.approx(0.625)
    assert values["ring_yes_expected_votes"] == pytest.approx(62.5)
    assert values["ring_entropy"] == pytest.approx(-0.625 * np.log(0.625) - 0.375 * np.log(0.375))
    # Beta(3, 1) has the distribution function x**3: the 5 % quantile of the mixture solves (x + x**3) / 2 = 0.05.
    low = values["ring_yes_low"][0]
    assert (low + low**3) / 2 == pytest.approx(0.05, abs=1e-5)


def test_values_are_all_columns_about_votes_in_their_order():
    values = vote_values(np.random.default_rng(0).uniform(1, 101, (3, 34, 2)), DECALS, n_votes=40)
    assert list(values) == [name for name in column_names(DECALS, 2) if name not in IDENTITY]
    assert {column.shape for column in values.values()} == {(3,)}
    assert {name: column.dtype for name, column in values.items() if column.dtype != np.float32} == {"most_likely": "O"}


def test_no_galaxies_have_no_values():
    for n_samples in (1, 3):
        values = vote_values(np.empty((0, 34, n_samples), np.float32), DECALS, n_votes=40)
        assert {column.shape for column in values.values()} == {(0,)}


def test_published_fractions_and_joint_probabilities(golden):
    fraction = expected_fractions(golden["concentrations"], DR5)
    np.testing.assert_allclose(fraction, golden["expected_fractions"], rtol=1e-9)
    values = vote_values(golden["concentrations"], DR5, n_votes=40)
    for i, answer in enumerate(DR5.label_cols):
        if not answer.startswith(
            "merging"
        ):  # published trees always ask about merging, ours only after smooth and featured
            published = golden["joint_probability_of_answer"][:, i]
            np.testing.assert_allclose(values[f"{answer}_joint_p"], published, rtol=1e-5)


def test_published_votes_of_40(golden):
    values = vote_values(golden["concentrations"], DR5, n_votes=40)
    for i, question in enumerate(DR5.questions):
        votes = np.sum([values[f"{answer.text}_expected_votes"] for answer in question.answers], axis=0)
        if question.text.startswith("merging"):
            no_artifact = 1 - values["smooth-or-featured-dr5_artifact_fraction"]
            np.testing.assert_allclose(votes, 40 * no_artifact, rtol=1e-5)
        else:
            np.testing.assert_array_equal(np.rint(votes), golden["expected_votes_of_40_rounded"][:, i])


def test_entropy_of_the_tree_is_that_of_the_ways_down():
    concentrations = np.random.default_rng(0).uniform(1, 20, (5, 10, 3))
    values = vote_values(concentrations, TREE, n_votes=40)
    fraction = dict(zip(TREE.label_cols, expected_fractions(concentrations, TREE).T, strict=True))
    ways = [fraction["shape_artifact"]]
    for merging in ("merging_yes", "merging_no"):
        ways += [fraction["shape_smooth"] * fraction[merging]]
        ways += [fraction["shape_featured"] * fraction["bar_no"] * fraction[merging]]
        for bar in ("bar_strong", "bar_weak"):
            for length in ("bar-length_long", "bar-length_short"):
                ways += [fraction["shape_featured"] * fraction[bar] * fraction[length] * fraction[merging]]
    np.testing.assert_allclose(np.sum(ways, axis=0), 1)
    np.testing.assert_allclose(values["entropy"], -np.sum(ways * np.log(ways), axis=0), rtol=1e-5)


@pytest.mark.parametrize(
    ("shape", "bar", "way"),
    [
        ((0.5, 0.3, 0.2), (0.8, 0.1, 0.1), "shape_smooth;merging_no"),
        ((0.3, 0.5, 0.2), (0.8, 0.1, 0.1), "shape_featured;bar_strong;bar-length_short;merging_no"),
        ((0.3, 0.5, 0.2), (0.1, 0.8, 0.1), "shape_featured;bar_weak;bar-length_short;merging_no"),
        ((0.3, 0.5, 0.2), (0.4, 0.1, 0.5), "shape_featured;bar_no;merging_no"),
        ((0.3, 0.2, 0.5), (0.8, 0.1, 0.1), "shape_artifact"),
        ((0.4, 0.4, 0.2), (0.8, 0.1, 0.1), "shape_smooth;merging_no"),
    ],
)
def test_most_likely_answers_lead_down_the_tree(shape, bar, way):
    concentrations = 10 * np.array([*shape, *bar, 0.4, 0.6, 0.1, 0.9])[None, :, None]
    assert vote_values(concentrations, TREE, n_votes=40)["most_likely"] == way


def test_each_galaxy_goes_its_own_way():
    fraction = expected_fractions(np.random.default_rng(0).uniform(1, 101, (200, 34, 1)), DECALS)
    together = most_likely_answers(fraction, DECALS)
    for i in range(200):
        np.testing.assert_array_equal(most_likely_answers(fraction[i : i + 1], DECALS)[0], together[i])
    given = together.astype(float)
    np.testing.assert_array_equal(DECALS.sum_by_question(given), DECALS.prob_asked(given))


# Intervals


@pytest.mark.parametrize("n_samples", [1, 2, 5])
@pytest.mark.parametrize("spread", [0.05, 1, 5])
def test_intervals_end_where_the_averaged_distribution_is_one_twentieth_and_nineteen(n_samples, spread):
    rng = np.random.default_rng(n_samples)
    logits = rng.normal(-2, 2, (40, 34, 1)) + spread * rng.normal(size=(40, 34, n_samples))
    concentrations = 1 + 100 / (1 + np.exp(-logits))
    for end, probability in zip(mixture_interval(concentrations, DECALS), (0.05, 0.95), strict=True):
        assert (mixture_cdf(end - 1e-5, concentrations, DECALS) < probability).all()
        assert (mixture_cdf(end + 1e-5, concentrations, DECALS) > probability).all()


@pytest.mark.parametrize("lowest", [0.001, 0.1])
def test_intervals_hold_for_calibrated_concentrations_below_one(lowest):
    rng = np.random.default_rng(0)
    concentrations = lowest * 100 ** rng.uniform(size=(40, 34, 5))
    for end, probability in zip(mixture_interval(concentrations, DECALS), (0.05, 0.95), strict=True):
        assert (mixture_cdf(end - 1e-4, concentrations, DECALS)[end > 1e-4] < probability).all()
        assert (mixture_cdf(end + 1e-4, concentrations, DECALS)[end < 1 - 1e-4] > probability).all()


def test_intervals_hold_where_samples_are_sure_of_the_opposite():
    rng = np.random.default_rng(0)
    concentrations = rng.choice([1.0, 101.0], (100, 34, 4))
    for end, probability in zip(mixture_interval(concentrations, DECALS), (0.05, 0.95), strict=True):
        assert (mixture_cdf(end - 1e-5, concentrations, DECALS) <= probability).all()
        assert (mixture_cdf(end + 1e-5, concentrations, DECALS) >= probability).all()


def test_intervals_hold_nine_tenths_of_what_is_drawn():
    rng = np.random.default_rng(1)
    concentrations = rng.uniform(1, 101, (3, 34, 5)) ** rng.uniform(0, 1, (3, 34, 1))
    low, high = mixture_interval(concentrations, DECALS)
    for part in DECALS.slices:
        for galaxy in range(3):
            samples = concentrations[galaxy, part].T
            drawn = np.concatenate([rng.dirichlet(sample, 20_000) for sample in samples])
            np.testing.assert_allclose((drawn < low[galaxy, part]).mean(axis=0), 0.05, atol=0.004)
            np.testing.assert_allclose((drawn > high[galaxy, part]).mean(axis=0), 0.05, atol=0.004)


def test_intervals_are_the_published_ones_where_samples_agree(golden):
    low, high = mixture_interval(golden["concentrations"], DR5)
    agreeing = np.ptp(golden["concentrations"], axis=2).max(axis=1) == 0
    assert agreeing.any()
    np.testing.assert_allclose(low[agreeing], golden["ci90_lower"][agreeing], atol=1e-5)
    np.testing.assert_allclose(high[agreeing], golden["ci90_upper"][agreeing], atol=1e-5)

    one = golden["concentrations"][..., :1]
    for end, probability in zip(mixture_interval(np.repeat(one, 5, axis=2), DR5), (0.05, 0.95), strict=True):
        np.testing.assert_allclose(end, betaincinv(*parameters(one, DR5), probability)[..., 0], atol=1e-5)


def test_published_intervals_are_too_narrow_where_samples_disagree(golden):
    concentrations = golden["concentrations"]
    disagreeing = np.ptp(concentrations, axis=2).max(axis=1) > 0
    published, ours = (
        mixture_cdf(high, concentrations, DR5) - mixture_cdf(low, concentrations, DR5)
        for low, high in ((golden["ci90_lower"], golden["ci90_upper"]), mixture_interval(concentrations, DR5))
    )
    # The published ends are medians of the ends of the samples.
    own = [np.median(betaincinv(*parameters(concentrations, DR5), p), axis=2) for p in (0.05, 0.95)]
    np.testing.assert_allclose(own, [golden["ci90_lower"], golden["ci90_upper"]], atol=1e-9)
    np.testing.assert_allclose(ours, 0.9, atol=1e-3)
    assert published[disagreeing].mean() < 0.8
    assert (published[disagreeing] < 0.9).mean() > 0.95


def test_intervals_reach_beyond_both_peaks():
    # Two samples are certain of opposite answers: the ends lie outside the two peaks, not between them.
    low, high = mixture_interval(np.array([[[101.0, 1.0], [1.0, 101.0]]]), RINGS)
    assert low[0, 0] < 0.01
    assert high[0, 0] > 0.99
