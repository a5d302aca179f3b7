"""Labels: their columns, heads, losses and metrics, and all stages from a catalogue of labels to predictions."""

import json
import re

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from PIL import Image

from zoobot3d_tf.cli import main
from zoobot3d_tf.data.dataset import Survey, evaluation_batches, training_batches
from zoobot3d_tf.data.framing import Framing
from zoobot3d_tf.labels import Label, read_known_labels, read_labels, summarise
from zoobot3d_tf.models import ModelConfig, build_model
from zoobot3d_tf.models.heads import build_label_head, restore_class_shares
from zoobot3d_tf.predictions.prediction_tables import load_predictions
from zoobot3d_tf.runs.hub import model_card
from zoobot3d_tf.runs.run_folder import read_run
from zoobot3d_tf.schemas import get_schema
from zoobot3d_tf.shards.manifest import check_shards, read_manifest
from zoobot3d_tf.shards.options import ShardOptions
from zoobot3d_tf.shards.read import iterate_records
from zoobot3d_tf.shards.record import Record, parse, serialise
from zoobot3d_tf.shards.write import create_shards
from zoobot3d_tf.tables.formats import read_table
from zoobot3d_tf.training.losses import label_loss
from zoobot3d_tf.training.metrics import label_sums, results
from zoobot3d_tf.training.training_config import config_from_folders

BINARY = Label("ring", "binary", counts=(6, 2))
MULTICLASS = Label("type", "multiclass", ("E", "S", "SB"), counts=(1, 2, 3))
REGRESSION = Label("redshift", "regression", mean=10.0, scale=4.0)
NAN = float("nan")


def read_column(tmp_path, cells, kind=None, label_values=()):
    path = tmp_path / "catalog.csv"
    lines = [f"g{i},{cell}" for i, cell in enumerate(cells)]
    path.write_text("\n".join(["id_str,ring", *lines]) + "\n")
    return read_labels(path, read_table(path), "ring", kind, label_values)


@pytest.mark.parametrize(
    ("cells", "kind", "classes", "values"),
    [
        (["1", "0", "", "1"], "binary", (), [1, 0, NAN, 1]),
        (["True", "False", "True"], "binary", (), [1, 0, 1]),
        (["True", "", "False"], "binary", (), [1, NAN, 0]),
        (["yes", "No", " "], "binary", (), [1, 0, NAN]),
        (["SB", "E", "", "S", "E"], "multiclass", ("E", "S", "SB"), [2, 0, NAN, 1, 0]),
        (["3", "1", "", "2"], "multiclass", ("1", "2", "3"), [2, 0, NAN, 1]),
        (["1", "2", "2b"], "multiclass", ("1", "2", "2b"), [0, 1, 2]),
        (["0.5", "1", ""], "regression", (), [0.5, 1, NAN]),
        ([str(i) for i in range(21)], "regression", (), list(range(21))),
    ],
)
def test_kind_is_guessed_from_the_values(tmp_path, cells, kind, classes, values):
    label, received = read_column(tmp_path, cells)
    assert (label.column, label.kind, label.classes) == ("ring", kind, classes)
    assert received.dtype == np.float64
    np.testing.assert_array_equal(received, values)


def test_kind_can_be_given(tmp_path):
    label, values = read_column(tmp_path, ["0", "1", "1"], "multiclass")
    assert label.classes == ("0", "1")
    label, values = read_column(tmp_path, ["2", "1", ""], "regression")
    np.testing.assert_array_equal(values, [2, 1, NAN])


@pytest.mark.parametrize(
    ("cells", "kind", "words"),
    [
        (["", ""], None, "ring is empty"),
        (["yes", "yes", ""], None, "ring is 'yes' .* both classes"),
        (["E", "E"], None, "ring is 'E' .* two classes"),
        (["0", "1", "2"], "binary", r"ring is 2 in row 4 \(g2\); a binary label is 0 or 1, false or true, no or yes"),
        (["0.5", "1.5", "2.5", "?"], None, r"ring is '\?' in row 5 \(g3\); it must be a number"),
        (["E", "0.5"], "regression", r"ring is 'E' in row 2 \(g0\); it must be a number"),
        (["0.5", "inf"], None, r"ring is inf in row 3 \(g1\); it must be finite"),
        ([f"name {i}" for i in range(101)], None, "ring has 101 distinct values, .*at most 100 classes"),
    ],
)
def test_unusable_columns_are_refused(tmp_path, cells, kind, words):
    with pytest.raises(ValueError, match=words):
        read_column(tmp_path, cells, kind)


@pytest.mark.parametrize(
    ("cells", "kind", "words"),
    [
        (["0", "1", "-99", "-99"], None, r"ring is -99 in row 4 \(g2\) and 1 more; .*placeholder .*label_values"),
        (["0", "-1", "1"], None, "ring is -1 in row 3"),
        (["0", "1", "", "999"], None, r"ring is 999\.0 in row 5"),
        (["0", "1", "-9"], "binary", "ring is -9 in row 4"),
        (["1", "2", "3", "9999"], "multiclass", "ring is 9999 in row 5"),
        (["0.1", "0.02", "-99", "2.5"], None, r"ring is -99\.0 in row 4"),
        (["0.1", "0.02", "-999.9"], None, r"ring is -999\.9 in row 4"),
        (["14.2", "20.1", "99.99"], None, r"ring is 99\.99 in row 4"),
        (["150.5", "220.1", "-1"], None, r"ring is -1\.0 in row 4"),
        (["320.5", "50.5", "-99"], None, r"ring is -99\.0 in row 4"),
        (["-20.5", "-21.2", "-9999", "99"], None, r"ring is -9999\.0 in row 4"),
        (["0.1", "0.2", "1e20"], None, r"ring is 1e\+20 in row 4"),
        (["E", "S", "-99"], None, "ring is '-99' in row 4"),
        (["E", "S", "unknown", "S"], None, "ring is 'unknown' in row 4"),
        (["E", "?", "S"], None, r"ring is '\?' in row 3"),
        (
            ["spiral", "Spiral", "E", "Spiral"],
            None,
            r"'spiral' in row 2 \(g0\) and 'Spiral' in row 3 \(g1\) and 1 more",
        ),
        (["S  B", "S B", "E"], None, "differ in case or spaces only"),
    ],
)
def test_placeholders_and_other_spellings_are_refused(tmp_path, cells, kind, words):
    with pytest.raises(ValueError, match=words):
        read_column(tmp_path, cells, kind)


@pytest.mark.parametrize(
    ("cells", "label_values", "kind", "classes"),
    [
        (["0", "1", "-99"], ["0", "1", "-99"], "multiclass", ("-99", "0", "1")),
        (["-1", "1", "1"], ["-1", "1"], "multiclass", ("-1", "1")),
        (["Sb", "SB", "E"], ["SB", "Sb", "E"], "multiclass", ("E", "SB", "Sb")),
        (["E", "unknown"], ["E", "unknown"], "multiclass", ("E", "unknown")),
        (["0.5", "-99", "0.7"], ["-99.0"], "regression", ()),
    ],
)
def test_values_that_are_meant_can_be_named(tmp_path, cells, label_values, kind, classes):
    label, values = read_column(tmp_path, cells, None, label_values)
    assert (label.kind, label.classes) == (kind, classes)
    assert not np.isnan(values).any()


def test_a_class_that_is_not_named_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"ring is 'Sbc' in row 4 \(g2\); label_values names the classes E, S"):
        read_column(tmp_path, ["E", "S", "Sbc"], None, ["E", "S"])
    with pytest.raises(ValueError, match=r"ring is -99 in row 4"):
        read_column(tmp_path, ["0", "1", "-99"], None, ["0", "1"])


@pytest.mark.parametrize(
    "cells",
    [
        [str(i) for i in range(100)],  # 99 is the next number
        ["-300.5", "-99", "250"],
        ["97", "98", "99"],
        ["-5", "-1", "0", "10"],  # Hubble stages
        ["none", "weak", "strong"],
    ],
)
def test_values_that_fit_to_the_others_are_no_placeholders(tmp_path, cells):
    assert not np.isnan(read_column(tmp_path, cells)[1]).any()


def test_placeholders_in_single_precision_are_found():
    table = pd.DataFrame({"id_str": ["a", "b", "c"], "z": np.array([0.1, 0.2, -99.9], np.float32)})
    with pytest.raises(ValueError, match=r"z is -99\.9.* in row 4 \(c\)"):
        read_labels("c.fits", table, "z")


def test_missing_column_is_named(tmp_path):
    table = pd.DataFrame({"id_str": ["a"]})
    with pytest.raises(ValueError, match=r"c\.csv: lacks the column ring"):
        read_labels("c.csv", table, "ring")


def test_rare_classes_have_larger_weights():
    label = Label("ring", "binary").of_training(np.array([0, 0, NAN, 0, 1]))
    assert label.counts == (3, 1)
    assert label.class_weights == pytest.approx((2 / 3, 2))
    assert Label("t", "multiclass", ("a", "b", "c")).of_training(np.array([2, 0, 1, 1])).counts == (1, 2, 1)


def test_regression_labels_have_mean_and_scale_of_training_galaxies():
    label = Label("z", "regression").of_training(np.array([1.0, NAN, 3.0]))
    assert (label.mean, label.scale, label.class_weights) == (2, 1, ())


@pytest.mark.parametrize(
    ("label", "values", "words"),
    [
        (Label("ring", "binary"), [0, 0, NAN], "no training galaxy has ring '1'"),
        (Label("t", "multiclass", ("a", "b")), [1, NAN], "no training galaxy has t 'a'"),
        (Label("z", "regression"), [2, 2, NAN], "z must have .*received 1 in the 2 galaxies"),
    ],
)
def test_labels_without_variation_are_refused(label, values, words):
    with pytest.raises(ValueError, match=words):
        label.of_training(np.array(values, np.float64))


DAYS = np.linspace(0, 1, 50)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (
            2459000.5 + 0.1 * DAYS,
            r"z has a standard deviation of 0\.0295 .*steps of 0\.25; subtract .*such as 2459000\.55",
        ),
        (2459000.5 + 5 * DAYS, "steps of 0.25"),
        (1e40 * (1 + DAYS), "change its unit"),
        (1e-44 * (1 + DAYS), "change its unit"),
    ],
)
def test_numbers_that_single_precision_cannot_tell_apart_are_refused(values, words):
    with pytest.raises(ValueError, match=words):
        Label("z", "regression").of_training(values)


def test_numbers_with_a_large_offset_are_learned_if_they_can_be_told_apart():
    values = 2459000.5 + 1000 * DAYS
    label = Label("z", "regression").of_training(values)
    assert (label.mean, label.scale) == (values.mean(), values.std())
    # The loss of a network that predicts the mean is the variance, which is 1 in units of the label's scatter.
    loss = label_loss(label)(tf.constant(values[:, None], tf.float32), tf.constant(label.mean, tf.float32))
    assert float(tf.reduce_mean(loss)) == pytest.approx(1, abs=0.001)


def test_labels_are_summarised():
    assert (
        summarise(MULTICLASS, np.array([0, 2, NAN, 2]))
        == "type (multiclass): 1 of 'E', 0 of 'S', 2 of 'SB'; 1 without a label"
    )
    assert (
        summarise(REGRESSION, np.array([1, 4.0]))
        == "redshift (regression): 2 numbers, from 1 to 4, mean 2.5; 0 without a label"
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("ring", "yes/no"), "one of binary, multiclass, regression; received 'yes/no'"),
        (("t", "multiclass", ("a",)), "at least two .*'a'"),
        (("t", "multiclass", ("a", "a")), "at least two .*'a', 'a'"),
        (("ring", "binary", ("a", "b")), "classes of a binary label .*'a', 'b'"),
        (("z", "regression", (), 0.0, 0.0), "received mean 0.0, scale 0.0"),
        (("ring", "binary", (), 0.0, 1.0, (1, 2, 3)), r"counts must be 2 numbers .*\(1, 2, 3\)"),
        (("image_loc", "binary"), "the column 'image_loc'"),
        (("", "binary"), "column must be the name of a column; received ''"),
    ],
)
def test_impossible_labels_are_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        Label(*arguments)


@pytest.mark.parametrize("label", [BINARY, MULTICLASS, REGRESSION])
def test_labels_round_trip_through_json(label):
    assert Label.from_dict(json.loads(json.dumps(label.to_dict()))) == label


@pytest.mark.parametrize(
    "stored",
    [
        {},
        {"column": "a", "kind": "binary", "more": 1},
        "ring",
        {"column": "a", "kind": "binary", "counts": {}},
        {"column": "a", "kind": "multiclass", "classes": "ab"},
    ],
)
def test_dictionaries_of_another_form_are_refused(stored):
    with pytest.raises(ValueError, match=r"Label\.to_dict\(\); received"):
        Label.from_dict(stored)


@pytest.mark.parametrize(
    ("stored", "words"),
    [
        ({"column": 1, "kind": "binary"}, "column must be the name of a column; received 1"),
        ({"column": "a", "kind": ["binary"]}, "kind must be one of"),
        ({"column": "a", "kind": "multiclass", "classes": [1, 2]}, "classes must be names"),
        ({"column": "a", "kind": "regression", "mean": True}, "mean must be finite .*True"),
        ({"column": "a", "kind": "regression", "scale": 10**400}, "scale must be > 0"),
        ({"column": "a", "kind": "regression", "mean": "1"}, "mean must be finite"),
        ({"column": "a", "kind": "binary", "counts": [1.5, 2]}, "counts must be 2 numbers"),
        ({"column": "a", "kind": "binary", "counts": [True, 2]}, "counts must be 2 numbers"),
    ],
)
def test_impossible_stored_labels_are_refused(stored, words):
    with pytest.raises(ValueError, match=words):
        Label.from_dict(stored)


# The model, its losses and its metrics


@pytest.mark.parametrize("label", [BINARY, MULTICLASS, REGRESSION])
def test_head_gives_probabilities_or_numbers_in_the_unit_of_the_label(label):
    keras.utils.set_random_seed(0)
    head = build_label_head(16, label, dropout=0.2)
    features = np.random.default_rng(0).normal(0, 1, (5, 16)).astype(np.float32)
    dense = head.layers[2]
    plain = features @ np.asarray(dense.kernel) + np.asarray(dense.bias)
    expected = {
        "binary": 1 / (1 + np.exp(-plain)),
        "multiclass": np.exp(plain) / np.exp(plain).sum(axis=1, keepdims=True),
        "regression": 10 + 4 * plain,
    }[label.kind]
    np.testing.assert_allclose(head(features, training=False), expected, rtol=1e-4, atol=1e-5)
    assert head.output.shape == (None, len(label.outputs))


@pytest.mark.parametrize(
    ("label", "shares"),
    [
        (Label("ring", "binary", counts=(6, 2)), [0.25]),
        (Label("type", "multiclass", ("a", "b", "c"), counts=(1, 2, 5)), [0.125, 0.25, 0.625]),
    ],
)
def test_untrained_head_gives_the_shares_of_the_classes(label, shares):
    head = build_label_head(4, label, dropout=0.2)
    features = keras.Input((4,))
    model = keras.Model(features, head(features))
    model.set_weights([np.zeros_like(weights) for weights in model.get_weights()])  # all classes equal
    restore_class_shares(model, label)
    np.testing.assert_allclose(model(np.ones((1, 4)))[0], shares, rtol=1e-6)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"tasks": ("label",), "label": None}, "the task label needs a label"),
        ({"tasks": ("bar_mask",), "label": BINARY}, "the label ring is given, but label is not among the tasks"),
        ({"tasks": ("votes", "label"), "label": BINARY}, "the task votes needs a schema"),
    ],
)
def test_contradictory_model_configs_are_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        ModelConfig(schema=None, **settings)


@pytest.mark.parametrize(
    ("label", "values", "predicted", "expected"),
    [
        (BINARY, [[1], [0]], [[0.25], [0.25]], [np.log(4), np.log(4 / 3)]),
        (MULTICLASS, [[2], [0]], [[0.25, 0.25, 0.5], [0.125, 0.5, 0.375]], [np.log(2), np.log(8)]),
        (REGRESSION, [[8], [2]], [[10], [2]], [0.25, 0]),
    ],
)
def test_losses_by_hand(label, values, predicted, expected):
    loss = label_loss(label)(tf.constant(values, tf.float32), tf.constant(predicted, tf.float32))
    np.testing.assert_allclose(loss, expected, rtol=1e-5, atol=1e-6)


def result_of(label, values, predicted, weights):
    return results(label_sums(label, *(tf.constant(array, tf.float32) for array in (values, predicted, weights))))


def test_metrics_ignore_class_weights_and_galaxies_without_a_label():
    received = result_of(BINARY, [[1], [0], [0], [1]], [[0.7], [0.6], [0.2], [0.1]], [3, 1, 1, 0])
    assert received == {"accuracy": pytest.approx(2 / 3), "auc": pytest.approx(1, abs=1e-3)}
    received = result_of(MULTICLASS, [[2], [0], [1]], np.eye(3)[[2, 1, 1]], [5, 1, 0])
    assert received == {"accuracy": pytest.approx(0.5)}
    assert result_of(REGRESSION, [[8], [2], [0]], [[10], [1], [99]], [1, 1, 0]) == {"mae": pytest.approx(1.5)}


# From a catalogue to predictions


@pytest.fixture(scope="module")
def catalog(tmp_path_factory):
    """Catalogue of forty galaxies with three labels. One galaxy in ten has none. Galaxies with a ring are bright."""
    folder = tmp_path_factory.mktemp("labels")
    rng = np.random.default_rng(0)
    rows = []
    for i in range(40):
        pixels = rng.integers(0, 60, (32, 32, 3)) + (150 if i % 3 == 0 else 0)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{i}.png")
        known = i % 10 != 9
        rows.append(
            {
                "id_str": f"g{i}",
                "file_loc": f"{i}.png",
                "ring": int(i % 3 == 0) if known else None,
                "type": ("E", "S", "SB")[i % 3] if known else None,
                "redshift": 0.1 + i / 7 if known else None,
            }
        )
    pd.DataFrame(rows).astype({"ring": "Int64"}).to_csv(folder / "catalog.csv", index=False)
    return folder / "catalog.csv"


@pytest.fixture(scope="module")
def folders(catalog, tmp_path_factory):
    """Shards of the catalogue with one label, by its column."""
    home = tmp_path_factory.mktemp("shards")
    return {
        column: create_shards(
            catalog, home / column, None, ShardOptions(img_size=32, eval_size=0.3, label_col=column)
        ).parent
        for column in ("ring", "type", "redshift")
    }


def test_the_summary_of_shards_names_kind_classes_and_numbers(folders, catalog, caplog):
    with caplog.at_level("INFO"):
        again = ShardOptions(img_size=32, eval_size=0.3, label_col="type", resume=True)
        manifest = read_manifest(create_shards(catalog, folders["type"], None, again).parent)
    e, s, sb = manifest.label.counts
    assert f"train: label type (multiclass): {e} of 'E', {s} of 'S', {sb} of 'SB'; " in caplog.text
    assert "eval: label type (multiclass): " in caplog.text


def test_values_that_are_meant_are_named_at_the_command_line(catalog, tmp_path, capsys):
    table = pd.read_csv(catalog)
    table["file_loc"] = [str(catalog.parent / name) for name in table["file_loc"]]
    table["ring"] = 2 * table["ring"] - 1
    table.to_csv(tmp_path / "signs.csv", index=False)
    command = f"shards --labelled-catalog {tmp_path / 'signs.csv'} --shard-dir {tmp_path / 'shards'} --img-size 32"
    command += " --label-col ring --workers 1"
    assert main(command.split()) == 2
    assert re.search(r"signs\.csv: ring is -1\.0 in row 3 .*--label-values$", capsys.readouterr().err.strip())
    assert main([*command.split(), "--label-values=-1,1"]) == 0
    assert read_manifest(tmp_path / "shards").label.classes == ("-1", "1")


@pytest.mark.parametrize("column", ["ring", "type", "redshift"])
def test_shards_hold_the_labels_and_their_description(folders, catalog, column):
    manifest = read_manifest(folders[column])
    table = pd.read_csv(catalog).set_index("id_str")
    records = {split: list(iterate_records(manifest.paths(split))) for split in ("train", "eval")}
    assert sum(map(len, records.values())) == 40
    for record in records["train"] + records["eval"]:
        cell = table.loc[record["id_str"], column]
        assert record["has_label"] == (not pd.isna(cell))
        if pd.isna(cell):
            assert np.isnan(record["label"])
        elif column == "type":
            assert manifest.label.classes[int(record["label"])] == cell
        else:
            assert record["label"] == cell
    of_training = [record["label"] for record in records["train"] if record["has_label"]]
    assert manifest.count("train", "with_label") == len(of_training)
    assert manifest.schema is None
    if column == "redshift":
        assert (manifest.label.mean, manifest.label.scale) == pytest.approx((np.mean(of_training), np.std(of_training)))
    else:
        assert manifest.label.counts == tuple(np.bincount(np.array(of_training, int)))


def test_records_of_earlier_formats_have_no_label():
    record = Record("g", b"", b"", b"", np.zeros(2), False, False, False, 15, NAN, NAN, NAN, label=1.0, has_label=True)
    example = tf.train.Example.FromString(serialise(record))
    read = parse(tf.constant([example.SerializeToString()]), 2)
    assert (read["label"].numpy()[0], read["has_label"].numpy()[0]) == (1, True)
    for name in ("label", "has_label"):
        del example.features.feature[name]
    read = parse(tf.constant([example.SerializeToString()]), 2)
    assert np.isnan(read["label"].numpy()[0])
    assert not read["has_label"].numpy()[0]


def test_batches_have_zeros_for_missing_labels_and_class_weights(folders):
    surveys = [Survey(tuple(map(str, read_manifest(folders["ring"]).paths("train"))), np.eye(0))]
    framing = Framing(32, 32, 32)
    _, targets, weights = next(evaluation_batches(surveys, framing, 40, ("label",)).as_numpy_iterator())
    assert targets["label"].shape == (len(weights["label"]), 1)
    assert set(weights["label"]) == {0.0, 1.0}
    assert (targets["label"][weights["label"] == 0] == 0).all()
    _, targets, weights = next(training_batches(surveys, framing, 40, ("label",), 0, (0.5, 3.0)).as_numpy_iterator())
    known = weights["label"] > 0
    np.testing.assert_array_equal(weights["label"][known], np.where(targets["label"][known, 0] == 1, 3.0, 0.5))


def test_missing_labels_have_no_gradient():
    features = tf.random.normal((2, 16))
    head = build_label_head(16, REGRESSION, dropout=0.2)
    with tf.GradientTape() as tape:
        losses = label_loss(REGRESSION)(tf.zeros((2, 1)), head(features))
        loss = tf.reduce_sum(losses * tf.constant([0.0, 0.0]))
    for gradient in tape.gradient(loss, head.trainable_variables):
        np.testing.assert_array_equal(gradient, 0)


def test_shards_with_another_label_are_refused(folders):
    paths = read_manifest(folders["ring"]).paths("train")
    check_shards(paths, label=BINARY)
    with pytest.raises(
        ValueError, match="these shards hold the binary label ring; received the multiclass label type with"
    ):
        check_shards(paths, label=MULTICLASS)


def test_tasks_include_the_label_if_shards_have_one(folders, shards, tmp_path):
    folder = folders["redshift"]
    config = config_from_folders(
        folder / "train_shards", folder / "eval_shards", tmp_path / "run", resize_size=32, epochs=1, batch_size=8
    )
    assert config.model.tasks == ("label",)
    assert config.model.label == read_manifest(folder).label
    settings = {"resize_size": 32, "epochs": 1, "batch_size": 8}
    config = config_from_folders(shards / "train_shards", shards / "eval_shards", tmp_path / "run", **settings)
    assert config.model.label is None
    assert "label" not in config.to_dict()["training"]["loss_weights"]
    with pytest.raises(ValueError, match="the task label needs a label; shards made with label_col hold one"):
        config_from_folders(
            shards / "train_shards", shards / "eval_shards", tmp_path / "run", tasks=["label"], **settings
        )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--label-col", "bar"], "lacks the column bar"),
        (["--label-col", "type", "--label-kind", "binary"], "type is 'E' in row 2 (g0)"),
        (["--label-kind", "binary"], "--label-kind 'binary' needs --label-col"),
        ([], "lacks the columns smooth-or-featured_smooth"),
        (["--schema", "none"], "no galaxy has a vote or a mask"),
    ],
)
def test_mistakes_give_short_errors(catalog, tmp_path, capsys, arguments, words):
    assert main(["shards", "--labelled-catalog", str(catalog), "--shard-dir", str(tmp_path / "s"), *arguments]) == 2
    assert words in capsys.readouterr().err


def test_catalogue_with_labels_only_becomes_predictions(catalog, tmp_path):
    shards, run, table = tmp_path / "shards", tmp_path / "run", tmp_path / "table.csv"
    make = ["shards", "--labelled-catalog", str(catalog), "--shard-dir", str(shards), "--label-col", "ring"]
    assert main([*make, "--img-size", "32", "--eval-size", "0.3", "--workers", "1"]) == 0
    train = ["train", "--experiment-dir", str(run), "--train-dir", str(shards / "train_shards"), "--eval-dir"]
    train += [str(shards / "eval_shards"), "--tasks", "label", "--resize-size", "32", "--crop-size", "32"]
    assert main([*train, "--epochs", "1", "--batch-size", "16"]) == 0
    history = pd.read_csv(run / "history.csv")
    assert {"val_accuracy", "val_auc"} <= set(history)
    assert np.isfinite(history.to_numpy()).all()

    trained = read_run(run)
    assert trained.model.label == read_manifest(shards).label
    predict = ["predict", "--checkpoint-dir", str(run), "--catalog", str(catalog), "--save-loc", str(table)]
    assert main([*predict, "--n-samples", "2", "--engine", "tf"]) == 0
    read = load_predictions(table)
    assert list(read.table.columns) == ["id_str", "ra", "dec", "ring", "file_loc"]
    assert len(read.table) == 40
    assert (read.label, read.schema, read.concentrations) == (trained.model.label, None, None)
    assert read.table["ring"].dtype == np.float32
    assert read.table["ring"].between(0, 1).all()

    assert main(["predictions", "show", str(table), "--out", str(tmp_path / "page.html")]) == 0
    content = (tmp_path / "page_files" / "data.js").read_text()
    shown = json.loads(content.removeprefix("const gallery = ").rstrip(";\n"))
    assert [name for name, _ in shown["columns"]] == ["ra", "dec", "ring"]

    assert main(["export", str(run), "--format", "keras", "--out", str(tmp_path / "model.keras")]) == 0
    described = json.loads((tmp_path / "model.keras.json").read_text())
    assert described["schema"] is None
    assert described["outputs"]["label"]["column"] == "ring"
    card = model_card(trained, "owner/name")
    assert "predicts the binary label `ring`" in card
    assert "pipeline_tag: image-classification" in card


def test_samples_of_the_network_are_those_of_the_heads(tmp_path):
    from zoobot3d_tf.predictions.network import Network, dropout_factors
    from zoobot3d_tf.runs.run_folder import TrainedRun

    keras.utils.set_random_seed(0)
    config = ModelConfig(get_schema("rings"), 32, tasks=("votes", "label"), label=MULTICLASS, dropout=0.5)
    model = build_model(config)
    run = TrainedRun(tmp_path, config, Framing(32, 32, 32), {}, "galaxy-zoo")
    object.__setattr__(run, "load_model", lambda: model)
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    outputs = Network(run, (), 3, 2, seed=0, engine="tf", precision="f32")(images, ["a", "b"])
    assert {name: output.shape for name, output in outputs.items()} == {"votes": (2, 2, 3), "label": (2, 3, 3)}
    features = keras.Model(model.input, model.get_layer("features").output)(images.astype(np.float32), training=False)
    factors = dropout_factors("b", (3, features.shape[-1]), 0.5, 0)
    for name, head in (("votes", "vote_head"), ("label", "label_head")):
        expected = np.asarray(model.get_layer(head)(features[1] * factors, training=False)).T
        np.testing.assert_allclose(outputs[name][1], expected, rtol=1e-4)


@pytest.mark.parametrize(
    ("label", "cells", "values"),
    [
        (Label("ring", "binary"), ["yes", "", "1"], [1, np.nan, 1]),
        (Label("type", "multiclass", ("E", "S", "S0")), ["S0", "E", ""], [2, 0, np.nan]),
        (Label("z", "regression"), ["0.5", "", "2"], [0.5, np.nan, 2]),
    ],
)
def test_known_labels_need_not_have_all_classes(label, cells, values):
    np.testing.assert_array_equal(read_known_labels("t.csv", pd.DataFrame({label.column: cells}), label), values)


def test_another_class_than_those_of_the_label_is_named():
    with pytest.raises(ValueError, match=r"'Irr'.*the label has the classes E, S"):
        read_known_labels("t.csv", pd.DataFrame({"type": ["E", "Irr"]}), Label("type", "multiclass", ("E", "S")))
