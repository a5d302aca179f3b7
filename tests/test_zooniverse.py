"""Votes from Zooniverse exports, read with a file of tasks."""

import json
import re

import pandas as pd
import pytest

from zoobot3d_tf.schemas import get_schema
from zoobot3d_tf.surveys.sources import read_votes

SCHEMA = get_schema("decals")
SMOOTH, FEATURED = SCHEMA.label_cols[:2]
TASKS = """
tasks:
  T0:
    question: smooth-or-featured
    answers: {Smooth: smooth, "Features or Disk!": featured-or-disk, "Star or Artifact": artifact}
  T1: disk-edge-on
"""
SUBJECT = 'subject: {id_str: "#name", ra: "#ra", dec: "#dec"}\n'


@pytest.fixture
def write(tmp_path):
    """Function that writes an export and a file of tasks, and returns the arguments of `read_votes`."""

    def write(form, content, tasks=TASKS, name="export.csv"):
        (tmp_path / "tasks.yaml").write_text(tasks)
        if isinstance(content, list):
            pd.DataFrame(content).to_csv(tmp_path / name, index=False)
        else:
            (tmp_path / name).write_text(content)
        return tmp_path / name, form, SCHEMA, tmp_path / "tasks.yaml"

    return write


def classification(number, user, subject, answers, workflow="7", metadata=None):
    """Make a row of the export of the project builder. `answers` maps tasks to answers."""
    return {
        "classification_id": number,
        "user_name": user,
        "user_id": "",
        "user_ip": "d4f8",
        "workflow_id": workflow,
        "created_at": "2024-01-01 00:00:00 UTC",
        "metadata": "{}",
        "annotations": json.dumps([{"task": task, "value": value} for task, value in answers.items()]),
        "subject_data": json.dumps({subject: {"retired": None, **(metadata or {})}}),
        "subject_ids": subject,
    }


def posted(data, number=1, **more):
    """Make a line as Caesar posts it."""
    subject = {"id": 1000 + number, "metadata": {"#name": f"J{number}", "#ra": "10.5", "#dec": ""}}
    reduction = {"id": 5, "reducible": {"id": 7, "type": "Workflow"}, "data": data, "subject": subject, **more}
    return json.dumps({"reduction": reduction}) + "\n"


def test_classifications_are_counted_once_per_volunteer(write):
    rows = [
        classification(3, "ann", 11, {"T0": "Smooth"}),  # second classification of this galaxy, listed first
        classification(1, "ann", 11, {"T0": "Features or Disk!", "T1": "No"}),
        classification(2, "not-logged-in-d4f8", 11, {"T0": "features or disk", "T1": None, "T9": [1, 2]}),
        classification(4, "ann", 12, {"T0": "Star or Artifact"}),
    ]
    votes = read_votes(*write("classifications", rows)).set_index("id_str")
    assert list(votes.index) == ["11", "12"]
    assert votes.loc["11", FEATURED] == 2
    assert votes.loc["11", "disk-edge-on_no"] == 1
    assert votes.loc["11", SCHEMA.label_cols].sum() == 3
    assert votes.loc["12", SCHEMA.label_cols].sum() == votes.loc["12", "smooth-or-featured_artifact"] == 1


def test_answers_inside_a_combo_task_are_counted(write, caplog):
    combo = [{"task": "T0", "value": "Features or Disk!"}, {"task": "T1", "value": "No"}]
    nested = [{"task": "T8", "value": combo}, {"task": "T7", "value": ["a", "b"]}]
    rows = [
        classification(1, "ann", 11, {"T0": "Smooth"}),
        classification(2, "bob", 11, {"T9": combo}),
        classification(3, "cat", 11, {"T9": nested}),
        classification(4, "dan", 11, {"T9": [{"task": "T0", "task_label": "Shape?", "value": "Features or Disk!"}]}),
        classification(5, "eve", 11, {"T9": []}),
    ]
    votes = read_votes(*write("classifications", rows)).iloc[0]
    assert (votes[SMOOTH], votes[FEATURED], votes["disk-edge-on_no"]) == (1, 3, 2)
    assert votes[SCHEMA.label_cols].sum() == 6
    assert re.search(r"1 answers to T7, which is not in .*tasks.yaml", caplog.text)
    assert "1 empty answers" in caplog.text


def test_what_is_not_counted_is_counted(write, caplog):
    rows = [
        classification(1, "ann", 11, {"T0": "Smooth", "T1": None, "T5": 3}),
        classification(2, "ann", 11, {"T0": "Smooth"}),
        classification(3, "bob", 11, {"T0": "Smooth"}, workflow="8"),
    ]
    rows[0]["annotations"] = rows[0]["annotations"].replace("[{", '[{"task": "T0", "value": "Star or Artifact"}, {')
    votes = read_votes(*write("classifications", rows, "workflow: 7\n" + TASKS)).iloc[0]
    assert votes[SMOOTH] == votes[SCHEMA.label_cols].sum() == 1
    for what in (
        *("1 entries of other workflows", "1 entries that a volunteer", "1 answers to T5", "1 empty answers"),
        "1 answers that were changed later",
    ):
        assert what in caplog.text


def test_reductions_that_do_not_count_are_counted(write, caplog):
    rows = [
        {"subject_id": 11, "workflow_id": 7, "task": "T0", "data.smooth": 5, "data.None": 4},
        {"subject_id": 11, "workflow_id": 7, "task": "T5", "data.smooth": 3, "data.None": ""},
    ]
    assert read_votes(*write("reductions", rows))[SMOOTH].item() == 5
    assert "4 empty answers" in caplog.text
    assert "3 answers to T5" in caplog.text


def test_nothing_is_said_if_everything_counts(write, caplog):
    read_votes(*write("classifications", [classification(1, "ann", 11, {"T0": "Smooth"})]))
    assert "not counted" not in caplog.text


def test_subjects_whose_names_cannot_be_ids_are_left_out(write, caplog):
    rows = [
        classification(1, "ann", 11, {"T0": "Smooth"}, metadata={"#name": "J1"}),
        classification(2, "ann", 12, {"T0": "Smooth"}, metadata={"#name": "J1\nJ2"}),
        classification(3, "ann", 13, {"T0": "Smooth"}, metadata={"#name": "=HYPERLINK(1)"}),
    ]
    assert list(read_votes(*write("classifications", rows, SUBJECT + TASKS))["id_str"]) == ["J1"]
    assert re.search("2 subjects .*#name.* subject 12.*control character", caplog.text)


def test_metadata_of_subjects_give_names_and_positions(write, caplog):
    named = {"#name": "J1", "#ra": 10.25, "#dec": "-5"}
    rows = [
        classification(1, "ann", 11, {"T0": "Smooth"}, metadata=named),
        classification(2, "bob", 99, {"T0": "Smooth"}),  # a subject from a tutorial
        classification(3, "bob", 12, {"T0": "Smooth"}, metadata=named),  # the same galaxy, uploaded again
        classification(4, "ann", 12, {"T0": "Smooth"}, metadata=named),
    ]
    votes = read_votes(*write("classifications", rows, SUBJECT + TASKS))
    assert votes[["id_str", "ra", "dec", SMOOTH]].to_numpy().tolist() == [["J1", 10.25, -5.0, 2]]
    assert re.search("1 subjects .*#name.* subject 99", caplog.text)


def test_one_workflow_is_taken(write):
    rows = [
        classification(1, "ann", 11, {"T0": "Smooth"}),
        classification(2, "bob", 11, {"T0": "A spider"}, workflow="8"),
    ]
    with pytest.raises(ValueError, match=r"export.csv: row 3: .* workflow 8.*tasks.yaml.* 'workflow: 7'"):
        read_votes(*write("classifications", rows))
    votes = read_votes(*write("classifications", rows, "workflow: 7\n" + TASKS))
    assert votes[SCHEMA.label_cols].to_numpy().sum() == 1


def test_caesars_table_counts_by_place(write):
    common = {"workflow_id": 7, "created_at": "", "subgroup": "_default"}
    rows = [
        {"id": 1, "reducer_key": "T0", "subject_id": 11, **common, "data.0": 3, "data.1": 9, "data.2": ""},
        {"id": 2, "reducer_key": "T1", "subject_id": 11, **common, "data.0": "", "data.1": 8.0, "data.2": ""},
        {"id": 3, "reducer_key": "T7", "subject_id": 11, **common, "data.0": 1, "data.1": 8.0, "data.2": ""},
    ]
    votes = read_votes(*write("reductions", rows)).iloc[0]
    assert votes["id_str"] == "11"
    assert (votes[SMOOTH], votes[FEATURED], votes["disk-edge-on_no"]) == (3, 9, 8)
    assert votes[SCHEMA.label_cols].sum() == 20


def test_panoptes_aggregation_counts_by_text(write):
    tasks = "tasks: {T0: spiral-arm-count}"
    row = {"subject_id": 11, "workflow_id": 7, "task": "T0", "data.1": 5, "data.more-than-4": 2, "data.can-t-tell": 1}
    votes = read_votes(*write("reductions", [row | {"data.None": 4, "data.aggregation_version": "4.1.0"}], tasks)).iloc[
        0
    ]
    assert votes["spiral-arm-count_1"] == 5
    assert votes["spiral-arm-count_more-than-4"] == 2
    assert votes["spiral-arm-count_cant-tell"] == 1
    assert votes[SCHEMA.label_cols].sum() == 8


def test_the_last_posted_reduction_counts(write):
    content = posted({"0": 1}) + posted({"0": 3, "1": 9, "2": 0}) + "\n" + posted({"2": 2}, number=2)
    tasks = SUBJECT + "tasks: {T0: smooth-or-featured}"
    votes = read_votes(*write("reductions", content, tasks, "posted.jsonl"))
    assert list(votes["id_str"]) == ["J1", "J2"]
    assert votes[[*SCHEMA.label_cols[:3]]].to_numpy().tolist() == [[3, 9, 0], [0, 0, 2]]
    assert list(votes["ra"]) == [10.5, 10.5]
    assert votes["dec"].isna().all()


def test_answers_yes_and_no_need_no_quotes(write):
    tasks = "tasks: {T1: {question: disk-edge-on, answers: {Edge on: yes, Something else: no}}}"
    rows = [classification(1, "ann", 11, {"T1": "Something else"})]
    assert read_votes(*write("classifications", rows, tasks))["disk-edge-on_no"].item() == 1


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        ("tasks: {T0: smoth-or-featured}", "tasks.yaml: T0: .* has no question 'smoth-or-featured'; did you mean"),
        ("tasks: {T0: {question: bar, answers: {A: big}}}", "T0: bar .*'big'.* strong, weak, no"),
        ("tasks: {T0: {asks: bar}}", "T0 .*'asks'.* question, answers"),
        ("task: {T0: bar}", "'task'.* workflow, subject, tasks"),
        ("tasks: {}", "tasks.yaml: 'tasks' is empty"),
        ("- T0", "tasks.yaml: .*'key: value'.*'T0'"),
        ("tasks: {T0: [}", "tasks.yaml: .*YAML"),
        ("[" * 10**4, "tasks.yaml: .*YAML"),
        ("tasks: {T5: bar}", "export.csv: .*tasks.yaml: T5"),
    ],
)
def test_faulty_files_of_tasks_are_refused(write, tasks, message):
    with pytest.raises(ValueError, match=message):
        read_votes(*write("classifications", [classification(1, "ann", 11, {"T0": "Smooth"})], tasks))


def test_exports_need_a_file_of_tasks(write):
    with pytest.raises(ValueError, match="tasks_loc"):
        read_votes(*write("classifications", [])[:3])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"annotations": json.dumps([{"task": "T0", "value": "Blue"}])}, "row 2: .*T0 .*'Blue'"),
        ({"annotations": json.dumps([{"task": "T0", "value": ["Smooth"]}])}, r"row 2: .*T0 .*\['Smooth"),
        ({"annotations": "[" * 10**5}, "row 2: .*classification"),
        ({"annotations": json.dumps([{"task": "T9", "value": [{"task": "T0", "value": "Blue"}]}])}, "row 2: .*'Blue'"),
        ({"annotations": "[{"}, "row 2: .*classification"),
        ({"classification_id": "x"}, "row 2: .*classification.*'x'"),
        ({"subject_data": '{"11": {"#name": "J1", "#ra": "12h"}}'}, "row 2: #ra is '12h'"),
    ],
)
def test_faulty_classifications_are_refused_by_row(write, change, message):
    row = classification(1, "ann", 11, {"T0": "Smooth"}, metadata={"#name": "J1"}) | change
    with pytest.raises(ValueError, match=f"export.csv: {message}"):
        read_votes(*write("classifications", [row], SUBJECT + TASKS))


@pytest.mark.parametrize(
    ("form", "name", "content", "message"),
    [
        ("classifications", "e.csv", "classification_id,user_name\n1,ann\n", ".*CSV.*annotations"),
        ("classifications", "e.csv", "", ".*CSV"),
        ("reductions", "e.csv", "subject_id,data.0\n1,2\n", "lacks workflow_id, reducer_key"),
        ("reductions", "e.csv", "subject_id,workflow_id,task,data.smooth\n1,2,T0,-3\n", "row 2: smooth .*-3"),
        ("reductions", "e.csv", "subject_id,workflow_id,task,data.smooth\n1,2,T0,2.5\n", "row 2: smooth .*2.5"),
        ("reductions", "e.json", posted({"0": [1]}, reducer_key="T0"), r"line 1: 0 .*\[1\]"),
        ("reductions", "e.json", posted({"0": 1}), "line 1: .*task.*tasks.yaml"),
        ("reductions", "e.json", '{"reduction": {}}\n', "line 1: .*KeyError"),
        ("reductions", "e.json", "<html>\n", "line 1: .*reduction"),
        ("reductions", "e.json", "[" * 10**5, "line 1: .*reduction"),
    ],
)
def test_faulty_exports_are_refused(write, form, name, content, message):
    with pytest.raises(ValueError, match=f"{name}: {message}"):
        read_votes(*write(form, content, TASKS, name))


def test_a_table_of_reductions_has_no_metadata(write):
    with pytest.raises(ValueError, match=r"export.csv: .*metadata.*'subject'.*tasks.yaml"):
        read_votes(*write("reductions", [{"subject_id": 1}], SUBJECT + TASKS))
