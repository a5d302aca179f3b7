"""The tree of several surveys: which question is which, and what becomes of the votes."""

import numpy as np
import pytest

from zoobot3d_tf import label_metadata
from zoobot3d_tf.common_tree import class_answers, class_names, conversion, joined_tree
from zoobot3d_tf.schemas import Schema, get_schema, schema_names

GZ2, DECALS = get_schema("gz2_ortho"), get_schema("decals_rings")


def converted(schema: Schema, to: Schema, votes: dict[str, int]) -> dict[str, float]:
    row = np.zeros(len(schema.answers), np.float32)
    for text, number in votes.items():
        row[schema.get_answer(text).index] = number
    return {answer.text: value for answer in to.answers if (value := (row @ conversion(schema, to))[answer.index])}


def test_votes_of_two_surveys_meet_in_the_same_columns():
    tree = joined_tree([GZ2, DECALS])
    assert converted(
        GZ2,
        tree,
        {
            "smooth-or-featured-gz2_featured-or-disk": 30,
            "bar-gz2_yes": 7,
            "how-rounded-gz2_cigar": 2,
            "bulge-shape-gz2_no-bulge": 3,
            "bulge-size-gz2_obvious": 4,
        },
    ) == {
        "smooth-or-featured_featured-or-disk": 30,
        "bar_yes": 7,
        "how-rounded_cigar-shaped": 2,
        "edge-on-bulge_none": 3,
        "bulge-size-gz2_obvious": 4,
    }
    assert converted(DECALS, tree, {"bar_strong": 4, "bar_weak": 3, "bar_no": 8, "bulge-size_small": 2}) == {
        "bar_yes": 7,
        "bar_no": 8,
        "bar-strength_strong": 4,
        "bar-strength_weak": 3,
        "bulge-size_small": 2,
    }


def test_the_questions_of_one_survey_alone_stand_beside_the_common_ones_and_keep_their_place():
    tree = joined_tree([GZ2, DECALS])
    texts = [question.text for question in tree.questions]
    assert texts[-2:] == ["bulge-size-gz2", "something-odd-gz2"]
    assert tree.get_question("bulge-size-gz2").asked_after == (tree.get_answer("smooth-or-featured_featured-or-disk"),)
    assert tree.get_question("bar-strength").asked_after == (tree.get_answer("bar_yes"),)
    assert "ring" in texts
    assert "ring" not in [question.text for question in joined_tree([GZ2]).questions]


@pytest.mark.parametrize("name", schema_names())
def test_every_vote_of_every_published_tree_is_kept(name):
    schema = get_schema(name)
    tree = joined_tree([schema])
    matrix = conversion(schema, tree)
    twice = [answer for answer in schema.answers if answer.question.startswith("bar") and answer.label != "no"]
    times = matrix.sum(axis=1)
    assert (times >= 1).all()
    assert set(np.flatnonzero(times > 1)) <= {answer.index for answer in twice}


def test_the_same_tree_is_not_changed_and_the_tables_name_answers_that_exist():
    tree = get_schema("galaxy_zoo")
    np.testing.assert_array_equal(conversion(tree, tree), np.eye(len(tree.answers)))
    assert joined_tree([tree]) == tree
    for answers in label_metadata.galaxy_classes.values():
        for text in answers:
            tree.get_answer(text)
    for alias, name in label_metadata.galaxy_class_names.items():
        assert class_answers(alias) == class_answers(name)


def test_a_tree_that_shares_no_question_is_refused():
    other = Schema({"dust": ["_yes", "_no"]}, {"dust": None}, "dusty")
    with pytest.raises(
        ValueError, match="'dusty' shares no question with the tree 'galaxy_zoo': its questions are dust"
    ):
        joined_tree([GZ2, other])
    with pytest.raises(ValueError, match="no question of the tree 'dusty' is in the tree 'gz2_ortho'"):
        conversion(other, GZ2)


def test_one_name_for_two_questions_is_refused():
    with pytest.raises(ValueError, match="bulge-size of the tree 'hubble' has other answers"):
        joined_tree([get_schema("decals"), get_schema("hubble")])


def test_a_class_is_known_by_any_spelling():
    assert class_answers("Spiral-Edge_on") == ("smooth-or-featured_featured-or-disk", "disk-edge-on_yes")
    assert class_answers("dont know") == ()
    assert class_answers("quasar") is None
    assert {"elliptical", "spiral-clockwise", "barred_spiral"} <= set(class_names())
