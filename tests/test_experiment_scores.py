"""Scores of a run for the experiment: terms of each galaxy, with answers known by hand."""

import numpy as np
import pandas as pd
import pytest

from zoobot3d_tf.evaluation.experiment_scores import mask_terms, score_galaxies, terms_of, vote_terms
from zoobot3d_tf.evaluation.masks import mask_iou
from zoobot3d_tf.schemas import Schema
from zoobot3d_tf.shards.manifest import read_manifest
from zoobot3d_tf.shards.read import iterate_records


def test_terms_of_votes_follow_the_formulas():
    schema = Schema({"a": ["_x", "_y"], "b": ["_u", "_v"]}, {"a": None, "b": None})
    votes = np.array([[1.0, 0, 0, 0], [2, 2, 0, 3]])
    concentrations = np.array([[1.0, 3, 1, 1], [2, 2, 1, 1]], np.float32)
    terms = vote_terms(votes, concentrations, schema)
    np.testing.assert_allclose(terms["vote_error"], [2 * 0.75, 2 * 0.5])
    np.testing.assert_array_equal(terms["vote_error_of"], [2, 4])
    # One vote for an answer of expected fraction 1/4. With the concentrations 1 and 1 each of the 4 outcomes of 3 votes
    # has the probability 1/4; with 2 and 2, two of four votes have the probability 9/35.
    np.testing.assert_allclose(terms["vote_nll"], -np.log([1 / 4, 9 / 35 / 4]), rtol=1e-5)


def test_terms_of_masks_are_counts_of_pixels():
    true, predicted = np.zeros((2, 4, 4)), np.zeros((2, 4, 4))
    true[0, :2], predicted[0, 1:3] = 0.5, 0.5
    terms = mask_terms("bar_mask", true, predicted)
    np.testing.assert_array_equal(terms["bar_mask_iou"], [4, 0])
    np.testing.assert_array_equal(terms["bar_mask_iou_of"], [12, 0])
    np.testing.assert_allclose(terms["bar_mask_error"], [0.25, 0])
    assert mask_iou(predicted, true) == pytest.approx(4 / 12)


def test_galaxies_without_a_label_have_no_score(shards, small_model):
    records = list(iterate_records(read_manifest(shards).paths("eval")))
    table = score_galaxies(small_model.run.folder, {"votes": shards, "masks": shards}, 4).set_index("id_str")
    assert table.index.is_unique
    for label, score in {"votes": "vote_error", "spiral_mask": "spiral_mask_iou"}.items():
        labelled = {record["id_str"] for record in records if record[f"has_{label}"]}
        assert set(table.index[table[score].notna()]) == labelled
    assert (table["spiral_mask_iou"].dropna() <= table["spiral_mask_iou_of"].dropna()).all()


def test_terms_of_seeds_are_of_the_same_galaxies_in_one_order():
    one = pd.DataFrame({"id_str": ["b", "a", "c"], "vote_nll": [2.0, 1, np.nan], "vote_nll_of": [1.0, 1, np.nan]})
    top, bottom, ids = terms_of([one, one.iloc[::-1]], "vote_nll")
    assert ids == ["a", "b"]
    np.testing.assert_array_equal(top, [[1, 2], [1, 2]])
    np.testing.assert_array_equal(bottom, np.ones((2, 2)))
    assert terms_of([one], "vote_error")[2] == []
