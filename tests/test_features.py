"""Tables of features, from images."""

import json
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
from prediction_runs import CROP, FINAL, INITIAL, draw_galaxies, make_run

from zoobot3d_tf.data.framing import Framing
from zoobot3d_tf.files import sha256_of
from zoobot3d_tf.inference import job
from zoobot3d_tf.inference.inputs import galaxies_in_folder
from zoobot3d_tf.inference.source_images import frame_images, read_images
from zoobot3d_tf.representations import features
from zoobot3d_tf.representations.features import write_features
from zoobot3d_tf.runs.run_folder import WEIGHTS_NAME


@pytest.fixture
def images(tmp_path):
    return draw_galaxies(tmp_path / "images", 11)


@pytest.fixture
def small_parts(monkeypatch):
    """Parts of four galaxies, computed one after the other."""
    monkeypatch.setattr(job, "_PART_UNIT", 4)
    monkeypatch.setattr("zoobot3d_tf.inference.run_job.available_cores", lambda: 1)


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run folder with a fake network, whose features are the means of the three bands."""
    means = features._FeatureNetwork(4, 3, lambda pixels: [pixels.mean(axis=(1, 2), dtype=np.float32)])
    monkeypatch.setattr(features, "_load", lambda settings: means)
    return make_run(tmp_path / "run")


def framed(images, small_model):
    pixels = list(read_images(galaxies_in_folder(images), small_model.run.stretch))
    return frame_images(pixels, Framing(INITIAL, CROP, FINAL), len(pixels)).astype(np.float32)


def features_in(table):
    return pd.read_parquet(table).filter(like="feature_").to_numpy()


def assert_agree(found, expected):
    """Compare to 1e-4 of the largest value, which a different order of summation can change."""
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


# What is written


def test_features_are_the_input_of_the_vote_head(small_model, images, tmp_path):
    table = write_features(galaxies_in_folder(images), small_model.run.folder, tmp_path / "f.parquet", engine="tf")
    written = pd.read_parquet(table)
    assert list(written.columns) == ["id_str", "file_loc", *(f"feature_{i:04d}" for i in range(1280))]
    assert list(written.id_str) == sorted(path.stem for path in images.iterdir())
    assert list(written.file_loc) == [str(images / f"{name}.png") for name in written.id_str]
    assert set(written.dtypes[2:].astype(str)) == {"float32"}
    pooled = keras.Model(small_model.input, small_model.get_layer("features").output)
    assert_agree(features_in(table), np.array(pooled(framed(images, small_model), training=False)))
    assert not list(tmp_path.glob(".partial*"))


def test_other_levels_are_averaged_over_their_pixels(small_model, images, tmp_path, monkeypatch):
    monkeypatch.setattr("zoobot3d_tf.runs.run_folder.TrainedRun.load_model", lambda run: small_model)
    galaxies = galaxies_in_folder(images)
    table = write_features(galaxies, small_model.run.folder, tmp_path / "f.parquet", level="P3", engine="tf")
    grey = small_model.get_layer("greyscale")(framed(images, small_model))
    expected = np.mean(small_model.get_layer("encoder")(grey, training=False)["P3"], axis=(1, 2))
    assert expected.shape == (11, 40)
    assert_agree(features_in(table), expected)


def test_metadata_say_what_made_the_table(run, images, tmp_path):
    write_features(galaxies_in_folder(images), run, tmp_path / "f.parquet", level="P2", engine="tf")
    metadata = json.loads((tmp_path / "f_metadata.json").read_text())
    assert metadata["weights_sha256"] == sha256_of(run / WEIGHTS_NAME)
    assert (metadata["level"], metadata["engine"], metadata["stretch"]) == ("P2", "tf", "galaxy-zoo")
    assert [metadata[name] for name in ("initial_size", "crop_size", "final_size")] == [INITIAL, CROP, FINAL]
    assert metadata["n_galaxies"] == 11
    assert {"zoobot3d_tf", "tensorflow", "keras"} <= set(metadata["versions"])


@pytest.mark.usefixtures("small_parts")
def test_if_an_image_cannot_be_read_only_that_galaxy_is_skipped(run, images, tmp_path):
    def compute(name):
        return write_features(galaxies_in_folder(images), run, tmp_path / name, engine="tf")

    whole = pd.read_parquet(compute("whole.parquet")).set_index("id_str")
    broken = ["galaxy_0", "galaxy_1", "galaxy_10", "galaxy_2", "galaxy_8"]  # all of the first part, one of the last
    for name in broken:
        (images / f"{name}.png").write_bytes(b"")
    part = pd.read_parquet(compute("part.parquet")).set_index("id_str")
    pd.testing.assert_frame_equal(part, whole.drop(broken))
    failed = pd.read_csv(tmp_path / "part_failed.csv")
    assert list(failed.id_str) == broken
    assert failed.reason.str.endswith(": the file is empty").all()


def test_a_finished_table_is_replaced_only_on_demand(run, images, tmp_path, monkeypatch):
    galaxies, table = galaxies_in_folder(images), tmp_path / "f.parquet"
    content = write_features(galaxies, run, table, engine="tf").read_bytes()
    with monkeypatch.context() as patched:
        patched.setattr(features, "features_part", lambda *part: 1 / 0)
        assert write_features(galaxies, run, table, engine="tf") == table
    with pytest.raises(FileExistsError, match=r"f\.parquet: already exists, made with other level; .*overwrite=True"):
        write_features(galaxies, run, table, engine="tf", level="P5")
    assert table.read_bytes() == content
    write_features(galaxies, run, table, engine="tf", level="P5", overwrite=True)
    assert table.read_bytes() != content


def test_a_replacement_that_was_killed_before_the_last_step_is_continued(run, images, tmp_path, monkeypatch):
    galaxies, table = galaxies_in_folder(images), tmp_path / "f.parquet"
    content = write_features(galaxies, run, table, engine="tf").read_bytes()
    replace = Path.replace

    def killed(path, target):
        if Path(target) == table:
            raise KeyboardInterrupt
        return replace(path, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            write_features(galaxies, run, table, engine="tf", level="P3", overwrite=True)
    assert table.read_bytes() == content
    write_features(galaxies, run, table, engine="tf", level="P3")
    assert table.read_bytes() != content  # the table holds its settings, too


@pytest.mark.usefixtures("small_parts")
def test_an_interrupted_run_is_continued_to_the_same_table(run, images, tmp_path, monkeypatch):
    galaxies, table = galaxies_in_folder(images), tmp_path / "f.parquet"
    whole = pd.read_parquet(write_features(galaxies, run, table, engine="tf"))
    table.unlink()
    compute, computed = features.features_part, []

    def stop_at_the_second(this_job, number):
        if number == 1:
            raise OSError(28, "No space left on device")
        compute(this_job, number)

    monkeypatch.setattr(features, "features_part", stop_at_the_second)
    with pytest.raises(OSError, match=r"No space left on device.*f\.parquet"):
        write_features(galaxies, run, table, engine="tf")
    assert not table.exists()
    with pytest.raises(ValueError, match=r"unfinished .*\blevel\b"):
        write_features(galaxies, run, table, level="P5", engine="tf")
    monkeypatch.setattr(features, "features_part", lambda *part: computed.append(part[1]) or compute(*part))
    pd.testing.assert_frame_equal(pd.read_parquet(write_features(galaxies, run, table, engine="tf")), whole)
    assert 0 not in computed
    assert not list(tmp_path.glob(".partial*"))


@pytest.mark.parametrize(
    ("changed", "error", "words"),
    [
        ({"level": "P6"}, ValueError, "level .*top, P1, .*'P6'"),
        ({"engine": "torch"}, ValueError, "engine .*auto, tf, openvino.*'torch'"),
        ({"batch_size": 0}, ValueError, "batch_size .*1.* 0$"),
        ({"save_loc": "f.csv"}, ValueError, r"f\.csv.* \.parquet"),
        ({"run_folder": "nowhere"}, OSError, "nowhere\\b.* run folder"),
        ({"run_folder": "unfinished"}, ValueError, r"unfinished.* model\.weights\.h5|model\.weights\.h5.* unfinished"),
    ],
)
def test_wrong_arguments_are_named(images, tmp_path, monkeypatch, changed, error, words):
    monkeypatch.chdir(tmp_path)
    for name in ("run", "unfinished"):
        make_run(tmp_path / name)
    (tmp_path / "unfinished" / WEIGHTS_NAME).unlink()
    arguments = {"run_folder": "run", "save_loc": "f.parquet"} | changed
    with pytest.raises(error, match=words):
        write_features(galaxies_in_folder(images), **arguments)
    assert not list(tmp_path.glob("*f.*"))


def test_weights_that_change_during_the_run_are_refused(small_model, images, tmp_path, monkeypatch):
    monkeypatch.setattr(features, "sha256_of", lambda path: "of the weights before")
    with pytest.raises(ValueError, match=r"model\.weights\.h5"):
        write_features(galaxies_in_folder(images), small_model.run.folder, tmp_path / "f.parquet", engine="tf")
