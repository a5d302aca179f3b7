"""Probabilities and the file that production reads, with the numbers of its own tests."""

import json

import numpy as np
import pytest

from zoobot3d_tf.active_learning.extractors import production_tree
from zoobot3d_tf.active_learning.predictions_json import (
    featured_answer,
    featured_bound,
    predictions_file,
    probability_above,
    subject_predictions,
)
from zoobot3d_tf.predictions.results import expected_fractions
from zoobot3d_tf.schemas import Schema, get_schema

COSMIC_DAWN = production_tree("cosmic_dawn")
ONE_QUESTION = Schema({"smooth-or-featured": ["_smooth", "_featured", "_artifact"]}, {})
TWO_GALAXIES = np.array([[8, 2, 1.5], [4, 5, 1.5]])[..., None].repeat(5, axis=2)


def test_probabilities_are_those_of_production():
    above = probability_above(TWO_GALAXIES, ONE_QUESTION, ONE_QUESTION.answers[0], 0.2)
    assert above.shape == (2, 5)
    np.testing.assert_allclose(1 - above, [[0.00013951] * 5, [0.10257097] * 5], atol=5e-9)
    expected = expected_fractions(TWO_GALAXIES, ONE_QUESTION)[:, 0]
    np.testing.assert_allclose(expected, [0.69565217, 0.38095238], atol=5e-9)


def test_a_uniform_fraction_exceeds_the_bound_as_often_as_it_says():
    ring = Schema({"ring": ["_yes", "_no"]}, {})
    assert probability_above(np.ones((1, 2, 1)), ring, ring.answers[0], 0.2).item() == pytest.approx(0.8)


def test_entries_have_rounded_numbers_for_each_sample():
    concentrations = np.full((1, len(COSMIC_DAWN.answers), 2), 7.0, np.float32)
    concentrations[0, :3, 0] = 17.39572906, 34.65762711, 8.72911072
    (entry,) = subject_predictions(concentrations, COSMIC_DAWN, 0.2)
    assert list(entry) == ["0", "1"]
    probability, stored = entry["0"]
    assert stored == [17.396, 34.658, 8.729]
    assert probability == round(probability, 4) > 0.5


def test_the_file_describes_its_entries_as_production_does():
    content = json.loads(json.dumps(predictions_file({"14": {"0": [0.5, [1.0, 2.0, 3.0]]}}, COSMIC_DAWN, 0.2)))
    assert content["schema"]["version"] == 1
    assert content["schema"]["type"] == "zooniverse/subject_assistant"
    assert content["schema"]["data"]["subject_id"]["sample_num"] == [
        "probability_at_least_20pc_featured",
        [
            "smooth-or-featured-cd_smooth_prediction",
            "smooth-or-featured-cd_featured-or-disk_prediction",
            "smooth-or-featured-cd_problem_prediction",
        ],
    ]
    assert content["data"] == {"14": {"0": [0.5, [1.0, 2.0, 3.0]]}}


def test_the_featured_answer_is_found_in_every_campaign():
    assert featured_answer(get_schema("hubble_ortho")).text == "smooth-or-featured-hubble_features"
    assert featured_answer(get_schema("gz_evo_v2")).text == "smooth-or-featured-dr12_featured-or-disk"
    with pytest.raises(ValueError, match="must have the question smooth-or-featured"):
        featured_answer(get_schema("rings"))


def test_the_bound_comes_from_the_environment():
    assert featured_bound({}) == 0.2
    assert featured_bound({"GZ_FEATURED_UPPER_BOUND": "0.35"}) == 0.35
    for text in ("1.5", "much"):
        with pytest.raises(ValueError, match=f"GZ_FEATURED_UPPER_BOUND must be .* received '{text}'"):
            featured_bound({"GZ_FEATURED_UPPER_BOUND": text})
