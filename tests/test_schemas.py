"""Decision trees: published trees and the reference tables, probabilities known by hand, files and their errors."""

import copy
import json
import pickle
import subprocess
import sys

import keras
import numpy as np
import pytest

from zoobot3d_tf import label_metadata
from zoobot3d_tf.schemas import (
    Schema,
    fraction_errors,
    get_schema,
    load_schema,
    schema_names,
    tree_text,
    vote_fractions,
)

PAIRS = {
    "shape": ["_smooth", "_featured", "_artifact"],
    "bar": ["_strong", "_weak", "_no"],
    "bar-length": ["_long", "_short"],
    "merging": ["_yes", "_no"],
}
DEPENDENCIES = {
    "shape": None,
    "bar": "shape_featured",
    "bar-length": ("bar_strong", "bar_weak"),
    "merging": ("shape_smooth", "shape_featured"),
}
NO_TABLE = {"hubble", "hubble_v2", "candels"}  # published without dependencies
OF_OUR_OWN = {"decals_rings", "galaxy_zoo"}  # of simulated galaxies, and of several surveys


@pytest.fixture
def schema() -> Schema:
    return Schema(PAIRS, DEPENDENCIES, name="small")


@pytest.fixture(scope="session")
def published(reference):
    folder = reference / "reference" / "golden" / "schemas"
    files = [folder / "schemas.json", folder / "schemas_zoobot_v0.0.2.json"]
    return {name: fact for file in files for name, fact in json.loads(file.read_text())["schemas"].items()}


# The published trees


def test_every_published_tree_is_here(published):
    assert sorted(schema_names()) == sorted([*published, *OF_OUR_OWN])
    assert len(published) == 28


def test_decals_rings_asks_the_questions_of_both():
    joined, decals = get_schema("decals_rings"), get_schema("decals")
    assert joined.label_cols == [*decals.label_cols, "ring_yes", "ring_no"]
    assert joined.get_question("ring").asked_after == ()


@pytest.mark.parametrize("name", [name for name in schema_names() if name not in OF_OUR_OWN])
def test_columns_and_index_groups_are_the_published(name, published):
    schema, fact = get_schema(name), published[name]
    assert schema.name == name
    assert schema.label_cols == fact["label_cols"]
    assert [question.text for question in schema.questions] == [q["question"] for q in fact["questions"]]
    assert schema.question_index_groups == [(q["first_index"], q["last_index"]) for q in fact["questions"]]
    assert [schema.label_cols[s] for s in schema.slices] == [q["answers"] for q in fact["questions"]]


@pytest.mark.parametrize("name", [name for name in schema_names() if name not in NO_TABLE | OF_OUR_OWN])
def test_parents_are_the_published_except_for_merging(name, published):
    schema = get_schema(name)
    for fact in published[name]["questions"]:
        question = fact["question"]
        parents = [parent.text for parent in schema.get_question(question).asked_after]
        if question.startswith("merging"):
            assert fact["asked_after"] is None
            root = question.replace("merging", "smooth-or-featured")
            featured = "features" if "candels" in question else "featured-or-disk"
            assert parents == [f"{root}_smooth", f"{root}_{featured}"]
        else:
            assert parents == ([] if fact["asked_after"] is None else [fact["asked_after"]])


@pytest.mark.parametrize("name", sorted(NO_TABLE))
def test_trees_published_without_dependencies_have_those_of_their_suffixed_twin(name, published):
    assert published[name]["dependencies_variable"] is None
    suffix = "-" + name.removesuffix("_v2")

    def parents(schema):
        return [[parent.text.replace(suffix, "") for parent in q.asked_after] for q in schema.questions]

    assert parents(get_schema(name)) == parents(get_schema(f"{name}_ortho"))


def test_roots_other_than_the_first_question():
    roots = {q.text for name in schema_names() for q in get_schema(name).questions if not q.asked_after}
    others = {root for root in roots if not root.startswith("smooth-or-featured")}
    assert others == {"ring", "something-odd", "something-odd-gz2", "something-odd-ukidss", "clumps-jwst"}


def test_zoobot_tables_build_the_same_tree():
    assert Schema(label_metadata.decals_pairs, label_metadata.decals_dependencies) == get_schema("decals")


def test_unknown_name_suggests_similar_names():
    with pytest.raises(ValueError, match=r"no schema 'decals_dr5'; did you mean 'decals_dr5_ortho' or"):
        get_schema("decals_dr5")
    with pytest.raises(ValueError, match=r"no schema 'my-survey' \(`zoobot3d schemas` lists them"):
        load_schema("my-survey")


def test_import_is_light():
    code = "import sys, zoobot3d_tf.schemas; print({'numpy', 'yaml', 'tensorflow'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"


# The tree as an object


def test_questions_and_answers(schema):
    answer = schema.get_answer("bar_weak")
    assert (answer.text, answer.question, answer.label, answer.index) == ("bar_weak", "bar", "weak", 4)
    question = schema.get_question("bar-length")
    assert [parent.text for parent in question.asked_after] == ["bar_strong", "bar_weak"]
    assert schema.get_question("shape").asked_after == ()
    assert schema.question_index_groups == [(0, 2), (3, 5), (6, 7), (8, 9)]
    assert schema.slices == (slice(0, 3), slice(3, 6), slice(6, 8), slice(8, 10))
    assert [a.index for a in schema.answers] == list(range(10))
    assert repr(schema) == "<Schema 'small': 4 questions, 10 answers>"


def test_unknown_question_and_answer(schema):
    with pytest.raises(ValueError, match=r"'small'.* has no question 'bars'; did you mean 'bar'\?"):
        schema.get_question("bars")
    with pytest.raises(ValueError, match=r"has no answer 'bar_week'; did you mean 'bar_weak'"):
        schema.get_answer("bar_week")


def test_equal_by_content(schema):
    renamed = Schema(PAIRS, DEPENDENCIES | {"merging": ["shape_featured", "shape_smooth"]}, name="other")
    assert renamed == schema
    assert hash(renamed) == hash(schema)
    assert Schema(PAIRS, DEPENDENCIES | {"merging": None}) != schema
    assert Schema(dict(reversed(PAIRS.items())), dict.fromkeys(PAIRS)) != Schema(PAIRS, dict.fromkeys(PAIRS))


def test_immutable(schema):
    with pytest.raises(AttributeError):
        schema.name = "other"
    schema.label_cols.append("intruder")
    assert len(schema.label_cols) == 10


@pytest.mark.parametrize("name", schema_names())
def test_round_trips(name):
    schema = get_schema(name)
    stored = json.loads(json.dumps(schema.to_dict(), sort_keys=True))
    for again in (Schema.from_dict(stored), pickle.loads(pickle.dumps(schema)), copy.deepcopy(schema)):  # noqa: S301
        assert again == schema
        assert again.name == name
        assert again.label_cols == schema.label_cols


def test_from_dict_refuses_other_dictionaries(schema):
    with pytest.raises(ValueError, match=r"Schema.to_dict\(\); received \{'name': 'x'\}"):
        Schema.from_dict({"name": "x"})
    stored = schema.to_dict()
    with pytest.raises(ValueError, match="schema 'small' lists a question twice"):
        Schema.from_dict(stored | {"questions": stored["questions"] + stored["questions"][:1]})
    for wrong in ({"name": 1}, {"questions": 1}, {"questions": ["bar"]}, {"questions": [{"answers": "ab"}]}):
        with pytest.raises(ValueError, match=r"Schema.to_dict\(\); received"):
            Schema.from_dict(stored | wrong)


# Probabilities and votes


PROB = np.array(
    [
        [0.3, 0.5, 0.2, 0.2, 0.4, 0.4, 0.25, 0.75, 0.1, 0.9],
        [1.0, 0.0, 0.0, 0.5, 0.5, 0.0, 0.50, 0.50, 1.0, 0.0],
    ]
)


def test_probabilities_by_hand(schema):
    # First galaxy: featured 0.5, then a bar 0.2 + 0.4; smooth or featured 0.8.
    expected = [[1.0, 0.5, 0.3, 0.8], [1.0, 0.0, 0.0, 1.0]]
    np.testing.assert_allclose(schema.prob_asked(PROB), expected, atol=1e-15)
    np.testing.assert_allclose(schema.joint_p(PROB, "shape_artifact"), [0.2, 0])
    np.testing.assert_allclose(schema.joint_p(PROB, "bar_strong"), [0.1, 0])
    np.testing.assert_allclose(schema.joint_p(PROB, "bar-length_long"), [0.075, 0])
    np.testing.assert_allclose(schema.joint_p(PROB, "merging_yes"), [0.08, 1])


def test_all_joint_probabilities_at_once(schema):
    together = PROB * schema.repeat_by_question(schema.prob_asked(PROB))
    one_by_one = np.stack([schema.joint_p(PROB, column) for column in schema.label_cols], axis=1)
    np.testing.assert_allclose(together, one_by_one, atol=1e-15)


def test_sums_and_repeats(schema):
    votes = [[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]]
    np.testing.assert_array_equal(schema.sum_by_question(votes), [[6, 15, 15, 19]])
    np.testing.assert_array_equal(schema.repeat_by_question([1, 2, 3, 4]), [1, 1, 1, 2, 2, 2, 3, 3, 4, 4])
    assert schema.sum_by_question(np.zeros((0, 10))).shape == (0, 4)
    assert schema.sum_by_question(np.zeros((2, 5, 10))).shape == (2, 5, 4)


def test_vote_fractions(schema):
    votes = [[1, 3, 0, 0, 0, 0, 2, 2, np.nan, np.nan]]
    nan = np.nan
    np.testing.assert_array_equal(vote_fractions(votes, schema), [[0.25, 0.75, 0, nan, nan, nan, 0.5, 0.5, nan, nan]])


def test_same_question_by_hand():
    schema = Schema(
        {"shape": ["_smooth", "_featured", "_artifact"], "ring": ["_yes", "_no"]}, {"shape": None, "ring": None}
    )
    np.testing.assert_array_equal(
        schema.same_question,
        [
            [1, 1, 1, 0, 0],
            [1, 1, 1, 0, 0],
            [1, 1, 1, 0, 0],
            [0, 0, 0, 1, 1],
            [0, 0, 0, 1, 1],
        ],
    )
    assert schema.same_question.dtype == np.float32
    votes = np.array([[1, 2, 4, 0, 5]])
    np.testing.assert_array_equal(votes @ schema.same_question, [[7, 7, 7, 5, 5]])


@pytest.mark.parametrize("name", schema_names())
def test_same_question_sums_votes_as_sum_by_question(name):
    schema = get_schema(name)
    votes = np.random.default_rng(0).integers(0, 40, (3, len(schema.answers)))
    expected = schema.repeat_by_question(schema.sum_by_question(votes))
    np.testing.assert_array_equal(votes @ schema.same_question, expected)


FRACTIONS = np.array(
    [
        [0.5, 0.25, 0.25, 0.2, 0.3, 0.5, 0.75, 0.25, 0.0, 1.0],
        [1.0, 0.0, 0.0, 0.2, 0.3, 0.5, 0.75, 0.25, 0.5, 0.5],
    ],
    dtype=np.float32,
)
VOTES = np.array(
    [
        [1, 3, 0, 0, 0, 0, 2, 2, 0, 1],  # 4 volunteers, none, 4 and 1
        [4, 0, 0, 0, 0, 0, 0, 0, 3, 1],  # 4 volunteers, none, none and 4
    ],
    dtype=np.float32,
)


@pytest.mark.parametrize("xp", [np, keras.ops], ids=["numpy", "keras.ops"])
def test_fraction_errors_by_hand(schema, xp):
    errors, asked = fraction_errors(FRACTIONS, VOTES, schema, xp)
    expected = [
        [0.25, 0.5, 0.25, 0, 0, 0, 0.25, 0.25, 0, 0],
        [0, 0, 0, 0, 0, 0, 0, 0, 0.25, 0.25],
    ]
    np.testing.assert_allclose(np.asarray(errors), expected, atol=1e-7)
    was_asked = [[True, False, True, True], [True, False, False, True]]
    np.testing.assert_array_equal(np.asarray(asked), schema.repeat_by_question(was_asked))


def test_fraction_errors_are_equal_in_numpy_and_keras():
    schema, rng = get_schema("gz_evo_v2"), np.random.default_rng(1)
    votes = rng.integers(0, 3, (50, len(schema.answers))).astype(np.float32)
    votes[rng.random(votes.shape) < 0.5] = 0
    fractions = rng.random(votes.shape, dtype=np.float32)
    numpy_errors, numpy_asked = fraction_errors(fractions, votes, schema, np)
    keras_errors, keras_asked = fraction_errors(fractions, votes, schema, keras.ops)
    np.testing.assert_allclose(numpy_errors, np.asarray(keras_errors), atol=1e-6)
    np.testing.assert_array_equal(numpy_asked, np.asarray(keras_asked))
    assert 0 < numpy_asked.mean() < 1
    # The observed fractions are those of `vote_fractions`, which gives NaN where nobody was asked.
    observed = vote_fractions(votes, schema)
    np.testing.assert_array_equal(numpy_asked, ~np.isnan(observed))
    np.testing.assert_allclose(numpy_errors, np.nan_to_num(np.abs(fractions - observed)), atol=1e-6)


def test_refused_arrays(schema):
    with pytest.raises(ValueError, match=r"needs 10 values on the last axis, one per answer; received shape \(2, 9\)"):
        schema.joint_p(PROB[:, :9], "bar_no")
    with pytest.raises(ValueError, match=r"needs 4 values on the last axis, one per question; received shape \(10,\)"):
        schema.repeat_by_question(np.zeros(10))
    with pytest.raises(ValueError, match="needs 10 values"):
        schema.sum_by_question(3.0)
    with pytest.raises(ValueError, match="votes must be >= 0; row 1 has -2 for 'bar_no'"):
        vote_fractions([[0] * 10, [0, 0, 0, 0, 0, -2, 0, 0, 0, 0]], schema)


def test_probabilities_agree_with_zoobot(reference):
    """Zoobot always asks about merging; here that is asked with probability P(smooth) + P(featured)."""
    golden = np.load(reference / "reference" / "golden" / "acquisition" / "dirichlet_mixture.npz")
    schema = get_schema("decals_dr5_ortho")
    fractions = golden["expected_fractions"]
    assert schema.label_cols == golden["answers"].tolist()

    expected_asked = golden["prob_question_asked"].copy()
    expected_asked[:, -1] = fractions[:, 0] + fractions[:, 1]
    np.testing.assert_allclose(schema.prob_asked(fractions), expected_asked, rtol=1e-12)

    expected_joint = golden["joint_probability_of_answer"].copy()
    expected_joint[:, schema.slices[-1]] *= (fractions[:, 0] + fractions[:, 1])[:, None]
    joint = np.stack([schema.joint_p(fractions, column) for column in schema.label_cols], axis=1)
    np.testing.assert_allclose(joint, expected_joint, rtol=1e-12)


# Trees that are refused


@pytest.mark.parametrize(
    ("pairs", "dependencies", "message"),
    [
        ({}, {}, "at least one question"),
        ({"ring": ["_yes"]}, {}, "question 'ring' needs at least two answers; received 1"),
        ({"ring": "_yes"}, {}, "question 'ring' needs a list of answers; received '_yes'"),
        ({"ring": ["_yes", "_yes"]}, {}, "two answers have the column 'ring_yes'"),
        ({"ring": ["yes", "no"]}, {}, "'ring' .* such as '_smooth'; received 'yes'"),
        ({"ring": ["_yes", 0]}, {}, "'ring' .* such as '_smooth'; received 0"),
        ({1: ["_yes", "_no"]}, {}, "name of a question .* received 1"),
        ({"a": ["_b_c", "_d"], "a_b": ["_c", "_d"]}, {}, "two answers have the column 'a_b_c'"),
        (PAIRS, {}, "dependencies lack question 'shape'"),
        (PAIRS, DEPENDENCIES | {"bar": "shape_feature"}, "'shape_feature', which is not an answer.*'shape_featured'"),
        (PAIRS, DEPENDENCIES | {"bar": "bar_no"}, "question 'bar' is asked after its own answer 'bar_no'"),
        (PAIRS, DEPENDENCIES | {"shape": "bar_no"}, "'shape' is asked after 'bar_no', .* question 'bar'"),
        (PAIRS, DEPENDENCIES | {"merging": ("shape_smooth", "bar_no")}, "one question; .* 'shape_smooth' and 'bar_no'"),
        (PAIRS, DEPENDENCIES | {"merging": ("bar_no", "bar_no")}, "question 'merging' is asked after 'bar_no' twice"),
        (PAIRS, DEPENDENCIES | {"merging": 3}, "an answer, a list of answers, or None; received 3"),
    ],
)
def test_refused_tables(pairs, dependencies, message):
    with pytest.raises(ValueError, match=message):
        Schema(pairs, dependencies)


def test_dependencies_of_other_questions_are_ignored_as_in_zoobot(schema):
    assert Schema(PAIRS, DEPENDENCIES | {"edge-on-bulge": "disk_yes"}) == schema
    assert Schema({"ring": ["_yes", "_no"]}, {}) == get_schema("rings")


# Trees from files

YAML = """\
name: small
questions:
  shape:
    answers: [smooth, featured, artifact]
  bar:
    answers: [strong, weak, no]  # no is a text here
    asked_after: shape_featured
  bar-length:
    answers:
      - long
      - short
    asked_after: [bar_strong, bar_weak]
  merging:
    answers: [yes, _no]
    asked_after:
      - shape_smooth
      - shape_featured
"""


def written(folder, text, name="tree.yaml"):
    path = folder / name
    path.write_text(text)
    return path


def test_from_yaml(tmp_path, schema):
    read = load_schema(written(tmp_path, YAML))
    assert read == schema
    assert read.name == "small"


@pytest.mark.parametrize("indent", [None, 2, "\t"])
def test_from_json(tmp_path, schema, indent):
    questions = {
        q.text: {"answers": [a.label for a in q.answers], "asked_after": [a.text for a in q.asked_after] or None}
        for q in schema.questions
    }
    read = load_schema(str(written(tmp_path, json.dumps({"questions": questions}, indent=indent), "mine.json")))
    assert read == schema
    assert read.name == "mine"


def test_numbers_and_booleans_remain_text(tmp_path):
    path = written(tmp_path, "questions: {arms: {answers: [1, 2, 3.50, yes, On, more-than-4]}}")
    assert [answer.label for answer in Schema.from_file(path).answers] == ["1", "2", "3.50", "yes", "On", "more-than-4"]


@pytest.mark.parametrize(
    ("before", "after", "line", "message"),
    [
        ("asked_after: shape_featured", "asked_after: shape_feature", 7, "is not an answer .* mean 'shape_featured'"),
        ("- shape_featured", "- shape_feature", 17, "'merging' is asked after 'shape_feature', which is not"),
        ("artifact]", "artifact]\n    asked_after: bar_no", 5, "asked after 'bar_no', .* question 'bar'"),
        ("asked_after: shape_featured", "asked_after: bar_no", 7, "asked after its own answer 'bar_no'"),
        ("- shape_featured", "- bar_no", 17, "must be asked after answers of one question"),
        ("- short", "- long", 11, "two answers have the column 'bar-length_long'"),
        ("      - short\n", "", 9, "'bar-length' needs at least two answers; received 1"),
        ("  merging:", "  bar:", 13, "'questions' has 'bar' twice, first on line 5"),
        ("    asked_after: [bar", "    after: [bar", 12, "unknown key 'after'; .* 'answers' and 'asked_after'"),
        ("name: small", "title: small", 1, "the tree has an unknown key 'title'; the keys are 'name' and 'questions'"),
        ("name: small", "name: [a, b]", 1, "the name of the tree .* received a list"),
        ("name: small", "name:", 1, "the name of the tree .* received nothing"),
        ("[strong, weak, no]", "strong", 6, "'answers' of 'bar' must be a list, .* received 'strong'"),
        ("[strong, weak, no]", "[strong, [weak], no]", 6, "an item of 'answers' of 'bar' .* received a list"),
        ("[strong, weak, no]", "[strong, ~]", 6, "an item of 'answers' of 'bar' .* received '~'"),
        ("    answers: [strong", "\tanswers: [strong", 6, "not valid YAML or JSON: .* cannot start any token"),
        ("    answers: [strong, weak, no]  # no is a text here\n", "", 5, "question 'bar' has no 'answers'"),
        ("shape_featured\n  bar-l", "{a: b}\n  bar-l", 7, "text or a list; received 'key: value' entries"),
        ("[smooth, featured, artifact]", "[smooth, featured", 5, "not valid YAML or JSON: while parsing a flow seq"),
        ("questions:\n", "questions: none\nrest:\n", 3, "unknown key 'rest'"),
    ],
)
def test_wrong_files_name_their_line(tmp_path, before, after, line, message):
    assert YAML.count(before) == 1
    path = written(tmp_path, YAML.replace(before, after))
    with pytest.raises(ValueError, match=rf"tree\.yaml:{line}: .*{message}"):
        load_schema(path)


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("", 1, "the file is empty"),
        ("name: small", 1, "the tree has no 'questions'"),
        ("\nquestions:\n", 2, "'questions' must be 'key: value' entries; received nothing"),
        ("name: x\nquestions: {}", 2, "a tree needs at least one question"),
        ("- shape", 1, "the tree must be 'key: value' entries; received a list"),
        ("questions:\n  bar: [yes, no]", 2, "question 'bar' must be 'key: value' entries; received a list"),
        ("name: x\n\0", 2, "the file is not UTF-8"),
        ("[" * 1000 + "]" * 1000, 1, "the file is nested too deeply"),
        ("{questions: " * 1000, 1, "the file is nested too deeply"),
        ('name: "\\UFFFFFFFF"', 1, "the file is not valid YAML or JSON"),
        (
            'name: "\\ud800"\nquestions:',
            1,
            r"the name of the tree must not have control characters; received '\\ud800'",
        ),
        ('questions:\n  "b\\nr": {answers: [a, b]}', 2, "a key of 'questions' must not have control characters"),
    ],
)
def test_files_that_are_no_tree(tmp_path, text, line, message):
    path = written(tmp_path, text)
    with pytest.raises(ValueError, match=rf"tree\.yaml:{line}: {message}"):
        Schema.from_file(path)


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"absent\.yaml"):
        load_schema(tmp_path / "absent.yaml")


# The tree as text


def test_tree_text(schema):
    assert tree_text(schema) == (
        "small (4 questions, 10 answers)\n"
        "shape\n"
        "├─ smooth\n"
        "├─ featured\n"
        "│  └─ bar\n"
        "│     ├─ strong\n"
        "│     ├─ weak\n"
        "│     ├─ no\n"
        "│     └─ bar-length (after strong or weak): long, short\n"
        "├─ artifact\n"
        "└─ merging (after smooth or featured): yes, no"
    )


@pytest.mark.parametrize("name", schema_names())
def test_tree_text_shows_everything_once(name):
    schema = get_schema(name)
    lines = [line.strip("│├└─ ") for line in tree_text(schema).splitlines()[1:]]
    leading = {parent.question for question in schema.questions for parent in question.asked_after}
    n_answers_of_leading = sum(len(question.answers) for question in schema.questions if question.text in leading)
    assert len(lines) == len(schema.questions) + n_answers_of_leading
    assert {question.text for question in schema.questions} <= {line.split(":")[0].split(" (")[0] for line in lines}
