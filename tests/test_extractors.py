"""Extractor configurations of production, and decision trees made from them and turned into them."""

import pytest

from zoobot3d_tf.active_learning.extractors import (
    EXTRACTORS,
    extractor_of_tree,
    production_tree,
    tree_of_extractor,
    votes_of_reduction,
)
from zoobot3d_tf.schemas import get_schema

EXAMPLE = {
    "data_release_suffix": "example",
    "task_key_label_prefixes": {"T0": "smooth-or-featured"},
    "task_key_data_labels": {"T0": {"0": "smooth", "1": "featured", "2": "artifact"}},
}
COMMON_TASKS = {
    "T0": "smooth-or-featured",
    "T1": "how-rounded",
    "T2": "disk-edge-on",
    "T3": "edge-on-bulge",
    "T4": "bar",
    "T5": "has-spiral-arms",
    "T6": "spiral-winding",
    "T7": "spiral-arm-count",
    "T8": "bulge-size",
    "T11": "merging",
}
OF_PROBLEMS = {"T12": "lensing", "T13": "clumps", "T14": "problem", "T15": "artifact"}


def test_a_configuration_names_the_columns_of_its_tree():
    tree = tree_of_extractor(EXAMPLE, "example")
    assert tree.name == "example"
    assert tree.label_cols == [f"smooth-or-featured-example_{answer}" for answer in ("smooth", "featured", "artifact")]


def test_a_tree_and_its_configuration_turn_into_each_other():
    assert extractor_of_tree(tree_of_extractor(EXAMPLE), "example") == EXAMPLE
    tree = get_schema("decals_dr5_ortho")
    assert tree_of_extractor(extractor_of_tree(tree, "dr5")) == tree


def test_answers_have_the_order_of_their_indices():
    shuffled = {"T0": {"10": "k", **{str(i): chr(ord("a") + i) for i in reversed(range(10))}}}
    tree = tree_of_extractor(EXAMPLE | {"task_key_data_labels": shuffled})
    assert [answer.label for answer in tree.answers] == list("abcdefghijk")


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("decals", {}),
        ("cosmic_dawn", OF_PROBLEMS),
        ("euclid", OF_PROBLEMS),
        ("jwst_cosmos", {"T12": "clumps", "T19": "problem"}),
    ],
)
def test_known_extractors_have_the_tasks_of_production_and_every_column_of_their_tree(name, more):
    config = EXTRACTORS[name].config
    assert config["task_key_label_prefixes"] == COMMON_TASKS | more
    made, published = tree_of_extractor(config), production_tree(name)
    assert set(published.label_cols) <= set(made.label_cols)
    for question in published.questions:
        if question.text.rpartition("-")[0] in COMMON_TASKS.values():
            assert {p.text for p in made.get_question(question.text).asked_after} == {
                p.text for p in question.asked_after
            }


def test_the_bar_has_the_order_of_the_workflow():
    votes = votes_of_reduction(EXTRACTORS["euclid"].config, "t4", {"0": 3, "1": 9, "2": 0})
    assert votes == {"bar-euclid_no": 3, "bar-euclid_weak": 9, "bar-euclid_strong": 0}


def test_other_names_of_trees_are_those_of_the_package(tmp_path):
    assert production_tree("rings") == get_schema("rings")
    with pytest.raises(ValueError, match="euclit"):
        production_tree("euclit")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"data_release_suffix": ""}, "data_release_suffix must be text; received ''"),
        ({"task_key_label_prefixes": []}, "task_key_label_prefixes must be a JSON object"),
        ({"task_key_label_prefixes": {"T1": "bar"}}, "the same tasks; received T1 and T0"),
        ({"task_key_label_prefixes": {"T0": ""}}, "the name of a question for T0; received ''"),
        ({"task_key_data_labels": {"T0": {"first": "smooth"}}}, "an answer for each index of T0"),
        ({"task_key_data_labels": {"T0": {"0": "smooth"}}}, "at least two answers"),
    ],
)
def test_faults_of_a_configuration_are_named(change, words):
    with pytest.raises(ValueError, match=words):
        tree_of_extractor(EXAMPLE | change)


def test_two_tasks_cannot_ask_the_same_question():
    config = {
        "data_release_suffix": "x",
        "task_key_label_prefixes": {"T0": "bar", "T1": "bar"},
        "task_key_data_labels": {"T0": {"0": "yes", "1": "no"}, "T1": {"0": "yes", "1": "no"}},
    }
    with pytest.raises(ValueError, match="each question once; received bar, bar"):
        tree_of_extractor(config)


def test_faults_of_a_reduction_or_a_suffix_are_named():
    with pytest.raises(ValueError, match="one of T0; received 'T9'"):
        votes_of_reduction(EXAMPLE, "T9", {"0": 1})
    with pytest.raises(ValueError, match="of 0, 1, 2; received '7'"):
        votes_of_reduction(EXAMPLE, "T0", {"7": 1})
    with pytest.raises(ValueError, match="must end in -cd; received smooth-or-featured-dr5"):
        extractor_of_tree(get_schema("decals_dr5_ortho"), "cd")
    with pytest.raises(ValueError, match=r"each question .* once"):
        extractor_of_tree(tree_of_extractor(EXAMPLE), "example", {"T0": "bar"})
